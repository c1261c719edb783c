"""Very many events in flight in async workers, and what an event has of its own.

By hand, the long form of the first test: NUCLIO_TEST_IN_FLIGHT=10000 (and `ulimit -n` above twice
that). Figures are printed.
"""

import contextlib
import os
import pathlib
import tempfile
import time
import unittest

from faults import FaultCase, function
from processor import Processor, allow_descriptors, http_trigger, wait_until
from wire import Client, request

IN_FLIGHT = int(os.environ.get("NUCLIO_TEST_IN_FLIGHT", "1000"))
WORKERS = 2
SLEEP_S = 0.3
ROUNDS = 10
MIB = 1 << 20


def setUpModule():
    allow_descriptors()


class Many(FaultCase):
    code = function("async_many")
    workers = WORKERS
    spec = {"triggers": http_trigger(maxInflight=8192)}

    def memory(self):
        pids = [self.processor.pid, *self.processor.worker_pids()]
        return sum(self.processor.private_bytes(pid) for pid in pids)

    def round(self, clients):
        """All of them at once; the time until the last answer, and the most in flight."""
        wanted = request("GET", f"/sleeps/{SLEEP_S}")
        begun = time.monotonic()
        for client in clients:
            client.send(wanted)
        sent = time.monotonic()
        for client in clients:
            reply = client.reply()
            self.assertEqual(reply.status, 200, reply.body)
        return sent - begun, time.monotonic() - begun

    def test_in_flight(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(IN_FLIGHT)]
            self.round(clients)
            memory = self.memory()
            bells = self.processor.counter("bells_up")
            times = [self.round(clients) for _ in range(ROUNDS)]
            events = ROUNDS * IN_FLIGHT
            bells = self.processor.counter("bells_up") - bells
            grown = self.memory() - memory
            stats = self.processor.stats()
        most = sum(self.most())
        sent, whole = (sum(column) / ROUNDS for column in zip(*times, strict=True))
        print(
            f"\n{IN_FLIGHT} events of {SLEEP_S} s on {WORKERS} workers, {ROUNDS} rounds: "
            f"{whole:.2f} s a round, {sent:.2f} s of it to send; most of each worker {most} in all; "
            f"{events / bells:.1f} answers a bell; memory {grown / MIB:+.1f} MiB"
        )
        self.assertEqual(stats["counters"]["wakeup_rescues"], 0)
        # As many as there are clients, less those whose answer came before the last was sent.
        self.assertGreater(most, IN_FLIGHT / 2 if sent < SLEEP_S else IN_FLIGHT / 10)
        self.assertLess(grown, 8 * MIB)
        # One bell for the answers of one turn of a loop.
        self.assertLess(bells, events / 2)

    def most(self):
        """The most at once that each worker has seen."""
        seen = {}
        end = time.monotonic() + 10
        while len(seen) < WORKERS and time.monotonic() < end:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Client(self.http)) for _ in range(4 * WORKERS)]
                for client in clients:
                    client.send(request("GET", "/most_of_worker"))
                for client in clients:
                    pid, most = client.reply().body.split()
                    seen[pid] = int(most)
        return list(seen.values())


class Own(FaultCase):
    """What each event has for itself."""

    code = function("async_many")
    spec = {"eventTimeout": "2s"}

    def together(self, paths):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in paths]
            for client, path in zip(clients, paths, strict=True):
                client.send(request("POST", path))
            return [client.reply().body.decode() for client in clients]

    def test_context_variables(self):
        told = self.together([f"/variables/v{n}" for n in range(40)])
        self.assertEqual(told, [f"nobody v{n} v{n}" for n in range(40)])

    def test_deadlines(self):
        told = self.together([f"/deadline/{n / 20}" for n in range(20)])
        self.assertEqual(told, ["True"] * 20)

    def test_an_answer_before_the_deadline(self):
        reply = self.ask("POST", "/gives_up")
        self.assertEqual((reply.status, reply.body), (504, b"gave up in time"))

    def test_background_tasks_go_on_between_events(self):
        pid, turns = self.ask("GET", "/turned").body.split()
        wait_until(
            lambda: int(self.ask("GET", "/turned").body.split()[1]) > int(turns) + 20,
            "the task of init_context turns",
        )
        self.assertEqual(self.ask("GET", "/ok").body, pid)


class Stuck(FaultCase):
    """A handler that blocks the loop, so that nothing in its worker moves."""

    code = function("async_many")
    keeps_workers = False
    spec = {"eventTimeout": "4s", "triggers": http_trigger(numWorkers=1)}

    def test_others_do_not_wait_for_their_deadlines(self):
        [pid] = self.processor.worker_pids()
        with contextlib.ExitStack() as stack:
            late, *others = [stack.enter_context(Client(self.http)) for _ in range(4)]
            late.send(request("POST", "/blocks/3.5"))
            # Begun before the loop is blocked, and due long after the one that blocks it.
            time.sleep(3.1)
            for client in others:
                client.send(request("GET", "/sleeps/0.6"))
            wait_until(self.notes, "it blocks")
            self.assertEqual(late.reply().status, 408)
            replies = [client.reply() for client in others]
        # Due 3.1 s after the first. That has a second of grace, then the worker a second to answer
        # PING, and then others have them.
        self.assertEqual([reply.status for reply in replies], [200] * 3)
        self.assertGreaterEqual(self.processor.counter("redispatched"), 3)
        wait_until(lambda: pid not in self.processor.children(), "the stuck one has ended")


class Loops(unittest.TestCase):
    def loop_of(self, attributes):
        spec = {"runtimeAttributes": attributes}
        with Processor(function("async_many"), spec) as processor:
            processor.wait_ready()
            with Client(processor.http) as client:
                return client.ask("GET", "/loop").body.decode().split()[0]

    def refusal(self, attributes, files=()):
        spec = {"runtimeAttributes": attributes}
        with Processor(function("async_many"), spec, files=files) as processor:
            self.assertEqual(processor.wait_end(), 2)
            return processor.stderr()

    def test_pythons_own(self):
        self.assertIn("asyncio", self.loop_of({}))
        self.assertIn("asyncio", self.loop_of({"uvloop": False}))

    def test_uvloop(self):
        self.assertEqual(self.loop_of({"uvloop": True}), "uvloop")
        self.assertEqual(self.loop_of({"loop": "uvloop"}), "uvloop")

    def test_uvloop_that_is_not_there(self):
        with tempfile.TemporaryDirectory() as folder:
            # As for an interpreter that has none.
            hidden = pathlib.Path(folder) / "uvloop.py"
            hidden.write_text("raise ImportError('no uvloop')")
            self.assertIn("pip install uvloop", self.refusal({"uvloop": True}, files=[hidden]))

    def test_an_unknown_one(self):
        self.assertIn("write asyncio or uvloop", self.refusal({"loop": "trio"}))


if __name__ == "__main__":
    unittest.main()
