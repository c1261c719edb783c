"""What the conformance kit asks of a sync handler; see runtimes/conformance/README.md."""

import time

kept = []


def headers(context, event, argument):
    seen = event.headers.get_all("X-In")
    return context.Response(headers={"X-Seen": seen, "X-Out": ["a", "b"], "X-Empty": ""})


def status(context, event, argument):
    return context.Response(status_code=int(argument))


def error(context, event, argument):
    raise ValueError("failed on purpose")


def log(context, event, argument):
    context.logger.info("logged by the handler")


def log_many(context, event, argument):
    for number in range(int(argument)):
        context.logger.info_with("one of many records, each as long as this", number=number)


def print_line(context, event, argument):
    print("printed by the handler")


def size(context, event, argument):
    return b"x" * int(argument)


def stream(context, event, argument):
    return (f"piece {number}\n" for number in range(int(argument)))


def stream_broken(context, event, argument):
    def pieces():
        yield "piece 0\n"
        raise ValueError("failed on purpose")

    return pieces()


def sleep(context, event, argument):
    time.sleep(0.2)
    return event.body


def keep(context, event, argument):
    kept.append(event.body_view)


def kept_view(context, event, argument):
    return bytes(kept[-1])


def forget(context, event, argument):
    kept.clear()


WAYS = {
    "echo": lambda context, event, argument: event.body,
    "headers": headers,
    "status": status,
    "error": error,
    "log": log,
    "logs": log_many,
    "print": print_line,
    "size": size,
    "stream": stream,
    "stream-broken": stream_broken,
    "sleep": sleep,
    "keep": keep,
    "kept": kept_view,
    "forget": forget,
}


def one(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    return WAYS[word](context, event, argument)


def handler(context, event):
    if isinstance(event, list):
        size = {"X-Batch": str(len(event))}
        return [context.Response(body=of_batch.body, headers=size) for of_batch in event]
    return one(context, event)
