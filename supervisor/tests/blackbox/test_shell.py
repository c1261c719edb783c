"""Scripts and programs as handlers: nuclio's form, hostile input, programs that behave badly."""

import concurrent.futures
import hashlib
import json
import os
import signal
import unittest

from desk import refuse_skip
from faults import records_of
from processor import (
    PYTHON,
    Processor,
    ProcessorCase,
    children_of,
    http_trigger,
    is_alive,
    wait_until,
)
from wire import Client, ask, pattern

MIB = 1 << 20
SCRIPT = """#!/bin/sh
word=${NUCLIO_EVENT_PATH#/}
rest=${word#*/}
case "$word" in
args) for one in "$@"; do printf '[%s]' "$one"; done ;;
env) env ;;
exit/*) echo out; echo err >&2; exit "$rest" ;;
closes) exec <&-; echo closed ;;
ignores) echo ignored ;;
early) head -c 3000000 /dev/zero; wc -c ;;
leaves) sleep 300 & echo $! ;;
never) echo $$ > "$NOTES"; sleep 300 & echo $! >> "$NOTES"; wait ;;
killed) kill -9 $$ ;;
torn) exec sh -c 'if then' ;;
missing) no-such-program-here ;;
big/*) head -c "$rest" /dev/zero ;;
quick) sleep 0.05; echo "$NUCLIO_EVENT_ID" ;;
*) exec cat ;;
esac
"""
HOSTILE = [
    "; id",
    "$(id)",
    "`id`",
    "| id",
    "&& id",
    "'",
    '"',
    "\\",
    "*",
    "~",
    "$PATH",
    "--",
    "-x",
    "#",
]


class ShellCase(ProcessorCase):
    """One processor of a script; after each test nothing is left of what the test started."""

    script = SCRIPT
    name = "function.sh"
    logs = {"NUCLIO_LOG_FORMAT": "json"}

    @classmethod
    def setUpClass(cls):
        env = {**cls.logs, **(cls.env or {})}
        cls.processor = Processor(cls.script, cls.spec, cls.flags, env, file=cls.name)
        cls.addClassCleanup(cls.processor.close)
        cls.processor.wait_ready()
        cls.before = cls.processor.census()

    def tearDown(self):
        super().tearDown()
        for worker in self.processor.worker_pids():
            wait_until(
                lambda worker=worker: len(children_of(worker)) == self.kept_programs(),
                lambda worker=worker: f"programs left: {children_of(worker)}",
            )

    def kept_programs(self):
        return 0

    def ask(self, path, body=None, *headers, method="POST"):
        return ask(self.http, method, path, body, headers)

    def text(self, path, *headers):
        return self.ask(path, b"", *headers).body.decode()

    def wait_record(self, text):
        def found():
            return [record for record in records_of(self.processor) if text in record["message"]]

        return wait_until(found, f"a record with {text}")[-1]


class Exec(ShellCase):
    spec = {
        "description": "a test; $(id)",
        "env": [{"name": "OWN", "value": "a 'b' $(c)"}, {"name": "NOTES", "value": "notes"}],
        "triggers": http_trigger({"maxRequestBodySize": 64 * MIB}, workerTerminationTimeout="2s"),
        "runtimeAttributes": {
            "arguments": "one  two;$(id)",
            "responseHeaders": {"X-Own": "yes", "Content-Type": "text/csv"},
        },
    }

    def test_the_body_goes_through(self):
        for body in (b"", b"x", pattern(65536), pattern(65537), pattern(3 * MIB)):
            reply = self.ask("/", body)
            self.assertEqual((reply.status, reply.body), (200, body))
            self.assertEqual(reply.get("X-Own"), "yes")
            self.assertEqual(reply.get("Content-Type"), "text/csv")

    def test_64_mib_go_both_ways(self):
        body = pattern(64 * MIB)
        reply = self.ask("/", body)
        self.assertEqual(reply.status, 200)
        self.assertEqual(hashlib.sha256(reply.body).digest(), hashlib.sha256(body).digest())

    def test_the_environment_is_nuclios_and_no_more(self):
        reply = self.ask("/env?a=%20b", b"x", "Content-Type: text/x;y", method="PUT")
        lines = dict(line.split("=", 1) for line in reply.body.decode().splitlines())
        moment = lines.pop("NUCLIO_EVENT_TIMESTAMP")
        self.assertRegex(moment, r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertRegex(lines.pop("NUCLIO_EVENT_ID"), r"^[0-9a-f-]{36}$")
        self.assertEqual(lines.pop("PATH"), os.environ["PATH"])
        self.assertTrue(lines.pop("NUCLIO_WORKER_ID").isdigit())
        for added_by_sh in ("PWD", "SHLVL", "_", "OLDPWD"):
            lines.pop(added_by_sh, None)
        self.assertEqual(
            lines,
            {
                "OWN": "a 'b' $(c)",
                "NOTES": "notes",
                "NUCLIO_FUNCTION_NAME": "function",
                "NUCLIO_FUNCTION_DESCRIPTION": "a test; $(id)",
                "NUCLIO_FUNCTION_VERSION": "latest",
                "NUCLIO_FUNCTION_HANDLER": "",
                "NUCLIO_TRIGGER_CLASS": "sync",
                "NUCLIO_TRIGGER_KIND": "http",
                "NUCLIO_EVENT_CONTENT_TYPE": "text/x;y",
                "NUCLIO_EVENT_PATH": "/env",
                "NUCLIO_EVENT_URL": "/env?a=%20b",
                "NUCLIO_EVENT_METHOD": "PUT",
                "NUCLIO_EVENT_SHARD_ID": "0",
                "NUCLIO_EVENT_NUM_SHARDS": "0",
                "NUCLIO_EVENT_TYPE": "",
                "NUCLIO_EVENT_TYPE_VERSION": "",
                "NUCLIO_EVENT_VERSION": "",
            },
        )

    def test_arguments_are_words_and_nothing_else(self):
        self.assertEqual(self.text("/args"), "[one][two;$(id)]")
        for text in HOSTILE:
            words = "".join(f"[{word}]" for word in text.split())
            said = self.text("/args", f"X-Nuclio-Arguments: {text}")
            self.assertEqual(said, words, text)
        self.assertEqual(self.text("/args", "X-Nuclio-Arguments: "), "")

    def test_hostile_paths_are_text(self):
        reply = self.ask("/env/%0aX=1%00$(id)", b"")
        self.assertEqual(reply.status, 200)
        reply = self.ask("/;id%20$(id)`id`%00", b"body")
        self.assertEqual((reply.status, reply.body), (200, b"body"))

    def test_an_exit_code_is_a_500_in_nuclios_words(self):
        reply = self.ask("/exit/3", b"")
        self.assertEqual(reply.status, 500)
        self.assertEqual(
            reply.body, b"Failed to run shell command.\nError: exit status 3\nOutput:out\nerr\n"
        )
        self.wait_record("exit status 3")

    def test_a_mistake_in_the_script_is_a_500_with_the_shells_words(self):
        for path, code, told in (("/torn", 2, b"Syntax error"), ("/missing", 127, b"not found")):
            reply = self.ask(path, b"")
            self.assertEqual(reply.status, 500)
            self.assertIn(b"Error: exit status %d\n" % code, reply.body)
            self.assertIn(told.lower(), reply.body.lower())

    def test_a_script_that_is_gone_is_a_500(self):
        script = self.processor.folder / self.name
        away = script.with_name("away.sh")
        script.rename(away)
        try:
            reply = self.ask("/", b"x")
        finally:
            away.rename(script)
        self.assertEqual(reply.status, 500)
        self.assertIn(b"cannot be started", reply.body)
        self.assertEqual(self.ask("/", b"well").body, b"well")

    def test_large_replies_among_small_ones(self):
        # Six do not fit into the worker's memory; the small ones ring meanwhile.
        sizes = [20_000_000 if turn % 10 == 0 else 64 for turn in range(60)]
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            for _ in range(3):
                replies = pool.map(lambda size: self.ask(f"/big/{size}", b""), sizes)
                self.assertEqual([len(reply.body) for reply in replies], sizes)

    def test_a_killed_program_is_a_500(self):
        reply = self.ask("/killed", b"")
        self.assertEqual(reply.status, 500)
        self.assertIn(b"Error: signal: killed\n", reply.body)

    def test_programs_that_do_not_read(self):
        body = pattern(8 * MIB)
        self.assertEqual(self.ask("/closes", body).body, b"closed\n")
        self.assertEqual(self.ask("/ignores", body).body, b"ignored\n")

    def test_a_program_that_writes_first(self):
        reply = self.ask("/early", pattern(8 * MIB))
        self.assertEqual(reply.body, bytes(3_000_000) + b"%d\n" % (8 * MIB))

    def test_what_keeps_the_output_open_is_ended(self):
        pid = int(self.text("/leaves"))
        wait_until(lambda: not is_alive(pid), f"the process {pid} left behind is gone")

    def test_a_reply_has_a_bound(self):
        reply = self.ask(f"/big/{200 * MIB}", b"")
        self.assertEqual(reply.status, 500)
        self.assertIn(b"larger than a reply may be", reply.body)
        self.assertEqual(len(self.ask(f"/big/{20 * MIB}", b"").body), 20 * MIB)

    def test_a_hundred_at_once(self):
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            found = list(pool.map(lambda _: self.text("/quick"), range(300)))
        self.assertEqual(len(set(found)), 300)

    def test_a_client_that_leaves_does_no_harm(self):
        with Client(self.http) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
            client.reset()
        self.assertEqual(self.ask("/", b"well").body, b"well")


class Deadline(ShellCase):
    """The whole group of a program is killed when its event's time is over."""

    spec = {
        "eventTimeout": "500ms",
        "env": [{"name": "NOTES", "value": "notes"}],
        "triggers": http_trigger({}),
    }

    def assert_group_is_killed(self):
        notes = self.processor.folder / "notes"
        notes.unlink(missing_ok=True)
        reply = self.ask("/never", b"")
        self.assertEqual(reply.status, 408)
        pids = [int(line) for line in notes.read_text().split()]
        self.assertEqual(len(pids), 2)
        for pid in pids:
            wait_until(lambda pid=pid: not is_alive(pid), f"{pid} is gone")
        self.assertEqual(self.ask("/", b"well").body, b"well")

    def test_the_group_is_killed_and_the_worker_stays(self):
        workers = self.processor.worker_pids()
        self.assert_group_is_killed()
        self.assertEqual(self.processor.worker_pids(), workers)


class DeadlineOfOne(Deadline):
    """The same where a worker has one event at a time, and is itself replaced."""

    keeps_workers = False
    spec = {**Deadline.spec, "triggers": http_trigger({}, maxInflight=1)}

    def test_the_group_is_killed_and_the_worker_stays(self):
        self.assert_group_is_killed()


class WorkerDeath(ShellCase):
    """A worker that is killed takes its programs along."""

    keeps_workers = False
    spec = {"env": [{"name": "NOTES", "value": "notes"}], "triggers": http_trigger({})}

    def test_its_programs_go_with_it(self):
        notes = self.processor.folder / "notes"
        (worker,) = self.processor.worker_pids()
        with Client(self.http) as client:
            client.send(b"POST /never HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            wait_until(lambda: notes.exists() and len(notes.read_text().split()) == 2, "it runs")
            os.kill(worker, signal.SIGKILL)
            self.assertEqual(client.reply().status, 502)
        for pid in map(int, notes.read_text().split()):
            wait_until(lambda pid=pid: not is_alive(pid), f"{pid} is gone")
        self.assertEqual(self.ask("/", b"well").body, b"well")


class Separate(ShellCase):
    spec = {
        "runtimeAttributes": {"stderr": "separate", "clientArguments": False, "arguments": ["a b"]}
    }

    def test_errors_are_records_of_their_event(self):
        reply = self.ask("/exit/0", b"")
        self.assertEqual(reply.body, b"out\n")
        record = self.wait_record("err")
        self.assertEqual((record["message"], record["level"]), ("err", "info"))
        self.assertTrue(record["event_id"])

    def test_a_list_is_taken_word_by_word_and_clients_give_none(self):
        self.assertEqual(self.text("/args", "X-Nuclio-Arguments: mine"), "[a b]")


class ProgramOnPath(unittest.TestCase):
    def serve(self, flags, **more):
        processor = Processor(file=None, flags=flags, **more)
        self.enterContext(processor)
        processor.wait_ready()
        return processor.http

    def test_jq_is_a_function(self):
        refuse_skip("jq")
        http = self.serve(
            ["--handler", "jq", "--runtime-arg", "-c", "--runtime-arg", ".a | map(. + 1)"]
        )
        reply = ask(http, "POST", "/", b'{"a": [1, 2]}')
        self.assertEqual((reply.status, reply.body), (200, b"[2,3]\n"))
        reply = ask(http, "POST", "/", b"{")
        self.assertEqual(reply.status, 500)
        self.assertIn(b"exit status", reply.body)

    def test_what_is_no_program_is_told(self):
        for flags in (
            ["--handler", "no-such-program"],
            ["--runtime", "shell", "--handler", "x; id"],
        ):
            processor = Processor(file=None, flags=flags)
            with processor:
                self.assertEqual(processor.wait_end(), 2)
                self.assertIn("nothing to serve", processor.stderr())

    def test_what_cannot_be_started_is_told(self):
        cases = [("tool.sh", "#!/no/such/shell\n", 0o644, "which is no program here")]
        for name, text, mode, told in cases:
            processor = Processor(text, file=name)
            with processor:
                (processor.folder / name).chmod(mode)
                self.assertNotEqual(processor.wait_end(), 0)
                self.assertIn(told, processor.stderr())

    def test_arguments_are_for_programs(self):
        processor = Processor(flags=["--runtime-arg", "x"])
        with processor:
            self.assertEqual(processor.wait_end(), 2)
            self.assertIn("--runtime-arg: the runtime is python", processor.stderr())


RESIDENT = (
    f"#!{PYTHON} -S\n"
    + """
import base64, json, os, sys, time

def say(reply):
    sys.stdout.write(json.dumps(reply) + "\\n")
    sys.stdout.flush()

for line in sys.stdin:
    event = json.loads(line)
    word = event["path"].strip("/")
    if word == "exit":
        sys.exit(3)
    if word == "noise":
        print("not json", flush=True)
    elif word == "twice":
        sys.stdout.write('{"body": "a"}\\n{"body": "b"}\\n')
        sys.stdout.flush()
    elif word == "later":
        say({"id": "another"})
    elif word == "wrong":
        say({"bdy": 1})
    elif word == "head":
        say({"headers": {"X": "a\\r\\nY: b"}})
    elif word == "hang":
        time.sleep(300)
    elif word == "errors":
        print("to the log", file=sys.stderr, flush=True)
        say({"status": 201, "headers": {"X-Own": "1"}, "body": {"pid": os.getpid()}})
    elif word == "blind":
        os.close(0)
        say({"body": "blind"})
    elif word == "event":
        say({"body": event})
    elif "body_base64" in event:
        say({"id": event["id"], "body_base64": event["body_base64"]})
    else:
        say({"id": event["id"], "body": event.get("body", "")})
"""
)

COUNTED = (
    f"#!{PYTHON} -S\n"
    + """
import os, sys

read, write = sys.stdin.buffer, sys.stdout.buffer
while line := read.readline():
    head, _, body = read.read(int(line)).partition(b"\\n\\n")
    word = head.split(b" ")[1].strip(b"/").split(b"?")[0]
    reply = b"\\n" + body
    if word == b"status":
        reply = b"404\\nX-Own: 1\\nContent-Type: text/html\\n\\nnone"
    elif word == b"exit":
        sys.exit(3)
    elif word == b"wrong":
        reply = b"no empty line"
    elif word == b"head":
        reply = b"\\n" + head
    write.write(b"pardon\\n" if word == b"noise" else b"%d\\n%b" % (len(reply), reply))
    write.flush()
"""
)


class Resident(ShellCase):
    script = RESIDENT
    name = "program"
    flags = ("--runtime", "shell")
    spec = {
        "eventTimeout": "20s",
        "triggers": http_trigger({"maxRequestBodySize": 32 * MIB}),
        "runtimeAttributes": {"mode": "resident"},
    }

    def kept_programs(self):
        # It is started again when the next event needs it.
        return len(children_of(self.processor.worker_pids()[0])) and 1

    def test_one_program_answers_all(self):
        pids = {json.loads(self.ask("/errors", b"").body)["pid"] for _ in range(20)}
        self.assertEqual(len(pids), 1)

    def test_bodies_come_back(self):
        for body in (b"", b"text", "\N{SNAKE}\r\n".encode(), bytes(range(256)), pattern(8 * MIB)):
            reply = self.ask("/", body)
            self.assertEqual((reply.status, reply.body), (200, body))

    def test_status_headers_and_errors(self):
        reply = self.ask("/errors", b"")
        self.assertEqual((reply.status, reply.get("X-Own")), (201, "1"))
        self.assertEqual(reply.get("Content-Type"), "application/json")
        self.assertTrue(self.wait_record("to the log")["event_id"])

    def test_the_event_is_told(self):
        event = json.loads(self.ask("/event?a=1&a=2&b=%20", b"x", "X-Own: 1").body)
        self.assertEqual((event["method"], event["path"], event["body"]), ("POST", "/event", "x"))
        self.assertEqual(event["query"], {"a": "2", "b": " "})
        self.assertEqual(event["headers"]["x-own"], "1")

    def assert_fails(self, path, told):
        reply = self.ask(path, b"")
        self.assertEqual(reply.status, 500)
        self.assertIn(told, reply.body.decode())
        self.assertEqual(self.ask("/", b"well").body, b"well")

    def test_broken_replies_fail_one_event(self):
        self.assert_fails("/exit", "exit status 3")
        self.assert_fails("/noise", "no JSON")
        self.assert_fails("/later", "while")
        self.assert_fails("/wrong", "bdy")
        self.assert_fails("/head", "line break")

    def test_a_second_reply_is_never_another_events(self):
        for _ in range(5):
            self.assertEqual(self.ask("/twice", b"").body, b"a")
            self.assertEqual(self.ask("/", b"mine").body, b"mine")

    def test_a_program_that_reads_no_more_is_replaced(self):
        self.assertEqual(self.ask("/blind", b"").body, b"blind")
        self.ask("/", b"may fail")
        self.assertEqual(self.ask("/", b"well").body, b"well")

    def test_random_ends(self):
        for number in range(30):
            if number % 3 == 0:
                self.assertEqual(self.ask("/exit", b"").status, 500)
            self.assertEqual(self.ask("/", b"%d" % number).body, b"%d" % number)


class ResidentDeadline(ShellCase):
    script = RESIDENT
    name = "program"
    flags = ("--runtime", "shell")
    keeps_workers = False
    spec = {"eventTimeout": "2s", "runtimeAttributes": {"mode": "resident"}}

    def kept_programs(self):
        return 1

    def test_a_program_that_hangs_is_replaced(self):
        self.assertEqual(self.ask("/hang", b"").status, 408)
        self.assertEqual(self.ask("/", b"well").body, b"well")


class Counted(ShellCase):
    script = COUNTED
    name = "program"
    flags = ("--runtime", "shell")
    spec = {
        "triggers": http_trigger({"maxRequestBodySize": 32 * MIB}),
        "runtimeAttributes": {"mode": "resident", "framing": "length"},
    }

    def kept_programs(self):
        return len(children_of(self.processor.worker_pids()[0])) and 1

    def test_bodies_come_back(self):
        for body in (b"", b"text\n", bytes(range(256)), pattern(16 * MIB)):
            reply = self.ask("/", body)
            self.assertEqual((reply.status, reply.body), (200, body))

    def test_status_and_headers(self):
        reply = self.ask("/status", b"")
        self.assertEqual((reply.status, reply.body, reply.get("X-Own")), (404, b"none", "1"))
        self.assertEqual(reply.get("Content-Type"), "text/html")
        head = self.ask("/head?q=1", b"", "X-A: b").body.decode()
        self.assertRegex(head, r"^POST /head\?q=1 [0-9a-f-]{36}\n")
        self.assertIn("\nx-a: b", head)

    def test_broken_replies_fail_one_event(self):
        for path, told in (
            ("/exit", "exit status 3"),
            ("/noise", "no length"),
            ("/wrong", "empty"),
        ):
            reply = self.ask(path, b"")
            self.assertEqual(reply.status, 500)
            self.assertIn(told, reply.body.decode())
            self.assertEqual(self.ask("/", b"well").body, b"well")


if __name__ == "__main__":
    unittest.main()
