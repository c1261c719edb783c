"""Starts a processor as a user would, looks at it from outside, and stops it.

Every wait is for a fact and is bounded. Only processes started here are ended, each by its pid.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from dataclasses import dataclass
from urllib.parse import urlsplit

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
DIST = pathlib.Path(os.environ.get("NUCLIO_TEST_DIST", REPOSITORY / "target/dev-dist/nuclio"))
PYTHON = os.environ.get("NUCLIO_TEST_PYTHON", sys.executable)
NUCLIO = str(DIST / "bin/nuclio")
PROCESSOR = str(DIST / "bin/processor")

# Generous: the machine may be busy with other tests.
START_LIMIT_S = 30
STOP_LIMIT_S = 30
SETTLE_LIMIT_S = 15
# States of a connection in /proc/net/tcp.
ESTABLISHED, CLOSE_WAIT = "01", "08"
ADMIN_LIMIT_S = 10
LOOK_S = 0.005
# The name that a zygote gives itself.
ZYGOTE = "nuclio-zygote"

# What handlers of these tests do is chosen by the path: /sleep/0.5, /bytes/100, /status/204.
HANDLER = """
import hashlib, time

def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    if word == "sleep":
        time.sleep(float(argument))
        return "slept"
    if word == "bytes":
        return bytes(int(argument))
    if word == "status":
        return context.Response(status_code=int(argument), body="text", headers={"X-Own": "1"})
    if word == "digest":
        return hashlib.sha256(event.body).hexdigest()
    if word == "method":
        return event.method
    return event.body
"""


def wait_until(fact, what, limit_s=SETTLE_LIMIT_S):
    """The fact's value as soon as it is true; an error that names it when it is not in time."""
    end = time.monotonic() + limit_s
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s} s: {what() if callable(what) else what}")
        time.sleep(LOOK_S)


def stat_fields(path):
    """The fields of a /proc stat file behind the name, or None when the process has gone."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def is_alive(pid):
    fields = stat_fields(f"/proc/{pid}/stat")
    return fields is not None and fields[0] not in "ZX"


def children_of(pid):
    """Living and unreaped processes whose parent this is."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(f"/proc/{entry}/stat")
            if fields and int(fields[1]) == pid:
                found.append(int(entry))
    return sorted(found)


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


@dataclass
class Census:
    """What a processor holds; equal before and after whatever a test did."""

    pid: int
    children: list
    descriptors: int
    slots: int
    connections: int
    waiting: int


class Processor:
    """A running `nuclio run` (which becomes `processor`), in a folder of its own."""

    def __init__(self, code=HANDLER, spec=None, flags=(), env=None, wrap=(), files=(), **popen):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nuclio-blackbox-"))
        for file in files:
            shutil.copy(file, self.folder)
        # The file with the code; None for a function that is a program on PATH.
        name = popen.pop("file", "function.py")
        # Whether a zygote comes once it serves; its descriptors are part of every census.
        self.forks = popen.pop("forks", name is not None and name.endswith(".py"))
        argv = [*wrap, NUCLIO, "run"]
        if name is not None:
            (self.folder / name).write_text(code)
            (self.folder / name).chmod(0o755)
            argv.append(name)
        if spec is not None:
            (self.folder / "function.yaml").write_text(function_yaml(spec))
            argv += ["-f", "function.yaml"]
        self._errors = open(self.folder / "stderr", "wb")
        self.ready = ""
        self.http = self.admin_at = None
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", self._errors)
        self.child = subprocess.Popen(
            [*argv, *flags], cwd=self.folder, env=self.environment(env), **popen
        )
        self.pid = self.child.pid

    def environment(self, more=None):
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        state = str(self.folder / "state")
        # Free ports; a flag of the test's own overrides them.
        ports = {"PORT": "0", "NUCLIO_ADMIN": "127.0.0.1:0"}
        own = {"NUCLIO_STATE_DIR": state, "NUCLIO_PYTHON": PYTHON}
        whole = {**kept, **ports, **own, **(more or {})}
        return {name: value for name, value in whole.items() if value is not None}

    # --- start and stop

    def wait_ready(self, limit_s=START_LIMIT_S):
        """Waits for the ready line; an error with what the program said if it does not come."""
        end = time.monotonic() + limit_s
        line = b""
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left < 0 or not select.select([self.child.stdout], [], [], left)[0]:
                raise AssertionError(f"no ready line in {limit_s} s; stderr:\n{self.stderr()}")
            byte = os.read(self.child.stdout.fileno(), 1)
            if not byte:
                code = self.wait_end()
                raise AssertionError(f"ended with {code} before ready:\n{self.stderr()}")
            line += byte
        self.ready = line.decode()
        self.found(self.ready)
        return self

    def found(self, text):
        """Takes the addresses from the ready line, and waits for what comes after it."""
        self.http = address(re.search(r"ready: (http://\S+)", text).group(1))
        admin = re.search(r"admin (http://\S+)", text)
        self.admin_at = address(admin.group(1)) if admin else ("127.0.0.1", 8081)
        if self.forks:
            wait_until(self.zygote, "the zygote is there")

    def wait_end(self, limit_s=STOP_LIMIT_S):
        """The exit code; an error if it is still there after the limit."""
        try:
            return self.child.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {limit_s} s:\n{self.stderr()}") from None

    def signal(self, number):
        self.child.send_signal(number)

    @contextlib.contextmanager
    def paused(self):
        """Stands still meanwhile, so that it meets all that happens at once."""
        self.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: stat_fields(f"/proc/{self.pid}/stat")[0] == "T", "it is stopped")
            yield
        finally:
            self.signal(signal.SIGCONT)

    def stop(self):
        """Asks it to end as a supervisor would; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_end()

    def close(self):
        """Ends what is left, by pid, and removes the folder."""
        workers = children_of(self.pid) if self.child.poll() is None else []
        with contextlib.suppress(ProcessLookupError):
            if self.child.poll() is None:
                self.child.kill()
        self.child.wait(STOP_LIMIT_S)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.child.stdout:
            self.child.stdout.close()
        self._errors.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- looking at it

    def stderr(self):
        return (self.folder / "stderr").read_text(errors="replace")

    def admin(self, path):
        """Status and body of a page of the admin listener."""
        connection = http.client.HTTPConnection(*self.admin_at, timeout=ADMIN_LIMIT_S)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Connection": "close"})
            reply = connection.getresponse()
            return reply.status, reply.read()

    def stats(self):
        return json.loads(self.admin("/api/stats")[1])

    def workers(self):
        return json.loads(self.admin("/api/workers")[1])

    def worker_pids(self):
        return sorted(row["pid"] for row in self.workers() if row["state"] == "ready")

    def counter(self, name):
        return self.stats()["counters"][name]

    def threads(self):
        """Thread ids by name."""
        tasks = pathlib.Path(f"/proc/{self.pid}/task")
        return {(task / "comm").read_text().strip(): int(task.name) for task in tasks.iterdir()}

    def private_bytes(self, pid=None):
        """Resident memory that is not shared; the event memory is, and stays."""
        status = pathlib.Path(f"/proc/{pid or self.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status).group(1)) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def zygote(self):
        """The pid of the process that forks workers; None while there is none."""
        found = [pid for pid in children_of(self.pid) if name_of(pid) == ZYGOTE]
        return found[0] if found else None

    def children(self):
        """All but the zygote, which comes when the function serves."""
        return [pid for pid in children_of(self.pid) if name_of(pid) != ZYGOTE]

    def is_asked(self):
        """A connection to the admin listener is still open on its side."""
        port = f":{self.admin_at[1]:04X}"
        rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(row[1].endswith(port) and row[3] in (ESTABLISHED, CLOSE_WAIT) for row in rows)

    def census(self):
        stats = self.stats()
        # Our own question must not be counted.
        wait_until(lambda: not self.is_asked(), "the admin listener has closed our connection")
        return Census(
            pid=self.pid if is_alive(self.pid) else 0,
            children=self.children(),
            descriptors=self.descriptors(),
            slots=sum(one["used"] for one in stats["slots"].values()),
            connections=stats["connections"],
            waiting=stats["pending"] + stats["in_flight"],
        )

    def wait_census(self, before, limit_s=SETTLE_LIMIT_S, same_workers=True):
        """Waits until it holds what it held before; other workers, if told, but as many."""
        seen = [None]

        def settled():
            seen[0] = self.census()
            if not same_workers and len(seen[0].children) == len(before.children):
                seen[0].children = before.children
            return seen[0] == before

        wait_until(settled, lambda: f"holds {seen[0]}, before {before}", limit_s)


def allow_descriptors():
    """For a test program that needs as many descriptors as it has clients; undone at its end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    unittest.addModuleCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))


def free_port():
    """A port for a program that cannot choose one itself."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def function_yaml(spec):
    """A function.yaml with this spec; JSON is YAML."""
    body = {"apiVersion": "nuclio.io/v1", "kind": "Function", "metadata": {"name": "function"}}
    return json.dumps({**body, "spec": spec})


def http_trigger(attributes=None, **more):
    """`spec.triggers` with one HTTP trigger."""
    return {"web": {"kind": "http", "attributes": attributes or {}, **more}}


def address(url):
    parts = urlsplit(url)
    return parts.hostname, parts.port


class ProcessorCase(unittest.TestCase):
    """Tests that share one processor; each must leave it as it was."""

    code = HANDLER
    spec = None
    flags = ()
    env = None
    # Off for tests that replace workers on purpose.
    keeps_workers = True
    # More for languages that are compiled first.
    start_limit_s = START_LIMIT_S
    # The file that the code is written to; its ending chooses the runtime.
    file = "function.py"

    @classmethod
    def setUpClass(cls):
        cls.processor = Processor(cls.code, cls.spec, cls.flags, cls.env, file=cls.file)
        cls.addClassCleanup(cls.processor.close)
        cls.processor.wait_ready(cls.start_limit_s)
        cls.before = cls.processor.census()

    def setUp(self):
        self.http = self.processor.http

    def tearDown(self):
        """Nothing leaked: the same process, workers, descriptors, slots and connections."""
        self.processor.wait_census(self.before, same_workers=self.keeps_workers)

    @classmethod
    def tearDownClass(cls):
        code = cls.processor.stop()
        errors = cls.processor.stderr()
        assert code == 0, f"ended with {code} after SIGTERM:\n{errors}"
        assert "panicked" not in errors, errors
