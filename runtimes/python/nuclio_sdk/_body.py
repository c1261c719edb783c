"""Waits for the pieces of a request body in the event loop of an async handler."""

# Set by the loop: gives a future that is done when something has come down.
news = None


async def piece(stream):
    """The next piece; at the end `_take` raises StopAsyncIteration."""
    taken = stream._take()
    while taken is None:
        await news()
        taken = stream._take()
    return taken
