"""A function under the real processor, for tests from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from http.client import HTTPConnection, HTTPException, IncompleteRead
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import nuclio_sdk
from nuclio_sdk import Headers
from nuclio_sdk.testing._events import parts_of, target_of
from nuclio_sdk.testing._reply import Record, Reply

# An interpreter on a busy machine; a quiet one needs a hundredth of it.
_START_LIMIT_S = 30
# Longer than the processor itself gives events that are under way.
_STOP_LIMIT_S = 30
# As long as `eventTimeout` is unless it was set.
_REPLY_LIMIT_S = 60
# Of a log, in an error message and under a failed test.
_SHOWN_LINES = 100

# A log that has not grown for so long has everything, and a test waits no longer than that for it.
_QUIET_S = 0.2
_QUIET_LIMIT_S = 2

# Fields of a record that are the processor's, not the handler's.
_OWN = frozenset(("time", "level", "message", "function", "worker", "trigger", "event_id"))

# Those that run, for the plugin that shows their logs.
running: list[Served] = []


class Served:
    """`nuclio run` of a file or folder; a context manager. Use :func:`serve`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        flags: Iterable[str | os.PathLike[str]] = (),
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        state: str | os.PathLike[str] | None = None,
    ) -> None:
        self.path = Path(path).resolve()
        self.url = ""
        """Where it listens, such as `http://127.0.0.1:40123`."""
        self._name = [name] if name else []
        self._flags = [os.fspath(flag) for flag in flags]
        self._python = python
        self._env = dict(env or {})
        self._state = state
        self._child: subprocess.Popen[str] | None = None
        self._said = ""
        self._folder = Path()

    def start(self) -> None:
        """Runs it until it is ready for events."""
        nuclio = program()
        self._folder = Path(tempfile.mkdtemp(prefix="nuclio-test-"))
        env = {**os.environ, **self._env, "NUCLIO_LOG_FORMAT": "json"}
        env["NUCLIO_STATE_DIR"] = os.fspath(self._state or self._folder / "state")
        argv = [nuclio, "run", *self._name, str(self.path), "--port", "0"]
        argv += ["--admin", "127.0.0.1:0", "--python", self._python, *self._flags]
        with open(self._folder / "log", "wb") as log:
            self._child = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        running.append(self)
        late = threading.Event()
        line = self._first_line(self._child, late)
        found = re.search(r"http://\S+", line)
        if found is None:
            self._end(self._child)
            what = f"was not ready within {_START_LIMIT_S} s" if late.is_set() else "cannot run"
            raise RuntimeError(f"{self.path.name} {what}: {line}{self._tail()}")
        self.url = found.group()

    def close(self) -> None:
        """Ends it as Ctrl-C does: events under way are finished."""
        if self._child is None:
            return
        problem = self._end(self._child)
        if problem:
            raise RuntimeError(f"{self.path.name} {problem}; its log:\n{self._tail()}")

    def _end(self, child: subprocess.Popen[str]) -> str:
        """Ends the program and keeps its log; gives what is wrong with its end."""
        problem = ""
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                problem = f"did not end within {_STOP_LIMIT_S} s and was killed"
                child.kill()
                child.wait()
        if child.returncode and not problem:
            problem = f"has ended with exit code {child.returncode}"
        if child.stdout is not None:
            child.stdout.close()
        self._said = self._read()
        self._child = None
        running.remove(self)
        shutil.rmtree(self._folder, ignore_errors=True)
        return problem

    def call(
        self,
        body: Any = b"",
        *,
        headers: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
        method: str | None = None,
        path: str = "/",
        fields: Mapping[str, Any] | None = None,
        content_type: str | None = None,
        timeout: float = _REPLY_LIMIT_S,
    ) -> Reply:
        """One request; the parameters are those of :func:`make_event`, but for `timeout`, which is
        how long the client waits for the next byte."""
        lines, raw = parts_of(body, headers, content_type)
        target = "?".join(part for part in target_of(path, fields) if part)
        method = method or ("POST" if raw else "GET")
        place = urlsplit(self.url)
        connection = HTTPConnection(place.hostname or "", place.port, timeout=timeout)
        with contextlib.closing(connection):
            try:
                connection.putrequest(method, target)
                for name, value in lines:
                    connection.putheader(name, value.encode())
                if raw or method not in ("GET", "HEAD", "OPTIONS", "TRACE"):
                    connection.putheader("Content-Length", str(len(raw)))
                connection.endheaders(raw or None)
                response = connection.getresponse()
                got = Headers()
                for name, value in response.getheaders():
                    got.add(name, value)
                try:
                    content, is_broken = response.read(), False
                except IncompleteRead as error:
                    content, is_broken = error.partial, True
                except ConnectionError:
                    content, is_broken = b"", True
            except TimeoutError:
                raise TimeoutError(f"{self.path.name} did not answer within {timeout} s") from None
            except (OSError, HTTPException) as error:
                raise self._lost(error) from error
        return Reply(response.status, got, content, broken=is_broken)

    @property
    def logs(self) -> list[Record]:
        """Records so far, of all events; one may come a moment after its reply."""
        found = []
        for line in self._read().splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                fields = {name: value for name, value in record.items() if name not in _OWN}
                found.append(Record(record["level"], record["message"], fields))
        return found

    def log_since(self, moment: datetime) -> str:
        """What was logged from then on, in a form for people; for a test that failed."""
        self._wait_for_quiet()
        lines, is_new = [], False
        for line in self._read().splitlines():
            logged, told = _for_people(line)
            # What is no record belongs to the one before it.
            is_new = is_new if logged is None else logged >= moment
            if is_new:
                lines.append(told)
        return "\n".join(lines[-_SHOWN_LINES:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _first_line(self, child: subprocess.Popen[str], late: threading.Event) -> str:
        """What it says when it is ready; nothing when it ends, or is ended because it is late."""

        def end() -> None:
            late.set()
            child.kill()

        assert child.stdout is not None
        timer = threading.Timer(_START_LIMIT_S, end)
        timer.start()
        try:
            return child.stdout.readline()
        finally:
            timer.cancel()

    def _lost(self, error: Exception) -> Exception:
        """Why nobody answers."""
        code = None if self._child is None else self._child.poll()
        if self._child is None:
            return RuntimeError(f"{self.path.name} is not running: use it inside its `with`")
        if code is None:
            return error
        return RuntimeError(
            f"{self.path.name} has ended with exit code {code}; its log:\n{self._tail()}"
        )

    def _read(self) -> str:
        if self._child is None:
            return self._said
        return (self._folder / "log").read_text(errors="replace")

    def _tail(self) -> str:
        told = [_for_people(line)[1] for line in self._read().splitlines()]
        return "\n".join(told[-_SHOWN_LINES:])

    def _wait_for_quiet(self) -> None:
        """A reply does not wait for the records written before it; who reads them does."""
        end = time.monotonic() + _QUIET_LIMIT_S
        size, since = -1, time.monotonic()
        while self._child is not None and time.monotonic() < end:
            grown = (self._folder / "log").stat().st_size
            if grown != size:
                size, since = grown, time.monotonic()
            elif time.monotonic() - since > _QUIET_S:
                return
            time.sleep(_QUIET_S / 10)


def serve(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    flags: Iterable[str | os.PathLike[str]] = (),
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
    state: str | os.PathLike[str] | None = None,
) -> Served:
    """`with serve("orders.py") as served:` runs the file as `nuclio run` does, on a free port.

    `flags` are those of `nuclio run`; `env` is added to the environment. Functions that share a
    folder `state` find each other by name.
    """
    return Served(path, name=name, flags=flags, env=env, python=python, state=state)


def _for_people(line: str) -> tuple[datetime | None, str]:
    """When it was logged, if it is a record, and how it is shown."""
    try:
        record = json.loads(line)
        moment = datetime.fromisoformat(record["time"])
        fields = {name: value for name, value in record.items() if name not in _OWN}
        told = f"{record['time'][11:23]} {record['level']:<5} {record['message']}"
    except (ValueError, KeyError, TypeError):
        return None, line
    return moment, told + "".join(f" {name}={value!r}" for name, value in fields.items())


def program() -> str:
    """The program: of the folder that this package is in, of this Python's environment, or of
    PATH."""
    package = Path(nuclio_sdk.__path__[0]).resolve()
    # A release folder has the package in runtimes/python and the programs in bin.
    folders = [str(package.parents[2] / "bin"), sysconfig.get_path("scripts")]
    if "posix_user" in sysconfig.get_scheme_names():
        folders.append(sysconfig.get_path("scripts", "posix_user"))
    looked = [os.path.join(folder, "nuclio") for folder in folders]
    for path in looked:
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    found = shutil.which("nuclio")
    if found is None:
        raise RuntimeError(
            f"the program nuclio was not found: looked at {', '.join(looked)} and in every folder "
            "of PATH; install its wheel into this environment, or put its folder bin into PATH"
        )
    return found
