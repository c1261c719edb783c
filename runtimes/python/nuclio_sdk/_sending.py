"""Sends the pieces of a streamed reply from an event loop, without ever holding the loop up.

Imported with `_aio`; sync handlers do the same natively.
"""

import asyncio


async def sent(stream, room):
    """Sends all pieces; `room(stream)` gives what to wait for when the client is slow."""
    pieces = stream.pieces
    try:
        if hasattr(pieces, "__anext__"):
            await _send_async(stream, pieces, room)
        else:
            await _send(stream, pieces, room)
    except BaseException as error:
        # Cancelled, too: the client has left or the time is over.
        stream.fail(error)
    else:
        stream.end()


async def _send_async(stream, pieces, room):
    try:
        async for piece in pieces:
            await _one(stream, piece, room)
            if stream.head_only:
                break
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


async def _send(stream, pieces, room):
    try:
        for piece in pieces:
            await _one(stream, piece, room)
            if stream.head_only:
                break
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


async def _one(stream, piece, room):
    all_sent = stream.give(piece)
    while not all_sent:
        await room(stream)
        all_sent = stream.go_on()
    # A generator that never waits must neither starve other events nor miss its cancellation.
    await asyncio.sleep(0)


def wake(waiting):
    """Lets streams that wait try again."""
    woken = waiting[:]
    waiting.clear()
    for waiter in woken:
        if not waiter.done():
            waiter.set_result(None)
