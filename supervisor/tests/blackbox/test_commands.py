"""Workers, `nuclio exec`, the registry, Ctrl-C and completion, as a user sees them."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from desk import Desk
from faults import function
from processor import NUCLIO, Processor, http_trigger, is_alive, wait_until
from wire import Client, ask, request

LIMIT_S = 20


class Workers(unittest.TestCase):
    """How many there are, and that they share the work."""

    def pids(self, flags=(), env=None, spec=None):
        with Processor(function("counting"), spec=spec, flags=flags, env=env) as processor:
            processor.wait_ready()
            number = int(re.search(r"· (\d+) worker", processor.ready).group(1))
            wait_until(lambda: len(processor.worker_pids()) >= number, "all of them are listed")
            pids, ready = processor.worker_pids(), processor.ready
            self.assertEqual(processor.stop(), 0)
        for pid in pids:
            self.assertFalse(is_alive(pid))
        return len(pids), ready

    def test_their_number(self):
        for number, settings in [
            (1, {}),
            (4, {"flags": ("--workers", "4")}),
            (3, {"env": {"NUCLIO_WORKERS": "3"}}),
            (2, {"flags": ("--workers", "2"), "env": {"NUCLIO_WORKERS": "3"}}),
            (3, {"spec": {"triggers": http_trigger(numWorkers=3)}, "flags": ("--workers", "2")}),
            (len(os.sched_getaffinity(0)), {"flags": ("--workers", "auto")}),
        ]:
            with self.subTest(settings=settings):
                found, ready = self.pids(**settings)
                self.assertEqual(found, number)
                self.assertIn(f"· {number} worker{'s' if number > 1 else ''} ·", ready)

    def test_an_ordinary_file_of_settings_warns_of_nothing(self):
        spec = {"triggers": http_trigger(numWorkers=2), "eventTimeout": "5s"}
        with Processor(function("counting"), spec) as processor:
            processor.wait_ready()
            self.assertEqual(processor.stop(), 0)
            self.assertNotIn("warn", processor.stderr())

    def test_fast_events_pass_slow_ones(self):
        """Three workers of four are busy for long; the fast events find the fourth."""
        with Processor(function("counting"), flags=("--workers", "4")) as processor:
            processor.wait_ready()
            with contextlib.ExitStack() as stack:
                slow = [stack.enter_context(Client(processor.http)) for _ in range(3)]
                for client in slow:
                    client.send(request("GET", "/sleep/5"))
                wait_until(lambda: processor.stats()["in_flight"] == 3, "all of them run")
                fast = stack.enter_context(Client(processor.http))
                times = []
                for _ in range(300):
                    begun = time.monotonic()
                    self.assertEqual(fast.ask("GET", "/sleep/0.001").status, 200)
                    times.append(time.monotonic() - begun)
                still_slow = processor.stats()["in_flight"]
                p99 = sorted(times)[len(times) * 99 // 100]
                print(
                    f"\n1 ms beside 5 s: p99 {p99 * 1000:.1f} ms, {still_slow} slow ones still run"
                )
                self.assertEqual(still_slow, 3)
                self.assertEqual([client.reply().status for client in slow], [200] * 3)

    def test_mixed_events_on_four_workers(self):
        """Slow and fast events arrive together, more slow ones than workers can take at once."""
        with Processor(function("counting"), flags=("--workers", "4")) as processor:
            processor.wait_ready()
            times, lock = [], threading.Lock()

            def fast():
                with Client(processor.http) as client:
                    for _ in range(100):
                        begun = time.monotonic()
                        assert client.ask("GET", "/sleep/0.001").status == 200
                        with lock:
                            times.append(time.monotonic() - begun)

            with contextlib.ExitStack() as stack:
                slow = [stack.enter_context(Client(processor.http)) for _ in range(3)]
                threads = [threading.Thread(target=fast) for _ in range(8)]
                for thread in threads:
                    thread.start()
                for client in slow:
                    client.send(request("GET", "/sleep/2"))
                for thread in threads:
                    thread.join()
                self.assertEqual([client.reply().status for client in slow], [200] * 3)
            times.sort()
            middle, p99 = times[len(times) // 2] * 1000, times[-len(times) // 100] * 1000
            print(
                f"\n8 clients of 1 ms beside 3 of 2 s, 4 workers: {middle:.1f} ms, p99 {p99:.1f} ms"
            )
            self.assertEqual(len(times), 800)


class Exec(unittest.TestCase):
    """`nuclio exec` against a function that runs here."""

    @classmethod
    def setUpClass(cls):
        cls.processor = Processor(function("counting"), flags=("-e", "GREETING=Hi there"))
        cls.addClassCleanup(cls.processor.close)
        cls.processor.wait_ready()

    def exec(self, *words, data=None):
        child = subprocess.run(
            [NUCLIO, "exec", *words],
            input=data,
            capture_output=True,
            timeout=LIMIT_S,
            env=self.processor.environment(),
            cwd=self.processor.folder,
        )
        return child.returncode, child.stdout, child.stderr.decode()

    def test_the_reply_is_on_stdout(self):
        code, out, err = self.exec("function")
        self.assertEqual(code, 0, err)
        seen = json.loads(out)
        self.assertEqual((seen["method"], seen["path"], seen["env"]), ("GET", "/", "Hi there"))
        self.assertIn("200", err)

    def test_what_is_sent(self):
        code, out, err = self.exec(
            "function", "-b", '{"x": 1}', "-m", "PUT", "--path", "/a/b", "-H", "X-Mark: m"
        )
        seen = json.loads(out)
        self.assertEqual((code, seen["method"], seen["path"]), (0, "PUT", "/a/b"), err)
        self.assertEqual(
            (seen["type"], seen["body"], seen["mark"]), ("application/json", {"x": 1}, "m")
        )
        (self.processor.folder / "body.txt").write_text("from a file")
        _, out, _ = self.exec("function", "-b", "@body.txt", "-c", "text/csv")
        seen = json.loads(out)
        self.assertEqual((seen["type"], seen["body"]), ("text/csv", "from a file"))
        _, out, _ = self.exec("function", "-b", "-", data=b"from stdin")
        self.assertEqual(json.loads(out)["body"], "from stdin")

    def test_bytes_stay_bytes(self):
        self.assertEqual(self.exec("function", "--path", "/bytes")[:2], (0, bytes(range(256))))

    def test_an_address_will_do(self):
        host, port = self.processor.http
        for target in (f"http://{host}:{port}/status/201", f"{host}:{port}"):
            with self.subTest(target=target):
                code, out, err = self.exec(target)
                self.assertEqual(code, 0, err)
                self.assertTrue(out)

    def test_a_status_of_400_or_more_is_1(self):
        for status, expected in [(200, 0), (399, 0), (400, 1), (500, 1)]:
            with self.subTest(status=status):
                code, out, err = self.exec("function", "--path", f"/status/{status}")
                self.assertEqual((code, out.strip()), (expected, b"no"), err)
                self.assertIn(str(status), err)

    def test_log_lines_of_the_event(self):
        _, _, err = self.exec("function", "--path", "/log")
        self.assertIn("seen", err)
        self.assertIn("printed", err)
        _, _, err = self.exec("function", "--path", "/log", "-l", "none")
        self.assertNotIn("seen", err)

    def test_no_such_function(self):
        code, out, err = self.exec("functoin")
        self.assertEqual((code, out), (1, b""), err)
        self.assertIn("function", err)
        self.assertEqual(err.count("\n"), 1, err)

    def test_time_is_limited(self):
        code, out, err = self.exec("function", "--path", "/sleep/1.5", "-t", "200ms")
        self.assertEqual((code, out), (1, b""), err)
        self.assertIn("200ms", err.replace(" ", ""))
        wait_until(lambda: self.processor.stats()["in_flight"] == 0, "it has ended")


class Registry(unittest.TestCase):
    """One live function of a name, and nothing left of it afterwards."""

    def test_a_second_run_of_a_live_name(self):
        with Desk() as desk:
            desk.file("shop.py", function("counting"))
            with self.running(desk) as first:
                entry = desk.folder / "state/run/default/shop"
                state = json.loads((entry / "state.json").read_text())
                self.assertEqual((state["name"], state["pid"]), ("shop", first.pid))
                said = desk.nuclio("run", "shop.py")
                self.assertEqual((said.code, said.stdout), (2, ""), said)
                self.assertIn("shop", said.stderr)
                self.assertIn(str(first.pid), said.stderr)
                self.assertEqual(said.stderr.count("\n"), 1, said)
                # Another name or namespace is another function.
                for words in (["other", "shop.py"], ["shop.py", "-n", "elsewhere"]):
                    with self.running(desk, *words):
                        pass
                self.assertEqual(ask(address(state["url"])).status, 200)
            self.assertEqual((desk.registered(), desk.left_running()), ([], []))

    def test_a_name_whose_owner_was_killed_is_free(self):
        with Desk() as desk:
            desk.file("shop.py", function("counting"))
            with self.running(desk) as first:
                first.kill()
                first.wait(LIMIT_S)
            wait_until(lambda: not desk.left_running(), "its workers have ended, too")
            with self.running(desk) as second:
                state = json.loads((desk.folder / "state/run/default/shop/state.json").read_text())
                self.assertEqual(state["pid"], second.pid)
            self.assertEqual(desk.registered(), [])

    def test_a_folder_that_cannot_be_written(self):
        """Then it runs without a name, and says so."""
        with Desk() as desk:
            desk.file("shop.py", function("counting"))
            desk.file("state", "in the way")
            with self.running(desk, check=False) as child:
                self.assertIsNone(child.poll())
            self.assertIn(b"state", child.told)

    @contextlib.contextmanager
    def running(self, desk, *words, check=True):
        with desk.start("run", *(words or ["shop.py"])) as child:
            try:
                line = child.stdout.readline().decode()
                self.assertIn("is ready", line, "" if line else child.stderr.read())
                yield child
            finally:
                if child.poll() is None:
                    child.send_signal(signal.SIGTERM)
                _, child.told = child.communicate(timeout=LIMIT_S)
            if check:
                self.assertIn(child.returncode, (0, -signal.SIGKILL), child.told)

    def test_the_admin_port_when_it_is_taken(self):
        with contextlib.ExitStack() as stack, Desk() as desk:
            with contextlib.suppress(OSError):  # taken is taken, by whomever
                stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", 8081))))
            desk.file("shop.py", function("counting"))
            child = stack.enter_context(desk.start("run", "shop.py", env={"NUCLIO_ADMIN": None}))
            try:
                self.assertRegex(
                    child.stdout.readline().decode(), r"· admin http://127\.0\.0\.1:\d+$"
                )
            finally:
                child.send_signal(signal.SIGTERM)
                child.communicate(timeout=LIMIT_S)


class Endings(unittest.TestCase):
    """Ctrl-C drains; a second one ends at once."""

    def test_ctrl_c(self):
        with Processor(function("counting")) as processor:
            processor.wait_ready()
            with Client(processor.http) as client:
                client.send(request("GET", "/sleep/0.5"))
                wait_until(lambda: processor.stats()["in_flight"] == 1, "it runs")
                processor.signal(signal.SIGINT)
                self.assertEqual(client.reply().status, 200)
            self.assertEqual(processor.wait_end(), 0)
            entry = processor.folder / "state/run/default/function"
            self.assertEqual([path.name for path in entry.glob("*") if path.name != "lock"], [])

    def test_a_second_ctrl_c(self):
        with Processor(function("counting")) as processor:
            processor.wait_ready()
            with Client(processor.http) as client:
                client.send(request("GET", "/sleep/1000"))
                wait_until(lambda: processor.stats()["in_flight"] == 1, "it runs")
                pids = processor.worker_pids()
                processor.signal(signal.SIGINT)
                wait_until(lambda: "draining" in processor.stderr(), "it drains")
                processor.signal(signal.SIGINT)
                self.assertEqual(processor.wait_end(), 130)
            wait_until(lambda: not any(is_alive(pid) for pid in pids), "its workers have ended")


class Completion(unittest.TestCase):
    """Scripts that their shells accept."""

    def test_scripts(self):
        for shell in ("bash", "zsh", "fish"):
            with self.subTest(shell=shell), Desk() as desk:
                said = desk.nuclio("completion", shell)
                self.assertEqual((said.code, said.stderr), (0, ""))
                for word in ("run", "exec", "watch", "workers"):
                    self.assertIn(word, said.stdout)
                # bash is everywhere; the others are looked at where they are.
                if path := shutil.which(shell):
                    script = desk.file(f"script.{shell}", said.stdout)
                    checked = subprocess.run(
                        [path, "-n", script], capture_output=True, timeout=LIMIT_S
                    )
                    self.assertEqual((checked.returncode, checked.stderr), (0, b""))

    def test_bash_completes(self):
        with Desk() as desk:
            script = desk.file("script", desk.nuclio("completion", "bash").stdout)
            typed = (
                f"source {script}; COMP_WORDS=(nuclio run --wa); COMP_CWORD=2; "
                "_nuclio nuclio --wa run; printf '%s\\n' \"${COMPREPLY[@]}\""
            )
            told = subprocess.run(["bash", "-c", typed], capture_output=True, timeout=LIMIT_S)
            self.assertEqual(told.stdout.split(), [b"--watch"], told.stderr)


def address(url):
    host, _, port = url.rpartition("/")[2].partition(":")
    return host, int(port)


if __name__ == "__main__":
    unittest.main()
