"""Exceptions that a handler raises to answer with a status of its own."""


class ExceptionWithResponse(IOError):
    """Raised by a handler: the client gets this status and body, and no traceback is logged."""

    def __init__(self, status_code, body=None, content_type=None):
        super().__init__(status_code, body)
        self._answer = (status_code, body, content_type)

    @property
    def status_code(self):
        return self._answer[0]

    @property
    def body(self):
        return self._answer[1]

    @property
    def content_type(self):
        return self._answer[2]
