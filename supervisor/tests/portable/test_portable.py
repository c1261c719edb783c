"""A processor built with `portable`, from outside: `cargo xtask conformance --portable` runs this.

It serves as any other; what differs is where the memory lies, and what a worker can do to it.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import unittest

from faults import FaultCase
from processor import Processor, ProcessorCase, children_of, is_alive, wait_until
from wire import Client, ask, request

SHARED = pathlib.Path("/dev/shm")

# Cuts what it may write of the shared memory through /proc; the descriptor it came by is closed.
CUTTING = """
import os, re

def handler(context, event):
    if event.path == "/cut":
        for line in open("/proc/self/maps"):
            found = re.match(r"(\\S+) rw-s .*/dev/shm/", line)
            if found:
                os.truncate(f"/proc/self/map_files/{found[1]}", int(event.body))
    return event.body if event.path != "/ok" else "ok"
"""


def maps_of(pid):
    """Permissions, inode and path of each map of shared memory."""
    found = []
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if words[1].endswith("s") and words[-1].startswith(f"{SHARED}/"):
            found.append((words[1], int(words[4]), words[5]))
    return found


def names_with(inodes):
    """What stands in the folder of shared memory for one of these inodes."""
    found = []
    for entry in os.scandir(SHARED):
        # A name of another program may go meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if entry.inode() in inodes:
                found.append(entry.name)
    return found


class Portable(ProcessorCase):
    keeps_workers = False

    def test_it_is_said_at_the_start(self):
        self.assertIn("built with `portable`", self.processor.stderr())

    def test_workers_have_the_processors_memory_read_only_and_no_name(self):
        for pid in self.processor.worker_pids():
            maps = maps_of(pid)
            # Both segments of the event memory and D; U.
            self.assertEqual(sorted(mode for mode, _, _ in maps), ["r--s"] * 3 + ["rw-s"], maps)
            for _, _, path in maps:
                self.assertRegex(path, r"^/dev/shm/\S+ \(deleted\)$")
            self.assertEqual(names_with({inode for _, inode, _ in maps}), [])

    def test_bodies_of_every_size(self):
        for size in (0, 1, 500, 16_000, 17_000, 70_000, 1_100_000, 4_000_000):
            body = os.urandom(size)
            self.assertEqual(ask(self.http, "POST", "/", body).body, body, size)

    def test_more_rings_than_its_bell_holds(self):
        # 8192 rings of 8 bytes fill a pipe; from then on nobody would be woken.
        before = self.processor.counter("bells_up")
        with Client(self.http) as client:
            while self.processor.counter("bells_up") - before < 9000:
                for _ in range(1000):
                    client.send(request("POST", "/", b"x"))
                    self.assertEqual(client.reply().body, b"x")
        self.assertEqual(self.processor.counter("wakeup_rescues"), 0)

    def test_a_worker_is_replaced(self):
        [pid] = self.processor.worker_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.processor.worker_pids() not in ([], [pid]), "another worker")
        self.assertEqual(ask(self.http, "POST", "/", b"x").body, b"x")

    def test_nothing_is_left_after_kill_9(self):
        with Processor() as processor:
            processor.wait_ready()
            inodes = {inode for _, inode, _ in maps_of(processor.pid)}
            self.assertGreaterEqual(len(inodes), 4)
            workers = children_of(processor.pid)
            processor.signal(signal.SIGKILL)
            processor.wait_end()
            wait_until(lambda: not any(map(is_alive, workers)), "its workers have ended")
            self.assertEqual(names_with(inodes), [])


class Cut(FaultCase):
    """A worker that takes its pages away costs itself at most."""

    code = CUTTING
    keeps_workers = False
    spec = {"eventTimeout": "5s"}

    def setUp(self):
        super().setUp()
        try:
            [found, *_] = [one for one in os.scandir("/proc/self/map_files")]
            os.stat(found.path)
        except (PermissionError, ValueError):
            self.skipTest("only root may open what a process has mapped")

    def test_the_processor_lives(self):
        for bytes_left in ("0", "4096", "300000"):
            with self.subTest(bytes_left):
                wait_until(lambda: self.ask("GET", "/ok").status == 200, "events are served", 40)
                before = self.processor.pid
                # What is left may do for a small reply.
                status = self.ask("POST", "/cut", bytes_left.encode()).status
                self.assertIn(status, (200, 502, 408))
                self.assertTrue(is_alive(before))
                print(f"\ncut to {bytes_left}: {status}")
                wait_until(lambda: self.ask("GET", "/ok").status == 200, "events are served", 40)


class TooSmall(unittest.TestCase):
    def test_a_folder_of_16_mib(self):
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        script = 'mount -t tmpfs -o size=16m none /dev/shm && exec "$@"'
        wrap = ["unshare", *as_root, "--mount", "sh", "-c", script, "sh"]
        if subprocess.run([*wrap, "true"], capture_output=True, timeout=30).returncode != 0:
            self.skipTest("this user may not make a mount namespace")
        with Processor(wrap=wrap) as processor:
            self.assertEqual(processor.wait_end(), 2, processor.stderr())
            self.assertIn("docker run --shm-size", processor.stderr())
        memory = {"limits": {"eventMemory": "8Mi", "responseArena": "1Mi"}}
        with Processor(spec=memory, wrap=wrap) as processor:
            processor.wait_ready()
            self.assertEqual(ask(processor.http, "POST", "/", b"x").body, b"x")
            self.assertEqual(processor.stop(), 0, processor.stderr())


if __name__ == "__main__":
    unittest.main()
