"""The event loop of an async handler: many events in flight, one bell for all of them.

Loaded for async handlers only, since `asyncio` takes longer to import than everything else here.
"""

import asyncio
import sys
from contextvars import ContextVar

from _nuclio import Ticket, bell_number, bell_rang, next_work, use_context_variable

# Events taken in one go before other callbacks of the loop have their turn.
_BATCH = 64

_claim = ContextVar("nuclio_claim", default=0)

if sys.version_info >= (3, 12):

    def _start(coroutine, loop):
        # Runs up to the first suspension at once: an event that never waits needs no turn.
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

else:

    def _start(coroutine, loop):
        return loop.create_task(coroutine)


class Runner:
    """Serves one handler until the processor says stop."""

    def __init__(self, handler, context):
        self._handler = handler
        self._context = context
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        # Also what keeps the tasks alive: a loop knows its tasks only weakly.
        self._tasks = {}
        self._stopping = False

    def init(self, init_context):
        """Calls `init_context` inside the loop, where clients may be made."""

        async def called():
            result = init_context(self._context)
            if hasattr(result, "__await__"):
                await result

        self._loop.run_until_complete(called())

    def serve(self):
        use_context_variable(_claim)
        loop = self._loop
        loop.add_reader(bell_number(), self._rung)
        loop.call_soon(self._look)
        try:
            loop.run_forever()
        finally:
            loop.remove_reader(bell_number())
            self._close()

    def _rung(self):
        if bell_rang():
            self._look()
        else:
            # The processor is gone, and with it everybody who waits for an answer.
            self._loop.stop()

    def _look(self):
        for _ in range(_BATCH):
            work = next_work()
            if work is None:
                return
            if type(work) is Ticket:
                self._begin(work)
            elif work is True:
                self._stopping = True
                self._stop_if_idle()
            else:
                task = self._tasks.get(work)
                if task is not None:
                    task.cancel()
        self._loop.call_soon(self._look)

    def _begin(self, ticket):
        task = _start(self._answer(ticket), self._loop)
        if not task.done():
            claim = ticket.claim
            self._tasks[claim] = task
            task.add_done_callback(lambda _: self._ended(claim))

    async def _answer(self, ticket):
        _claim.set(ticket.claim)
        try:
            result = self._handler(self._context, ticket.event)
            if hasattr(result, "__await__"):
                result = await result
        except BaseException as error:
            # Cancelled, or sys.exit: the answer of this event, and no more than that.
            poll_again = ticket.failed(error)
        else:
            poll_again = ticket.done(result)
        if poll_again:
            self._loop.call_soon(self._look)

    def _ended(self, claim):
        self._tasks.pop(claim, None)
        self._stop_if_idle()

    def _stop_if_idle(self):
        if self._stopping and not self._tasks:
            self._loop.stop()

    def _close(self):
        """Ends background tasks as `asyncio.run` does."""
        loop = self._loop
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
