

# Appended to streaming.py: the same generators, each turned into an async one.


async def made_async(pieces):
    """As `pieces`, but waiting is done without holding up the loop."""
    try:
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)
    finally:
        pieces.close()


async def gated(argument):
    yield "first\n"
    while not opened(argument):
        await asyncio.sleep(0.002)
    yield "second\n"


async def slow_endless(argument):
    try:
        while True:
            yield "tick\n"
            await asyncio.sleep(0.002)
    finally:
        note("closed")


async def dies(argument):
    yield "first\n"
    while not opened(argument):
        await asyncio.sleep(0.002)
    os._exit(3)


async def handler(context, event):
    result = answer(context, event)
    return made_async(result) if hasattr(result, "gi_frame") else result
