"""Replies of every size and with every kind of header, and bodies that handlers keep."""

import hashlib
import os
import signal
import unittest

from faults import FaultCase, function
from processor import Processor, http_trigger, wait_until
from wire import Client, ask, pattern

MIB = 1 << 20


class Sizes(FaultCase):
    """Bodies both ways, in every form in which a handler can hold one."""

    code = function("answers")
    spec = {"triggers": http_trigger({"maxRequestBodySize": 64 * MIB})}

    def test_replies_of_each_size_and_kind(self):
        with Client(self.http) as client:
            for kind in ("bytes", "bytearray", "view", "strided", "response", "text"):
                for size in (0, 1, 511, 4096, 65_537, 4 * MIB):
                    with self.subTest(kind=kind, size=size):
                        reply = client.ask("GET", f"/size/{kind}/{size}")
                        self.assertEqual(reply.status, 201 if kind == "response" else 200)
                        self.assertEqual(
                            len(reply.body), size - size % 4 if kind == "text" else size
                        )
                        if kind in ("bytes", "bytearray", "view", "response"):
                            self.assertEqual(
                                reply.body, (bytes(range(256)) * (size // 256 + 1))[:size]
                            )
            reply = client.ask("GET", f"/size/json/{MIB}")
            self.assertEqual(reply.get("Content-Type"), "application/json")
            self.assertEqual(len(reply.body), MIB + len('{"text": ""}'))
            self.assertEqual(client.ask("GET", "/size/none/0").body, b"")

    def test_echoes_of_each_kind(self):
        for kind in ("", "view", "copy", "slice", "response"):
            with Client(self.http) as client:
                for size in (2, 3, 512, 16_384, 262_145, 4 * MIB):
                    with self.subTest(kind=kind, size=size):
                        body = pattern(size)
                        reply = client.ask("POST", f"/echo/{kind}", body)
                        self.assertEqual(reply.body, body[1:-1] if kind == "slice" else body)

    def test_sixty_four_mebibytes_both_ways(self):
        body = pattern(64 * MIB)
        for kind in ("", "view"):
            with self.subTest(kind=kind), Client(self.http, limit_s=60) as client:
                reply = client.ask("POST", f"/echo/{kind}", body)
                self.assertEqual((reply.status, len(reply.body)), (200, 64 * MIB))
                self.assertTrue(reply.body == body)
                told = client.ask("POST", "/digest", body).body.decode()
                self.assertEqual(told, hashlib.sha256(body).hexdigest())

    def test_one_byte_more_than_the_limit_is_413(self):
        with Client(self.http) as client:
            client.send(
                f"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {64 * MIB + 1}\r\n\r\n".encode()
            )
            self.assertEqual(client.reply().status, 413)


class Headers(FaultCase):
    """What a handler may put into headers, and what becomes of the rest."""

    code = function("answers")

    def headers(self, word):
        """The reply, after another request on the same connection showed that it was whole."""
        with Client(self.http) as client:
            reply = client.ask("GET", f"/headers/{word}")
            if reply.get("Connection") != "close":
                self.assertEqual(client.ask("GET", "/ok").body, b"ok")
        return reply

    def test_nothing_is_injected(self):
        for word in ("injection", "line", "nul", "name", "colon", "empty"):
            with self.subTest(word=word):
                reply = self.headers(word)
                self.assertEqual(reply.status, 500)
                self.assertIn(b"ValueError: ", reply.body)
                names = {name.lower() for name, _ in reply.headers}
                self.assertFalse(names & {"x-a", "x-b", "x-injected"}, reply.headers)
                self.assertNotIn(b"<html>", reply.body.split(b":")[0])

    def test_headers_beyond_the_bound(self):
        for word in ("huge", "many"):
            with self.subTest(word=word):
                reply = self.headers(word)
                self.assertEqual(reply.status, 500)
                self.assertIn(b"headers are larger than", reply.body)
        reply = self.headers("large")
        self.assertEqual((reply.status, len(reply.get("X-29"))), (200, 100))

    def test_values_that_are_no_ascii(self):
        self.assertEqual(self.headers("latin").get("X-A"), "caf\xe9".encode().decode("latin-1"))
        self.assertEqual(self.headers("snake").get("X-A").encode("latin-1").decode(), "\N{SNAKE}")
        reply = self.headers("bytes")
        self.assertEqual((reply.get("X-A"), reply.get("X-B")), ("\xff\xfe", "plain"))
        self.assertEqual(self.headers("surrogate").status, 500)

    def test_values_that_are_no_text(self):
        reply = self.headers("number")
        self.assertEqual([reply.get(name) for name in ("X-A", "X-B", "X-C")], ["5", "1.5", "True"])
        reply = self.headers("list")
        self.assertEqual(reply.get_all("X-A"), ["1", "2"])
        self.assertEqual(reply.get_all("Set-Cookie"), ["a=1", "b=2"])
        reply = self.headers("blank")
        self.assertEqual((reply.get("X-A"), reply.get("X-B")), ("padded", ""))

    def test_framing_is_ours(self):
        for word in ("length", "length_list", "coding", "trailer", "upgrade", "keep", "server"):
            with self.subTest(word=word):
                reply = self.headers(word)
                if reply.status == 500:
                    continue  # refusing is as good as leaving it out
                self.assertEqual((reply.status, reply.body), (200, b"body"))
                self.assertEqual(reply.get("Content-Length"), "4")
                for name in ("Transfer-Encoding", "Trailer", "Upgrade"):
                    self.assertIsNone(reply.get(name))

    def test_a_handler_may_close_the_connection(self):
        with Client(self.http) as client:
            reply = client.ask("GET", "/headers/connection")
            self.assertEqual((reply.status, reply.body), (200, b"body"))
            if reply.get("Connection") == "close":
                self.assertTrue(client.is_closed())
            else:
                self.assertEqual(client.ask("GET", "/ok").body, b"ok")

    def test_content_type(self):
        self.assertEqual(self.headers("type").get("Content-Type"), "text/csv")
        reply = self.headers("type_list")
        self.assertTrue(reply.status == 500 or len(reply.get_all("Content-Type")) == 1, reply)

    def test_statuses(self):
        with Client(self.http) as client:
            for status in (200, 204, 206, 304, 404, 418, 599):
                with self.subTest(status=status):
                    reply = client.ask("GET", f"/status/{status}")
                    self.assertEqual(reply.status, status)
                    self.assertEqual(reply.body, b"" if status in (204, 304) else b"body")
                    if status == 204:
                        self.assertIsNone(reply.get("Content-Length"))
            for status in (0, 1, 100, 101, 199, 600, 1000, 70_000, -1):
                with self.subTest(status=status):
                    self.assertEqual(client.ask("GET", f"/status/{status}").status, 500)

    def test_head_has_the_length_and_no_body(self):
        with Client(self.http) as client:
            reply = client.ask("HEAD", "/size/bytes/5000")
            self.assertEqual((reply.status, reply.get("Content-Length")), (200, "5000"))
            self.assertEqual(client.ask("GET", "/ok").body, b"ok")


class Kept(FaultCase):
    """What a handler keeps of an event stays right, whatever comes after it."""

    code = function("answers")
    spec = {"triggers": http_trigger(workerAvailabilityTimeoutMilliseconds=500)}
    keeps_workers = False

    def used(self):
        return sum(one["used"] for one in self.processor.stats()["slots"].values())

    def others(self, client, count=3000):
        """Many other events, which would overwrite a slot that is not held."""
        for n in range(count):
            body = b"%06d" % n * (1 + n % 40)
            if client.ask("POST", "/echo", body).body != body:
                self.fail(f"event {n} came back wrong")
        for size in (70_000, MIB):
            for n in range(10):
                body = bytes([n]) * size
                self.assertTrue(client.ask("POST", "/echo/view", body).body == body)

    def keeps(self, word, holds):
        with Client(self.http) as client:
            before = self.used()
            sizes = (100, 5000, 60_000, MIB)
            for size in sizes:
                reply = client.ask("POST", f"/{word}", pattern(size), ["X-Mark: here"])
                self.assertEqual(reply.status, 200)
                if word == "keep_both":
                    self.assertTrue(reply.body == pattern(size))
            if holds:
                self.assertGreaterEqual(self.used(), before + len(sizes))
            else:
                wait_until(lambda: self.used() == before, "nothing is held")
            self.others(client)
            self.assertEqual(client.ask("GET", "/check").body, b"[4, 4]")
            if word == "keep_event":
                self.assertEqual(client.ask("GET", "/late").body, b"0")
            self.assertEqual(client.ask("GET", "/let_go").body, b"gone")
            wait_until(lambda: self.used() == before, "every slot is given back")

    def test_views(self):
        self.keeps("keep_view", holds=True)

    def test_slices_of_views(self):
        self.keeps("keep_slice", holds=True)

    def test_views_that_are_the_answer_too(self):
        self.keeps("keep_both", holds=True)

    def test_events(self):
        self.keeps("keep_event", holds=False)

    def test_a_view_cannot_be_written(self):
        self.assertIn(b"read-only", self.ask("POST", "/writes", b"abc").body)

    def test_a_handler_that_keeps_every_large_body(self):
        """More than the whole event memory: its workers are replaced before it runs out."""
        with Processor(self.code, self.spec) as processor:
            processor.wait_ready()
            with Client(processor.http) as client:
                for _ in range(200):
                    self.assertEqual(client.ask("POST", "/keep_view", pattern(MIB)).status, 200)
                self.assertEqual(client.ask("GET", "/let_go").body, b"gone")
            wait_until(
                lambda: sum(one["used"] for one in processor.stats()["slots"].values()) == 0,
                "every slot is given back",
            )

    def test_more_views_than_a_worker_may_keep(self):
        """Nobody can tell it to let go when it gets no event any more: it must not stay so."""
        with Processor(self.code, self.spec) as processor:
            processor.wait_ready()
            with Client(processor.http) as client:
                kept = 0
                while kept < 1500 and client.ask("POST", "/keep_view", b"small").status == 200:
                    kept += 1
            print(f"\n{kept} views kept")
            wait_until(
                lambda: ask(processor.http, "GET", "/let_go").status == 200, "events are served"
            )
            wait_until(
                lambda: sum(one["used"] for one in processor.stats()["slots"].values()) == 0,
                "every slot is given back",
            )

    def test_a_worker_that_dies_gives_everything_back(self):
        with Processor(self.code) as processor:
            processor.wait_ready()
            before = processor.census()
            with Client(processor.http) as client:
                for size in (100, 60_000, MIB):
                    client.ask("POST", "/keep_view", pattern(size))
            (pid,) = processor.worker_pids()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: processor.worker_pids() not in ([], [pid]), "another worker")
            before.children = processor.census().children
            processor.wait_census(before)


if __name__ == "__main__":
    unittest.main()
