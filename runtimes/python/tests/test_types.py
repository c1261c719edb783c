"""The package's types, by a type checker: right code passes its strictest form, wrong code fails.

`NUCLIO_TEST_PYTHON` is an interpreter that has mypy. Types are the same on each version, so the
version that it is of is enough.
"""

import os
import pathlib
import subprocess
import unittest

from served import PYTHON, file_with, of_this_version

import nuclio_sdk

PACKAGE = pathlib.Path(nuclio_sdk.__file__).parent
LIMIT_S = 300

RIGHT = """
import nuclio_sdk
import nuclio_sdk.test
from nuclio_sdk import CloudEvent, Context, Event, ExceptionWithResponse, QualifiedOffset, Response
from nuclio_sdk.testing import Function, acall, call, make_event, serve

async def init_context(context: Context) -> None:
    context.user_data.count = 0
    context.platform.set_drain_callback(lambda: None)

def handler(context: Context, event: Event) -> Response | CloudEvent:
    context.logger.info_with("seen", path=event.path)
    if event.cloudevent is not None:
        return CloudEvent("t", event.cloudevent.source, {"a": 1})
    if event.get_header("x") is None:
        raise ExceptionWithResponse(404, "no")
    view: memoryview = event.body_view
    names: list[str] = event.headers.get_all("a")
    reply = context.platform.call_function("f", Event(body=b"x"), timeout=1.5)
    print(view, names, reply.status_code + 1, event.deadline, context.deadline)
    return context.Response(body="x", headers={"a": "b"})

async def other(context: Context, event: Event) -> object:
    got = await context.platform.call_function_async("f", event)
    await context.platform.explicit_ack(QualifiedOffset.from_event(event))
    return got if got.status_code == 200 else context.retry(after=1)

class Case(nuclio_sdk.test.TestCase):
    def test(self) -> None:
        self._platform.call_handler(handler, make_event(path="/x"))

def test() -> None:
    with Function("x.py") as function:
        assert function.call({"a": 1}, headers={"a": "b"}).status == 200
        assert function.call_batch([b"a", make_event(b"b")])[0].logs[0].fields["a"]
    assert call(handler, b"x").json()["a"] == 1
    with serve("x.py", env={"A": "b"}) as served:
        assert served.call().text == served.url
    nuclio_sdk.logger.JSONFormatter()
    nuclio_sdk.response.Response(body=nuclio_sdk.SINGLE_RESPONSE)
    nuclio_sdk.json_encoder.Encoder().encode(1)

async def test_async() -> None:
    async with Function(handler) as function:
        assert (await function.acall(b"", timeout=1)).pieces is None
    assert (await acall(other)).outcome == "ok"
"""

# Each line is wrong.
WRONG = """
from nuclio_sdk import CloudEvent, Context, Event, Response, ExceptionWithResponse
from nuclio_sdk.testing import Function, call, make_event
from nuclio_sdk import event as other
def handler(context: Context, event: Event) -> None:
    event.bodi
    event.attempt.upper()
    event.get_header("a").lower()
    event.deadline + 1
    context.loger
    context.logger.info_with()
    context.Response(status_code="fine")
    context.platform.call_function(event)
    context.platform.call_function("f", event, timeout="soon").body.x.missing + Response().nothing
    context.platform.call_function_async("f", event).status_code
    context.retry("later")
    CloudEvent("only a type")
    ExceptionWithResponse("404")
    Response.cloudevent(5)
    other.Event(body=b"x", bodi=5)
make_event(b"x").nothing
call(5)
call(handler).stats
Function(handler, raise_error=True)
Function(handler).call_batch(5)
"""


@unittest.skipUnless(of_this_version("mypy"), f"{PYTHON} is of another version")
class Types(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # One folder for all, since mypy keeps there what it knows of the package.
        cls.folder = file_with(cls, RIGHT, "right.py").parent
        (cls.folder / "wrong.py").write_text(WRONG)
        # The extension has no types of its own; what it makes is described by the package.
        (cls.folder / "mypy.ini").write_text(
            "[mypy]\nuntyped_calls_exclude = nuclio_sdk._load\n"
            "[mypy-_nuclio]\nignore_missing_imports = True\n"
        )

    def run_mypy(self, *arguments):
        found = str(PACKAGE.parent)
        return subprocess.run(
            [PYTHON, "-m", *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "MYPYPATH": found, "PYTHONPATH": found},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def test_right_code_and_the_test_kit_pass(self):
        run = self.run_mypy("mypy", "--strict", "-m", "right", "-p", "nuclio_sdk.testing")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_each_wrong_line_is_found(self):
        run = self.run_mypy("mypy", "--strict", "wrong.py")
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        lines = {int(line.split(":")[1]) for line in run.stdout.splitlines() if ": error: " in line}
        wrong = [
            number
            for number, line in enumerate(WRONG.splitlines(), 1)
            if line and not line.startswith(("from", "def"))
        ]
        self.assertEqual(sorted(lines), wrong, run.stdout)

    def test_what_is_described_is_there(self):
        """The other way round is the table's matter."""
        run = self.run_mypy("mypy.stubtest", "--mypy-config-file", "mypy.ini", "nuclio_sdk")
        self.assertIn("modules", run.stdout, run.stdout + run.stderr)
        absent = [line for line in run.stdout.splitlines() if "not present at runtime" in line]
        self.assertEqual(absent, [])


if __name__ == "__main__":
    unittest.main()
