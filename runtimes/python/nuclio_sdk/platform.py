"""Where a function runs: other functions to call, and what to do at a drain and at the end."""


class Platform:
    """``context.platform``."""

    def __init__(self, kind="local", namespace="default", **_unused):
        self.kind = kind
        self.namespace = namespace
        self._termination_callback = None
        self._drain_callback = None

    def set_termination_callback(self, callback):
        """Calls `callback()` when the worker stops, after its last event; it may be async."""
        self._termination_callback = callback

    def set_drain_callback(self, callback):
        """Calls `callback()` when a trigger drains, before what it holds is given up; it may be
        async. The worker goes on afterwards."""
        self._drain_callback = callback

    def call_function(
        self, function_name, event, node=None, timeout=None, service_name_override=None
    ):
        """Sends an event to another function and waits for its answer.

        `event` is an ``Event`` of your own: its method, path, headers and body go out; a ``dict``
        or ``list`` as a body is sent as JSON. `timeout` in seconds. `service_name_override` is
        ``host`` or ``host:port``. Gives a ``Response``; JSON in it is decoded. Blocks: async
        handlers have ``call_function_async``.
        """
        from nuclio_sdk._call import call

        return call(self, function_name, event, timeout, service_name_override)

    async def call_function_async(
        self, function_name, event, node=None, timeout=None, service_name_override=None
    ):
        """As ``call_function``; other events go on meanwhile. A cancelled call ends at once."""
        from nuclio_sdk._call import call_async

        return await call_async(self, function_name, event, timeout, service_name_override)

    async def explicit_ack(self, qualified_offset):
        """Marks a record of a stream as done; for triggers with `explicitAckMode`."""
        from nuclio_sdk._call import explicit_ack

        explicit_ack(qualified_offset)
