"""`nuclio run` with something wrong: the sentence, the exit code, and nothing left running."""

import contextlib
import socket
import textwrap
import unittest

from desk import Desk
from processor import PYTHON, function_yaml

# What is told within a second on a quiet machine must not take longer than this on a busy one.
LIMIT_S = 20
GOOD = "def handler(context, event):\n    return 'hi'\n"


class Refusal(unittest.TestCase):
    """Types commands that must fail, and looks at everything they say."""

    slowest = (0.0, "")

    def setUp(self):
        self.desk = Desk()
        self.addCleanup(self.desk.__exit__)

    @classmethod
    def tearDownClass(cls):
        print(f"\nslowest refusal: {cls.slowest[0]:.2f} s ({cls.slowest[1]})")

    def refused(self, code, stderr, *words, env=None):
        """The command ends with this code, says exactly this, and leaves nothing behind."""
        said = self.run_with(code, words, env)
        self.assertEqual(said.stderr, textwrap.dedent(stderr).lstrip("\n"), said)
        self._nothing_left(said)
        return said

    def run_with(self, code, words, env):
        said = self.desk.nuclio("run", *(words or ["shop.py"]), env=env, limit_s=LIMIT_S)
        self.assertEqual((said.code, said.stdout), (code, ""), said)
        return said

    def _nothing_left(self, said):
        self.assertEqual(self.desk.left_running(), [])
        self.assertEqual(self.desk.registered(), [])
        cls = type(self)
        cls.slowest = max(cls.slowest, (said.seconds, self._testMethodName))

    def refused_with(self, code, parts, *words, env=None):
        """As `refused`, for texts that depend on the interpreter."""
        said = self.run_with(code, words, env)
        for part in parts:
            self.assertIn(part, said.stderr)
        self._nothing_left(said)
        return said

    def code(self, text):
        self.desk.file("shop.py", textwrap.dedent(text))


class Code(Refusal):
    """Files that cannot be served as they stand."""

    def test_missing_file(self):
        told = "error: FILE: there is no file shop.py; write the path of one that exists\n"
        self.refused(2, told, "shop.py")

    def test_syntax_error(self):
        self.code("import os\n\ndef handler(context, event)\n    return 1\n")
        self.refused(
            2,
            """
            error: DIR/shop.py, line 3: expected ':'
                def handler(context, event)
                                           ^
            """,
        )

    def test_syntax_error_in_a_module_of_the_user(self):
        self.desk.file("prices.py", "EURO = (\n")
        self.code("import prices\n" + GOOD)
        self.refused(
            2,
            """
            error: DIR/prices.py, line 1: '(' was never closed
                EURO = (
                       ^
            """,
        )

    def test_a_file_that_is_no_text(self):
        (self.desk.folder / "shop.py").write_bytes(b"\x7fELF\0\0\0\1")
        said = self.refused_with(2, ["error: DIR/shop.py", "null bytes"], "shop.py")
        self.assertNotIn("nuclio_sdk", said.stderr)

    def test_a_file_in_another_encoding(self):
        (self.desk.folder / "shop.py").write_bytes(b"NAME = 'caf\xe9'\n" + GOOD.encode())
        said = self.refused_with(2, ["error: DIR/shop.py", "utf-8"], "shop.py")
        self.assertNotIn("nuclio_sdk", said.stderr)

    def test_no_handler(self):
        self.code("PRICE = 1\n")
        self.refused(
            2,
            """
            error: DIR/shop.py has no handler: write a function with two parameters, def handler(context, event): ...
            """,
        )

    def test_several_handlers_are_listed(self):
        self.code("def buy(context, event): ...\ndef sell(context, event): ...\n")
        self.refused(
            2,
            """
            error: DIR/shop.py has several functions that could be the handler: buy and sell. Call one of them handler, or choose one with --handler shop:buy
            """,
        )

    def test_wrong_signature(self):
        for signature, told in [
            ("event", "has 1 parameter"),
            ("", "has no parameters"),
            ("context, event, more", "has 3 parameters"),
        ]:
            with self.subTest(signature=signature):
                self.code(f"def handler({signature}): ...\n")
                self.refused(
                    2,
                    f"""
                    error: handler in DIR/shop.py {told}, but a handler gets two: (context, event)
                """,
                    "shop.py",
                )

    def test_a_handler_that_is_not_there(self):
        self.code(GOOD)
        told = "error: DIR/shop.py has no function called sell; it has handler\n"
        self.refused(2, told, "shop.py", "--handler", "shop:sell")
        self.refused_with(2, ["store"], "shop.py", "--handler", "store:handler")

    def test_a_handler_that_is_no_function(self):
        self.code("handler = {}\n")
        told = "error: handler in DIR/shop.py is a dict, not a function\n"
        self.refused(2, told, "shop.py")


class Starts(Refusal):
    """Code that fails, ends or hangs before its worker is ready."""

    def test_exception_at_import(self):
        self.code("""
            def connect():
                raise RuntimeError("no database")

            connect()
        """)
        self.refused(
            1,
            """
            error: DIR/shop.py: RuntimeError: no database
            Traceback (most recent call last):
              File "DIR/shop.py", line 5, in <module>
                connect()
              File "DIR/shop.py", line 3, in connect
                raise RuntimeError("no database")
            RuntimeError: no database
            """,
        )

    def test_missing_module(self):
        self.code("import no_such_module\n" + GOOD)
        told = f"install it with: {PYTHON} -m pip install no_such_module"
        self.refused(
            1,
            f"""
            error: DIR/shop.py: ModuleNotFoundError: No module named 'no_such_module': {told}
            Traceback (most recent call last):
              File "DIR/shop.py", line 1, in <module>
                import no_such_module
            ModuleNotFoundError: No module named 'no_such_module': {told}
            """,
        )

    def test_an_exit_at_import(self):
        self.code("import sys\nsys.exit(5)\n")
        self.refused_with(1, ["error: DIR/shop.py: SystemExit: 5", "line 2"], "shop.py")

    def test_death_at_import(self):
        for code, told in [
            ("os._exit(0)", "exit code 0"),
            ("os._exit(78)", "exit code 78"),
            ("os.kill(os.getpid(), 9)", "killed by signal 9 (SIGKILL)"),
            ("os.write(2, b'out of luck\\n'); os._exit(3)", "exit code 3"),
        ]:
            with self.subTest(code=code):
                self.code(f"import os\n{code}\n")
                said = self.refused_with(
                    1, [f"error: worker 0 ended before it was ready: {told}"], "shop.py"
                )
                if "luck" in code:
                    self.assertIn("out of luck", said.stderr)

    def test_many_workers_say_it_once(self):
        self.code("raise ValueError('once')\n")
        said = self.refused_with(1, ["ValueError: once"], "shop.py", "--workers", "4")
        self.assertEqual(said.stderr.count("error:"), 1, said)

    def test_init_context_raises(self):
        self.code("def init_context(context):\n    raise KeyError('DB_URL')\n\n" + GOOD)
        self.refused(
            1,
            """
            error: init_context failed: KeyError: 'DB_URL'
            Traceback (most recent call last):
              File "DIR/shop.py", line 2, in init_context
                raise KeyError('DB_URL')
            KeyError: 'DB_URL'
            """,
        )

    def test_async_init_context_raises(self):
        for handler in [GOOD, "async " + GOOD]:
            with self.subTest(handler=handler):
                self.code(f"async def init_context(context):\n    raise KeyError('X')\n\n{handler}")
                self.refused(
                    1,
                    """
                    error: init_context failed: KeyError: 'X'
                    Traceback (most recent call last):
                      File "DIR/shop.py", line 2, in init_context
                        raise KeyError('X')
                    KeyError: 'X'
                    """,
                )

    def test_start_that_hangs(self):
        hang = "import time\ndef init_context(context):\n    time.sleep(10 ** 6)\n"
        self.desk.file("function.yaml", function_yaml({"readinessTimeoutSeconds": 1}))
        for code in [hang, "import time\ntime.sleep(10 ** 6)\n", "while True: pass\n"]:
            with self.subTest(code=code):
                self.code(code + GOOD)
                self.refused(
                    1,
                    """
                    error: worker 0 was not ready after 1s (spec.readinessTimeoutSeconds): the import of the code or init_context hangs or takes too long
                """,
                    "shop.py",
                    "-f",
                    "function.yaml",
                )

    def test_output_before_an_exception_is_kept(self):
        self.code("print('loading prices')\nraise ValueError('no prices')\n")
        said = self.refused_with(1, ["loading prices", "ValueError: no prices"], "shop.py")
        self.assertLess(said.stderr.index("loading"), said.stderr.index("error:"))


class Words(Refusal):
    """Wrong flags, files of settings and addresses."""

    def test_wrong_words(self):
        self.code(GOOD)
        for words, told in [
            (["--runtime", "pyton"], "--runtime: pyton is no runtime; did you mean python?"),
            (["-e", "NAME"], '--env: "NAME" has no =; write KEY=VALUE'),
            (
                ["--prot", "8080"],
                "unexpected argument '--prot' found; a similar argument exists: "
                "'--port'; --help shows how it is used",
            ),
            (["--trigger", "htp"], '"htp" is not known; did you mean http?'),
        ]:
            with self.subTest(words=words):
                said = self.refused_with(2, [told], "shop.py", *words)
                self.assertEqual(said.stderr.count("\n"), 1, "one line a mistake")

    def test_all_mistakes_of_a_file_at_once(self):
        self.code(GOOD)
        spec = {
            "handlr": "shop:handler",
            "eventTimeout": "soon",
            "triggers": {"x": {"kind": "htp"}},
        }
        self.desk.file("function.yaml", function_yaml(spec))
        said = self.refused_with(
            2,
            ["spec.handlr", "spec.eventTimeout", "spec.triggers.x.kind"],
            "shop.py",
            "-f",
            "function.yaml",
        )
        lines = said.stderr.splitlines()
        self.assertEqual((len(lines), {line[:6] for line in lines}), (3, {"error:"}), said)

    def test_a_file_that_is_no_yaml(self):
        self.code(GOOD)
        self.desk.file("function.yaml", "spec: [\n")
        self.refused_with(2, ["error: function.yaml: not valid YAML"], "-f", "function.yaml")

    def test_taken_addresses(self):
        self.code(GOOD)
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            for env, words in [
                (None, ["--port", str(port)]),
                ({"PORT": str(port)}, []),
                (None, ["--admin", f"127.0.0.1:{port}"]),
            ]:
                with self.subTest(env=env, words=words):
                    said = self.refused_with(2, [str(port)], "shop.py", *words, env=env)
                    self.assertEqual(said.stderr.count("\n"), 1, said)

    def test_an_address_of_another_machine(self):
        self.code(GOOD)
        told = "error: 192.0.2.7 is no address of this machine; choose one with --host\n"
        self.refused(2, told, "shop.py", "--host", "192.0.2.7")


if __name__ == "__main__":
    unittest.main()
