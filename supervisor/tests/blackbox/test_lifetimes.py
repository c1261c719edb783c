"""Bodies that a handler keeps: never corrupted, never another event's, and not without bound."""

import contextlib
import hashlib
import os
import subprocess
import unittest

from faults import FaultCase, function
from processor import PYTHON, wait_until
from wire import Client, request

# Sizes of every way in which a body can lie: beside its header, in slots of its own, in several.
SIZES = (200, 3_000, 15_000, 70_000, 1_400_000)
ADVICE = "Keep event.body, or bytes(event.body_view), instead"


def canary(number, size):
    block = hashlib.sha256(str(number).encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def has_numpy():
    found = subprocess.run([PYTHON, "-c", "import numpy"], capture_output=True, check=False)
    return found.returncode == 0


class KeepCase(FaultCase):
    code = function("keeping")

    def keep(self, word, number, size):
        reply = self.ask("POST", f"/{word}/{number}", canary(number, size))
        self.assertEqual(reply.status, 200, reply.body)
        return reply.body

    def pass_many(self, rounds=30):
        """Other events, each with bytes of its own, in all the places that are free."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(8)]
            for number in range(rounds):
                size = SIZES[number % len(SIZES)]
                for place, client in enumerate(clients):
                    one = 1000 + 8 * number + place
                    client.send(request("POST", f"/pass/{one}", canary(one, size)))
                for client in clients:
                    self.assertEqual(client.reply().body, b"right")


class Kept(KeepCase):
    def check(self, word, count=20):
        for number in range(count):
            self.keep(word, number, SIZES[number % len(SIZES)])
        for _ in range(3):
            self.pass_many()
            self.assertEqual(self.ask("GET", "/look").body.decode(), f"{count} kept, wrong []")
        self.assertEqual(self.ask("GET", "/forget").body, b"forgotten")

    def test_in_a_list(self):
        self.check("in_list")

    def test_in_slices(self):
        self.check("in_slices")

    @unittest.skipUnless(has_numpy(), "numpy is not installed for this interpreter")
    def test_in_an_array(self):
        self.check("in_array")

    def test_in_a_closure(self):
        self.check("in_closure")

    def test_in_a_thread(self):
        for number in range(10):
            self.keep("in_thread", number, SIZES[number % len(SIZES)])
        self.pass_many()
        self.assertEqual(self.notes(), [])
        self.ask("GET", "/forget")
        self.assertEqual(sorted(self.notes()), [f"thread {n} fine" for n in range(10)])


class Children(KeepCase):
    # What a child may look at is kept until the worker ends.
    keeps_workers = False

    def test_in_a_forked_child(self):
        [pid] = self.processor.worker_pids()
        for number in range(5):
            self.keep("in_child", number, SIZES[number])
        self.pass_many(60)
        wait_until(lambda: len(self.notes()) == 5, lambda: f"children are done: {self.notes()}")
        self.assertEqual(sorted(self.notes()), [f"child {n} fine" for n in range(5)])
        # Not one of the parent's views is left, and the memory is held all the same.
        self.assertGreaterEqual(self.processor.census().slots, 5)
        os.kill(pid, 9)
        wait_until(lambda: self.processor.worker_pids() not in ([pid], []), "another worker")


class Budget(KeepCase):
    """Who keeps too much is named and replaced, and then nothing is missing."""

    keeps_workers = False
    spec = {"handler": "function:handler"}

    def tearDown(self):
        # The present worker has begun to keep, too.
        self.assertEqual(self.ask("GET", "/forget").body, b"forgotten")
        super().tearDown()

    def replaced(self, keep):
        [pid] = self.processor.worker_pids()
        before = len(self.records(text=ADVICE))
        most = 600
        for number in range(most):
            reply = keep(number)
            if int(reply) != pid:
                break
        else:
            self.fail(f"{most} bodies are kept and nobody minds")
        found = wait_until(lambda: self.records(text=ADVICE)[before:], "the warning")
        self.assertEqual(len(found), 1, found)
        self.assertEqual(found[0]["level"], "warn")
        self.assertIn("the handler function:handler of function.py keeps", found[0]["message"])
        wait_until(lambda: pid not in self.processor.children(), "the old worker has ended", 30)
        return number

    def test_by_number(self):
        number = self.replaced(lambda n: self.keep("in_list", n, 100))
        self.assertGreaterEqual(number, 256)

    def test_by_bytes(self):
        # Less than 256 of them are a quarter of the event memory, at most 64 MiB.
        number = self.replaced(lambda n: self.keep("in_list", n, 1_000_000))
        self.assertLess(number, 80)

    def test_a_worker_that_does_not_end(self):
        """A thread that is no daemon keeps the process alive; it is killed after a while."""
        self.keep("stubborn", 1, 100)
        number = self.replaced(lambda n: self.keep("in_list", n, 100))
        self.assertGreaterEqual(number, 250)

    def test_the_next_event_is_served_meanwhile(self):
        for number in range(700):
            self.assertTrue(self.keep("in_list", number, 20))


if __name__ == "__main__":
    unittest.main()
