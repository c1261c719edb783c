"""What ordinary clients ask for; for `test_clients.py`."""

import hashlib
import json


def handler(context, event):
    if event.path == "/echo":
        return context.Response(
            body=event.body_view, content_type=event.content_type or "text/plain"
        )
    if event.path == "/digest":
        return {"sha256": hashlib.sha256(event.body_view).hexdigest(), "size": event.size}
    if event.path == "/cookies":
        return context.Response(headers={"Set-Cookie": ["a=1", "b=2"]}, body="two cookies")
    if event.path == "/teapot":
        return 418, "short and stout"
    if event.path == "/big":
        return b"0123456789abcdef" * (1 << 18)
    if event.path == "/empty":
        return 204, None
    if event.path == "/json":
        body = event.body if isinstance(event.body, dict) else json.loads(event.body)
        return {
            "method": event.method,
            "sum": sum(body["numbers"]),
            "mark": event.get_header("X-Mark"),
        }
    return f"{event.method} {event.url.partition('?')[2]}"
