"""Calls handlers in unit tests as a worker would, without any process.

    from nuclio_sdk.testing import Function

    def test_hello():
        reply = Function("hello.py").call(fields={"name": "Ada"})
        assert (reply.status, reply.text) == (200, "Hello, Ada!\\n")

What a handler returns or raises becomes the very answer that a client would get. For a test with
the real processor see :func:`nuclio_sdk.testing.serve`; fixtures for pytest are in
``nuclio_sdk.testing.pytest_plugin``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nuclio_sdk.testing._events import make_event
    from nuclio_sdk.testing._function import Function, acall, call
    from nuclio_sdk.testing._reply import Record, Reply
    from nuclio_sdk.testing._served import Served, serve

__all__ = ["Function", "Record", "Reply", "Served", "acall", "call", "make_event", "serve"]

# Loaded when asked for: pytest loads this package with its plugins, also for tests of other things.
_MODULES = {
    "make_event": "_events",
    "Function": "_function",
    "acall": "_function",
    "call": "_function",
    "Record": "_reply",
    "Reply": "_reply",
    "Served": "_served",
    "serve": "_served",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return getattr(import_module(f"nuclio_sdk.testing.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'nuclio_sdk.testing' has no attribute {name!r}")
