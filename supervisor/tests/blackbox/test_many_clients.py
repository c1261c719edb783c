"""Many clients at once: the idle cost nothing, the stalled hold nobody up."""

import pathlib
import threading
import time
import unittest

from processor import ProcessorCase, allow_descriptors, stat_fields, wait_until
from wire import Client, pattern, request

IDLE_COUNT = 1000
STALLED_COUNT = 200
PENDING_MAX = 4096
# Long enough that a timer of a second or less shows.
QUIET_S = 4
# A good request takes about a millisecond; the rest is for a busy machine.
GOOD_MAX_S = 1.0
MIB = 1 << 20


def setUpModule():
    allow_descriptors()


def effort(pid):
    """CPU ticks and times gone to sleep or been put to sleep, by thread."""
    threads = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = stat_fields(task / "stat")
        status = (task / "status").read_text()
        switches = [line.split()[1] for line in status.splitlines() if "_ctxt_switches" in line]
        name = f"{pid}/{task.name} {(task / 'comm').read_text().strip()}"
        threads[name] = (int(fields[11]) + int(fields[12]), *map(int, switches))
    return threads


class Idle(ProcessorCase):
    """Who does nothing costs nothing."""

    def efforts(self):
        pids = [self.processor.pid, *self.workers]
        return {name: cost for pid in pids for name, cost in effort(pid).items()}

    def assert_quiet(self):
        """No thread of the processor or of a worker runs at all for a while."""
        # What is under way comes to rest first; how long that takes is not what is asked here.
        last = [self.efforts()]

        def rested():
            time.sleep(0.3)
            last.append(self.efforts())
            return last[-1] == last[-2]

        wait_until(rested, lambda: f"still busy: {last[-1]}")
        time.sleep(QUIET_S)
        after = self.efforts()
        woken = {name: (last[-1].get(name), after[name]) for name in after}
        woken = {name: pair for name, pair in woken.items() if pair[0] != pair[1]}
        self.assertEqual(woken, {}, "ticks, voluntary and other switches, before and after")

    def setUp(self):
        super().setUp()
        self.workers = self.processor.worker_pids()

    def test_a_processor_without_clients_sleeps(self):
        self.assert_quiet()

    def test_a_thousand_idle_connections(self):
        clients = [Client(self.http) for _ in range(IDLE_COUNT)]
        try:
            wait_until(lambda: self.processor.stats()["connections"] == IDLE_COUNT, "all are in")
            # Some have been used, some never.
            for client in clients[::2]:
                self.assertEqual(client.ask("POST", "/", b"x").body, b"x")
            self.assert_quiet()
            began = time.monotonic()
            for client in clients[1::2]:
                self.assertEqual(client.ask("POST", "/", pattern(2000)).body, pattern(2000))
            self.assertLess((time.monotonic() - began) / (IDLE_COUNT / 2), 0.02)
        finally:
            for client in clients:
                client.close()
        self.processor.wait_census(self.before)
        self.assert_quiet()

    def test_after_many_clients_at_once(self):
        def work():
            with Client(self.http) as client:
                for size in [0, 10, 2000, 40_000] * 8:
                    body = pattern(size)
                    if client.ask("POST", "/", body).body != body:
                        wrong.append(size)

        wrong, private = [], self.processor.private_bytes()
        threads = [threading.Thread(target=work) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(wrong, [])
        self.processor.wait_census(self.before)
        self.assertLess(self.processor.private_bytes() - private, 8 * MIB)
        self.assert_quiet()


class Stalled(ProcessorCase):
    """Uploads that stand still beside requests that do not."""

    def test_good_requests_beside_stalled_uploads(self):
        # More than half of the event memory altogether: large uploads must take turns.
        start = request("POST", "/", pattern(4_000_000))[:20_000]
        stalled = [Client(self.http).send(start) for _ in range(STALLED_COUNT)]
        large = Client(self.http)
        try:
            count = STALLED_COUNT + 1
            wait_until(lambda: self.processor.stats()["connections"] == count, "all are in")
            whole = request("POST", "/", pattern(MIB))
            uploading = threading.Thread(target=large.send, args=(whole,))
            uploading.start()
            self.assert_good_requests()
        finally:
            for client in stalled:
                client.close()
        # Its turn has come.
        self.assertEqual(large.reply().body, pattern(MIB))
        uploading.join(10)
        large.close()

    def test_good_requests_beside_half_heads(self):
        stalled = [Client(self.http).send(b"POST / HT") for _ in range(STALLED_COUNT)]
        try:
            self.assert_good_requests()
        finally:
            for client in stalled:
                client.close()

    def test_good_requests_beside_replies_that_nobody_reads(self):
        stalled = [
            Client(self.http, receive_bytes=4096).send(request("GET", f"/bytes/{MIB}"))
            for _ in range(STALLED_COUNT // 4)
        ]
        try:
            self.assert_good_requests()
        finally:
            for client in stalled:
                client.close()

    def assert_good_requests(self):
        taken_s = []
        with Client(self.http) as client:
            for size in [0, 1, 1000, 10_000, 15_000] * 20:
                began = time.monotonic()
                self.assertEqual(client.ask("POST", "/", pattern(size)).body, pattern(size))
                taken_s.append(time.monotonic() - began)
        self.assertLess(sorted(taken_s)[len(taken_s) // 2], GOOD_MAX_S / 10)
        self.assertLess(max(taken_s), GOOD_MAX_S)


class Waiting(ProcessorCase):
    """More events than may wait."""

    def test_who_finds_no_room_is_told_at_once(self):
        with Client(self.http) as busy:
            busy.send(request("GET", "/sleep/4"))
            wait_until(lambda: self.processor.stats()["in_flight"], "an event runs")
            clients = [Client(self.http).send(request()) for _ in range(PENDING_MAX + 300)]
            refused = clients[-200:]
            for client in refused:
                reply = client.reply()
                self.assertEqual((reply.status, reply.get("Retry-After")), (503, "1"))
            self.assertEqual(self.processor.stats()["pending"], PENDING_MAX)
            for client in clients:
                client.reset()
            wait_until(lambda: self.processor.stats()["pending"] == 0, "they are forgotten", 2)
            self.assertEqual(busy.reply().body, b"slept")

    def test_a_client_that_asks_and_asks_and_reads_nothing(self):
        count, private = 3000, self.processor.private_bytes()
        with Client(self.http, receive_bytes=4096) as client:
            sending = threading.Thread(
                target=client.send, args=(request("GET", "/bytes/10000") * count,)
            )
            sending.start()
            # It is not read any further than its replies are taken.
            wait_until(lambda: self.rests(), "it stands still")
            self.assertLess(self.processor.private_bytes() - private, 4 * MIB)
            for _ in range(count):
                self.assertEqual(len(client.reply().body), 10_000)
            sending.join(10)

    def rests(self):
        before = self.processor.counter("events")
        time.sleep(0.2)
        return self.processor.counter("events") == before


if __name__ == "__main__":
    unittest.main()
