"""Async handlers: many events in flight in one worker, and what one does to the others."""

import contextlib
import time
import unittest

from faults import FaultCase, function
from processor import Processor, http_trigger, wait_until
from wire import Client, pattern, request


class Together(FaultCase):
    """Events that wait do not hold up each other, nor mix."""

    code = function("waiting")
    spec = {"triggers": http_trigger(maxInflight=512)}

    def test_five_hundred_at_once(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(500)]
            begun = time.monotonic()
            for number, client in enumerate(clients):
                client.send(request("GET", "/sleeps/0.2", None, [f"X-Number: {number}"]))
            replies = [client.reply() for client in clients]
        seconds = time.monotonic() - begun
        told = [reply.body.decode().split() for reply in replies]
        self.assertEqual([int(number) for number, _ in told], list(range(500)))
        most = max(int(count) for _, count in told)
        print(f"\n500 events of 200 ms: {seconds:.2f} s, {most} at once")
        # One after the other they would take 100 s.
        self.assertLess(seconds, 50)
        self.assertGreater(most, 200)

    def test_answers_come_as_they_are_ready(self):
        with Client(self.http) as slow, Client(self.http) as fast:
            slow.send(request("GET", "/sleeps/1.5", None, ["X-Number: 1"]))
            self.processor.stats()
            for _ in range(20):
                self.assertEqual(fast.ask("GET", "/sleeps/0.001").status, 200)
            slow.socket.settimeout(0.001)
            with self.assertRaises(TimeoutError):
                slow.reply()
            slow.socket.settimeout(20)
            self.assertEqual(slow.reply().status, 200)

    def test_bodies_do_not_mix(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(100)]
            bodies = [pattern(size * 700)[n:] for n, size in enumerate(range(1, 101))]
            for _ in range(3):
                for client, body in zip(clients, bodies, strict=True):
                    client.send(request("POST", "/echo", body))
                for client, body in zip(clients, bodies, strict=True):
                    reply = client.reply()
                    self.assertEqual(reply.status, 200)
                    self.assertTrue(reply.body == body)

    def test_records_belong_to_their_event(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(30)]
            for number, client in enumerate(clients):
                client.send(request("GET", f"/logs/e{number}x"))
            ids = [client.reply().body.decode() for client in clients]
        for number, event_id in enumerate(ids):
            word = f"e{number}x"
            wanted = [
                f"{word} begins",
                f"{word} prints {word} goes on",
                f"{word} ends",
                f"{word} in a task",
            ]
            found = wait_until(
                lambda i=event_id: len(r := self.records(event_id=i)) >= 4 and r, "its records"
            )
            self.assertEqual([record["message"] for record in found], wanted)

    def test_a_task_outlives_its_event(self):
        self.ask("POST", "/later", pattern(70_000), ["X-Mark: here"])
        wait_until(self.notes, "the task has ended")
        self.assertEqual(self.notes(), ["later /later 70000 here"])


class Failures(FaultCase):
    """An event that fails takes nobody with it."""

    code = function("waiting")
    keeps_workers = False

    def failed(self, path, body):
        """This text comes while others wait, and those get their answers."""
        pid = self.ask("GET", "/ok").body
        with Client(self.http) as other, Client(self.http) as client:
            other.send(request("GET", "/sleeps/0.05", None, ["X-Number: 7"]))
            reply = client.ask("GET", path)
            self.assertEqual((reply.status, reply.body.decode()), (500, body))
            self.assertEqual(other.reply().body.split()[0], b"7")
        self.assertEqual(self.ask("GET", "/ok").body, pid)
        self.assertIn(b"False", pid)

    def test_exceptions(self):
        self.failed("/raises", "ValueError: some error")
        self.failed("/cancels_itself", "CancelledError")
        self.failed("/leaves", "SystemExit: 3")
        self.failed("/interrupts", "KeyboardInterrupt")
        trace = self.wait_record(level="error", text="ValueError: some error")["message"]
        self.assertNotIn("nuclio_sdk", trace)

    def test_exception_groups(self):
        self.failed("/group", "ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)")
        self.wait_record(level="error", text="ValueError: two")

    def test_children_answer_nothing(self):
        pid = self.ask("GET", "/ok").body
        for word in ("return", "raise", "exit"):
            with self.subTest(word=word):
                self.assertEqual(self.ask("POST", f"/forks/{word}").body, pid)
                self.assertEqual(self.ask("GET", "/ok").body, pid)

    def test_a_handler_that_stops_the_loop(self):
        self.assertIn(self.ask("GET", "/stops_loop").status, (200, 500, 502))
        wait_until(lambda: self.ask("GET", "/ok").status == 200, "events are served again")


class Deaths(FaultCase):
    """A worker that dies with many events."""

    code = function("waiting")
    keeps_workers = False

    def test_those_that_may_be_repeated_are(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(20)]
            for number, client in enumerate(clients):
                method = "GET" if number % 2 else "POST"
                client.send(request(method, "/sleeps/0.4", None, [f"X-Number: {number}"]))
            wait_until(lambda: self.processor.stats()["in_flight"] == 20, "all are in flight")
            self.assertEqual(self.ask("POST", "/dies/x").status, 502)
            statuses = [client.reply().status for client in clients]
        self.assertEqual(statuses, [200 if number % 2 else 502 for number in range(20)])
        self.assertEqual(self.notes(), ["POST x"])


class Deadlines(FaultCase):
    """At its deadline an event is cancelled; only one that does not end costs its worker."""

    code = function("waiting")
    keeps_workers = False
    spec = {"eventTimeout": "400ms"}

    def timed_out(self, path):
        reply = self.ask("POST", path)
        self.assertEqual(
            (reply.status, reply.body.decode()), (408, '{"error": "handler timed out"}')
        )

    def test_a_handler_that_waits_is_cancelled(self):
        pid = self.ask("GET", "/ok").body
        for _ in range(3):
            self.timed_out("/hangs")
        wait_until(lambda: len(self.notes()) == 9, lambda: f"cancelled: {self.notes()}")
        for word in ("began", "cancelled", "cleaned"):
            self.assertEqual(self.notes().count(word), 3, self.notes())
        self.assertEqual(self.ask("GET", "/ok").body, pid, "the same worker goes on")
        self.assertEqual(self.records(level="error"), [])

    def test_an_answer_after_the_deadline_goes_nowhere(self):
        with Client(self.http) as client:
            reply = client.ask("POST", "/answers_late")
            self.assertEqual(reply.status, 408)
            wait_until(self.notes, "it answers")
            self.assertNotIn(b"late", client.ask("GET", "/ok").body)

    def test_a_handler_that_refuses_to_be_cancelled(self):
        pid = self.ask("GET", "/ok").body
        self.timed_out("/refuses_to_end")
        wait_until(lambda: self.ask("GET", "/ok").body not in (pid, b""), "another worker")

    def test_a_handler_that_blocks_the_loop(self):
        """Those behind it get their 408, or an answer from the next worker; then all is well."""
        for word in ("blocks/1000", "spins"):
            with self.subTest(word=word), Client(self.http) as other:
                self.notes_path.write_text("")
                with Client(self.http) as client:
                    client.send(request("POST", f"/{word}"))
                    wait_until(self.notes, "it blocks")
                    self.assertIn(other.ask("GET", "/ok").status, (200, 408))
                    self.assertEqual(client.reply().status, 408)
                wait_until(lambda: self.ask("GET", "/ok").status == 200, "events are served")


class Drain(unittest.TestCase):
    """SIGTERM with events in flight."""

    def test_those_in_flight_finish(self):
        with Processor(function("waiting")) as processor:
            processor.wait_ready()
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Client(processor.http)) for _ in range(50)]
                for number, client in enumerate(clients):
                    client.send(request("GET", "/sleeps/0.5", None, [f"X-Number: {number}"]))
                wait_until(lambda: processor.stats()["in_flight"] == 50, "all are in flight")
                self.assertEqual(processor.stop(), 0)
                self.assertEqual([client.reply().status for client in clients], [200] * 50)
            self.assertNotIn("Traceback", processor.stderr())
            self.assertNotIn("never retrieved", processor.stderr())


if __name__ == "__main__":
    unittest.main()
