"""A handler that writes over the shared memory; for `test_corrupted_memory.py`.

Stands for a native extension that writes where it must not.
"""

import ctypes
import os
import random
import re

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes")


def shared_ranges():
    """What this process can write of the memory it shares."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            found = re.match(r"(\w+)-(\w+) rw-s .*memfd", line)
            if found:
                yield int(found[1], 16), int(found[2], 16)


def corrupt(how, seed):
    rng = random.Random(seed)
    for start, end in shared_ranges():
        if how == "zeros":
            ctypes.memset(start, 0, end - start)
        elif how == "ones":
            ctypes.memset(start, 255, end - start)
        elif how == "noise":
            ctypes.memmove(start, rng.randbytes(end - start), end - start)
        else:
            # Words here and there in the first kibibytes, where the indices and entries are.
            count, _, kibibytes = how.partition("x")
            words = (int(kibibytes) << 10) // 8
            for _ in range(int(count)):
                word = rng.choice([rng.randbytes(8), bytes(8), b"\xff" * 8, b"\1" + bytes(7)])
                ctypes.memmove(start + rng.randrange(words) * 8, word, 8)


def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    if word == "ranges":
        return [end - start for start, end in shared_ranges()]
    if word == "corrupt":
        how, _, seed = argument.partition("/")
        with open(NOTES, "a") as notes:
            notes.write(f"{event.method} {argument}\n")
        corrupt(how, int(seed))
        return "corrupted"
    return "ok"
