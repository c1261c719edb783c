"""Signals: a drain loses no request, a second interrupt ends now, a hang-up loads the code again."""

import dataclasses
import os
import signal
import threading
import time
import unittest

from processor import HANDLER, Processor, children_of, is_alive, wait_until
from wire import BrokenReply, Client, ask, chunked, pattern, request

SLOW_IMPORT = "import time\ntime.sleep(60)\n" + HANDLER
ANSWER = "def handler(context, event):\n    return {!r}\n"


class Signals(unittest.TestCase):
    def start(self, **options):
        processor = Processor(**options)
        self.addCleanup(processor.close)
        return processor

    def wait_draining(self, processor):
        wait_until(lambda: "draining" in processor.stderr(), "it says that it drains")

    def assert_gone(self, processor, workers):
        """No process, no registration is left."""
        for pid in workers:
            wait_until(lambda p=pid: not is_alive(p), f"worker {pid} has ended")
        run = processor.folder / "state/run/default/function"
        self.assertEqual(sorted(os.listdir(run)), ["lock"])


class Drain(Signals):
    """SIGTERM and the first SIGINT."""

    def test_every_request_begun_is_answered_whole(self):
        processor = self.start().wait_ready()
        workers = processor.worker_pids()
        body = pattern(100_000)
        wholes = {
            "small": (request("POST", "/", b"abc"), b"abc"),
            "large": (request("POST", "/", body), body),
            "chunked": (chunked(body, (3000,)), body),
            "slow": (request("GET", "/sleep/0.3"), b"slept"),
            "big reply": (request("GET", "/bytes/3000000"), bytes(3_000_000)),
        }
        clients = []
        for name, (whole, expected) in wholes.items():
            for cut in [1, 20, len(whole) // 2, len(whole) - 1, len(whole)]:
                client = Client(processor.http).send(whole[:cut])
                clients.append((f"{name} cut at {cut}", client, whole[cut:], expected))
        several = Client(processor.http).send(request("GET", "/sleep/0.1") * 10)
        idle = [Client(processor.http) for _ in range(20)]
        count = len(clients) + len(idle) + 1
        wait_until(lambda: processor.stats()["connections"] == count, "all are in")
        processor.signal(signal.SIGTERM)
        self.wait_draining(processor)
        # Nobody new is let in, and those who ask are told.
        self.assertEqual(processor.admin("/readyz")[0], 503)
        with self.assertRaises(ConnectionRefusedError):
            Client(processor.http)
        for name, client, rest, expected in clients:
            with self.subTest(name):
                client.send(rest)
        for name, client, rest, expected in clients:
            with self.subTest(name):
                reply = client.reply()
                self.assertEqual(reply.status, 200)
                # Who was answered before the drain could not be told.
                self.assertIn(reply.get("Connection"), ["close"] if rest else ["close", None])
                self.assertTrue(reply.body == expected, "another body")
                self.assertTrue(client.is_closed())
                client.close()
        replies = [several.reply() for _ in range(10)]
        self.assertEqual([reply.body for reply in replies], [b"slept"] * 10)
        self.assertEqual(replies[-1].get("Connection"), "close")
        for client in [*idle, several]:
            self.assertTrue(client.is_closed())
            client.close()
        self.assertEqual(processor.wait_end(), 0, processor.stderr())
        self.assert_gone(processor, workers)

    def test_under_load(self):
        for number in [signal.SIGTERM, signal.SIGINT]:
            processor = self.start(flags=["--workers", "2"]).wait_ready()
            workers = processor.worker_pids()
            done, faults = [], []

            def work(address=processor.http, done=done, faults=faults):
                with Client(address) as client:
                    while True:
                        last = time.monotonic()
                        try:
                            reply = client.ask("POST", "/", pattern(3000))
                        except (BrokenReply, OSError) as error:
                            # Closed as idle: only after half a second without a request.
                            if client.buffer or time.monotonic() - last < 0.4:
                                faults.append(repr(error))
                            return
                        if (reply.status, len(reply.body)) != (200, 3000):
                            faults.append(str(reply))
                        done.append(1)
                        if reply.get("Connection") == "close":
                            return

            threads = [threading.Thread(target=work) for _ in range(30)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(done) > 500, "there is load")
            processor.signal(number)
            for thread in threads:
                thread.join(30)
            self.assertEqual(faults, [])
            self.assertEqual(processor.wait_end(), 0, processor.stderr())
            self.assert_gone(processor, workers)

    def test_a_request_that_never_ends_does_not_hold_the_drain_for_ever(self):
        processor = self.start().wait_ready()
        half = Client(processor.http).send(b"POST / HTTP/1.1\r\nHost")
        wait_until(lambda: processor.stats()["connections"] == 1, "it is in")
        self.assertEqual(processor.stop(), 0)
        self.assertEqual(half.reply().status, 408)
        half.close()

    def test_before_the_first_worker_is_ready(self):
        for number in [signal.SIGTERM, signal.SIGINT]:
            processor = self.start(code=SLOW_IMPORT)
            wait_until(lambda p=processor: children_of(p.pid), "a worker is started")
            workers = children_of(processor.pid)
            processor.signal(number)
            # Nothing can be lost, so nothing is waited for.
            self.assertEqual(processor.wait_end(5), 0, processor.stderr())
            self.assert_gone(processor, workers)

    def test_an_interrupt_of_the_whole_process_group(self):
        """As Ctrl-C does it: workers go on until their events are finished."""
        processor = self.start(start_new_session=True).wait_ready()
        with Client(processor.http) as client:
            client.send(request("GET", "/sleep/0.5"))
            wait_until(lambda: processor.stats()["in_flight"], "it runs")
            os.killpg(processor.pid, signal.SIGINT)
            self.assertEqual(client.reply().body, b"slept")
        self.assertEqual(processor.wait_end(), 0, processor.stderr())


class Interrupt(Signals):
    """The second SIGINT."""

    def test_ends_now(self):
        processor = self.start().wait_ready()
        workers = processor.worker_pids()
        with Client(processor.http) as client:
            client.send(request("GET", "/sleep/30"))
            wait_until(lambda: processor.stats()["in_flight"], "it runs")
            processor.signal(signal.SIGINT)
            self.wait_draining(processor)
            processor.signal(signal.SIGINT)
            self.assertEqual(processor.wait_end(5), 130)
            self.assertTrue(client.is_closed())
        self.assert_gone(processor, workers)


class HangUp(Signals):
    """SIGHUP."""

    def test_loads_the_code_again_and_loses_nothing(self):
        processor = self.start(code=ANSWER.format("old")).wait_ready()
        before = processor.census()
        (processor.folder / "function.py").write_text(ANSWER.format("renewed"))
        with Client(processor.http) as client:
            self.assertEqual(client.ask().body, b"old")
            processor.signal(signal.SIGHUP)
            seen = []

            def renewed():
                reply = client.ask()
                self.assertEqual(reply.status, 200)
                seen.append(reply.body)
                return seen[-1] == b"renewed"

            wait_until(renewed, "the new code answers")
            self.assertLessEqual(set(seen), {b"old", b"renewed"})
        self.assert_as_many(processor, before)
        self.assertEqual(processor.stop(), 0, processor.stderr())

    def test_broken_code_leaves_the_old_in_place(self):
        processor = self.start(code=ANSWER.format("old")).wait_ready()
        before = processor.census()
        (processor.folder / "function.py").write_text("def handler(context, event:\n")
        processor.signal(signal.SIGHUP)
        wait_until(lambda: "reload failed" in processor.stderr(), "the mistake is shown")
        self.assertEqual(ask(processor.http).body, b"old")
        (processor.folder / "function.py").write_text(ANSWER.format("mended"))
        processor.signal(signal.SIGHUP)
        wait_until(lambda: ask(processor.http).body == b"mended", "the mended code answers")
        self.assert_as_many(processor, before)
        self.assertEqual(processor.stop(), 0, processor.stderr())

    def test_is_nothing_under_nohup(self):
        def ignore():
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        processor = self.start(preexec_fn=ignore).wait_ready()
        before = processor.census()
        processor.signal(signal.SIGHUP)
        self.assertEqual(ask(processor.http, "POST", "/", b"x").body, b"x")
        processor.wait_census(before)
        self.assertEqual(processor.workers()[0]["generation"], 1)
        self.assertEqual(processor.stop(), 0, processor.stderr())

    def assert_as_many(self, processor, before):
        """Other workers, and otherwise what there was."""

        def settled():
            now = processor.census()
            as_before = dataclasses.replace(before, children=now.children)
            return now == as_before and len(now.children) == len(before.children)

        wait_until(settled, lambda: f"holds {processor.census()}, before {before}")


if __name__ == "__main__":
    unittest.main()
