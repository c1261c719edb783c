"""The examples, served by a real processor and used as their documentation says."""

import concurrent.futures
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import unittest

from served import DIST, Served

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
# The interpreter that has the libraries the examples need.
PYTHON = os.environ.get("NUCLIO_TEST_PYTHON", sys.executable)


def has(module):
    found = subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, timeout=60)
    return found.returncode == 0


@unittest.skipUnless(DIST, "NUCLIO_TEST_DIST names no folder with the programs")
class Example(unittest.TestCase):
    def serve(self, name, env=None, python=sys.executable):
        served = Served(EXAMPLES / f"{name}.py", env=env, python=python)
        return self.enterContext(served)


class Hello(Example):
    def test_it_greets(self):
        served = self.serve("hello")
        self.assertEqual(served.ask("/?name=Ada").body, b"Hello, Ada!\n")
        reply = served.ask("/")
        self.assertEqual((reply.status, reply.body), (200, b"Hello, world!\n"))
        self.assertEqual(reply.headers["Content-Type"], "text/plain")


class Webhook(Example):
    SECRET = "s3cret"

    def hook(self, served, body, signature=None, content_type="application/json"):
        if signature is None:
            digest = hmac.new(self.SECRET.encode(), body, hashlib.sha256).hexdigest()
            signature = f"sha256={digest}"
        headers = {"Content-Type": content_type, "X-Signature-256": signature}
        return served.ask("/", body, headers)

    def test_signed_hooks_are_accepted_and_forgeries_rejected(self):
        served = self.serve("webhook", env={"WEBHOOK_SECRET": self.SECRET})
        body = json.dumps({"action": "opened", "text": "é" * 5000}).encode()
        reply = self.hook(served, body)
        self.assertEqual((reply.status, reply.json["action"]), (200, "opened"))
        other = hmac.new(b"other", body, hashlib.sha256).hexdigest()
        for forged in ("", "sha256=", "sha256=" + "0" * 64, f"sha256={other}", other, "é"):
            with self.subTest(forged):
                signature = forged.encode().decode("latin-1")
                self.assertEqual(self.hook(served, body, signature).status, 401)
        good = hmac.new(self.SECRET.encode(), body, hashlib.sha256).hexdigest()
        self.assertEqual(self.hook(served, body[:-1] + b" ", f"sha256={good}").status, 401)
        self.assertEqual(served.ask("/", body).status, 401)

    def test_what_is_signed_but_no_hook(self):
        served = self.serve("webhook", env={"WEBHOOK_SECRET": self.SECRET})
        for body in (b"", b"{", b"[1]", b"\xff\xfe"):
            with self.subTest(body):
                self.assertEqual(self.hook(served, body).status, 400)

    def test_without_a_secret_there_is_no_function(self):
        with self.assertRaisesRegex(AssertionError, "WEBHOOK_SECRET is not set"):
            self.serve("webhook")


# Draws a picture with fine structure and noise, as photographs have; prints the file's bytes.
DRAW = """
import io, random, sys
from PIL import Image
kind, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(7)
image = Image.frombytes("RGB", (width, height), random.randbytes(width * height * 3))
image = Image.blend(image, Image.linear_gradient("L").resize((width, height)).convert("RGB"), 0.8)
out = io.BytesIO()
image.save(out, kind)
sys.stdout.buffer.write(out.getvalue())
"""
LOOK = """
import io, sys
from PIL import Image
image = Image.open(io.BytesIO(sys.stdin.buffer.read()))
image.load()
print(image.format, *image.size)
"""


@unittest.skipUnless(has("PIL"), "Pillow is not installed")
class Thumbnail(Example):
    def python(self, code, *arguments, stdin=b""):
        run = subprocess.run(
            [PYTHON, "-c", code, *arguments], input=stdin, capture_output=True, timeout=60
        )
        self.assertEqual(run.returncode, 0, run.stderr.decode())
        return run.stdout

    def test_jpeg_and_png(self):
        served = self.serve("thumbnail", python=PYTHON)
        for kind, content_type in (("JPEG", "image/jpeg"), ("PNG", "image/png")):
            with self.subTest(kind):
                picture = self.python(DRAW, kind, "1200", "800")
                reply = served.ask("/?size=128", picture)
                self.assertEqual((reply.status, reply.headers["Content-Type"]), (200, content_type))
                self.assertEqual(
                    self.python(LOOK, stdin=reply.body).split(), [kind.encode(), b"128", b"85"]
                )
                small = self.python(LOOK, stdin=served.ask("/", picture).body).split()
                self.assertEqual(small, [kind.encode(), b"256", b"171"])
                self.assertEqual(served.ask("/", picture[: len(picture) // 2]).status, 400)

    def test_wrong_input(self):
        served = self.serve("thumbnail", python=PYTHON)
        picture = self.python(DRAW, "PNG", "64", "64")
        for size in ("x", "15", "1025", "-1"):
            self.assertEqual(served.ask(f"/?size={size}", picture).status, 400)
        gif = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
        for body in (b"", b"not an image", gif, picture[:4]):
            with self.subTest(body):
                self.assertEqual(served.ask("/", body).status, 415)


class Upstream(http.server.ThreadingHTTPServer):
    """Answers after a moment; counts how many it has at once."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        self.lock = threading.Lock()
        self.now = self.most = 0
        super().__init__(("127.0.0.1", 0), UpstreamAnswer)


class UpstreamAnswer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    MOMENT_S = 0.3

    def do_GET(self):
        server = self.server
        with server.lock:
            server.now += 1
            server.most = max(server.most, server.now)
        time.sleep(self.MOMENT_S)
        with server.lock:
            server.now -= 1
        body = f"upstream saw {self.path}".encode()
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@unittest.skipUnless(has("aiohttp"), "aiohttp is not installed")
class Fanout(Example):
    def setUp(self):
        self.upstream = Upstream()
        self.addCleanup(self.upstream.server_close)
        thread = threading.Thread(target=self.upstream.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.upstream.shutdown)
        self.url = f"http://127.0.0.1:{self.upstream.server_address[1]}"

    def test_many_events_wait_at_once(self):
        served = self.serve("fanout", env={"UPSTREAM_URL": self.url}, python=PYTHON)
        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            begun = time.monotonic()
            replies = list(pool.map(lambda n: served.ask(f"/orders/{n}"), range(60)))
            took = time.monotonic() - begun
        for number, reply in enumerate(replies):
            self.assertEqual(reply.status, 200)
            self.assertEqual(
                reply.json["replies"],
                [{"status": 200, "body": f"upstream saw /orders/{number}"}],
            )
        # One after the other it would be 18 s; with one worker.
        self.assertLess(took, 9)
        self.assertGreater(self.upstream.most, 10)

    def test_one_event_asks_many_times_and_passes_statuses_on(self):
        served = self.serve("fanout", env={"UPSTREAM_URL": self.url}, python=PYTHON)
        said = served.ask("/missing?copies=5").json
        self.assertEqual([reply["status"] for reply in said["replies"]], [404] * 5)
        self.assertEqual(served.ask("/?copies=99").status, 400)
        self.assertEqual(served.ask("/?copies=x").status, 400)

    def test_no_upstream(self):
        served = self.serve("fanout", env={"UPSTREAM_URL": "http://127.0.0.1:1"}, python=PYTHON)
        self.assertEqual(served.ask("/").status, 502)

    def test_it_ends_without_complaint(self):
        with Served(
            EXAMPLES / "fanout.py", env={"UPSTREAM_URL": self.url}, python=PYTHON
        ) as served:
            self.assertEqual(served.ask("/").status, 200)
        self.assertNotIn("nclosed", served.errors)


if __name__ == "__main__":
    unittest.main()
