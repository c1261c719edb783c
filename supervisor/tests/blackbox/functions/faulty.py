"""A handler that does what its path asks for, most of it wrong; for `test_handler_faults.py`."""

import ctypes
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "notes")
kept = {}


def note(text):
    """Written at once, so that it outlives this process."""
    with open(NOTES, "a") as notes:
        notes.write(text + "\n")


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class Stubborn(BaseException):
    pass


# --- exceptions and results


def raises(context, event, argument):
    context.logger.info_with("about to fail", word=argument)
    raise ValueError("some error")


def chained(context, event, argument):
    try:
        {}["missing"]
    except KeyError as error:
        raise RuntimeError("no price") from error


def unspeakable(context, event, argument):
    raise Unspeakable


def stubborn(context, event, argument):
    raise {"base": Stubborn, "interrupt": KeyboardInterrupt, "leave": GeneratorExit}[argument]


def long_message(context, event, argument):
    raise ValueError("long " * 2_000_000)


def odd_message(context, event, argument):
    raise ValueError("one\nerror: two\x1b[31m\udcff\0")


def recursion(context, event, argument):
    return recursion(context, event, argument)


def no_memory(context, event, argument):
    return bytearray(1 << 60)


def unserialisable(context, event, argument):
    loop = {}
    loop["loop"] = loop
    return {
        "object": {"value": object()},
        "keys": {(1, 2): 3},
        "loop": loop,
        "surrogate": "\udcff",
        "status": context.Response(status_code="fine"),
        "low": context.Response(status_code=99),
        "lambda": lambda: 1,
        "unspeakable": Unspeakable(),
        "pair": (200, object()),
        "headers": context.Response(headers=5),
    }[argument]


# --- ends of the process


def leaves(context, event, argument):
    sys.exit(3)


def dies(context, event, argument):
    """Ends its process in the way that is named, and notes that it ran."""
    way, _, mark = argument.partition("/")
    note(f"{event.method} {mark}")
    if way == "exit":
        os._exit(3)
    elif way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "segfault":
        ctypes.string_at(0)
    elif way == "abort":
        os.abort()
    elif way == "stack":
        nest = ()
        for _ in range(400_000):
            nest = (nest,)
        hash(nest)  # recursion that no limit of Python's counts
        os.abort()
    elif way == "descriptors":
        os.closerange(3, 4096)
        return "still here"


def dies_once(context, event, argument):
    with open(NOTES) as notes:
        first = f"once {argument}" not in notes.read()
    if first:
        note(f"once {argument}")
        os._exit(3)
    return "second"


def spins(context, event, argument):
    note(f"spin {argument}")
    while True:
        try:
            while True:
                pass
        except BaseException:  # a loop that catches everything must end, too
            continue


def sleeps(context, event, argument):
    note(f"sleep {argument}")
    time.sleep(10**6)


def stops_itself(context, event, argument):
    note(f"stop {argument}")
    os.kill(os.getpid(), signal.SIGSTOP)
    return "went on"


# --- children and threads


def forks(context, event, argument):
    """The child returns, too, or outlives the handler: near = in the same group, far = not."""
    pid = os.fork()
    if argument == "return":
        if pid:
            os.waitpid(pid, 0)
        return f"pid {os.getpid()}"
    if pid == 0:
        if argument.startswith("far"):
            os.setsid()
        note(f"child {os.getpid()}")
        while True:
            signal.pause()
    if argument.endswith("orphan"):
        while "child" not in open(NOTES).read():
            pass
        os._exit(3)
    return str(pid)


def reaps(context, event, argument):
    os.kill(int(argument), signal.SIGKILL)
    return str(os.waitpid(int(argument), 0)[1])


def descriptors_of_a_child(context, event, argument):
    ls = ["ls", "-l", "/proc/self/fd"]
    return subprocess.run(ls, close_fds=False, capture_output=True, text=True).stdout


def thread(context, event, argument):
    go = kept["go"] = threading.Event()

    def later():
        go.wait()
        print(f"thread says {argument}")
        context.logger.info(f"thread logs {argument}")
        raise RuntimeError(f"thread fails {argument}")

    threading.Thread(target=later, daemon=True).start()
    return "started"


def let_thread_go(context, event, argument):
    kept["go"].set()
    return "gone"


# --- harm to the process that it survives


def harm(context, event, argument):
    if argument == "stdout":
        sys.stdout = None
        print("to nobody")
    elif argument == "closed":
        sys.stdout.close()
        sys.stderr.close()
        print("closed")
    elif argument == "descriptors":
        for number in (0, 1, 2):
            os.close(number)
        print("still heard")
    elif argument == "signals":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
    elif argument == "modules":
        for name in ("_nuclio", "nuclio_sdk", "json", "sys"):
            sys.modules.pop(name, None)
    elif argument == "folder":
        os.chdir("/")
    elif argument == "environment":
        os.environ.clear()
    elif argument == "collector":
        gc.disable()
        gc.freeze()
    elif argument == "limits":
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    elif argument == "response":
        context.Response = None
        context.logger = None
    return "harmed"


def alarms(context, event, argument):
    def ring(*_):
        raise TimeoutError("too slow")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, float(argument), float(argument))
    return "set"


def ok(context, event, argument):
    return str(os.getpid())


def echo(context, event, argument):
    return event.body


def handler(context, event):
    word, _, argument = event.path.strip("/").partition("/")
    return globals()[word](context, event, argument)
