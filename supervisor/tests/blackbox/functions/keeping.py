"""A handler that keeps views of bodies in every way; for `test_lifetimes.py`.

Each body is a canary: made of the number in its path, so that a byte of another event is seen.
"""

import gc
import hashlib
import os
import threading
import time

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes")
kept = {}
threads = {}
go = {}


def note(text):
    with open(NOTES, "a") as notes:
        notes.write(text + "\n")


def canary(number, size):
    block = hashlib.sha256(str(number).encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def is_right(view, number):
    return bytes(view) == canary(number, len(view))


def in_list(event, number):
    kept.setdefault("list", []).append((number, event.body_view))


def in_slices(event, number):
    view = event.body_view
    kept.setdefault("slices", []).append((number, view[:7], view.cast("B")))
    del view


def in_array(event, number):
    import numpy

    array = numpy.frombuffer(event.body_view, dtype=numpy.uint8)
    kept.setdefault("array", []).append((number, array[1:-1].reshape(-1, 2)))


def in_closure(event, number):
    view = event.body_view

    def look():
        return is_right(view, number)

    kept.setdefault("closure", []).append(look)


def in_thread(event, number):
    """A thread looks again and again, also while the handler has long returned."""
    view = event.body_view
    stop = go.setdefault("stop", threading.Event())

    def watch():
        while not stop.wait(0.002):
            if not is_right(view, number):
                note(f"thread {number} saw another event")
                return
        note(f"thread {number} fine")

    thread = threads[number] = threading.Thread(target=watch, daemon=True)
    thread.start()


def in_child(event, number):
    """A child looks while the parent has answered and forgotten its own view."""
    view = event.body_view
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(told, b"1")
        for _ in range(200):
            if not is_right(view, number):
                note(f"child {number} saw another event")
                os._exit(1)
            time.sleep(0.005)
        note(f"child {number} fine")
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(told)


def stubborn(event, number):
    """A thread that keeps the process from ending, and its view."""
    view = event.body_view
    threading.Thread(target=lambda: (time.sleep(3600), view)).start()


def look():
    wrong = []
    for number, view in kept.get("list", ()):
        wrong += [] if is_right(view, number) else [number]
    for number, start, whole in kept.get("slices", ()):
        right = is_right(start, number) and is_right(whole, number)
        wrong += [] if right else [number]
    for number, array in kept.get("array", ()):
        size = array.size + 2
        wrong += [] if array.tobytes() == canary(number, size)[1:-1] else [number]
    wrong += [n for n, closure in enumerate(kept.get("closure", ())) if not closure()]
    return f"{sum(map(len, kept.values()))} kept, wrong {wrong}"


def handler(context, event):
    word, _, number = event.path.strip("/").partition("/")
    if word == "ok":
        return str(os.getpid())
    if word == "pass":
        return "right" if is_right(event.body_view, int(number)) else (500, "wrong")
    if word == "look":
        return look()
    if word == "forget":
        if "stop" in go:
            go.pop("stop").set()
            for thread in threads.values():
                thread.join()
            threads.clear()
        kept.clear()
        gc.collect()
        return "forgotten"
    globals()[word](event, int(number))
    return str(os.getpid())
