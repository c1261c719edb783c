"""The data thread waits in one place only: the poll. Everything else it asks of the kernel returns
at once, whatever workers and clients do."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time
import unittest

from desk import refuse_skip
from faults import FaultCase, function
from processor import HANDLER, ProcessorCase, http_trigger, stat_fields, wait_until
from wire import BrokenReply, Client, ask, chunked, pattern, request

# Under strace on a busy machine a call that cannot block takes a millisecond; one that waits for a
# stopped worker or a stalled client takes as long as they do.
BLOCKED_S = 0.25
STOPPED_S = 3
MIB = 1 << 20
CALL = re.compile(r"^\S+ (\w+)\((.*?)\)? += (\S+).*<([0-9.]+)>$")
# Calls that wait for what a descriptor has, unless it is told not to.
READS_AND_WRITES = {
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "write",
    "writev",
    "sendto",
    "sendmsg",
    "accept4",
}
CODE = HANDLER.replace(
    "    return event.body\n",
    """    if word == "print":
        for n in range(3000):
            print("line", n, "x" * 100)
    if word == "exit":
        import os
        os._exit(3)
    return event.body
""",
)


@contextlib.contextmanager
def traced(thread, file):
    """Every system call of one thread, with its time, into a file."""
    argv = [refuse_skip("strace"), "-T", "-tt", "-s", "0", "-o", str(file), "-p", str(thread)]
    child = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        tracer = pathlib.Path(f"/proc/{thread}/status")
        wait_until(lambda: f"TracerPid:\t{child.pid}" in tracer.read_text(), "strace is attached")
        yield
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(20)


class Judge:
    """Reads a trace of the data thread."""

    def setUp(self):
        super().setUp()
        self.waiting = {}
        if os.geteuid() != 0 and pathlib.Path("/proc/sys/kernel/yama/ptrace_scope").exists():
            scope = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip()
            self.assertEqual(scope, "0", "strace may not attach; set kernel.yama.ptrace_scope=0")

    def judge(self, text):
        calls = [found.groups() for found in map(CALL.match, text.splitlines()) if found]
        names = {call[0] for call in calls}
        self.assertIn("epoll_wait", names)
        self.assertGreater(len(calls), 500, "the trace is nearly empty")
        slow = [call for call in calls if float(call[3]) > BLOCKED_S and call[0] != "epoll_wait"]
        self.assertEqual(slow, [], "calls that blocked")
        # However short they were: none may be of a kind that can wait.
        self.assertEqual(
            names
            & {
                "poll",
                "ppoll",
                "select",
                "nanosleep",
                "clock_nanosleep",
                "wait4",
                "waitid",
                "fsync",
                "open",
                "connect",
                "flock",
            },
            set(),
        )
        for name, arguments, result, _ in calls:
            number = arguments.partition(",")[0]
            if name == "accept4" and result.isdigit():
                self.waiting[result] = "SOCK_NONBLOCK" not in arguments
            elif name == "close":
                self.waiting.pop(number, None)
            elif name in READS_AND_WRITES and "DONTWAIT" not in arguments:
                # Of those that other threads opened meanwhile nothing is known.
                waits = self.waiting.get(number, False)
                self.assertFalse(waits, f"{name}({arguments}) on a blocking descriptor")

    def look_at_descriptors(self):
        """Which of the open descriptors would make a call wait."""
        for entry in pathlib.Path(f"/proc/{self.processor.pid}/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                flags = re.search(r"flags:\s+(\d+)", entry.read_text()).group(1)
                self.waiting[entry.name] = not int(flags, 8) & os.O_NONBLOCK


class Blocking(Judge, ProcessorCase):
    code = CODE
    flags = ["--workers", "2"]
    keeps_workers = False

    def test_only_the_poll_waits(self):
        thread = self.processor.threads()["data"]
        file = self.processor.folder / "trace"
        stopped = self.processor.worker_pids()[0]
        self.look_at_descriptors()
        with traced(thread, file):
            os.kill(stopped, signal.SIGSTOP)
            wait_until(lambda: stat_fields(f"/proc/{stopped}/stat")[0] == "T", "it is stopped")
            end = time.monotonic() + STOPPED_S
            try:
                while time.monotonic() < end:
                    self.disturb()
            finally:
                os.kill(stopped, signal.SIGCONT)
            for client in self.held:
                with contextlib.suppress(BrokenReply, OSError):
                    client.reply()
                client.close()
        self.judge(file.read_text())

    def disturb(self):
        """A little of everything that clients and workers do."""
        address = self.http
        # These may come to the stopped worker: nobody waits for their replies now.
        for data in [
            request("GET", "/print"),
            request("POST", "/", pattern(MIB)),
            chunked(pattern(100_000), (3000,)),
            request("GET", f"/bytes/{3 * MIB}"),
            request("POST", "/exit", b"x"),
        ]:
            client = Client(address, receive_bytes=4096, limit_s=5)
            client.send(data)
            self.held.append(client)
        Client(address).send(b"POST / HTT").reset()
        Client(address).send(request("POST", "/", bytes(20_000))[:15_000]).close()
        for _ in range(20):
            self.assertEqual(ask(address, path="/__internal/health").status, 200)
        self.processor.stats()
        if len(self.held) > 40:
            for client in self.held[:20]:
                client.close()
            del self.held[:20]

    def setUp(self):
        super().setUp()
        self.held = []


class Lying(Judge, FaultCase):
    """A worker that writes over the shared memory is judged and killed without a wait."""

    code = function("corrupting")
    keeps_workers = False
    spec = {
        "eventTimeout": "5s",
        "triggers": http_trigger(workerAvailabilityTimeoutMilliseconds=3000),
    }

    def test_only_the_poll_waits(self):
        thread = self.processor.threads()["data"]
        file = self.processor.folder / "trace"
        self.look_at_descriptors()
        violations = self.processor.counter("violations")
        with traced(thread, file):
            for seed in range(6):
                for how in ("zeros", "noise", "200x16"):
                    wait_until(lambda: self.ask("GET", "/ok").status == 200, "it is served", 40)
                    status = self.ask("POST", f"/corrupt/{how}/{seed}").status
                    self.assertIn(status, (200, 502, 408))
            for _ in range(200):
                self.assertEqual(ask(self.http, path="/__internal/health").status, 200)
        self.assertGreater(self.processor.counter("violations"), violations)
        self.judge(file.read_text())


if __name__ == "__main__":
    unittest.main()
