# One event at a time; see deeds.py.
import time

from deeds import begin, end, seconds


def handler(context, event):
    deed = begin(event)
    if deed == "d":
        time.sleep(seconds(event))
    return end(context, event, deed)
