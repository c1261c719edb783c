"""A handler that runs the program its path names; each harms its own process in another way."""

import builtins
import ctypes
import faulthandler
import gc
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time

FOREVER_S = 10**6
kept = []


class Broken(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class Base(BaseException):
    pass


class Lies:
    """Says that it is another class, and fails when it is asked for more."""

    __class__ = str

    def __getattr__(self, name):
        raise ZeroDivisionError(name)


class Explodes:
    @property
    def __class__(self):
        raise ZeroDivisionError("no class")

    def __str__(self):
        return "exploded"


class MoodyMeta(type):
    def __getattribute__(cls, name):
        raise RuntimeError(f"no {name}")


class Moody(Exception, metaclass=MoodyMeta):
    pass


# --- threads and processes


def threads_outlive(context, event):
    for _ in range(20):
        threading.Thread(target=time.sleep, args=(FOREVER_S,), daemon=False).start()
    return "started"


def thread_keeps_the_event(context, event):
    def later(view):
        while True:
            kept[:] = [event.body, bytes(view), event.path]
            time.sleep(0.01)

    threading.Thread(target=later, args=(event.body_view,), daemon=True).start()
    return "kept"


def fork_returns(context, event):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return "parent" if pid else "child"


def fork_execs(context, event):
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/true", ["true"])
    return str(os.waitpid(pid, 0)[1])


def fork_grandchild(context, event):
    if os.fork() == 0:
        os.fork()
        return "descendant"
    return "parent"


def fork_raises(context, event):
    pid = os.fork()
    if pid == 0:
        raise ValueError("in the child")
    return str(os.waitpid(pid, 0)[1])


def fork_many(context, event):
    pids = [os.fork() for _ in range(4)]
    if all(pids):
        for pid in pids:
            os.waitpid(pid, 0)
    return "parent" if all(pids) else "child"


def own_session(context, event):
    os.setsid()
    return "session"


def foreign_group(context, event):
    child = subprocess.Popen(["sleep", "60"], start_new_session=False, process_group=0)
    kept.append(child)
    os.setpgid(0, child.pid)
    while True:
        pass


# --- signals


def signal_to_itself(context, event):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(FOREVER_S)


def signal_handled(context, event):
    seen = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM, signal.SIGUSR1):
        signal.signal(number, lambda got, frame: seen.append(got))
        os.kill(os.getpid(), number)
    return str(len(seen))


def signal_raises(context, event):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(FOREVER_S)


def signal_children(context, event):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return str(subprocess.run(["true"]).returncode)


def signal_blocked(context, event):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        pass


def signal_alarm(context, event):
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(FOREVER_S)


def signal_stops(context, event):
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(FOREVER_S)


# --- output and descriptors


class NoStream:
    pass


def stdout_patched(context, event):
    sys.stdout = sys.stderr = NoStream()
    print("to nobody")


def stdout_raises(context, event):
    class Raises:
        def write(self, text):
            raise OSError("full")

    sys.stdout = sys.stderr = Raises()
    raise ValueError("unheard")


def stdout_closed(context, event):
    sys.stdout.close()
    os.close(1)
    os.close(2)
    print("heard?")
    return "closed"


def descriptors_closed(context, event):
    os.closerange(3, 100)
    return "closed"


def descriptors_replaced(context, event):
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3, 100):
        if number != null:
            try:
                os.fstat(number)
            except OSError:
                continue
            os.dup2(null, number)
    return "replaced"


def descriptors_written(context, event):
    for number in range(3, 100):
        try:
            os.set_blocking(number, False)
            os.write(number, b"\xff" * 8)
        except OSError:
            continue
    return "written"


def log_without_end(context, event):
    while True:
        context.logger.info_with("again", word="x" * 1000)


def print_without_newline(context, event):
    while True:
        print("x" * 1000, end="")


def native_output_without_end(context, event):
    while True:
        os.write(1, b"y" * 1000)


# --- limits


def recursion(context, event):
    return recursion(context, event)


def recursion_limit(context, event):
    sys.setrecursionlimit(60)
    return "low"


def stack_overflow(context, event):
    faulthandler._stack_overflow()


def null_pointer(context, event):
    ctypes.string_at(0)


def huge_reply(context, event):
    return bytes(100 * 1024 * 1024)


def huge_headers(context, event):
    return context.Response(headers={f"X-{n}": "v" * 1000 for n in range(100)})


def no_memory(context, event):
    return bytearray(1 << 60)


def memory_limit(context, event):
    resource.setrlimit(resource.RLIMIT_AS, (1 << 28, resource.RLIM_INFINITY))
    return bytearray(1 << 29)


def cpu_limit(context, event):
    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
    while True:
        pass


def sleeps(context, event):
    time.sleep(FOREVER_S)


def spins(context, event):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


def late(context, event):
    time.sleep(1.2)
    return "too late"


# --- ends


def leaves(context, event):
    sys.exit(3)


def leaves_at_once(context, event):
    os._exit(3)


def interrupts(context, event):
    raise KeyboardInterrupt


def stops_generators(context, event):
    raise GeneratorExit


def stops_iteration(context, event):
    raise StopIteration(5)


def atexit_waits(context, event):
    import atexit

    atexit.register(time.sleep, FOREVER_S)
    return "registered"


# --- exceptions


def broken_exception(context, event):
    raise Broken("x")


def base_exception(context, event):
    raise Base("x")


def nameless_exception(context, event):
    raise Moody("x")


def circular_exception(context, event):
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    raise one


def long_chain(context, event):
    error = None
    for n in range(20_000):
        following = ValueError(str(n))
        following.__cause__ = error
        error = following
    raise error


def surrogate_exception(context, event):
    raise ValueError("\udcff\0\r\nX: y")


# --- odd answers


def itself(context, event):
    return handler


def lies_about_its_class(context, event):
    return Lies()


def explodes_when_asked(context, event):
    return Explodes()


def circular_answer(context, event):
    answer = {}
    answer["self"] = answer
    return answer


def deep_answer(context, event):
    answer = []
    for _ in range(200_000):
        answer = [answer]
    return answer


def header_with_line_break(context, event):
    return context.Response(headers={"X-A": "a\r\nX-Evil: 1"})


def header_not_text(context, event):
    return context.Response(headers={"X-A": "\udcff"})


def header_name_with_line_break(context, event):
    return context.Response(headers={"X-A: 1\r\nX-Evil": "1"})


def content_type_with_line_break(context, event):
    return context.Response(content_type="text/plain\r\nX-Evil: 1")


def generator_in_itself(context, event):
    def run():
        yield next(own)

    own = run()
    return next(own)


def changed_while_written(context, event):
    class Grows(dict):
        def items(self):
            yield "a", self
            raise RuntimeError("dictionary changed")

    return context.Response(headers=Grows(a=1))


# --- harm to the interpreter


def globals_cleared(context, event):
    keep = dict(globals())
    globals().clear()
    globals()["handler"] = keep["handler"]
    return "cleared"


def builtins_replaced(context, event):
    for name in ("len", "print", "open", "isinstance", "str", "dict", "type", "getattr"):
        setattr(builtins, name, None)
    return "replaced"


def import_broken(context, event):
    builtins.__import__ = None
    return {"answered": {1, 2}.__class__.__name__}


def modules_cleared(context, event):
    sys.modules.clear()
    return "cleared"


def collector_off(context, event):
    gc.disable()
    gc.freeze()
    gc.set_threshold(1, 1, 1)
    return "off"


def folder_removed(context, event):
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)
    return "removed"


def trace_raises(context, event):
    def trace(*_):
        raise RuntimeError("traced")

    sys.settrace(trace)
    return "set"


def context_emptied(context, event):
    vars(context).clear()
    return "emptied"


def switch_interval(context, event):
    sys.setswitchinterval(1e-6)
    for _ in range(4):
        threading.Thread(target=spins, args=(None, None), daemon=True).start()
    return "set"


def finalizers(context, event):
    class Rises:
        def __del__(self):
            kept.append(self)
            raise RuntimeError("not yet")

    for _ in range(100):
        Rises()
    return "risen"


def ok(context, event):
    return b"%d %d" % (os.getpid(), len(event.body))


PROGRAMS = dict(globals())


def handler(context, event, programs=PROGRAMS):
    return programs[event.path.strip("/")](context, event)
