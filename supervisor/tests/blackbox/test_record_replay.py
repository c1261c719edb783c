"""`nuclio run --record` and `nuclio replay`: the same events again, byte for byte."""

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import unittest

from desk import Desk
from processor import NUCLIO, is_alive, wait_until
from wire import Client, ask, chunked, pattern, request

LIMIT_S = 60
MIB = 1 << 20

# Writes down whatever it can see of an event.
CODE = '''
import base64, json, os, time

def handler(context, event):
    if event.path == "/wait":
        with open("waits", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(1000)
    seen = {
        "method": event.method,
        "path": event.path,
        "url": event.url,
        "content_type": event.content_type,
        "headers": [[name, event.headers.get_all(name)] for name in event.headers],
        "fields": dict(event.fields),
        "body": base64.b64encode(event.body or b"").decode(),
    }
    with open("seen.jsonl", "a") as file:
        file.write(json.dumps(seen) + "\\n")
    status = int(event.path.rpartition("/")[2]) if event.path.startswith("/status/") else 200
    if status == 500:
        raise ValueError("as asked")
    return context.Response(status_code=status, body=event.body, headers={"X-Own": "1"})
'''

EVENTS = [
    ("GET", request("GET", "/plain")),
    ("GET", request("GET", "/with%20escapes/%C3%BC?a=1&a=2&b=%00")),
    ("POST", request("POST", "/text", "zażółć\n".encode(), ["Content-Type: text/plain"])),
    ("POST", request("POST", "/binary", bytes(range(256)))),
    ("POST", request("POST", "/mebibyte", pattern(MIB))),
    ("PUT", chunked(pattern(70_000), (1, 5000, 17), path="/chunks", method="PUT")),
    ("POST", chunked(b"", path="/no-chunk")),
    ("GET", request("GET", "/twice", None, ["x-two: a", "X-Two:b  ", "X-TWO:  c"])),
    ("GET", request("GET", "/latin", None, ["X-Name: caf\xe9 \xff", "X-Empty:"])),
    ("BREW", request("BREW", "/other-method", b"x")),
    ("HEAD", request("HEAD", "/head")),
    ("GET", request("GET", "/old", version="1.0")),
    ("POST", request("POST", "/close", b"x", ["Connection: close"])),
    ("POST", request("POST", "/status/500", b"{}")),
    ("DELETE", request("DELETE", "/status/204")),
    ("POST", request("POST", "/large-head", b"x", ["X-Large: " + "y" * 9000])),
]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def raw(value):
    """The bytes of a text or of `{"base64": ...}`."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"], validate=True)
    return value.encode()


@contextlib.contextmanager
def running(desk, *words):
    """A function that runs, and the address of it."""
    with desk.start("run", *words) as child:
        try:
            line = child.stdout.readline().decode()
            found = re.search(r"ready: http://([\d.]+):(\d+)", line)
            assert found, line or child.stderr.read()
            yield child, (found[1], int(found[2]))
        finally:
            if child.poll() is None:
                child.kill()
            child.communicate(timeout=LIMIT_S)


def ended(child):
    """Ends a function in good order; what it said on stderr."""
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=LIMIT_S)
    assert child.returncode == 0, errors
    return errors.decode()


class RecordReplay(unittest.TestCase):
    def setUp(self):
        self.desk = self.enterContext(Desk())
        self.desk.file("shop.py", CODE)
        self.events = self.desk.folder / "events.jsonl"

    def record(self, *paths):
        """Records a GET of each path; the status of each."""
        with running(self.desk, "shop.py", "--record", "events.jsonl") as (child, http):
            statuses = [ask(http, path=path).status for path in paths]
            ended(child)
        (self.desk.folder / "seen.jsonl").unlink(missing_ok=True)
        return statuses

    def tearDown(self):
        self.assertEqual(self.desk.left_running(), [])

    def test_the_handler_sees_the_same_and_answers_the_same(self):
        with running(self.desk, "shop.py", "--record", "events.jsonl") as (child, http):
            replies = []
            for method, data in EVENTS:
                with Client(http) as client:
                    replies.append(client.send(data).reply(method))
            ended(child)
        seen = self.desk.folder / "seen.jsonl"
        first = lines_of(seen)
        seen.unlink()
        self.assertEqual(len(first), len(EVENTS))
        self.assertEqual(base64.b64decode(first[4]["body"]), pattern(MIB))

        recorded = lines_of(self.events)
        events = [line["event"] for line in recorded if "event" in line]
        for (_, data), event in zip(EVENTS, events, strict=True):
            head, _, body = data.partition(b"\r\n\r\n")
            self.assertEqual(b"\r\n".join(map(raw, [event["request"], *event["headers"]])), head)
            if b"chunked" not in head:
                self.assertEqual(raw(event.get("body", "")), body)
        self.assertEqual(recorded[-1]["end"], {"events": 16, "missing": 0, "reason": "stopped"})
        self.assertEqual(self.events.stat().st_mode & 0o777, 0o600)

        said = self.desk.nuclio("replay", "events.jsonl", "-o", "json")
        self.assertEqual(said.code, 0, said)
        *again, total = map(json.loads, said.stdout.splitlines())
        self.assertEqual(lines_of(seen), first)
        self.assertEqual((total["events"], total["same"]), (16, 16), total)
        for event, reply, one in zip(events, replies, again, strict=True):
            self.assertEqual((one["id"], one["status"]), (event["id"], reply.status))
            self.assertEqual(one["recorded_status"], reply.status)
            self.assertEqual(raw(one["body"]), reply.body, event["request"])

    def test_the_verb_and_its_flags_are_told(self):
        for shell in ("bash", "zsh", "fish"):
            script = self.desk.nuclio("completion", shell).stdout
            for word in ("replay", "record", "debug"):
                self.assertIn(word, script)
        self.assertIn("replay", self.desk.nuclio("--help").stdout)
        self.assertIn("NUCLIO_RECORD", self.desk.nuclio("run", "--help").stdout)
        self.assertIn("Examples:", self.desk.nuclio("replay", "--help").stdout)

    def test_what_is_answered_otherwise_is_named(self):
        self.assertEqual(self.record("/status/500", "/plain", "/status/201"), [500, 200, 201])
        said = self.desk.nuclio("replay", "events.jsonl")
        self.assertEqual(said.code, 0, said)
        self.assertEqual(said.stdout, "3 events of events.jsonl replayed: 3 answered as recorded\n")
        self.desk.file("shop.py", CODE.replace('raise ValueError("as asked")', "status = 400"))
        said = self.desk.nuclio("replay", "events.jsonl")
        self.assertEqual(said.code, 1, said)
        self.assertEqual(
            said.stdout,
            "00000001 GET /status/500: 400, recorded 500\n"
            "3 events of events.jsonl replayed: 2 answered as recorded, 1 answered otherwise\n",
        )

    def test_an_event_is_found_by_its_id_while_the_function_runs_and_after(self):
        words = ("shop.py", "--record", "events.jsonl")
        with running(self.desk, *words) as (child, http):
            for path in ("/a", "/b"):
                ask(http, path=path)
            wait_until(lambda: self.events.read_text().count('"answer"') == 2, "recorded")
            event = lines_of(self.events)[3]["event"]
            for name in (event["id"], event["id"][-8:]):
                said = self.desk.nuclio("replay", name, "--verbose")
                self.assertEqual(said.code, 0, said)
                self.assertIn("00000002 GET /b: 200, recorded 200\n1 event of", said.stdout)
            # Half a line, as a reader may meet it while it is written.
            with open(self.events, "a") as file:
                file.write('{"event":{"id":')
            self.assertEqual(self.desk.nuclio("replay", "events.jsonl").code, 0)
            child.kill()
        said = self.desk.nuclio("replay", event["id"])
        self.assertIn("no recording of a function", said.stderr)
        self.events.write_text("".join(self.events.read_text().splitlines(True)[:-1]))
        self.assertEqual(self.desk.nuclio("replay", event["id"]).code, 0)
        said = self.desk.nuclio("replay", "0000002a")
        self.assertEqual(said.code, 2, said)
        self.assertIn("no event whose id ends in this in events.jsonl", said.stderr)
        said = self.desk.nuclio("replay", event["id"], "-n", "elsewhere")
        self.assertIn("no recording of a function in namespace elsewhere", said.stderr)

    def test_a_file_that_cannot_be_replayed_starts_nothing(self):
        self.record("/a", "/b")
        whole = self.events.read_text()
        self.events.write_text(whole[: whole.index('"answer"')])
        said = self.desk.nuclio("replay", "events.jsonl")
        self.assertEqual((said.code, said.stdout), (2, ""), said)
        self.assertRegex(said.stderr, r"^error: events.jsonl: is cut off in line 3: .*remove that")
        for name, told in [
            ("shop.py", "shop.py: is no recording of events"),
            ("nothing.jsonl", "nothing.jsonl: there is no such file"),
            (".", ".: is no file"),
        ]:
            said = self.desk.nuclio("replay", name)
            self.assertEqual((said.code, said.stdout), (2, ""), said)
            self.assertIn(f"error: {told}", said.stderr)
        self.assertFalse((self.desk.folder / "seen.jsonl").exists())

    def test_no_value_of_a_variable_is_kept(self):
        words = ("shop.py", "--record", "events.jsonl", "-e", "TOKEN=s3cret")
        with running(self.desk, *words) as (child, http):
            ask(http)
            ended(child)
        self.assertNotIn("s3cret", self.events.read_text())
        said = self.desk.nuclio("replay", "events.jsonl")
        self.assertEqual(said.code, 2, said)
        self.assertIn("variable TOKEN, whose value no recording keeps; give it with", said.stderr)
        self.assertEqual(self.desk.nuclio("replay", "events.jsonl", "-e", "TOKEN=a").code, 0)
        said = self.desk.nuclio("replay", "events.jsonl", env={"TOKEN": "b"})
        self.assertEqual(said.code, 0, said)

    def test_a_file_that_is_there_is_not_overwritten(self):
        for name, told in [
            ("shop.py", "exists already and is not overwritten"),
            (".", "is a folder"),
            ("no/such/folder/x", "there is no folder no/such/folder"),
        ]:
            said = self.desk.nuclio("run", "shop.py", "--record", name)
            self.assertEqual((said.code, said.stdout), (2, ""), said)
            self.assertRegex(said.stderr, f"^error: --record: {re.escape(name)}:? {told}")
        self.assertEqual((self.desk.folder / "shop.py").read_text(), CODE)
        said = self.desk.nuclio("run", "shop.py", "--record", "/dev/full")
        self.assertEqual(said.code, 2, said)
        self.assertIn("No space left on device", said.stderr)

    def test_a_slow_disk_costs_events_of_the_recording_and_no_others(self):
        os.mkfifo(self.desk.folder / "pipe")
        said = self.desk.nuclio("run", "shop.py", "--record", "pipe")
        self.assertEqual(said.code, 2, said)
        self.assertIn("is a pipe that nobody reads", said.stderr)
        reader = os.open(self.desk.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        body, count = pattern(MIB), 90
        with running(self.desk, "shop.py", "--record", "pipe") as (child, http):
            with Client(http) as client:
                for _ in range(count):
                    reply = client.ask("POST", "/x", body)
                    self.assertEqual((reply.status, len(reply.body)), (200, MIB))
            got = bytearray()

            def read():
                while data := os.read(reader, MIB):
                    got.extend(data)

            thread = threading.Thread(target=read)
            thread.start()
            errors = ended(child)
            thread.join(LIMIT_S)
            os.close(reader)
        lines = [json.loads(line) for line in bytes(got).splitlines()]
        events = sum("event" in line for line in lines)
        missing = sum(line.get("missing", 0) for line in lines)
        # 64 MiB may wait; more was on its way.
        self.assertEqual((events + missing, events in range(60, 67)), (count, True), events)
        self.assertEqual(lines[-1]["end"], {"events": events, "missing": missing,
                                            "reason": "stopped"})
        self.assertIn(f"{missing} events were not recorded: they came faster", errors)

    def test_a_file_that_takes_nothing_any_more_is_told_once(self):
        os.mkfifo(self.desk.folder / "pipe")
        reader = os.open(self.desk.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        with running(self.desk, "shop.py", "--record", "pipe") as (child, http):
            self.assertEqual(ask(http).status, 200)
            os.close(reader)
            for _ in range(20):
                self.assertEqual(ask(http).status, 200)
            errors = ended(child)
        self.assertEqual(errors.count("cannot be written any more: Broken pipe"), 1, errors)
        self.assertIn("the function goes on", errors)

    def test_code_that_cannot_be_loaded_is_told_as_by_run(self):
        self.record("/a")
        self.desk.file("shop.py", "def handler(context, event:\n")
        said = self.desk.nuclio("replay", "events.jsonl")
        self.assertIn(said.code, (1, 2), said)
        self.assertIn("shop.py, line 1: '(' was never closed", said.stderr)
        self.assertEqual(said.stdout, "")

    def test_who_does_not_answer_in_time_is_named(self):
        with running(self.desk, "shop.py", "--record", "events.jsonl") as (child, http):
            with Client(http) as client:
                client.send(request("GET", "/wait"))
                wait_until(lambda: (self.desk.folder / "waits").exists(), "it waits")
            child.kill()
        with contextlib.suppress(FileNotFoundError):
            (self.desk.folder / "waits").unlink()
        said = self.desk.nuclio("replay", "events.jsonl", "--timeout", "200ms",
                                env={"NUCLIO_LOG_FORMAT": "json"}, limit_s=LIMIT_S)
        self.assertEqual(said.code, 1, said)
        self.assertIn("00000001 GET /wait: no whole answer in time (--timeout)\n", said.stdout)
        self.assertIn("1 not answered\n", said.stdout)

    def waiting_replay(self):
        """A replay of an event that is not answered, in a process group of its own."""
        if not self.events.exists():
            with running(self.desk, "shop.py", "--record", "events.jsonl") as (child, http):
                with Client(http) as client:
                    client.send(request("GET", "/wait"))
                    wait_until(lambda: (self.desk.folder / "waits").exists(), "it waits")
                child.kill()
        waits = self.desk.folder / "waits"
        waits.unlink(missing_ok=True)
        child = subprocess.Popen(
            ["setsid", "-w", NUCLIO, "replay", "events.jsonl", "--timeout", "0"],
            cwd=self.desk.folder, env=self.desk.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        pid = wait_until(lambda: waits.exists() and waits.read_text(), "it waits")
        return child, int(pid)

    def test_two_interrupts_end_it(self):
        child, worker = self.waiting_replay()
        group = os.getpgid(parent_of(worker))
        os.killpg(group, signal.SIGINT)
        wait_until(lambda: b"draining" in read_some(child.stderr), "it drains")
        os.killpg(group, signal.SIGINT)
        _, errors = child.communicate(timeout=LIMIT_S)
        self.assertEqual(child.returncode, 130, errors)
        self.assertIn(b"the function ended after 0 of 1 events", errors)

    def test_the_processor_ends_with_its_replay(self):
        child, worker = self.waiting_replay()
        processor = parent_of(worker)
        os.kill(parent_of(processor), signal.SIGKILL)
        # Its drain waits for the worker, so that the worker ends first here.
        wait_until(lambda: b"draining" in read_some(child.stderr), "it drains")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not is_alive(processor), "the processor has ended")
        child.communicate(timeout=LIMIT_S)


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def read_some(pipe):
    return os.read(pipe.fileno(), 65536)


if __name__ == "__main__":
    unittest.main()
