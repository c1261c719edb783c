"""`nuclio run` with interpreters that are missing, too old, or no Python at all."""

import glob
import json
import os
import shutil
import subprocess
import unittest

from processor import PYTHON
from test_run_errors import GOOD, LIMIT_S, Refusal


class Interpreters(Refusal):
    """Interpreters that cannot serve."""

    def test_missing(self):
        self.code(GOOD)
        self.refused(
            2,
            """
            error: --python: /nowhere/python3 does not exist; name a Python interpreter, such as python3
        """,
            "shop.py",
            "--python",
            "/nowhere/python3",
        )
        said = self.refused_with(
            2, ["python3"], "shop.py", env={"NUCLIO_PYTHON": None, "PATH": "/nowhere"}
        )
        self.assertEqual(said.stderr.count("\n"), 1, said)

    def test_too_old_by_its_own_word(self):
        self.code(GOOD)
        old = self.desk.file(
            "old",
            f"""#!/bin/sh
            exec {PYTHON} -c '
import runpy, sys
sys.version_info = (3, 10, 9, "final", 0)
sys.executable = "/usr/bin/python3.10"
runpy.run_path(sys.argv[-1], run_name="__main__")' "$@"
        """,
            mode=0o755,
        )
        self.refused(
            2,
            """
            error: Python 3.11 or later is needed, /usr/bin/python3.10 is Python 3.10.9
        """,
            "shop.py",
            "--python",
            str(old),
        )

    def test_too_old_for_real(self):
        """Those that are installed, down to Python 3.6; none is a pass, for the test above."""
        self.code(GOOD)
        for python, version in old_interpreters():
            with self.subTest(python=python):
                told = f"error: Python 3.11 or later is needed, {python} is Python {version}\n"
                self.refused(2, told, "shop.py", "--python", python)

    def test_programs_that_are_no_python(self):
        self.code(GOOD)
        for name, text in [("true", "exit 0"), ("talks", "echo who are you >&2; exit 1")]:
            with self.subTest(program=name):
                program = self.desk.file(name, f"#!/bin/sh\n{text}\n", mode=0o755)
                said = self.refused_with(
                    1,
                    ["error: worker 0 ended before it was ready"],
                    "shop.py",
                    "--python",
                    str(program),
                )
                if name == "talks":
                    self.assertIn("who are you", said.stderr)
        self.desk.file("plain", "text\n")
        self.refused_with(2, ["is not executable"], "shop.py", "--python", "./plain")


def old_interpreters():
    """CPython 3.6 to 3.10 on PATH or in pyenv, with their versions."""
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    named = [shutil.which(f"python3.{minor}") for minor in range(6, 11)]
    candidates = sorted(glob.glob(f"{root}/versions/3.[6-9].*/bin/python3"))
    candidates += sorted(glob.glob(f"{root}/versions/3.10.*/bin/python3"))
    candidates += [path for path in named if path]
    ask = "import json, sys; print(json.dumps([sys.executable, '%d.%d.%d' % sys.version_info[:3]]))"
    found = {}
    for path in candidates:
        out = subprocess.run([path, "-I", "-c", ask], capture_output=True, timeout=LIMIT_S)
        if out.returncode == 0:
            executable, version = json.loads(out.stdout)
            found.setdefault(version, executable)
    return [(executable, version) for version, executable in sorted(found.items())]


if __name__ == "__main__":
    unittest.main()
