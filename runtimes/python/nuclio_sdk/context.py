"""The first argument of every handler: logger, user data, and results beyond a plain answer."""

import sys

from _nuclio import Logger, Response, TriggerInfo, current_deadline

from nuclio_sdk.platform import Platform

# types.SimpleNamespace without importing `types`.
_Namespace = type(sys.implementation)


class Retry(Exception):
    """Handle this event again later. Return it or raise it; ``context.retry`` makes one.

    A broker redelivers the event; an HTTP client gets 503 with Retry-After.
    """

    def __init__(self, after=0.0):
        super().__init__(after)
        self.after = float(after)

    def __str__(self):
        return f"try again in {self.after:g} s"


class Reject(Exception):
    """Never handle this event again. Return it or raise it; ``context.reject`` makes one.

    A broker moves the event to its dead letters; an HTTP client gets 422 with the reason.
    """

    def __init__(self, reason=""):
        super().__init__(reason)
        self.reason = reason


class Context:
    """One object for the whole life of a worker; attributes of your own belong in ``user_data``."""

    Response = Response

    def __init__(
        self,
        logger=None,
        platform=None,
        worker_id=None,
        trigger=None,
        function_name="",
        function_version="",
        namespace="default",
    ):
        self.logger = Logger() if logger is None else logger
        self.platform = Platform(namespace=namespace) if platform is None else platform
        self.user_data = _Namespace()
        self.worker_id = worker_id
        self.trigger = TriggerInfo() if trigger is None else trigger
        self.trigger_name = self.trigger.name
        self.function_name = function_name
        self.function_version = function_version

    @property
    def deadline(self):
        """When the answer to the current event is due, on the clock of ``time.monotonic()``; None
        without ``eventTimeout``. ``asyncio.timeout_at`` takes it."""
        return current_deadline()

    def retry(self, after=0.0):
        """``return context.retry(after=5)``: try this event again in five seconds."""
        return Retry(after)

    def reject(self, reason=""):
        """``return context.reject("no such order")``: this event can never be handled."""
        return Reject(reason)
