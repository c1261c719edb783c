"""Request bodies piece by piece: as they come, at the handler's pace, and told when they break off."""

import contextlib
import hashlib
import json
import os
import signal
import threading
import unittest

from faults import FaultCase, function
from processor import Processor, http_trigger, wait_until
from wire import Client, ask, chunked, pattern, request

LONG = int(os.environ.get("NUCLIO_TEST_STREAM_MIB", "64"))
MIB = pattern(1 << 20)
BODY_MAX = 2 << 30
# What one upload may have in shared memory: four pieces of 64 KiB.
WINDOW_BYTES = 4 * 64 * 1024
ENDS_EARLY = "ConnectionResetError: the request body ends early"


def trigger(**settings):
    attributes = {"maxRequestBodySize": BODY_MAX}
    return http_trigger(streamRequests=True, attributes=attributes, **settings)


def head(path, length, method="POST", more=()):
    lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Content-Length: {length}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


class Cases:
    """The same for sync and async handlers."""

    spec = {"triggers": trigger(maxInflight=256), "eventTimeout": "120s"}

    def setUp(self):
        super().setUp()
        self.addCleanup((self.processor.folder / "gate").unlink, missing_ok=True)

    def open_gate(self):
        (self.processor.folder / "gate").touch()

    def wait_note(self, text):
        return wait_until(
            lambda: [note for note in self.notes() if note.startswith(text)],
            lambda: f"{text} among {self.notes()}",
        )[-1]

    def assert_whole(self, reply, body):
        found = json.loads(reply.body)
        self.assertEqual(reply.status, 200)
        self.assertEqual(found["bytes"], len(body))
        self.assertEqual(found["digest"], hashlib.sha256(body).hexdigest())
        return found["pieces"]

    # --- what comes

    def test_bodies_of_every_size(self):
        sizes = [0, 1, 511, 512, 4096, 16 << 10, (20 << 10) + 1, 64 << 10, (64 << 10) + 1, 3_000_001]
        with Client(self.http) as client:
            for size in sizes:
                body = pattern(size)
                self.assert_whole(client.ask("POST", "/digest", body), body)
                client.send(chunked(body, (1, 100, 30_000, 70_000), path="/digest"))
                self.assert_whole(client.reply(), body)

    def test_it_comes_while_it_is_sent(self):
        """Each piece comes back before the next is sent."""
        with Client(self.http) as client:
            client.send(head("/echo", 30))
            for number in range(10):
                client.send(b"%03d" % number)
                if number == 0:
                    client._head()
                self.assertEqual(client._take(int(client._line(), 16)), b"%03d" % number)
                self.assertEqual(client._take(2), b"\r\n")
            self.assertEqual(client._chunks(), b"")

    def test_much_both_ways_at_once(self):
        body = MIB * 8
        with Client(self.http) as client:
            sender = threading.Thread(target=client.send, args=(request("POST", "/echo", body),))
            sender.start()
            self.assertTrue(client.reply().body == body)
            sender.join()

    def test_pipelined_requests(self):
        bodies = [pattern(size) for size in (1, 5000, 100_000)]
        with Client(self.http) as client:
            client.send(b"".join(request("POST", "/digest", body) for body in bodies * 3))
            for body in bodies * 3:
                self.assert_whole(client.reply(), body)

    def test_it_is_asked_for_with_100(self):
        with Client(self.http) as client:
            client.send(head("/digest", 3, more=("Expect: 100-continue",)))
            self.assertEqual(client.reply().status, 100)
            self.assert_whole(client.send(b"abc").reply(), b"abc")

    def test_a_kept_stream_gives_nothing_of_others(self):
        with Client(self.http) as client:
            client.send(head("/kept", 10)).send(b"01234")
            self.assertEqual(client.reply().body, b"kept")
        reply = self.ask("GET", "/late")
        self.assertEqual(reply.status, 500)
        self.assertIn(b"the event is answered: its body cannot be read now", reply.body)

    def test_one_way_to_read_it(self):
        with Client(self.http) as client:
            client.send(head("/mixed", 10)).send(b"01234")
            reply = client.reply()
        self.assertEqual(reply.status, 500)
        self.assertIn(b"the body of this event is read through `body_stream` already", reply.body)

    # --- pace

    def test_a_slow_handler_stops_its_client(self):
        with Client(self.http, send_bytes=64 * 1024, limit_s=0.5) as client:
            client.send(head("/gated/gate", len(MIB) * 64))
            self.wait_note("begun")
            # At most what the kernel's buffers take, and the window.
            with self.assertRaises(TimeoutError):
                for _ in range(64):
                    client.send(MIB)
            self.assertLess(reserved_bytes(self.processor), WINDOW_BYTES + (64 << 10))
            self.assertEqual(ask(self.http, "GET", "/__internal/health").status, 200)
        self.open_gate()

    def test_a_client_that_stalls_is_cut(self):
        with Client(self.http, limit_s=40) as client:
            client.send(head("/noted", 100)).send(b"begin")
            self.assertEqual(client.reply().status, 408)
        self.wait_note(ENDS_EARLY)

    # --- what breaks off

    def test_a_client_that_leaves(self):
        for leave in (Client.close, Client.reset):
            self.notes_path.write_text("")
            client = Client(self.http)
            client.send(head("/noted", 100)).send(b"begin")
            self.wait_note("piece 5")
            leave(client)
            self.wait_note(ENDS_EARLY)

    def test_a_wrong_chunk(self):
        with Client(self.http) as client:
            client.send(chunked(b"begin", path="/noted")[:-5])
            self.wait_note("piece 5")
            reply = client.send(b"x\r\n").reply()
        self.assertEqual((reply.status, reply.get("Connection")), (400, "close"))
        self.wait_note(ENDS_EARLY)

    def test_a_body_that_is_too_large(self):
        with Client(self.http) as client:
            reply = client.send(head("/noted", BODY_MAX + 1)).reply()
        self.assertEqual(reply.status, 413)
        self.assertEqual(self.notes(), [])
        with Client(self.http) as client:
            client.send(chunked(b"begin", path="/noted")[:-5])
            self.wait_note("piece 5")
            reply = client.send(b"%x\r\n" % BODY_MAX).reply()
        self.assertEqual((reply.status, reply.get("Connection")), (413, "close"))
        self.wait_note(ENDS_EARLY)

    def test_an_answer_before_the_body(self):
        for path, text in (("/unread", b"not read"), ("/some", b"0" * 10)):
            with Client(self.http) as client:
                client.send(head(path, 100_000)).send(b"0" * 10)
                reply = client.reply()
                self.assertEqual((reply.status, reply.body), (200, text))
                self.assertEqual(reply.get("Connection"), "close")
                # What still comes is read away, and nothing of it is taken for a request.
                with contextlib.suppress(ConnectionError):
                    client.send(request("GET", "/ok") * 3000)
                self.assertTrue(client.is_closed())

    def test_a_dead_worker_is_not_asked_again(self):
        with Client(self.http) as client:
            client.send(head("/noted", 100, method="PUT")).send(b"begin")
            self.wait_note("piece 5")
            os.kill(self.processor.worker_pids()[0], signal.SIGKILL)
            self.assertEqual(client.reply().status, 502)
        self.assertEqual(self.notes(), ["begun", "piece 5"])

    def test_it_waits_for_a_worker(self):
        """Also one that dies before it begins: the next gets the body from its start."""
        with contextlib.ExitStack() as stack:
            blocker = stack.enter_context(Client(self.http))
            blocker.send(head("/gated/gate", 1))
            self.wait_note("begun")
            clients = [stack.enter_context(Client(self.http)) for _ in range(3)]
            bodies = [pattern(100_000 + n) for n in range(3)]
            for client, body in zip(clients, bodies, strict=True):
                client.send(head("/digest", len(body))).send(body[:50_000])
            os.kill(self.processor.worker_pids()[0], signal.SIGKILL)
            self.assertEqual(blocker.reply().status, 502)
            for client, body in zip(clients, bodies, strict=True):
                client.send(body[50_000:])
            replies = [client.reply() for client in clients]
        for reply, body in zip(replies, bodies, strict=True):
            if self.answers_others and reply.status == 502:
                continue
            self.assert_whole(reply, body)

    keeps_workers = False


def reserved_bytes(processor):
    """Bytes of slots that are in use."""
    slots = processor.stats()["slots"].items()
    return sum(int(size) * of_class["used"] for size, of_class in slots)


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as fields:
        return int(fields.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Sync(Cases, FaultCase):
    code = function("uploading")
    spec = {**Cases.spec, "handler": "function:handler"}
    # Events run one after the other, so that those behind the first have not begun.
    answers_others = False

    def test_the_whole_body_is_there_too(self):
        with Client(self.http) as client:
            client.send(head("/body", 7)).send(b"012").send(b"3456")
            self.assertEqual(client.reply().body, b"bytes 7 7")
            json_head = head("/body", 7, more=("Content-Type: application/json",))
            client.send(json_head).send(b'{"a":').send(b"1}")
            self.assertEqual(client.reply().body, b"dict 1 7")


class Async(Cases, FaultCase):
    code = function("uploading")
    spec = {**Cases.spec, "handler": "function:async_handler"}
    answers_others = True

    def test_the_whole_body_would_hold_up_the_loop(self):
        with Client(self.http) as client:
            client.send(head("/body", 7)).send(b"012")
            reply = client.reply()
        self.assertEqual(reply.status, 500)
        self.assertIn(b"async for piece in event.body_stream", reply.body)

    def test_more_than_the_memory_has_room_for(self):
        """Those that find no room wait; others are served meanwhile, and all end whole."""
        bodies = [pattern(600_000 + n) for n in range(120)]
        with contextlib.ExitStack() as stack:
            clients = []
            for body in bodies:
                client = stack.enter_context(Client(self.http))
                client.send(head("/gated/gate", len(body)))
                clients.append(client)
            wait_until(lambda: len(self.notes()) == len(bodies), "all have begun")
            senders = [
                threading.Thread(target=client.send, args=(body,))
                for client, body in zip(clients, bodies, strict=True)
            ]
            for sender in senders:
                sender.start()
            wait_until(lambda: reserved_bytes(self.processor) > 4 * WINDOW_BYTES, "pieces wait")
            self.assertEqual(self.ask("GET", "/ok").body, b"ok")
            self.open_gate()
            for client, body in zip(clients, bodies, strict=True):
                self.assert_whole(client.reply(), body)
            for sender in senders:
                sender.join()


class Threaded(Cases, FaultCase):
    code = function("uploading")
    spec = {
        **Cases.spec,
        "handler": "function:handler",
        "runtimeAttributes": {"threads": 8},
    }
    answers_others = True

    def test_several_at_once(self):
        bodies = [pattern(200_000 + n) for n in range(8)]
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in bodies]
            for client, body in zip(clients, bodies, strict=True):
                client.send(head("/digest", len(body)))
            for at in range(0, 210_000, 10_000):
                for client, body in zip(clients, bodies, strict=True):
                    client.send(body[at : at + 10_000])
            for client, body in zip(clients, bodies, strict=True):
                self.assert_whole(client.reply(), body)


class MuchSync(FaultCase):
    """A processor of its own, whose memory nothing has grown before."""

    code = function("uploading")
    spec = {**Cases.spec, "handler": "function:handler"}

    def test_much(self):
        """`NUCLIO_TEST_STREAM_MIB=1024` is the long form."""
        pids = [self.processor.pid, *self.processor.worker_pids()]
        self.ask("POST", "/digest", MIB * 4)
        most = before = sum(resident_bytes(pid) for pid in pids)
        with Client(self.http) as client:
            client.send(head("/digest", len(MIB) * LONG))
            whole = hashlib.sha256()
            for _ in range(LONG):
                client.send(MIB)
                whole.update(MIB)
                most = max(most, sum(resident_bytes(pid) for pid in pids))
            found = json.loads(client.reply().body)
        self.assertEqual(found["digest"], whole.hexdigest())
        print(f"\n{LONG} MiB up: resident memory of both grew by {(most - before) >> 10} KiB")
        self.assertLess(most - before, 16 << 20)


class MuchAsync(MuchSync):
    spec = {**Cases.spec, "handler": "function:async_handler"}


class Deadline(FaultCase):
    code = function("uploading")
    spec = {"triggers": trigger(), "eventTimeout": "1s"}
    keeps_workers = False

    def test_a_body_past_its_deadline(self):
        with Client(self.http) as client:
            client.send(head("/noted", 100)).send(b"begin")
            self.assertEqual(client.reply().status, 408)
        self.assertEqual(self.processor.counter("timed_out"), 1)


class Drain(FaultCase):
    code = function("uploading")
    spec = {"triggers": trigger()}
    keeps_workers = False

    def tearDown(self):
        pass

    def test_what_has_begun_is_finished(self):
        with Client(self.http) as client:
            client.send(head("/digest", 10)).send(b"01234")
            wait_until(lambda: self.processor.stats()["in_flight"] == 1, "it has begun")
            self.processor.signal(signal.SIGTERM)
            reply = client.send(b"56789").reply()
            self.assertEqual(json.loads(reply.body)["bytes"], 10)
        self.assertEqual(self.processor.wait_end(), 0)


class Recorded(unittest.TestCase):
    def test_a_streamed_body_is_missing_in_a_recording(self):
        spec = {"triggers": trigger(), "handler": "function:handler"}
        processor = Processor(function("uploading"), spec, ["--record", "events"])
        self.addCleanup(processor.close)
        processor.wait_ready()
        with Client(processor.http) as client:
            self.assertEqual(client.ask("GET", "/ok").status, 200)
            client.send(head("/digest", 10)).send(b"01234")
            wait_until(lambda: processor.stats()["in_flight"] == 1, "it has begun")
            self.assertEqual(client.send(b"56789").reply().status, 200)
        self.assertEqual(processor.stop(), 0)
        lines = (processor.folder / "events").read_text().splitlines()
        last = json.loads(lines[-1])["end"]
        self.assertEqual((last["events"], last["missing"]), (1, 1))


if __name__ == "__main__":
    unittest.main()
