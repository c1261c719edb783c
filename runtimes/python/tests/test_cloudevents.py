"""CloudEvents 0.1 and 1.0, structured, binary and in batches, in and out of a real processor."""

import base64
import json
import unittest

import nuclio_sdk
from nuclio_sdk import CloudEvent, cloudevent
from served import ServedCase

CODE = """
from nuclio_sdk import CloudEvent, Response

def handler(context, event):
    word = event.path.strip("/")
    if word == "plain":
        return {"id": event.id, "type": event.type, "seen": event.cloudevent is not None,
                "body": event.body.decode(), "n": len(event.cloudevents)}
    if word.startswith("out"):
        made = CloudEvent("made", "/here", {"k": 1}, id="9", subject="é x",
                          extensions={"own": "1"})
        made.time = None
        if word == "out-old":
            made.specversion = "0.1"
        if word == "out-batch":
            return Response.cloudevent([made, made])
        return made if word in ("out", "out-old") else made.binary()
    one = event.cloudevent
    body = event.body
    return {
        "body": body.decode() if isinstance(body, bytes) else body,
        "bytes": isinstance(body, bytes),
        "content_type": event.content_type, "id": event.id, "type": event.type,
        "type_version": event.type_version, "version": event.version,
        "timestamp": str(event.timestamp), "kind": event.trigger.kind, "name": event.trigger.name,
        "all": len(event.cloudevents),
        "source": one and one.source, "subject": one and one.subject,
        "extensions": one and one.extensions,
    }
"""

NEW = {
    "specversion": "1.0",
    "type": "com.example.order",
    "source": "/orders",
    "id": "A-1",
    "time": "2020-01-02T03:04:05.5Z",
    "subject": "blue",
    "datacontenttype": "application/json",
    "comexampleown": "x",
    "data": {"n": 1},
}
OLD = {
    "cloudEventsVersion": "0.1",
    "eventType": "com.example.order",
    "eventTypeVersion": "2.0",
    "source": "/orders",
    "eventID": "A-1",
    "eventTime": "2020-01-02T03:04:05Z",
    "contentType": "application/json",
    "extensions": {"own": "x"},
    "data": {"n": 1},
}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}


class ComingIn(ServedCase):
    code = CODE

    def seen(self, body, headers):
        reply = self.ask("/in", body if isinstance(body, bytes) else json.dumps(body), headers)
        self.assertEqual(reply.status, 200, reply.text)
        return reply.json

    def test_structured_1_0(self):
        seen = self.seen(NEW, STRUCTURED)
        self.assertEqual((seen["body"], seen["content_type"]), ({"n": 1}, "application/json"))
        self.assertEqual((seen["id"], seen["type"]), ("A-1", "com.example.order"))
        self.assertEqual((seen["version"], seen["kind"]), ("1.0", "/orders"))
        self.assertEqual(seen["timestamp"], "2020-01-02 03:04:05.500000")
        self.assertEqual((seen["source"], seen["subject"]), ("/orders", "blue"))
        self.assertEqual((seen["extensions"], seen["all"]), ({"comexampleown": "x"}, 1))
        self.assertEqual(seen["name"], "default-http")

    def test_structured_0_1_is_as_in_nuclio(self):
        seen = self.seen(OLD, {"Content-Type": "application/cloudevents+json; charset=utf-8"})
        self.assertEqual((seen["body"], seen["content_type"]), ({"n": 1}, "application/json"))
        self.assertEqual((seen["id"], seen["type"]), ("A-1", "com.example.order"))
        self.assertEqual((seen["type_version"], seen["version"]), ("2.0", "0.1"))
        self.assertEqual((seen["kind"], seen["timestamp"]), ("/orders", "2020-01-02 03:04:05"))
        self.assertEqual(seen["extensions"], {"own": "x"})
        text = self.seen({**OLD, "contentType": "text/plain", "data": "words"}, STRUCTURED)
        self.assertEqual((text["body"], text["bytes"]), ("words", True))

    def test_structured_bytes(self):
        data = base64.b64encode(b"raw").decode()
        told = {**NEW, "datacontenttype": "application/octet-stream", "data_base64": data}
        del told["data"]
        seen = self.seen(told, STRUCTURED)
        self.assertEqual((seen["body"], seen["bytes"]), ("raw", True))
        self.assertEqual(seen["content_type"], "application/octet-stream")

    def test_binary_1_0(self):
        headers = {
            "ce-specversion": "1.0",
            "ce-type": "com.example.order",
            "ce-source": "/orders",
            "ce-id": "A%20%C3%A9",
            "ce-time": "2020-01-02T03:04:05+01:00",
            "ce-comexampleown": "x",
            "Content-Type": "application/json",
        }
        seen = self.seen(b'{"n": 1}', headers)
        self.assertEqual((seen["body"], seen["content_type"]), ({"n": 1}, "application/json"))
        self.assertEqual((seen["id"], seen["type"]), ("A é", "com.example.order"))
        self.assertEqual((seen["timestamp"], seen["all"]), ("2020-01-02 02:04:05", 1))
        self.assertEqual(seen["extensions"], {"comexampleown": "x"})

    def test_binary_0_1(self):
        headers = {
            "CE-CloudEventsVersion": "0.1",
            "CE-EventType": "t",
            "CE-EventTypeVersion": "3",
            "CE-Source": "/s",
            "CE-EventID": "7",
            "CE-X-own": "x",
        }
        seen = self.seen(b"data", headers)
        self.assertEqual((seen["body"], seen["id"], seen["type"]), ("data", "7", "t"))
        self.assertEqual((seen["type_version"], seen["version"]), ("3", "0.1"))
        self.assertEqual((seen["kind"], seen["extensions"]), ("/s", {"own": "x"}))

    def test_batch(self):
        seen = self.seen([NEW, NEW], {"Content-Type": "application/cloudevents-batch+json"})
        self.assertEqual((seen["all"], seen["source"]), (2, None))
        self.assertEqual(seen["body"], [NEW, NEW])

    def test_what_is_none_stays_as_it_came(self):
        for body in (b"{", b"5", b"[1]", b"{}", b'{"data": 1}', b"\xff", b""):
            with self.subTest(body):
                reply = self.ask("/in", body, STRUCTURED, method="POST")
                if body != b"\xff":  # which is no text for the handler's own JSON
                    self.assertEqual(reply.json["body"], body.decode())
                    self.assertEqual((reply.json["all"], reply.json["source"]), (0, None))
        seen = self.ask("/plain", b"x", {"X-A": "ce-specversion"}).json
        self.assertEqual((seen["seen"], seen["n"], seen["type"]), (False, 0, ""))
        self.assertEqual(seen["body"], "x")


class WhereTextsAreBytes(ServedCase):
    code = """
def handler(context, event):
    return repr([event.id, event.type, event.trigger.kind, event.cloudevent.extensions])
"""
    env = {"NUCLIO_PYTHON_DECODE_EVENT_STRINGS": "false"}

    def test_in_both_forms(self):
        told = repr([b"A-1", b"com.example.order", b"/orders", {"comexampleown": "x"}])
        self.assertEqual(self.ask("/", json.dumps(NEW), STRUCTURED).text, told)
        binary = {f"ce-{name}": NEW[name] for name in ("specversion", "type", "source", "id")}
        binary["ce-comexampleown"] = "x"
        self.assertEqual(self.ask("/", b"data", binary).text, told)


class GoingOut(ServedCase):
    code = CODE

    def test_structured(self):
        reply = self.ask("/out")
        self.assertEqual(reply.headers["Content-Type"], "application/cloudevents+json")
        self.assertEqual(
            reply.json,
            {
                "specversion": "1.0",
                "type": "made",
                "source": "/here",
                "id": "9",
                "subject": "é x",
                "own": "1",
                "data": {"k": 1},
            },
        )

    def test_binary(self):
        reply = self.ask("/out-binary")
        self.assertEqual((reply.headers["ce-id"], reply.headers["ce-own"]), ("9", "1"))
        self.assertEqual(reply.headers["ce-subject"], "%C3%A9%20x")
        self.assertEqual(reply.headers["Content-Type"], "application/json")
        self.assertEqual(reply.json, {"k": 1})

    def test_0_1(self):
        told = self.ask("/out-old").json
        self.assertEqual((told["eventType"], told["eventID"]), ("made", "9"))
        self.assertEqual((told["cloudEventsVersion"], told["extensions"]), ("0.1", {"own": "1"}))

    def test_batch(self):
        reply = self.ask("/out-batch")
        self.assertEqual(reply.headers["Content-Type"], "application/cloudevents-batch+json")
        self.assertEqual([one["id"] for one in reply.json], ["9", "9"])


class WithoutProcessor(unittest.TestCase):
    def test_there_and_back(self):
        for version in ("1.0", "0.1"):
            made = CloudEvent("t", "/s", {"k": [1]}, specversion=version, extensions={"own": "x"})
            made.datacontenttype = "application/json"
            self.assertEqual(cloudevent.of_dict(json.loads(made.structured().body)), made)
            binary = made.binary()
            data = json.loads(binary.body)
            back = cloudevent.of_headers(binary.headers, binary.content_type, data)
            self.assertEqual(back, made)
        with self.assertRaisesRegex(ValueError, "structured or binary, not 'both'"):
            nuclio_sdk.Response.cloudevent(made, mode="both")


if __name__ == "__main__":
    unittest.main()
