"""`threads`: a sync handler that waits on several threads of one worker."""

import concurrent.futures
import contextlib
import time
import unittest

from faults import FaultCase, function
from processor import Processor, wait_until
from wire import Client, pattern, request

THREADS = 8
SPEC = {"runtimeAttributes": {"threads": THREADS}}


class Together(FaultCase):
    code = function("threaded")
    spec = {**SPEC, "eventTimeout": "30s"}

    def all_of(self, paths, headers=None, bodies=None):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in paths]
            for number, (client, path) in enumerate(zip(clients, paths, strict=True)):
                lines = [f"X-Number: {number + 1}"]
                client.send(request("POST", path, bodies and bodies[number], lines))
            return [client.reply() for client in clients]

    def test_as_many_as_there_are_threads(self):
        begun = time.monotonic()
        told = [reply.body.decode().split() for reply in self.all_of(["/sleeps/0.3"] * 24)]
        seconds = time.monotonic() - begun
        self.assertEqual([int(number) for number, _ in told], list(range(1, 25)))
        self.assertEqual(max(int(most) for _, most in told), THREADS)
        # Three rounds of 0.3 s; one after the other they would take 7 s.
        print(f"\n24 events of 300 ms on {THREADS} threads: {seconds:.2f} s")
        self.assertLess(seconds, 5)

    def test_they_begin_in_order(self):
        with self.processor.paused():
            pass
        before = len(self.order())
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(40)]
            for number, client in enumerate(clients):
                # One at a time, so that they arrive in this order.
                client.send(request("POST", "/sleeps/0.02", None, [f"X-Number: {number}"]))
                wait_until(
                    lambda n=number: self.processor.counter("events") >= self.events + n + 1,
                    "it has arrived",
                )
            for client in clients:
                client.reply()
        self.assertEqual(self.order()[before:], list(range(40)))

    def order(self):
        begun = self.ask("GET", "/order").body
        self.events = self.processor.counter("events")
        return [int(one) for one in begun.strip(b"[]").split(b",") if one]

    def test_one_event_can_wait_for_another(self):
        replies = self.all_of(["/waits", "/opens"])
        self.assertEqual([reply.body for reply in replies], [b"opened", b"opens"])

    def test_records_belong_to_their_event(self):
        words = [f"e{number}x" for number in range(16)]
        ids = [reply.body.decode() for reply in self.all_of([f"/logs/{word}" for word in words])]
        for word, event_id in zip(words, ids, strict=True):
            wanted = {f"{word} begins", f"{word} prints {word} goes on", f"{word} ends"}
            found = wait_until(
                lambda i=event_id: len(r := self.records(event_id=i)) >= 3 and r, "its records"
            )
            self.assertEqual({record["message"] for record in found}, wanted)
            own = self.wait_record(text=f"{word} in its own thread")
            self.assertNotIn("event_id", own)

    def test_failures_are_of_one_event(self):
        pid = self.ask("GET", "/ok").body
        replies = self.all_of(["/sleeps/0.2", "/leaves", "/raises", "/sleeps/0.2"])
        self.assertEqual([reply.status for reply in replies], [200, 500, 500, 200])
        self.assertEqual(replies[1].body, b"SystemExit: 3")
        self.assertEqual(self.ask("GET", "/ok").body, pid)
        for _ in range(3 * THREADS):
            self.assertEqual(self.ask("GET", "/leaves").status, 500)
        told = [reply.body.decode().split() for reply in self.all_of(["/sleeps/0.1"] * 16)]
        self.assertEqual(max(int(most) for _, most in told), THREADS)

    def test_deadlines_are_of_each_event(self):
        replies = self.all_of([f"/deadline/{n / 10}" for n in range(8)])
        self.assertEqual([reply.body for reply in replies], [b"True"] * 8)

    def test_bodies_do_not_mix(self):
        bodies = [pattern(2_000 + 9_000 * number)[number:] for number in range(24)]
        for _ in range(3):
            replies = self.all_of(["/echo"] * 24, bodies=bodies)
            self.assertTrue([reply.body for reply in replies] == bodies)

    def test_replies_that_wait_for_room_beside_others(self):
        """Any thread may wait for the bell, and one alone reads it."""
        asked = [("/big/20000000", 20_000_000), ("/pieces/100", 10_000_000), ("/ok", None)]

        def ask(number):
            path, size = asked[number % len(asked)]
            reply = self.ask("GET", path)
            return reply.status == 200 and size in (None, len(reply.body))

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            self.assertTrue(all(pool.map(ask, range(90))))

    def test_children_answer_nothing(self):
        pid = self.ask("GET", "/ok").body
        replies = self.all_of(["/forks"] * 4)
        self.assertEqual([reply.body for reply in replies], [pid] * 4)


class Faults(FaultCase):
    code = function("threaded")
    spec = {**SPEC, "eventTimeout": "1s"}
    keeps_workers = False

    def test_a_deadline_retires_the_worker(self):
        [pid] = self.processor.worker_pids()
        with Client(self.http) as stuck, Client(self.http) as other:
            stuck.send(request("POST", "/forever"))
            wait_until(self.notes, "it has begun")
            reply = stuck.reply()
            # Others of the same worker go on, in it or in its replacement.
            self.assertEqual(other.ask("POST", "/sleeps/0.3").status, 200)
        self.assertEqual(reply.status, 408)
        wait_until(lambda: self.processor.worker_pids() not in ([pid], []), "another worker")
        wait_until(lambda: pid not in self.processor.children(), "the old one has ended")

    def test_a_death_takes_all_its_events(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(4)]
            for number, client in enumerate(clients):
                method = "GET" if number % 2 else "POST"
                client.send(request(method, "/sleeps/0.4"))
            wait_until(lambda: self.processor.stats()["in_flight"] == 4, "all are in flight")
            self.assertEqual(self.ask("GET", "/dies").body, b"again")
            statuses = [client.reply().status for client in clients]
        self.assertEqual(statuses, [200 if number % 2 else 502 for number in range(4)])


class Ends(unittest.TestCase):
    def test_a_drain_waits_for_every_thread(self):
        with Processor(function("threaded"), SPEC) as processor:
            processor.wait_ready()
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Client(processor.http)) for _ in range(12)]
                for client in clients:
                    client.send(request("POST", "/sleeps/0.5"))
                wait_until(lambda: processor.stats()["in_flight"] >= THREADS, "they run")
                self.assertEqual(processor.stop(), 0)
                self.assertEqual([client.reply().status for client in clients], [200] * 12)
            notes = (processor.folder / "notes").read_text()
        self.assertEqual(notes, "drained\nterminated with 0 running\n")

    def test_more_threads_than_max_inflight(self):
        spec = {"runtimeAttributes": {"threads": 200}}
        with Processor(function("threaded"), spec) as processor:
            processor.wait_ready()
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Client(processor.http)) for _ in range(200)]
                for client in clients:
                    client.send(request("POST", "/sleeps/1"))
                most = [int(client.reply().body.split()[1]) for client in clients]
            self.assertGreater(max(most), 150)
            self.assertEqual(processor.stop(), 0)


if __name__ == "__main__":
    unittest.main()
