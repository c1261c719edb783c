"""The C door: a worker written in C, compiled here against `nuclio.h`, behind the processor."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

from processor import DIST, REPOSITORY, Processor, wait_until
from wire import ask

SOURCE = REPOSITORY / "shim/c/tests/echo.c"
COMPILE_LIMIT_S = 60
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]


class Worker(unittest.TestCase):
    """One processor with one worker in C."""

    @classmethod
    def setUpClass(cls):
        runtimes = pathlib.Path(tempfile.mkdtemp(prefix="nuclio-c-"))
        cls.addClassCleanup(shutil.rmtree, runtimes)
        home = runtimes / "c"
        home.mkdir()
        (home / "runtime.toml").write_text(
            'id = "c"\nextensions = [".c"]\ncommand = ["{runtime}/worker"]\nmax_inflight_sync = 1\n'
        )
        library = ["-L", DIST / "lib", "-lnuclio", f"-Wl,-rpath,{DIST / 'lib'}"]
        subprocess.run(
            ["cc", *STRICT, "-I", DIST / "include", SOURCE, *library, "-o", home / "worker"],
            check=True,
            timeout=COMPILE_LIMIT_S,
        )
        cls.processor = Processor("", file="any.c", env={"NUCLIO_RUNTIMES": str(runtimes)})
        cls.addClassCleanup(cls.processor.close)
        cls.processor.wait_ready()
        cls.before = cls.processor.census()

    def ask(self, path, body=b"", headers=()):
        return ask(self.processor.http, "POST", path, body, headers)

    def tearDown(self):
        self.processor.wait_census(self.before, same_workers=False)

    def test_bodies_come_back(self):
        for size in (0, 1, 255, 4096, 16 << 10, (16 << 10) + 1, 1 << 20, 4 << 20):
            body = os.urandom(size)
            self.assertEqual(self.ask("/", body).body, body, size)
            self.assertEqual(self.ask("/keep", body).body, body, size)

    def test_headers_go_both_ways(self):
        reply = self.ask("/header", b"", ["X-ASKED: some thing"])
        self.assertEqual(reply.get("X-Answered"), "some thing")

    def test_the_id_is_readable(self):
        self.assertEqual(len(self.ask("/id").body), 36)

    def test_an_error_is_this_events_only(self):
        reply = self.ask("/fail")
        self.assertEqual((reply.status, reply.body), (500, b"failed as asked"))
        self.assertEqual(self.ask("/", b"next").body, b"next")

    def test_wrong_arguments_are_refused_and_change_nothing(self):
        self.assertEqual(self.ask("/nonsense").body, b"refused")

    def test_a_record_is_in_the_log(self):
        self.ask("/log")
        wait_until(lambda: "from C" in self.processor.stderr(), "the record")

    def test_killed_it_comes_back(self):
        (pid,) = self.processor.worker_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.processor.worker_pids() not in ([], [pid]), "another worker")
        self.assertEqual(self.ask("/", b"again").body, b"again")

    def test_started_by_hand_it_says_what_it_is(self):
        said = subprocess.run(
            [self.command()], capture_output=True, text=True, timeout=COMPILE_LIMIT_S, check=False
        )
        self.assertEqual(said.returncode, 1)
        self.assertIn("NUCLIO_WORKER_FD is not set", said.stderr)

    def command(self):
        (pid,) = self.processor.worker_pids()
        return os.readlink(f"/proc/{pid}/exe")

    @classmethod
    def tearDownClass(cls):
        code = cls.processor.stop()
        assert code == 0, f"ended with {code}:\n{cls.processor.stderr()}"


if __name__ == "__main__":
    unittest.main()
