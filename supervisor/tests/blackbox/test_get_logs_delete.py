"""`nuclio get`, `logs` and `delete`: what runs here, what it said, and its end."""

import concurrent.futures
import contextlib
import json
import os
import signal
import threading
import unittest

from desk import Desk
from processor import wait_until
from wire import ask

LIMIT_S = 30
TOGETHER = 100

CODE = '''
import asyncio, os

gate = asyncio.Event()
here = 0

async def handler(context, event):
    """A hundred wait for each other, so that their lines interleave."""
    global here
    mark = event.path.strip("/")
    if mark == "sleep":
        await asyncio.sleep(1000)
    if mark == "say":
        print("said")
    if mark in ("pid", "say"):
        return str(os.getpid())
    context.logger.info_with("begins", mark=mark)
    here += 1
    if here == 100:
        gate.set()
    await gate.wait()
    context.logger.info_with("goes on", mark=mark)
    await asyncio.sleep(0)
    print("ends", mark)
    return str(event.id)
'''

SPEC = (
    '{"apiVersion": "nuclio.io/v1", "kind": "Function", "spec": {"triggers": '
    '{"web": {"kind": "http", "maxInflight": 128}}}}'
)


def state_of(desk, name="shop"):
    return json.loads((desk.folder / f"state/run/default/{name}/state.json").read_text())


def http_of(desk, name="shop"):
    host, _, port = state_of(desk, name)["url"].rpartition("/")[2].partition(":")
    return host, int(port)


class GetLogsDelete(unittest.TestCase):
    @contextlib.contextmanager
    def running(self, *words):
        with Desk() as desk:
            desk.file("shop.py", CODE)
            desk.file("function.yaml", SPEC)
            words = words or ("run", "shop", "shop.py", "-f", "function.yaml")
            # Read by nobody until the end, and short.
            with desk.start(*words) as child:
                try:
                    line = child.stdout.readline().decode()
                    self.assertIn("is ready", line, "" if line else child.stderr.read())
                    yield desk, child
                finally:
                    if child.poll() is None:
                        child.kill()
                    child.communicate(timeout=LIMIT_S)

    def test_what_runs_is_listed(self):
        with self.running() as (desk, child):
            said = desk.nuclio("get")
            self.assertEqual(said.code, 0, said)
            head, row = said.stdout.splitlines()
            self.assertEqual(head.split(), ["NAME", "STATE", "URL", "WORKERS", "AGE"])
            url = state_of(desk)["url"]
            self.assertEqual(row.split()[:4], ["shop", "ready", url, "1/1"])
            one = json.loads(desk.nuclio("get", "function", "shop", "-o", "json").stdout)
            self.assertEqual((one["pid"], one["state"]), (child.pid, "ready"))
            self.assertEqual((one["workers"], one["restarts"]), ({"ready": 1, "total": 1}, 0))
            self.assertIn("python 3", one["runtime"])
            self.assertIn("PID", desk.nuclio("get", "-o", "wide").stdout)
            self.assertIn("state: ready", desk.nuclio("get", "-o", "yaml").stdout)
            said = desk.nuclio("get", "shpo")
            self.assertEqual((said.code, said.stdout), (1, ""), said)
            self.assertIn("did you mean shop?", said.stderr)
            said = desk.nuclio("get", "-n", "elsewhere")
            self.assertEqual((said.code, said.stdout), (0, ""), said)

    def test_a_restart_is_counted_and_a_drain_is_seen(self):
        with self.running() as (desk, child):
            http = http_of(desk)
            os.kill(int(ask(http, path="/pid").body), signal.SIGKILL)

            def row():
                return json.loads(desk.nuclio("get", "shop", "-o", "json").stdout)

            wait_until(lambda: row()["restarts"] == 1 and row()["state"] == "ready", "restarted")
            with contextlib.suppress(OSError):  # its connection is cut at the end
                thread = threading.Thread(target=swallow, args=(http, "/sleep"))
                thread.start()
            wait_until(lambda: in_flight(desk) == 1, "it runs")
            child.send_signal(signal.SIGTERM)
            wait_until(lambda: row()["state"] == "draining", "it drains")
            said = desk.nuclio("delete", "shop", "--timeout", "100ms")
            self.assertEqual((said.code, said.stdout), (1, ""), said)
            self.assertIn("still drains after 100ms", said.stderr)
            child.kill()
            child.wait(LIMIT_S)
            thread.join(LIMIT_S)

    def test_what_a_killed_one_left_is_shown_once_and_removed(self):
        with self.running() as (desk, child):
            child.kill()
            child.wait(LIMIT_S)
            self.assertIn("state.json", " ".join(map(str, desk.registered())))
            said = desk.nuclio("get", "-o", "json")
            self.assertEqual(json.loads(said.stdout)[0]["state"], "dead", said)
            self.assertEqual(json.loads(desk.nuclio("get", "-o", "json").stdout), [])
            self.assertEqual(desk.registered(), [])

    def test_delete_ends_it(self):
        with self.running() as (desk, child):
            said = desk.nuclio("delete", "function", "shop", "other")
            self.assertEqual(said.code, 1, said)
            self.assertEqual(said.stdout, "shop has ended\n")
            self.assertIn("no function called other", said.stderr)
            self.assertEqual(child.wait(LIMIT_S), 0)
            self.assertEqual((desk.registered(), desk.left_running()), ([], []))

    def test_lines_of_one_event_of_a_hundred(self):
        with self.running() as (desk, _):
            http = http_of(desk)
            with concurrent.futures.ThreadPoolExecutor(TOGETHER) as many:
                asked = [many.submit(ask, http, path=f"/mark-{i}") for i in range(TOGETHER)]
                ids = [one.result().body.decode() for one in asked]
            self.assertEqual(len(set(ids)), TOGETHER)
            wait_until(lambda: len(lines(desk)) >= 3 * TOGETHER, "all lines are kept")
            for number in (0, 41, 99):
                for event in (ids[number], ids[number][-8:]):
                    told = lines(desk, "--event", event)
                    messages = [line["message"] for line in told]
                    self.assertEqual(messages, ["begins", "goes on", f"ends mark-{number}"])
                    self.assertEqual({line["event_id"] for line in told}, {ids[number]})
            # They did interleave.
            marks = [line.get("mark") for line in lines(desk) if line["message"] == "begins"]
            first_on = [line["message"] for line in lines(desk) if "event_id" in line]
            self.assertEqual((len(marks), first_on[:TOGETHER]), (100, ["begins"] * TOGETHER))
            self.assertEqual(len(lines(desk, "--lines", "7")), 7)
            self.assertEqual(len(lines(desk, "--since", "1h", "--lines", "7")), 7)
            shown = desk.nuclio("logs", "shop", "--event", ids[41]).stdout
            self.assertIn(f"event …{ids[41][-8:]} begins mark=mark-41", shown)

    def test_followers_read_along(self):
        with self.running() as (desk, child):
            http = http_of(desk)
            words = ("logs", "shop", "--follow", "-o", "json", "--lines", "0")
            with desk.start(*words) as follower:
                # Nothing tells from outside that it listens, so events go until it has one.
                stop = threading.Event()
                asker = threading.Thread(target=print_until, args=(http, stop))
                asker.start()
                line = json.loads(follower.stdout.readline())
                stop.set()
                asker.join(LIMIT_S)
                self.assertEqual(line["function"], "shop")
                child.send_signal(signal.SIGTERM)
                rest, err = follower.communicate(timeout=LIMIT_S)
                self.assertEqual((follower.returncode, err), (0, b"shop has ended\n"))

    def test_mistakes_are_told(self):
        with Desk() as desk:
            said = desk.nuclio("logs", "shop", "--event", "2a", "--lines", "-1", "--since", "old")
            self.assertEqual((said.code, said.stdout), (2, ""), said)
            self.assertEqual(said.stderr.count("\n"), 3, said)
            said = desk.nuclio("logs", "shop")
            self.assertEqual((said.code, said.stdout), (1, ""), said)
            self.assertIn("nuclio run shop", said.stderr)


def lines(desk, *words):
    said = desk.nuclio("logs", "shop", "-o", "json", *words)
    return [json.loads(line) for line in said.stdout.splitlines()]


def swallow(http, path):
    with contextlib.suppress(Exception):
        ask(http, path=path)


def print_until(http, stop):
    while not stop.is_set():
        ask(http, path="/say")


def in_flight(desk):
    import http.client
    import urllib.parse

    parts = urllib.parse.urlsplit(state_of(desk)["admin"])
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=LIMIT_S)
    with contextlib.closing(connection):
        connection.request("GET", "/api/stats")
        return json.loads(connection.getresponse().read())["in_flight"]


if __name__ == "__main__":
    unittest.main()
