"""docs/guide/debugging.md followed to the letter, on free ports."""

import concurrent.futures
import json
import re
import shlex
import unittest

from dap import Editor
from desk import Desk
from processor import REPOSITORY, free_port, wait_until
from terminal import Terminal
from test_debug import attach
from wire import ask

GUIDE = REPOSITORY / "docs/guide/debugging.md"
LIMIT_S = 60
# The line of the page's editor example at which the test stops.
STOP = "    return greeting"


def steps(page):
    """What the page's comments tell a test to do, each with the block that follows."""
    pattern = r"<!-- test: (.*?) -->\n(?:```\w+\n(.*?)```\n)?"
    return re.findall(pattern, page, re.DOTALL)


def commands(block):
    """The command lines of a block, each with what is shown behind it."""
    for part in re.split(r"^\$ nuclio ", block, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        yield shlex.split(line), shown


class Guide(unittest.TestCase):
    def setUp(self):
        self.desk = self.enterContext(Desk())
        self.many = self.enterContext(concurrent.futures.ThreadPoolExecutor(1))
        self.served = self.sent = None

    def test_every_example(self):
        done = []
        for words, block in steps(GUIDE.read_text()):
            word, _, rest = words.partition(" ")
            getattr(self, f"do_{word}")(rest, block)
            done.append(word)
        self.end()
        self.assertEqual(done.count("file"), 3)
        self.assertIn("editor", done)
        blocks = re.findall(r"```\w+\n", GUIDE.read_text())
        self.assertEqual(len([word for word in done if word != "mend"]), len(blocks), "all blocks")

    def do_file(self, name, block):
        self.desk.file(name, block)

    def do_debug(self, _, block):
        ((words, _),) = commands(block)
        self.serve(*words)

    def serve(self, *words):
        self.served = self.enterContext(Terminal(self.desk, *words))
        found = self.served.wait_for(r"ready: http://([\d.]+):(\d+)[^\n]*\n")
        return found[1].decode(), int(found[2])

    def end(self):
        if self.served:
            self.served.signal()
            self.assertEqual(self.served.wait_end(), 0)

    def do_send(self, _, block):
        ((words, _),) = commands(block)
        self.sent = self.many.submit(self.desk.nuclio, *words)

    def do_prompt(self, _, block):
        for line in block.splitlines():
            if line.startswith("(Pdb) "):
                self.served.wait_for(r"\(Pdb\) $")
                self.served.type(line.removeprefix("(Pdb) "))
            else:
                self.served.wait_for(re.escape(line))

    def do_reply(self, _, block):
        self.assertEqual(self.sent.result(LIMIT_S).stdout, block.rstrip("\n"))
        self.end()

    def do_editor(self, _, block):
        (configuration,) = json.loads(block)["configurations"]
        self.assertEqual((configuration["type"], configuration["request"]), ("debugpy", "attach"))
        connect, port = configuration["connect"], free_port()
        path = self.desk.folder / "editor.py"
        code = path.read_text()
        self.assertIn(f'("{connect["host"]}", {connect["port"]})', code)
        path.write_text(code.replace(str(connect["port"]), str(port)))
        http = self.serve("run", "editor.py", "--debug")
        line = 1 + code.splitlines().index(STOP)
        with Editor((connect["host"], port)) as editor:
            attach(editor, path, line, configuration["justMyCode"])
            reply = self.many.submit(ask, http, path="/Ada")
            stopped = editor.event("stopped")
            editor.ask("continue", threadId=stopped["threadId"])
            self.assertEqual(reply.result(LIMIT_S).body, b"Hello, Ada")
            editor.ask("disconnect", terminateDebuggee=False)
        self.end()

    do_record = do_debug

    def do_ask(self, _, block):
        for words, shown in commands(block):
            self.assertEqual(self.desk.nuclio(*words).stdout, shown.rstrip("\n"))
        self.end()
        self.served = None

    def do_mend(self, words, _):
        name, before, after = words.split(" | ")
        path = self.desk.folder / name
        self.assertIn(before, path.read_text())
        path.write_text(path.read_text().replace(before, after))

    def do_replay(self, code, block):
        for words, shown in commands(block):
            said = self.desk.nuclio(*words)
            self.assertEqual((said.code, said.stdout), (int(code), shown), said)

    def tearDown(self):
        wait_until(lambda: not self.desk.left_running(), "nothing runs")


if __name__ == "__main__":
    unittest.main()
