"""The table of what handlers may return, and the fields of an event as they see it."""

import datetime
import json
import re
import unittest

from faults import FaultCase, function
from wire import Client, request

TEXT, JSON = "text/plain", "application/json"
# Form, status, content type, body; from nuclio's own SDK and the differences of our contract.
FORMS = [
    ("text", 200, TEXT, "héllo".encode()),
    ("empty text", 200, TEXT, b""),
    ("subclass of text", 200, TEXT, b"sub"),
    ("bytes", 200, TEXT, b"\x00\xff"),
    ("none", 200, TEXT, b""),
    ("dict", 200, JSON, b'{"a": [1, null, true, 1.5, "\\u00e9"]}'),
    ("empty dict", 200, JSON, b"{}"),
    ("subclass of dict", 200, JSON, b'{"a": 1}'),
    ("ordered", 200, JSON, b'{"b": 1, "a": 2}'),
    ("list", 200, JSON, b"[1, 2, 3]"),
    ("empty list", 200, JSON, b"[]"),
    ("list of responses", 200, JSON, b'["a", {"b": 1}]'),
    ("number", 200, TEXT, b"5"),
    ("zero", 200, TEXT, b"0"),
    ("true", 200, TEXT, b"True"),
    ("false", 200, TEXT, b"False"),
    ("float", 200, TEXT, b"1.5"),
    ("object", 200, TEXT, b"I speak"),
    ("date", 200, TEXT, b"2026-01-02"),
    ("decimal", 200, TEXT, b"1.50"),
    ("status and text", 201, TEXT, b"made"),
    ("status and dict", 202, JSON, b'{"a": 1}'),
    ("status and list", 202, JSON, b"[1]"),
    ("status and bytes", 203, TEXT, b"raw"),
    ("status and none", 204, None, b""),
    ("status and number", 200, JSON, b"7"),
    ("three", 200, TEXT, b"(1, 2, 3)"),
    ("response", 200, TEXT, b""),
    ("response with text", 200, TEXT, b"b"),
    ("response with all", 418, "text/html", b"<p>"),
    ("response with dict", 200, JSON, b'{"a": 1}'),
    ("response with list", 200, JSON, b"[1]"),
    ("response with bytes", 200, "image/png", b"\xff"),
    ("response with dict and type", 200, TEXT, b'{"a": 1}'),
    ("response with positions", 203, "text/csv", b"b"),
    ("response with type header", 200, "text/csv", b"a,b"),
    ("sdk response", 201, TEXT, b"sdk"),
    ("retry", 503, TEXT, b"try again in 5 s"),
    ("reject", 422, TEXT, b"no such order"),
    ("not a number", 200, JSON, b'{"a": NaN}'),
    ("key of number", 200, JSON, b'{"1": "a"}'),
    ("deep", 200, JSON, b"[" * 200 + b"]" * 200),
]


class Forms(FaultCase):
    """Status, content type and body of each form."""

    code = function("forms")
    probe = "/form/text"

    def test_the_table(self):
        with Client(self.http) as client:
            for form, status, content_type, body in FORMS:
                with self.subTest(form=form):
                    reply = client.ask("POST", f"/form/{form.replace(' ', '_')}")
                    self.assertEqual((reply.status, reply.body), (status, body))
                    if content_type is not None:
                        self.assertEqual(reply.get("Content-Type"), content_type)
                    if status != 204:
                        self.assertEqual(reply.get("Content-Length"), str(len(body)))
                    self.assertEqual(reply.get("Server"), "nuclio")
                    self.assertTrue(reply.get("Date"))

    def test_headers_of_responses(self):
        with Client(self.http) as client:
            for form in ("response_with_all", "response_with_positions"):
                self.assertEqual(client.ask("GET", f"/form/{form}").get("X-A"), "1")
            self.assertEqual(client.ask("GET", "/form/retry").get("Retry-After"), "5")

    def test_results_that_are_raised(self):
        with Client(self.http) as client:
            reply = client.ask("GET", "/raised/retry")
            self.assertEqual((reply.status, reply.get("Retry-After")), (503, "3"))
            reply = client.ask("GET", "/raised/reject")
            self.assertEqual((reply.status, reply.body), (422, b"not now"))
            reply = client.ask("GET", "/raised/other")
            self.assertEqual((reply.status, reply.body), (500, b"ValueError"))


class Fields(FaultCase):
    """What an event says about itself."""

    code = function("forms")
    probe = "/form/text"
    spec = {"eventTimeout": "60s"}

    def fields(self, method="POST", path="/fields", body=b"", headers=()):
        reply = self.ask(method, path, body, headers)
        self.assertEqual(reply.status, 200, reply.body)
        return json.loads(reply.body)

    def test_fields_of_a_request(self):
        headers = ["X-One: 1", "X-Many: a", "x-many: b", "Content-Type: text/csv"]
        seen = self.fields("PUT", "/fields/a%20b?x=1&y=two%2Bthree+four&x=5", b"a,b", headers)
        self.assertEqual((seen["method"], seen["path"]), ("PUT", "/fields/a b"))
        self.assertEqual(seen["fields"]["y"], "two+three four")
        self.assertIn(seen["fields"]["x"], ("1", "5", ["1", "5"]))
        self.assertEqual((seen["content_type"], seen["size"], seen["body"]), ("text/csv", 3, "a,b"))
        self.assertEqual((seen["view"], seen["kind of body"]), ("a,b", "bytes"))
        self.assertEqual(seen["get_header"], ["1", "1", "text/csv", None])
        self.assertEqual(seen["any case"], ["1", "1", "1", None])
        self.assertEqual(seen["in"], [True, True, False])
        self.assertEqual(seen["get_all"], [["a", "b"], ["1"], []])
        self.assertIn("/fields/a", seen["url"])

    def test_fields_that_only_other_sources_have(self):
        seen = self.fields()
        self.assertEqual((seen["shard_id"], seen["num_shards"], seen["offset"]), (0, 0, 0))
        self.assertEqual((seen["type"], seen["type_version"], seen["version"]), ("", "", ""))
        self.assertEqual((seen["topic"], seen["key"], seen["attempt"]), ("", None, 1))
        self.assertIs(seen["last_in_batch"], False)

    def test_trigger_and_context(self):
        seen = self.fields()
        self.assertEqual(seen["trigger"], ["http", "default-http"])
        self.assertEqual(seen["context"], ["http", "default-http", "function", 0, "default"])

    def test_ids_are_unique(self):
        ids = {self.fields()["id"] for _ in range(50)}
        self.assertEqual(len(ids), 50)
        for event_id in ids:
            self.assertTrue(re.fullmatch(r"[0-9a-f-]{16,}", event_id), event_id)

    def test_time(self):
        now = datetime.datetime.now(datetime.UTC)
        seen = self.fields()
        naive, is_naive = seen["timestamp"]
        self.assertTrue(is_naive)
        aware = datetime.datetime.fromisoformat(seen["time"])
        self.assertEqual(aware.utcoffset(), datetime.timedelta(0))
        self.assertEqual(datetime.datetime.fromisoformat(naive), aware.replace(tzinfo=None))
        self.assertLess(abs(aware - now), datetime.timedelta(minutes=1))
        self.assertLessEqual(0, seen["deadline"])

    def test_json_bodies(self):
        for body, content_type, kind, value in [
            (b'{"a": [1, 2.5, "\xc3\xa9"]}', JSON, "dict", {"a": [1, 2.5, "é"]}),
            (b"[1]", JSON, "list", [1]),
            (b"5", JSON, "int", 5),
            (b"null", JSON, "NoneType", None),
            (b"{broken", JSON, "bytes", "{broken"),
            (b"", JSON, "bytes", ""),
            (b'{"a": 1}', "application/json; charset=utf-8", "bytes", '{"a": 1}'),
            (b'{"a": 1}', "text/plain", "bytes", '{"a": 1}'),
        ]:
            with self.subTest(body=body, content_type=content_type):
                seen = self.fields(body=body, headers=[f"Content-Type: {content_type}"])
                self.assertEqual((seen["kind of body"], seen["body"]), (kind, value))
                self.assertEqual(seen["size"], len(body))

    def test_odd_bytes_in_paths_queries_and_headers(self):
        with Client(self.http) as client:
            client.send(
                request("GET", "/fields/%ff%00%2F?%ff=%fe&&=&a&b==c", None, ["X-One: \xe9\xff"])
            )
            reply = client.reply()
            self.assertEqual(reply.status, 200, reply.body)
            seen = json.loads(reply.body)
        self.assertEqual(seen["fields"].get("b"), "=c")
        self.assertEqual(seen["fields"].get("a"), "")
        self.assertTrue(seen["get_header"][0])

    def test_many_headers(self):
        headers = [f"X-H{n}: {'v' * 60}{n}" for n in range(90)]
        seen = self.fields(headers=headers)
        self.assertEqual(seen["headers"]["X-H89"], "v" * 60 + "89")

    def test_to_json_is_nuclios(self):
        seen = self.fields(body=b"abc")["to_json"]
        self.assertEqual(seen["body"], "YWJj")
        self.assertEqual(seen["trigger"], {"kind": "http", "name": "default-http"})
        for name in (
            "content_type",
            "fields",
            "headers",
            "id",
            "method",
            "path",
            "size",
            "timestamp",
            "url",
            "shard_id",
            "num_shards",
            "type",
            "type_version",
            "version",
            "last_in_batch",
            "offset",
            "topic",
        ):
            self.assertIn(name, seen)


if __name__ == "__main__":
    unittest.main()
