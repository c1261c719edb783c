"""Prints as JSON what the `nuclio_sdk` found on the path has; run once for each SDK."""

import asyncio
import importlib
import inspect
import json

import nuclio_sdk

MODULES = (
    "context",
    "event",
    "exceptions",
    "helpers",
    "json_encoder",
    "logger",
    "platform",
    "qualified_offset",
    "response",
    "test",
    "testing",
)


def public(names):
    return sorted(name for name in names if not name.startswith("_"))


def of_this_package(module):
    """Names that the module offers itself, not those it imported from elsewhere."""
    for name in public(dir(module)):
        value = getattr(module, name)
        if not inspect.ismodule(value) and "nuclio" in (
            getattr(value, "__module__", "") or "nuclio"
        ):
            yield name


def instances():
    event = nuclio_sdk.Event(topic="t")
    yield "Event", event
    yield "Response", nuclio_sdk.Response()
    yield "TriggerInfo", nuclio_sdk.TriggerInfo()
    yield "Context", nuclio_sdk.Context(trigger=nuclio_sdk.TriggerInfo("http", "web"))
    yield "Platform", nuclio_sdk.Platform("local")
    yield "Logger", nuclio_sdk.Logger("DEBUG")
    yield "QualifiedOffset", nuclio_sdk.QualifiedOffset.from_event(event)
    yield "ExceptionWithResponse", nuclio_sdk.ExceptionWithResponse(404)
    yield "test.Platform", importlib.import_module("nuclio_sdk.test").Platform()


def names():
    found = [f"nuclio_sdk.{name}" for name in of_this_package(nuclio_sdk)]
    # Names that are loaded when asked for are in no `dir`.
    found += [f"nuclio_sdk.{name}" for name in getattr(nuclio_sdk, "_LATER", ())]
    for name in MODULES:
        try:
            module = importlib.import_module(f"nuclio_sdk.{name}")
        except ImportError:
            continue
        found.append(f"nuclio_sdk.{name}")
        # Those of `testing` are loaded when asked for, so no `dir` has them.
        inside = module.__all__ if name == "testing" else of_this_package(module)
        found += [f"nuclio_sdk.{name}.{inner}" for inner in inside]
    for name, instance in instances():
        own = set(dir(instance)) - set(dir(IOError if isinstance(instance, IOError) else object))
        found += [f"{name}.{inner}" for inner in public(own)]
    return sorted(set(found))


FORMS = {
    '"text"': lambda: "text",
    '""': lambda: "",
    'b"bytes"': lambda: b"bytes",
    'b"\\xff"': lambda: b"\xff",
    "None": lambda: None,
    "5": lambda: 5,
    "True": lambda: True,
    '{"a": 1}': lambda: {"a": 1},
    "{}": lambda: {},
    "[1, 2]": lambda: [1, 2],
    "[]": lambda: [],
    '(201, "text")': lambda: (201, "text"),
    '(201, {"a": 1})': lambda: (201, {"a": 1}),
    "(201, [1])": lambda: (201, [1]),
    "(201, None)": lambda: (201, None),
    '(201, b"bytes")': lambda: (201, b"bytes"),
    '("a", "b", "c")': lambda: ("a", "b", "c"),
    "Response()": lambda: nuclio_sdk.Response(),
    'Response(body="text", status_code=201)': lambda: nuclio_sdk.Response(
        body="text", status_code=201
    ),
    'Response(body={"a": 1})': lambda: nuclio_sdk.Response(body={"a": 1}),
    "Response(body=[1])": lambda: nuclio_sdk.Response(body=[1]),
    'Response(body=b"\\xff", content_type="image/png")': lambda: nuclio_sdk.Response(
        body=b"\xff", content_type="image/png"
    ),
    'Response(headers={"X-A": "1"})': lambda: nuclio_sdk.Response(headers={"X-A": "1"}),
    'Response(event_id="7", body="x")': lambda: nuclio_sdk.Response(event_id="7", body="x"),
    "a generator": lambda: (piece for piece in ("a", "b")),
    "Response(body=a generator)": lambda: nuclio_sdk.Response(body=(p for p in ("a", "b"))),
}


def encode(value):
    return json.dumps(value, default=repr)


def answer_of(make):
    value = make()
    kind = nuclio_sdk.Response.get_handler_output_type(value)
    if kind != "single":
        return f"{kind}"
    try:
        answer = nuclio_sdk.Response.from_entrypoint_output(encode, value)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    parts = [str(answer["status_code"]), answer["content_type"], repr(answer["body"])]
    if answer["body_encoding"] != "text":
        parts.append(answer["body_encoding"])
    if answer["headers"]:
        parts.append(json.dumps(dict(answer["headers"])))
    if answer.get("event_id"):
        parts.append(f"event_id {answer['event_id']}")
    return " ".join(parts)


def main():
    asyncio.set_event_loop(asyncio.new_event_loop())
    forms = {name: answer_of(make) for name, make in FORMS.items()}
    print(json.dumps({"names": names(), "forms": forms}))


if __name__ == "__main__":
    main()
