#!/usr/bin/env python3
"""How fast new code answers: after a save under `--watch`, and after kill -9 of the only worker.

Saves: 64 connections of wrk keep the function busy while its file is replaced by rename(2) again
and again; a connection beside them asks until the first reply by the new code. Kills: one connection
asks; the worker is killed between two of its requests, and the next reply is timed.
"""

import argparse
import http.client
import os
import pathlib
import re
import signal
import statistics
import subprocess
import tempfile
import time

HANDLER = 'VERSION = "{version}"\n\n\ndef handler(context, event):\n    return VERSION\n'
START_LIMIT_S = 20
REPLY_LIMIT_S = 10
# Between two saves, so that each finds a quiet watcher.
PAUSE_S = 0.1


class Function:
    """`nuclio run --watch` of one file in a folder of its own."""

    def __init__(self, nuclio, python, folder):
        self.file = pathlib.Path(folder) / "hello.py"
        self.draft = self.file.with_name("draft")
        self.save("0")
        environment = {**os.environ, "NUCLIO_STATE_DIR": folder, "PORT": "0"}
        environment |= {"NUCLIO_ADMIN": "127.0.0.1:0", "NUCLIO_LOG_LEVEL": "error"}
        self.child = subprocess.Popen(
            [nuclio, "run", str(self.file), "--watch", "--python", python],
            stdout=subprocess.PIPE,
            env=environment,
        )
        line = self.child.stdout.readline().decode()
        self.url = re.search(r"http://([^:]+):(\d+)", line)
        if not self.url:
            raise SystemExit(f"no ready line: {line!r}")

    def save(self, version):
        """Replaces the file; the moment of the rename."""
        self.draft.write_text(HANDLER.format(version=version))
        moment = time.monotonic()
        os.rename(self.draft, self.file)
        return moment

    def connection(self):
        return http.client.HTTPConnection(self.url[1], int(self.url[2]), timeout=REPLY_LIMIT_S)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()


def ask(connection):
    connection.request("GET", "/")
    reply = connection.getresponse()
    body = reply.read().decode()
    if reply.status != 200:
        raise SystemExit(f"a request failed: {reply.status} {body}")
    return body


def wait_for(connection, version):
    end = time.monotonic() + REPLY_LIMIT_S
    while ask(connection) != version:
        if time.monotonic() > end:
            raise SystemExit(f"version {version} did not answer in {REPLY_LIMIT_S} s")


def time_saves(function, count):
    seconds = count * 0.5 + START_LIMIT_S
    url = f"http://{function.url[1]}:{function.url[2]}/"
    load = ["wrk", "-t1", "-c64", f"-d{int(seconds)}", "--timeout", "10", url]
    wrk = subprocess.Popen(load, stdout=subprocess.PIPE, text=True)
    times = []
    connection = function.connection()
    for number in range(1, count + 1):
        saved = function.save(str(number))
        wait_for(connection, str(number))
        times.append((time.monotonic() - saved) * 1e3)
        time.sleep(PAUSE_S)
    wrk.send_signal(signal.SIGINT)
    report = wrk.communicate()[0]
    failed = re.findall(r"Socket errors.*|Non-2xx.*", report)
    requests = re.search(r"(\d+) requests in", report)
    return times, failed, requests and int(requests[1])


def time_kills(function, count):
    times = []
    connection = function.connection()
    for _ in range(count):
        ask(connection)
        # Let the worker come to rest, and the zygote with it.
        time.sleep(PAUSE_S)
        worker = worker_of(function.child.pid)
        killed = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        ask(connection)
        times.append((time.monotonic() - killed) * 1e3)
    return times


def worker_of(processor):
    """The newest child that is a worker: all of them are of this one function."""
    children = pathlib.Path(f"/proc/{processor}/task").glob("*/children")
    pids = [int(pid) for file in children for pid in file.read_text().split()]
    open_rings = [pid for pid in pids if has_event_memory(pid)]
    if len(open_rings) != 1:
        raise SystemExit(f"one worker was expected, not {open_rings}")
    return open_rings[0]


def has_event_memory(pid):
    return "nuclio-u" in pathlib.Path(f"/proc/{pid}/maps").read_text()


def show(what, times):
    cuts = statistics.quantiles(times, n=100)
    print(
        f"{what}: {len(times)} times, p50 {statistics.median(times):.1f} ms, "
        f"p99 {cuts[98]:.1f} ms, most {max(times):.1f} ms"
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--nuclio", default="target/dev-dist/nuclio/bin/nuclio")
    arguments.add_argument("--python", default="python3")
    arguments.add_argument("--saves", type=int, default=200)
    arguments.add_argument("--kills", type=int, default=100)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        function = Function(chosen.nuclio, chosen.python, folder)
        try:
            kills = time_kills(function, chosen.kills)
            saves, failed, requests = time_saves(function, chosen.saves)
        finally:
            function.stop()
    show("kill -9 of the only worker to the next reply", kills)
    show("rename to the first reply by new code", saves)
    print(f"requests meanwhile: {requests}, failed: {'; '.join(failed) or 'none'}")


if __name__ == "__main__":
    main()
