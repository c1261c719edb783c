"""What a client would get, and what was logged meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nuclio_sdk import CloudEvent, Headers
from nuclio_sdk.testing._events import make_event

# Of a body, in the form that a failed assertion shows.
_SHOWN_BYTES = 200
# Headers that the processor alone decides about, and those of which the first counts.
_FRAMING = frozenset(
    "connection content-length keep-alive proxy-connection te trailer transfer-encoding "
    "upgrade".split()
)
_SINGLE = frozenset(("content-type", "date", "server"))
# A client that waits for a body of these would wait for ever.
_WITHOUT_BODY = (204, 205, 304)
_WITHOUT_TYPE = (204, 304)


@dataclass
class Record:
    """One log record."""

    level: str
    """debug, info, warn or error."""
    message: str
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(repr=False)
class Reply:
    """What a client would get."""

    status: int
    headers: Headers
    body: bytes
    outcome: str | None = None
    """ok, error, retry or reject; None of a reply over HTTP, and of a deadline that passed."""
    exception: BaseException | None = None
    """What the handler raised, or why what it returned cannot be sent."""
    failed: bool = False
    """The handler raised, or what it returned cannot be sent; `logs` says where."""
    pieces: list[bytes] | None = None
    """The pieces of a streamed body, as far as the client got."""
    broken: bool = False
    """The body has no end: the connection was cut."""
    logs: list[Record] = field(default_factory=list)
    """What was logged meanwhile; of a failed event also why."""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def content_type(self) -> str:
        return str(self.headers.get("Content-Type", ""))

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cloudevent(self) -> CloudEvent | None:
        """The CloudEvent that it carries; None for other replies and for a batch."""
        return make_event(self.body, headers=self.headers).cloudevent

    @property
    def cloudevents(self) -> list[CloudEvent]:
        """Every CloudEvent in it: none, one, or those of a batch."""
        return make_event(self.body, headers=self.headers).cloudevents

    def __repr__(self) -> str:
        shown = repr(self.body[:_SHOWN_BYTES]) + ("..." if len(self.body) > _SHOWN_BYTES else "")
        more = f" after {self.exception!r}" if self.exception is not None else ""
        return f"<Reply {self.status} {self.content_type} {shown}{more}>"


def headers_of(
    status: int, content_type: str | None, lines: Iterable[tuple[bytes, bytes]]
) -> Headers:
    """The headers that the processor sends for an answer, but for those of its own."""
    headers, seen = Headers(), set()
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]
    has_type = any(name.lower() == "content-type" for name, _ in pairs)
    if content_type is not None and not has_type and status not in _WITHOUT_TYPE:
        headers.add("Content-Type", content_type)
    for name, value in pairs:
        low = name.lower()
        if low in _FRAMING or (low in _SINGLE and low in seen):
            continue
        seen.add(low)
        headers.add(name, value)
    return headers


def has_body(method: Any, status: int) -> bool:
    """False where the client gets a head only."""
    return method not in ("HEAD", b"HEAD") and status not in _WITHOUT_BODY
