"""Makes events for tests: what the processor would make of a request."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from _nuclio import event_of_request

from nuclio_sdk import CloudEvent, Event, Response, TriggerInfo

# What may stand in the path of a URL; a percent sign is taken for the begin of an escape.
_PATH_SAFE = "!$%&'()*+,-./:;=@_~"
_QUERY_SAFE = _PATH_SAFE + "?"

# As in the processor: a part for this process, and a number that grows.
_RUN = os.urandom(8)
_numbers = itertools.count(1)

Headers = Mapping[str, Any] | Iterable[tuple[str, Any]]


def make_event(
    body: Any = b"",
    *,
    headers: Headers | None = None,
    method: str | None = None,
    path: str = "/",
    fields: Mapping[str, Any] | None = None,
    content_type: str | None = None,
    trigger: TriggerInfo | None = None,
    timeout: float | None = None,
    **more: Any,
) -> Event:
    """An event as it would come over HTTP.

    `body` is bytes or text; a ``dict`` or ``list`` is sent as JSON, a ``CloudEvent`` (or a list of
    them) as such, and of a ``Response`` its body, headers and content type are sent. `path` is that
    of a URL and may have a query; `fields` are added to it. `timeout` in seconds is `eventTimeout`.
    `more` sets any other field of an event, such as ``topic`` or ``offset``.
    """
    lines, raw = parts_of(body, headers, content_type)
    place, query = target_of(path, fields)
    now = time.monotonic_ns()
    event = event_of_request(
        _RUN + next(_numbers).to_bytes(8, "big"),
        (method or ("POST" if raw else "GET")).encode(),
        place.encode(),
        query.encode(),
        [(name.encode(), value.encode()) for name, value in lines],
        raw,
        time.time_ns(),
        0 if timeout is None else now + round(timeout * 1e9),
    )
    assert isinstance(event, Event)
    # With the setting for strings as bytes, as the rest of the event.
    kind = b"http" if isinstance(event.method, bytes) else "http"
    name = b"default-http" if isinstance(event.method, bytes) else "default-http"
    event.trigger = trigger or TriggerInfo(kind, name)
    # A CloudEvent sets its own fields when one of them is first read, the trigger among them.
    _ = event.version
    for name, value in more.items():
        if not hasattr(event, name):
            raise TypeError(f"an event has no field {name!r}")
        setattr(event, name, value)
    return event


def target_of(path: str, fields: Mapping[str, Any] | None) -> tuple[str, str]:
    """Path and query as they stand in a request."""
    path, _, query = path.partition("?")
    parts = [quote(query, safe=_QUERY_SAFE), urlencode(fields or {})]
    return quote(path, safe=_PATH_SAFE), "&".join(part for part in parts if part)


def parts_of(
    body: Any, headers: Headers | None, content_type: str | None
) -> tuple[list[tuple[str, str]], bytes]:
    """Header lines and body of a request."""
    if isinstance(body, CloudEvent) or _are_cloud_events(body):
        body = Response.cloudevent(body)
    lines: list[tuple[str, str]] = []
    if isinstance(body, Response):
        lines += _lines(body.headers)
        content_type = content_type or body.content_type
        body = body.body
    lines += _lines(headers or {})
    raw, natural_type = _encoded(body)
    given = [value for name, value in lines if name.lower() == "content-type"]
    if content_type is None:
        content_type = given[0] if given else natural_type
    lines = [line for line in lines if line[0].lower() != "content-type"]
    if content_type:
        lines.append(("Content-Type", content_type))
    return lines, raw


def _are_cloud_events(body: Any) -> bool:
    return isinstance(body, list) and bool(body) and all(isinstance(b, CloudEvent) for b in body)


def _lines(headers: Headers) -> list[tuple[str, str]]:
    """Name and value of each line; a list of values is a line each."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [
        (name, str(one))
        for name, value in pairs
        for one in (value if isinstance(value, (list, tuple)) else [value])
    ]


def _encoded(body: Any) -> tuple[bytes, str | None]:
    if body is None:
        return b"", None
    if isinstance(body, str):
        return body.encode(), None
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), None
    return json.dumps(body).encode(), "application/json"
