# Many events in flight; see deeds.py.
import asyncio

from deeds import begin, end, seconds


async def handler(context, event):
    deed = begin(event)
    if deed == "d":
        await asyncio.sleep(seconds(event))
    return end(context, event, deed)
