"""`nuclio run app.js --debug`: Node's inspector, spoken to as an editor does."""

import base64
import concurrent.futures
import json
import os
import re
import socket
import struct
import unittest
import urllib.request

from desk import Desk, refuse_skip
from processor import free_port, wait_until
from terminal import Terminal
from wire import ask

LIMIT_S = 60
CODE = """exports.handler = async (context, event) => {
  const total = 40 + 2
  return `${event.path} ${total}`
}
"""


class Inspector:
    """A WebSocket to Node's inspector: requests by number, events by name."""

    def __init__(self, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=LIMIT_S) as found:
            path = json.load(found)[0]["webSocketDebuggerUrl"].partition(f":{port}")[2]
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
            "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", "",
        ]
        self.socket.sendall("\r\n".join(head).encode())
        assert b" 101 " in self.stream.readline()
        while self.stream.readline().strip():
            pass
        self.number = 0
        self.kept = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def ask(self, method, **params):
        self.number += 1
        number = self.number
        data = json.dumps({"id": number, "method": method, "params": params}).encode()
        mask = os.urandom(4)
        head = struct.pack("!BBH", 0x81, 0x80 | 126, len(data))
        self.socket.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
        answer = self._wait(lambda message: message.get("id") == number)
        assert "error" not in answer, answer
        return answer["result"]

    def event(self, method):
        return self._wait(lambda message: message.get("method") == method)["params"]

    def _wait(self, is_meant):
        for message in self.kept:
            if is_meant(message):
                self.kept.remove(message)
                return message
        while not is_meant(message := self._read()):
            self.kept.append(message)
        return message

    def _read(self):
        _, length = self.stream.read(2)
        if length == 126:
            (length,) = struct.unpack("!H", self.stream.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.stream.read(8))
        return json.loads(self.stream.read(length))


class Debug(unittest.TestCase):
    def setUp(self):
        refuse_skip("node")
        self.desk = self.enterContext(Desk())
        self.many = self.enterContext(concurrent.futures.ThreadPoolExecutor(2))
        left = self.desk.left_running
        self.addCleanup(wait_until, lambda: not left(), lambda: f"nothing runs: {left()}")

    def test_a_breakpoint_of_an_editor(self):
        port = free_port()
        self.desk.file("shop.js", CODE)
        env = {"NODE_OPTIONS": f"--inspect-port={port}"}
        with Terminal(self.desk, "run", "shop", "shop.js", "--debug", env=env) as terminal:
            terminal.wait_for(rf"Debugger listening on ws://127.0.0.1:{port}/")
            found = terminal.wait_for(r"ready: http://([\d.]+):(\d+)[^\n]*\n")
            http = found[1].decode(), int(found[2])
            with Inspector(port) as inspector:
                inspector.ask("Debugger.enable")
                inspector.ask("Debugger.setBreakpointByUrl", lineNumber=2, urlRegex=r"shop\.js$")
                reply = self.many.submit(ask, http, path="/a")
                (frame, *_) = inspector.event("Debugger.paused")["callFrames"]
                self.assertTrue(re.search("handler", frame["functionName"]), frame["functionName"])
                value = inspector.ask(
                    "Debugger.evaluateOnCallFrame",
                    callFrameId=frame["callFrameId"],
                    expression="total + 1",
                )
                self.assertEqual(value["result"]["value"], 43)
                self.assertFalse(reply.done())
                inspector.ask("Debugger.resume")
                self.assertEqual(reply.result(LIMIT_S).body, b"/a 42")
            terminal.interrupt()
            terminal.wait_for("draining")
            self.assertEqual(terminal.wait_end(), 0)

    def test_a_language_without_a_debugger(self):
        self.desk.file("shop.rb", "def handler(context, event)\n  'ok'\nend\n")
        with Terminal(self.desk, "run", "shop", "shop.rb", "--debug") as terminal:
            terminal.wait_for("--debug: ruby has no debugger here; leave it out")
            self.assertEqual(terminal.wait_end(), 2)


if __name__ == "__main__":
    unittest.main()
