"""The shell runtime's examples on real files, and the guide that adds a language, to the letter."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from desk import refuse_skip
from processor import DIST, NUCLIO, REPOSITORY, Processor, address
from wire import ask

EXAMPLES = REPOSITORY / "runtimes/shell/examples"
GUIDE = REPOSITORY / "docs/guide/add-a-language.md"
STOP_LIMIT_S = 30
LINES_MAX = 30


class Examples(unittest.TestCase):
    def serve(self, name):
        text = (EXAMPLES / name).read_text()
        processor = self.enterContext(Processor(text, file=name))
        processor.wait_ready()
        return processor

    def test_hello(self):
        http = self.serve("hello.sh").http
        self.assertEqual(ask(http, "POST", "/", b"Ada").body, b"Hello, Ada!\n")
        self.assertEqual(ask(http, "GET", "/").body, b"Hello, world!\n")

    def test_totals_of_a_file(self):
        refuse_skip("jq")
        http = self.serve("totals.sh").http
        orders = [
            {"customer": f"c{n % 7}", "price": n % 13 + 0.5, "count": n % 5} for n in range(20000)
        ]
        sums = {}
        for order in orders:
            name = order["customer"]
            sums[name] = sums.get(name, 0) + order["price"] * order["count"]
        reply = ask(http, "POST", "/", "\n".join(map(json.dumps, orders)).encode())
        self.assertEqual((reply.status, reply.get("Content-Type")), (200, "application/json"))
        found = [(row["customer"], row["sum"]) for row in json.loads(reply.body)]
        self.assertEqual(found, sorted(sums.items(), key=lambda pair: -pair[1]))

    def test_totals_of_nonsense(self):
        refuse_skip("jq")
        reply = ask(self.serve("totals.sh").http, "POST", "/", b'{"customer": ')
        self.assertEqual(reply.status, 500)

    def test_counter(self):
        http = self.serve("counter.sh").http
        for count in range(1, 50):
            self.assertEqual(json.loads(ask(http, "GET", "/").body), {"events": count})


class Guide(unittest.TestCase):
    """From an empty folder, with nothing but what the page says."""

    def test_the_page_makes_a_runtime(self):
        refuse_skip("perl")
        text = GUIDE.read_text()
        files = re.findall(r"^## \d\. `([^`]+)`\n.*?^```\w+\n(.*?)^```$", text, re.M | re.S)
        commands = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
        self.assertEqual([name for name, _ in files][-1], "hello.pl")
        lines = sum(len(content.splitlines()) for name, content in files[:-1])
        self.assertLessEqual(lines, LINES_MAX)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="nuclio-guide-"))
        self.addCleanup(shutil.rmtree, folder)
        env = {
            "PATH": f"{pathlib.Path(NUCLIO).parent}:{os.environ['PATH']}",
            "NUCLIO_HOME": str(DIST),
            "NUCLIO_STATE_DIR": str(folder / "state"),
            "NUCLIO_ADMIN": "127.0.0.1:0",
            "PORT": "0",
        }
        # The page's own shell, for a reader types it into one.
        subprocess.run(
            ["bash", "-e"], input=commands[0], text=True, cwd=folder, env=env, check=True
        )
        for name, content in files:
            (folder / name).write_text(content)
        env["NUCLIO_RUNTIMES"] = str(folder / "runtimes")
        self.serve(commands[1].split(), folder, env)

    def serve(self, command, folder, env):
        with subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as child:
            try:
                line = child.stdout.readline().decode()
                http = address(re.search(r"ready: (http://\S+)", line).group(1))
                self.assertEqual(ask(http, "GET", "/?name=Ada").body, b"Hello, Ada!\n")
                self.assertEqual(ask(http, "GET", "/").body, b"Hello, world!\n")
                self.assertEqual(ask(http, "GET", "/strict").status, 500)
                self.assertEqual(ask(http, "GET", "/?name=%C5%BB").body.decode(), "Hello, Ż!\n")
            finally:
                child.terminate()
                self.assertEqual(child.wait(STOP_LIMIT_S), 0)


if __name__ == "__main__":
    unittest.main()
