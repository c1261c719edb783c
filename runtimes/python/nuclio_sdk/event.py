"""The event, and how it is made of what nuclio's processor sends."""

import datetime
import enum
import json

from _nuclio import Event, TriggerInfo

from nuclio_sdk import _event

__all__ = ["Event", "EventDeserializerKinds", "TriggerInfo"]

# Names that differ between the message and the constructor.
_RENAMED = {"id": "_id", "type": "_type"}
# Those of the message that the constructor takes as they are.
_PLAIN = tuple(
    name
    for name in _event.FIELDS
    if name not in ("body", "trigger", "timestamp", "last_in_batch", "offset", "topic")
)


class _Deserializer:
    """Makes an event, or a list of them for a batch."""

    def __init__(self, decode, is_raw):
        self._decode = decode
        self._is_raw = is_raw

    def deserialize(self, message):
        data = self._decode(message)
        if isinstance(data, list):
            return [self._event(one) for one in data]
        return self._event(data)

    def _event(self, data):
        if self._is_raw:
            # Values stay bytes, as the handler asked for; names do not.
            data = {key.decode(): value for key, value in data.items()}
            trigger = {key.decode(): value for key, value in data["trigger"].items()}
        else:
            trigger = data["trigger"]
        named = {_RENAMED.get(name, name): data[name] for name in _PLAIN}
        moment = datetime.datetime.fromtimestamp(data["timestamp"], datetime.UTC)
        return Event(
            body=_body(data["body"], data["content_type"]),
            trigger=TriggerInfo(trigger["kind"], trigger["name"]),
            timestamp=moment.replace(tzinfo=None),
            offset=data.get("offset", 0),
            topic=data.get("topic"),
            **named,
        )


def _body(body, content_type):
    if content_type not in ("application/json", b"application/json") or isinstance(body, dict):
        return body
    try:
        return json.loads(body)
    except ValueError:
        return body


class EventDeserializerKinds(enum.Enum):
    """In which form the message is."""

    msgpack = _Deserializer(lambda data: data, is_raw=False)
    msgpack_raw = _Deserializer(lambda data: data, is_raw=True)
    json = _Deserializer(json.loads, is_raw=False)


def deserialize(data, kind=EventDeserializerKinds.msgpack_raw):
    return kind.value.deserialize(data)
