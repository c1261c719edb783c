"""The test kit: handlers called in this process."""

import asyncio
import contextvars
import logging
import sys
import threading
import unittest

from served import file_with

import nuclio_sdk
from nuclio_sdk import CloudEvent, Response
from nuclio_sdk.testing import Function, Record, acall, call, make_event

# What handlers log is looked at, not shown.
logging.getLogger("nuclio").addHandler(logging.NullHandler())


class Events(unittest.TestCase):
    def test_what_is_made(self):
        event = make_event("é", headers={"x-token": "t"}, fields={"q": 1}, timeout=5)
        self.assertEqual((event.body, bytes(event.body_view)), ("é".encode(), "é".encode()))
        self.assertEqual((event.method, event.size, event.path), ("POST", 2, "/"))
        self.assertEqual((event.url, event.fields), ("/?q=1", {"q": "1"}))
        self.assertEqual(dict(event.headers), {"X-Token": "t"})
        self.assertGreater(event.deadline, 0)
        self.assertNotEqual(event.id, make_event().id)
        self.assertEqual(event.get_header("X-TOKEN"), "t")
        made = make_event(topic="orders", offset=5, key=b"k", trigger=nuclio_sdk.TriggerInfo("a"))
        self.assertEqual((made.topic, made.offset, made.key), ("orders", 5, b"k"))
        self.assertEqual(made.trigger.kind, "a")
        with self.assertRaisesRegex(TypeError, "no field 'bodi'"):
            make_event(bodi=1)
        with self.assertRaisesRegex(TypeError, "give path to make_event"):
            call(lambda context, event: "", event, path="/x")

    def test_cloud_events_both_ways(self):
        def handler(context, event):
            told = event.cloudevent
            return CloudEvent("answer", told.source, told.data, id=told.id)

        sent = CloudEvent("ask", "/me", {"n": 1}, id="7")
        for body in (sent, sent.binary()):
            got = call(handler, body).cloudevent
            told = (got.type, got.source, got.data, got.id)
            self.assertEqual(told, ("answer", "/me", {"n": 1}, "7"))
        batch = call(lambda context, event: Response.cloudevent(event.cloudevents), [sent, sent])
        self.assertEqual(batch.cloudevents, [sent, sent])
        self.assertIsNone(batch.cloudevent)


class Calling(unittest.TestCase):
    def test_a_function(self):
        def handler(context, event):
            return {"got": event.body, "type": event.content_type, "q": event.fields["q"]}

        reply = call(handler, {"a": 1}, path="/p?q=x")
        self.assertEqual((reply.status, reply.content_type), (200, "application/json"))
        self.assertEqual(reply.json(), {"got": {"a": 1}, "type": "application/json", "q": "x"})
        self.assertEqual((reply.outcome, reply.exception, reply.failed), ("ok", None, False))
        self.assertIn("<Reply 200 application/json b'{", repr(reply))

    def test_a_body_that_is_read_in_pieces(self):
        def handler(context, event):
            return list(event.body_stream) + list(event.body_stream)

        async def async_handler(context, event):
            return b"".join([piece async for piece in event.body_stream])

        self.assertEqual(call(lambda c, e: b"-".join(handler(c, e)), b"abc").body, b"abc-abc")
        self.assertEqual(call(async_handler, b"abc").body, b"abc")
        self.assertEqual(call(async_handler).body, b"")

    def test_what_a_handler_raises(self):
        def handler(context, event):
            context.logger.warn_with("soon", n=1)
            raise ValueError("no price")

        with self.assertLogs("nuclio", "WARNING") as logged:
            reply = call(handler)
        self.assertEqual((reply.status, reply.text), (500, "ValueError: no price"))
        self.assertIsInstance(reply.exception, ValueError)
        self.assertEqual(reply.logs[0], Record("warn", "soon", {"n": 1}))
        self.assertEqual((reply.outcome, reply.failed), ("error", True))
        # The traceback begins with the handler: what called it is not its author's.
        trace = reply.logs[1].message.splitlines()
        self.assertIn("in handler", trace[1])
        self.assertEqual([record.levelno for record in logged.records], [30, 40])
        self.assertEqual(logged.records[0].getMessage(), "soon n=1")
        with self.assertLogs("nuclio"), self.assertRaisesRegex(ValueError, "no price"):
            Function(handler, raise_errors=True).call()

    def test_what_cannot_be_sent_reaches_the_test_too(self):
        function = Function(lambda context, event: {"a": {1}}, raise_errors=True)
        with self.assertLogs("nuclio"), self.assertRaisesRegex(TypeError, "not JSON serializable"):
            function.call()

    def test_answers_that_are_raised(self):
        def handler(context, event):
            if event.path == "/retry":
                raise context.retry(after=2)
            if event.path == "/reject":
                raise context.reject("no such order")
            raise nuclio_sdk.ExceptionWithResponse(404, {"no": "order"})

        function = Function(handler, raise_errors=True)
        reply = function.call(path="/retry")
        self.assertEqual((reply.outcome, reply.headers["retry-after"]), ("retry", "2"))
        reply = function.call(path="/reject")
        self.assertEqual((reply.status, reply.outcome), (422, "reject"))
        reply = function.call()
        self.assertEqual((reply.status, reply.json(), reply.logs), (404, {"no": "order"}, []))
        self.assertFalse(reply.failed)

    def test_what_ends_a_test_is_no_answer(self):
        class Outcome(BaseException):
            """As test runners raise them."""

        def handler(context, event):
            raise Outcome

        async def later(context, event):
            await asyncio.sleep(0)
            raise Outcome

        for each in (handler, later):
            with self.assertRaises(Outcome):
                call(each)

    def test_a_client_that_leaves(self):
        left = []

        def numbers():
            try:
                yield from map(str, range(1000))
            finally:
                left.append("sync")

        def handler(context, event):
            return numbers()

        async def later(context, event):
            try:
                while True:
                    yield "x"
                    await asyncio.sleep(0)
            finally:
                left.append("async")

        reply = call(handler, leave_after=3)
        self.assertEqual((reply.body, reply.pieces), (b"012", [b"0", b"1", b"2"]))
        reply = call(later, leave_after=2)
        self.assertEqual((reply.pieces, reply.broken), ([b"x", b"x"], False))
        self.assertEqual(left, ["sync", "async"])

    def test_the_deadline(self):
        def handler(context, event):
            return repr((context.deadline == event.deadline, event.deadline is None))

        async def later(context, event):
            await asyncio.sleep(0)
            return handler(context, event)

        for each in (handler, later):
            self.assertEqual(call(each).text, "(True, True)")
            self.assertEqual(call(each, timeout=60).text, "(True, False)")

    def test_a_handler_that_does_not_fit_is_told(self):
        for wrong, text in ((lambda event: "", "has 1 parameter"), (5, "is not a function")):
            with self.assertRaisesRegex(Exception, text):
                Function(wrong)


VARIABLE = contextvars.ContextVar("variable", default="fresh")


class Async(unittest.TestCase):
    def test_events_share_a_loop_and_no_context_variables(self):
        seen = []

        async def handler(context, event):
            seen.append((asyncio.get_running_loop(), VARIABLE.get()))
            VARIABLE.set("used")
            return "ok"

        async def init(context):
            VARIABLE.set("init")

        with Function(handler, init_context=init) as function:
            for _ in range(2):
                self.assertEqual(function.call().text, "ok")
        self.assertIs(seen[0][0], seen[1][0])
        self.assertEqual([value for _, value in seen], ["fresh", "fresh"])

    def test_a_task_in_the_background_goes_on(self):
        async def handler(context, event):
            if not hasattr(context.user_data, "done"):
                context.user_data.done = asyncio.Event()
                context.user_data.task = asyncio.create_task(context.user_data.done.wait())
                return "begun"
            context.user_data.done.set()
            return str(await context.user_data.task)

        with Function(handler) as function:
            self.assertEqual([function.call().text for _ in range(2)], ["begun", "True"])

    def test_inside_a_loop(self):
        starts = []

        async def handler(context, event):
            await asyncio.sleep(0.01)
            context.logger.info(event.body.decode())
            return event.body

        async def init(context):
            await asyncio.sleep(0)
            starts.append(asyncio.get_running_loop())

        async def test():
            self.assertEqual((await acall(handler, b"x")).body, b"x")
            async with Function(handler, init_context=init) as function:
                both = await asyncio.gather(function.acall(b"a"), function.acall(b"b"))
                self.assertEqual([reply.logs[0].message for reply in both], ["a", "b"])
                self.assertEqual(starts, [asyncio.get_running_loop()])
                with self.assertRaisesRegex(RuntimeError, "await function.acall"):
                    function.call()
                batch = Function(lambda context, events: ["x"] * len(events), init_context=init)
                self.assertEqual(len(await batch.acall_batch([b"", b""])), 2)

        asyncio.run(test())

    def test_a_cancelled_test_cancels_the_handler(self):
        ended = []

        async def handler(context, event):
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(True)

        async def test():
            async with asyncio.timeout(0.05):
                await acall(handler)

        with self.assertRaises(TimeoutError):
            asyncio.run(test())
        self.assertEqual(ended, [True])


class Batches(unittest.TestCase):
    def test_replies_and_records(self):
        def handler(context, events):
            context.logger.info("%d", len(events))
            assert events[-1].last_in_batch and not events[0].last_in_batch
            return [event.body if event.body != b"b" else ValueError("b") for event in events]

        function = Function(handler)
        with self.assertLogs("nuclio"):
            a, b, c = function.call_batch([b"a", b"b", make_event(b"c", path="/c")])
        self.assertEqual((a.body, b.status, c.body), (b"a", 500, b"c"))
        self.assertIsInstance(b.exception, ValueError)
        self.assertEqual((a.logs, len(b.logs), c.logs), ([], 1, []))
        self.assertEqual(function.logs[0], Record("info", "3", {}))
        with self.assertRaisesRegex(ValueError, "one event or more"):
            function.call_batch([])

    def test_answers_to_nobody_are_told(self):
        def handler(context, events):
            return [Response(body="x", event_id=one) for one in ("a", events[0].id, events[0].id)]

        function = Function(handler)
        with self.assertLogs("nuclio"):
            (reply,) = function.call_batch([b"x"])
        self.assertEqual(reply.text, "x")
        self.assertEqual([record.level for record in function.logs], ["warn", "warn"])

    def test_one_that_fails_as_a_whole_is_told_once(self):
        def handler(context, events):
            raise ValueError("all")

        function = Function(handler)
        with self.assertLogs("nuclio"):
            replies = function.call_batch([b"a", b"b"])
        self.assertEqual([reply.status for reply in replies], [500, 500])
        self.assertEqual(len(function.logs), 1)


class Records(unittest.TestCase):
    def test_whose_they_are(self):
        def handler(context, event):
            context.logger.info_with("own %s", event.path, n=1)
            thread = threading.Thread(target=context.logger.debug, args=("of a thread",))
            thread.start()
            thread.join()

        function = Function(handler)
        reply = function.call(path="/a")
        self.assertEqual(reply.logs, [Record("info", "own /a", {"n": 1})])
        self.assertEqual(function.logs[1], Record("debug", "of a thread", {}))
        self.assertEqual(len(function.call().logs), 1)

    def test_a_context_of_the_test(self):
        context = nuclio_sdk.Context(nuclio_sdk.Logger("warn"), function_name="mine")

        def handler(context, event):
            context.logger.info("unheard")
            context.logger.error("heard")
            return context.function_name

        reply = Function(handler, context=context).call()
        self.assertEqual((reply.text, reply.logs), ("mine", [Record("error", "heard", {})]))


class AFile(unittest.TestCase):
    CODE = """
import asyncio
from helper_of_tests import WORD

async def init_context(context):
    await asyncio.sleep(0)
    context.user_data.ended = []
    context.platform.set_termination_callback(lambda: context.user_data.ended.append("end"))
    context.platform.set_drain_callback(drained)
    drained.context = context

async def drained():
    drained.context.user_data.ended.append("drained")

def look():
    return WORD

ASYNC def handler(context, event):
    context.logger.info("%s", look())
    return f"{look()} {context.function_name}"
"""

    def test_it_is_loaded_as_a_worker_does(self):
        for word in ("", "async "):
            path = file_with(self, self.CODE.replace("ASYNC ", word), "orders_of_tests.py")
            (path.parent / "helper_of_tests.py").write_text("WORD = 'helped'")
            argv = list(sys.argv)
            with Function(path) as function:
                reply = function.call()
                self.assertEqual((reply.status, reply.text[:15]), (200, "helped orders_o"))
                self.assertEqual(function.call().logs, [Record("info", "helped", {})])
                self.assertEqual(len(function.logs), 2)
                function.module.look = lambda: "replaced"
                self.assertEqual(function.call().text[:9], "replaced ")
                user_data = function.context.user_data
            function.close()
            self.assertEqual(user_data.ended, ["drained", "end"])
            self.assertEqual(sys.argv, argv)
            folders = list(sys.path)
            Function(path)
            self.assertEqual(sys.path, folders)
            sys.path.remove(str(path.parent))

    def test_modules_and_their_functions(self):
        path = file_with(self, "def one(context, event):\n    return 'one'\n", "module_of_tests.py")
        sys.path.insert(0, str(path.parent))
        self.addCleanup(sys.path.remove, str(path.parent))
        import module_of_tests

        for handler, name in (
            (module_of_tests, ""),
            (module_of_tests, "one"),
            ("module_of_tests", ""),
            ("module_of_tests:one", ""),
            (path, "one"),
            (path.parent, "module_of_tests:one"),
        ):
            with self.subTest(handler=handler):
                self.assertEqual(Function(handler, name).call().text, "one")
        with self.assertRaisesRegex(Exception, "has no function called two; it has one"):
            Function("module_of_tests:two")

    def test_what_cannot_be_a_function_is_told(self):
        with self.assertRaisesRegex(Exception, "has no handler"):
            Function(file_with(self, "x = 1\n"))
        with self.assertRaisesRegex(Exception, "orders.py does not exist"):
            Function("orders.py")

    def test_init_context_that_fails_reaches_the_test(self):
        def init(context):
            raise ValueError("no database")

        function = Function(lambda context, event: "", init_context=init)
        with self.assertRaisesRegex(ValueError, "no database"):
            function.call()
        self.assertEqual(call(lambda context, event: "x").text, "x")


if __name__ == "__main__":
    unittest.main()
