"""Handlers in JavaScript, served as a user serves them: forms, errors, logs, deadlines, death."""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import signal
import unittest
from urllib.parse import quote

from desk import refuse_skip
from faults import FaultCase, function
from processor import Processor, http_trigger, is_alive, wait_until
from wire import Client, ask, request

TEXT, JSON = "text/plain", "application/json"
FORMS = [
    ("text", 200, TEXT, "héllo".encode()),
    ("empty", 200, TEXT, b""),
    ("null", 200, TEXT, b""),
    ("buffer", 200, TEXT, b"\x00\xff"),
    ("bytes", 200, TEXT, b"\x01\x02"),
    ("object", 200, JSON, '{"a":[1,null,true,1.5,"é"]}'.encode()),
    ("list", 200, JSON, b"[1,2,3]"),
    ("empty list", 200, JSON, b"[]"),
    ("number", 200, TEXT, b"5"),
    ("zero", 200, TEXT, b"0"),
    ("false", 200, TEXT, b"false"),
    ("pair", 201, TEXT, b"made"),
    ("pair of object", 202, JSON, b'{"a":1}'),
    ("pair of nothing", 204, None, b""),
    ("no pair", 200, JSON, b"[7,8]"),
    ("response", 200, TEXT, b"b"),
    ("response called by name", 418, "text/html", b"<p>"),
    ("response of object", 200, JSON, b'{"a":1}'),
    ("response in base64", 200, "image/png", b"\x00\xff"),
    ("retry", 503, TEXT, b"try again in 5 s"),
    ("reject", 422, TEXT, b"no such order"),
    ("thrown reject", 422, TEXT, b"thrown"),
    ("promise", 200, TEXT, b"later"),
    ("async nothing", 200, TEXT, b""),
    ("async object", 200, JSON, b'{"a":1}'),
    ("stream", 200, TEXT, b"ab"),
    ("generator", 200, TEXT, b"1\n2\n"),
    ("async generator", 200, TEXT, b"x\x00"),
    ("web stream", 200, TEXT, b"web"),
    ("response of stream", 201, "text/csv", b"a,b\n"),
    ("empty stream", 200, TEXT, b""),
    ("pair of stream", 204, None, b""),
    ("call back", 200, TEXT, b"called"),
    ("call back later", 200, TEXT, b"called later"),
    ("call back in async", 200, TEXT, b"async callback"),
    ("call back with response", 203, "text/csv", b"r"),
]
# What fails: a part of what the client is told.
FAILURES = [
    ("function", "the handler returned a function"),
    ("blob", "the handler returned a Blob: return its stream()"),
    ("piece", "a piece of a stream must be a string or bytes, not number"),
    ("stream that fails", "RangeError: no rows"),
    ("map", "the handler returned a Map or a Set"),
    ("circle", "circular"),
    ("bigint", "BigInt"),
    ("status out of range", "from 200 to 599, not 99"),
    ("line break", "the value of header X-A has a line break"),
    ("bad name", '"X A" is not a header name'),
    ("large head", "headers are larger than 16384 bytes"),
    ("throw", "TypeError: bad order"),
    ("throw text", "just text"),
    ("throw nothing", "undefined was thrown"),
    ("throw hostile", "cannot be shown"),
    ("async throw", "RangeError: after a while"),
    ("throw in timer", "Error: in a timer"),
    ("unhandled", "Error: nobody handles it"),
    ("exit", "process.exit(3) was called"),
    ("exit in timer", "process.exit(4) was called"),
]


def path_of(name):
    return "/" + quote(name)


def setUpModule():
    refuse_skip("node")


class NodeCase(FaultCase):
    file = "function.js"


class Forms(NodeCase):
    """Status, content type and body of each form; what fails fails alone and says why."""

    code = function("node/forms", ".js")

    def test_forms(self):
        for name, status, content_type, body in FORMS:
            with self.subTest(name):
                reply = self.ask("GET", path_of(name))
                found = (reply.status, reply.get("Content-Type"), reply.body)
                self.assertEqual(found, (status, content_type, body))

    def test_headers_of_a_response_repeat(self):
        reply = self.ask("GET", path_of("response called by name"))
        self.assertEqual(reply.get_all("X-Own"), ["1", "2"])

    def test_failures(self):
        for name, told in FAILURES:
            with self.subTest(name):
                reply = self.ask("GET", path_of(name))
                self.assertEqual((reply.status, reply.get("Content-Type")), (500, TEXT))
                self.assertIn(told, reply.body.decode())
        self.wait_record(level="error", text="TypeError: bad order\n    at Object.throw")

    def test_only_the_first_answer_counts(self):
        for name in ("twice", "late callback"):
            with self.subTest(name), Client(self.http) as client:
                self.assertEqual(client.ask(path=path_of(name)).body, b"first")
                for _ in range(30):
                    self.assertEqual(client.ask(path="/promise").body, b"later")
        wait_until(
            lambda: len(self.records(level="warn", text="a second answer")) == 2,
            lambda: f"both late answers are in the log: {self.records(level='warn')}",
        )

    def test_a_client_that_leaves_ends_its_stream(self):
        with Client(self.http) as client:
            body = b"y" * 20_000
            client.send(request("POST", path_of("for ever"), body))
            self.assertTrue(client.socket.recv(1))
            client.reset()
        self.wait_record(text="nobody reads 20000")
        self.assertEqual(self.ask("GET", "/promise").body, b"later")

    def test_fields(self):
        reply = self.ask("POST", "/fields?name=%C4%84+b&name=last&e=%zz", b"body")
        fields = json.loads(reply.body)
        self.assertEqual(fields["fields"], {"name": "last", "e": "%zz"})
        self.assertEqual(fields["url"], "/fields?name=%C4%84+b&name=last&e=%zz")
        self.assertEqual((fields["method"], fields["path"]), ("POST", "/fields"))
        self.assertEqual((fields["body"], fields["size"], fields["attempt"]), ("body", 4, 1))
        self.assertEqual(fields["trigger"]["kind"], "http")
        self.assertRegex(fields["id"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        self.assertRegex(fields["timestamp"], r"^20\d\d-")

    def test_headers(self):
        reply = self.ask("GET", "/headers", headers=("x-own: 1", "X-OWN: 2", "__proto__: 3"))
        found = json.loads(reply.body)
        self.assertEqual((found["canonical"], found["lower"], found["all"]), ("1", "1", ["1", "2"]))
        self.assertIn("X-Own", found["proto"])
        self.assertIn("__proto__", found["proto"])

    def test_lines_are_records_of_their_event(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: self.ask("GET", "/lines"), range(8)))
        for reply in replies:
            event_id = reply.body.decode()
            found = wait_until(
                lambda id=event_id: len(found := self.records(event_id=id)) >= 5 and found,
                lambda id=event_id: f"all records: {self.records(event_id=id)}",
            )
            self.assertEqual(
                [(record["level"], record["message"]) for record in found],
                [
                    ("info", "one 1"),
                    ("info", "two-three"),
                    ("error", "to stderr"),
                    ("info", "with"),
                    ("info", "no line end"),
                ],
            )
            self.assertEqual(found[3]["price"], 3)

    def test_records_wanted_by_the_client_come_with_the_reply(self):
        reply = self.ask("GET", "/lines", headers=("X-Nuclio-Log-Level: debug",))
        logs = json.loads(reply.get("X-Nuclio-Logs"))
        self.assertIn("not wanted", [record["message"] for record in logs])


class Canaries(NodeCase):
    """No reply has another event's bytes, and what a handler keeps never changes."""

    code = function("node/canary", ".js")
    workers = 2
    keeps_workers = False

    def round_trips(self, number):
        with Client(self.http) as client:
            for turn in range(40):
                name = f"{number}-{turn}"
                body = hashlib.sha256(name.encode()).digest() * (
                    1 + (number * 37 + turn * 101) % 900
                )
                reply = client.ask("POST", f"/echo?name={name}", body, (f"X-Name: {name}",))
                if (reply.status, reply.get("X-Name"), reply.body) != (200, name, body):
                    return f"{name}: {reply.status} {reply.get('X-Name')} {len(reply.body)} bytes"
        return None

    def test_one_hundred_in_flight(self):
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            wrong = [told for told in pool.map(self.round_trips, range(100)) if told]
        self.assertEqual(wrong, [])
        for _ in range(6):
            reply = self.ask("GET", "/check")
            self.assertEqual(reply.status, 200, reply.body)

    def test_a_killed_worker_is_replaced(self):
        pids = self.processor.worker_pids()
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            trips = pool.submit(lambda: [self.round_trips(number) for number in range(3)])
            os.kill(pids[0], signal.SIGKILL)
            told = [one for one in trips.result() if one]
        # POSTs are never run twice: those that the worker had begun are 502, and no other.
        for one in told:
            self.assertIn(": 502 ", one)
        wait_until(lambda: not is_alive(pids[0]), "it has gone")
        self.assertEqual(self.ask("POST", "/kill").status, 502)

    def test_large_bodies(self):
        with Client(self.http) as client:
            for size in (0, 1, 16384, 16385, 65536, 1 << 20, 3 << 20):
                body = os.urandom(size)
                reply = client.ask("POST", "/echo?name=large", body, ("X-Name: large",))
                self.assertEqual((reply.status, reply.body == body), (200, True), size)


class LargeReplies(NodeCase):
    """Replies that wait for room use up rings of the bell that libuv has seen already."""

    # Answers where libuv tells of its threads, which it does beside the bell in one turn.
    code = """
const random = require('node:util').promisify(require('node:crypto').randomBytes)
exports.handler = async (context, event) => {
  if (event.path === '/ok') return 'ok'
  await random(64)
  return Buffer.alloc(Number(event.path.slice(1)), 'x')
}
"""
    # Six do not fit into a worker's memory, nor into what the processor buffers.
    large, larges, smalls, rounds = 20_000_000, 6, 300, 4

    def test_among_many_small_ones(self):
        sizes = [self.large] * self.larges + [64] * self.smalls
        # Spread, so that small ones are polled inside large ones and behind them.
        spread = sizes[:: self.larges] + [s for i, s in enumerate(sizes) if i % self.larges]
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            for _ in range(self.rounds):
                for size, body in zip(
                    spread, pool.map(lambda s: self.ask("GET", f"/{s}").body, spread), strict=True
                ):
                    self.assertEqual((len(body), body.strip(b"x")), (size, b""))


class Deadlines(NodeCase):
    """The client is told in time; handlers that never end harm nobody."""

    code = function("node/forms", ".js")
    spec = {"eventTimeout": "300ms", "triggers": http_trigger()}

    def test_the_signal_is_aborted(self):
        pids = self.processor.worker_pids()
        for _ in range(3):
            reply = self.ask("GET", path_of("slow for ever"))
            self.assertEqual(
                (reply.status, json.loads(reply.body)), (408, {"error": "handler timed out"})
            )
            self.assertEqual(self.ask("GET", "/promise").body, b"later")
        self.wait_record(text="aborted TimeoutError")
        self.assertEqual(self.processor.worker_pids(), pids)


class Ends(NodeCase):
    """What ends or blocks the process costs its own events; the next ones are served."""

    code = """
const deeper = () => deeper() + 1
const ways = {
  '/ok': () => 'ok',
  '/spin': () => { for (;;); },
  '/abort': () => process.abort(),
  '/exit': () => process.reallyExit(5),
  '/signal': () => process.kill(process.pid, 'SIGTERM') && new Promise(() => {}),
  '/deep': () => deeper(),
  '/memory': () => { const all = []; for (;;) all.push(new Array(1e6).fill(all.length)) },
}
exports.handler = (context, event) => ways[event.path]()
"""
    spec = {
        "eventTimeout": "3s",
        "env": [{"name": "NODE_OPTIONS", "value": "--max-old-space-size=64"}],
        "triggers": http_trigger(),
    }
    keeps_workers = False

    def test_a_stack_that_overflows_is_an_error(self):
        pids = self.processor.worker_pids()
        reply = self.ask("POST", "/deep")
        self.assertEqual((reply.status, reply.body.split(b":")[0]), (500, b"RangeError"))
        self.assertEqual(self.processor.worker_pids(), pids)

    def test_a_death_costs_its_event(self):
        for path in ("/abort", "/exit", "/signal", "/memory"):
            with self.subTest(path):
                self.assertEqual(self.ask("POST", path).status, 502)
                self.assertEqual(self.ask("GET", "/ok").body, b"ok")

    def test_a_handler_that_never_gives_the_thread_back(self):
        pids = self.processor.worker_pids()
        reply = self.ask("POST", "/spin")
        self.assertEqual((reply.status, json.loads(reply.body)["error"]), (408, "handler timed out"))
        self.assertEqual(self.ask("GET", "/ok").body, b"ok")
        wait_until(lambda: not is_alive(pids[0]), "its worker was replaced")


class Batches(NodeCase):
    """One call for several events, an answer for each."""

    code = """
const ways = {
  '/list': (events) => events.map((event) => `${event.body} of ${events.length}`),
  '/promise': async (events) => events.map((event) => [201, `${event.body}`]),
  '/callback': (events, context) => void setImmediate(context.callback, events.map(() => 'called')),
  '/mixed': (events) => events.map((event, index) => (index === 1 ? new Error('only mine') : 'ok')),
  '/throw': () => { throw new TypeError('all of us') },
  '/few': () => ['one'],
}
exports.handler = (context, events) => {
  if (events[0].path === '/ok') return events.map(() => 'ok')
  return ways[events[0].path](events, context)
}
"""
    spec = {
        "triggers": http_trigger(batch={"mode": "enable", "batchSize": 3, "timeout": "2s"}),
    }

    def three(self, path):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(3)]
            with self.processor.paused():
                for index, client in enumerate(clients):
                    client.send(request("POST", path, b"%d" % index))
            replies = [client.reply() for client in clients]
        return sorted((reply.status, reply.body.decode()) for reply in replies)

    def test_each_has_its_answer(self):
        told = [(200, f"{index} of 3") for index in range(3)]
        self.assertEqual(self.three("/list"), told)
        self.assertEqual(self.three("/promise"), [(201, str(index)) for index in range(3)])
        self.assertEqual(self.three("/callback"), [(200, "called")] * 3)
        told = [(200, "ok"), (200, "ok"), (500, "Error: only mine")]
        self.assertEqual(self.three("/mixed"), told)

    def test_what_fails_fails_for_all(self):
        self.assertEqual(self.three("/throw"), [(500, "TypeError: all of us")] * 3)
        few = "TypeError: a batch of 3 events got 1 answers"
        self.assertEqual(self.three("/few"), [(500, few)] * 3)


class Watched(NodeCase):
    """`--watch`: saved code serves, broken code does not."""

    code = "exports.handler = () => 'first'"
    flags = ("--watch",)
    keeps_workers = False

    def test_saves(self):
        def save(text):
            (self.processor.folder / self.file).write_text(text)

        def served():
            return self.ask("GET", "/").body

        self.assertEqual(served(), b"first")
        for broken, told in (
            ("exports.handler = (", "SyntaxError"),
            ("require('no-such-package')", "npm install no-such-package"),
            ("process.exit(3)", "process.exit(3)"),
        ):
            before = len(self.records(text="reload failed"))
            save(broken)
            wait_until(lambda b=before: len(self.records(text="reload failed")) > b, told)
            self.assertIn(told, self.records(text="reload failed")[-1]["message"])
            self.assertEqual(served(), b"first")
        save("exports.handler = async () => 'mended'")
        wait_until(lambda: served() == b"mended", "the saved code serves")


class Refusals(unittest.TestCase):
    """Code that cannot be served: one sentence, and an exit code that says whose fault it is."""

    CASES = (
        ("function.js", "exports.handler = (", 2, "SyntaxError"),
        ("function.js", "exports.nothing = 1", 2, "has no handler"),
        ("function.js", "exports.a = (x, y) => 1; exports.b = (x, y) => 2", 2, "(a, b)"),
        ("function.js", "throw new Error('at load')", 1, "Error: at load"),
        ("function.js", "process.exit(7)", 1, "process.exit(7)"),
        ("function.js", "require('no-such-package/x')", 1, "npm install no-such-package"),
        ("function.mjs", "import '@scope/missing'", 1, "npm install @scope/missing"),
        (
            "function.js",
            "exports.initContext = async () => { throw new Error('no base') }\n"
            "exports.handler = () => 1",
            1,
            "initContext failed: Error: no base",
        ),
    )

    def test_refusals(self):
        for file, code, exit_code, told in self.CASES:
            with self.subTest(code), Processor(code, file=file) as processor:
                self.assertEqual(processor.wait_end(), exit_code, processor.stderr())
                self.assertIn(told, processor.stderr())


class Modules(unittest.TestCase):
    """The kinds of modules, and a handler that is exported late."""

    CASES = (
        ("function.mjs", "export const handler = async () => 'es'", b"es"),
        ("function.mjs", "export default (context, event) => 'default'", b"default"),
        ("function.cjs", "module.exports = (context, event) => 'whole'", b"whole"),
        ("function.js", "setTimeout(() => { exports.handler = () => 'late' }, 300)", b"late"),
        ("function.js", "exports.other = (context, event) => 'only one'", b"only one"),
    )

    def test_modules(self):
        for file, code, body in self.CASES:
            with self.subTest(code), Processor(code, file=file) as processor:
                processor.wait_ready()
                self.assertEqual(ask(processor.http).body, body)
                self.assertEqual(processor.stop(), 0)


if __name__ == "__main__":
    unittest.main()
