# What the handlers of a ledger run share: notes each execution, then does as the path says.
# `/<number>/<answer><deed><attempts>`; the letters are those of plan.rs.
import os
import signal
import struct
import time

NOTE = struct.Struct("<QQII")
PID = os.getpid()
NOTES = os.open(
    os.path.join(os.environ["LEDGER_NOTES"], "%d.notes" % PID),
    os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
    0o600,
)


def begin(event):
    """The deed of this attempt, done as far as it comes before the work."""
    path = event.path
    deed, attempts = path[19], path[20]
    if event.attempt > 1 and attempts != "2":
        deed = "n"
    if deed == "u":
        os.kill(PID, signal.SIGKILL)
    # One system call, so that a note is there or not there.
    os.write(NOTES, NOTE.pack(int(path[1:17], 16), time.monotonic_ns(), PID, event.attempt))
    if deed == "k":
        os.kill(PID, signal.SIGKILL)
    elif deed == "s":
        os.kill(PID, signal.SIGSTOP)
    return deed


def seconds(event):
    """How long a request that sleeps does so."""
    return (1 + int(event.path[1:17], 16) % 5) / 1000


def end(context, event, deed):
    """The reply, unless the deed is to die with it."""
    path, body = event.path, event.body
    answer = path[18]
    if answer == "e":
        reply = body
    else:
        reply = path.encode() + b"\n" + body
    if answer == "h":
        reply = context.Response(body=reply, headers={"X-Ledger": path})
    if deed == "l":
        os.kill(PID, signal.SIGKILL)
    return reply
