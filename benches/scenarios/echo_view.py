"""Answers the body it was sent without ever copying it into Python."""


def handler(context, event):
    return event.body_view
