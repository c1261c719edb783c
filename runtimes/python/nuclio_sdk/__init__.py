"""What a nuclio function is written with.

The classes are made by the extension module ``_nuclio``; they work without a processor, too, so
that handlers can be tested by calling them.
"""

from _nuclio import BodyStream, Event, Logger, Response, TriggerInfo

from nuclio_sdk.context import Context, Reject, Retry
from nuclio_sdk.platform import Platform

__all__ = [
    "BodyStream",
    "CloudEvent",
    "Context",
    "Event",
    "EventDeserializerKinds",
    "ExceptionWithResponse",
    "Headers",
    "Logger",
    "Platform",
    "QualifiedOffset",
    "Reject",
    "Response",
    "Retry",
    "TriggerInfo",
]

# Needed by few, so loaded by those: the module that each name is in.
_LATER = {
    "CloudEvent": "cloudevent",
    "Headers": "_headers",
    "EventDeserializerKinds": "event",
    "ExceptionWithResponse": "exceptions",
    "QualifiedOffset": "qualified_offset",
    "GENERATOR_RESPONSE": "response",
    "SINGLE_RESPONSE": "response",
    "RESPONSE_WITH_GENERATOR_BODY": "response",
}
_MODULES = (
    "cloudevent",
    "event",
    "exceptions",
    "helpers",
    "json_encoder",
    "logger",
    "qualified_offset",
    "response",
    "test",
    "testing",
)


def __getattr__(name):
    from importlib import import_module

    if name in _LATER:
        return getattr(import_module(f"nuclio_sdk.{_LATER[name]}"), name)
    if name in _MODULES:
        return import_module(f"nuclio_sdk.{name}")
    raise AttributeError(f"module 'nuclio_sdk' has no attribute {name!r}")
