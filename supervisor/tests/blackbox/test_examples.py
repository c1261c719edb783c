"""The examples with real and hostile data: signatures, pictures, an upstream that misbehaves."""

import contextlib
import hashlib
import hmac
import http.server
import io
import json
import random
import threading
import time
import unittest

from faults import records_of
from processor import REPOSITORY, Processor, wait_until
from wire import Client, ask, request

try:
    from PIL import Image
except ImportError:
    raise AssertionError("Pillow is not installed here; run `cargo xtask setup`") from None

EXAMPLES = REPOSITORY / "runtimes/python/examples"


def example(name):
    return (EXAMPLES / f"{name}.py").read_text()


class ExampleCase(unittest.TestCase):
    """One example with JSON logs; nothing it is sent may fail it or leak."""

    name = ""
    env = {}

    @classmethod
    def setUpClass(cls):
        env = {"NUCLIO_LOG_FORMAT": "json", **cls.env}
        cls.processor = Processor(example(cls.name), env=env)
        cls.addClassCleanup(cls.processor.close)
        cls.processor.wait_ready()
        cls.http = cls.processor.http
        cls.before = cls.processor.census()

    def setUp(self):
        self.records_before = len(records_of(self.processor))

    def tearDown(self):
        self.processor.wait_census(self.before)
        records = records_of(self.processor)[self.records_before :]
        failed = [record["message"] for record in records if record["level"] == "error"]
        self.assertEqual(failed, [])

    @classmethod
    def tearDownClass(cls):
        code = cls.processor.stop()
        assert code == 0, f"ended with {code}:\n{cls.processor.stderr()}"


class Hello(ExampleCase):
    name = "hello"

    def test_it_greets_whomever(self):
        for query, name in [
            ("", "world"),
            ("?name=Ada", "Ada"),
            ("?name=J%C3%BCrgen+K", "Jürgen K"),
        ]:
            reply = ask(self.http, "GET", f"/{query}")
            self.assertEqual((reply.status, reply.body.decode()), (200, f"Hello, {name}!\n"))


class Webhook(ExampleCase):
    name = "webhook"
    env = {"WEBHOOK_SECRET": "s3cret"}

    def hook(self, body, *headers):
        return ask(self.http, "POST", "/", body, ["Content-Type: application/json", *headers])

    def sign(self, body, secret=b"s3cret"):
        return "X-Signature-256: sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()

    def test_what_is_signed_is_accepted(self):
        for size in (0, 100, 5000, 70_000, 1 << 20):
            body = json.dumps({"action": "opened", "text": "é" * (size // 2)}).encode()
            reply = self.hook(body, self.sign(body))
            self.assertEqual(reply.status, 200, reply.body)
            self.assertEqual(json.loads(reply.body), {"accepted": True, "action": "opened"})

    def test_forgeries_are_rejected(self):
        body = b'{"action": "opened"}'
        good = self.sign(body)
        for forged in [
            (),
            ("X-Signature-256:",),
            ("X-Signature-256: sha256=",),
            (good[:-1],),
            (good + "0",),
            (good.replace("sha256=", "sha1="),),
            (good.replace("sha256=", ""),),
            (good[:-1] + ("0" if good[-1] != "0" else "1"),),
            (self.sign(body, b"another"),),
            (self.sign(body + b" "),),
            ("X-Signature-256: sha256=\xff\xfe",),
            ("X-Signature-256: sha256=caf\xc3\xa9",),
            ("X-Signature-256: nothing", good),
            ("X-Signature-256: sha256=" + "a" * 10_000,),
        ]:
            with self.subTest(forged=forged):
                reply = self.hook(body, *forged)
                self.assertEqual(
                    (reply.status, reply.body), (401, b"The signature does not match.\n")
                )
        # Reading on after one changed bit anywhere in the body.
        for at in range(len(body)):
            changed = bytearray(body)
            changed[at] ^= 1
            self.assertEqual(self.hook(bytes(changed), good).status, 401)

    def test_what_is_signed_but_no_hook(self):
        for body in (b"", b"{", b"[1]", b"5", b"\xff\xfe", b"[" * 100_000, b'{"a":1e999}'):
            with self.subTest(body=body[:20]):
                self.assertIn(self.hook(body, self.sign(body)).status, (200, 400))


def picture(kind, mode="RGB", size=(800, 600), **options):
    """A picture with gradients and noise, as a file."""
    rng = random.Random(7)
    noise = Image.frombytes("L", size, rng.randbytes(size[0] * size[1]))
    image = Image.blend(noise, Image.linear_gradient("L").resize(size), 0.8)
    if mode == "I;16":
        image = image.convert("I")
    image = image.convert(mode)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


class Thumbnail(ExampleCase):
    name = "thumbnail"

    def made(self, data, query=""):
        reply = ask(self.http, "POST", f"/{query}", data)
        self.assertEqual(reply.status, 200, reply.body[:200])
        image = Image.open(io.BytesIO(reply.body))
        image.load()
        self.assertEqual(reply.get("Content-Type"), f"image/{image.format.lower()}")
        return image.format, image.size

    def test_jpegs_and_pngs_of_each_mode(self):
        for kind, modes in [
            ("JPEG", ["RGB", "L", "CMYK"]),
            ("PNG", ["RGB", "RGBA", "L", "P", "1", "I;16"]),
        ]:
            for mode in modes:
                with self.subTest(kind=kind, mode=mode):
                    self.assertEqual(self.made(picture(kind, mode)), (kind, (256, 192)))
        self.assertEqual(
            self.made(picture("JPEG", progressive=True), "?size=64"), ("JPEG", (64, 48))
        )

    def test_sizes(self):
        self.assertEqual(self.made(picture("PNG", size=(10, 10))), ("PNG", (10, 10)))
        self.assertEqual(
            self.made(picture("JPEG", size=(2000, 100)), "?size=100"), ("JPEG", (100, 5))
        )
        for query in ("?size=0", "?size=x", "?size=15", "?size=99999999999999999999", "?size="):
            self.assertIn(ask(self.http, "POST", f"/{query}", picture("PNG")).status, (200, 400))

    def test_what_is_no_picture(self):
        gif = io.BytesIO()
        Image.new("P", (5, 5)).save(gif, "GIF")
        for data in (b"", b"text", gif.getvalue(), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"):
            with self.subTest(data=data[:8]):
                self.assertIn(ask(self.http, "POST", "/", data).status, (400, 415))

    def test_bombs(self):
        """A small file of very many pixels."""
        bomb = io.BytesIO()
        Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
        self.assertEqual(ask(self.http, "POST", "/", bomb.getvalue()).status, 400)

    def test_broken_pictures(self):
        """Cut and changed at random places; the seed makes it the same each time."""
        rng, statuses = random.Random(1), []
        files = [
            picture("JPEG", size=(120, 90)),
            picture("PNG", size=(120, 90)),
            picture("PNG", "P", size=(120, 90)),
        ]
        with Client(self.http) as client:
            for turn in range(300):
                data = bytearray(files[turn % len(files)])
                if turn % 4 == 0:
                    del data[rng.randrange(len(data)) :]
                for _ in range(rng.randrange(1, 6)):
                    if data:
                        # Mostly in front, where the structure is.
                        at = rng.randrange(len(data) if turn % 2 else min(len(data), 200))
                        data[at] = rng.randrange(256)
                reply = client.ask("POST", "/", bytes(data))
                statuses.append(reply.status)
                self.assertIn(reply.status, (200, 400, 415), f"turn {turn}: {reply.body[:300]}")
        counts = {status: statuses.count(status) for status in sorted(set(statuses))}
        print(f"\nbroken pictures: {counts}")


class Upstream(http.server.ThreadingHTTPServer):
    """Answers by the path, and counts how many it has at once."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.lock = threading.Lock()
        self.now = self.most = 0

    def handle_error(self, *_):
        """Clients that leave are no news."""


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        upstream = self.server
        with upstream.lock:
            upstream.now += 1
            upstream.most = max(upstream.most, upstream.now)
        word = self.path.strip("/").partition("/")[0]
        if word == "slow":
            time.sleep(0.2)
        with upstream.lock:
            upstream.now -= 1
        if word == "hangup":
            self.close_connection = True
            return
        if word == "short":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            self.close_connection = True
            return
        if word == "garbage":
            self.wfile.write(b"\x00\x01nonsense\r\n\r\n")
            self.close_connection = True
            return
        body = f"saw {self.path}".encode()
        self.send_response(int(word) if word.isdigit() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Fanout(ExampleCase):
    name = "fanout"

    @classmethod
    def setUpClass(cls):
        cls.upstream = Upstream()
        cls.addClassCleanup(cls.upstream.server_close)
        thread = threading.Thread(target=cls.upstream.serve_forever, args=(0.05,))
        thread.start()
        cls.addClassCleanup(thread.join)
        cls.addClassCleanup(cls.upstream.shutdown)
        cls.env = {"UPSTREAM_URL": "http://127.0.0.1:%d" % cls.upstream.server_address[1]}
        super().setUpClass()

    def test_a_hundred_in_flight(self):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(self.http)) for _ in range(100)]
            begun = time.monotonic()
            for number, client in enumerate(clients):
                client.send(request("GET", f"/slow/{number}"))
            for number, client in enumerate(clients):
                reply = client.reply()
                self.assertEqual(reply.status, 200, reply.body)
                told = json.loads(reply.body)["replies"]
                self.assertEqual(told, [{"status": 200, "body": f"saw /slow/{number}"}])
        print(
            f"\n100 events of 200 ms by one worker: {time.monotonic() - begun:.2f} s, "
            f"{self.upstream.most} at once"
        )
        self.assertGreater(self.upstream.most, 30)

    def test_an_upstream_that_misbehaves(self):
        for path, status in [
            ("/503/x", 200),
            ("/hangup", 502),
            ("/short", 502),
            ("/garbage", 502),
            ("/ok", 200),
        ]:
            with self.subTest(path=path):
                reply = ask(self.http, "GET", path)
                self.assertEqual(reply.status, status, reply.body)

    def test_clients_that_leave(self):
        clients = [Client(self.http) for _ in range(20)]
        for client in clients:
            client.send(request("GET", "/slow/x"))
        wait_until(lambda: self.processor.stats()["in_flight"] > 0, "they are in flight")
        for client in clients:
            client.reset()
        self.assertEqual(ask(self.http, "GET", "/ok").status, 200)


if __name__ == "__main__":
    unittest.main()
