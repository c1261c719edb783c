"""Replies piece by piece, as sync and as async handler; for `test_streaming.py`.

What a generator has done is noted in a file, and it waits for a file where a test says when.
"""

import asyncio
import os
import pathlib
import time

FOLDER = pathlib.Path(__file__).resolve().parent
PIECE = bytes(range(256)) * 128


def note(text):
    with open(FOLDER / "notes", "a") as notes:
        notes.write(text + "\n")


def opened(gate):
    return (FOLDER / gate).exists()


def counted(argument):
    for number in range(int(argument)):
        yield f"piece {number}\n"


def kinds(argument):
    yield "text é\n"
    yield ""
    yield b""
    yield b"bytes\n"
    yield bytearray(b"bytearray\n")
    yield memoryview(b"memoryview\n")


def gated(argument):
    """The second piece comes when the test has opened the gate."""
    yield "first\n"
    while not opened(argument):
        time.sleep(0.002)
    yield "second\n"


def endless(argument):
    """Notes how far it came, and that it was closed."""
    given = 0
    try:
        while True:
            yield PIECE
            given += 1
            (FOLDER / "progress").write_text(str(given))
    finally:
        note(f"closed after {given}")


def slow_endless(argument):
    """Pieces so small that no buffer ever fills."""
    try:
        while True:
            yield "tick\n"
            time.sleep(0.002)
    finally:
        note("closed")


def fails_at_once(argument):
    raise ValueError("no piece at all")
    yield "never"


def fails_later(argument):
    yield "first\n"
    raise ValueError("after the first")


def wrong_piece(argument):
    yield "first\n"
    yield 5


def much(argument):
    for _ in range(int(argument) * 32):
        yield PIECE


def large_piece(argument):
    yield PIECE * int(argument)


def dies(argument):
    yield "first\n"
    while not opened(argument):
        time.sleep(0.002)
    os._exit(3)


def noted(argument):
    try:
        yield "one\n"
        yield "two\n"
    finally:
        note("ended")


def hangs(argument):
    yield "first\n"
    time.sleep(1000)


class Iterator:
    """No generator, only an iterator."""

    def __init__(self):
        self.left = 3

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.left -= 1
        return f"{self.left}"


def iterator(argument):
    return Iterator()


def events(argument):
    yield {"number": 1}
    yield "event: named\ndata: x\n\n"
    while not opened(argument):
        time.sleep(0.002)
    yield {"number": 2}


async def made_async(pieces):
    """As `pieces`, from an async generator."""
    try:
        for piece in pieces:
            yield piece
            await asyncio.sleep(0)
    finally:
        pieces.close()


async def gated_async(argument):
    yield "first\n"
    while not opened(argument):
        await asyncio.sleep(0.002)
    yield "second\n"


async def slow_endless_async(argument):
    try:
        while True:
            yield "tick\n"
            await asyncio.sleep(0.002)
    finally:
        note("closed")


async def dies_async(argument):
    yield "first\n"
    while not opened(argument):
        await asyncio.sleep(0.002)
    os._exit(3)


def answer(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    if word == "ok":
        return "ok"
    if word == "pair":
        return 201, counted(2)
    if word == "response":
        return context.Response(
            body=counted(2), status_code=202, headers={"X-Own": "1"}, content_type="text/csv"
        )
    if word == "empty":
        return context.Response(body=counted(0))
    if word == "events":
        return context.Response(body=events(argument), content_type="text/event-stream")
    if word == "status":
        return context.Response(body=noted(argument), status_code=int(argument))
    if word == "view":
        view = event.body_view

        def pieces():
            yield view[: len(view) // 2]
            yield view[len(view) // 2 :]

        return pieces()
    return globals()[word](argument)


def handler(context, event):
    return answer(context, event)


async def async_handler(context, event):
    """The same; what would hold up the loop waits in its own way."""
    word, _, argument = event.path.strip("/").partition("/")
    if waits := globals().get(f"{word}_async"):
        return waits(argument)
    result = answer(context, event)
    return made_async(result) if hasattr(result, "gi_frame") else result
