"""What an editor says to a debug adapter: the Debug Adapter Protocol, as far as a test needs it."""

import json
import socket

LIMIT_S = 60


class Editor:
    """One connection to an adapter."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=LIMIT_S)
        self.stream = self.socket.makefile("rwb")
        self.number = 0
        # Read before somebody waited for it.
        self.kept = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def say(self, command, **arguments):
        """Asks for something; the number of the question."""
        self.number += 1
        body = {"seq": self.number, "type": "request", "command": command, "arguments": arguments}
        data = json.dumps(body).encode()
        self.stream.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
        self.stream.flush()
        return self.number

    def ask(self, command, **arguments):
        """The answer to a question; one that failed is an error."""
        return self.answer(self.say(command, **arguments))

    def answer(self, number):
        reply = self._wait(lambda m: m["type"] == "response" and m["request_seq"] == number)
        assert reply["success"], reply
        return reply.get("body")

    def event(self, name):
        """The next event of this name."""
        return self._wait(lambda m: m["type"] == "event" and m["event"] == name).get("body")

    def _wait(self, is_meant):
        for message in self.kept:
            if is_meant(message):
                self.kept.remove(message)
                return message
        while not is_meant(message := self._read()):
            self.kept.append(message)
        return message

    def _read(self):
        length = 0
        while line := self.stream.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the adapter has ended"
        return json.loads(self.stream.read(length))
