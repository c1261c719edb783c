"""The logger and, for code that writes records itself, the two formatters of nuclio's SDK."""

import json
import logging

from _nuclio import Logger

__all__ = ["HumanReadableFormatter", "JSONFormatter", "Logger"]


class JSONFormatter(logging.Formatter):
    """One JSON object a record: datetime, level, message, with."""

    def format(self, record):
        from nuclio_sdk.json_encoder import Encoder

        return Encoder().encode(self._parts(record))

    def _parts(self, record):
        return {
            "datetime": self.formatTime(record, self.datefmt),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "with": getattr(record, "with", {}),
        }


class HumanReadableFormatter(logging.Formatter):
    """One line a record, for a terminal."""

    def format(self, record):
        fields = getattr(record, "with", {})
        more = f": {fields}" if fields else ""
        moment = self.formatTime(record, self.datefmt)
        level = record.levelname.lower()
        return f"Python> {moment} [{level}] {record.getMessage()}{more}"


def write_record(file, formatter, level, message, fields):
    """One record by hand, for tests: `fields` is JSON text."""
    record = logging.LogRecord("nuclio_sdk", level, "", 0, message, (), None)
    setattr(record, "with", json.loads(fields))
    file.write(formatter.format(record) + "\n")
