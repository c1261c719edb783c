"""`processor --config FILE` and `nuclio run -f FILE` with mistakes in the file: all of them told at
once, each with its place, and nothing started."""

import json
import subprocess
import unittest

from desk import Desk, Said
from processor import HANDLER, PROCESSOR, function_yaml, http_trigger

LIMIT_S = 30

# One kind of mistake each: a piece of `spec`, and words of the line that must name it.
MISTAKES = [
    ({"handlr": "a:b"}, ["spec.handlr", "handler?"]),
    ({"handler": ["a"]}, ["spec.handler", "list", "text"]),
    ({"runtime": "pyton"}, ["spec.runtime", "python?"]),
    ({"runtime": "java"}, ["spec.runtime", "not installed", "python"]),
    ({"minReplicas": -1}, ["spec.minReplicas", "-1", "whole number"]),
    ({"env": [{"nam": "A"}]}, ["spec.env[0].nam", "name?"]),
    ({"env": {"A": "b"}}, ["spec.env"]),
    ({"eventTimeout": "soon"}, ["spec.eventTimeout", "soon", "30s"]),
    ({"eventTimeout": "-1s"}, ["spec.eventTimeout", "negative"]),
    ({"eventTimeout": "0s"}, ["spec.eventTimeout"]),
    ({"resources": 5}, ["spec.resources", "number"]),
    ({"triggers": {"a": {"kind": "htpp"}}}, ["spec.triggers.a.kind", "http?"]),
    ({"triggers": {"a": {"kind": "kafka-cluster"}}}, ["spec.triggers.a.kind", "not built"]),
    ({"triggers": {"a": {}}}, ["spec.triggers.a.kind", "missing"]),
    (
        {"triggers": {"a": {"kind": "http"}, "b": {"kind": "http"}}},
        ["spec.triggers.b", "second HTTP trigger"],
    ),
    ({"triggers": http_trigger(numWorkers="many")}, ["spec.triggers.web.numWorkers", "auto"]),
    ({"triggers": http_trigger(numWorkers=0)}, ["spec.triggers.web.numWorkers", "100000"]),
    ({"triggers": http_trigger(maxInflight=9999)}, ["spec.triggers.web.maxInflight", "8192"]),
    (
        {"triggers": http_trigger({"maxRequestBodySize": -1})},
        ["spec.triggers.web.attributes.maxRequestBodySize", "-1"],
    ),
    (
        {"triggers": http_trigger({"maxRequestBodySize": "big"})},
        ["spec.triggers.web.attributes.maxRequestBodySize", "big"],
    ),
    (
        {"triggers": http_trigger({"cors": {"enabled": "perhaps"}})},
        ["spec.triggers.web.attributes.cors.enabled", "true or false"],
    ),
    (
        {"triggers": http_trigger({"cors": {"enabled": True, "allowOrigins": ["a\nb"]}})},
        ["spec.triggers.web.attributes.cors.allowOrigins[0]"],
    ),
]

# What only shows when the file is read: the surroundings do not allow it.
IMPOSSIBLE = [
    ({"build": {"path": "nowhere.py"}}, ["spec.build.path", "nowhere.py"]),
    ({"build": {"path": ""}}, ["spec.build.path"]),
    (
        {"triggers": http_trigger({"maxRequestBodySize": 200_000_000})},
        ["maxRequestBodySize", "200000000", "half of the event memory", "at most"],
    ),
    (
        {
            "triggers": http_trigger({"maxRequestBodySize": (4 << 20) + 1}),
            "limits": {"eventMemory": "8Mi"},
        },
        ["maxRequestBodySize", "half of the event memory", "4194304", "spec.limits.eventMemory"],
    ),
    ({"limits": {"responseArena": 1}}, ["spec.limits.responseArena"]),
    ({"isolation": "strict"}, ["spec.isolation"]),
    ({"triggers": http_trigger(numWorkers=100_000)}, ["open files", "ulimit"]),
]

TEXTS = {
    "nothing": ("", ["empty"]),
    "a list": ("- 1\n", ["list"]),
    "a text": ("hello\n", ["text"]),
    "no YAML": ("a: [b\n", ["not valid YAML", "line 1"]),
    "a key twice": (
        "apiVersion: nuclio.io/v1\nkind: Function\nmetadata: {name: a}\nmetadata: {name: b}\n",
        ["metadata", "twice", "line 4"],
    ),
    "another kind": (
        "apiVersion: nuclio.io/v1\nkind: Functoin\nmetadata: {name: a}\n",
        ["kind", "Function?"],
    ),
    "another version": (
        "apiVersion: nuclio.io/v9\nkind: Function\nmetadata: {name: a}\n",
        ["apiVersion", "nuclio.io/v1"],
    ),
    "a name that is none": (
        "apiVersion: nuclio.io/v1\nkind: Function\nmetadata: {name: Hello_World}\n",
        ["metadata.name", "hello-world"],
    ),
    "deep nesting": ("a: " + "[" * 200 + "]" * 200 + "\n", ["deep"]),
    "aliases that grow": (
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n"
            for n in range(8)
        ),
        [],
    ),
    "control bytes": ("a: \x00\x01\n", []),
}


class Config(unittest.TestCase):
    def setUp(self):
        self.desk = Desk()
        self.addCleanup(self.desk.__exit__)
        self.desk.file("function.py", HANDLER)

    def refused(self, words, lines=None, programs=("processor", "nuclio")):
        """Both programs say the same of function.yaml, and start nothing."""
        for program in programs:
            said = getattr(self, program)()
            self.assertEqual((said.code, said.stdout), (2, ""), said)
            told = said.stderr.splitlines()
            self.assertTrue(told and all(line.startswith("error: ") for line in told), said)
            if lines:
                self.assertEqual(len(told), lines, said)
            for word in words:
                self.assertIn(word, said.stderr)
            self.assertEqual(self.desk.left_running(), [])
            self.assertEqual(self.desk.registered(), [])

    def nuclio(self):
        return self.desk.nuclio("run", "function.py", "-f", "function.yaml")

    def processor(self):
        argv = [PROCESSOR, "--config", "function.yaml"]
        where = {"cwd": self.desk.folder, "env": self.desk.environment()}
        ended = subprocess.run(argv, **where, capture_output=True, text=True, timeout=LIMIT_S)
        return Said(ended.returncode, ended.stdout, ended.stderr, 0)

    def spec(self, piece):
        whole = {"runtime": "python", "build": {"path": "function.py"}, **piece}
        self.desk.file("function.yaml", function_yaml(whole))

    def test_each_mistake(self):
        for piece, words in MISTAKES:
            with self.subTest(json.dumps(piece)):
                self.spec(piece)
                self.refused(words)

    def test_what_is_not_possible_here(self):
        for piece, words in IMPOSSIBLE:
            with self.subTest(json.dumps(piece)):
                self.spec(piece)
                # On the command line the code is named, whatever the file says.
                named = ["nuclio"] if "build" not in piece else []
                self.refused(words, programs=["processor", *named])

    def test_several_mistakes_at_once(self):
        self.spec(
            {
                "handlr": "a:b",
                "eventTimeout": "soon",
                "minReplicas": -1,
                "env": [{"nam": "A", "name": "B", "value": 1}],
                "triggers": {
                    "one": {"kind": "htpp"},
                    "two": {"kind": "http", "numWorkers": "x", "attributes": {"port": 99999}},
                },
            }
        )
        named = ["handlr", "eventTimeout", "minReplicas", "env[0].nam", "one.kind"]
        self.refused([*named, "two.numWorkers", "two.attributes.port"], lines=7)

    def test_files_that_hold_no_function(self):
        for name, (text, words) in TEXTS.items():
            with self.subTest(name):
                self.desk.file("function.yaml", text)
                self.refused(words)

    def test_files_that_cannot_be_read(self):
        file = self.desk.folder / "function.yaml"
        file.write_bytes(b"a: \xff\xfe\n")
        self.refused(["function.yaml"], lines=1)
        file.write_bytes(b"#" * (2 << 20))
        self.refused(["function.yaml", "2097152 bytes", "at most"], lines=1)
        file.unlink()
        self.refused(["function.yaml", "no file"], lines=1, programs=["nuclio"])
        self.refused(["function.yaml", "No such file"], lines=1, programs=["processor"])
        file.mkdir()
        self.refused(["function.yaml", "irectory"], lines=1)


if __name__ == "__main__":
    unittest.main()
