"""Every name and return form beside those of nuclio's own SDK, both run; the table is committed."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
TABLE = ROOT / "docs/reference/python-sdk.md"
THEIRS = pathlib.Path(os.environ.get("NUCLIO_TEST_SDK", ROOT / "target/nuclio-sdk"))
PROBE = pathlib.Path(__file__).with_name("surface_probe.py")

# What is theirs and not ours, and why; nothing else may be missing.
LEFT_OUT = {
    "nuclio_sdk.test.mock_platform": "a file of theirs; `nuclio_sdk.test.Platform` is there",
    "nuclio_sdk.logger.JSONFormatter.format_to_log_control_message": "of their wire format",
    "Response.from_entrypoint_output_async": "of their wire format; streams go by shared memory",
    "Response.from_generator_output": "of their wire format; streams go by shared memory",
    "Event.from_json": "long deprecated there; `Event.deserialize(data, kind)`",
    "Event.from_msgpack": "long deprecated there; `Event.deserialize(data, kind)`",
}
# Why an answer differs.
DIFFERENT = {
    "None": "an empty body instead of the word None",
    'b"bytes"': "bytes travel as they are, so what is text needs no base64",
    "(201, None)": "an empty body instead of JSON's null",
    '(201, b"bytes")': "bytes are sent, not the text of their Python form",
    "Response()": "an empty body instead of the word None",
    "Response(body=[1])": "a list is JSON, as a dict is",
    'Response(headers={"X-A": "1"})': "an empty body instead of the word None",
}
INTRO = """\
# The Python SDK beside nuclio's

Made by `runtimes/python/tests/test_surface.py`, which runs both: nuclio-sdk {version} as it is
published, and the `nuclio_sdk` of this runtime. Write it again with `UPDATE=1`.

"""


def probe(folder):
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-W", "ignore", str(PROBE)]
    said = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    if said.returncode:
        raise AssertionError(said.stderr)
    return json.loads(said.stdout)


def table(theirs, ours, version):
    lines = [INTRO.format(version=version), "## Names\n\n", "| name | nuclio-sdk | here | |\n"]
    lines.append("|---|---|---|---|\n")
    for name in sorted(set(theirs["names"]) | set(ours["names"])):
        there = "yes" if name in theirs["names"] else ""
        here = "yes" if name in ours["names"] else ""
        lines.append(f"| `{name}` | {there} | {here} | {LEFT_OUT.get(name, '')} |\n")
    lines += [
        "\n## Return forms\n\n",
        "| returned | nuclio-sdk | here | |\n",
        "|---|---|---|---|\n",
    ]
    for form, answer in theirs["forms"].items():
        same = answer == ours["forms"][form]
        here = "the same" if same else f"`{ours['forms'][form]}`"
        why = "" if same else DIFFERENT.get(form, "")
        lines.append(f"| `{form}` | `{answer}` | {here} | {why} |\n")
    return "".join(lines)


class Surface(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not (THEIRS / "nuclio_sdk").is_dir():
            raise AssertionError(f"nuclio-sdk is not in {THEIRS}; run `cargo xtask setup`")
        info = next(THEIRS.glob("nuclio_sdk-*.dist-info"))
        cls.version = info.name.removeprefix("nuclio_sdk-").removesuffix(".dist-info")
        cls.theirs = probe(THEIRS)
        cls.ours = probe(os.environ.get("PYTHONPATH", ROOT / "runtimes/python"))

    def test_nothing_of_theirs_is_missing(self):
        missing = set(self.theirs["names"]) - set(self.ours["names"]) - LEFT_OUT.keys()
        self.assertEqual(sorted(missing), [])

    def test_every_difference_has_a_reason(self):
        forms = self.theirs["forms"]
        different = {form for form in forms if forms[form] != self.ours["forms"][form]}
        self.assertEqual(sorted(different - DIFFERENT.keys()), [])

    def test_the_committed_table_is_current(self):
        # Names of exceptions and the like differ between versions of Python; one of them writes.
        made = table(self.theirs, self.ours, self.version)
        if os.environ.get("UPDATE") == "1":
            TABLE.write_text(made)
        self.assertEqual(TABLE.read_text(), made, "run it again with UPDATE=1")


if __name__ == "__main__":
    unittest.main()
