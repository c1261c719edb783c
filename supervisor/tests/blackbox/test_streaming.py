"""Replies piece by piece: as they come, at the client's pace, and stopped when it leaves."""

import contextlib
import os
import signal
import unittest

from faults import FaultCase, function
from processor import http_trigger, wait_until
from wire import BrokenReply, Client, request

PIECE = bytes(range(256)) * 128
# What one stream may have under way besides the sockets' buffers: four pieces in shared or private
# memory, the one the generator has just given, and one for the rounding.
UNDER_WAY_MAX = 6
SOCKET_BYTES = 64 * 1024
# A send buffer grows to `tcp_wmem`'s maximum, 4 MiB as a rule.
KERNEL_PIECES_MAX = 256
LONG = int(os.environ.get("NUCLIO_TEST_STREAM_MIB", "64"))


class Cases:
    """The same for sync and async handlers."""

    workers = 1
    spec = {"triggers": http_trigger(maxInflight=256), "eventTimeout": "60s"}

    def setUp(self):
        super().setUp()
        self.addCleanup(self.close_gates)

    def open_gate(self):
        (self.processor.folder / "gate").touch()

    def close_gates(self):
        for name in ("gate", "progress"):
            (self.processor.folder / name).unlink(missing_ok=True)

    def progress(self):
        with contextlib.suppress(OSError, ValueError):
            return int((self.processor.folder / "progress").read_text())
        return 0

    def begun(self, client, path, head=()):
        """The head of a reply whose pieces are read by the test."""
        client.send(request("GET", path, None, head))
        return client._head()

    def chunk(self, client):
        body = client._take(int(client._line(), 16))
        self.assertEqual(client._take(2), b"\r\n")
        return body

    # --- what comes

    def test_pieces_of_every_kind(self):
        reply = self.ask("GET", "/kinds")
        self.assertEqual(reply.body, "text é\nbytes\nbytearray\nmemoryview\n".encode())
        self.assertEqual(reply.get("Transfer-Encoding"), "chunked")
        self.assertEqual(reply.get("Content-Type"), "text/plain")

    def test_iterators_and_forms(self):
        self.assertEqual(self.ask("GET", "/iterator").body, b"210")
        pair = self.ask("GET", "/pair")
        self.assertEqual((pair.status, pair.body), (201, b"piece 0\npiece 1\n"))
        reply = self.ask("GET", "/response")
        seen = (reply.status, reply.get("X-Own"), reply.get("Content-Type"), reply.body)
        self.assertEqual(seen, (202, "1", "text/csv", b"piece 0\npiece 1\n"))
        self.assertEqual(self.ask("GET", "/empty").body, b"")

    def test_a_large_piece_is_cut_up(self):
        self.assertTrue(self.ask("GET", "/large_piece/100").body == PIECE * 100)

    def test_pieces_of_the_event_itself(self):
        body = os.urandom(3_000_001)
        self.assertTrue(self.ask("POST", "/view", body).body == body)

    def test_each_piece_goes_out_at_once(self):
        with Client(self.http) as client:
            self.begun(client, "/gated/gate")
            self.assertEqual(self.chunk(client), b"first\n")
            self.open_gate()
            self.assertEqual(self.chunk(client), b"second\n")
            self.assertEqual(client._chunks(), b"")

    def test_server_sent_events(self):
        with Client(self.http) as client:
            head = self.begun(client, "/events/gate")
            self.assertEqual(head.get("Content-Type"), "text/event-stream")
            self.assertEqual(head.get("Cache-Control"), "no-cache")
            self.assertEqual(self.chunk(client), b'data: {"number": 1}\n\n')
            self.assertEqual(self.chunk(client), b"event: named\ndata: x\n\n")
            self.open_gate()
            self.assertEqual(self.chunk(client), b'data: {"number": 2}\n\n')

    # --- the connection

    def test_the_connection_goes_on(self):
        with Client(self.http) as client:
            for _ in range(3):
                self.assertEqual(client.ask("GET", "/counted/2").body, b"piece 0\npiece 1\n")
                self.assertEqual(client.ask("GET", "/ok").body, b"ok")

    def test_pipelined_requests(self):
        with Client(self.http) as client:
            client.send(b"".join(request("GET", path) for path in ("/counted/3", "/ok") * 5))
            for _ in range(5):
                self.assertEqual(client.reply().body, b"piece 0\npiece 1\npiece 2\n")
                self.assertEqual(client.reply().body, b"ok")

    def test_a_pipelined_request_is_no_farewell(self):
        with Client(self.http) as client:
            client.send(request("GET", "/gated/gate") + request("GET", "/ok")).half_close()
            self.open_gate()
            self.assertEqual(client.reply().body, b"first\nsecond\n")
            self.assertEqual(client.reply().body, b"ok")

    def test_http_1_0_ends_with_the_connection(self):
        with Client(self.http) as client:
            client.send(request("GET", "/counted/2", version="1.0"))
            head = client._head()
            for name in ("Transfer-Encoding", "Content-Length"):
                self.assertIsNone(head.get(name))
            self.assertEqual(client.rest(), b"piece 0\npiece 1\n")

    def test_replies_without_a_body_end_the_generator(self):
        with Client(self.http) as client:
            for method, path, status in (
                ("HEAD", "/noted/x", 200),
                ("GET", "/status/204", 204),
                ("GET", "/status/304", 304),
            ):
                self.assertEqual(client.ask(method, path).status, status)
            self.assertEqual(client.ask("GET", "/ok").body, b"ok")
        self.assertEqual(self.notes(), ["ended"] * 3)

    # --- failures

    def test_a_failure_before_the_first_piece_is_a_500(self):
        reply = self.ask("GET", "/fails_at_once")
        self.assertEqual((reply.status, reply.body), (500, b"ValueError: no piece at all"))

    def test_a_later_failure_is_no_end(self):
        for path, text in (
            ("/fails_later", "ValueError: after the first"),
            ("/wrong_piece", "a piece of a streamed reply must be str or bytes, not int"),
        ):
            before = self.processor.stats()["counters"]["handled"]["failure"]
            with self.assertRaises(BrokenReply), Client(self.http) as client:
                client.ask("GET", path)
            record = self.wait_record(level="error", text=text)
            self.assertIn("event_id", record)
            after = self.processor.stats()["counters"]["handled"]["failure"]
            self.assertEqual(after, before + 1)

    # --- pace

    def test_a_client_that_does_not_read_stops_the_generator(self):
        with Client(self.http, receive_bytes=SOCKET_BYTES) as client:
            self.begun(client, "/endless/x")
            reached = self.settled()
            # The kernel's two buffers take what they like; nothing of it is ours.
            self.assertGreater(reached, 0)
            for _ in range(reached):
                client._take(len(PIECE))
            wait_until(lambda: self.progress() > reached, "it goes on when the client reads")
            before = self.processor.private_bytes()
            at = self.settled()
            self.assertEqual(self.processor.stats()["in_flight"], 1)
            self.assertLess(self.processor.private_bytes() - before, UNDER_WAY_MAX * len(PIECE))
            # What it gave was taken or is under way, whatever the kernel's buffers grew to.
            self.assertLess(at, 2 * (reached + UNDER_WAY_MAX) + KERNEL_PIECES_MAX)
        wait_until(self.notes, "the generator is closed")

    def settled(self):
        """How far the generator is when it has not moved while the processor was asked 50 times."""
        last = [-1, 0]

        def rests():
            now = self.progress()
            self.processor.stats()
            last[:] = [now, last[1] + 1 if now == last[0] else 0]
            return last[1] >= 50

        wait_until(rests, "the generator waits")
        return last[0]

    def test_a_client_that_leaves_stops_the_generator(self):
        for leave in (Client.close, Client.reset):
            self.notes_path.write_text("")
            client = Client(self.http)
            self.begun(client, "/slow_endless/x")
            self.chunk(client)
            leave(client)
            wait_until(self.notes, "the generator is closed")
            self.assertEqual(self.notes(), ["closed"])

    def test_much(self):
        """`NUCLIO_TEST_STREAM_MIB=1024` is the long form."""
        pids = [self.processor.pid, *self.processor.worker_pids()]
        with Client(self.http) as client:
            self.ask("GET", "/much/4")
            before = sum(resident_bytes(pid) for pid in pids)
            most = before
            self.begun(client, f"/much/{LONG}")
            for number in range(LONG * 32):
                if self.chunk(client) != PIECE:
                    self.fail(f"piece {number} is not what was sent")
                if number % 256 == 0:
                    most = max(most, sum(resident_bytes(pid) for pid in pids))
            self.assertEqual(client._chunks(), b"")
        print(f"\n{LONG} MiB down: resident memory of both grew by {(most - before) >> 10} KiB")
        self.assertLess(most - before, 16 << 20)

    # --- deaths

    def test_a_dead_worker_is_no_end(self):
        client = self.enterContext(Client(self.http))
        self.begun(client, "/dies/gate")
        self.chunk(client)
        self.open_gate()
        with self.assertRaises((BrokenReply, ConnectionResetError)):
            client._chunks()

    def test_a_killed_worker_is_no_end(self):
        client = self.enterContext(Client(self.http))
        self.begun(client, "/gated/gate")
        self.chunk(client)
        os.kill(self.processor.worker_pids()[0], signal.SIGKILL)
        with self.assertRaises((BrokenReply, ConnectionResetError)):
            client._chunks()

    keeps_workers = False


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as fields:
        return int(fields.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Sync(Cases, FaultCase):
    code = function("streaming")
    spec = {**Cases.spec, "handler": "function:handler"}


class Async(Cases, FaultCase):
    code = function("streaming")
    spec = {**Cases.spec, "handler": "function:async_handler"}

    def test_a_hundred_at_once(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(100)]
            for client in clients:
                self.begun(client, "/gated/gate")
            for client in clients:
                self.assertEqual(self.chunk(client), b"first\n")
            self.open_gate()
            for client in clients:
                self.assertEqual(self.chunk(client), b"second\n")
                self.assertEqual(client._chunks(), b"")

    def test_slow_clients_do_not_hold_up_others(self):
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                client = stack.enter_context(Client(self.http, receive_bytes=SOCKET_BYTES))
                self.begun(client, "/endless/x")
            for _ in range(20):
                # Sooner than slow clients are cut.
                with Client(self.http, limit_s=8) as other:
                    self.assertEqual(other.ask("GET", "/ok").body, b"ok")
                    self.assertEqual(other.ask("GET", "/counted/2").body, b"piece 0\npiece 1\n")
        wait_until(lambda: len(self.notes()) == 100, "all generators are closed")


class Deadline(FaultCase):
    code = function("streaming")
    spec = {"triggers": http_trigger(), "eventTimeout": "1s"}
    keeps_workers = False

    def test_a_stream_past_its_deadline_is_cut(self):
        with self.assertRaises(BrokenReply), Client(self.http) as client:
            client.ask("GET", "/hangs/x")
        wait_until(lambda: self.processor.counter("timed_out") == 1, "the timeout is counted")


class Generators(FaultCase):
    """Handlers that are generator functions themselves."""

    code = """
def handler(context, event):
    if event.path == "/ok":
        return
    yield event.body
    yield "!"
"""

    def test_it_is_streamed(self):
        self.assertEqual(self.ask("POST", "/", b"hello").body, b"hello!")


class AsyncGenerators(Generators):
    code = """
async def handler(context, event):
    if event.path == "/ok":
        return
    yield event.body
    yield "!"
"""


if __name__ == "__main__":
    unittest.main()
