"""The test kit beside the real processor: what it says of a handler is what clients get."""

import itertools
import logging
import os
import re
import unittest
from concurrent.futures import ThreadPoolExecutor

import test_worker
from served import DIST, file_with, wait_until

from nuclio_sdk import CloudEvent, testing
from nuclio_sdk.testing import Function, make_event

NUMBERS = itertools.count()
# Headers that are the processor's own, and those that a client adds.
FRAME = {"server", "date", "content-length", "connection", "transfer-encoding"}
CLIENTS = {"Host", "Accept-Encoding", "Content-Length"}

# What handlers log is compared, not shown.
logging.getLogger("nuclio").addHandler(logging.NullHandler())

STREAMS = """
async def later(*items):
    for item in items:
        if item is None:
            raise ValueError("no more")
        yield item

def pieces(*items):
    for item in items:
        if item is None:
            raise ValueError("no more")
        yield item

def forms(context, event):
    R = context.Response
    return {
        "two": lambda: pieces("a", b"b", bytearray(b"c")),
        "iterator": lambda: iter(["a", memoryview(b"b")]),
        "nothing": lambda: pieces(),
        "empty piece": lambda: pieces("", "a"),
        "events": lambda: R(body=pieces({"n": 1}, "x"), content_type="text/event-stream"),
        "own cache": lambda: R({"cache-control": "max-age=5"}, pieces("a"), "text/event-stream"),
        "made": lambda: (201, pieces("a")),
        "no content": lambda: (204, pieces("a")),
        "wrong first": lambda: pieces(5),
        "wrong later": lambda: pieces("a", 5),
        "dict": lambda: pieces({"n": 1}),
        "raises first": lambda: pieces(None),
        "raises later": lambda: pieces("a", None),
        "async": lambda: later("a", "b"),
        "async raises first": lambda: later(None),
        "async raises later": lambda: later("a", None),
    }

def answer(context, event):
    return forms(context, event)[event.path.strip("/")]()
"""

FIELDS = """
def handler(context, event):
    names = ("body", "content_type", "fields", "headers", "method", "path", "size", "url", "topic",
             "shard_id", "num_shards", "type", "type_version", "version", "last_in_batch", "offset",
             "key", "partition", "attempt", "deadline")
    seen = {name: repr(getattr(event, name)) for name in names if name != "headers"}
    seen["headers"] = {str(k): str(event.headers.get_all(k)) for k in event.headers}
    seen["trigger"] = [str(event.trigger.kind), str(event.trigger.name)]
    seen["context"] = [context.trigger.kind, context.trigger_name, context.deadline]
    seen["clouds"] = repr(event.cloudevents)
    seen["view"] = bytes(event.body_view).decode("latin-1")
    seen["kinds"] = [type(event.id).__name__, len(event.id), str(event.time.tzinfo)]
    seen["time"] = event.time.replace(tzinfo=None) == event.timestamp
    return seen
"""

BATCH = """# @nuclio.configure
#
# function.yaml:
#   spec:
#     triggers:
#       web:
#         kind: http
#         batch: {mode: enable, batchSize: 3, timeout: 20s}
import asyncio

def work(context, events):
    form = events[0].path.strip("/")
    bodies = [event.body.decode() for event in events]
    R = context.Response
    if form == "raises":
        raise ValueError("all")
    return {
        "each": lambda: [(200 + int(body), body) for body in bodies],
        "by id": lambda: [R(body=e.body, event_id=e.id) for e in reversed(events)],
        "short": lambda: bodies[:2],
        "no list": lambda: {"a": 1},
        "one fails": lambda: ["a", KeyError("b"), "c"],
        "one wrong": lambda: ["a", {1: {2}}, "c"],
        "a stream": lambda: ["a", iter("b"), "c"],
        "strangers": lambda: [R(body="x", event_id="nobody"), *[
            R(body=e.body, event_id=e.id) for e in events]],
        "retry": lambda: ["a", context.retry(after=2), context.reject("c")],
        "last": lambda: [repr(event.last_in_batch) for event in events],
    }[form]()
"""


def lines_of(reply):
    """Header lines that are not the processor's own, in any order."""
    return sorted(
        (name.lower(), value)
        for name in reply.headers
        for value in reply.headers.get_all(name)
        if name.lower() not in FRAME
    )


def alike(record):
    """The text without the depth of the stack, which is another in each process."""
    return re.sub(r"repeated \d+ more", "repeated", record.message)


@unittest.skipUnless(DIST, "NUCLIO_TEST_DIST names no folder with the programs")
class LikeTheProcessor(unittest.TestCase):
    """Both ways: in this process, and served."""

    def setUp(self):
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{DIST}/bin:{before}"
        self.addCleanup(os.environ.update, PATH=before)

    def both(self, code):
        # Of two modules with one name the second gets another here.
        path = file_with(self, code, f"function_{next(NUMBERS)}.py")
        function = Function(path)
        self.addCleanup(function.close)
        return function, self.enterContext(testing.serve(path))

    def assert_same(self, ours, real):
        self.assertEqual(ours.status, real.status)
        # A text that names where an object lies is another in each process.
        if b" at 0x" not in real.body:
            self.assertEqual(ours.body, real.body)
        self.assertEqual(lines_of(ours), lines_of(real))
        self.assertEqual(ours.broken, real.broken)

    def test_each_form_and_exception(self):
        code = test_worker.FORMS
        function, served = self.both(code)
        names = re.findall(r'^        "([^"]+)": lambda|^        "(\w+)": \w+,$', code, re.M)
        # Ctrl-C ends a test, whoever runs at the moment.
        names = [one or other for one, other in names if one != "interrupt"]
        self.assertGreater(len(names), 30)
        for name in names:
            for query in ("", "?raise=1"):
                with self.subTest(name, query=query):
                    path = "/" + name.replace(" ", "+") + query
                    ours, real = function.call(path=path), served.call(path=path)
                    self.assert_same(ours, real)
                    if ours.failed:
                        told = alike(ours.logs[0])
                        wait_until(lambda told=told: told in map(alike, served.logs), told)

    def test_each_reply_in_pieces(self):
        for handler in ("handler = answer", "async def handler(c, e):\n    return answer(c, e)"):
            function, served = self.both(f"{STREAMS}\n{handler}\n")
            names = re.findall(r'^        "([^"]+)": lambda', STREAMS, re.M)
            self.assertEqual(len(names), 16)
            for name in names:
                for method in ("GET", "HEAD"):
                    with self.subTest(name, method=method, handler=handler):
                        ours = function.call(path=f"/{name}", method=method)
                        real = served.call(path=f"/{name}", method=method)
                        self.assert_same(ours, real)

    def requests(self):
        js = "application/json"
        yield {}
        yield dict(body="é", headers={"x-token": ["1", "2"], "X-ODD-case": "é"})
        yield dict(body=b'{"a": [1]}', content_type=js)
        yield dict(body=b"{", content_type=js)
        yield dict(body={"k": 1}, path="/a b/%C3%A9%zz?q=1&q=2&x=%2B+y&=&z", fields={"f": "é&"})
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PURGE", "get"):
            yield dict(method=method, body=b"")
        clouds = [
            CloudEvent("t", "/s", {"n": 1}, id="1", subject="u", extensions={"own": "x"}),
            CloudEvent("t", "/s", b"raw", id="2", specversion="0.1", typeversion="3"),
        ]
        for cloud in clouds:
            yield dict(body=cloud)
            yield dict(body=cloud.binary())
        yield dict(body=clouds[:1])
        yield dict(body=b"{", content_type="application/cloudevents+json")

    def test_each_field_of_an_event(self):
        for words in ("true", "false"):
            os.environ["NUCLIO_PYTHON_DECODE_EVENT_STRINGS"] = words
            self.addCleanup(os.environ.pop, "NUCLIO_PYTHON_DECODE_EVENT_STRINGS", None)
            function, served = self.both(FIELDS)
            for request in self.requests():
                if request.get("method") == "HEAD":
                    continue
                with self.subTest(request=request, words=words):
                    real, ours = served.call(**request).json(), function.call(**request).json()
                    for name in CLIENTS:
                        for one in (name, f"b'{name}'"):
                            real["headers"].pop(one, None)
                    # The one that was served has a deadline, too.
                    real["deadline"], real["context"][2] = "None", None
                    self.assertEqual(ours, real)

    def test_each_answer_to_a_batch(self):
        names = re.findall(r'^        "([^"]+)": lambda', BATCH, re.M) + ["raises"]
        self.assertEqual(len(names), 11)
        sync = BATCH + "\nhandler = work\n"
        later = BATCH + "\nasync def handler(c, e):\n    return work(c, e)\n"
        with ThreadPoolExecutor(3) as pool:
            for code in (sync, later):
                function, served = self.both(code)
                for name in names:
                    with self.subTest(name, code=code[-60:]):
                        bodies = [b"0", b"1", b"2"]
                        events = [make_event(body, path=f"/{name}") for body in bodies]
                        ours = function.call_batch(events)

                        def ask(body, name=name, served=served):
                            return served.call(body, path=f"/{name}")

                        real = list(pool.map(ask, bodies))
                        # They come in any order: what belongs to which is looked at below.
                        told = [
                            sorted((r.status, r.body, lines_of(r)) for r in both)
                            for both in (ours, real)
                        ]
                        self.assertEqual(*told)

    def test_a_deadline_that_passes(self):
        code = (
            "import asyncio\nasync def handler(context, event):\n"
            "    await asyncio.sleep(float(event.body or 0))\n"
            "    for piece in ('a', 'b'):\n        yield piece\n        await asyncio.sleep(9)\n"
        )
        path = file_with(self, code)
        limits = "# @nuclio.configure\n#\n# function.yaml:\n#   spec:\n#     eventTimeout: 300ms\n"
        path.write_text(limits + code)
        served = self.enterContext(testing.serve(path))
        with Function(path) as function:
            for body in (b"9", b""):
                ours, real = function.call(body, timeout=0.3), served.call(body)
                self.assert_same(ours, real)
                self.assertIsNone(ours.outcome)
                self.assertFalse(ours.failed)
        self.assertEqual((ours.broken, ours.pieces), (True, [b"a"]))
        self.assertEqual(function.logs[0].level, "warn")


if __name__ == "__main__":
    unittest.main()
