"""An async handler that waits, fails and blocks in every way; for `test_async_handlers.py`."""

import asyncio
import contextvars
import os
import sys
import time

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes")
running = 0
most = 0
kept = []
name = contextvars.ContextVar("name", default="nobody")


def note(text):
    with open(NOTES, "a") as notes:
        notes.write(text + "\n")


async def init_context(context):
    await asyncio.sleep(0)
    context.user_data.loop = asyncio.get_running_loop()
    context.user_data.background = asyncio.create_task(asyncio.sleep(10**6))


async def sleeps(context, event, argument):
    global running, most
    running += 1
    most = max(most, running)
    try:
        await asyncio.sleep(float(argument))
    finally:
        running -= 1
    return f"{event.get_header('X-Number')} {most}"


async def echo(context, event, argument):
    """The body before and after others had their turn."""
    view, body = event.body_view, event.body
    await asyncio.sleep(float(argument or 0.01))
    return body if bytes(view) == body == event.body else (500, b"another body")


async def logs(context, event, argument):
    name.set(argument)
    context.logger.info(f"{argument} begins")
    print(f"{argument} prints", end="")
    await asyncio.sleep(0.02)
    print(f" {name.get()} goes on")
    context.logger.info(f"{argument} ends")

    async def inner():
        context.logger.info(f"{argument} in a task")

    await asyncio.create_task(inner())
    return event.id


async def raises(context, event, argument):
    await asyncio.sleep(0)
    raise ValueError("some error")


async def group(context, event, argument):
    async def bad(word):
        raise ValueError(word)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bad("one"))
        tasks.create_task(bad("two"))


async def cancels_itself(context, event, argument):
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def leaves(context, event, argument):
    await asyncio.sleep(0)
    sys.exit(3)


async def interrupts(context, event, argument):
    raise KeyboardInterrupt


async def dies(context, event, argument):
    await asyncio.sleep(0)
    note(f"{event.method} {argument}")
    os._exit(3)


async def hangs(context, event, argument):
    """Waits for ever and says that it was cancelled."""
    note("began")
    try:
        await asyncio.sleep(10**6)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    finally:
        note("cleaned")


async def refuses_to_end(context, event, argument):
    while True:
        try:
            await asyncio.sleep(10**6)
        except asyncio.CancelledError:
            note("ignored")


async def answers_late(context, event, argument):
    try:
        await asyncio.sleep(10**6)
    except asyncio.CancelledError:
        note("late")
        return "too late"


async def blocks(context, event, argument):
    note("blocks")
    time.sleep(float(argument))
    return "blocked"


async def spins(context, event, argument):
    note("spins")
    while True:
        pass


async def later(context, event, argument):
    """A task that outlives its event, and reads the event then."""

    async def read():
        await asyncio.sleep(0.05)
        note(f"later {event.path} {len(event.body)} {event.get_header('x-mark')}")

    kept.append(asyncio.create_task(read()))
    return "soon"


async def forks(context, event, argument):
    """Child and parent both return, raise or wait."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    elif argument == "raise":
        raise ValueError("in the child")
    elif argument == "exit":
        sys.exit(0)
    return f"{os.getpid()} False"


async def stops_loop(context, event, argument):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "stopped"


def plain(context, event, argument):
    return "plain"


async def ok(context, event, argument):
    return f"{os.getpid()} {context.user_data.background.done()}"


async def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    result = globals()[word](context, event, argument)
    return await result if hasattr(result, "__await__") else result
