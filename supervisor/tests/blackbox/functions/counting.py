"""A function that says which worker answered, fast or slow; for `test_commands.py`."""

import os
import time


def init_context(context):
    context.user_data.served = 0


def handler(context, event):
    context.user_data.served += 1
    word, _, argument = event.path.strip("/").partition("/")
    if word == "sleep":
        time.sleep(float(argument))
    if word == "log":
        context.logger.warn_with("seen", size=event.size)
        print("printed")
    if word == "status":
        return int(argument), "no"
    if word == "bytes":
        return bytes(range(256))
    return {
        "worker": context.worker_id,
        "pid": os.getpid(),
        "served": context.user_data.served,
        "method": event.method,
        "path": event.path,
        "type": event.content_type,
        "body": event.body.decode() if isinstance(event.body, bytes) else event.body,
        "mark": event.get_header("X-Mark"),
        "env": os.environ.get("GREETING"),
    }
