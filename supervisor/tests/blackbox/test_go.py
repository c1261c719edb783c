"""Handlers in Go, served as a user serves them; what every worker must do is the kit's to check."""

import json
import pathlib
import shutil
import tempfile
import unittest

from desk import refuse_skip
from faults import FaultCase
from processor import REPOSITORY, Processor, http_trigger
from wire import ask

# The standard library may have to be compiled first.
BUILD_LIMIT_S = 300
CODE = """package main

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/nuclio/nuclio-sdk-go"
)

func InitContext(context *nuclio.Context) error {
	context.UserData = "made"
	return nil
}

func Handler(context *nuclio.Context, event nuclio.Event) (interface{}, error) {
	switch event.GetPath() {
	case "/ok":
		return "ok", nil
	case "/about":
		return map[string]interface{}{"method": event.GetMethod(), "field": event.GetFieldString("a b"),
			"header": event.GetHeaderString("x-own"), "size": event.GetSize(), "data": context.UserData}, nil
	case "/response":
		return nuclio.Response{StatusCode: 418, ContentType: "text/html", Body: []byte("<p>"),
			Headers: map[string]interface{}{"X-A": []string{"1", "2"}}}, nil
	case "/error":
		return nil, errors.New("bad order")
	case "/missing":
		return nil, nuclio.NewErrNotFound("no such order")
	case "/panic":
		var none map[string]int
		none["a"] = 1
	case "/break":
		return nuclio.Response{Headers: map[string]interface{}{"X-A": "a\\r\\nX-B: b"}}, nil
	case "/exit":
		os.Exit(3)
	case "/spin":
		for {
			time.Sleep(time.Second)
		}
	case "/print":
		context.Logger.InfoWith("priced", "price", 3)
		return event.GetID().String(), nil
	}
	return strings.ToUpper(string(event.GetBody())), nil
}
"""


class Served(FaultCase):
    code = CODE
    file = "function.go"
    spec = {"eventTimeout": "2s", "triggers": http_trigger()}
    keeps_workers = False
    start_limit_s = BUILD_LIMIT_S

    @classmethod
    def setUpClass(cls):
        refuse_skip("go")
        super().setUpClass()

    def test_the_event_and_its_answer(self):
        about = json.loads(self.ask("PUT", "/about?a+b=c", b"four", ("X-Own: 1",)).body)
        expected = {"method": "PUT", "field": "c", "header": "1", "size": 4, "data": "made"}
        self.assertEqual(about, expected)
        reply = self.ask("GET", "/response")
        self.assertEqual((reply.status, reply.body), (418, b"<p>"))
        self.assertEqual((reply.get("Content-Type"), reply.get_all("X-A")), ("text/html", ["1", "2"]))
        self.assertEqual(self.ask("POST", "/", b"text").body, b"TEXT")

    def test_failures_are_of_their_event(self):
        for path, status, told in (
            ("/error", 500, "bad order"),
            ("/missing", 404, "no such order"),
            ("/panic", 500, "assignment to entry in nil map"),
            ("/break", 500, "line break"),
            ("/exit", 500, "exit status 3"),
        ):
            with self.subTest(path):
                reply = self.ask("POST", path)
                self.assertEqual(reply.status, status)
                self.assertIn(told, reply.body.decode())
                self.assertEqual(self.ask("GET", "/ok").body, b"ok")
        self.wait_record(text="function.go:")

    def test_a_handler_past_its_time_is_replaced(self):
        self.assertEqual(self.ask("POST", "/spin").status, 408)
        self.assertEqual(self.ask("GET", "/ok").body, b"ok")

    def test_records_belong_to_their_event(self):
        event_id = self.ask("GET", "/print").body.decode()
        self.wait_record(event_id=event_id, text="priced price=3")


class Refusals(unittest.TestCase):
    CASES = (
        ("package main\n\nfunc Handler( {\n", "function.go:3:"),
        ("package other\n", "write package main"),
        ("package main\n\nfunc main() {}\n", "leave it out"),
        ("package main\n\nvar X = 1\n", "which function handles events?"),
        (CODE.replace("return nil\n}", "return 1\n}", 1), "function.go:14:"),
        (CODE.replace('"errors"', '"errors"\n\t_ "example.com/missing"', 1), "go get example.com/missing"),
    )

    def test_refusals(self):
        refuse_skip("go")
        for code, told in self.CASES:
            with self.subTest(told), Processor(code, file="function.go") as processor:
                self.assertEqual(processor.wait_end(BUILD_LIMIT_S), 2, processor.stderr())
                self.assertIn(told, processor.stderr())

    def test_go_is_missing(self):
        env = {"PATH": "/nowhere"}
        with Processor(CODE, file="function.go", env=env) as processor:
            self.assertEqual(processor.wait_end(), 2, processor.stderr())
            self.assertIn("go", processor.stderr())


class Modules(unittest.TestCase):
    def test_a_folder_with_a_package_of_its_own(self):
        refuse_skip("go")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="nuclio-go-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "words").mkdir()
        (folder / "go.mod").write_text("module example.com/function\n\ngo 1.18\n")
        (folder / "words/words.go").write_text('package words\n\nconst Hello = "hello"\n')
        code = CODE.replace('"errors"', '"errors"\n\n\t"example.com/function/words"', 1)
        (folder / "function.go").write_text(code.replace('"ok", nil', "words.Hello, nil", 1))
        with Processor(file=None, flags=["--path", str(folder)]) as processor:
            processor.wait_ready(BUILD_LIMIT_S)
            self.assertEqual(ask(processor.http, "GET", "/ok").body, b"hello")
            self.assertEqual(processor.stop(), 0)
        self.assertEqual(
            sorted(path.name for path in folder.iterdir()), ["function.go", "go.mod", "words"]
        )


class Examples(unittest.TestCase):
    def test_hello(self):
        refuse_skip("go")
        text = (REPOSITORY / "runtimes/go/examples/hello.go").read_text()
        with Processor(text, file="hello.go") as processor:
            processor.wait_ready(BUILD_LIMIT_S)
            self.assertEqual(ask(processor.http, "GET", "/?name=Ada").body, b"Hello, Ada!\n")
            self.assertEqual(processor.stop(), 0)


if __name__ == "__main__":
    unittest.main()
