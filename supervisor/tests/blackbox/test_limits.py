"""Surroundings that lack something: the processor serves without it, or says what it needs."""

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import unittest

from processor import Processor, children_of, is_alive, wait_until
from wire import Client, ask, request

HERE = pathlib.Path(__file__).resolve().parent
PRINTER = """
def handler(context, event):
    if event.path == "/print":
        for n in range(2000):
            print("x" * 1000)
    return event.body
"""


def refusing(call, error):
    """A wrapper under which the kernel refuses a system call."""
    return [sys.executable, str(HERE / "refuse_syscall.py"), call, error]


class Surroundings(unittest.TestCase):
    def start(self, **options):
        processor = Processor(**options)
        self.addCleanup(processor.close)
        return processor

    def refused(self, code, *words, **options):
        """Ends at once with this code, and what it says has these words; nothing is left."""
        processor = self.start(**options)
        self.assertEqual(processor.wait_end(), code, processor.stderr())
        for word in words:
            self.assertIn(word, processor.stderr())
        self.assertNotIn("panicked", processor.stderr())
        self.assertEqual(children_of(processor.pid), [])
        return processor

    def serves(self, processor):
        self.assertEqual(ask(processor.http, "POST", "/", b"x").body, b"x")
        self.assertEqual(processor.stop(), 0, processor.stderr())


class Descriptors(Surroundings):
    """Few descriptors: connections wait or go, the processor lives and recovers."""

    LIMIT = 256

    def test_more_clients_than_descriptors(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.LIMIT, self.LIMIT))

        processor = self.start(preexec_fn=limit).wait_ready()
        before = processor.census()
        used = [Client(processor.http) for _ in range(20)]
        for client in used:
            self.assertEqual(client.ask("POST", "/", b"x").body, b"x")
        busy = Client(processor.http).send(request("GET", "/sleep/2"))
        flood = [Client(processor.http) for _ in range(400)]
        wait_until(lambda: "connections is reached" in processor.stderr(), "it says so")
        held = processor.stats()["connections"]
        self.assertLess(held, self.LIMIT)
        # Who has been idle for longest makes room, who waits for a reply stays.
        wait_until(used[0].is_closed, "the first one is closed")
        self.assertEqual(busy.reply().body, b"slept")
        # A worker that dies in the middle of it is replaced: descriptors are kept for that.
        worker = processor.worker_pids()[0]
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: processor.worker_pids() not in ([], [worker]), "a new worker")
        said = processor.stderr().count("connections is reached")
        self.assertLess(said, 4, "a flood of connections is no flood of log lines")
        for client in [*flood, *used, busy]:
            client.close()
        wait_until(lambda: processor.stats()["connections"] == 0, "all have gone")
        wait_until(lambda: processor.descriptors() == before.descriptors, "all are closed")
        self.serves(processor)

    def test_too_few_to_start(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (70, 70))

        self.refused(2, "open files", "70", "ulimit -n", preexec_fn=limit)


class Streams(Surroundings):
    """Standard streams that are closed, broken, or that nobody reads."""

    def found_by_state(self, processor):
        """Waits for the ready processor where it cannot say so."""
        file = processor.folder / "state/run/default/function/state.json"
        state = wait_until(lambda: file.exists() and json.loads(file.read_text()), "it is ready")
        processor.found(f"ready: {state['url']} admin {state['admin']}")
        return processor

    def test_closed_streams(self):
        for closed in [(0,), (1,), (2,), (0, 1, 2)]:
            with self.subTest(closed=closed):
                processor = self.start(preexec_fn=lambda c=closed: [os.close(fd) for fd in c])
                self.found_by_state(processor)
                before = processor.census()
                # Numbers that a worker takes for standard streams are not something else.
                for fd in closed:
                    target = os.readlink(f"/proc/{processor.pid}/fd/{fd}")
                    self.assertEqual(target, "/dev/null")
                self.assertEqual(ask(processor.http, "POST", "/", b"x").body, b"x")
                processor.wait_census(before)
                self.serves(processor)

    def test_output_that_nobody_takes(self):
        for name in ["stdout", "stderr"]:
            with self.subTest(name):
                reading, writing = os.pipe()
                processor = self.start(code=PRINTER, **{name: writing})
                os.close(writing)
                os.close(reading)
                self.found_by_state(processor)
                self.assertEqual(ask(processor.http, "POST", "/print", b"x").body, b"x")
                self.serves(processor)

    def test_output_that_nobody_reads(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        processor = self.start(code=PRINTER, stderr=writing)
        os.close(writing)
        self.found_by_state(processor)
        with Client(processor.http) as client:
            for _ in range(10):
                self.assertEqual(client.ask("POST", "/print", b"x").body, b"x")
        self.assertGreater(processor.counter("log_dropped"), 0)
        self.serves(processor)


class Kernel(Surroundings):
    """What a sandbox may take away."""

    def test_no_shared_memory_folder(self):
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        script = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'
        wrap = ["unshare", *as_root, "--mount", "sh", "-c", script, "sh"]
        if subprocess.run([*wrap, "true"], capture_output=True, timeout=30).returncode != 0:
            self.skipTest("this user may not make a mount namespace")
        self.serves(self.start(wrap=wrap).wait_ready())

    def test_memfd_refused(self):
        for error in ["EPERM", "ENOSYS"]:
            with self.subTest(error):
                self.refused(2, "memfd", "shared memory", wrap=refusing("memfd_create", error))

    def test_a_folder_for_state_that_cannot_be_written(self):
        with tempfile.NamedTemporaryFile() as file:
            processor = self.start(env={"NUCLIO_STATE_DIR": file.name}).wait_ready()
            self.assertIn("no name is kept", processor.stderr())
            self.serves(processor)

    def test_a_folder_for_state_of_another_user(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        with tempfile.TemporaryDirectory() as folder:
            wrap = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            if subprocess.run([*wrap, "test", "-x", sys.executable], timeout=30).returncode != 0:
                # As a user has it whose Python lies in another's home.
                wrap = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
            os.chmod(folder, 0o500)
            processor = self.start(env={"NUCLIO_STATE_DIR": folder}, wrap=wrap)
            os.chmod(processor.folder, 0o755)
            self.serves(processor.wait_ready())


class Ports(Surroundings):
    """Ports that cannot be had."""

    def test_taken(self):
        with self.start().wait_ready() as first:
            port, admin = str(first.http[1]), "%s:%d" % first.admin_at
            flags = ["--port", port, "--admin", admin]
            second = self.refused(2, port, "taken", admin.rpartition(":")[2], flags=flags)
            lines = second.stderr().splitlines()
            self.assertEqual(len(lines), 2, "both ports are told at once")
            self.serves(first)

    def test_forbidden(self):
        wrap = refusing("bind", "EACCES")
        self.refused(2, "port 80", "may not", "--port", flags=["--port", "80"], wrap=wrap)

    def test_no_address_of_this_machine(self):
        flags = ["--host", "192.0.2.1"]
        self.refused(2, "192.0.2.1", "no address of this machine", flags=flags)

    def test_the_usual_admin_port_gives_way(self):
        """Where none was asked for, a taken one is no mistake."""
        # It may be free; of two processors one at least finds it taken.
        own = [self.start(env={"NUCLIO_ADMIN": None}).wait_ready() for _ in range(2)]
        for processor in own:
            self.assertEqual(processor.admin("/livez")[0], 200)
        self.assertNotEqual(own[0].admin_at, own[1].admin_at)
        for processor in own:
            self.serves(processor)


class Names(Surroundings):
    """A name is held by one processor at a time."""

    def test_a_second_run_of_a_live_name(self):
        first = self.start().wait_ready()
        env = {"NUCLIO_STATE_DIR": str(first.folder / "state")}
        self.refused(2, "function", "running already", str(first.pid), env=env)
        self.serves(first)
        self.serves(self.start(env=env).wait_ready())

    def test_a_name_whose_holder_was_killed(self):
        first = self.start().wait_ready()
        worker = first.worker_pids()[0]
        first.child.kill()
        first.wait_end()
        # Its workers end with it.
        wait_until(lambda: not is_alive(worker), "the worker ends")
        second = self.start(env={"NUCLIO_STATE_DIR": str(first.folder / "state")})
        self.serves(second.wait_ready())


if __name__ == "__main__":
    unittest.main()
