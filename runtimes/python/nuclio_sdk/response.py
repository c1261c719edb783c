"""The answer, and what it makes of each form that a handler may return."""

import base64
import inspect

from _nuclio import Event, Response, render

__all__ = ["GENERATOR_RESPONSE", "RESPONSE_WITH_GENERATOR_BODY", "SINGLE_RESPONSE", "Response"]

SINGLE_RESPONSE = "single"
GENERATOR_RESPONSE = "generator"
RESPONSE_WITH_GENERATOR_BODY = "response_with_generator_body"


def empty_response():
    """A fresh answer in the form that nuclio's processor reads."""
    return {
        "body": "",
        "content_type": "text/plain",
        "headers": {},
        "status_code": 200,
        "body_encoding": "text",
    }


def from_entrypoint_output(json_encoder, handler_output):
    """What a handler returned, in the form that nuclio's processor reads.

    JSON is written by this runtime, not by `json_encoder`.
    """
    status, headers, content_type, body = render(Event(), handler_output)
    answer = empty_response()
    answer.update(status_code=status, content_type=content_type)
    for name, value in headers:
        answer["headers"][name] = value
    event_id = getattr(handler_output, "event_id", None)
    if event_id:
        answer["event_id"] = event_id
    try:
        answer["body"] = body.decode()
    except UnicodeDecodeError:
        answer["body"] = base64.b64encode(body).decode("ascii")
        answer["body_encoding"] = "base64"
    return answer


def get_handler_output_type(handler_output):
    """Which of the three kinds of answers this is."""
    if _is_generator(handler_output):
        return GENERATOR_RESPONSE
    if isinstance(handler_output, Response) and _is_generator(handler_output.body):
        return RESPONSE_WITH_GENERATOR_BODY
    return SINGLE_RESPONSE


def _is_generator(value):
    return inspect.isgenerator(value) or inspect.isasyncgen(value)
