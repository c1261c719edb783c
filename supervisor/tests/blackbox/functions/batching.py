"""A handler of batches that answers them in every way; for `test_batches.py`."""

import os
import time

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes")


def note(text):
    with open(NOTES, "a") as notes:
        notes.write(text + "\n")


def ordered(context, events):
    return [event.path for event in events]


def by_id(context, events):
    return [
        context.Response(body=event.path, status_code=201, event_id=event.id)
        for event in reversed(events)
    ]


def forms(context, events):
    """Any form at each place: the path says which."""
    made = {
        "text": "text",
        "none": None,
        "json": {"a": [1, 2]},
        "pair": (204, ""),
        "bytes": b"bytes",
        "reject": context.reject("never"),
        "retry": context.retry(after=7),
        "error": ValueError("only mine"),
        "unsendable": {"a": {1, 2}},
        "status": context.Response(status_code=1000),
    }
    return [made[event.path.rpartition("/")[2]] for event in events]


def echo(context, events):
    """Views of the bodies, without a copy."""
    return [event.body_view for event in events]


def last(context, events):
    return [str(event.last_in_batch) for event in events]


def sizes(context, events):
    return [str(len(events))] * len(events)


def forgets(context, events):
    """No answer for those that ask for none."""
    asked = [event for event in events if not event.path.endswith("/none")]
    return [context.Response(body=event.path, event_id=event.id) for event in asked]


def short(context, events):
    return [event.path for event in events][:-1]


def strangers(context, events):
    good = [context.Response(body=event.path, event_id=event.id) for event in events]
    return good + [context.Response(body="?", event_id="nobody"), good[0]]


def text(context, events):
    return "one answer for all"


def raises(context, events):
    raise ValueError("all of them")


def leaves(context, events):
    raise SystemExit(3)


def kept_exception(context, events):
    global kept
    kept = events
    return [event.path for event in events]


def seen(context, events):
    return [event.body for event in kept][: len(events)]


def sleeps(context, events):
    note(f"began {len(events)}")
    time.sleep(float(events[0].get_header("X-Seconds")))
    return [event.path for event in events]


def dies(context, events):
    note(" ".join(f"{event.method}:{event.attempt}" for event in events))
    if events[0].attempt == 1:
        os._exit(1)
    return [event.path for event in events]


def logs(context, events):
    for event in events:
        context.logger.info(f"saw {event.path}")
    return [event.id for event in events]


def handler(context, events):
    if type(events) is not list:
        return "not a batch"
    return globals()[events[0].path.strip("/").partition("/")[0]](context, events)
