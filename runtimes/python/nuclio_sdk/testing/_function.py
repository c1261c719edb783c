"""A function in the test's own process: its context, its events, its answers, its log."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import weakref
from collections.abc import Callable, Coroutine, Iterable
from importlib import import_module
from pathlib import Path
from types import EllipsisType, ModuleType, TracebackType
from typing import Any, Self, TypeVar

from _nuclio import answers_to_batch, ready_for_tests

import nuclio_sdk
from nuclio_sdk import Context, Event, Logger, TriggerInfo, _load
from nuclio_sdk.testing import _log, _turn
from nuclio_sdk.testing._events import make_event
from nuclio_sdk.testing._reply import Record, Reply
from nuclio_sdk.testing._turn import ANSWERED, Turn, without_us

T = TypeVar("T")
Handler = Callable[..., Any] | ModuleType | str | os.PathLike[str]

# What a cancelled handler has to end; one that takes longer hangs.
_CANCEL_LIMIT_S = 10
# As a worker, which begins tasks at once where Python can.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class _Context(Context):
    """A context that knows the deadline of an event that no processor sent."""

    @property
    def deadline(self) -> float | None:
        return _turn.deadline.get()


class Function:
    """A handler and everything a worker has around it; a context manager, `with` or `async with`.

    `handler` is a function, a module, a path such as ``"orders.py"``, or
    ``"package.module:function"``; `name` chooses the function of a module or path. `init_context`
    of its module runs before the first event, unless another one or None is given. What the handler
    raises becomes a 500, as for a client, with the exception in ``reply.exception``; with
    `raise_errors` it reaches the test instead.
    """

    def __init__(
        self,
        handler: Handler,
        name: str = "",
        *,
        init_context: Callable[[Context], Any] | None | EllipsisType = ...,
        context: Context | None = None,
        raise_errors: bool = False,
    ) -> None:
        ready_for_tests(f"{nuclio_sdk.__path__[0]}/")
        code = _code(handler, name)
        self.handler: Callable[..., Any] = code.handler
        self.module: ModuleType | None = code.module
        """Where it was loaded, so that a test can replace what is in there."""
        self.context: Context = context or _Context(
            logger=Logger("debug"),
            worker_id=0,
            trigger=TriggerInfo("http", "default-http"),
            function_name=Path(getattr(code.module, "__file__", None) or "").stem,
        )
        self._log = _log.Log()
        if isinstance(self.context.logger, Logger):
            self._log.take(self.context.logger)
        self._raise_errors = raise_errors
        self._is_async: bool = code.is_async
        self._init = code.init_context if init_context is ... else init_context
        self._starting = asyncio.Lock()
        self._is_started = self._is_closed = False
        self._runner: asyncio.Runner | None = None

    @property
    def logs(self) -> list[Record]:
        """Every record so far."""
        return self._log.records

    def call(self, body: Any = b"", *, leave_after: int | None = None, **of_event: Any) -> Reply:
        """Calls the handler with one event, and gives what its client would get.

        The other parameters are those of :func:`make_event`; or `body` is an ``Event``. The client
        of a streamed reply leaves after `leave_after` pieces.
        """
        turn = Turn(self._log, _event(body, of_event), leave_after)
        if self._is_async:
            return self._run(self._call_async(turn))
        self.start()
        with turn.handled():
            try:
                result = self.handler(self.context, turn.event)
            except ANSWERED as error:
                reply = turn.reply(without_us(error), is_raised=True)
            else:
                reply = turn.reply(result)
        return self._told(reply)

    async def acall(
        self, body: Any = b"", *, leave_after: int | None = None, **of_event: Any
    ) -> Reply:
        """As `call`, for a test that runs in an event loop itself."""
        await self._start_async()
        if not self._is_async:
            return self.call(body, leave_after=leave_after, **of_event)
        return await self._call_async(Turn(self._log, _event(body, of_event), leave_after))

    def call_batch(self, bodies: Iterable[Any]) -> list[Reply]:
        """Calls the handler with a list of events, and gives the reply to each of them.

        Each of `bodies` is an ``Event`` or the body of one. Records of the handler belong to no
        event while it has several: see ``function.logs``.
        """
        turns = self._turns(bodies)
        if self._is_async:
            return self._run(self._call_batch_async(turns))
        self.start()
        with turns[0].handled() if len(turns) == 1 else _turn.between_events():
            try:
                result = self.handler(self.context, [turn.event for turn in turns])
            except ANSWERED as error:
                replies = self._told_batch(turns, without_us(error), is_raised=True)
            else:
                replies = self._told_batch(turns, result)
        return [self._told(reply) for reply in replies]

    async def acall_batch(self, bodies: Iterable[Any]) -> list[Reply]:
        """As `call_batch`, for a test that runs in an event loop itself."""
        await self._start_async()
        if not self._is_async:
            return self.call_batch(bodies)
        return await self._call_batch_async(self._turns(bodies))

    def start(self) -> None:
        """Runs `init_context`, unless it has run."""
        if self._is_async:
            self._run(self._start_async())
        elif not self._is_started:
            if self._init is not None:
                _load._finish(self._init(self.context))
            self._is_started = True

    def close(self) -> None:
        """Calls the drain and the termination callback, as at the end of a worker."""
        if self._is_async:
            if self._is_started and not self._is_closed:
                self._run(self._end_async())
        elif self._is_started and not self._is_closed:
            self._is_closed = True
            _load.drain(self.context)
            _load.terminate(self.context)
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    async def aclose(self) -> None:
        """As `close`, for a test that runs in an event loop itself."""
        if self._is_started and not self._is_closed:
            await self._end_async()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self._start_async()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs it in the function's own loop."""
        if _is_loop_running():
            coroutine.close()
            raise RuntimeError(
                "an async handler gets a loop of its own here, and one is running already: "
                "use `await function.acall(..)`, and `async with` for the function"
            )
        if self._runner is None:
            self._runner = asyncio.Runner()
            # Tests that need no callbacks close no function.
            weakref.finalize(self, _let_go, self._runner)
        return self._runner.run(coroutine)

    async def _start_async(self) -> None:
        async with self._starting:
            if not self._is_started:
                if self._init is not None:
                    await _in_own_task(self._init, self.context)
                self._is_started = True

    async def _end_async(self) -> None:
        self._is_closed = True
        for name in ("_drain_callback", "_termination_callback"):
            callback = getattr(self.context.platform, name, None)
            if callback is not None:
                await _in_own_task(callback)

    async def _call_async(self, turn: Turn) -> Reply:
        await self._start_async()

        async def answered() -> Reply:
            turn.begin()
            try:
                result = self.handler(self.context, turn.event)
                if hasattr(result, "__await__"):
                    result = await result
            except ANSWERED as error:
                return await turn.reply_async(without_us(error), is_raised=True)
            return await turn.reply_async(result)

        reply = await _until_deadline([turn], answered())
        return self._told(turn.in_time(reply))

    async def _call_batch_async(self, turns: list[Turn]) -> list[Reply]:
        await self._start_async()

        async def answered() -> list[Reply]:
            if len(turns) == 1:
                turns[0].begin()
            try:
                result = self.handler(self.context, [turn.event for turn in turns])
                if hasattr(result, "__await__"):
                    result = await result
            except ANSWERED as error:
                return self._told_batch(turns, without_us(error), is_raised=True)
            return self._told_batch(turns, result)

        replies = await _until_deadline(turns, answered())
        pairs = zip(turns, replies, strict=True)
        return [self._told(turn.in_time(reply)) for turn, reply in pairs]

    def _told_batch(
        self, turns: list[Turn], result: Any, *, is_raised: bool = False
    ) -> list[Reply]:
        events = [turn.event for turn in turns]
        answers, warnings = answers_to_batch(events, result, is_raised)
        for text in warnings:
            self._log.add(Record("warn", text))
        # What fails all of them is told once.
        is_shared = is_raised or not isinstance(result, list)
        replies: list[Reply] = []
        for turn, told in zip(turns, answers, strict=True):
            with turn.handled():
                is_silent = is_shared and bool(replies)
                raised = result if is_raised else None
                replies.append(turn.whole(told, raised, is_silent=is_silent))
        return replies

    def _told(self, reply: Reply) -> Reply:
        """The reply, or the exception that it tells of where the test wants that."""
        if self._raise_errors and reply.failed and reply.exception is not None:
            raise reply.exception
        return reply

    def _turns(self, bodies: Iterable[Any]) -> list[Turn]:
        turns = [Turn(self._log, _event(body, {})) for body in bodies]
        if not turns:
            raise ValueError("a batch has one event or more")
        for turn in turns:
            turn.event.last_in_batch = turn is turns[-1]
        return turns


def call(
    handler: Handler, body: Any = b"", *, leave_after: int | None = None, **of_event: Any
) -> Reply:
    """One event for a handler that needs no second one: ``call(handler, fields={"q": "1"})``."""
    with Function(handler) as function:
        return function.call(body, leave_after=leave_after, **of_event)


async def acall(
    handler: Handler, body: Any = b"", *, leave_after: int | None = None, **of_event: Any
) -> Reply:
    """As `call`, for a test that runs in an event loop itself."""
    async with Function(handler) as function:
        return await function.acall(body, leave_after=leave_after, **of_event)


async def _until_deadline(turns: list[Turn], coroutine: Coroutine[Any, Any, T]) -> T:
    """What it gives, from a task of its own that is cancelled when nobody waits any more."""
    deadlines = [turn.event.deadline for turn in turns if turn.event.deadline is not None]
    left = max(deadlines) - time.monotonic() if len(deadlines) == len(turns) else None
    task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), **_EAGER)
    try:
        await asyncio.wait([task], timeout=left)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        for turn in turns:
            turn.is_late = True
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_LIMIT_S)
        if not task.done():
            raise RuntimeError(
                f"the handler goes on {_CANCEL_LIMIT_S} s after it was cancelled at its deadline"
            )
    return task.result()


async def _in_own_task(function: Callable[..., Any], *arguments: Any) -> None:
    """Calls it where its context variables are its own, as a worker does."""

    async def called() -> None:
        result = function(*arguments)
        if hasattr(result, "__await__"):
            await result

    await asyncio.Task(called(), loop=asyncio.get_running_loop())


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _let_go(runner: asyncio.Runner) -> None:
    """Closes a loop that nobody can reach any more, from wherever the last reference went."""
    if _is_loop_running():
        runner.get_loop().close()
    else:
        runner.close()


def _event(body: Any, of_event: dict[str, Any]) -> Event:
    if not isinstance(body, Event):
        return make_event(body, **of_event)
    if of_event:
        names = ", ".join(of_event)
        raise TypeError(f"the event is made already: give {names} to make_event")
    return body


def _code(handler: Handler, name: str) -> Any:
    """The handler, its module, and what a worker wants to know of both."""
    if isinstance(handler, (str, os.PathLike)):
        path = os.fspath(handler)
        if os.path.exists(path) or os.sep in path or path.endswith(".py"):
            return _loaded(os.path.abspath(path), name)
        module, _, in_name = path.partition(":")
        handler, name = import_module(module), name or in_name
    if isinstance(handler, ModuleType):
        found = _load._named(handler, name) if name else _load._only(handler)
        return _load.Code(found, handler)
    problem = _load._problem(handler) if callable(handler) else "is not a function"
    if problem:
        raise _load.Unusable(f"{getattr(handler, '__name__', repr(handler))} {problem}")
    return _load.Code(handler, sys.modules.get(getattr(handler, "__module__", "")))


def _loaded(path: str, name: str) -> Any:
    """Loads a file or folder as a worker does; the test's own `sys.argv` stays."""
    argv, folders = sys.argv, set(sys.path)
    try:
        return _load.load(path, name)
    finally:
        sys.argv = argv
        # Once is enough, however many tests load it.
        if sys.path[:1] and sys.path[0] in folders:
            del sys.path[0]
