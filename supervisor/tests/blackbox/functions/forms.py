"""Every form of result, and every field of an event; for `test_return_forms.py`."""

import collections
import datetime
import decimal
import json

import nuclio_sdk


class Text(str):
    pass


class Speaks:
    def __str__(self):
        return "I speak"


class Order(dict):
    pass


def forms(context):
    Response = context.Response
    return {
        "text": "héllo",
        "empty text": "",
        "subclass of text": Text("sub"),
        "bytes": b"\x00\xff",
        "none": None,
        "dict": {"a": [1, None, True, 1.5, "é"]},
        "empty dict": {},
        "subclass of dict": Order(a=1),
        "ordered": collections.OrderedDict(b=1, a=2),
        "list": [1, 2, 3],
        "empty list": [],
        "list of responses": ["a", {"b": 1}],
        "number": 5,
        "zero": 0,
        "true": True,
        "false": False,
        "float": 1.5,
        "object": Speaks(),
        "date": datetime.date(2026, 1, 2),
        "status and text": (201, "made"),
        "status and dict": (202, {"a": 1}),
        "status and list": (202, [1]),
        "status and bytes": (203, b"raw"),
        "status and none": (204, None),
        "status and number": (200, 7),
        "three": (1, 2, 3),
        "response": Response(),
        "response with text": Response(body="b"),
        "response with all": Response(
            headers={"X-A": "1"}, body="<p>", content_type="text/html", status_code=418
        ),
        "response with dict": Response(body={"a": 1}),
        "response with list": Response(body=[1]),
        "response with bytes": Response(body=b"\xff", content_type="image/png"),
        "response with dict and type": Response(body={"a": 1}, content_type="text/plain"),
        "response with positions": Response({"X-A": "1"}, "b", "text/csv", 203),
        "response with type header": Response(body="a,b", headers={"Content-Type": "text/csv"}),
        "sdk response": nuclio_sdk.Response(body="sdk", status_code=201),
        "retry": context.retry(after=5),
        "reject": context.reject("no such order"),
        "not a number": {"a": float("nan")},
        "key of number": {1: "a"},
        "decimal": decimal.Decimal("1.50"),
        "deep": json.loads("[" * 200 + "]" * 200),
    }


def raised(context, word):
    if word == "retry":
        raise context.retry(after=2.5)
    if word == "reject":
        raise context.reject("not now")
    raise ValueError


FIELDS = (
    "id",
    "method",
    "path",
    "url",
    "fields",
    "headers",
    "content_type",
    "size",
    "shard_id",
    "num_shards",
    "type",
    "type_version",
    "version",
    "last_in_batch",
    "offset",
    "topic",
    "key",
    "partition",
    "attempt",
)


def fields(context, event):
    seen = {name: getattr(event, name) for name in FIELDS}
    body = event.body
    seen["headers"] = dict(event.headers)
    seen["body"] = body.decode("latin-1") if isinstance(body, bytes) else body
    seen["kind of body"] = type(body).__name__
    seen["trigger"] = [event.trigger.kind, event.trigger.name]
    seen["context"] = [
        context.trigger.kind,
        context.trigger_name,
        context.function_name,
        context.worker_id,
        context.platform.namespace,
    ]
    seen["timestamp"] = [event.timestamp.isoformat(), event.timestamp.tzinfo is None]
    seen["time"] = event.time.isoformat()
    seen["deadline"] = event.deadline
    seen["view"] = bytes(event.body_view).decode("latin-1")
    seen["get_header"] = [event.get_header(n) for n in ("x-one", "X-ONE", "content-TYPE", "no")]
    seen["any case"] = [event.headers.get(n) for n in ("x-one", "X-One", "X-ONE", "no")]
    seen["in"] = ["x-one" in event.headers, "X-ONE" in event.headers, "no" in event.headers]
    seen["get_all"] = [event.headers.get_all(n) for n in ("X-Many", "x-one", "no")]
    seen["to_json"] = json.loads(event.to_json())
    return seen


def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    if word == "fields":
        return fields(context, event)
    if word == "raised":
        return raised(context, argument)
    return forms(context)[argument.replace("_", " ")]
