"""Handlers that raise, die, fork or harm their process: each costs its own event and no other."""

import contextlib
import os
import signal
import threading
import unittest

from faults import FaultCase, function
from processor import Processor, is_alive, wait_until
from wire import Client, ask


class Exceptions(FaultCase):
    """What a handler raises or cannot say becomes a 500; its worker goes on."""

    code = function("faulty")

    def failed(self, path, body):
        """The reply is a 500 with this text, and the worker is the same as before."""
        pid = self.ask("GET", "/ok").body
        for method in ("GET", "POST"):
            reply = self.ask(method, path)
            self.assertEqual((reply.status, reply.body.decode()), (500, body))
            self.assertEqual(reply.get("Content-Type"), "text/plain")
        self.assertEqual(self.ask("GET", "/ok").body, pid)

    def test_the_client_gets_a_line_and_the_log_the_traceback(self):
        self.failed("/raises/apples", "ValueError: some error")
        told = self.wait_record(message="about to fail", word="apples")
        trace = self.wait_record(event_id=told["event_id"], level="error")
        self.assertEqual((trace["function"], trace["worker"]), ("function", 0))
        folder = self.processor.folder
        self.assertEqual(
            trace["message"].split("\n"),
            [
                "Traceback (most recent call last):",
                *self.frame(folder, "handler", "return globals()[word](context, event, argument)"),
                *self.frame(folder, "raises", 'raise ValueError("some error")'),
                "ValueError: some error",
            ],
        )

    def frame(self, folder, name, line):
        lines = [text.strip() for text in self.code.split("\n")]
        return [
            f'  File "{folder}/function.py", line {lines.index(line) + 1}, in {name}',
            f"    {line}",
        ]

    def test_causes_are_in_the_traceback(self):
        self.failed("/chained", "RuntimeError: no price")
        trace = self.wait_record(level="error", text="RuntimeError: no price")["message"]
        self.assertIn("KeyError: 'missing'", trace)
        self.assertIn("direct cause", trace)

    def test_exceptions_of_any_kind(self):
        self.failed("/stubborn/base", "Stubborn")
        self.failed("/stubborn/interrupt", "KeyboardInterrupt")
        self.failed("/stubborn/leave", "GeneratorExit")
        self.failed("/no_such_word", "KeyError: 'no_such_word'")
        self.failed("/leaves", "SystemExit: 3")
        self.failed("/unspeakable", "Unspeakable: <exception str() failed>")

    def test_deep_recursion(self):
        self.failed("/recursion", "RecursionError: maximum recursion depth exceeded")
        trace = self.wait_record(text="RecursionError")["message"]
        self.assertIn("Previous line repeated", trace)

    def test_no_memory(self):
        self.failed("/no_memory", "MemoryError")

    def test_a_long_message_is_bounded_in_the_log(self):
        reply = self.ask("GET", "/long_message")
        self.assertEqual((reply.status, reply.body[:16]), (500, b"ValueError: long"))
        self.wait_record(level="error", text="ValueError: long")

    def test_a_message_cannot_forge_a_record(self):
        reply = self.ask("GET", "/odd_message")
        self.assertEqual(reply.status, 500)
        self.assertTrue(reply.body.startswith(b"ValueError: one\nerror: two"), reply.body)
        self.wait_record(level="error", text="error: two")  # every line of the log is JSON

    def test_results_that_cannot_be_sent(self):
        for word, told in [
            ("object", "TypeError: Object of type object is not JSON serializable"),
            ("keys", "TypeError: keys must be str, int, float, bool or None, not tuple"),
            ("loop", "ValueError: Circular reference detected"),
            (
                "status",
                "ValueError: the status code must be a whole number from 200 to 599, not 'fine'",
            ),
            ("low", "ValueError: the status code must be a whole number from 200 to 599, not 99"),
            ("lambda", "TypeError: the handler returned a function: call it"),
            ("unspeakable", "RuntimeError: no words"),
            ("pair", "TypeError: Object of type object is not JSON serializable"),
            ("headers", "TypeError: 'int' object is not iterable"),
        ]:
            with self.subTest(word=word):
                self.failed(f"/unserialisable/{word}", told)
        self.assertEqual(self.ask("GET", "/unserialisable/surrogate").status, 500)
        self.wait_record(level="error", text="the handler returned a function: call it")


WAYS = ("exit", "kill", "segfault", "abort", "stack")


class Deaths(FaultCase):
    """A process that ends costs the event it has, and is replaced."""

    code = function("faulty")
    keeps_workers = False

    def dies(self, method, way):
        # A worker that completes nothing before its end is replaced after a pause.
        self.assertEqual(self.ask("GET", "/ok").status, 200)
        self.notes_path.write_text("")
        return self.ask(method, f"/dies/{way}/x", b"body").status

    def test_a_request_that_may_not_be_repeated_is_502(self):
        for way in WAYS:
            with self.subTest(way=way):
                self.assertEqual(self.dies("POST", way), 502)
                self.assertEqual(self.notes(), ["POST x"])

    def test_a_request_that_may_be_repeated_runs_twice_and_is_502_then(self):
        for way in WAYS:
            with self.subTest(way=way):
                self.assertEqual(self.dies("GET", way), 502)
                self.assertEqual(self.notes(), ["GET x", "GET x"])

    def test_the_client_sees_nothing_of_a_death_that_does_not_repeat(self):
        for method in ("GET", "PUT", "DELETE"):
            with self.subTest(method=method):
                reply = self.ask(method, f"/dies_once/{method}", b"body")
                self.assertEqual((reply.status, reply.body), (200, b"second"))

    def test_the_cause_of_death_is_told(self):
        for way, told in [("segfault", "killed by signal 11 (SIGSEGV)"), ("exit", "exit code 3")]:
            with self.subTest(way=way):
                self.assertEqual(self.dies("POST", way), 502)
                self.wait_cause(told)
                self.wait_record(level="warn", text=f"{told}; replaced at once")

    def wait_cause(self, told):
        def causes():
            return {row["last_death"] for row in self.processor.workers()}

        wait_until(lambda: causes() == {told}, lambda: f"{told} in {causes()}")

    def test_closed_descriptors(self):
        self.assertIn(self.dies("POST", "descriptors"), (200, 502))
        for _ in range(4):
            self.assertEqual(self.ask("GET", "/ok").status, 200)

    def test_children_end_with_their_worker(self):
        for place in ("near", "far"):
            with self.subTest(place=place):
                self.assertEqual(self.ask("GET", "/ok").status, 200)
                self.assertEqual(self.ask("POST", f"/forks/{place}/orphan").status, 502)
                pid = int(self.notes()[-1].split()[1])
                self.addCleanup(self.end, pid)
                wait_until(lambda pid=pid: not is_alive(pid), f"child {pid} has ended")


class Neighbours(FaultCase):
    """Deaths beside other events."""

    code = function("faulty")
    workers = 2
    keeps_workers = False

    def test_others_are_unharmed(self):
        stop, failed, served = threading.Event(), [], [0]

        def client():
            with Client(self.http) as connection:
                while not stop.is_set():
                    reply = connection.ask("POST", "/echo", b"x" * 1000)
                    served[0] += 1
                    if (reply.status, len(reply.body)) != (200, 1000):
                        failed.append((reply.status, reply.body[:100]))

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(25):
                way = WAYS[turn % len(WAYS)]
                self.assertEqual(self.ask("POST", f"/dies/{way}/{turn}").status, 502)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        # One that waited in the ring of a worker that died was not begun, so it runs elsewhere.
        self.assertEqual(failed, [])
        self.assertGreater(served[0], 25)
        self.assertEqual(len(self.notes()), 25)


class Deadlines(FaultCase):
    """A handler that does not end is cut off at its deadline, and only it."""

    code = function("faulty")
    workers = 2
    keeps_workers = False
    spec = {"eventTimeout": "500ms"}

    def test_a_handler_without_end_is_408_and_its_worker_replaced(self):
        for word in ("spins", "sleeps", "stops_itself"):
            for method in ("GET", "POST"):
                with self.subTest(word=word, method=method):
                    self.notes_path.write_text("")
                    with Client(self.http) as other:
                        slow = Client(self.http)
                        with contextlib.closing(slow):
                            slow.send(f"{method} /{word} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
                            wait_until(self.notes, "the handler runs")
                            self.assertEqual(other.ask("GET", "/ok").status, 200)
                            reply = slow.reply()
                    self.assertEqual(
                        (reply.status, reply.body.decode()), (408, '{"error": "handler timed out"}')
                    )
                    self.assertEqual(reply.get("Content-Type"), "application/json")
                    self.assertEqual(
                        len(self.notes()), 1, "an event that timed out is not repeated"
                    )

    def test_more_of_them_than_workers(self):
        """Those that wait for a worker are cut off, too, at their own deadlines."""
        clients = [Client(self.http) for _ in range(6)]
        for client in clients:
            client.send(b"GET /spins HTTP/1.1\r\nHost: t\r\n\r\n")
        statuses = [client.reply().status for client in clients]
        for client in clients:
            client.close()
        self.assertEqual(statuses, [408] * 6)


class Processes(FaultCase):
    """Forks, threads and harm that a worker survives."""

    code = function("faulty")

    def test_a_child_that_returns_from_the_handler_answers_nothing(self):
        pid = self.ask("GET", "/ok").body
        with Client(self.http) as client:
            for _ in range(5):
                reply = client.ask("POST", "/forks/return")
                self.assertEqual((reply.status, reply.body), (200, b"pid " + pid))
            self.assertEqual(client.ask("GET", "/ok").body, pid)

    def test_a_child_that_outlives_the_handler(self):
        for place in ("near", "far"):
            with self.subTest(place=place):
                child = int(self.ask("POST", f"/forks/{place}").body)
                wait_until(self.notes, "the child runs")
                with Client(self.http) as client:
                    for n in range(300):
                        body = b"%d" % n * 100
                        self.assertEqual(client.ask("POST", "/echo", body).body, body)
                self.assertTrue(is_alive(child))
                self.assertEqual(self.ask("POST", f"/reaps/{child}").body, b"9")

    def test_children_get_none_of_our_descriptors(self):
        listing = self.ask("GET", "/descriptors_of_a_child").body.decode()
        for word in ("memfd", "eventfd", "socket", "nuclio"):
            self.assertNotIn(word, listing)

    def test_a_thread_outlives_its_handler(self):
        self.assertEqual(self.ask("GET", "/thread/one").body, b"started")
        self.assertEqual(self.ask("GET", "/let_thread_go").body, b"gone")
        self.wait_record(message="thread says one")
        self.wait_record(message="thread logs one", level="info")
        self.wait_record(text="RuntimeError: thread fails one")
        self.assertEqual(self.ask("GET", "/ok").status, 200)


class Harm(FaultCase):
    """What code does to its own process is not our end."""

    code = function("faulty")
    keeps_workers = False

    def harmed(self, harm):
        """Asks for the harm, looks whether events go on, and gets the next test a new worker."""
        (pid,) = self.processor.worker_pids()
        with Client(self.http) as client:
            reply = client.ask("POST", f"/harm/{harm}")
            self.assertEqual((reply.status, reply.body), (200, b"harmed"))
            for size in (0, 10, 100_000, 2_000_000):
                body = os.urandom(size)
                self.assertEqual(client.ask("POST", "/echo", body).body, body)
            self.assertEqual(client.ask("GET", "/ok").body, b"%d" % pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.processor.worker_pids() not in ([], [pid]), "another worker")

    def test_events_go_on_after(self):
        for harm in (
            "stdout",
            "closed",
            "descriptors",
            "modules",
            "folder",
            "environment",
            "collector",
            "limits",
            "response",
        ):
            with self.subTest(harm=harm):
                self.harmed(harm)
        self.wait_record(message="closed")
        self.wait_record(message="still heard")

    def test_a_worker_that_died_often_drains_like_any_other(self):
        with Processor(self.code) as processor:
            processor.wait_ready()
            (processor.folder / "notes").write_text("")
            for _ in range(5):  # a crash loop, and then it is ready again
                self.assertEqual(ask(processor.http, "POST", "/dies/exit/x").status, 502)
                wait_until(processor.worker_pids, "another worker", 30)
            self.assertEqual(processor.stop(), 0, processor.stderr())

    def test_alarms_that_raise_anywhere(self):
        """As decorators that limit a function's time leave behind."""
        with Client(self.http) as client:
            self.assertEqual(client.ask("GET", "/alarms/0.0005").status, 200)
            statuses = [client.ask("POST", "/echo", b"x").status for _ in range(2000)]
            self.assertEqual(set(statuses) - {200, 500}, set())
            wait_until(lambda: client.ask("GET", "/alarms/0").status == 200, "it is quiet")

    def test_a_worker_that_ignores_signals_is_stopped(self):
        with Processor(self.code, spec={"eventTimeout": "60s"}) as processor:
            processor.wait_ready()
            self.assertEqual(ask(processor.http, "GET", "/harm/signals").status, 200)
            (pid,) = processor.worker_pids()
            self.assertEqual(processor.stop(), 0)
            self.assertFalse(is_alive(pid))


if __name__ == "__main__":
    unittest.main()
