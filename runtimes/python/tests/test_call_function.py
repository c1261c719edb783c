"""`platform.call_function_async`: an async handler calls another function and goes on meanwhile."""

import pathlib
import shutil
import tempfile
import unittest

from served import DIST, Served

CALLED = """
import time

def handler(context, event):
    word = event.path.strip("/")
    if word == "sleep":
        time.sleep(float(event.body))
        return "slept"
    if word == "fails":
        raise ValueError("no price")
    if word == "text":
        return context.Response(body="words", content_type="text/x", headers={"X-A": "1"})
    return {"body": event.body if isinstance(event.body, dict) else event.body.decode(),
            "method": event.method, "path": event.path, "a": event.headers.get("X-A"),
            "target": event.headers.get("X-Nuclio-Target")}
"""

CALLER = """
import asyncio
from nuclio_sdk import Event
from nuclio_sdk._call import _Call

EVENTS = {
    "json": dict(body={"k": 1}, path="/p", method="POST", headers={"X-A": "1", "Host": "no"}),
    "bytes": dict(body=b"raw", method="PUT"),
    "text": dict(path="/text", body="x"),
    "fails": dict(path="/fails"),
}

def shown(reply):
    body = reply.body.decode() if isinstance(reply.body, bytes) else reply.body
    return {"status": reply.status_code, "type": reply.content_type, "body": body}

async def handler(context, event):
    call = context.platform.call_function_async
    word = event.path.strip("/")
    if word == "many":
        slow = [call("called", Event(body=b"0.3", path="/sleep")) for _ in range(4)]
        done = asyncio.gather(*slow)
        turns = 0
        while not done.done():
            await asyncio.sleep(0.01)
            turns += 1
        return {"bodies": [reply.body.decode() for reply in await done], "turns": turns}
    if word == "cancelled":
        threads = []
        def answer(one, plain=_Call.answer):
            try:
                return plain(one)
            except OSError as error:
                threads.append(type(error).__name__)
                raise
        _Call.answer = answer
        waiting = asyncio.ensure_future(call("called", Event(body=b"2", path="/sleep")))
        await asyncio.sleep(0.2)
        waiting.cancel()
        try:
            await waiting
        except asyncio.CancelledError:
            pass
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not threads and loop.time() - begun < 1:
            await asyncio.sleep(0.01)
        return threads
    if word == "late":
        return shown(await call("called", Event(body=b"1", path="/sleep"), timeout=0.2))
    if word == "missing":
        return shown(await call("helo", Event()))
    if word == "passed-on":
        return shown(await call("called", event))
    return shown(await call("called", Event(**EVENTS[word])))
"""


@unittest.skipUnless(DIST, "NUCLIO_TEST_DIST names no folder with the programs")
class Calling(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="nuclio-calls-")
        cls.addClassCleanup(shutil.rmtree, folder, True)
        env = {"NUCLIO_STATE_DIR": f"{folder}/state"}
        served = {}
        for name, code, flags in (
            ("called", CALLED, ("--workers", "4")),
            ("caller", CALLER, ()),
        ):
            file = pathlib.Path(folder) / f"{name}.py"
            file.write_text(code)
            served[name] = cls.enterClassContext(Served(file, flags, env))
        cls.caller = served["caller"]

    def ask(self, path, **request):
        return self.caller.ask(path, **request)

    def test_what_is_sent(self):
        sent = self.ask("/json").json["body"]
        self.assertEqual((sent["body"], sent["method"], sent["path"]), ({"k": 1}, "POST", "/p"))
        self.assertEqual((sent["a"], sent["target"]), ("1", "called"))
        sent = self.ask("/bytes").json["body"]
        self.assertEqual((sent["body"], sent["method"]), ("raw", "PUT"))

    def test_what_comes_back(self):
        got = self.ask("/text").json
        self.assertEqual((got["status"], got["type"], got["body"]), (200, "text/x", "words"))
        got = self.ask("/fails").json
        self.assertEqual((got["status"], got["body"]), (500, "ValueError: no price"))

    def test_an_event_is_passed_on_as_it_came(self):
        headers = {"Content-Type": "application/json", "X-A": "7"}
        got = self.ask("/passed-on", body=b'{"n": 1}', headers=headers).json["body"]
        self.assertEqual((got["body"], got["path"], got["a"]), ({"n": 1}, "/passed-on", "7"))

    def test_no_such_function(self):
        reply = self.ask("/missing")
        self.assertEqual(reply.status, 500)
        self.assertIn("no function called helo runs in namespace default", reply.text)
        self.assertIn("(running: called, caller)", reply.text)

    def test_too_late(self):
        reply = self.ask("/late")
        told = "TimeoutError: the function called did not answer within 0.2 s"
        self.assertEqual((reply.status, reply.text), (500, told))

    def test_other_events_go_on_meanwhile(self):
        got = self.ask("/many").json
        self.assertEqual(got["bodies"], ["slept"] * 4)
        self.assertGreater(got["turns"], 2)

    def test_a_cancelled_call_lets_go_of_its_thread(self):
        # The thread ends long before the answer would come.
        self.assertEqual(len(self.ask("/cancelled").json), 1)


if __name__ == "__main__":
    unittest.main()
