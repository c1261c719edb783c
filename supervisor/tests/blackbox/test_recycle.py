"""`recycle`: worn workers are replaced between two events, one at a time, and nobody notices."""

import contextlib
import json
import os
import threading
import time
import unittest

from faults import records_of
from processor import Processor, http_trigger, wait_until
from wire import Client, ask

CODE = """
import os, time

kept = []

def handler(context, event):
    if event.path == "/grow":
        kept.append(os.urandom(8 << 20))
    if event.path == "/slow":
        time.sleep(0.3)
    return str(os.getpid())
"""
# A start fails after the first: the file is there then.
FRAIL = """
import os

first = not os.path.exists("started")
open("started", "w").close()
if not first:
    raise RuntimeError("no second start")

def handler(context, event):
    return str(os.getpid())
"""


class Recycling(unittest.TestCase):
    def start(self, recycle, workers=1, code=CODE):
        spec = {"recycle": recycle, "triggers": http_trigger(numWorkers=workers)}
        env = {"NUCLIO_LOG_FORMAT": "json", "NUCLIO_LOG_LEVEL": "debug"}
        processor = Processor(code, spec=spec, env=env)
        self.addCleanup(processor.close)
        return processor.wait_ready()

    def ask(self, processor, path="/"):
        reply = ask(processor.http, "GET", path)
        self.assertEqual(reply.status, 200, reply.body)
        return int(reply.body)

    def told(self, processor, text):
        return [r for r in records_of(processor) if text in r["message"]]

    def settled(self, processor, workers):
        """Nothing of the worn ones is left."""
        wait_until(lambda: len(processor.worker_pids()) == workers, "all places are held")
        wait_until(lambda: len(processor.children()) == workers, "the worn ones are gone")

    def test_after_events(self):
        processor = self.start({"events": 100})
        pids = [self.ask(processor) for _ in range(1000)]
        changes = sum(a != b for a, b in zip(pids, pids[1:], strict=False))
        self.assertGreaterEqual(changes, 2)
        # 90 is the least; each worker goes on until the next is ready.
        self.assertLessEqual(changes, 11)
        self.assertGreaterEqual(
            min(pids.count(pid) for pid in set(pids[: pids.index(pids[-1])])), 90
        )
        self.settled(processor, 1)
        self.assertTrue(self.told(processor, "spec.recycle.events"))
        self.assertEqual(self.told(processor, "no effect"), [])

    def test_nothing_is_lost_under_load(self):
        processor = self.start({"events": 50}, workers=2)
        seen, failed = set(), []
        end = time.monotonic() + 3

        def load(number):
            with Client(processor.http) as client:
                while time.monotonic() < end:
                    reply = client.ask("GET", "/slow" if number == 0 else "/")
                    if reply.status == 200:
                        seen.add(int(reply.body))
                    else:
                        failed.append(reply.status)

        threads = [threading.Thread(target=load, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        self.assertGreater(len(seen), 6)
        self.settled(processor, 2)

    def test_after_its_age_without_an_event(self):
        processor = self.start({"age": "1s"}, workers=2)
        before = set(processor.worker_pids())
        gone = lambda: not before & set(processor.worker_pids())  # noqa: E731
        wait_until(gone, "both are replaced")
        self.assertTrue(self.told(processor, "spec.recycle.age"))
        self.ask(processor)

    def test_with_too_much_memory(self):
        processor = self.start({"memory": "96Mi"})
        before = self.ask(processor)
        for _ in range(12):
            self.ask(processor, "/grow")
        wait_until(lambda: self.ask(processor) != before, "it is replaced")
        self.assertTrue(self.told(processor, "spec.recycle.memory"))
        self.settled(processor, 1)

    def test_a_limit_below_a_fresh_worker_is_named_and_does_not_spin(self):
        processor = self.start({"memory": "1Mi"})
        wait_until(lambda: self.told(processor, "less than a fresh worker needs"), "a warning")
        before = self.ask(processor)
        time.sleep(2.5)  # two looks at its memory
        self.assertEqual(self.ask(processor), before)

    def test_a_worn_worker_goes_on_while_no_fresh_one_can_start(self):
        processor = self.start({"events": 10}, code=FRAIL)
        before = self.ask(processor)
        wait_until(
            lambda: self.ask(processor) == before and self.told(processor, "no second start"),
            "a start that fails",
        )
        for _ in range(50):
            self.assertEqual(self.ask(processor), before)
        # The pauses double: 100, 200, 400 ms.
        self.assertLess(len(self.told(processor, "no second start")), 8)
        os.unlink(processor.folder / "started")
        wait_until(lambda: self.ask(processor) != before, "the next try succeeds")

    def test_a_worn_worker_that_is_killed_is_replaced_once(self):
        processor = self.start({"events": 20}, workers=2)
        for _ in range(20):
            for _ in range(10):
                self.ask(processor)
            victim = processor.worker_pids()
            if victim:
                # A worn one may have ended by itself.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim[0], 9)
            self.ask(processor)
        self.settled(processor, 2)
        rows = json.loads(processor.admin("/api/workers")[1])
        self.assertEqual(len(rows), 2, rows)
        self.assertEqual(processor.stop(), 0, processor.stderr())


if __name__ == "__main__":
    unittest.main()
