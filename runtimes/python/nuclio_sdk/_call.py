"""Calls other functions by name: those that run on this machine, or services of a cluster."""

import http.client
import json
import os
import pathlib
from urllib.parse import urlsplit

from _nuclio import Response

# A service of a cluster answers there.
_SERVICE_PORT = 8080
# A larger file is not what a processor writes.
_STATE_BYTES_MAX = 64 * 1024
# Names that an error lists.
_NAMES_MAX = 10


class FunctionNotFound(LookupError):
    """No function of this name runs here; the text says which do."""


def call(platform, name, event, timeout, service):
    host, port = _address(platform, name, service)
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    body, headers = _request(event)
    if service is None:
        headers.setdefault("X-Nuclio-Target", name)
    try:
        connection.request(event.method or "GET", event.path or "/", body, headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    content_type = headers.get("content-type", "text/plain")
    if content_type == "application/json":
        content = json.loads(content)
    return Response(
        headers=headers, body=content, content_type=content_type, status_code=answer.status
    )


def _request(event):
    """The body as bytes, and the headers to send it with."""
    unsent = ("content-length", "transfer-encoding", "connection", "host")
    headers = {k: str(v) for k, v in (event.headers or {}).items() if k.lower() not in unsent}
    body, content_type = event.body, event.content_type or "text/plain"
    if isinstance(body, (dict, list)):
        body, content_type = json.dumps(body), "application/json"
    headers.setdefault("Content-Type", content_type)
    if isinstance(body, str):
        body = body.encode()
    return body, headers


def _address(platform, name, service):
    if service is not None:
        host, _, port = service.partition(":")
        return host, int(port or _SERVICE_PORT)
    if platform.kind == "kube":
        return f"nuclio-{name}", _SERVICE_PORT
    folder = _registry() / platform.namespace
    try:
        if "/" in name or name.startswith("."):
            # A name may come from a request; it must not lead out of the folder.
            raise ValueError(name)
        with open(folder / name / "state.json", encoding="utf-8") as file:
            url = json.loads(file.read(_STATE_BYTES_MAX))["url"]
    except (OSError, ValueError, KeyError):
        raise FunctionNotFound(_not_found(folder, platform.namespace, name)) from None
    parts = urlsplit(url)
    return parts.hostname, parts.port


def _registry():
    own = os.environ.get("NUCLIO_STATE_DIR")
    if own:
        return pathlib.Path(own) / "run"
    base = os.environ.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local/state"
    return pathlib.Path(base) / "nuclio/run"


def _not_found(folder, namespace, name):
    try:
        running = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        running = []
    others = ", ".join(running[:_NAMES_MAX]) or "none"
    return (
        f"no function called {name} runs in namespace {namespace} here (running: {others}); "
        f"start it with: nuclio run {name} FILE"
    )


def explicit_ack(offset):
    raise RuntimeError(
        f"explicit_ack of {offset!r}: no trigger of this version gives out records of a stream, so "
        "there is nothing to acknowledge"
    )
