"""``sys.stdout`` and ``sys.stderr`` of a worker: what is printed becomes log records."""

import io
import sys

from _nuclio import write_stream


class _Lines(io.RawIOBase):
    """Hands bytes to the log ring; never waits."""

    def __init__(self, number, name):
        self._number = number
        self.name = name
        self.mode = "w"

    def write(self, data):
        return write_stream(self._number == 2, data)

    def writable(self):
        return True

    def fileno(self):
        # The real descriptor, for code that needs one: child processes, faulthandler.
        return self._number

    def isatty(self):
        return False

    def close(self):
        # A program that closes its standard output goes on printing nowhere; so does this one.
        pass


def _stream(number, name, errors):
    # No buffer in between: a line begun by one event must not be ended by another.
    lines = _Lines(number, name)
    return io.TextIOWrapper(
        lines, encoding="utf-8", errors=errors, newline="\n", write_through=True
    )


def install():
    """Replaces both streams; what was printed before is flushed to the old ones."""
    for old in (sys.stdout, sys.stderr):
        if old is not None:
            old.flush()
    sys.stdout = _stream(1, "<stdout>", "surrogateescape")
    sys.stderr = _stream(2, "<stderr>", "backslashreplace")
