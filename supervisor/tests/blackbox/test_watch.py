"""`--watch`: saved code serves, broken code does not, and no request is lost on the way."""

import os
import threading
import unittest

from faults import FaultCase, records_of
from processor import Processor, wait_until
from wire import Client, ask


def code(word, top=""):
    return f"{top}\ndef handler(context, event):\n    return {word!r}\n"


class Watched(FaultCase):
    """Each test saves code and ends with code that works."""

    code = code("first")
    flags = ("--watch",)
    workers = 2
    keeps_workers = False
    probe = "/"

    def save(self, text, name="function.py"):
        (self.processor.folder / name).write_text(text)

    def reply(self):
        return self.ask("GET", "/").body.decode()

    def serves(self, word):
        wait_until(lambda: self.reply() == word, lambda: f"{word}, not {self.reply()}")

    def test_saved_code_serves(self):
        for turn in range(5):
            word = f"turn {turn}"
            self.save(code(word))
            self.serves(word)

    def test_broken_code_leaves_the_old_code_in_place(self):
        self.save(code("good"))
        self.serves("good")
        for broken, told in [
            ("def handler(context, event)\n", "expected ':'"),
            (code("x", top="raise ValueError('at import')"), "ValueError: at import"),
            ("x = 1\n", "has no handler"),
            (code("x", top="import os; os._exit(3)"), "exit code 3"),
            (code("x", top="def init_context(context): 1 / 0"), "ZeroDivisionError"),
        ]:
            with self.subTest(told=told):
                before = len(self.records(text="reload failed"))
                self.save(broken)
                wait_until(lambda b=before: len(self.records(text="reload failed")) > b, told)
                self.assertIn(told, self.records(text="reload failed")[-1]["message"])
                for _ in range(10):
                    self.assertEqual(self.reply(), "good")
        self.save(code("mended"))
        self.serves("mended")

    def test_every_way_of_saving(self):
        path = self.processor.folder / "function.py"
        draft = self.processor.folder / ".function.py.swp"
        draft.write_text(code("renamed"))
        os.replace(draft, path)
        self.serves("renamed")
        path.unlink()
        self.serves("renamed")
        path.write_text(code("written again"))
        self.serves("written again")
        with open(path, "r+") as file:
            file.write(code("in place here"))
            file.truncate()
        self.serves("in place here")

    def test_a_module_beside_the_code(self):
        self.save("WORD = 'one'\n", "words.py")
        self.save("import words\ndef handler(context, event):\n    return words.WORD\n")
        self.serves("one")
        self.save("WORD = 'two'\n", "words.py")
        self.serves("two")

    def test_saves_in_a_row_end_with_the_last(self):
        for turn in range(30):
            self.save(code(f"quick {turn}"))
        self.serves("quick 29")
        wait_until(lambda: not self.still_reloading(), "it is quiet")
        self.assertEqual({self.reply() for _ in range(20)}, {"quick 29"})

    def still_reloading(self):
        rows = self.processor.workers()
        return len(rows) != self.workers or any(row["state"] != "ready" for row in rows)

    def test_no_request_is_lost(self):
        self.save(code("load 0"))
        self.serves("load 0")
        stop, wrong, served = threading.Event(), [], [0]

        def client():
            with Client(self.http) as connection:
                while not stop.is_set():
                    reply = connection.ask("POST", "/", b"x")
                    served[0] += 1
                    if reply.status != 200 or not reply.body.startswith(b"load "):
                        wrong.append((reply.status, reply.body))

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for turn in range(1, 8):
                self.save(code(f"load {turn}"))
                self.serves(f"load {turn}")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])
        self.assertGreater(served[0], 20)

    def test_a_touch_changes_nothing(self):
        self.save(code("quiet"))
        self.serves("quiet")
        wait_until(lambda: not self.still_reloading(), "it is quiet")
        before = len(self.records(text="reloading"))
        os.utime(self.processor.folder / "function.py")
        self.save("# not code of ours", "notes.txt")
        self.save(code("quiet"))
        self.save("x = 1", "other.py")
        self.save(code("quiet, too"))
        self.serves("quiet, too")  # so what was before it has been looked at
        self.assertLessEqual(len(self.records(text="reloading")), before + 2)

    def test_the_client_sees_the_traceback(self):
        self.save("def handler(context, event):\n    raise ValueError('shown')\n")
        wait_until(lambda: self.ask("GET", "/").status == 500, "the new code")
        body = self.ask("GET", "/").body.decode()
        self.assertIn("Traceback (most recent call last):", body)
        self.assertIn("line 2, in handler", body)
        self.save(code("fine"))
        self.serves("fine")


class Before(unittest.TestCase):
    """Broken code before the first ready: it waits for the next save."""

    def test_it_waits_for_a_save(self):
        env = {"NUCLIO_LOG_FORMAT": "json"}
        with Processor("def handler(:\n", flags=("--watch",), env=env) as processor:
            for broken, told in [
                (None, "line 1"),
                ("import no_such_module\n", "no_such_module"),
                ("x = 1\n", "has no handler"),
            ]:
                if broken:
                    (processor.folder / "function.py").write_text(broken)
                wait_until(
                    lambda t=told: any(t in record["message"] for record in records_of(processor)),
                    lambda: f"told of it: {processor.stderr()}",
                )
            self.assertIsNone(processor.child.poll())
            (processor.folder / "function.py").write_text(code("at last"))
            processor.wait_ready()
            self.assertEqual(ask(processor.http).body, b"at last")
            self.assertEqual(processor.stop(), 0)

    def test_it_can_be_ended_while_it_waits(self):
        with Processor("def handler(:\n", flags=("--watch",)) as processor:
            wait_until(lambda: "waiting for the next save" in processor.stderr(), "it waits")
            self.assertEqual(processor.stop(), 0)


if __name__ == "__main__":
    unittest.main()
