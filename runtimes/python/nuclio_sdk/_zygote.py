"""The zygote: a warmed interpreter that forks workers, so that none starts from nothing.

It never runs the user's code beyond the modules that `preload` names. The processor must be the
parent of every worker: a worker is the child of a child that ends at once, and so is handed to the
processor, which is a subreaper.
"""

import _socket
import gc
import json
import os
import sys
from importlib import import_module

from _nuclio import give_number, tie_to_parent

# What `ps` shows; a worker gets the interpreter's name back.
_NAME = "nuclio-zygote"
_PACKET_BYTES_MAX = 64 * 1024
_FDS = 3
_INT_BYTES = 4
# Handing a worker over takes microseconds; beyond this something is wrong and it gives up.
_HANDOVER_YIELDS_MAX = 1_000_000


def serve():
    """Warms up and forks when asked. Returns in each forked worker, with nothing of the zygote
    left open."""
    number = int(os.environ.pop("NUCLIO_ZYGOTE_FD"))
    os.set_inheritable(number, False)
    own_name = _rename(_NAME)
    socket = _socket.socket(fileno=number)
    setup = json.loads(_packet(socket)[0])
    threads, failed = _warm(setup)
    # What is here now stays: the collector must not touch it, or forked pages would be copied.
    gc.collect()
    gc.freeze()
    _say(socket, {"ready": {"threads": threads, "failed": failed}})
    while True:
        order, fds = _packet(socket)
        order = json.loads(order)
        if _forked():
            _become_worker(socket, order, fds)
            _rename(own_name)
            return
        for fd in fds:
            os.close(fd)


def _rename(name):
    """Names this process; the name it had."""
    with open("/proc/self/comm", "r+") as file:
        before = file.read().strip()
        file.write(name)
    return before


def _packet(socket):
    """One packet and its descriptors; ends the process when the processor has gone."""
    space = _socket.CMSG_SPACE(_FDS * _INT_BYTES)
    data, control, _, _ = socket.recvmsg(_PACKET_BYTES_MAX, space, _socket.MSG_CMSG_CLOEXEC)
    if not data:
        os._exit(0)
    fds = []
    for level, kind, body in control:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += memoryview(body[: len(body) // _INT_BYTES * _INT_BYTES]).cast("i").tolist()
    return data, fds


def _say(socket, message):
    socket.send(json.dumps(message).encode())


def _warm(setup):
    """Loads what workers need; names what started threads, and what could not be loaded."""
    path = setup["codePath"]
    for name in ("nuclio_sdk._load", "nuclio_sdk._streams", "nuclio_sdk._headers"):
        import_module(name)
    if _mentions_async(path):
        import_module("nuclio_sdk._aio")
    threads, failed = [], []
    if setup["preload"]:
        # Modules of the user's own lie beside the code.
        sys.path.insert(0, path if os.path.isdir(path) else os.path.dirname(path))
    before = _thread_count()
    for name in setup["preload"]:
        try:
            import_module(name)
        except BaseException as error:
            failed.append([name, f"{type(error).__name__}: {error}"])
        after = _thread_count()
        if after > before:
            threads.append(name)
        before = after
    if setup["preload"]:
        sys.path.pop(0)
    return threads, failed


def _mentions_async(path):
    """A guess that costs nothing if it is wrong: `asyncio` takes long to import."""
    try:
        if os.path.isdir(path):
            return any(
                _mentions_async(entry.path)
                for entry in os.scandir(path)
                if entry.name[-3:] == ".py"
            )
        with open(path, "rb") as file:
            return b"async def" in file.read()
    except OSError:
        return False


def _thread_count():
    return len(os.listdir("/proc/self/task"))


def _forked():
    """True in the new worker."""
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return False
    pid = os.getpid()
    if os.fork():
        os._exit(0)
    # PDEATHSIG would come when the process between ends, so only from here on may it be set.
    for _ in range(_HANDOVER_YIELDS_MAX):
        if os.getppid() != pid:
            return True
        os.sched_yield()
    os._exit(1)


def _become_worker(socket, order, fds):
    """Takes the place of a process that was started for this."""
    os.setpgid(0, 0)
    tie_to_parent()
    if os.getppid() != order["parent"]:
        os._exit(1)
    connection, stdout, stderr = fds
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    give_number(order["fork"])
    os.environ["NUCLIO_WORKER_ID"] = f"{order['fork']:010}"
    os.putenv("NUCLIO_WORKER_FD", str(connection))
    _say(socket, {"forked": {"id": order["fork"], "pid": os.getpid()}})
    socket.close()
    gc.unfreeze()
