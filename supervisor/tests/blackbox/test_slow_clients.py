"""Clients that are slow or leave: what they held is given back, and the others notice nothing."""

import socket
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from processor import Processor, ProcessorCase, http_trigger, wait_until
from wire import BrokenReply, Client, chunked, pattern, request

# 10 s without 10 KiB end a request or a reply; who moved more in its first 10 s has another 10.
CUT_AFTER_S = 9.5
CUT_BEFORE_S = 26
MIB = 1 << 20
HEAD = b"POST / HTTP/1.1\r\nHost: test\r\n"
BIG_REPLY = request("GET", f"/bytes/{4 * MIB}")


def drip(client, data, step, every_s):
    """Sends `step` bytes at a time until all is sent or the other side has closed."""
    for at in range(0, len(data), step):
        try:
            client.send(data[at : at + step])
        except (BrokenPipeError, ConnectionResetError):
            return
        client.socket.settimeout(every_s)
        try:
            client.socket.recv(1, socket.MSG_PEEK)
            return
        except (TimeoutError, ConnectionResetError):
            pass
    client.socket.settimeout(CUT_BEFORE_S)


class Slow(ProcessorCase):
    """Clients that move less than 1 KiB a second are cut, and only those."""

    def test_the_slow_are_cut_and_the_steady_served(self):
        large = b"Content-Length: 1000000\r\n\r\n"
        cut = {
            "half a head": lambda c: c.send(HEAD[:20]),
            "a head byte by byte": lambda c: drip(c, HEAD * 2, 1, 0.9),
            "no body": lambda c: c.send(HEAD + b"Content-Length: 5\r\n\r\n"),
            "a body byte by byte": lambda c: (
                c.send(HEAD + b"Content-Length: 99\r\n\r\n"),
                drip(c, bytes(99), 1, 0.9),
            ),
            "a large body that stops": lambda c: c.send(HEAD + large + pattern(50_000)),
            "a large body byte by byte": lambda c: (
                c.send(HEAD + large + pattern(50_000)),
                drip(c, bytes(99), 1, 0.9),
            ),
            "chunks that stop": lambda c: c.send(chunked(pattern(90_000))[:70_000]),
            "a chunk that stops": lambda c: c.send(chunked(b"abc")[:-9]),
            "a second request that stops": lambda c: (
                c.ask("POST", "/", b"x"),
                c.send(HEAD),
            ),
        }
        with ThreadPoolExecutor(20) as pool:
            waits = {name: pool.submit(self.is_cut, act) for name, act in cut.items()}
            waits["no reading"] = pool.submit(self.is_cut_reading, 0)
            waits["reading a byte a second"] = pool.submit(self.is_cut_reading, 1)
            waits["a steady upload"] = pool.submit(self.steady_upload)
            waits["a steady download"] = pool.submit(self.steady_download)
            worst_s = self.good_requests(waits.values())
            for name, wait in waits.items():
                with self.subTest(name):
                    wait.result()
        self.assertLess(worst_s, 1, "a good request waited for the slow ones")

    def is_cut(self, act):
        """Answered 408 and closed, not early and not late."""
        began = time.monotonic()
        with Client(self.http, limit_s=CUT_BEFORE_S) as client:
            act(client)
            self.assertEqual(client.reply().status, 408)
            took_s = time.monotonic() - began
            self.assertTrue(CUT_AFTER_S < took_s < CUT_BEFORE_S, f"after {took_s} s")
            self.assertTrue(client.is_closed())

    def is_cut_reading(self, per_second):
        """A reply that is not taken ends broken off, not whole."""
        with Client(self.http, receive_bytes=4096, limit_s=CUT_BEFORE_S) as client:
            client.send(BIG_REPLY)
            end = time.monotonic() + CUT_BEFORE_S
            # The kernel knows first: this state is that the other side has closed.
            # Nothing tells a client that does not read that it was cut.
            while time.monotonic() < end:
                time.sleep(1)
                client.socket.recv(per_second) if per_second else None
            with self.assertRaises((BrokenReply, ConnectionResetError)):
                client.reply()

    def steady_upload(self):
        """2.5 KiB a second is slow, and allowed."""
        with Client(self.http) as client:
            body = pattern(30_000)
            drip(client, request("POST", "/", body), 640, 0.25)
            self.assertEqual(client.reply().body, body)

    def steady_download(self):
        """So is a client that reads 32 KiB a second."""
        with Client(self.http, receive_bytes=4096) as client:
            client.send(request("GET", "/bytes/400000"))
            count = 0
            while count < 400_000:
                data = client.socket.recv(8192)
                self.assertTrue(data, f"cut after {count} bytes")
                count += len(data)
                time.sleep(0.25 * len(data) / 8192)

    def good_requests(self, waits):
        """Asks without pause while others wait; the longest it took."""
        worst_s = 0
        with Client(self.http) as client:
            while not all(wait.done() for wait in waits):
                began = time.monotonic()
                self.assertEqual(client.ask("POST", "/", b"x").status, 200)
                worst_s = max(worst_s, time.monotonic() - began)
                time.sleep(0.02)
        return worst_s


class Leaving(ProcessorCase):
    """Clients that leave, in good order or by a reset, in every phase."""

    starts = {
        "nothing": b"",
        "a byte": b"P",
        "half a head": HEAD[:20],
        "a head": HEAD + b"Content-Length: 10\r\n\r\n",
        "half a small body": HEAD + b"Content-Length: 10\r\n\r\nabc",
        "half a middle body": HEAD + b"Content-Length: 15000\r\n\r\n" + bytes(9000),
        "half a large body": HEAD + b"Content-Length: 1000000\r\n\r\n" + bytes(500_000),
        "half a chunk": chunked(b"abcdef")[:-9],
        "many chunks": chunked(pattern(900_000), (5000,))[:-7],
        "before a reply": request("GET", "/sleep/0.05"),
        "before a large reply": BIG_REPLY,
        "before two replies": request("GET", "/sleep/0.02") + BIG_REPLY,
        "waiting for continue": HEAD + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n",
        "a refused request": HEAD + b"Content-Length: x\r\n\r\n",
        "a refused body": HEAD + b"Content-Length: 99999999\r\n\r\n" + bytes(100_000),
    }

    def test_in_every_phase(self):
        for leave in (Client.close, Client.reset, lambda c: c.half_close().close()):
            for name, start in self.starts.items():
                with self.subTest(name):
                    for _ in range(5):
                        client = Client(self.http)
                        client.send(start)
                        leave(client)
        with Client(self.http) as client:
            self.assertEqual(client.ask("POST", "/", b"x").body, b"x")
        # All at once, faster than any window.
        self.processor.wait_census(self.before, limit_s=6)

    def test_before_the_processor_has_seen_any_of_it(self):
        for leave in (Client.close, Client.reset):
            with self.processor.paused():
                for start in self.starts.values():
                    client = Client(self.http, send_bytes=2 * MIB)
                    client.socket.setblocking(False)
                    client.socket.send(start or b"G")
                    leave(client)
            self.processor.wait_census(self.before, limit_s=6)

    def test_in_the_middle_of_a_reply(self):
        for leave in (Client.close, Client.reset):
            for _ in range(5):
                client = Client(self.http, receive_bytes=4096)
                client.send(BIG_REPLY * 2)
                client.socket.recv(1000)
                leave(client)
        with Client(self.http) as client:
            self.assertEqual(client.ask("POST", "/", b"x").body, b"x")
        self.processor.wait_census(self.before, limit_s=6)

    def test_who_has_reset_is_not_served_any_more(self):
        with Client(self.http) as busy:
            busy.send(request("GET", "/sleep/1.5"))
            wait_until(lambda: self.processor.stats()["in_flight"], "an event runs")
            waiting = [Client(self.http).send(request("GET", "/sleep/1")) for _ in range(20)]
            wait_until(lambda: self.processor.census().waiting == 21, "they wait")
            for client in waiting:
                client.reset()
            # One may have been handed to the worker already; the others never will be.
            wait_until(lambda: self.processor.census().waiting <= 2, "they are forgotten", 1)
            self.assertEqual(busy.reply().body, b"slept")


class LittleMemory(unittest.TestCase):
    """Uploads that together need more event memory than there is."""

    def setUp(self):
        spec = {
            "triggers": http_trigger({"maxRequestBodySize": 4 * MIB}),
            "limits": {"eventMemory": "8Mi"},
        }
        self.processor = Processor(spec=spec)
        self.addCleanup(self.processor.close)
        self.processor.wait_ready()
        self.before = self.processor.census()

    def upload(self, data):
        with Client(self.processor.http, limit_s=60) as client:
            client.send(data)
            return client.reply().status

    def upload_all(self, uploads):
        with ThreadPoolExecutor(len(uploads)) as pool:
            statuses = [one.result() for one in [pool.submit(self.upload, d) for d in uploads]]
        self.processor.wait_census(self.before)
        self.assertEqual(self.processor.stop(), 0)
        return statuses

    def test_the_largest_body_that_may_come_finds_room(self):
        body = pattern(4 * MIB)
        for whole in [request("POST", "/digest", body), chunked(body, (70_000,), "/digest")]:
            self.assertEqual(self.upload(whole), 200)
        self.processor.wait_census(self.before)
        self.assertEqual(self.processor.stop(), 0)

    def test_known_lengths_take_turns(self):
        statuses = self.upload_all([request("POST", "/digest", pattern(3 * MIB))] * 12)
        self.assertEqual(statuses, [200] * 12)

    def test_growing_bodies_do_not_wait_for_each_other(self):
        body = chunked(pattern(3 * MIB), (60_000,), "/digest")
        self.assertEqual(self.upload_all([body] * 12), [200] * 12)

    def test_nobody_waits_for_ever_for_one_that_is_slow(self):
        """2 KiB a second is allowed, and would take half an hour."""
        with Client(self.processor.http) as slow, ThreadPoolExecutor(1) as pool:
            slow.send(request("POST", "/", pattern(4 * MIB))[:50_000])
            wait_until(lambda: self.processor.census().slots, "it has its slots")
            waiting = pool.submit(self.upload, request("POST", "/", pattern(3 * MIB)))
            while not waiting.done():
                drip(slow, bytes(1000), 500, 0.25)
            self.assertEqual(waiting.result(), 503)
        self.processor.wait_census(self.before)


if __name__ == "__main__":
    unittest.main()
