"""Handlers in Ruby, served as a user serves them; what every worker must do is the kit's to check."""

import json
import os
import signal
import unittest

from faults import FaultCase
from processor import REPOSITORY, Processor, http_trigger, is_alive, wait_until
from wire import ask

CODE = """
def init_context(context)
  context.user_data[:greeting] = 'hello'
end

def handler(context, event)
  case event.path
  when '/ok' then 'ok'
  when '/about'
    { method: event.method, path: event.path, query: event.query, fields: event.fields,
      kind: event.trigger.kind, name: event.trigger.name, attempt: event.attempt,
      id: event.id, left: event.time_left, greeting: context.user_data[:greeting],
      json: event.json }
  when '/pair' then [201, { a: 1 }]
  when '/list' then [1, 2, 3]
  when '/nothing' then nil
  when '/response'
    Nuclio::Response.new(body: '<p>', status: 418, content_type: 'text/html', headers: { 'X-A' => %w[1 2] })
  when '/retry' then context.retry(after: 5)
  when '/reject' then raise context.reject('no such order')
  when '/stream' then (1..3).lazy.map { |n| "#{n}\\n" }
  when '/raise' then raise ArgumentError, 'bad order'
  when '/deep' then handler(context, event)
  when '/exit' then exit 3
  when '/exit!' then exit! 3
  when '/kill' then Process.kill(:KILL, Process.pid)
  when '/break' then Nuclio::Response.new(headers: { 'X-A' => "a\\r\\nX-B: b" })
  when '/status' then Nuclio::Response.new(status: 99)
  when '/spin' then loop {}
  when '/print'
    print 'one', "\\n", 'two'
    warn 'three'
    context.logger.info_with('four', price: 3)
    event.id
  else event.body
  end
end
"""
FORMS = [
    ("/pair", 201, "application/json", b'{"a":1}'),
    ("/list", 200, "application/json", b"[1,2,3]"),
    ("/nothing", 200, "text/plain", b""),
    ("/response", 418, "text/html", b"<p>"),
    ("/retry", 503, "text/plain", b"try again in 5 s"),
    ("/reject", 422, "text/plain", b"no such order"),
    ("/stream", 200, "text/plain", b"1\n2\n3\n"),
]


class Served(FaultCase):
    code = CODE
    file = "function.rb"
    spec = {"eventTimeout": "2s", "triggers": http_trigger()}
    keeps_workers = False

    def test_forms(self):
        for path, status, content_type, body in FORMS:
            with self.subTest(path):
                reply = self.ask("GET", path)
                found = (reply.status, reply.get("Content-Type"), reply.body)
                self.assertEqual(found, (status, content_type, body))
        self.assertEqual(self.ask("GET", "/response").get_all("X-A"), ["1", "2"])

    def test_the_event_says_what_it_is(self):
        about = json.loads(self.ask("PUT", "/about?a=1&a=%C4%84", b'{"b": 2}').body)
        self.assertEqual((about["method"], about["path"]), ("PUT", "/about"))
        self.assertEqual((about["query"], about["fields"]), ("a=1&a=%C4%84", {"a": "Ą"}))
        self.assertEqual((about["kind"], about["attempt"]), ("http", 1))
        self.assertEqual((about["greeting"], about["json"]), ("hello", {"b": 2}))
        self.assertRegex(about["id"], r"^[0-9a-f-]{36}$")
        self.assertTrue(0 < about["left"] <= 2, about["left"])

    def test_failures_are_of_their_event(self):
        pids = self.processor.worker_pids()
        for path, told in (
            ("/raise", "ArgumentError: bad order"),
            ("/deep", "SystemStackError"),
            ("/exit", "SystemExit: exit was called"),
            ("/break", "line break"),
            ("/status", "from 200 to 599, not 99"),
        ):
            with self.subTest(path):
                reply = self.ask("POST", path)
                self.assertEqual(reply.status, 500)
                self.assertIn(told, reply.body.decode())
        self.assertEqual(self.processor.worker_pids(), pids)
        self.wait_record(level="error", text="function.rb:")

    def test_a_death_costs_its_event(self):
        for path in ("/exit!", "/kill"):
            with self.subTest(path):
                self.assertEqual(self.ask("POST", path).status, 502)
                self.assertEqual(self.ask("GET", "/ok").body, b"ok")
        (pid,) = self.processor.worker_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.processor.worker_pids() not in ([], [pid]), "another worker")
        self.assertEqual(self.ask("GET", "/ok").body, b"ok")

    def test_a_handler_past_its_time_is_replaced(self):
        (pid,) = self.processor.worker_pids()
        self.assertEqual(self.ask("POST", "/spin").status, 408)
        self.assertEqual(self.ask("GET", "/ok").body, b"ok")
        wait_until(lambda: not is_alive(pid), "its worker was replaced")

    def test_lines_are_records_of_their_event(self):
        event_id = self.ask("GET", "/print").body.decode()
        found = wait_until(lambda: self.records(event_id=event_id)[3:], "four records")
        self.assertEqual(found[-1]["message"], "two")
        words = [record["message"] for record in self.records(event_id=event_id)]
        self.assertEqual(words, ["one", "three", "four", "two"])


class Batches(FaultCase):
    code = """
def handler(context, events)
  return events.body unless events.is_a?(Array)

  events.map { |event| [200, "#{event.body} of #{events.size}"] }
end
"""
    file = "function.rb"
    probe = "/"
    batch = {"mode": "enable", "batchSize": 1, "timeout": "1s"}
    spec = {"triggers": {"web": {"kind": "http", "batch": batch}}}

    def test_a_batch_of_one(self):
        self.assertEqual(self.ask("POST", "/", b"one").body, b"one of 1")


class Refusals(unittest.TestCase):
    CASES = (
        ("def handler(context, event", 2, "syntax error"),
        ("X = 1", 2, "has no handler"),
        ("def a(x, y); end\ndef b(x, y); end", 2, "name one of: a, b"),
        ("raise 'at load'", 1, "RuntimeError: at load"),
        ("require 'no_such_gem/part'", 1, "gem install no_such_gem"),
        ("exit 7", 1, "exit was called"),
        ("def init_context(context) = raise('no base')\ndef handler(c, e) = 1", 1, "no base"),
    )

    def test_refusals(self):
        for code, exit_code, told in self.CASES:
            with self.subTest(code), Processor(code, file="function.rb") as processor:
                self.assertEqual(processor.wait_end(), exit_code, processor.stderr())
                self.assertIn(told, processor.stderr())


class Examples(unittest.TestCase):
    def test_hello(self):
        text = (REPOSITORY / "runtimes/ruby/examples/hello.rb").read_text()
        with Processor(text, file="hello.rb") as processor:
            processor.wait_ready()
            self.assertIn("ruby 3", processor.ready)
            self.assertEqual(ask(processor.http, "GET", "/?name=Ada").body, b"Hello, Ada!\n")
            self.assertEqual(processor.stop(), 0)


if __name__ == "__main__":
    unittest.main()
