"""What a nuclio function is written with.

The classes are made by the extension module ``_nuclio``; they work without a processor, too, so
that handlers can be tested by calling them.
"""

from _nuclio import Event, Logger, Response, TriggerInfo

from nuclio_sdk.context import Context, Platform, Reject, Retry

__all__ = [
    "Context",
    "Event",
    "Headers",
    "Logger",
    "Platform",
    "Reject",
    "Response",
    "Retry",
    "TriggerInfo",
]


def __getattr__(name):
    # Needed by few, so loaded by those.
    if name == "Headers":
        from nuclio_sdk._headers import Headers

        return Headers
    raise AttributeError(f"module 'nuclio_sdk' has no attribute {name!r}")
