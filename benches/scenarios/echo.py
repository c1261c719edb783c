"""Answers the body it was sent, as a plain Python function would: one copy into `bytes`."""


def handler(context, event):
    return event.body
