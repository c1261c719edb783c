"""What the conformance kit asks of an async handler; see runtimes/conformance/README.md."""

import asyncio

import sync


async def stream(context, event, argument):
    for number in range(int(argument)):
        yield f"piece {number}\n"


async def stream_broken(context, event, argument):
    yield "piece 0\n"
    raise ValueError("failed on purpose")


async def handler(context, event):
    if isinstance(event, list):
        return sync.handler(context, event)
    word, _, argument = event.path.strip("/").partition("/")
    if word == "hang":
        await asyncio.Event().wait()
    if word == "sleep":
        await asyncio.sleep(0.2)
        return event.body
    if word == "stream":
        return stream(context, event, argument)
    if word == "stream-broken":
        return stream_broken(context, event, argument)
    return sync.one(context, event)
