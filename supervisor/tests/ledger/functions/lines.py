#!/usr/bin/env python3
# A resident program with a line an event; notes each execution, then does as the path says, as
# deeds.py does. Its worker is the one that dies and is stopped, and whose the notes are.
import base64
import json
import os
import signal
import struct
import subprocess
import sys
import time

NOTE = struct.Struct("<QQII")
WORKER = os.getppid()
# Pins whoever has that number now; the name tells whether it is the worker still.
PIDFD = os.pidfd_open(WORKER)
with open(f"/proc/{WORKER}/comm") as name:
    if name.read().strip() != "nuclio-shell":
        sys.exit("the worker is gone")
NOTES = os.open(
    os.path.join(os.environ["LEDGER_NOTES"], f"{WORKER}.notes"),
    os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
    0o600,
)


def strike(number):
    """Does it to the worker and never answers."""
    signal.pidfd_send_signal(PIDFD, number)
    while True:
        signal.pause()


def answered(event):
    path = event["path"]
    number, answer, deed = int(path[1:17], 16), path[18], path[19]
    if deed == "u":
        strike(signal.SIGKILL)
    # One system call, so that a note is there or not there.
    os.write(NOTES, NOTE.pack(number, time.monotonic_ns(), WORKER, 0))
    if deed == "k":
        strike(signal.SIGKILL)
    elif deed == "s":
        strike(signal.SIGSTOP)
    elif deed == "d":
        time.sleep((1 + number % 5) / 1000)
    elif deed == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed == "g":
        # In a session of its own: nothing but its environment says whose it is.
        quiet = subprocess.DEVNULL
        subprocess.Popen(
            ["sleep", "600"], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
    head = "" if answer == "e" else path + "\n"
    if "body_base64" in event:
        whole = head.encode() + base64.b64decode(event["body_base64"])
        reply = {"body_base64": base64.b64encode(whole).decode()}
    else:
        reply = {"body": head + event.get("body", "")}
    if answer == "h":
        reply["headers"] = {"X-Ledger": path}
    if deed == "l":
        strike(signal.SIGKILL)
    return reply


for line in sys.stdin:
    print(json.dumps(answered(json.loads(line))), flush=True)
