"""JSON of values that JSON has no form for, as log records need it."""

import json


class Encoder(json.JSONEncoder):
    """Writes NaN and infinities as strings, and an unknown object as what it says of itself."""

    def iterencode(self, o, _one_shot=False):
        return super().iterencode(_finite(o), _one_shot)

    def encode(self, o):
        return super().encode(_finite(o))

    def default(self, o):
        for form in (lambda: o.__log__(), lambda: repr(o), lambda: str(o)):
            try:
                return form()
            except Exception:  # The object's own code may fail in any way; the next form is tried.
                continue
        return f"<{type(o).__name__}>"


def _finite(value):
    """The same with strings in the place of numbers that JSON does not have."""
    if isinstance(value, float):
        if value != value:
            return "NaN"
        if value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value
