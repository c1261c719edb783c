"""Replies of every size and form, right and wrong; for `test_handler_replies.py`."""

import hashlib

kept = []


def size(context, event, argument):
    """A body of that many bytes, of the kind that is named."""
    kind, _, count = argument.partition("/")
    body = bytes(i & 0xFF for i in range(256)) * (int(count) // 256 + 1)
    body = body[: int(count)]
    if kind == "bytes":
        return body
    if kind == "text":
        return "\N{SNAKE}" * (int(count) // 4)
    if kind == "bytearray":
        return bytearray(body)
    if kind == "view":
        return memoryview(body)
    if kind == "strided":
        return memoryview(bytes(2 * int(count)))[::2]
    if kind == "json":
        return {"text": "x" * int(count)}
    if kind == "response":
        return context.Response(body=body, content_type="application/octet-stream", status_code=201)
    return None


def echo(context, event, argument):
    if argument == "view":
        return event.body_view
    if argument == "slice":
        return event.body_view[1:-1]
    if argument == "copy":
        return bytes(event.body_view)
    if argument == "response":
        return context.Response(body=event.body_view, headers={"X-Size": event.size})
    return event.body


def digest(context, event, argument):
    return hashlib.sha256(event.body_view).hexdigest()


def headers(context, event, argument):
    given = {
        "injection": {"X-A": "one\r\nX-Injected: two\r\n\r\n<html>"},
        "line": {"X-A": "one\ntwo"},
        "nul": {"X-A": "one\0two"},
        "name": {"X A": "1"},
        "colon": {"X-A: 1\r\nX-B": "1"},
        "empty": {"": "1"},
        "huge": {"X-A": "x" * 100_000},
        "many": {f"X-{n}": "x" * 50 for n in range(2000)},
        "latin": {"X-A": "caf\xe9"},
        "snake": {"X-A": "\N{SNAKE}"},
        "bytes": {"X-A": b"\xff\xfe", b"X-B": b"plain"},
        "surrogate": {"X-A": "\udcff"},
        "none": {"X-A": None},
        "number": {"X-A": 5, "X-B": 1.5, "X-C": True},
        "list": {"X-A": ["1", "2"], "Set-Cookie": ("a=1", "b=2")},
        "blank": {"X-A": "  padded  ", "X-B": ""},
        "length": {"Content-Length": "9999"},
        "length_list": {"Content-Length": ["1", "2"]},
        "coding": {"Transfer-Encoding": "chunked"},
        "connection": {"Connection": "close"},
        "keep": {"Keep-Alive": "timeout=1", "Connection": "keep-alive"},
        "upgrade": {"Upgrade": "websocket", "Connection": "Upgrade"},
        "server": {"Server": "mine", "Date": "never"},
        "type": {"content-type": "text/csv"},
        "type_list": {"Content-Type": ["text/csv", "text/html"]},
        "trailer": {"Trailer": "X-A"},
        "large": {f"X-{n}": "x" * 100 for n in range(30)},
    }[argument]
    return context.Response(body="body", headers=given)


def status(context, event, argument):
    return context.Response(body="body", status_code=int(argument))


def keep_view(context, event, argument):
    """Keeps the view itself: the slot must not be used for anything else."""
    kept.append((hashlib.sha256(event.body_view).hexdigest(), event.body_view))
    return "kept"


def keep_event(context, event, argument):
    """Keeps the event: what it holds must be read right later."""
    kept.append((hashlib.sha256(bytes(event.body_view)).hexdigest(), event))
    return "kept"


def keep_slice(context, event, argument):
    view = event.body_view[10:-10]
    kept.append((hashlib.sha256(view).hexdigest(), view))
    return "kept"


def keep_both(context, event, argument):
    """Answers with the very memory that is kept."""
    kept.append((hashlib.sha256(event.body_view).hexdigest(), event.body_view))
    return event.body_view


def check(context, event, argument):
    """How many of the kept ones have the bytes they had."""
    right = 0
    for expected, it in kept:
        view = it if isinstance(it, memoryview) else it.body
        right += hashlib.sha256(view).hexdigest() == expected
    return [right, len(kept)]


def late(context, event, argument):
    """Asks a kept event for a view, after its handler has returned."""
    wrong = 0
    for expected, it in kept:
        if not isinstance(it, memoryview):
            wrong += hashlib.sha256(it.body_view).hexdigest() != expected
            wrong += it.headers["X-Mark"] != it.get_header("x-mark") or it.path != "/keep_event"
    return str(wrong)


def writes(context, event, argument):
    view = event.body_view
    try:
        view[0] = 0
    except TypeError as error:
        return str(error)
    return "written"


def let_go(context, event, argument):
    kept.clear()
    return "gone"


def ok(context, event, argument):
    return "ok"


def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    return globals()[word](context, event, argument)
