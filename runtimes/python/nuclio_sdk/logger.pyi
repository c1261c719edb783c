import logging

from nuclio_sdk import Logger as Logger

class JSONFormatter(logging.Formatter):
    """One JSON object a record: datetime, level, message, with."""

class HumanReadableFormatter(logging.Formatter):
    """One line a record, for a terminal."""
