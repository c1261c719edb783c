"""A function served by a real processor, for the tests of what only a worker does.

`NUCLIO_TEST_DIST` names the folder with `bin/nuclio` and `bin/processor`; the handler runs on the
interpreter that runs the test, unless a test says otherwise.
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

DIST = os.environ.get("NUCLIO_TEST_DIST")
# The interpreter that has the packages the tests need.
PYTHON = os.environ.get("NUCLIO_TEST_PYTHON", sys.executable)
# Generous: the machine may be busy with other tests.
LIMIT_S = 30


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()


class Served:
    """`nuclio run` in a folder of its own; a context manager."""

    def __init__(self, code, flags=(), env=None, python=sys.executable, name=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nuclio-python-"))
        source = pathlib.Path(code) if isinstance(code, pathlib.Path) else None
        if source is None:
            source = self.folder / "function.py"
            source.write_text(code)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        kept["NUCLIO_STATE_DIR"] = str(self.folder / "state")
        kept["NUCLIO_LOG_FORMAT"] = "json"
        self.errors_path = self.folder / "stderr"
        self.errors_file = open(self.errors_path, "wb")
        self.child = subprocess.Popen(
            [
                f"{DIST}/bin/nuclio",
                *(
                    "run",
                    *([name] if name else []),
                    str(source),
                    "--port",
                    "0",
                    "--admin",
                    "127.0.0.1:0",
                ),
                *("--python", python, *flags),
            ],
            cwd=self.folder,
            env={**kept, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors_file,
            text=True,
        )
        self.address = self.admin = None

    def __enter__(self):
        # The line comes, or the end of the output when it could not start.
        timer = threading.Timer(LIMIT_S, self.child.kill)
        timer.start()
        line = self.child.stdout.readline()
        timer.cancel()
        found = re.findall(r"http://([\d.]+):(\d+)", line)
        if not found:
            self.close()
            raise AssertionError(f"not ready: {line!r}\n{self.errors}")
        self.address, self.admin = [(host, int(port)) for host, port in found]
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
                raise AssertionError("the processor did not end") from None
        self.child.stdout.close()
        self.errors_file.close()
        self.errors = self.errors_path.read_text(errors="replace")
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, path="/", body=None, headers=(), method=None, address=None):
        host, port = address or self.address
        connection = http.client.HTTPConnection(host, port, timeout=LIMIT_S)
        try:
            method = method or ("GET" if body is None else "POST")
            connection.request(method, path, body, dict(headers))
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def stats(self):
        return self.ask("/api/stats", address=self.admin).json

    def slots_used(self):
        return sum(kind["used"] for kind in self.stats()["slots"].values())

    def in_flight(self):
        return self.stats()["in_flight"]

    def records(self, text=""):
        """Log records whose message holds `text`."""
        lines = self.errors_path.read_text(errors="replace").splitlines()
        said = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in said if text in record["message"]]


def wait_until(fact, what):
    """The fact's value as soon as it is true."""
    end = time.monotonic() + LIMIT_S
    while not (value := fact()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {LIMIT_S} s: {what}")
        time.sleep(0.005)
    return value


def of_this_version(module):
    """Whether `PYTHON` is of this version; then it must have the module."""
    question = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    if subprocess.run([PYTHON, "-c", question], timeout=LIMIT_S).returncode:
        return False
    have = subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, timeout=LIMIT_S)
    if have.returncode:
        raise AssertionError(f"{PYTHON} has no {module}; run `cargo xtask setup`")
    return True


def file_with(case, code, name="function.py"):
    """A file that is there until the test, or the class of tests, ends."""
    folder = tempfile.TemporaryDirectory(prefix="nuclio-testing-")
    (case.addClassCleanup if isinstance(case, type) else case.addCleanup)(folder.cleanup)
    path = pathlib.Path(folder.name) / name
    path.write_text(code)
    return path


@unittest.skipUnless(DIST, "NUCLIO_TEST_DIST names no folder with the programs")
class ServedCase(unittest.TestCase):
    """One processor for all tests of a class; `code` is the function."""

    code = ""
    flags = ()
    env = None

    @classmethod
    def setUpClass(cls):
        cls.served = Served(cls.code, cls.flags, cls.env)
        cls.enterClassContext(cls.served)

    def ask(self, *arguments, **named):
        return self.served.ask(*arguments, **named)
