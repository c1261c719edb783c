"""A worker that writes over the shared memory: it costs its own events, each run at most as often
as allowed, and never the processor."""

import unittest

from faults import FaultCase, function
from processor import http_trigger, wait_until

SEEDS = 25


class Corrupted(FaultCase):
    code = function("corrupting")
    keeps_workers = False
    spec = {
        "eventTimeout": "5s",
        "triggers": http_trigger(workerAvailabilityTimeoutMilliseconds=3000),
    }

    def corrupt(self, method, how, runs_max):
        statuses = []
        for seed in range(3 if "x" not in how else SEEDS):
            wait_until(lambda: self.ask("GET", "/ok").status == 200, "events are served", 40)
            self.notes_path.write_text("")
            statuses.append(self.ask(method, f"/corrupt/{how}/{seed}").status)
            # It may be found out before or after the answer, or do no harm at all.
            self.assertIn(statuses[-1], (200, 502, 408), f"{method} {how} seed {seed}")
            self.assertIn(len(self.notes()), range(1, runs_max + 1), f"{method} {how} seed {seed}")
        print(
            f"\n{method} {how}: { ({one: statuses.count(one) for one in sorted(set(statuses))}) }"
        )

    def test_there_is_something_to_corrupt(self):
        self.assertGreater(
            sum(map(int, self.ask("GET", "/ranges").body.strip(b"[]").split(b","))), 0
        )

    def test_all_of_it(self):
        for how in ("zeros", "ones", "noise"):
            with self.subTest(how=how):
                self.corrupt("POST", how, runs_max=1)
                self.corrupt("GET", how, runs_max=2)

    def test_words_here_and_there(self):
        for how in ("3x1", "20x4", "200x16", "1000x300"):
            with self.subTest(how=how):
                self.corrupt("POST", how, runs_max=1)


if __name__ == "__main__":
    unittest.main()
