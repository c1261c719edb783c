"""What functions written for nuclio bring along: settings in the file, modules."""

import pathlib
import tempfile
import unittest

from served import DIST, Served, ServedCase

RAW = """
def kinds(value):
    if isinstance(value, dict):
        return {type(key).__name__ + type(item).__name__ for key, item in value.items()}
    return {type(value).__name__}

def handler(context, event):
    event_id = event.id
    seen = {name: sorted(kinds(getattr(event, name))) for name in (
        "content_type", "fields", "headers", "id", "method", "path", "url", "type", "type_version",
        "version", "topic")}
    seen["trigger"] = [repr(event.trigger.kind), repr(event.trigger.name), context.trigger.kind]
    seen["values"] = repr([event.method, event.path, event.url, event.fields, event.content_type])
    seen["header"] = repr([event.get_header("x-a"), event.get_header(b"X-A"),
                           event.headers[b"X-A"]])
    seen["body"] = event.body
    return seen
"""


class EventStringsAsBytes(ServedCase):
    code = RAW
    env = {"NUCLIO_PYTHON_DECODE_EVENT_STRINGS": "False"}

    def test_every_text_is_bytes(self):
        headers = {"X-A": "\xe9", "Content-Type": "application/json"}
        seen = self.ask("/p%20q?a=%C3%A9", b'{"a": 1}', headers, method="PATCH").json
        for name in ("fields", "headers"):
            self.assertEqual(seen[name], ["bytesbytes"], name)
        for name in ("content_type", "id", "method", "path", "url", "type", "topic", "version"):
            self.assertEqual(seen[name], ["bytes"], name)
        self.assertEqual(seen["trigger"], ["b'http'", "b'default-http'", "http"])
        self.assertEqual(seen["header"], repr([b"\xe9"] * 3))
        values = [b"PATCH", b"/p q", b"/p%20q?a=%C3%A9", {b"a": "é".encode()}]
        self.assertEqual(seen["values"], repr([*values, b"application/json"]))
        self.assertEqual(seen["body"], {"a": 1})


class EventStringsAsText(ServedCase):
    code = RAW.replace('event.get_header(b"X-A")', "1").replace('headers[b"X-A"]', 'headers["X-A"]')
    env = {"NUCLIO_PYTHON_DECODE_EVENT_STRINGS": "true"}

    def test_other_words_change_nothing(self):
        headers = {"X-A": "v", "Content-Type": "application/json"}
        seen = self.ask("/p", b"1", headers).json
        self.assertEqual((seen["method"], seen["headers"]), (["str"], ["strstr"]))


@unittest.skipUnless(DIST, "NUCLIO_TEST_DIST names no folder with the programs")
class TheCode(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="nuclio-unchanged-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def serve(self, path, *flags, env=None):
        return self.enterContext(Served(path, flags, env))

    def test_a_handler_in_a_module_of_a_package(self):
        (self.folder / "shop/parts").mkdir(parents=True)
        (self.folder / "shop/parts/orders.py").write_text(
            "from shop.prices import PRICE\n"
            "def take(context, event):\n    return f'{__name__} {PRICE}'\n"
        )
        (self.folder / "shop/prices.py").write_text("PRICE = 5\n")
        for handler in ("shop.parts.orders:take",):
            served = self.serve(self.folder, "--handler", handler, "--runtime", "python")
            self.assertEqual(served.ask().text, "shop.parts.orders 5")

    def test_settings_in_the_file(self):
        file = self.folder / "configured.py"
        file.write_text(
            "# @nuclio.configure\n"
            "#\n"
            "# function.yaml:\n"
            "#   spec:\n"
            "#     handler: configured:greet\n"
            "#     eventTimeout: 300ms\n"
            "#     env:\n"
            "#     - name: WORD\n"
            "#       value: from the file\n"
            "#     triggers:\n"
            "#       web:\n"
            "#         kind: http\n"
            "#         numWorkers: 2\n"
            "import os, time\n"
            "WORD = os.environ['WORD']\n"
            "def greet(context, event):\n"
            "    time.sleep(float(event.body or 0))\n"
            "    return f'{WORD} {context.trigger.name}'\n"
        )
        served = self.serve(file)
        self.assertEqual(served.ask().text, "from the file web")
        self.assertEqual(served.ask(body=b"30").status, 408)
        self.assertEqual(len(served.ask("/api/workers", address=served.admin).json), 2)

    def test_the_setting_for_strings_in_function_yaml(self):
        file = self.folder / "raw.py"
        file.write_text(
            "# @nuclio.configure\n#\n# function.yaml:\n#   spec:\n#     env:\n"
            "#     - name: NUCLIO_PYTHON_DECODE_EVENT_STRINGS\n#       value: disabled\n"
            "def handler(context, event):\n    return repr(event.method)\n"
        )
        self.assertEqual(self.serve(file).ask().text, "b'GET'")


if __name__ == "__main__":
    unittest.main()
