"""Request bodies piece by piece, as sync and as async handler; for `test_uploads.py`.

What a handler has seen is noted in a file, and it waits for a file where a test says when.
"""

import asyncio
import hashlib
import json
import pathlib
import time

FOLDER = pathlib.Path(__file__).resolve().parent


def note(text):
    with open(FOLDER / "notes", "a") as notes:
        notes.write(text + "\n")


def opened(gate):
    return (FOLDER / gate).exists()


class Seen:
    """What came, by its digest, and in how many pieces."""

    def __init__(self):
        self.whole = hashlib.sha256()
        self.sizes = []

    def add(self, piece):
        self.whole.update(piece)
        self.sizes.append(len(piece))

    def told(self):
        sizes = self.sizes
        digest = self.whole.hexdigest()
        return json.dumps({"digest": digest, "bytes": sum(sizes), "pieces": len(sizes)})


def told(pieces):
    seen = Seen()
    for piece in pieces:
        seen.add(piece)
    return seen.told()


async def told_async(pieces):
    seen = Seen()
    async for piece in pieces:
        seen.add(piece)
    return seen.told()


def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    pieces = event.body_stream
    if word == "ok":
        return "ok"
    if word == "digest":
        return told(pieces)
    if word == "echo":
        return (piece for piece in pieces)
    if word == "body":
        return f"{type(event.body).__name__} {len(event.body)} {len(event.body_view)}"
    if word == "noted":
        note("begun")
        try:
            for piece in pieces:
                note(f"piece {len(piece)}")
        except OSError as error:
            note(f"{type(error).__name__}: {error}")
            raise
        note("end")
        return "noted"
    if word == "unread":
        return "not read"
    if word == "some":
        return next(pieces)
    if word == "mixed":
        next(pieces)
        return event.body
    if word == "gated":
        note("begun")
        while not opened(argument):
            time.sleep(0.002)
        return told(pieces)
    if word == "kept":
        context.user_data.kept = pieces
        return "kept"
    if word == "late":
        return next(context.user_data.kept)
    raise ValueError(word)


async def echoed(pieces):
    async for piece in pieces:
        yield piece


async def async_handler(context, event):
    """The same; what would hold up the loop waits in its own way."""
    word, _, argument = event.path.strip("/").partition("/")
    pieces = event.body_stream
    if word == "digest":
        return await told_async(pieces)
    if word == "echo":
        return echoed(pieces)
    if word == "noted":
        note("begun")
        try:
            async for piece in pieces:
                note(f"piece {len(piece)}")
        except OSError as error:
            note(f"{type(error).__name__}: {error}")
            raise
        note("end")
        return "noted"
    if word == "some":
        return await anext(pieces)
    if word == "mixed":
        await anext(pieces)
        return event.body
    if word == "gated":
        note("begun")
        while not opened(argument):
            await asyncio.sleep(0.002)
        return await told_async(pieces)
    if word == "late":
        return await anext(context.user_data.kept)
    return handler(context, event)
