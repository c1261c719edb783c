"""What a handler sees and what its results become, through a real processor."""

import concurrent.futures
import json
import time
import unittest

from served import DIST, Served, ServedCase, wait_until

FORMS = """
import asyncio, decimal, sys
from http import HTTPStatus

class Odd(Exception):
    def __str__(self):
        raise RuntimeError

def forms(context, event):
    R = context.Response
    return {
        "none": lambda: None,
        "text": lambda: "é",
        "bytes": lambda: b"\\x00\\xff",
        "bytearray": lambda: bytearray(b"ab"),
        "view": lambda: memoryview(b"abcdef")[::2],
        "dict": lambda: {"a": [1, 2.5, 1e300, None, True, "é\\n\\"\\U0001f600"], "b": {}},
        "list": lambda: [],
        "number": lambda: 5,
        "true": lambda: True,
        "pair": lambda: (201, "made"),
        "pair status": lambda: (HTTPStatus.ACCEPTED, b"raw"),
        "pair json": lambda: (202, [1]),
        "pair none": lambda: (204, None),
        "response": lambda: R({"X-A": ["1", "2"], "X-B": 3}, {"k": 1}, status_code=418),
        "typed": lambda: R(body="<p>", content_type="text/html"),
        "typed by header": lambda: R(body="x", headers={"content-type": "a/b"}),
        "own json": lambda: R(body={"a": 1}, content_type="application/problem+json"),
        "list body": lambda: R(body=[1]),
        "retry": lambda: context.retry(after=1.5),
        "reject": lambda: context.reject("never"),
        # Wrong ones.
        "status": lambda: (99, "x"),
        "status text": lambda: ("ok", "x"),
        "set in json": lambda: {"a": {1}},
        "coroutine": lambda: asyncio.sleep(0),
        "function": lambda: print,
        "surrogate": lambda: "\\ud800",
        "line break": lambda: R(headers={"X-A": "a\\r\\nX-B: c"}),
        "header name": lambda: R(headers={"X A": "1"}),
        "huge head": lambda: R(headers={"X-A": "a" * 20000}),
        "cycle": lambda: cycle,
    }

cycle = []
cycle.append(cycle)

def raises(context, event):
    def deep(n):
        return deep(n + 1)
    def chained():
        try:
            {}["k"]
        except KeyError as error:
            raise ValueError("some error") from error
    return {
        "chained": chained,
        "exit": lambda: sys.exit(3),
        "recursion": lambda: deep(0),
        "odd": lambda: (_ for _ in ()).throw(Odd()),
        "retry": lambda: (_ for _ in ()).throw(context.retry(after=0)),
        "group": lambda: (_ for _ in ()).throw(ExceptionGroup("many", [ValueError("a")])),
        "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
        "empty": lambda: (_ for _ in ()).throw(ValueError()),
    }

def handler(context, event):
    kind = event.path.strip("/").replace("+", " ")
    table = raises if "raise" in event.fields else forms
    return table(context, event)[kind]()
"""


class ReturnForms(ServedCase):
    code = FORMS

    def form(self, name):
        reply = self.ask("/" + name.replace(" ", "+"))
        return reply.status, reply.headers["Content-Type"], reply.body

    def test_each_form(self):
        text, js = "text/plain", "application/json"
        plain = [1, 2.5, 1e300, None, True, 'é\n"\U0001f600']
        for name, expected in {
            "none": (200, text, b""),
            "text": (200, text, "é".encode()),
            "bytes": (200, text, b"\x00\xff"),
            "bytearray": (200, text, b"ab"),
            "view": (200, text, b"ace"),
            "dict": (200, js, json.dumps({"a": plain, "b": {}}).encode()),
            "list": (200, js, b"[]"),
            "number": (200, text, b"5"),
            "true": (200, text, b"True"),
            "pair": (201, text, b"made"),
            "pair status": (202, text, b"raw"),
            "pair json": (202, js, b"[1]"),
            "response": (418, js, b'{"k": 1}'),
            "typed": (200, "text/html", b"<p>"),
            "typed by header": (200, "a/b", b"x"),
            "own json": (200, "application/problem+json", b'{"a": 1}'),
            "list body": (200, js, b"[1]"),
            "reject": (422, text, b"never"),
        }.items():
            with self.subTest(name):
                self.assertEqual(self.form(name), expected)

    def test_no_content(self):
        self.assertEqual(self.ask("/pair+none").status, 204)

    def test_repeated_headers(self):
        reply = self.ask("/response")
        self.assertEqual(reply.headers.get_all("X-A"), ["1", "2"])
        self.assertEqual(reply.headers["X-B"], "3")

    def test_retry_says_when(self):
        reply = self.ask("/retry")
        self.assertEqual((reply.status, reply.headers["Retry-After"]), (503, "2"))

    def test_what_cannot_be_sent_is_told(self):
        for name, said in {
            "status": "ValueError: the status code must be a whole number from 200 to 599, not 99",
            "status text": "ValueError: the status code must be",
            "set in json": "TypeError: Object of type set is not JSON serializable",
            "coroutine": "TypeError: the handler returned a coroutine: declare it with",
            "function": "TypeError: the handler returned a builtin_function_or_method: call it",
            "surrogate": "UnicodeEncodeError: ",
            "line break": "ValueError: the value of header X-A has a line break",
            "header name": "ValueError: 'X A' is not a header name",
            "huge head": "ValueError: the reply's headers are larger than",
            "cycle": "ValueError: Circular reference",
        }.items():
            with self.subTest(name):
                status, content_type, body = self.form(name)
                self.assertEqual((status, content_type), (500, "text/plain"))
                self.assertTrue(body.decode().startswith(said), body)
                told = "what the handler returned cannot be sent: " + said
                wait_until(lambda told=told: self.served.records(told), told)

    def test_exceptions(self):
        for name, said in {
            "chained": "ValueError: some error",
            "exit": "SystemExit: 3",
            "recursion": "RecursionError: maximum recursion depth exceeded",
            "odd": "Odd: <exception str() failed>",
            "group": "ExceptionGroup: many (1 sub-exception)",
            "interrupt": "KeyboardInterrupt",
            "empty": "ValueError",
        }.items():
            with self.subTest(name):
                reply = self.ask(f"/{name}?raise")
                self.assertEqual((reply.status, reply.text), (500, said))
        self.assertEqual(self.ask("/retry?raise").status, 503)

    def test_the_traceback_is_the_users_own(self):
        self.ask("/chained?raise")
        record = wait_until(lambda: self.served.records("direct cause"), "a traceback")[-1]
        self.assertEqual(record["level"], "error")
        self.assertTrue(record["event_id"])
        lines = record["message"].splitlines()
        self.assertEqual(lines[0], "Traceback (most recent call last):")
        self.assertEqual(lines[-1], "ValueError: some error")
        self.assertIn('            {}["k"]'.strip(), [line.strip() for line in lines])
        self.assertNotIn("nuclio_sdk", record["message"])


FIELDS = """
import datetime, time

def handler(context, event):
    now = time.time()
    return {
        "content_type": event.content_type, "trigger": event.trigger.kind,
        "fields": event.fields, "headers": event.headers, "id": event.id,
        "method": event.method, "path": event.path, "size": event.size, "url": event.url,
        "cookies": event.headers.get_all("cookie"), "none": event.get_header("x-none"),
        "get": event.get_header("hOsT"), "attempt": event.attempt,
        "age": now - event.time.timestamp(), "naive": event.timestamp.tzinfo is None,
        "same": event.timestamp == event.time.replace(tzinfo=None),
        "body": repr(event.body), "again": event.body is event.body,
        "worker": context.worker_id, "name": context.function_name,
        "deadline": event.deadline and event.deadline - time.monotonic(),
    }
"""


class EventFields(ServedCase):
    code = FIELDS

    def test_what_the_request_said(self):
        said = self.ask(
            "/a%20b/c?x=1&y=%C3%A4+b&x=2&flag",
            body=b"hello",
            headers={"Content-Type": "text/x", "x-lower-NAME": "1", "cookie": "a"},
            method="PATCH",
        ).json
        self.assertEqual(said["content_type"], "text/x")
        self.assertEqual(said["trigger"], "http")
        self.assertEqual(said["fields"], {"x": "2", "y": "ä b", "flag": ""})
        self.assertEqual((said["method"], said["path"]), ("PATCH", "/a b/c"))
        self.assertEqual(said["url"], "/a%20b/c?x=1&y=%C3%A4+b&x=2&flag")
        self.assertEqual((said["size"], said["body"]), (5, "b'hello'"))
        self.assertEqual(said["headers"]["X-Lower-Name"], "1")
        self.assertEqual((said["cookies"], said["none"]), (["a"], None))
        self.assertEqual(said["get"], said["headers"]["Host"])
        self.assertEqual((said["attempt"], said["worker"]), (1, 0))
        self.assertEqual(said["name"], "function")
        self.assertRegex(said["id"], r"^[0-9a-f-]{36}$")
        self.assertTrue(said["naive"] and said["same"] and said["again"])
        self.assertTrue(-1 < said["age"] < 30)
        self.assertIsNone(said["deadline"])

    def test_json_only_by_exact_type_and_valid(self):
        for content_type, body, seen in [
            ("application/json", b'{"a": [1]}', "{'a': [1]}"),
            ("application/json", b"{broken", "b'{broken'"),
            ("application/json", b"\xff", "b'\\xff'"),
            ("application/json", b"", "b''"),
            ("application/json; charset=utf-8", b"[1]", "b'[1]'"),
            ("text/plain", b"[1]", "b'[1]'"),
        ]:
            with self.subTest(content_type=content_type, body=body):
                reply = self.ask("/", body, {"Content-Type": content_type})
                self.assertEqual(reply.json["body"], seen)


KEPT = """
import hashlib, threading
kept, views = {}, {}

def handler(context, event):
    word, _, name = event.path.strip("/").partition("/")
    if word == "keep":
        kept[name] = event
    elif word == "keep-read":
        event.body; event.headers
        kept[name] = event
    elif word == "view":
        views[name] = event.body_view
    elif word == "slice":
        views[name] = memoryview(event.body_view)[10:]
    elif word == "array":
        import array
        views[name] = memoryview(event.body_view).cast("H")
    elif word == "drop":
        views.pop(name, None); kept.pop(name, None)
    elif word == "drop-thread":
        thread = threading.Thread(target=views.pop, args=(name,))
        thread.start(); thread.join()
    elif word == "digest":
        return hashlib.sha256(views[name]).hexdigest()
    elif word == "event":
        e = kept[name]
        return [e.path, e.fields, e.headers["x-tag"], e.id, e.method, e.trigger.kind,
                hashlib.sha256(e.body).hexdigest(), hashlib.sha256(e.body_view).hexdigest(),
                e.size, e.timestamp.isoformat()]
    elif word == "echo":
        return event.body
    elif word == "echo-view":
        return event.body_view
    elif word == "echo-part":
        return event.body_view[100:200]
    elif word == "readonly":
        try:
            event.body_view[0] = 1
        except TypeError as error:
            return str(error)
    elif word == "object":
        views["object"] = event.body_view.obj
    elif word == "object-late":
        try:
            memoryview(views.pop("object"))
        except BufferError as error:
            return str(error)
    elif word == "counters":
        import _nuclio
        return _nuclio.counters()
    return event.id
"""


def body_of(number, size):
    return bytes((number + i * 7) % 251 for i in range(251)) * (size // 251 + 1)


def sha256(data):
    import hashlib

    return hashlib.sha256(data).hexdigest()


class Lifetimes(ServedCase):
    code = KEPT

    def noise(self):
        """Other events that would overwrite a slot that was given back too early."""
        for number in range(20):
            for size in (600, 3000, 20_000, 70_000):
                self.ask("/echo", body_of(number + 100, size))

    def test_a_kept_event_stays_right(self):
        for word in ("keep", "keep-read"):
            for size in (0, 1, 700, 20_000, 300_000, 3_000_000):
                with self.subTest(word=word, size=size):
                    body = body_of(1, size)[:size]
                    tag = f"{word}{size}"
                    event_id = self.ask(f"/{word}/{tag}?q=1", body, {"X-Tag": tag}).text
                    self.noise()
                    said = self.ask(f"/event/{tag}").json
                    self.assertEqual(said[:2], [f"/{word}/{tag}", {"q": "1"}])
                    self.assertEqual(said[2:6], [tag, event_id, "POST", "http"])
                    self.assertEqual(said[6:9], [sha256(body), sha256(body), size])
                    self.ask(f"/drop/{tag}")
        self.assertEqual(self.served.slots_used(), 0)

    def test_a_kept_view_holds_its_slot_until_it_goes(self):
        for word, cut in (("view", 0), ("slice", 10), ("array", 0)):
            for size in (600, 20_000, 2_000_000):
                with self.subTest(word=word, size=size):
                    body = body_of(3, size)[:size]
                    self.ask(f"/{word}/v", body)
                    self.assertGreater(self.served.slots_used(), 0)
                    self.noise()
                    self.assertEqual(self.ask("/digest/v").text, sha256(body[cut:]))
                    self.ask("/drop/v")
                    wait_until(lambda: self.served.slots_used() == 0, "the slot comes back")

    def test_a_view_may_go_on_another_thread(self):
        self.ask("/view/t", b"x" * 1000)
        self.assertGreater(self.served.slots_used(), 0)
        self.ask("/drop-thread/t")
        wait_until(lambda: self.served.slots_used() == 0, "the slot comes back")

    def test_a_view_is_read_only_and_not_made_too_late(self):
        self.assertIn("read-only", self.ask("/readonly", b"x").text)
        self.ask("/object", b"x" * 1000)
        self.assertIn("the event is over", self.ask("/object-late", b"y").text)
        self.assertEqual(self.served.slots_used(), 0)

    def test_echo_of_each_size_costs_no_copy_up(self):
        for size in (1, 511, 513, 16_384, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 4 << 20):
            body = body_of(5, size)[:size]
            for word in ("echo", "echo-view"):
                with self.subTest(word=word, size=size):
                    self.assertEqual(self.ask(f"/{word}", body).body, body)
        self.assertEqual(self.ask("/echo-part", body_of(6, 500)).body, body_of(6, 500)[100:200])
        self.assertEqual(self.served.slots_used(), 0)

    def test_copies_are_counted(self):
        before = self.ask("/counters").json
        self.ask("/echo-view", b"x" * 65_536)
        after_view = self.ask("/counters").json
        self.assertEqual(after_view["body_copies"], before["body_copies"])
        self.assertEqual(after_view["body_views"], before["body_views"] + 1)
        self.ask("/echo", b"x" * 65_536)
        after_copy = self.ask("/counters").json
        self.assertEqual(after_copy["body_copies"], before["body_copies"] + 1)
        self.assertEqual(after_copy["body_gathers"], 0)


LOGS = """
import asyncio, logging, sys

def handler(context, event):
    print("two\\nlines")
    sys.stdout.buffer.write(b"raw \\xff bytes\\n")
    print("begun", end=" "); print("and", end=" ")
    print("to stderr", file=sys.stderr)
    logging.getLogger("lib").warning("from logging %s", 1)
    context.logger.debug("not at this level")
    context.logger.warn_with("fields", a=1, b={"c": [None]})
    sys.stdout.flush()
    assert not sys.stdout.isatty() and sys.stdout.fileno() == 1
    print("ended")
    print("no line end", end="")
    return event.id
"""


class Output(ServedCase):
    code = LOGS

    def test_records_belong_to_their_event(self):
        event_id = self.ask("/").text
        wait_until(lambda: self.served.records("no line end"), "the last record")
        own = [r for r in self.served.records() if r.get("event_id") == event_id]
        self.assertEqual(
            [(record["level"], record["message"]) for record in own],
            [
                ("info", "two"),
                ("info", "lines"),
                ("info", "raw \\xff bytes"),
                ("info", "to stderr"),
                ("info", "from logging 1"),
                ("warn", "fields"),
                ("info", "begun and ended"),
                ("info", "no line end"),
            ],
        )
        fields = next(record for record in own if record["message"] == "fields")
        self.assertEqual((fields["a"], fields["b"]), (1, {"c": [None]}))


ASYNC = """
import asyncio, contextvars, sys, time
mine = contextvars.ContextVar("mine", default=None)
ticks = []

async def init_context(context):
    async def tick():
        while True:
            await asyncio.sleep(0.01)
            ticks.append(1)
    context.user_data.ticker = asyncio.create_task(tick())
    async def end():
        await asyncio.sleep(0)
        print("terminated in the loop", asyncio.get_running_loop() is not None)
    context.platform.set_termination_callback(end)

async def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    if word == "sleep":
        mine.set(event.id)
        await asyncio.sleep(float(argument))
        print("woke", argument)
        assert mine.get() == event.id
        return event.id
    if word == "child":
        async def child():
            await asyncio.sleep(0.01)
            print("from a child task")
        await asyncio.gather(child(), child())
        return event.id
    if word == "raise":
        await asyncio.sleep(0)
        raise KeyError("k")
    if word == "exit":
        sys.exit(1)
    if word == "hang":
        await asyncio.sleep(60)
    if word == "timeout":
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)
    if word == "ticks":
        return len(ticks)
    if word == "echo":
        await asyncio.sleep(0.001)
        return event.body_view
    if word == "big":
        await asyncio.sleep(0)
        return b"y" * int(argument)
    if word == "late":
        await asyncio.sleep(0)
        # The next event comes down and rings; the loop sees it, but this task goes on before.
        time.sleep(0.3)
        await asyncio.sleep(0)
        return b"y" * int(argument)
    if word == "thread":
        return await asyncio.to_thread(lambda: str(time.sleep(0.05)))
    return event.path
"""


class AsyncHandlers(ServedCase):
    code = ASYNC

    def test_many_are_in_flight(self):
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            begun = time.monotonic()
            ids = list(pool.map(lambda _: self.ask("/sleep/0.5").text, range(40)))
            took = time.monotonic() - begun
        self.assertEqual(len(set(ids)), 40)
        # One after the other it would be 20 s.
        self.assertLess(took, 10)
        records = wait_until(
            lambda: len(found := self.served.records("woke 0.5")) >= 40 and found, "40 records"
        )
        self.assertEqual({record["event_id"] for record in records}, set(ids))

    def test_records_of_child_tasks(self):
        event_id = self.ask("/child").text
        own = wait_until(lambda: self.served.records("from a child task"), "records")
        self.assertEqual([record["event_id"] for record in own], [event_id] * 2)

    def test_failures_are_of_one_event(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            slow = pool.submit(self.ask, "/sleep/0.3")
            self.assertEqual(self.ask("/raise").text, "KeyError: 'k'")
            self.assertEqual(self.ask("/exit").text, "SystemExit: 1")
            self.assertEqual(self.ask("/timeout").text, "TimeoutError")
            self.assertEqual(slow.result().status, 200)

    def test_background_tasks_go_on_between_events(self):
        first = int(self.ask("/ticks").text)
        wait_until(lambda: int(self.ask("/ticks").text) > first + 2, "ticks")

    def test_bodies_of_many_sizes_at_once(self):
        def echo(number):
            body = body_of(number, (number * 7919) % 200_000)
            return self.ask("/echo", body).body == body

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            self.assertTrue(all(pool.map(echo, range(200))))
        wait_until(lambda: self.served.slots_used() == 0, "all slots come back")

    def test_large_replies_beside_small_ones(self):
        """A reply that waits for room uses up rings of the bell: the loop must look again."""
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            large = [pool.submit(self.ask, "/big/20000000") for _ in range(6)]
            small = [pool.submit(self.ask, f"/x{number}") for number in range(300)]
            self.assertTrue(all(len(f.result().body) == 20_000_000 for f in large))
            for number, future in enumerate(small):
                self.assertEqual(future.result().text, f"/x{number}")

    def test_a_ring_that_a_large_reply_has_used_up(self):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            late = pool.submit(self.ask, "/late/20000000")
            wait_until(self.served.in_flight, "the first is under way")
            self.assertEqual(self.ask("/x").text, "/x")
            self.assertEqual(len(late.result().body), 20_000_000)

    def test_threads_beside_the_loop(self):
        self.assertEqual(self.ask("/thread").text, "None")


SPEC = """
apiVersion: nuclio.io/v1
kind: Function
metadata:
  name: function
spec:
  eventTimeout: 300ms
"""


class Deadlines(ServedCase):
    code = ASYNC

    @classmethod
    def setUpClass(cls):
        import tempfile

        spec = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        spec.write(SPEC)
        spec.flush()
        cls.addClassCleanup(spec.close)
        cls.flags = ("-f", spec.name)
        super().setUpClass()

    def test_a_cancelled_task_is_answered_408_and_the_others_live(self):
        pid = self.served.ask("/api/workers", address=self.served.admin).json[0]["pid"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            hung = [pool.submit(self.ask, "/hang") for _ in range(5)]
            self.assertEqual(self.ask("/x").text, "/x")
            self.assertEqual([future.result().status for future in hung], [408] * 5)
        self.assertEqual(self.ask("/x").text, "/x")
        workers = self.served.ask("/api/workers", address=self.served.admin).json
        self.assertEqual([worker["pid"] for worker in workers], [pid])
        wait_until(lambda: self.served.records("CancelledError"), "where it was cancelled")


@unittest.skipUnless(DIST, "NUCLIO_TEST_DIST names no folder with the programs")
class Endings(unittest.TestCase):
    def test_termination_callback_and_last_words(self):
        with Served(ASYNC) as served:
            self.assertEqual(served.ask("/x").status, 200)
        self.assertIn("terminated in the loop True", served.errors)
        self.assertNotIn("Traceback", served.errors)

    def test_drain_callbacks_run_before_the_end(self):
        for begin, waits in (
            ("def", "pass"),
            ("async def", "import asyncio; await asyncio.sleep(0)"),
        ):
            code = f"""
def init_context(context):
    {begin} drain():
        {waits}
        print("drained")
    context.platform.set_drain_callback(drain)
    context.platform.set_termination_callback(lambda: print("terminated"))

{begin} handler(context, event):
    return "ok"
"""
            with self.subTest(begin), Served(code) as served:
                self.assertEqual(served.ask("/").status, 200)
            words = [line for line in ("drained", "terminated") if line in served.errors]
            self.assertEqual(words, ["drained", "terminated"], served.errors)
            self.assertLess(served.errors.index("drained"), served.errors.index("terminated"))

    def test_a_drain_callback_that_fails_is_told_and_no_more(self):
        code = """
def init_context(context):
    context.platform.set_drain_callback(lambda: 1 / 0)

def handler(context, event):
    return "ok"
"""
        with Served(code) as served:
            self.assertEqual(served.ask("/").status, 200)
        self.assertIn("ZeroDivisionError", served.errors)


CALLER = """
import nuclio_sdk

def handler(context, event):
    name = event.path.strip("/")
    out = nuclio_sdk.Event(body={"n": 1}, method="POST", path="/echo?x=1", headers={"X-A": "b"})
    try:
        answer = context.platform.call_function(name, out, timeout=10)
    except LookupError as error:
        return 404, str(error)
    return {"status": answer.status_code, "body": answer.body, "type": answer.content_type}
"""
CALLED = """
def handler(context, event):
    return 201, {"got": event.body, "x": event.fields["x"], "a": event.headers["X-A"]}
"""
RAISES = """
from nuclio_sdk import ExceptionWithResponse

def handler(context, event):
    raise ExceptionWithResponse(404, {"no": "such order"}, "application/json")
"""


@unittest.skipUnless(DIST, "NUCLIO_TEST_DIST names no folder with the programs")
class OtherFunctions(unittest.TestCase):
    def test_a_function_is_called_by_its_name(self):
        with Served(CALLED, name="called") as called:
            env = {"NUCLIO_STATE_DIR": str(called.folder / "state")}
            with Served(CALLER, name="caller", env=env) as caller:
                said = caller.ask("/called").json
                wanted = {"got": {"n": 1}, "x": "1", "a": "b"}
                self.assertEqual(said, {"status": 201, "body": wanted, "type": "application/json"})
                missing = caller.ask("/nobody")
                self.assertEqual(missing.status, 404)
                self.assertIn("no function called nobody runs in namespace", missing.text)
                self.assertIn("called, caller", missing.text)

    def test_an_exception_that_brings_its_answer(self):
        with Served(RAISES) as served:
            reply = served.ask("/")
            self.assertEqual((reply.status, reply.json), (404, {"no": "such order"}))
            self.assertEqual(reply.headers["Content-Type"], "application/json")
        self.assertNotIn("Traceback", served.errors)


if __name__ == "__main__":
    unittest.main()
