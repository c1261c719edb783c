"""Requests that are wrong: a clear refusal, the connection closed, no handler called."""

import socket
import unittest

from processor import ProcessorCase
from wire import Client, pattern, request

MIB = 1 << 20
BODY_MAX = 4 * MIB
HOST = "Host: test\r\n"


def head(*lines, start="POST / HTTP/1.1"):
    return "\r\n".join([start, "Host: test", *lines, "", ""]).encode("latin-1")


CHUNKED = head("Transfer-Encoding: chunked")


class Refusals(ProcessorCase):
    """Heads and framings that two programs could read differently."""

    def setUp(self):
        super().setUp()
        self.events = self.processor.counter("events")

    def tearDown(self):
        self.assertEqual(self.processor.counter("events"), self.events, "a handler was called")
        super().tearDown()

    def refused(self, data, status):
        """Sends it whole, and torn in two; both are answered with this status and closed."""
        for cut in {len(data), len(data) // 2, max(len(data) - 1, 1)}:
            with self.subTest(data=data[:80], cut=cut), Client(self.http) as client:
                client.send(data[:cut]).send(data[cut:])
                reply = client.reply()
                self.assertEqual(reply.status, status, reply.body)
                self.assertEqual(reply.get("Connection"), "close")
                self.assertTrue(reply.body, "a refusal says why")
                self.assertTrue(client.is_closed())

    def test_length_and_encoding_together(self):
        smuggled = request("GET", "/bytes/1")
        both = ["Content-Length: 5", "Transfer-Encoding: chunked"]
        for lines in [both, both[::-1]]:
            self.refused(head(*lines) + b"0\r\n\r\n" + smuggled, 400)

    def test_lengths_that_are_none(self):
        for value in ["-1", "+1", "1 1", "0x10", "1,1", "", "1.0", "99999999999999999999", "one"]:
            self.refused(head(f"Content-Length: {value}") + b"x", 400)
        self.refused(head("Content-Length: 1", "Content-Length: 1") + b"x", 400)
        self.refused(head("Content-Length: 1", "Content-Length: 2") + b"xx", 400)

    def test_encodings_that_are_none(self):
        for value, status in [("gzip", 501), ("gzip, chunked", 501), ("xchunked", 501)]:
            self.refused(head(f"Transfer-Encoding: {value}") + b"0\r\n\r\n", status)
        twice = head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")
        self.refused(twice + b"0\r\n\r\n", 400)
        old = head("Transfer-Encoding: chunked", start="POST / HTTP/1.0")
        self.refused(old + b"0\r\n\r\n", 400)

    def test_bad_chunks(self):
        for body in [
            b"x\r\nabc\r\n0\r\n\r\n",
            b"-3\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"3 \nabc\r\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"\r\n3\r\nabc\r\n0\r\n\r\n",
            b"11111111111111111\r\nabc\r\n0\r\n\r\n",
            b"3;" + b"e" * 5000 + b"\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\r\n0\r\nno colon\r\n\r\n",
        ]:
            self.refused(CHUNKED + body, 400)

    def test_chunks_that_grow_too_large(self):
        self.refused(CHUNKED + b"%x\r\n" % (BODY_MAX + 1), 413)
        self.refused(CHUNKED + b"%x\r\n" % (1 << 62), 413)
        self.refused(CHUNKED + b"1\r\nx\r\n" + b"f" * 16 + b"\r\nxyz", 413)
        big = b"%x\r\n%b\r\n" % (BODY_MAX, pattern(BODY_MAX))
        self.refused(CHUNKED + big + b"1\r\nx\r\n0\r\n\r\n", 413)

    def test_head_floods(self):
        self.refused(head("X-Long: " + "x" * 17_000), 431)
        self.refused(head(*[f"X-{n}: {'y' * 200}" for n in range(90)]), 431)
        self.refused(head(*[f"X-{n}: y" for n in range(200)]), 431)
        self.refused(head(start=f"GET /{'x' * 9000} HTTP/1.1"), 414)

    def test_a_head_that_never_ends(self):
        with Client(self.http) as client:
            sent = 0
            client.send(b"GET / HTTP/1.1\r\n")
            while sent < 20_000:
                line = b"X-%d: %b\r\n" % (sent, b"y" * 500)
                client.send(line)
                sent += len(line)
            self.assertEqual((client.reply().status, client.is_closed()), (431, True))

    def test_lines_that_are_none(self):
        for data in [
            b"GET / HTTP/1.1\nHost: test\n\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX: a\n\r\n",
            b"GET  / HTTP/1.1\r\n" + HOST.encode() + b"\r\n",
            b"GET /\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\n folded: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX: a\x00b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: test\r\nX: a\rb\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET bytes HTTP/1.1\r\nHost: test\r\n\r\n",
        ]:
            self.refused(data, 400)
        self.refused(head(start="GET / HTTP/2.0"), 505)
        self.refused(head(start="CONNECT a:1 HTTP/1.1"), 501)
        self.refused(head("Expect: 200-ok", "Content-Length: 1"), 417)

    def test_what_follows_a_refusal_is_not_a_request(self):
        with Client(self.http) as client:
            client.send(head("Content-Length: x") + request("GET", "/bytes/1") * 10)
            self.assertEqual((client.reply().status, client.is_closed()), (400, True))


class LargeRequests(ProcessorCase):
    """Bodies above maxRequestBodySize: refused before they are read."""

    def setUp(self):
        super().setUp()
        self.events = self.processor.counter("events")

    def test_the_refusal_comes_before_the_body(self):
        for size in [BODY_MAX + 1, 100 * MIB, (1 << 64) - 1]:
            with self.subTest(size=size), Client(self.http) as client:
                client.send(head(f"Content-Length: {size}"))
                reply = client.reply()
                self.assertEqual((reply.status, reply.get("Connection")), (413, "close"))

    def test_no_continue_for_a_body_that_will_be_refused(self):
        with Client(self.http) as client:
            client.send(head(f"Content-Length: {100 * MIB}", "Expect: 100-continue"))
            self.assertEqual(client.reply().status, 413)

    def test_a_client_that_sends_all_100_mib_first_sees_the_refusal(self):
        private = self.processor.private_bytes()
        with Client(self.http) as client:
            client.send(head(f"Content-Length: {100 * MIB}"))
            block = bytes(MIB)
            for _ in range(100):
                client.send(block)
            self.assertEqual(client.reply().status, 413)
        self.assertLess(self.processor.private_bytes() - private, 16 * MIB)
        self.assertEqual(self.processor.counter("events"), self.events)

    def test_a_refused_client_that_stays_is_closed_soon(self):
        with Client(self.http) as client:
            client.send(head(f"Content-Length: {100 * MIB}"))
            self.assertEqual(client.reply().status, 413)
            # It neither sends nor leaves; reading away what it may still send ends after 2 s.
            self.processor.wait_census(self.before, limit_s=6)

    def test_the_largest_body_is_not_too_large(self):
        with Client(self.http) as client:
            body = pattern(BODY_MAX)
            self.assertEqual(client.ask("POST", "/", body).body, body)


class Continue(ProcessorCase):
    """`Expect: 100-continue`."""

    def test_the_client_is_asked_for_its_body(self):
        for size in [1, 5000, 20_000, MIB]:
            for cut in [None, 10]:
                with self.subTest(size=size, cut=cut), Client(self.http) as client:
                    start = head(f"Content-Length: {size}", "Expect: 100-continue")
                    client.send(start[:cut])
                    if cut:
                        self.processor.stats()  # a turn in which the first piece was read
                        client.send(start[cut:])
                    self.assertEqual(client.reply().status, 100)
                    client.send(pattern(size))
                    self.assertEqual(client.reply().body, pattern(size))
                    # The connection is in step.
                    self.assertEqual(client.ask("POST", "/", b"x").body, b"x")

    def test_chunked(self):
        with Client(self.http) as client:
            client.send(head("Transfer-Encoding: chunked", "Expect: 100-continue"))
            self.assertEqual(client.reply().status, 100)
            client.send(b"3\r\nabc\r\n0\r\n\r\n")
            self.assertEqual(client.reply().body, b"abc")

    def test_a_client_that_does_not_wait(self):
        with Client(self.http) as client:
            for _ in range(3):
                client.send(head("Content-Length: 3", "Expect: 100-continue") + b"abc")
                reply = client.reply()
                if reply.status == 100:
                    reply = client.reply()
                self.assertEqual((reply.status, reply.body), (200, b"abc"))

    def test_http_1_0_and_empty_bodies_are_not_asked(self):
        with Client(self.http) as client:
            client.send(head("Content-Length: 0", "Expect: 100-continue"))
            self.assertEqual(client.reply().status, 200)
            client.send(head("Content-Length: 1", "Expect: 100-continue", start="POST / HTTP/1.0"))
            client.socket.settimeout(0.3)
            with self.assertRaises(socket.timeout):
                client.reply()
            client.socket.settimeout(10)
            client.send(b"x")
            self.assertEqual(client.reply().body, b"x")


if __name__ == "__main__":
    unittest.main()
