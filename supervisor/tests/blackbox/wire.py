"""A client that sends exactly the bytes it is told to and reads one reply at a time.

Refuses to guess: a reply whose end cannot be known, or that breaks off, is an error.
"""

import contextlib
import hashlib
import socket
import struct
from dataclasses import dataclass

LIMIT_S = 20
HEAD_BYTES_MAX = 64 * 1024


class BrokenReply(AssertionError):
    """The connection ended, or the bytes are no HTTP reply."""


@dataclass
class Reply:
    status: int
    headers: list
    body: bytes

    def get(self, name):
        """The only value of a header, or None."""
        values = self.get_all(name)
        if len(values) > 1:
            raise BrokenReply(f"{name} is there {len(values)} times: {values}")
        return values[0] if values else None

    def get_all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Client:
    """One connection."""

    def __init__(self, address, receive_bytes=None, send_bytes=None, limit_s=LIMIT_S):
        self.socket = socket.socket()
        self.socket.settimeout(limit_s)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        if send_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Leaves at once, with what is under way thrown away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def _more(self):
        """Reads some; false at the end of the connection."""
        data = self.socket.recv(1 << 20)
        self.buffer += data
        return bool(data)

    def _line(self):
        while (end := self.buffer.find(b"\r\n")) < 0:
            if len(self.buffer) > HEAD_BYTES_MAX or not self._more():
                raise BrokenReply(f"no line in {bytes(self.buffer[:200])!r}")
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        return line

    def _take(self, count):
        while len(self.buffer) < count:
            if not self._more():
                raise BrokenReply(f"ended {count - len(self.buffer)} bytes early")
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def _head(self):
        line = self._line()
        parts = line.split(b" ", 2)
        if not line.startswith(b"HTTP/1.1 ") or len(parts) < 2 or not parts[1].isdigit():
            raise BrokenReply(f"no status line: {line!r}")
        headers = []
        while line := self._line():
            name, colon, value = line.partition(b":")
            if not colon:
                raise BrokenReply(f"no header line: {line!r}")
            headers.append((name.decode("latin-1"), value.strip().decode("latin-1")))
        return Reply(int(parts[1]), headers, b"")

    def reply(self, method="GET"):
        """The next reply, 100 included."""
        reply = self._head()
        length, coding = reply.get("Content-Length"), reply.get("Transfer-Encoding")
        if length is not None and coding is not None:
            raise BrokenReply("both Content-Length and Transfer-Encoding")
        if method == "HEAD" or reply.status in (204, 304) or reply.status < 200:
            return reply
        if coding == "chunked":
            reply.body = self._chunks()
        elif length is not None:
            reply.body = self._take(int(length))
        else:
            reply.body = self.rest()
        return reply

    def _chunks(self):
        body = bytearray()
        while size := int(self._line(), 16):
            body += self._take(size)
            if self._take(2) != b"\r\n":
                raise BrokenReply("a chunk without its end")
        if self._line():
            raise BrokenReply("a trailer nobody announced")
        return bytes(body)

    def rest(self):
        """Everything until the other side closes."""
        while self._more():
            pass
        rest = bytes(self.buffer)
        self.buffer.clear()
        return rest

    def is_closed(self):
        """Waits for the other side to close, with nothing more sent; false if something came."""
        with contextlib.suppress(ConnectionResetError):
            return not self.buffer and not self._more()
        return True

    def ask(self, method="GET", path="/", body=None, headers=(), version="1.1"):
        """Sends a whole request and reads its reply."""
        self.send(request(method, path, body, headers, version))
        return self.reply(method)


def request(method="GET", path="/", body=None, headers=(), version="1.1"):
    """The bytes of a well-formed request."""
    lines = [f"{method} {path} HTTP/{version}", "Host: test"]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += headers
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(body, sizes=(1000,), path="/", method="POST", trailer=b""):
    """The bytes of a request whose body is cut into chunks of these sizes, over and over."""
    head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    out, at, turn = [head.encode()], 0, 0
    while at < len(body):
        piece = body[at : at + sizes[turn % len(sizes)]]
        out.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += len(piece)
        turn += 1
    return b"".join([*out, b"0\r\n", trailer, b"\r\n"])


def ask(address, method="GET", path="/", body=None, headers=(), version="1.1"):
    """One request on a connection of its own."""
    with Client(address) as client:
        return client.ask(method, path, body, headers, version)


def pattern(count):
    """Bytes in which every shift and swap shows."""
    block = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(2048))
    return (block * (count // len(block) + 1))[:count]
