"""One event on its way through a handler under test, to the reply that its client gets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from _nuclio import answer_to, iterator_of, piece_bytes

from nuclio_sdk import Event, Headers
from nuclio_sdk.testing import _log
from nuclio_sdk.testing._reply import Record, Reply, has_body, headers_of

# What becomes an answer. Others that are no `Exception` end the test: Ctrl-C, `pytest.fail()`.
ANSWERED = (Exception, SystemExit, asyncio.CancelledError, GeneratorExit)

# The processor's own, after `eventTimeout`.
_TIMED_OUT = b'{"error": "handler timed out"}'

deadline: ContextVar[float | None] = ContextVar("nuclio_deadline", default=None)


def without_us(error: BaseException) -> BaseException:
    """An exception of the handler's without the frame that called the handler."""
    trace = error.__traceback__
    return error.with_traceback(trace and trace.tb_next)


@contextlib.contextmanager
def between_events() -> Iterator[None]:
    """What is logged meanwhile belongs to no event."""
    token = _log.current.set(None)
    try:
        yield
    finally:
        _log.current.reset(token)


class Turn:
    """Who waits for an answer, and what was told and sent so far."""

    def __init__(self, log: _log.Log, event: Event, leave_after: int | None = None) -> None:
        self.event = event
        self.is_late = False
        self._log = log
        self._leave_after = leave_after
        self._records: list[Record] = []
        self._pieces: list[bytes] | None = None

    def begin(self) -> None:
        """From here on what is logged belongs to this event, until the context is another."""
        _log.current.set(self._records)
        deadline.set(self.event.deadline)

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """As `begin`, for the time of a `with`."""
        tokens = _log.current.set(self._records), deadline.set(self.event.deadline)
        try:
            yield
        finally:
            _log.current.reset(tokens[0])
            deadline.reset(tokens[1])

    def reply(self, result: Any, *, is_raised: bool = False) -> Reply:
        """The reply to what a sync handler returned or raised."""
        told = answer_to(self.event, result, is_raised)
        if told.pieces is None:
            return self.whole(told, result if is_raised else None)
        try:
            self._send(told)
        except ANSWERED as error:
            return self._broken(told, error)
        return self._whole_stream(told)

    async def reply_async(self, result: Any, *, is_raised: bool = False) -> Reply:
        """The reply to what an async handler returned or raised."""
        told = answer_to(self.event, result, is_raised)
        if told.pieces is None:
            return self.whole(told, result if is_raised else None)
        try:
            if hasattr(told.pieces, "__anext__"):
                await self._send_async(told)
            else:
                await self._send_by_turns(told)
        except ANSWERED as error:
            return self._broken(told, error)
        return self._whole_stream(told)

    def whole(self, told: Any, raised: BaseException | None, *, is_silent: bool = False) -> Reply:
        """The reply for an answer that is sent at once; `is_silent` if the log knows why."""
        if not is_silent:
            self._tell(told.log)
        body = told.body if has_body(self.event.method, told.status) else b""
        return self._made(told, body, told.outcome, raised or told.error, failed=bool(told.log))

    def in_time(self, reply: Reply) -> Reply:
        """What the client got: something else if the deadline has passed before `reply`."""
        if not self.is_late:
            return reply
        if self._pieces is not None:
            return replace(reply, outcome=None, failed=False, broken=True)
        headers = Headers({"Content-Type": "application/json"})
        body = _TIMED_OUT if has_body(self.event.method, 408) else b""
        return Reply(408, headers, body, None, reply.exception, logs=self._records)

    def _send(self, told: Any) -> None:
        for item in iterator_of(told.pieces):
            if not self._take(told, item):
                _close(told.pieces)
                return

    async def _send_async(self, told: Any) -> None:
        try:
            async for item in told.pieces:
                if not self._take(told, item):
                    return
                await asyncio.sleep(0)
        finally:
            if hasattr(told.pieces, "aclose"):
                await told.pieces.aclose()

    async def _send_by_turns(self, told: Any) -> None:
        try:
            for item in told.pieces:
                if not self._take(told, item):
                    return
                # Others have their turn between two pieces.
                await asyncio.sleep(0)
        finally:
            _close(told.pieces)

    def _take(self, told: Any, item: Any) -> bool:
        """Sends one piece; false if the client wants no more."""
        piece = piece_bytes(item, told.is_event_stream)
        if self._pieces is None:
            self._pieces = []
        if not has_body(self.event.method, told.status):
            return False
        if piece:
            self._pieces.append(piece)
        return self._leave_after is None or len(self._pieces) < self._leave_after

    def _whole_stream(self, told: Any) -> Reply:
        pieces = self._pieces or []
        return self._made(told, b"".join(pieces), told.outcome, None, pieces=pieces)

    def _broken(self, told: Any, error: BaseException) -> Reply:
        """Before the first piece an answer like any other, afterwards one without an end."""
        failed = answer_to(self.event, error, True)
        if self._pieces is None:
            return self.whole(failed, error)
        self._tell(failed.log)
        pieces = self._pieces
        return self._made(
            told, b"".join(pieces), "ok", error, failed=True, pieces=pieces, broken=True
        )

    def _made(
        self, told: Any, body: bytes, outcome: str, error: BaseException | None, **more: Any
    ) -> Reply:
        headers = headers_of(told.status, told.content_type, told.headers)
        return Reply(told.status, headers, body, outcome, error, logs=self._records, **more)

    def _tell(self, text: str) -> None:
        if text:
            # Where a cancelled handler was is worth a record, but no fault of its own.
            self._log.add(Record("warn" if self.is_late else "error", text))


def _close(pieces: Any) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()
