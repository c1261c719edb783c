"""An async handler with very many events in flight; for `test_async_many.py`."""

import asyncio
import contextvars
import os
import sys
import time

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes")
name = contextvars.ContextVar("name", default="nobody")
running = 0
most = 0
turns = 0
kept = set()


def note(text):
    with open(NOTES, "a") as notes:
        notes.write(text + "\n")


async def init_context(context):
    async def counts():
        global turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    kept.add(asyncio.create_task(counts()))


async def sleeps(context, event, argument):
    global running, most
    running += 1
    most = max(most, running)
    await asyncio.sleep(float(argument))
    running -= 1
    return event.path


async def most_of_worker(context, event, argument):
    # So that the other workers get their share of these.
    await asyncio.sleep(0.05)
    return f"{os.getpid()} {most}"


async def variables(context, event, argument):
    """Each event has variables of its own, and gives them to what it starts."""
    before = name.get()
    name.set(argument)
    await asyncio.sleep(0.02)

    async def inner():
        await asyncio.sleep(0)
        return name.get()

    inside = await asyncio.create_task(inner())
    return f"{before} {name.get()} {inside}"


async def deadline(context, event, argument):
    await asyncio.sleep(float(argument))

    async def inner():
        return context.deadline

    same = context.deadline == await asyncio.create_task(inner())
    near = abs(context.deadline - event.deadline) < 1e-3
    return f"{same and near and 0 < context.deadline - time.monotonic() < 2}"


async def gives_up(context, event, argument):
    """An answer of its own, in time."""
    try:
        async with asyncio.timeout_at(context.deadline - 0.5):
            await asyncio.sleep(3600)
    except TimeoutError:
        return (504, "gave up in time")


async def blocks(context, event, argument):
    await asyncio.sleep(float(argument))
    note("blocks")
    time.sleep(3600)


async def turned(context, event, argument):
    return f"{os.getpid()} {turns}"


async def loop(context, event, argument):
    eager = sys.version_info >= (3, 12)
    return f"{type(asyncio.get_running_loop()).__module__} {eager}"


async def ok(context, event, argument):
    return str(os.getpid())


async def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    return await globals()[word](context, event, argument)
