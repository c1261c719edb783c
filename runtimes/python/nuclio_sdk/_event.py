"""An event as JSON text, as ``Event.to_json`` of nuclio writes it."""

import json
from base64 import b64encode

# The fields nuclio's SDK has, in its order.
FIELDS = (
    "body",
    "content_type",
    "trigger",
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
)


def to_json(event):
    values = {name: getattr(event, name) for name in FIELDS}
    trigger = values["trigger"]
    values["trigger"] = {"kind": trigger.kind, "name": trigger.name}
    if isinstance(values["body"], (bytes, bytearray, memoryview)):
        values["body"] = b64encode(values["body"]).decode("ascii")
    for name, value in vars(event).items():
        if not name.startswith("_"):
            values[name] = value
    return json.dumps(values, default=str)
