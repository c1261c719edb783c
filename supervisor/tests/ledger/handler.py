# The handler of a ledger run: notes each execution before it answers, then does as the path says.
# `/<number>/<answer><deed><attempts>`; the letters are those of plan.rs.
import os
import signal
import struct
import time

RECORD = struct.Struct("<QQII")
PID = os.getpid()
NOTES = os.open(
    os.path.join(os.environ["LEDGER_NOTES"], "%d.notes" % PID),
    os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
    0o600,
)


def handler(context, event):
    path = event.path
    answer, deed, attempts = path[18:21]
    does = event.attempt == 1 or attempts == "2"
    if does and deed == "u":
        os.kill(PID, signal.SIGKILL)
    number = int(path[1:17], 16)
    os.write(NOTES, RECORD.pack(number, time.monotonic_ns(), PID, event.attempt))
    if does:
        if deed == "k":
            os.kill(PID, signal.SIGKILL)
        elif deed == "s":
            os.kill(PID, signal.SIGSTOP)
        elif deed == "d":
            time.sleep((1 + number % 5) / 1000)
    body = event.body
    if answer == "e":
        reply = body
    elif answer == "h":
        text = path.encode() + b"\n" + body
        reply = context.Response(body=text, headers={"X-Ledger": path})
    else:
        reply = path.encode() + b"\n" + body
    if does and deed == "l":
        os.kill(PID, signal.SIGKILL)
    return reply
