"""As it must be, but for a handler that cannot be cancelled."""

import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "python/conformance"))
import asynchronous


async def handler(context, event):
    while not isinstance(event, list) and event.path == "/hang":
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    return await asynchronous.handler(context, event)
