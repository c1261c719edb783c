"""A module that is not there: the package and the command that installs it are named."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

from nuclio_sdk import _load
from served import DIST

LIMIT_S = 60
PIP = f"{sys.executable} -m pip install"


class Missing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="nuclio-missing-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        kept, argv, modules = list(sys.path), list(sys.argv), set(sys.modules)

        def put_back():
            sys.path[:], sys.argv[:] = kept, argv
            for name in set(sys.modules) - modules:
                del sys.modules[name]

        self.addCleanup(put_back)

    def told(self, code, path=None):
        file = self.folder / "function.py"
        file.write_text(code)
        with self.assertRaises(ModuleNotFoundError) as caught:
            _load.load(str(path or file), "")
        return str(caught.exception)

    def test_the_package_is_named(self):
        for module, package in {
            "no_such_thing": "no_such_thing",
            "no_such.part": "no_such",
            "fitz": "PyMuPDF",
            "jose.jwt": "python-jose",
            "telegram": "python-telegram-bot",
        }.items():
            with self.subTest(module):
                told = self.told(f"import {module}\n")
                self.assertTrue(told.endswith(f"{PIP} {package}"), told)
                self.assertIn("No module named '", told)

    def test_what_lists_the_packages_is_named(self):
        code = "import no_such_thing\n"
        install = f"nuclio run --install {self.folder / 'function.py'}"
        block = '# /// script\n# dependencies = ["no_such_thing"]\n# ///\n' + code
        self.assertTrue(self.told(block).endswith(f"function.py lists with: {install}"))
        for name in ("pyproject.toml", "requirements.txt"):
            (self.folder / name).write_text("")
            told = self.told(code)
            self.assertTrue(told.endswith(f"what {name} lists with: {install}"), told)
            (self.folder / name).unlink()

    def test_a_package_that_needs_another(self):
        package = self.folder / "site-packages"
        package.mkdir()
        (package / "half.py").write_text("import no_such_thing\n")
        told = self.told(f"import sys\nsys.path.append({str(package)!r})\nimport half\n")
        self.assertIn("a package needs it that is installed; install it with: ", told)

    def test_what_no_installation_mends(self):
        self.assertEqual(self.told("import json.no_part\n"), self.told("import json.no_part"))
        self.assertIn("is without it", self.told("import json.no_part\n"))
        (self.folder / "own").mkdir()
        (self.folder / "own/__init__.py").write_text("")
        self.assertEqual(self.told("import own.part\n"), "No module named 'own.part'")

    @unittest.skipUnless(DIST, "NUCLIO_TEST_DIST names no folder with the programs")
    def test_nuclio_run_says_so(self):
        file = self.folder / "function.py"
        file.write_text("import fitz\ndef handler(context, event): pass\n")
        run = subprocess.run(
            [f"{DIST}/bin/nuclio", "run", str(file), "--port", "0", "--python", sys.executable],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        self.assertEqual(run.returncode, 1)
        self.assertIn("(that is the package PyMuPDF) with: ", run.stderr)
        self.assertIn(f"{PIP} PyMuPDF", run.stderr)
        self.assertIn('function.py", line 1, in <module>', run.stderr)


if __name__ == "__main__":
    unittest.main()
