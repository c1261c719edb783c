"""Requests that are right, in every size and form: each gets its own whole reply."""

import hashlib
import unittest

from processor import Processor, ProcessorCase, http_trigger, wait_until
from wire import Client, ask, chunked, pattern, request

SLOT_CLASSES = [512, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20]
AROUND = [size + step for size in SLOT_CLASSES for step in (-1, 0, 1)]
MIB = 1 << 20


class Bodies(ProcessorCase):
    """Bodies of every size, both ways."""

    def test_a_body_of_each_size_comes_back_whole(self):
        with Client(self.http) as client:
            for size in [0, 1, 2, *AROUND, 4 * MIB]:
                with self.subTest(size=size):
                    body = pattern(size)
                    reply = client.ask("POST", "/", body)
                    self.assertEqual((reply.status, len(reply.body)), (200, size))
                    self.assertEqual(reply.body, body)

    def test_the_handler_sees_the_body_of_each_size(self):
        with Client(self.http) as client:
            for size in [0, 1, *AROUND, 4 * MIB]:
                with self.subTest(size=size):
                    body = pattern(size)
                    reply = client.ask("POST", "/digest", body)
                    self.assertEqual(reply.body.decode(), hashlib.sha256(body).hexdigest())

    def test_a_reply_of_each_size_is_whole(self):
        with Client(self.http) as client:
            for size in [0, 1, *AROUND, 4 * MIB]:
                with self.subTest(size=size):
                    reply = client.ask("GET", f"/bytes/{size}")
                    self.assertEqual(reply.get("Content-Length"), str(size))
                    self.assertEqual(reply.body, bytes(size))

    def test_head_and_body_in_two_pieces(self):
        for size in [1, 511, 16 << 10, 70_000]:
            body = pattern(size)
            whole = request("POST", "/", body)
            head = len(whole) - size
            for cut in {1, head - 3, head - 1, head, head + size // 2}:
                with self.subTest(size=size, cut=cut), Client(self.http) as client:
                    client.send(whole[:cut])
                    # This answer comes after a turn in which the first piece was read.
                    before = self.processor.counter("events")
                    client.send(whole[cut:])
                    self.assertEqual(client.reply().body, body)
                    self.assertEqual(self.processor.counter("events"), before + 1)

    def test_chunks_of_each_kind_are_put_together(self):
        body = pattern(300_000)
        for sizes in [(1, 2, 3), (4096,), (16384, 1), (65536,), (300_000,), (17, 70_000)]:
            small = body[:3000] if sizes[0] < 10 else body
            with self.subTest(sizes=sizes), Client(self.http) as client:
                for _ in range(2):
                    client.send(chunked(small, sizes))
                    self.assertEqual(client.reply().body, small)

    def test_chunked_bodies_of_the_edge_sizes(self):
        with Client(self.http) as client:
            for size in [0, 1, *AROUND, 4 * MIB]:
                with self.subTest(size=size):
                    body = pattern(size)
                    client.send(chunked(body, (50_000,)))
                    self.assertEqual(client.reply().body, body)

    def test_a_trailer_is_read_and_dropped(self):
        with Client(self.http) as client:
            for _ in range(2):
                client.send(chunked(b"abc", trailer=b"X-Sum: 1\r\n"))
                self.assertEqual(client.reply().body, b"abc")

    def test_chunks_byte_by_byte(self):
        with Client(self.http) as client:
            for byte in chunked(pattern(40), (7,)):
                client.send(bytes([byte]))
            self.assertEqual(client.reply().body, pattern(40))


class LargeBodies(ProcessorCase):
    """64 MiB both ways, where function.yaml allows it."""

    spec = {
        "triggers": http_trigger({"maxRequestBodySize": 64 * MIB}),
        "limits": {"eventMemory": "256Mi"},
    }

    def test_64_mib_up_and_down(self):
        body = pattern(64 * MIB)
        with Client(self.http) as client:
            reply = client.ask("POST", "/", body)
            self.assertEqual(reply.status, 200)
            self.assertTrue(reply.body == body, "what came back differs")
            client.send(chunked(body, (MIB, 5)))
            self.assertTrue(client.reply().body == body, "chunked: what came back differs")
        reply = ask(self.http, "POST", "/", body + b"x")
        self.assertEqual(reply.status, 413)

    def test_64_mib_reply_of_the_handlers_own(self):
        reply = ask(self.http, path=f"/bytes/{64 * MIB}")
        self.assertEqual((reply.status, len(reply.body)), (200, 64 * MIB))


class Connections(ProcessorCase):
    """How connections go on and end."""

    def test_a_hundred_pipelined_requests_are_answered_in_order(self):
        bodies = [b"%d" % n * (n + 1) for n in range(100)]
        with Client(self.http) as client:
            client.send(b"".join(request("POST", "/", body) for body in bodies))
            for body in bodies:
                self.assertEqual(client.reply().body, body)

    def test_pipelined_requests_of_every_kind(self):
        turn = [
            (request("GET", "/__internal/health"), "GET", b"ready"),
            (request("POST", "/", b"abc"), "POST", b"abc"),
            (request("HEAD", "/bytes/9"), "HEAD", b""),
            (chunked(b"x" * 2000, (300,)), "POST", b"x" * 2000),
            (request("GET", "/__internal/health"), "GET", b"ready"),
            (request("GET", "/__internal/health"), "GET", b"ready"),
            (request("GET", "/status/204"), "GET", b""),
            (request("POST", "/", pattern(20_000)), "POST", pattern(20_000)),
        ] * 5
        with Client(self.http) as client:
            client.send(b"".join(one for one, _, _ in turn))
            for _, method, body in turn:
                self.assertEqual(client.reply(method).body, body)

    def test_health_checks_pipelined_without_end(self):
        with Client(self.http) as client:
            client.send(request("GET", "/__internal/health") * 1000)
            for _ in range(1000):
                self.assertEqual(client.reply().status, 200)

    def test_requests_torn_at_every_byte(self):
        stream = request("POST", "/", b"abc") + request("GET", "/bytes/2") + chunked(b"defg", (3,))
        for cut in range(1, len(stream)):
            with Client(self.http) as client:
                client.send(stream[:cut]).send(stream[cut:])
                got = [client.reply().body for _ in range(3)]
                self.assertEqual(got, [b"abc", bytes(2), b"defg"], f"cut at {cut}")

    def test_keep_alive_and_close(self):
        cases = [
            ("1.1", [], True),
            ("1.1", ["Connection: close"], False),
            ("1.1", ["Connection: Keep-Alive"], True),
            ("1.0", [], False),
            ("1.0", ["Connection: keep-alive"], True),
            ("1.0", ["Connection: close"], False),
        ]
        for version, headers, stays in cases:
            with self.subTest(version=version, headers=headers), Client(self.http) as client:
                reply = client.ask("POST", "/", b"x", headers, version)
                self.assertEqual(reply.body, b"x")
                if stays:
                    self.assertEqual(client.ask("POST", "/", b"y").body, b"y")
                else:
                    self.assertTrue(client.is_closed())

    def test_a_client_that_has_said_all_still_gets_its_reply(self):
        for path in ["/bytes/5", "/sleep/0.2", "/__internal/health"]:
            with self.subTest(path=path), Client(self.http) as client:
                client.send(request("GET", path)).half_close()
                self.assertEqual(client.reply().status, 200)
                # Nothing can come any more: kept open, it would only cost a descriptor.
                self.assertTrue(client.is_closed())
            with self.subTest(path=path, at_once=True), Client(self.http) as client:
                with self.processor.paused():
                    client.send(request("GET", path)).half_close()
                self.assertEqual(client.reply().status, 200)
                self.assertTrue(client.is_closed())

    def test_http_1_0_without_a_host(self):
        with Client(self.http) as client:
            client.send(b"GET /bytes/3 HTTP/1.0\r\n\r\n")
            self.assertEqual((client.reply().body, client.is_closed()), (bytes(3), True))


class Replies(ProcessorCase):
    """What a reply may and may not have."""

    def test_head_has_the_length_and_no_body(self):
        with Client(self.http) as client:
            for size in [0, 1, 70_000]:
                reply = client.ask("HEAD", f"/bytes/{size}")
                self.assertEqual((reply.status, reply.get("Content-Length")), (200, str(size)))
            self.assertEqual(client.ask("POST", "/", b"after").body, b"after")

    def test_statuses_without_a_body(self):
        with Client(self.http) as client:
            for status in [204, 304]:
                reply = client.ask("GET", f"/status/{status}")
                self.assertEqual((reply.status, reply.get("Content-Length")), (status, None))
                self.assertEqual(reply.get("X-Own"), "1")
            self.assertEqual(client.ask("POST", "/", b"after").body, b"after")

    def test_every_method_reaches_the_handler(self):
        with Client(self.http) as client:
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "M-SEARCH"]:
                self.assertEqual(client.ask(method, "/method").body.decode(), method)

    def test_date_and_server(self):
        reply = ask(self.http)
        self.assertEqual(reply.get("Server"), "nuclio")
        self.assertRegex(reply.get("Date"), r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")

    def test_health(self):
        reply = ask(self.http, path="/__internal/health")
        self.assertEqual((reply.status, reply.body), (200, b"ready"))
        events = self.processor.counter("events")
        self.assertEqual(ask(self.http, "HEAD", "/__internal/health").status, 200)
        self.assertEqual(self.processor.counter("events"), events, "the handler was called")


class CrossOrigin(ProcessorCase):
    """CORS by nuclio's settings."""

    spec = {
        "triggers": http_trigger(
            {
                "cors": {
                    "enabled": True,
                    "allowOrigins": ["https://a.example", "https://b.example"],
                    "allowHeaders": ["X-Mine"],
                    "allowCredentials": True,
                }
            }
        )
    }

    def test_an_allowed_origin(self):
        reply = ask(self.http, "POST", "/", b"x", ["Origin: https://b.example"])
        self.assertEqual((reply.status, reply.body), (200, b"x"))
        self.assertEqual(reply.get("Access-Control-Allow-Origin"), "https://b.example")
        self.assertEqual(reply.get("Access-Control-Allow-Credentials"), "true")

    def test_another_origin_is_refused_and_the_handler_not_called(self):
        events = self.processor.counter("events")
        for body in [b"x", pattern(100_000)]:
            reply = ask(self.http, "POST", "/", body, ["Origin: https://c.example"])
            self.assertEqual(reply.status, 403)
            self.assertIsNone(reply.get("Access-Control-Allow-Origin"))
        self.assertEqual(self.processor.counter("events"), events)

    def test_no_origin(self):
        reply = ask(self.http, "POST", "/", b"x")
        self.assertEqual(reply.body, b"x")
        self.assertEqual(reply.get("Vary"), "Origin")

    def test_preflight(self):
        asks = ["Origin: https://a.example", "Access-Control-Request-Method: PUT"]
        with Client(self.http) as client:
            fine = client.ask(
                "OPTIONS", "/x", None, [*asks, "Access-Control-Request-Headers: x-mine"]
            )
            self.assertEqual(fine.status, 200)
            self.assertEqual(fine.get("Access-Control-Allow-Origin"), "https://a.example")
            bad = client.ask(
                "OPTIONS", "/x", None, [*asks, "Access-Control-Request-Headers: x-other"]
            )
            self.assertEqual(bad.status, 400)

    def test_preflights_pipelined(self):
        lines = ["Origin: https://a.example", "Access-Control-Request-Method: PUT"]
        with Client(self.http) as client:
            client.send(request("OPTIONS", "/", None, lines) * 3 + request("POST", "/", b"last"))
            self.assertEqual([client.reply().status for _ in range(3)], [200] * 3)
            self.assertEqual(client.reply().body, b"last")


class NoRoom(unittest.TestCase):
    """More events than may wait or find a worker."""

    def test_503_at_once_where_function_yaml_says_so(self):
        spec = {"triggers": http_trigger(workerAvailabilityTimeoutMilliseconds=0)}
        with Processor(spec=spec) as processor:
            processor.wait_ready()
            before = processor.census()
            with Client(processor.http) as busy, Client(processor.http) as client:
                busy.send(request("GET", "/sleep/1"))
                wait_until(lambda: processor.stats()["in_flight"], "the first event runs")
                reply = client.ask("POST", "/", b"x")
                self.assertEqual((reply.status, reply.get("Retry-After")), (503, "1"))
                client.send(request("POST", "/", b"y") * 3)
                self.assertEqual([client.reply().status for _ in range(3)], [503] * 3)
                self.assertEqual(busy.reply().body, b"slept")
                self.assertEqual(client.ask("POST", "/", b"z").body, b"z")
            processor.wait_census(before)
            self.assertEqual(processor.stop(), 0)


if __name__ == "__main__":
    unittest.main()
