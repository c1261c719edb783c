"""A sync handler on several threads; for `test_threads.py`."""

import os
import sys
import threading
import time

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes")
lock = threading.Lock()
running = 0
most = 0
begun = []
started = threading.Event()
opened = threading.Event()


def note(text):
    with open(NOTES, "a") as notes:
        notes.write(text + "\n")


def init_context(context):
    def ended():
        note(f"terminated with {running} running")

    context.platform.set_drain_callback(lambda: note("drained"))
    context.platform.set_termination_callback(ended)


def sleeps(context, event, argument):
    global running, most
    with lock:
        begun.append(int(event.get_header("X-Number") or 0))
        running += 1
        most = max(most, running)
    time.sleep(float(argument))
    with lock:
        running -= 1
    return f"{event.get_header('X-Number')} {most}"


def order(context, event, argument):
    return begun


def logs(context, event, argument):
    print(f"{argument} prints", end="")
    context.logger.info(f"{argument} begins")
    time.sleep(0.02)
    print(f" {argument} goes on")
    own = threading.Thread(target=context.logger.info, args=(f"{argument} in its own thread",))
    own.start()
    own.join()
    context.logger.info(f"{argument} ends")
    return event.id


def leaves(context, event, argument):
    sys.exit(3)


def raises(context, event, argument):
    raise ValueError("some error")


def waits(context, event, argument):
    """Until `opens` is called, on another thread of the same worker."""
    started.set()
    return "opened" if opened.wait(20) else (500, "nobody opened")


def opens(context, event, argument):
    opened.set()
    return "opens"


def forever(context, event, argument):
    note("forever")
    while True:
        time.sleep(1)


def deadline(context, event, argument):
    time.sleep(float(argument))
    left = context.deadline - time.monotonic()
    return str(abs(context.deadline - event.deadline) < 1e-3 and 0 < left < 31)


def dies(context, event, argument):
    if event.attempt == 1:
        note("dies")
        os._exit(1)
    return "again"


def forks(context, event, argument):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return str(os.getpid())


def echo(context, event, argument):
    view, body = event.body_view, event.body
    time.sleep(0.005)
    return view if bytes(view) == body == event.body else (500, b"another body")


def big(context, event, argument):
    return b"y" * int(argument)


def pieces(context, event, argument):
    def each():
        for _ in range(int(argument)):
            yield b"z" * 100_000

    return each()


def ok(context, event, argument):
    return str(os.getpid())


def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    return globals()[word](context, event, argument)
