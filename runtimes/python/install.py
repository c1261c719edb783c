"""Installs what a function lists into a virtual environment, with uv or else pip.

Run by `nuclio run --install` on the interpreter that is to serve the function; standard library
only. An interpreter of an environment gets the packages there, for any other `.venv` beside the
function is made. The last line of the output is the interpreter to use.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib

# A larger file is no list of packages.
_LIST_BYTES_MAX = 1 << 20
_USAGE, _FAILED = 2, 1


def main(code):
    folder = code if os.path.isdir(code) else os.path.dirname(code)
    listed = _script_block(code) or _requirements(folder) or _project(folder)
    if listed is None:
        _end(
            _USAGE,
            f"--install: nothing says what {code} needs; write a requirements.txt or a "
            "pyproject.toml beside it, or a block `# /// script` with dependencies = [..] into it",
        )
    name, requires, packages = listed
    if requires and not _is_met(requires):
        version = ".".join(map(str, sys.version_info[:3]))
        _end(
            _USAGE,
            f"{name} requires Python {requires}, and {sys.executable} is {version}; "
            "choose another with --python PATH",
        )
    python, is_new = _environment(folder)
    try:
        if packages:
            _install(python, packages)
    except BaseException:
        if is_new:
            shutil.rmtree(os.path.join(folder, ".venv"), ignore_errors=True)
        raise
    print(python)


def _script_block(code):
    """What an inline block says (PEP 723)."""
    if not os.path.isfile(code):
        return None
    lines = iter(_read(code).splitlines())
    if not any(line.rstrip() == "# /// script" for line in lines):
        return None
    block = []
    for line in lines:
        if line.rstrip() == "# ///":
            return _listed(os.path.basename(code), _toml(code, "\n".join(block)))
        if not line.startswith("# ") and line.rstrip() != "#":
            break
        block.append(line[2:])
    return _end(_USAGE, f"{code}: the block `# /// script` has no end; close it with `# ///`")


def _requirements(folder):
    file = os.path.join(folder, "requirements.txt")
    return ("requirements.txt", "", ["-r", file]) if os.path.isfile(file) else None


def _project(folder):
    file = os.path.join(folder, "pyproject.toml")
    if not os.path.isfile(file):
        return None
    project = _toml(file, _read(file)).get("project")
    return _listed("pyproject.toml", project) if isinstance(project, dict) else None


def _listed(name, table):
    packages = table.get("dependencies", [])
    wrong = not isinstance(packages, list) or [
        one for one in packages if not isinstance(one, str) or one.startswith("-")
    ]
    if wrong:
        _end(_USAGE, f"{name}: dependencies: {packages!r}: write a list of names with versions")
    return name, str(table.get("requires-python", "")), packages


def _read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(_LIST_BYTES_MAX)


def _toml(path, text):
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _end(_USAGE, f"{path}: {error}")


def _is_met(requires):
    """Whether this interpreter is one of `>=3.11,<3.14`; what is not understood is left to pip."""
    for clause in requires.split(","):
        found = re.fullmatch(r"\s*(>=|<=|>|<|==|!=|~=)\s*(\d+(?:\.\d+)*)(\.\*)?\s*", clause)
        if not found:
            continue
        operator, text, _ = found.groups()
        wanted = tuple(map(int, text.split(".")))
        own = tuple(sys.version_info[:3])[: len(wanted)]
        met = {
            ">=": own >= wanted,
            "<=": own <= wanted,
            ">": sys.version_info[:3] > wanted,
            "<": own < wanted,
            "==": own == wanted,
            "!=": own != wanted,
            "~=": own >= wanted and own[: len(wanted) - 1] == wanted[:-1],
        }[operator]
        if not met:
            return False
    return True


def _environment(folder):
    """The interpreter that packages are installed for, and whether its environment is new."""
    if sys.prefix != sys.base_prefix:
        return sys.executable, False
    place = os.path.join(folder, ".venv")
    print(f"making {place} with {sys.executable}", file=sys.stderr)
    uv = shutil.which("uv")
    if uv:
        made = _run([uv, "venv", "--quiet", "--python", sys.executable, place])
    else:
        made = _run([sys.executable, "-I", "-m", "venv", place])
    if not made:
        shutil.rmtree(place, ignore_errors=True)
        _end(_FAILED, f"{place} cannot be made; install uv, or Python's venv (python3-venv)")
    return os.path.join(place, "bin", "python3"), True


def _install(python, packages):
    uv = shutil.which("uv")
    if uv:
        installed = _run([uv, "pip", "install", "--quiet", "--python", python, *packages])
    else:
        pip = [python, "-I", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        installed = _run([*pip, *packages])
    if not installed:
        _end(_FAILED, f"not everything could be installed for {python}; the lines above say why")


def _run(arguments):
    return subprocess.run(arguments, stdout=sys.stderr, stdin=subprocess.DEVNULL).returncode == 0


def _end(code, text):
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
