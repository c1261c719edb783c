"""The event loop of an async handler: many events in flight, one bell for all of them.

Loaded for async handlers only, since `asyncio` takes longer to import than everything else here.
"""

import asyncio
import gc
import sys
from contextvars import ContextVar

from _nuclio import (
    BatchTicket,
    Ticket,
    bell_rang,
    drained,
    next_work,
    use_context_variable,
    use_loop,
    watch_bell,
)

from nuclio_sdk import _body
from nuclio_sdk._load import Unusable, ending_of, is_coroutine_function
from nuclio_sdk._sending import sent, wake

# Events taken in one go before other callbacks of the loop have their turn.
_BATCH = 64

# New objects after which CPython collects by itself (until 3.12, since 3.13), and ours. An event that
# waits is some twenty objects that are no garbage: with thousands in flight, collecting that often
# takes a fifth of the worker's time.
_USUAL_THRESHOLDS = (700, 2000)
_THRESHOLD = 10_000

# Runs a task up to its first suspension at once: an event that never waits needs no turn.
_EAGER = sys.version_info >= (3, 12)


class Runner:
    """Serves one handler until the processor says stop."""

    def __init__(self, handler, context, kind=""):
        self._handler = handler
        self._context = context
        self._loop = _new_loop(kind)
        asyncio.set_event_loop(self._loop)

    def init(self, init_context):
        """Calls `init_context` inside the loop, where clients may be made."""
        self._call(init_context, self._context)

    def terminate(self):
        """Calls what the user's code wants called after the last event, and ends the loop."""
        callback = getattr(self._context.platform, "_termination_callback", None)
        try:
            if callback is not None:
                self._call(callback)
        finally:
            self._end()

    def _call(self, function, *arguments):
        async def called():
            result = function(*arguments)
            if hasattr(result, "__await__"):
                await result

        error = self._loop.run_until_complete(ending_of(called()))
        if error is not None:
            raise error

    def serve(self):
        loop, over = self._loop, []

        def end():
            over.append(True)
            loop.stop()

        look = _look(loop, self._handler, self._context, end)

        def rung():
            if bell_rang():
                look()
            else:
                # The processor is gone, and with it everybody who waits for an answer.
                end()

        # What is loaded stays, so nothing of it need be looked at again.
        gc.freeze()
        first, *others = gc.get_threshold()
        if first in _USUAL_THRESHOLDS:
            gc.set_threshold(_THRESHOLD, *others)
        bell = watch_bell()
        loop.add_reader(bell, rung)
        while not over:
            loop.call_soon(look)
            try:
                # Ends early when the user's code stops the loop: that is not for it to decide.
                loop.run_forever()
            except BaseException as error:
                # Some task or callback of the user's wanted to end the process, as `sys.exit` does.
                told = {"message": "the event loop goes on", "exception": error}
                loop.default_exception_handler(told)
        loop.remove_reader(bell)

    def _end(self):
        """Ends background tasks as `asyncio.run` does."""
        loop = self._loop
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _new_loop(kind):
    if kind in ("", "asyncio"):
        return asyncio.new_event_loop()
    if kind != "uvloop":
        raise Unusable(f"runtimeAttributes.loop: {kind} is unknown; write asyncio or uvloop")
    try:
        import uvloop
    except ImportError as error:
        raise Unusable(
            f"runtimeAttributes asks for uvloop, which {sys.executable} cannot load ({error}): "
            "run pip install uvloop, or leave the setting out"
        ) from None
    return uvloop.new_event_loop()


def _look(loop, handler, context, end):
    """The function that takes what has come down and begins a task for each event.

    A closure: local names are a good part of what an event costs.
    """
    claim_of_task = ContextVar("nuclio_claim", default=0)
    use_context_variable(claim_of_task)
    set_claim = claim_of_task.set
    # Also what keeps the tasks alive: a loop knows its tasks only weakly.
    tasks = {}
    # Streams that wait for credit or room, and readers of bodies that wait for a piece.
    waiting = []
    # For each event of a batch: the task of all of them, and those that are still waited for.
    batches = {}
    stopping = False
    Task, eager, rounds = asyncio.Task, _EAGER, range(_BATCH)
    always_awaitable = is_coroutine_function(handler)

    async def answer(ticket):
        """What a batch runs; an event by itself is a coroutine natively."""
        set_claim(ticket.claim)
        try:
            result = handler(context, ticket.event)
            if always_awaitable or hasattr(result, "__await__"):
                result = await result
        except BaseException as error:
            # Cancelled, or sys.exit: the answer of this event, and no more than that.
            poll_again = ticket.failed(error)
        else:
            poll_again = ticket.done(result)
        if poll_again:
            loop.call_soon(look)

    def room(stream):
        """A future that is done when something has come down, such as the credit of a stream."""
        if stream.took_inside():
            loop.call_soon(look)
        return news()

    def news():
        """A future that is done when something has come down, such as a piece of a body."""
        waiter = loop.create_future()
        waiting.append(waiter)
        return waiter

    _body.news = news

    def begun(task, claim):
        tasks[claim] = task

        def ended(_):
            del tasks[claim]
            if stopping and not tasks:
                end()

        task.add_done_callback(ended)

    def ended_after_waiting(claim):
        tasks.pop(claim, None)
        if stopping and not tasks:
            end()

    use_loop(
        handler,
        context,
        set_claim,
        lambda: loop.call_soon(look),
        lambda stream: sent(stream, room),
        # A task that was cancelled before it began says nothing: so where tasks do not begin at
        # once, each has a callback.
        (Task, {"loop": loop, "eager_start": True}, tasks, ended_after_waiting) if eager else None,
    )

    async def drain(trigger):
        callback = getattr(context.platform, "_drain_callback", None)
        failed = None
        try:
            result = None if callback is None else callback()
            if hasattr(result, "__await__"):
                await result
        except BaseException as error:
            failed = error
        drained(trigger, failed)

    def begin_batch(ticket):
        options = {"eager_start": True} if eager else {}
        task = Task(answer(ticket), loop=loop, **options)
        if task.done():
            return
        claims = ticket.claims
        begun(task, claims[0])
        batches.update(dict.fromkeys(claims, (task, set(claims))))
        task.add_done_callback(lambda _: [batches.pop(claim) for claim in claims])

    def cancel(claim):
        task, waited_for = tasks.get(claim), ()
        if claim in batches:
            task, waited_for = batches[claim]
            waited_for.discard(claim)
        # Whoever else is in the batch still gets its answer.
        if task is not None and not waited_for:
            task.cancel()

    def control(work):
        nonlocal stopping
        if type(work) is tuple:
            # Counted among the tasks, so that a stop waits for it.
            begun(Task(drain(*work), loop=loop), work)
            return
        if work is not True:
            cancel(work)
            return
        stopping = True
        if not tasks:
            end()

    def look():
        for _ in rounds:
            work = next_work()
            if type(work) is Ticket:
                # Only where tasks do not begin at once; else it has begun natively.
                begun(Task(work, loop=loop), work.claim)
            elif work is None:
                if waiting:
                    wake(waiting)
                return
            elif work is ...:
                break
            elif type(work) is BatchTicket:
                begin_batch(work)
            else:
                control(work)
        loop.call_soon(look)

    return look
