"""CloudEvents 0.1 and 1.0: structured, binary and in batches, coming in and going out.

Loaded when the first one comes or is made. An event's own fields are set as nuclio sets them; the
whole of a CloudEvent is `event.cloudevent`.
"""

import json
import os
from base64 import b64decode, b64encode
from datetime import UTC, datetime

from _nuclio import Response, TriggerInfo

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

# Attributes besides data: ours -> those of JSON in 0.1. Those of 1.0 are ours.
_OLD = {
    "specversion": "cloudEventsVersion",
    "type": "eventType",
    "source": "source",
    "id": "eventID",
    "time": "eventTime",
    "datacontenttype": "contentType",
    "dataschema": "schemaURL",
    "typeversion": "eventTypeVersion",
}
_NEW = ("specversion", "type", "source", "id", "time", "subject", "datacontenttype", "dataschema")
# What may stand in a header as it is: printable ASCII but blank, quote and percent.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class CloudEvent:
    """One CloudEvent. Returned by a handler it is sent in structured form; `binary()` is another.

    `time` is an aware datetime, now unless given; an `id` is made unless given.
    """

    def __init__(
        self,
        type,
        source,
        data=None,
        *,
        id=None,
        time=None,
        subject=None,
        datacontenttype=None,
        dataschema=None,
        specversion="1.0",
        typeversion=None,
        extensions=None,
    ):
        self.type = type
        self.source = source
        self.data = data
        self.id = os.urandom(16).hex() if id is None else id
        self.time = datetime.now(UTC) if time is None else time
        self.subject = subject
        self.datacontenttype = datacontenttype
        self.dataschema = dataschema
        self.specversion = specversion
        self.typeversion = typeversion
        """`eventTypeVersion` of 0.1."""
        self.extensions = {} if extensions is None else dict(extensions)

    def __repr__(self):
        parts = (f"{name}={value!r}" for name, value in vars(self).items() if value)
        return f"CloudEvent({', '.join(parts)})"

    def __eq__(self, other):
        return vars(self) == vars(other) if isinstance(other, CloudEvent) else NotImplemented

    __hash__ = None

    @property
    def is_old(self):
        """True for the names and forms of 0.1."""
        return str(self.specversion).startswith("0.")

    def to_dict(self):
        """As it stands in JSON."""
        told = dict(self._attributes())
        if self.is_old:
            told = {_OLD[name]: value for name, value in told.items() if name in _OLD}
            if self.extensions:
                told["extensions"] = self.extensions
        else:
            told.update(self.extensions)
        if isinstance(self.data, (bytes, bytearray, memoryview)):
            if self.is_old:
                told["data"] = bytes(self.data).decode("utf-8", "replace")
            else:
                told["data_base64"] = b64encode(self.data).decode("ascii")
        elif self.data is not None:
            told["data"] = self.data
        return told

    def structured(self):
        """A response with everything in the body."""
        return Response(body=_json(self.to_dict()), content_type=STRUCTURED)

    def binary(self):
        """A response with the data as the body and the rest in headers."""
        headers = {}
        for name, value in self._attributes():
            if name != "datacontenttype":
                old = _OLD.get(name, name)
                old = old[:1].upper() + old[1:]
                headers[f"CE-{old}" if self.is_old else f"ce-{name}"] = _quoted(value)
        for name, value in self.extensions.items():
            headers[f"CE-X-{name}" if self.is_old else f"ce-{name}"] = _quoted(value)
        body, content_type = self.data, self.datacontenttype
        if content_type is None and not isinstance(body, (str, bytes, bytearray, memoryview)):
            content_type = None if body is None else "application/json"
        if content_type is not None and _is_json(content_type) and not _is_bytes(body):
            body = _json(body)
        return Response(headers, body, content_type)

    @staticmethod
    def batch(events):
        """A response with many of them."""
        return Response(body=_json([one.to_dict() for one in events]), content_type=BATCH)

    def __nuclio_response__(self):
        return self.structured()

    def _attributes(self):
        names = _OLD if self.is_old else _NEW
        for name in names:
            value = getattr(self, name)
            if value is None or value == "":
                continue
            yield name, _moment_text(value) if isinstance(value, datetime) else value


def response(event, mode="structured"):
    """`Response.cloudevent`: one CloudEvent, or a list of them as a batch."""
    if isinstance(event, (list, tuple)):
        return CloudEvent.batch(event)
    if mode not in ("structured", "binary"):
        raise ValueError(f"the mode of a CloudEvent is structured or binary, not {mode!r}")
    return event.binary() if mode == "binary" else event.structured()


def of_dict(told):
    """A CloudEvent out of its JSON object; None if it is none."""
    if not isinstance(told, dict):
        return None
    if "cloudEventsVersion" in told:
        attributes = {name: told.get(old) for name, old in _OLD.items()}
        extensions = told.get("extensions")
        data = told.get("data")
    elif "specversion" in told:
        attributes = {name: told.get(name) for name in _NEW}
        known = {*_NEW, "data", "data_base64"}
        extensions = {name: value for name, value in told.items() if name not in known}
        data = told.get("data")
        if "data_base64" in told:
            try:
                data = b64decode(told["data_base64"])
            except (TypeError, ValueError):
                return None
    else:
        return None
    return _made(attributes, extensions if isinstance(extensions, dict) else {}, data)


def of_headers(headers, content_type, data):
    """A CloudEvent out of headers (a dict of str) and a body; None if it is none."""
    lower = {name.lower(): value for name, value in headers.items()}
    if "ce-specversion" in lower:
        names, extra = {name: f"ce-{name}" for name in _NEW}, "ce-"
    elif "ce-cloudeventsversion" in lower:
        names, extra = {name: f"ce-{old.lower()}" for name, old in _OLD.items()}, "ce-x-"
    else:
        return None
    attributes = {name: _unquoted(lower[key]) for name, key in names.items() if key in lower}
    attributes["datacontenttype"] = content_type or None
    taken = set(names.values())
    extensions = {
        name[len(extra) :]: _unquoted(value)
        for name, value in lower.items()
        if name.startswith(extra) and name not in taken
    }
    return _made(attributes, extensions, data)


def _made(attributes, extensions, data):
    made = CloudEvent(attributes.get("type"), attributes.get("source"), data, id="")
    for name in ("subject", "datacontenttype", "dataschema", "typeversion"):
        setattr(made, name, attributes.get(name))
    made.id = attributes.get("id") or ""
    made.specversion = attributes["specversion"]
    made.time = _moment(attributes.get("time"))
    made.extensions = extensions
    return made


def _read(event, body):
    """Sets the fields of an event of which the processor's side knows that it is one; `body` is
    None if the CloudEvent stands in headers. What is none stays as it came."""
    if body is None:
        # The data stays unread until somebody asks: most handlers read `event.body`.
        headers = {_str(name): _str(value) for name, value in event.headers.items()}
        one = of_headers(headers, _str(event.content_type), None)
        if one is not None:
            event._cloudevents = one
            _set(event, one)
        return
    try:
        told = json.loads(bytes(body).decode())
    except ValueError:
        return
    if isinstance(told, list):
        all_of_it = [one for one in map(of_dict, told) if one is not None]
        if len(all_of_it) == len(told):
            event._cloudevents = all_of_it
            event.body = told
        return
    one = of_dict(told)
    if one is not None:
        event._cloudevents = [one]
        _set(event, one)
        event.content_type = _like(event, one.datacontenttype or _content_type(one))
        event.body = _body(one)


def _all(event):
    found = vars(event).get("_cloudevents", [])
    if isinstance(found, CloudEvent):
        found.data = event.body
        event._cloudevents = found = [found]
    return found


def _set(event, one):
    trigger = event.trigger
    event.id = _like(event, one.id)
    event.type = _like(event, one.type or "")
    event.type_version = _like(event, one.typeversion or one.dataschema or "")
    event.version = _like(event, one.specversion)
    event.trigger = TriggerInfo(_like(event, one.source or ""), trigger.name)
    if one.time is not None:
        event.time = one.time
        event.timestamp = one.time.astimezone(UTC).replace(tzinfo=None)


def _content_type(one):
    if one.is_old or isinstance(one.data, bytes):
        return ""
    return "application/json" if one.data is not None else ""


def _body(one):
    """As nuclio gives it: an object, else bytes; JSON is what it says."""
    data = one.data
    if not isinstance(data, (str, bytes)):
        return data
    if isinstance(data, str) and not one.is_old and _is_json(one.datacontenttype or STRUCTURED):
        return data
    raw = data.encode() if isinstance(data, str) else data
    if _is_json(one.datacontenttype or ""):
        try:
            return json.loads(raw.decode())
        except ValueError:
            return raw
    return raw


def _like(event, text):
    """Bytes where the texts of events are bytes."""
    return text.encode() if isinstance(event.method, bytes) and isinstance(text, str) else text


def _str(value):
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _is_bytes(value):
    return isinstance(value, (bytes, bytearray, memoryview))


def _is_json(content_type):
    kind = content_type.partition(";")[0].strip().lower()
    return kind.endswith(("/json", "+json"))


def _json(value):
    from nuclio_sdk.json_encoder import Encoder

    return Encoder().encode(value)


def _quoted(value):
    from urllib.parse import quote

    return quote(str(value), safe=_PLAIN)


def _unquoted(value):
    if "%" not in value:
        return value
    from urllib.parse import unquote

    return unquote(value)


def _moment_text(moment):
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    text = moment.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _moment(text):
    """An aware datetime of RFC 3339 text; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
