"""A folder to type `nuclio` commands in, and a way to find what they left running.

For commands that end by themselves; what serves is started by `processor.Processor`.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass

from processor import NUCLIO, PYTHON

# A mistake is told within a second or two; the rest is for a busy machine.
COMMAND_LIMIT_S = 30
# Inherited by everything a command starts, so that it can be found again.
MARK = "NUCLIO_BLACKBOX_MARK"


def refuse_skip(program):
    """A program the tests need; its absence is a failure, since `setup` provides it."""
    path = shutil.which(program)
    if path is None:
        raise AssertionError(f"{program} is not installed; run `cargo xtask setup`")
    return path


@dataclass
class Said:
    """What a command answered."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    def __str__(self):
        return f"exit {self.code} after {self.seconds:.2f} s\n{self.stdout}---\n{self.stderr}"


class Desk:
    """Use as a context manager: the folder goes at the end, and so does what was left running."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nuclio-desk-"))
        self.mark = uuid.uuid4().hex

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.left_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def file(self, name, text, mode=0o644):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def environment(self, more=None):
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {
            "NUCLIO_STATE_DIR": str(self.folder / "state"),
            "NUCLIO_PYTHON": PYTHON,
            "NUCLIO_ADMIN": "127.0.0.1:0",
            "PORT": "0",
            MARK: self.mark,
        }
        merged = {**kept, **own, **(more or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def nuclio(self, *words, env=None, stdin=subprocess.DEVNULL, limit_s=COMMAND_LIMIT_S):
        """Types a command and waits for its end; a variable that is None is not set."""
        begun = time.monotonic()
        with self.start(*words, env=env, stdin=stdin) as child:
            try:
                out, err = child.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
                raise AssertionError(f"{words} still ran after {limit_s} s:\n{err}") from None
        text = [
            data.decode(errors="replace").replace(str(self.folder), "DIR") for data in (out, err)
        ]
        return Said(child.returncode, *text, time.monotonic() - begun)

    def start(self, *words, env=None, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE):
        """Types a command that goes on running."""
        return subprocess.Popen(
            [NUCLIO, *words],
            cwd=self.folder,
            env=self.environment(env),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def left_running(self):
        """Processes that a command of this desk started and that still live."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and int(entry) != os.getpid():
                    if wanted in pathlib.Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                        found.append(int(entry))
        return found

    def registered(self):
        """Files that functions of this desk have in the registry, locks aside."""
        return sorted(
            str(path.relative_to(self.folder / "state"))
            for path in (self.folder / "state").rglob("*")
            if not path.is_dir() and path.name != "lock"
        )
