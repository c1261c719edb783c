"""Batches: when they are closed, that each event has its own answer, and what a failure costs."""

import contextlib
import time
import unittest

from faults import FaultCase, function
from processor import Processor, http_trigger, wait_until
from wire import Client, pattern, request

NO_ANSWER = "the handler gave no answer for this event"


def batch(size, timeout="10s", **more):
    """`spec` with batches of this size."""
    return {
        "triggers": http_trigger(
            batch={"mode": "enable", "batchSize": size, **{"timeout": timeout}, **more}
        )
    }


class BatchCase(FaultCase):
    code = function("batching")
    # A batch of one: nobody else comes within the quiet period.
    probe = "/ordered"

    def together(self, paths, bodies=None, method="POST", headers=()):
        """Replies to requests that are in one batch, since the processor sees them all at once."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in paths]
            with self.processor.paused():
                for number, (client, path) in enumerate(zip(clients, paths, strict=True)):
                    body = bodies[number] if bodies else None
                    client.send(request(method, path, body, headers))
            return [client.reply() for client in clients]

    def told(self, paths, **more):
        return [(r.status, r.body.decode()) for r in self.together(paths, **more)]


class Answers(BatchCase):
    """Every way to answer a batch of three."""

    spec = batch(3, quietPeriod="200ms")

    def test_by_place(self):
        paths = [f"/ordered/{n}" for n in range(3)]
        self.assertEqual(self.told(paths), [(200, path) for path in paths])

    def test_by_id(self):
        paths = [f"/by_id/{n}" for n in range(3)]
        self.assertEqual(self.told(paths), [(201, path) for path in paths])

    def test_every_form(self):
        self.assertEqual(
            self.told(["/forms/text", "/forms/none", "/forms/json"]),
            [(200, "text"), (200, ""), (200, '{"a": [1, 2]}')],
        )
        self.assertEqual(
            self.told(["/forms/pair", "/forms/bytes", "/forms/reject"]),
            [(204, ""), (200, "bytes"), (422, "never")],
        )

    def test_a_bad_answer_fails_its_event_only(self):
        told = self.told(["/forms/error", "/forms/text", "/forms/unsendable"])
        self.assertEqual(told[:2], [(500, "ValueError: only mine"), (200, "text")])
        self.assertEqual(told[2][0], 500)
        self.assertIn("set is not JSON serializable", told[2][1])
        told = self.told(["/forms/status", "/forms/text", "/forms/retry"])
        self.assertEqual([status for status, _ in told], [500, 200, 503])

    def test_a_missing_answer_fails_its_event_only(self):
        told = self.told(["/forgets/a", "/forgets/none", "/forgets/b"])
        self.assertEqual(told, [(200, "/forgets/a"), (500, NO_ANSWER), (200, "/forgets/b")])

    def test_a_list_of_another_length_answers_nobody(self):
        told = self.told([f"/short/{n}" for n in range(3)])
        sentence = "the handler returned 2 answers for 3 events: return one for each in their order"
        self.assertTrue(all(status == 500 and sentence in text for status, text in told), told)

    def test_answers_for_nobody_are_named(self):
        paths = [f"/strangers/{n}" for n in range(3)]
        self.assertEqual(self.told(paths), [(200, path) for path in paths])
        self.wait_record(level="warn", text="an answer for event nobody, which it was not given")
        self.wait_record(level="warn", text="a second answer for event")

    def test_no_list(self):
        told = self.told([f"/text/{n}" for n in range(3)])
        sentence = (
            "the handler of a batch returned a str: return a list with an answer for each event"
        )
        self.assertEqual(told, [(500, sentence)] * 3)

    def test_exceptions(self):
        told = self.told([f"/raises/{n}" for n in range(3)])
        self.assertEqual(told, [(500, "ValueError: all of them")] * 3)
        self.wait_record(level="error", text="ValueError: all of them")
        told = self.told([f"/leaves/{n}" for n in range(3)])
        self.assertEqual(told, [(500, "SystemExit: 3")] * 3)

    def test_the_last_is_known(self):
        told = self.told([f"/last/{n}" for n in range(3)])
        self.assertEqual(sorted(text for _, text in told), ["False", "False", "True"])

    def test_bodies_by_view(self):
        for size in (10, 5_000, 70_000):
            bodies = [pattern(size + n)[n:] for n in range(3)]
            replies = self.together(["/echo"] * 3, bodies=bodies)
            self.assertTrue([reply.body for reply in replies] == bodies, size)

    def test_events_that_are_kept_stay_as_they_were(self):
        bodies = [pattern(900 + n)[n:] for n in range(3)]
        self.together(["/kept_exception"] * 3, bodies=bodies)
        for _ in range(20):
            self.together(["/ordered"] * 3, bodies=[b"z" * 900] * 3)
        replies = self.together(["/seen"] * 3)
        # Nobody promises that clients who came together have their places in this order.
        self.assertEqual(sorted(reply.body for reply in replies), sorted(bodies))

    def test_records_of_one_event_alone_are_its_own(self):
        reply = self.ask("GET", "/logs/alone")
        self.wait_record(event_id=reply.body.decode(), text="saw /logs/alone")


class Closing(BatchCase):
    """When a batch goes down."""

    def sizes(self, count):
        return [int(text) for _, text in self.told(["/sizes"] * count)]


class BySize(Closing):
    spec = batch(4, timeout="1h", quietPeriod="300ms")

    def test_full_batches_go_at_once(self):
        begun = time.monotonic()
        self.assertEqual(self.sizes(12), [4] * 12)
        # Three batches, none of which waited for the quiet period.
        self.assertLess(time.monotonic() - begun, 5)
        before = self.processor.counter("bells_down")
        self.sizes(4)
        # One store, one bell for all four.
        self.assertLessEqual(self.processor.counter("bells_down") - before, 1)

    def test_the_rest_goes_when_nobody_comes(self):
        begun = time.monotonic()
        self.assertEqual(self.sizes(6), [4] * 4 + [2] * 2)
        self.assertGreater(time.monotonic() - begun, 0.25)

    def test_clients_that_leave_are_not_waited_for(self):
        with Client(self.http) as gone:
            gone.send(request("POST", "/sizes"))
            wait_until(lambda: self.processor.stats()["pending"] == 1, "it waits")
            gone.reset()
        wait_until(lambda: self.processor.stats()["pending"] == 0, "it waits no more")
        self.assertEqual(self.sizes(4), [4] * 4)


class ByTime(Closing):
    spec = batch(100, timeout="400ms")

    def test_the_oldest_waits_no_longer(self):
        begun = time.monotonic()
        self.assertEqual(self.sizes(3), [3] * 3)
        seconds = time.monotonic() - begun
        self.assertGreater(seconds, 0.35)
        self.assertLess(seconds, 5)

    def test_an_idle_batcher_sleeps(self):
        self.sizes(1)
        before = self.processor.stats()["counters"]["polls"]
        time.sleep(2)
        # The question itself wakes the thread, once or twice.
        self.assertLessEqual(self.processor.stats()["counters"]["polls"] - before, 4)


class Largest(Closing):
    spec = batch(4096, timeout="300ms")

    def test_many_at_once(self):
        sizes = self.sizes(600)
        self.assertGreater(max(sizes), 100)
        self.assertEqual(len(sizes), 600)


class Deadlines(BatchCase):
    spec = {**batch(2, timeout="1h"), "eventTimeout": "500ms"}
    keeps_workers = False
    probe = None

    def tearDown(self):
        wait_until(lambda: len(self.processor.worker_pids()) == 1, "the worker is back")
        self.assertEqual(self.told(["/ordered"] * 2), [(200, "/ordered")] * 2)
        super(FaultCase, self).tearDown()

    def test_while_it_waits(self):
        [pid] = self.processor.worker_pids()
        begun = time.monotonic()
        self.assertEqual(self.told(["/ordered"])[0][0], 408)
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(self.processor.worker_pids(), [pid])

    def test_while_it_runs(self):
        # Whoever came first is at its deadline first; the other may be, too, in the same moment.
        told = self.told(["/sleeps"] * 2, headers=["X-Seconds: 60"])
        statuses = sorted(status for status, _ in told)
        self.assertEqual(statuses[0], 408)
        self.assertIn(statuses[1], (408, 502))
        self.assertEqual(self.notes(), ["began 2"])


class Deaths(BatchCase):
    spec = batch(3, timeout="300ms")
    keeps_workers = False

    def test_a_batch_dies_with_its_worker(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(3)]
            with self.processor.paused():
                for client, method in zip(clients, ("GET", "POST", "GET"), strict=True):
                    client.send(request(method, "/dies"))
            replies = [client.reply() for client in clients]
        # Two may be repeated, and are together; the third may not.
        self.assertEqual([reply.status for reply in replies], [200, 502, 200])
        first, second = self.notes()
        self.assertEqual(sorted(first.split()), ["GET:1", "GET:1", "POST:1"])
        self.assertEqual(second, "GET:2 GET:2")


class Drains(unittest.TestCase):
    def test_who_waits_is_served_at_the_end(self):
        with Processor(function("batching"), batch(10, timeout="1h")) as processor:
            processor.wait_ready()
            with Client(processor.http) as client:
                client.send(request("GET", "/sizes"))
                wait_until(lambda: processor.stats()["pending"] == 1, "it waits")
                self.assertEqual(processor.stop(), 0)
                reply = client.reply()
            self.assertEqual((reply.status, reply.body), (200, b"1"))


class Async(BatchCase):
    code = function("batching_async")
    spec = {
        **batch(5, timeout="1s"),
        "eventTimeout": "3s",
    }
    spec["triggers"]["web"]["maxInflight"] = 20
    probe = "/gathers"
    keeps_workers = False

    def test_each_of_a_gathering(self):
        told = self.told(["/gathers/a", "/gathers/fail", "/gathers/b", "/gathers/c", "/gathers/d"])
        self.assertEqual([status for status, _ in told], [200, 500, 200, 200, 200])
        self.assertEqual(told[1][1], "ValueError: /gathers/fail")

    def test_batches_at_once_fit_max_inflight(self):
        told = self.told(["/counts"] * 40)
        self.assertTrue(all(status == 200 for status, _ in told))
        self.assertEqual({text.split()[0] for _, text in told}, {"5"})
        self.assertEqual(max(int(text.split()[1]) for _, text in told), 4)

    def test_a_batch_is_cancelled_when_nobody_waits_for_it(self):
        [pid] = self.processor.worker_pids()
        told = self.told(["/waits"] * 5, headers=["X-Seconds: 60"])
        self.assertEqual([status for status, _ in told], [408] * 5)
        wait_until(lambda: "cancelled" in self.notes(), "it was cancelled")
        self.assertEqual(self.processor.worker_pids(), [pid])

    def test_others_of_a_late_batch_get_their_answers(self):
        """One waits for the batch to fill, so it is late alone; the batch goes on."""
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(Client(self.http))
            others = [stack.enter_context(Client(self.http)) for _ in range(2)]
            first.send(request("POST", "/waits/1", None, ["X-Seconds: 2.4"]))
            wait_until(lambda: self.processor.stats()["pending"] == 1, "the first waits")
            # Younger by most of the second that the first waits for others.
            time.sleep(0.8)
            for client in others:
                client.send(request("POST", "/waits/2", None, ["X-Seconds: 2.4"]))
            statuses = [client.reply().status for client in (first, *others)]
        self.assertEqual(statuses, [408, 200, 200])
        self.assertNotIn("cancelled", self.notes())

    def test_a_batch_that_blocks_costs_its_worker(self):
        [pid] = self.processor.worker_pids()
        told = self.told(["/blocks"] * 5)
        self.assertEqual([status for status, _ in told], [408] * 5)
        wait_until(lambda: self.processor.worker_pids() not in ([pid], []), "another worker")


class Mistakes(unittest.TestCase):
    def refusal(self, spec):
        with Processor(function("batching"), spec) as processor:
            self.assertNotEqual(processor.wait_end(), 0)
            return processor.stderr()

    def test_a_batch_that_fits_no_ring(self):
        self.assertIn("batchSize: 4097 is out of range", self.refusal(batch(4097)))
        self.assertIn("batchSize: 0 is out of range", self.refusal(batch(0)))


if __name__ == "__main__":
    unittest.main()
