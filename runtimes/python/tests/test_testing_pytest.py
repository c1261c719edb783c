"""The test kit as users of pytest meet it: the guide followed to the letter, and tests that fail.

`NUCLIO_TEST_PYTHON` is an interpreter that has pytest.
"""

import os
import pathlib
import re
import signal
import subprocess
import unittest

from served import DIST, PYTHON, file_with, of_this_version, wait_until

import nuclio_sdk
from nuclio_sdk import testing
from nuclio_sdk.testing import Record, _served

GUIDE = pathlib.Path(__file__).resolve().parents[3] / "docs/guide/testing.md"
LIMIT_S = 120

PLUGIN = 'pytest_plugins = ["nuclio_sdk.testing.pytest_plugin"]\n'

LOGS = """
def handler(context, event):
    context.logger.info_with("seen", path=event.path)
    if event.path == "/boom":
        raise ValueError("no price")
    return "ok"
"""

FAILS = """
import time
import pytest
from nuclio_sdk.testing import call, serve

@pytest.fixture(scope="module")
def logs():
    with serve("logs.py") as served:
        assert served.call(path="/before").text == "ok"
        yield served

def test_passes(logs):
    assert logs.call(path="/while-passing").text == "ok"
    # Which test a record belongs to is told by its milliseconds.
    end = time.time() + 0.002
    while time.time() < end:
        pass

def test_served(logs):
    assert logs.call(path="/boom").status == 200

def test_called(nuclio_function):
    assert nuclio_function("logs.py").call(path="/boom").status == 200

def test_cannot_run(nuclio_serve):
    nuclio_serve("empty.py")
"""

PAIR = """
def test_they_find_each_other(nuclio_serve):
    nuclio_serve("called.py")
    assert nuclio_serve("caller.py").call().text == "Hello, caller!"
"""


class InPytest(unittest.TestCase):
    def setUp(self):
        if not DIST:
            self.skipTest("NUCLIO_TEST_DIST names no folder with the programs")
        if not of_this_version("pytest"):
            self.skipTest(f"{PYTHON} is of another version, and runs these tests there")

    def pytest(self, folder, *arguments):
        return subprocess.run(
            [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            env={
                "PATH": f"{DIST}/bin:{os.environ['PATH']}",
                "PYTHONPATH": str(pathlib.Path(nuclio_sdk.__file__).parents[1]),
                "PYTHONDONTWRITEBYTECODE": "1",
                # A loop that nobody closed would be told.
                "PYTHONWARNINGS": "error",
                "HOME": str(folder),
            },
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def test_the_guide(self):
        text = GUIDE.read_text()
        files = re.findall(r"<!-- test: file (\S+) -->\n```python\n(.*?)```", text, re.S)
        # Every example is one of them.
        self.assertEqual(len(files), text.count("```python"))
        folder = file_with(self, "").parent
        for name, code in files:
            (folder / name).write_text(code)
        runs = re.findall(r"<!-- test: run (\S+) (\d+ passed) -->", text)
        self.assertEqual(
            [name for name, _ in files if name.startswith("test_")], [r[0] for r in runs]
        )
        for name, passed in runs:
            with self.subTest(name):
                run = self.pytest(folder, "-q", name)
                self.assertRegex(run.stdout, rf"(?m)^{passed} in ", run.stdout + run.stderr)
                self.assertEqual(run.returncode, 0)

    def test_a_test_that_fails_shows_the_log(self):
        folder = file_with(self, LOGS, "logs.py").parent
        for name, text in (("test_it.py", FAILS), ("conftest.py", PLUGIN), ("empty.py", "x = 1\n")):
            (folder / name).write_text(text)
        run = self.pytest(folder)
        self.assertRegex(run.stdout, r"3 failed, 1 passed in|1 passed, 3 failed in", run.stderr)
        parts = re.split(r"(?m)^_+ (test_\w+) _+$", run.stdout)
        shown = dict(zip(parts[1::2], parts[2::2], strict=True))
        served, called, broken = (
            shown[name] for name in ("test_served", "test_called", "test_cannot_run")
        )
        self.assertIn("nuclio log of logs.py", served)
        self.assertIn("seen path='/boom'", served)
        self.assertIn('raise ValueError("no price")', served)
        self.assertIn("<Reply 500 text/plain b'ValueError: no price'>.status", served)
        # What was logged for other tests is not this one's.
        self.assertNotIn("/before", served)
        self.assertNotIn("/while-passing", served)
        self.assertIn("Captured log call", called)
        self.assertIn('raise ValueError("no price")', called)
        self.assertIn("empty.py cannot run", broken)
        self.assertIn("has no handler", broken)

    def test_functions_of_one_test_call_each_other(self):
        folder = file_with(self, PAIR, "test_it.py").parent
        (folder / "conftest.py").write_text(PLUGIN)
        (folder / "called.py").write_text(
            "def handler(context, event):\n    return f'Hello, {event.body.decode()}!'\n"
        )
        (folder / "caller.py").write_text(
            "from nuclio_sdk import Event\ndef handler(context, event):\n"
            "    sent = Event(body=context.function_name, method='POST')\n"
            "    return context.platform.call_function('called', sent).body\n"
        )
        run = self.pytest(folder)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


@unittest.skipUnless(DIST, "NUCLIO_TEST_DIST names no folder with the programs")
class Served(unittest.TestCase):
    """Without pytest."""

    def setUp(self):
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{DIST}/bin:{before}"
        self.addCleanup(os.environ.update, PATH=before)

    def test_a_call_and_its_records(self):
        path = file_with(self, LOGS, "logs.py")
        with testing.serve(path, env={"NUCLIO_TEST_WORD": "x"}) as served:
            child = served._child
            reply = served.call({"a": 1}, path="/a b", headers={"X-A": ["1", "2"]})
            self.assertEqual((reply.text, reply.outcome), ("ok", None))
            record = Record("info", "seen", {"path": "/a b"})
            wait_until(lambda: record in served.logs, "the record")
            folder = served._folder
        self.assertEqual(child.returncode, 0)
        self.assertFalse(folder.exists())
        # The log stays, the function does not.
        self.assertIn(record, served.logs)
        with self.assertRaisesRegex(RuntimeError, "logs.py is not running"):
            served.call()

    def test_what_cannot_run_is_told(self):
        with self.assertRaisesRegex(RuntimeError, "(?s)function.py cannot run: .*has no handler"):
            testing.serve(file_with(self, "x = 1\n")).start()
        self.assertEqual(_served.running, [])

    def test_a_processor_that_dies_is_told(self):
        with self.assertRaisesRegex(RuntimeError, "has ended with exit code -9"):
            with testing.serve(file_with(self, LOGS)) as served:
                os.kill(served._child.pid, signal.SIGKILL)
                served._child.wait(LIMIT_S)
                with self.assertRaisesRegex(RuntimeError, "(?s)exit code -9; its log:.*"):
                    served.call()
        self.assertEqual(_served.running, [])

    def test_an_answer_that_does_not_come_is_told(self):
        code = "import time\ndef handler(context, event):\n    time.sleep(0.5)\n"
        with testing.serve(file_with(self, code)) as served:
            with self.assertRaisesRegex(TimeoutError, "did not answer within 0.1 s"):
                served.call(timeout=0.1)

    def test_where_the_program_is_looked_for(self):
        found = _served.program()
        self.assertTrue(os.access(found, os.X_OK), found)
        package, nuclio_sdk.__path__ = nuclio_sdk.__path__, ["/nowhere/a/b/nuclio_sdk"]
        try:
            self.assertEqual(_served.program(), f"{DIST}/bin/nuclio")
            os.environ["PATH"] = "/nowhere"
            with self.assertRaisesRegex(RuntimeError, "looked at /nowhere/bin/nuclio, .*; install"):
                _served.program()
        finally:
            nuclio_sdk.__path__ = package


if __name__ == "__main__":
    unittest.main()
