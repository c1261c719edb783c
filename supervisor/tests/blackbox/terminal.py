"""A terminal to start a command in: it is the command's controlling terminal, as in a shell."""

import contextlib
import errno
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

from processor import NUCLIO

LIMIT_S = 60
# Colours and movements of the cursor.
CONTROL = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")

# Makes the terminal its own in a session of its own, then becomes the command.
LEADER = (
    "import fcntl, os, sys, termios\n"
    "os.setsid()\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)


class Terminal:
    """A `nuclio` command in a terminal. What it shows is kept in `shown`."""

    def __init__(self, desk, *words, env=None):
        self.leader, follower = pty.openpty()
        # No echo: what is shown is what the programs say.
        modes = termios.tcgetattr(follower)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(follower, termios.TCSANOW, modes)
        environment = desk.environment({"TERM": "dumb", **(env or {})})
        self.child = subprocess.Popen(
            [sys.executable, "-c", LEADER, NUCLIO, *words],
            cwd=desk.folder, env=environment, stdin=follower, stdout=follower, stderr=follower,
        )
        os.close(follower)
        self.shown = b""
        self._from = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
        with contextlib.suppress(OSError):
            os.close(self.leader)
        self.child.wait(LIMIT_S)

    def wait_for(self, pattern, limit_s=LIMIT_S):
        """The match of a pattern in what is shown behind the one before."""
        end = time.monotonic() + limit_s
        while True:
            match = re.search(pattern.encode(), self.shown[self._from :])
            if match:
                self._from += match.end()
                return match
            left = end - time.monotonic()
            if left < 0 or not self._read(left):
                raise AssertionError(f"{pattern!r} is not shown:\n{self.text()}")

    def _read(self, limit_s):
        """Takes what comes; false at the end."""
        if not select.select([self.leader], [], [], limit_s)[0]:
            return True
        try:
            data = os.read(self.leader, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        self.shown += CONTROL.sub(b"", data)
        return bool(data)

    def text(self):
        return self.shown.decode(errors="replace")

    def type(self, line):
        os.write(self.leader, line.encode() + b"\n")

    def interrupt(self):
        """Ctrl-C, as the terminal itself makes a signal of it."""
        os.write(self.leader, b"\x03")

    def hang_up(self):
        """Closes the window."""
        os.close(self.leader)
        self.leader = os.open(os.devnull, os.O_RDONLY)

    def wait_end(self, limit_s=LIMIT_S):
        """The exit code."""
        end = time.monotonic() + limit_s
        while self._read(0.05) and time.monotonic() < end:
            pass
        return self.child.wait(max(end - time.monotonic(), 1))

    def signal(self, number=signal.SIGTERM):
        self.child.send_signal(number)
