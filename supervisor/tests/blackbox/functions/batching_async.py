"""An async handler of batches; for `test_batches.py`."""

import asyncio
import os
import time

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes")
running = 0
most = 0


def note(text):
    with open(NOTES, "a") as notes:
        notes.write(text + "\n")


async def one(event):
    if "fail" in event.path:
        raise ValueError(event.path)
    await asyncio.sleep(0.01)
    return event.path


async def gathers(context, events):
    return await asyncio.gather(*map(one, events), return_exceptions=True)


async def counts(context, events):
    global running, most
    running += 1
    most = max(most, running)
    await asyncio.sleep(0.3)
    running -= 1
    return [f"{len(events)} {most}"] * len(events)


async def waits(context, events):
    note(f"began {len(events)}")
    try:
        await asyncio.sleep(float(events[0].get_header("X-Seconds")))
    except asyncio.CancelledError:
        note("cancelled")
        raise
    return [event.path for event in events]


async def blocks(context, events):
    time.sleep(3600)


async def handler(context, events):
    if type(events) is not list:
        return str(os.getpid())
    return await globals()[events[0].path.strip("/").partition("/")[0]](context, events)
