"""What handlers print and log: records of their event, bounded, and never in a handler's way."""

import json
import os
import re
import unittest

from faults import FaultCase, function
from processor import Processor, wait_until
from wire import Client, ask

# What may be lost beyond the processor's bounds is announced; less than this never is.
LINES_KEPT_MIN = 50


class Records(FaultCase):
    """Each line is one record with the event that it belongs to."""

    code = function("talkative")
    env = {"NUCLIO_LOG_FORMAT": "json", "NUCLIO_LOG_LEVEL": "debug"}

    def of_event(self, event_id, count):
        """The records of an event once there are that many."""
        return wait_until(
            lambda: len(found := self.records(event_id=event_id)) >= count and found,
            lambda: f"{count} records of {event_id}: {self.records(event_id=event_id)}",
        )

    def test_prints_are_records_of_their_event(self):
        event_id = self.ask("GET", "/lines").body.decode()
        found = self.of_event(event_id, 6)
        self.assertEqual(
            [record["message"] for record in found],
            [
                "one",
                "two-three!",
                "to stderr",
                "żółw \N{SNAKE}",
                r"raw \xff\xfe",
                "no line end",
            ],
        )
        for record in found:
            self.assertEqual((record["function"], record["worker"]), ("function", 0))
            self.assertEqual(record["level"], "info")
            self.assertRegex(record["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")

    def test_events_do_not_mix(self):
        first, second = (self.ask("GET", "/lines").body.decode() for _ in range(2))
        self.assertNotEqual(first, second)
        for event_id in (first, second):
            self.assertEqual(len(self.of_event(event_id, 6)), 6)

    def test_the_logger_has_levels_and_fields(self):
        event_id = self.ask("GET", "/levels").body.decode()
        found = self.of_event(event_id, 5)
        self.assertEqual(
            [(record["level"], record["message"]) for record in found],
            [
                ("debug", "at debug"),
                ("info", "at info 2"),
                ("warn", "at warn"),
                ("error", "at error"),
                ("info", "does not %d fit ('word',)"),
            ],
        )
        fields = found[3]
        self.assertEqual(
            (fields["price"], fields["tags"], fields["nested"]), (3, ["a"], {"b": None})
        )
        self.assertIn("object", fields["odd"])

    def test_no_text_forges_a_record(self):
        event_id = self.ask("GET", "/forges").body.decode()
        found = self.of_event(event_id, 3)
        self.assertEqual(self.records(message="forged"), [])
        for record in found:
            self.assertEqual((record["event_id"], record["level"]), (event_id, "info"))
        self.assertIn("with", [record["message"] for record in found])

    def test_output_past_python_is_kept(self):
        self.ask("GET", "/native")
        for text in (
            "straight to one",
            "straight to two",
            "from libc",
            "from a child",
            "its error",
        ):
            self.wait_record(message=text, worker=0)

    def test_lines_of_threads_stay_whole(self):
        self.ask("GET", "/threads")
        whole = re.compile(r"thread \d turn \d+ ={50}")
        found = wait_until(lambda: self.records(text="turn 199"), "the last lines")
        self.assertTrue(found)
        for record in self.records(text="thread "):
            self.assertRegex(record["message"], rf"^{whole.pattern}$")


class Floods(FaultCase):
    """Output beyond every bound: the handler is not held up, and what is dropped is announced."""

    code = function("talkative")
    keeps_workers = False

    def test_fifty_megabytes(self):
        for word, answer in [("much", b"printed"), ("much_native", b"written")]:
            with self.subTest(word=word), Client(self.http, limit_s=60) as client:
                self.settle()
                before = self.processor.counter("log_dropped")
                self.assertEqual(client.ask("GET", f"/{word}/50").body, answer)
                self.assertEqual(client.ask("GET", "/ok").body, b"ok")
                self.settle()
                kept = len(self.records(text=("x" if word == "much" else "y") * 99))
                dropped = self.processor.counter("log_dropped") - before
                print(f"\n50 MB by {word}: {kept} of 500000 lines kept, {dropped} dropped")
                self.assertGreater(kept, LINES_KEPT_MIN)
                # The words of the worker that ended in `settle` may be among them.
                self.assertAlmostEqual(kept + dropped, 500_000, delta=3)
                self.wait_record(level="warn", text="dropped")

    def settle(self):
        """Waits until the log has caught up: a new worker's first words come last."""
        before = self.processor.worker_pids()
        self.ask("POST", "/dies")
        wait_until(lambda: self.processor.worker_pids() not in ([], before), "a new worker")
        self.wait_record(text=f"(pid {before[0]}) ended")

    def test_a_line_of_twenty_megabytes(self):
        self.assertEqual(self.ask("GET", "/one_line/20").body, b"printed")
        self.assertEqual(self.ask("GET", "/ok").body, b"ok")
        self.wait_record(text="zzz")

    def test_last_words_are_kept(self):
        self.ask("GET", "/ok")
        self.assertEqual(self.ask("POST", "/dies").status, 502)
        for text in ("last words", "native last words"):
            self.wait_record(message=text)

    def test_memory_stays_bounded(self):
        self.ask("GET", "/much/20")
        self.settle()
        before = self.processor.private_bytes()
        for _ in range(3):
            self.ask("GET", "/much/20")
            self.ask("GET", "/much_native/20")
        self.settle()
        grown = self.processor.private_bytes() - before
        print(f"\nprivate memory grew by {grown >> 10} KiB over 120 MB of output")
        self.assertLess(grown, 16 << 20)


class People(unittest.TestCase):
    """The format for people."""

    def test_a_line_cannot_be_forged(self):
        with Processor(function("talkative")) as processor:
            processor.wait_ready()
            event_id = ask(processor.http, "GET", "/forges").body.decode()
            ask(processor.http, "GET", "/levels")
            wait_until(lambda: "does not %d fit" in processor.stderr(), "the log")
            text = processor.stderr()
            processor.stop()
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\0", text)
        for line in text.splitlines():
            self.assertRegex(
                line, r"^(  |\d\d:\d\d:\d\d\.\d{3} (debug|info |warn |error) function )"
            )
        self.assertIn(f"event …{event_id[-8:]}", text)
        self.assertIn("at error", text)
        self.assertIn("price=3", text)

    def test_stderr_that_nobody_reads(self):
        """A full pipe behind stderr holds nothing up."""
        read, write = os.pipe()
        try:
            with Processor(function("talkative"), stderr=write) as processor:
                os.close(write)
                write = None
                processor.wait_ready()
                with Client(processor.http, limit_s=60) as client:
                    self.assertEqual(client.ask("GET", "/much/5").body, b"printed")
                    self.assertEqual(client.ask("GET", "/much_native/5").body, b"written")
                    for _ in range(200):
                        self.assertEqual(client.ask("GET", "/ok").body, b"ok")
                self.assertGreater(processor.counter("log_dropped"), 0)
                self.assertEqual(processor.stop(), 0)
        finally:
            os.close(read)
            if write is not None:
                os.close(write)


class Replied(FaultCase):
    """`X-Nuclio-Log-Level` brings an event's records back with its reply."""

    code = function("talkative")

    def logs(self, path, level):
        reply = self.ask("GET", path, headers=[f"X-Nuclio-Log-Level: {level}"])
        return json.loads(reply.get("X-Nuclio-Logs"))

    def test_records_come_with_the_reply(self):
        for level, wanted in [
            ("debug", ["at debug", "at info 2", "at warn", "at error"]),
            ("info", ["at info 2", "at warn", "at error"]),
            ("error", ["at error"]),
        ]:
            with self.subTest(level=level):
                told = [record["message"] for record in self.logs("/levels", level)]
                self.assertEqual([text for text in told if text.startswith("at ")], wanted)

    def test_prints_come_with_the_reply(self):
        told = [record["message"] for record in self.logs("/lines", "info")]
        self.assertEqual(told[:2], ["one", "two-three!"])

    def test_nobody_who_does_not_ask_gets_them(self):
        self.assertIsNone(self.ask("GET", "/levels").get("X-Nuclio-Logs"))

    def test_a_flood_comes_cut_or_not_at_all(self):
        reply = self.ask("GET", "/much/1", headers=["X-Nuclio-Log-Level: info"])
        self.assertEqual(reply.body, b"printed")
        logs = reply.get("X-Nuclio-Logs")
        if logs is not None:
            self.assertTrue(json.loads(logs))
        self.assertEqual(self.ask("GET", "/ok").body, b"ok")

    def test_a_level_that_is_none(self):
        self.assertEqual(
            self.ask("GET", "/levels", headers=["X-Nuclio-Log-Level: loud"]).status, 200
        )


if __name__ == "__main__":
    unittest.main()
