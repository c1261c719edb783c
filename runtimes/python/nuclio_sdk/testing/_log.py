"""Keeps the records of a handler under test, each with the event it belongs to.

They also go to the logger ``nuclio`` of Python's logging, so that pytest's ``caplog`` has them and
the traceback of a failed handler is shown with the test that failed by it.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

from nuclio_sdk import Logger
from nuclio_sdk.testing._reply import Record

# Where records of the event at hand also go. Threads of the handler's own have no event, as in a
# worker.
current: ContextVar[list[Record] | None] = ContextVar("nuclio_records", default=None)

_python = logging.getLogger("nuclio")
_NUMBERS = {"debug": 10, "info": 20, "warn": 30, "error": 40}


class Log:
    """Takes the place of a file and of its formatter."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def take(self, logger: Logger) -> None:
        """Takes what this logger gets from now on."""
        logger.set_handler("testing", self, self)

    def add(self, record: Record) -> None:
        """One more record, of the event at hand."""
        self.records.append(record)
        own = current.get()
        if own is not None:
            own.append(record)
        extra = {"with": record.fields}
        fields = " ".join(f"{name}={value!r}" for name, value in record.fields.items())
        message = f"{record.message} {fields}" if fields else record.message
        _python.log(_NUMBERS[record.level], "%s", message, extra=extra)

    def format(self, record: logging.LogRecord) -> str:
        """What the logger calls for each record."""
        level = record.levelname.lower()
        fields = vars(record).get("with", {})
        self.add(Record("warn" if level == "warning" else level, record.getMessage(), fields))
        return ""

    def write(self, text: str) -> None:
        """What the logger calls with what `format` gave."""
