"""`nuclio run --debug` at a terminal, and under an editor's debugger."""

import concurrent.futures
import json
import os
import pathlib
import time
import unittest

from dap import Editor
from desk import Desk
from processor import LOOK_S, children_of, free_port, is_alive, name_of, stat_fields, wait_until
from terminal import Terminal
from wire import ask

LIMIT_S = 60
# Many times every limit of these functions: an event that outlives it would have been ended.
STANDS_S = 1.5
PROMPT = r"\(Pdb\) $"

CODE = '''
def handler(context, event):
    total = 40 + 2
    breakpoint()
    return f"{event.path} {total}"
'''

# Each limit that ends something elsewhere, as short as it can be.
SPEC = {
    "eventTimeout": "100ms",
    "readinessTimeoutSeconds": 1,
    "recycle": {"events": 1, "age": "100ms"},
    "triggers": {
        "web": {
            "kind": "http",
            "numWorkers": 4,
            "workerAvailabilityTimeoutMilliseconds": 100,
            "workerTerminationTimeout": "100ms",
        }
    },
}


def find_workers(pid):
    """Workers of a function: children of its processor, which is a child of `replay`."""
    children = children_of(pid)
    processors = [one for one in children if name_of(one) == "processor"]
    children = children_of(processors[0]) if processors else children
    # A debugger may have started an adapter, which is ours as well.
    command = [(one, pathlib.Path(f"/proc/{one}/cmdline").read_bytes()) for one in children]
    return [one for one, line in command if b"/worker.py" in line]


def stand():
    """Nothing happens for a while: what is tested is that time alone ends nothing."""
    end = time.monotonic() + STANDS_S
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_S * 10))


class Debug(unittest.TestCase):
    def setUp(self):
        self.desk = self.enterContext(Desk())
        self.many = self.enterContext(concurrent.futures.ThreadPoolExecutor(8))
        left = self.desk.left_running
        self.addCleanup(wait_until, lambda: not left(), lambda: f"nothing runs: {left()}")

    def debugged(self, code=CODE, *words, spec=None):
        """A function at a terminal, once it is ready."""
        self.desk.file("shop.py", code)
        if spec is not None:
            whole = {"apiVersion": "nuclio.io/v1", "kind": "Function", "spec": spec}
            self.desk.file("function.yaml", json.dumps(whole))
            words = ("-f", "function.yaml", *words)
        terminal = Terminal(self.desk, "run", "shop", "shop.py", *words, "--debug")
        self.enterContext(terminal)
        return terminal

    def ready(self, terminal):
        found = terminal.wait_for(r"ready: http://([\d.]+):(\d+)[^\n]*\n")
        return found[1].decode(), int(found[2])

    def asked(self, http, path="/a"):
        """A request under way."""
        return self.many.submit(ask, http, path=path)

    def interrupt(self, terminal):
        """Ctrl-C once the worker sleeps, at the prompt or because it is idle: in the microseconds
        before, the interpreter would notice it only when something else wakes it."""
        (worker,) = find_workers(terminal.child.pid)
        wait_until(lambda: stat_fields(f"/proc/{worker}/stat")[0] == "S", "it sleeps")
        terminal.interrupt()

    def interrupt_idle(self, terminal):
        """Such a Ctrl-C where it ends the function in good order."""
        self.interrupt(terminal)
        terminal.wait_for("draining")
        self.assertEqual(terminal.wait_end(), 0)

    def test_breakpoint_at_the_terminal(self):
        terminal = self.debugged()
        terminal.wait_for(r"debugging shop: one worker, on this terminal; no deadline")
        http = self.ready(terminal)
        reply = self.asked(http)
        terminal.wait_for(r"shop.py\(\d\)handler\(\)")
        terminal.wait_for(PROMPT)
        terminal.type("p total")
        terminal.wait_for(r"42\r\n\(Pdb\) $")
        terminal.type("total = 7")
        terminal.wait_for(PROMPT)
        terminal.type("c")
        self.assertEqual(reply.result(LIMIT_S).body, b"/a 7")
        # Ctrl-C of an idle function, after a debugger had the terminal.
        self.interrupt_idle(terminal)

    def test_ctrl_c_at_the_prompt_is_the_debuggers(self):
        terminal = self.debugged()
        http = self.ready(terminal)
        reply = self.asked(http)
        for _ in range(3):
            terminal.wait_for(PROMPT)
            self.interrupt(terminal)
            terminal.wait_for("--KeyboardInterrupt--")
        terminal.wait_for(PROMPT)
        terminal.type("c")
        self.assertEqual(reply.result(LIMIT_S).status, 200)
        self.assertNotIn("draining", terminal.text())
        terminal.signal()
        self.assertEqual(terminal.wait_end(), 0)

    def test_time_alone_ends_nothing(self):
        terminal = self.debugged("breakpoint()\n" + CODE, spec=SPEC)
        terminal.wait_for(PROMPT)
        stand()
        terminal.type("c")
        http = self.ready(terminal)
        worker = children_of(terminal.child.pid)
        self.assertEqual(len(worker), 1)
        replies = [self.asked(http, f"/{n}") for n in range(3)]
        for _ in replies:
            terminal.wait_for(r"handler\(\)\r\n[^\n]*\n\(Pdb\) $")
            stand()
            terminal.type("c")
        self.assertEqual({reply.result(LIMIT_S).status for reply in replies}, {200})
        self.assertEqual(children_of(terminal.child.pid), worker)
        # A drain waits for it, too.
        reply = self.asked(http)
        terminal.wait_for(PROMPT)
        terminal.signal()
        terminal.wait_for("draining")
        stand()
        self.assertTrue(is_alive(worker[0]))
        terminal.type("c")
        self.assertEqual(reply.result(LIMIT_S).status, 200)
        self.assertEqual(terminal.wait_end(), 0)

    def test_ctrl_c_elsewhere_drains_and_the_second_ends(self):
        code = (
            "import pathlib, time\n\n"
            "def handler(context, event):\n"
            "    print('runs', flush=True)\n"
            "    while not pathlib.Path('go').exists():\n"
            "        time.sleep(0.01)\n"
            "    return 'done'\n"
        )
        terminal = self.debugged(code)
        reply = self.asked(self.ready(terminal))
        terminal.wait_for("runs")
        terminal.interrupt()
        terminal.wait_for("draining")
        self.desk.file("go", "")
        self.assertEqual(reply.result(LIMIT_S).body, b"done")
        self.assertEqual(terminal.wait_end(), 0)
        (self.desk.folder / "go").unlink()

        terminal = self.debugged(code)
        reply = self.asked(self.ready(terminal))
        terminal.wait_for("runs")
        terminal.interrupt()
        terminal.wait_for("draining")
        terminal.interrupt()
        self.assertEqual(terminal.wait_end(), 130)
        self.assertIsInstance(reply.exception(LIMIT_S), (AssertionError, OSError))

    def test_ctrl_c_before_it_is_ready_ends_it(self):
        hangs = "import time\nprint('loads', flush=True)\ntime.sleep(1000)\n"
        terminal = self.debugged(hangs + CODE)
        terminal.wait_for("loads")
        terminal.interrupt()
        terminal.wait_for("draining")
        self.assertEqual(terminal.wait_end(), 0)

    def test_a_terminal_that_goes_ends_it(self):
        terminal = self.debugged()
        reply = self.asked(self.ready(terminal))
        terminal.wait_for(PROMPT)
        terminal.hang_up()
        terminal.child.wait(LIMIT_S)
        wait_until(reply.done, "the client has its answer, or its end")

    def test_quitting_fails_the_event_and_no_more(self):
        terminal = self.debugged()
        http = self.ready(terminal)
        for _ in range(2):
            reply = self.asked(http)
            terminal.wait_for(PROMPT)
            terminal.type("q")
            self.assertEqual(reply.result(LIMIT_S).status, 500)
            self.assertIn(b"BdbQuit", reply.result().body)
        self.interrupt_idle(terminal)

    def test_an_async_handler(self):
        code = CODE.replace("def handler", "import pdb\n\nasync def handler").replace(
            "breakpoint()", "pdb.set_trace()\n    total += 1"
        )
        terminal = self.debugged(code)
        http = self.ready(terminal)
        reply = self.asked(http)
        terminal.wait_for(PROMPT)
        terminal.type("unt 8")
        terminal.wait_for(r"return f.*\r\n\(Pdb\) $")
        terminal.type("p total")
        terminal.wait_for(r"43\r\n\(Pdb\) $")
        terminal.type("c")
        self.assertEqual(reply.result(LIMIT_S).body, b"/a 43")
        self.interrupt_idle(terminal)

    def test_without_a_terminal_a_breakpoint_fails_its_event(self):
        self.desk.file("shop.py", CODE)
        with self.desk.start("run", "shop.py", "--debug") as child:
            # The worker's output is the program's own.
            line = b""
            while b"is ready" not in line:
                line = child.stdout.readline()
                self.assertTrue(line, "it has ended")
            host, _, port = line.split()[5].decode().rpartition("/")[2].partition(":")
            self.assertEqual(ask((host, int(port))).status, 500)
            child.terminate()
            out, errors = child.communicate(timeout=LIMIT_S)
        self.assertEqual(child.returncode, 0, errors)
        self.assertIn(b"(Pdb) ", out)

    def test_one_of_several_threads_is_left(self):
        terminal = self.debugged(spec={"runtimeAttributes": {"threads": 4}})
        http = self.ready(terminal)
        replies = [self.asked(http) for _ in range(3)]
        for _ in replies:
            terminal.wait_for(r"handler\(\)\r\n[^\n]*\n\(Pdb\) $")
            self.interrupt(terminal)
            terminal.wait_for(r"--KeyboardInterrupt--\r\n\(Pdb\) $")
            terminal.type("c")
        self.assertEqual({reply.result(LIMIT_S).status for reply in replies}, {200})
        self.interrupt_idle(terminal)

    def test_it_does_not_go_with_watch(self):
        self.desk.file("shop.py", CODE)
        said = self.desk.nuclio("run", "shop.py", "--debug", "--watch")
        self.assertEqual((said.code, said.stdout), (2, ""), said)
        self.assertIn("error: --watch: does not go with --debug", said.stderr)

    def test_a_replay_in_the_debugger(self):
        self.desk.file("shop.py", CODE.replace("breakpoint()", "pass"))
        with self.desk.start("run", "shop.py", "--record", "events.jsonl") as child:
            found = child.stdout.readline().decode().split("http://")[1].split(" ")[0]
            host, _, port = found.partition(":")
            for path in ("/one", "/two"):
                ask((host, int(port)), path=path)
            child.terminate()
            self.assertEqual(child.wait(LIMIT_S), 0, child.stderr.read())
        self.desk.file("shop.py", CODE)
        with Terminal(self.desk, "replay", "events.jsonl", "--debug") as terminal:
            for path in ("/one", "/two"):
                terminal.wait_for(PROMPT)
                self.interrupt(terminal)
                terminal.wait_for(r"--KeyboardInterrupt--\r\n\(Pdb\) $")
                terminal.type("p event.path")
                terminal.wait_for(rf"'{path}'\r\n\(Pdb\) $")
                terminal.type("c")
            terminal.wait_for("2 events of events.jsonl replayed: 2 answered as recorded")
            self.assertEqual(terminal.wait_end(), 0)
        with Terminal(self.desk, "replay", "00000002", "--debug") as terminal:
            terminal.wait_for(PROMPT)
            terminal.type("total = 1/0")
            terminal.wait_for("ZeroDivisionError")
            terminal.wait_for(PROMPT)
            terminal.type("q")
            terminal.wait_for("00000002 GET /two: 500, recorded 200")
            self.assertEqual(terminal.wait_end(), 1)


EDITED = '''
import debugpy

debugpy.listen(("127.0.0.1", {port}))

def handler(context, event):
    name = event.path.strip("/")
    greeting = f"Hello, {{name}}"
    return greeting
'''


def attach(editor, path, line, just_my_code=True):
    """What an editor does with `"request": "attach"` and one breakpoint."""
    editor.ask("initialize", adapterID="debugpy", pathFormat="path", linesStartAt1=True)
    number = editor.say("attach", justMyCode=just_my_code)
    editor.event("initialized")
    source = {"path": str(pathlib.Path(path).resolve())}
    told = editor.ask("setBreakpoints", source=source, breakpoints=[{"line": line}])
    assert told["breakpoints"][0]["verified"], told
    editor.ask("configurationDone")
    editor.answer(number)


class AnEditor(unittest.TestCase):
    def test_it_stops_at_a_breakpoint_and_goes_on(self):
        port = free_port()
        with Desk() as desk, concurrent.futures.ThreadPoolExecutor(1) as other:
            path = desk.file("shop.py", EDITED.format(port=port))
            line = 1 + EDITED.splitlines().index("    return greeting")
            with Terminal(desk, "run", "shop.py", "--debug") as terminal:
                found = terminal.wait_for(r"ready: http://([\d.]+):(\d+)")
                http = (found[1].decode(), int(found[2]))
                with Editor(("127.0.0.1", port)) as editor:
                    attach(editor, path, line)
                    reply = other.submit(ask, http, path="/Ada")
                    stopped = editor.event("stopped")
                    self.assertEqual(stopped["reason"], "breakpoint")
                    stack = editor.ask("stackTrace", threadId=stopped["threadId"])
                    frame = stack["stackFrames"][0]
                    self.assertEqual((frame["name"], frame["line"]), ("handler", line))
                    seen = editor.ask("evaluate", expression="greeting", frameId=frame["id"])
                    self.assertEqual(seen["result"], "'Hello, Ada'")
                    stand()
                    self.assertFalse(reply.done())
                    editor.ask("continue", threadId=stopped["threadId"])
                    self.assertEqual(reply.result(LIMIT_S).body, b"Hello, Ada")
                    editor.ask("disconnect", terminateDebuggee=False)
                self.assertEqual(ask(http, path="/Bob").body, b"Hello, Bob")
                (worker,) = find_workers(terminal.child.pid)
                wait_until(lambda: stat_fields(f"/proc/{worker}/stat")[0] == "S", "it sleeps")
                terminal.interrupt()
                terminal.wait_for("draining")
                self.assertEqual(terminal.wait_end(), 0)
            self.assertEqual(desk.left_running(), [])

if __name__ == "__main__":
    unittest.main()
