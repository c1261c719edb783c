"""`nuclio run --install`: what a function lists is there when it starts.

Packages come from a folder, so that nobody is asked for them.
"""

import base64
import contextlib
import hashlib
import pathlib
import signal
import subprocess
import tempfile
import unittest
import zipfile

from processor import NUCLIO, PYTHON
from wire import ask

LIMIT_S = 120
UV = pathlib.Path(PYTHON).parent / "uv"
PORTS = ("--port", "0", "--admin", "127.0.0.1:0")
CODE = """
import tidbit

def handler(context, event):
    return f"{tidbit.WORD} {tidbit.__file__}"
"""


def make_wheel(folder, word):
    """A package of one module, as pip and uv take it."""
    info = "tidbit-1.0.dist-info"
    files = {
        "tidbit.py": f"WORD = {word!r}\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tidbit\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }

    def digest(text):
        return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())

    lines = [
        f"{name},sha256={digest(text).decode().rstrip('=')},{len(text)}"
        for name, text in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""])
    wheel = folder / "tidbit-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


class InstallCase(unittest.TestCase):
    # Programs that PATH has besides the system's.
    programs = ()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="nuclio-install-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "bin").mkdir()
        for program in self.programs:
            (self.folder / "bin" / program.name).symlink_to(program)
        # An interpreter outside any environment.
        real = "import os, sys; print(os.path.realpath(sys.executable))"
        self.python = subprocess.check_output([PYTHON, "-c", real], text=True).strip()
        (self.folder / "wheels").mkdir()
        self.wheel = make_wheel(self.folder / "wheels", "installed")
        self.home = self.folder / "function"
        self.home.mkdir()
        self.file = self.home / "shop.py"
        self.file.write_text(CODE)

    def requirements(self, text="tidbit\n"):
        where = f"--no-index\n--find-links {self.folder / 'wheels'}\n"
        (self.home / "requirements.txt").write_text(where + text)

    def start(self, *flags, python=True):
        path = f"{self.folder / 'bin'}:/usr/bin:/bin"
        env = {"PATH": path, "HOME": str(self.folder), "NUCLIO_STATE_DIR": str(self.folder)}
        named = ["--python", self.python] if python else []
        return subprocess.Popen(
            [
                NUCLIO,
                "run",
                str(self.file),
                "--port",
                "0",
                "--admin",
                "127.0.0.1:0",
                *named,
                *flags,
            ],
            env=env,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answer(self, *flags, python=True):
        """What the function answers once it is up."""
        with contextlib.closing(_Ended(self.start(*flags, python=python))) as run:
            ready = run.child.stdout.readline()
            if not ready:
                self.fail(run.child.stderr.read())
            host, port = ready.split("http://")[1].split()[0].rsplit(":", 1)
            return ask((host, int(port)), "GET", "/").body.decode()

    def refused(self, code, *flags):
        run = self.start(*flags)
        told = run.communicate(timeout=LIMIT_S)[1]
        self.assertEqual(run.returncode, code, told)
        return told


class _Ended:
    def __init__(self, child):
        self.child = child

    def close(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.communicate(timeout=LIMIT_S)
        finally:
            self.child.kill()


class WithPip(InstallCase):
    def test_requirements(self):
        self.requirements()
        venv = self.home / ".venv"
        self.assertTrue(self.answer("--install").startswith(f"installed {venv}"))
        # Found by itself from now on.
        self.assertTrue(self.answer(python=False).startswith(f"installed {venv}"))

    def test_the_environment_that_is_there_is_used(self):
        self.requirements()
        venv = self.home / "venv"
        subprocess.run([self.python, "-I", "-m", "venv", venv], check=True)
        self.assertTrue(self.answer("--install", python=False).startswith(f"installed {venv}"))
        self.assertFalse((self.home / ".venv").exists())

    def test_an_inline_block(self):
        block = (
            f"# /// script\n# dependencies = [\n#   'tidbit @ {self.wheel.as_uri()}',\n# ]\n# ///\n"
        )
        self.file.write_text(block + CODE)
        self.assertTrue(self.answer("--install").startswith("installed "))

    def test_a_project(self):
        text = f"[project]\nname = 'shop'\ndependencies = ['tidbit @ {self.wheel.as_uri()}']\n"
        (self.home / "pyproject.toml").write_text(text)
        self.assertTrue(self.answer("--install").startswith("installed "))

    def test_what_cannot_be_installed(self):
        self.requirements("no_such_thing_at_all\n")
        told = self.refused(1, "--install")
        self.assertIn("no_such_thing_at_all", told)
        self.assertIn("error: --install has failed; nothing was started", told)
        # Half an environment would be taken for a whole one.
        self.assertFalse((self.home / ".venv").exists())

    def test_a_wrong_list(self):
        told = self.refused(2, "--install")
        self.assertIn("nothing says what", told)
        self.assertIn("write a requirements.txt", told)
        self.file.write_text("# /// script\n# dependencies = ['--index-url=x']\n# ///\n" + CODE)
        self.assertIn("shop.py: dependencies: ['--index-url=x']", self.refused(2, "--install"))
        self.file.write_text("# /// script\n# dependencies = [\n" + CODE)
        self.assertIn("has no end", self.refused(2, "--install"))
        self.file.write_text("# /// script\n# requires-python = '>=4'\n# ///\n" + CODE)
        self.assertIn("shop.py requires Python >=4", self.refused(2, "--install"))

    def test_the_advice_of_a_missing_module_helps(self):
        self.requirements()
        told = self.refused(1)
        command = f"nuclio run --install {self.file}"
        self.assertIn(f"install what requirements.txt lists with: {command}", told)


class WithUv(InstallCase):
    programs = (UV,)

    def test_requirements(self):
        self.requirements()
        self.assertTrue(self.answer("--install").startswith(f"installed {self.home / '.venv'}"))
        self.assertIn("uv", (self.home / ".venv/pyvenv.cfg").read_text())


if __name__ == "__main__":
    unittest.main()
