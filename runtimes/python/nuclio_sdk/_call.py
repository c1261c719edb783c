"""Calls other functions by name: those that run on this machine, or services of a cluster."""

import http.client
import json
import os
import pathlib
import socket
from urllib.parse import urlsplit

from _nuclio import Response

# A service of a cluster answers there.
_SERVICE_PORT = 8080
# A larger file is not what a processor writes.
_STATE_BYTES_MAX = 64 * 1024
# Names that an error lists.
_NAMES_MAX = 10


# Reaching a function of this machine or cluster; a call that nobody waits for any more must end.
_CONNECT_LIMIT_S = 10
# Calls under way at once of a worker's async handlers: as many as it has events by default.
_CALLS_MAX = 64

_executor = None


class FunctionNotFound(LookupError):
    """No function of this name runs here; the text says which do."""


def call(platform, name, event, timeout, service):
    return _Call(platform, name, event, timeout, service).answer()


async def call_async(platform, name, event, timeout, service):
    """As `call`, on a thread; a cancelled call lets go of its connection and so of the thread."""
    import asyncio

    global _executor
    if _executor is None:
        from concurrent.futures import ThreadPoolExecutor

        _executor = ThreadPoolExecutor(_CALLS_MAX, thread_name_prefix="call_function")
    one = _Call(platform, name, event, timeout, service)
    try:
        return await asyncio.get_running_loop().run_in_executor(_executor, one.answer)
    except asyncio.CancelledError:
        one.give_up()
        raise


class _Call:
    """One call of a function. The event is read at once: its memory may go before the answer."""

    def __init__(self, platform, name, event, timeout, service):
        self._name, self._timeout = name, timeout
        self._given_up, self._socket = False, None
        host, port = _address(platform, name, service)
        limit = _CONNECT_LIMIT_S if timeout is None else min(timeout, _CONNECT_LIMIT_S)
        self._connection = http.client.HTTPConnection(host, port, timeout=limit)
        body, headers = _request(event)
        if service is None:
            headers.setdefault("X-Nuclio-Target", name)
        self._request = (event.method or "GET", event.path or "/", body, headers)

    def answer(self):
        connection = self._connection
        try:
            connection.connect()
            self._socket = connection.sock
            self._socket.settimeout(self._timeout)
            if self._given_up:
                raise ConnectionAbortedError(f"nobody waits for {self._name} any more")
            connection.request(*self._request)
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError:
            limit = self._timeout if self._socket else connection.timeout
            text = f"the function {self._name} did not answer within {limit} s"
            raise TimeoutError(text) from None
        finally:
            connection.close()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        content_type = headers.get("content-type", "text/plain")
        if content_type == "application/json":
            content = json.loads(content)
        return Response(
            headers=headers, body=content, content_type=content_type, status_code=answer.status
        )

    def give_up(self):
        """Ends the call from another thread: what it waits for comes at once, as an error."""
        self._given_up = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It has ended meanwhile.
                return


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
