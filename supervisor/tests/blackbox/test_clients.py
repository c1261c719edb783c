"""Clients that nobody here wrote: curl, requests, http.client, Node's fetch, wrk and Chromium."""

import contextlib
import hashlib
import http.client
import http.server
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import unittest

from desk import refuse_skip
from faults import FaultCase, function
from processor import http_trigger
from wire import pattern

LIMIT_S = 60
BIG = b"0123456789abcdef" * (1 << 18)
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class ClientCase(FaultCase):
    code = function("everyday")
    probe = "/"
    workers = 2

    def setUp(self):
        super().setUp()
        self.url = "http://%s:%d" % self.http

    def run_program(self, *words, data=None):
        done = subprocess.run(words, input=data, capture_output=True, timeout=LIMIT_S)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout


class Curl(ClientCase):
    def curl(self, *words, data=None):
        return self.run_program(refuse_skip("curl"), "-sS", "--max-time", "30", *words, data=data)

    def test_methods_and_statuses(self):
        self.assertEqual(self.curl(f"{self.url}/?a=1"), b"GET a=1")
        self.assertEqual(self.curl("-X", "DELETE", self.url), b"DELETE ")
        self.assertEqual(self.curl("-d", "x=1", f"{self.url}/echo"), b"x=1")
        told = self.curl("-o", "/dev/null", "-w", "%{http_code}", f"{self.url}/teapot")
        self.assertEqual(told, b"418")
        self.assertIn(b"HTTP/1.1 200 OK", self.curl("-I", f"{self.url}/big"))
        self.assertIn(b"204", self.curl("-i", f"{self.url}/empty"))

    def test_uploads(self):
        body = pattern(3 << 20)
        expect = self.curl(
            "--data-binary", "@-", "-H", "Expect: 100-continue", f"{self.url}/echo", data=body
        )
        self.assertTrue(expect == body)
        chunked = self.curl("-T", "-", f"{self.url}/echo", data=body)
        self.assertTrue(chunked == body)
        form = self.curl("-F", "file=@-", f"{self.url}/echo", data=b"in a form")
        self.assertIn(b"in a form", form)

    def test_one_connection_for_many(self):
        told = self.curl(*[f"{self.url}/"] * 20, "-w", "%{num_connects}")
        self.assertEqual(told.count(b"GET "), 20)
        self.assertEqual(sum(int(n) for n in re.findall(rb"GET (\d)", told)), 1)

    def test_parallel_downloads(self):
        words = ["-Z", "--parallel-max", "8"]
        for _ in range(16):
            words += ["-o", "/dev/null", "-w", "%{size_download}\n", f"{self.url}/big"]
        self.assertEqual(self.curl(*words).split(), [b"%d" % len(BIG)] * 16)


class Python(ClientCase):
    def test_requests(self):
        try:
            import requests
        except ImportError:
            self.fail("requests is not installed here; run `cargo xtask setup`")
        with requests.Session() as session:
            reply = session.post(
                f"{self.url}/json",
                json={"numbers": [1, 2, 3]},
                headers={"X-Mark": "m"},
                timeout=LIMIT_S,
            )
            self.assertEqual(reply.json(), {"method": "POST", "sum": 6, "mark": "m"})
            self.assertEqual(
                session.get(self.url, params={"q": "ä b"}, timeout=LIMIT_S).text, "GET q=%C3%A4+b"
            )
            reply = session.get(f"{self.url}/cookies", timeout=LIMIT_S)
            self.assertEqual(session.cookies.get_dict(), {"a": "1", "b": "2"})
            pieces = (pattern(100_000) for _ in range(20))  # sent in chunks
            reply = session.put(f"{self.url}/digest", data=pieces, timeout=LIMIT_S)
            whole = hashlib.sha256(pattern(100_000) * 20).hexdigest()
            self.assertEqual(reply.json(), {"sha256": whole, "size": 2_000_000})
            with session.get(f"{self.url}/big", stream=True, timeout=LIMIT_S) as reply:
                self.assertTrue(b"".join(reply.iter_content(8192)) == BIG)
            reply = session.post(
                f"{self.url}/echo", files={"f": ("name", b"data")}, timeout=LIMIT_S
            )
            self.assertIn(b'filename="name"', reply.content)
            self.assertEqual(session.get(f"{self.url}/empty", timeout=LIMIT_S).status_code, 204)
            self.assertEqual(session.head(self.url, timeout=LIMIT_S).headers["Server"], "nuclio")

    def test_http_client(self):
        connection = http.client.HTTPConnection(*self.http, timeout=LIMIT_S)
        with contextlib.closing(connection):
            for size in (0, 1, 70_000, 1 << 20):
                body = pattern(size)
                connection.request("POST", "/echo", body)
                self.assertTrue(connection.getresponse().read() == body)
            connection.request("POST", "/echo", iter([b"a", b"b" * 5000]), encode_chunked=True)
            self.assertEqual(connection.getresponse().read(), b"a" + b"b" * 5000)


NODE = """
const base = process.argv[1];
const check = (what, ok) => { if (!ok) throw new Error(what); };
const body = new Uint8Array(1 << 20).map((_, i) => i % 251);
(async () => {
  let r = await fetch(base + '/json', {method: 'POST', body: JSON.stringify({numbers: [1, 2]}),
    headers: {'Content-Type': 'application/json', 'X-Mark': 'ä'.normalize()}});
  check('json', (await r.json()).sum === 3);
  r = await fetch(base + '/echo', {method: 'POST', body});
  check('echo', Buffer.compare(Buffer.from(await r.arrayBuffer()), Buffer.from(body)) === 0);
  const stream = new ReadableStream({start(c) {
    for (let i = 0; i < 50; i++) c.enqueue(body.slice(0, 10000)); c.close(); }});
  r = await fetch(base + '/digest', {method: 'PUT', body: stream, duplex: 'half'});
  check('stream', (await r.json()).size === 500000);
  const many = await Promise.all([...Array(100).keys()].map(
    async i => (await fetch(base + '/?n=' + i)).text()));
  many.forEach((text, i) => check('many', text === 'GET n=' + i));
  r = await fetch(base + '/cookies');
  check('cookies', r.headers.getSetCookie().join() === 'a=1,b=2');
  check('empty', (await fetch(base + '/empty')).status === 204);
  const stop = new AbortController();
  r = await fetch(base + '/big', {signal: stop.signal});
  await r.body.getReader().read();
  stop.abort();
  check('big', (await (await fetch(base + '/big')).arrayBuffer()).byteLength === 1 << 22);
  console.log('all well');
})().catch(error => { console.error(error); process.exit(1); });
"""


class Node(ClientCase):
    def test_fetch(self):
        program = shutil.which("node") or refuse_skip("nodejs")
        self.assertEqual(self.run_program(program, "-e", NODE, self.url), b"all well\n")


class Wrk(ClientCase):
    def test_no_errors(self):
        told = self.run_program(
            refuse_skip("wrk"), "-t1", "-c32", "-d2s", "--latency", f"{self.url}/?wrk"
        ).decode()
        rate = re.search(r"Requests/sec: +(\S+)", told).group(1)
        slowest = re.search(r"99% +(\S+)", told).group(1)
        print(f"\nwrk, 32 connections, 2 workers: {rate}/s, p99 {slowest}")
        self.assertNotIn("Socket errors", told)
        self.assertNotIn("Non-2xx", told)
        self.assertGreater(float(rate), 0)


PAGE = """<!doctype html><script>
const told = {};
const attempt = async (name, work) => {
  try { told[name] = await work(); } catch (error) { told[name] = String(error); }
};
(async () => {
  await attempt('post', async () => {
    const r = await fetch(TARGET + '/json', {method: 'POST', body: '{"numbers": [1, 2, 3]}',
      headers: {'Content-Type': 'application/json', 'X-Mark': 'from a page'}});
    return [r.status, (await r.json()).sum, r.headers.get('X-Nuclio-Logs')];
  });
  await attempt('simple', async () => (await fetch(TARGET + '/?x=1')).text());
  await attempt('put', async () => (await (await fetch(TARGET + '/echo', {method: 'PUT',
    body: new Blob([new Uint8Array(300000)])})).arrayBuffer()).byteLength);
  await attempt('big', async () => (await (await fetch(TARGET + '/big')).arrayBuffer()).byteLength);
  await attempt('header', async () => (await fetch(TARGET + '/json', {method: 'POST', body: '{}',
    headers: {'X-Not-Allowed': '1'}})).status);
  await fetch('/told', {method: 'POST', body: JSON.stringify(told)});
})();
</script>"""


class Site(http.server.ThreadingHTTPServer):
    """Serves the page from an origin of its own and takes what the page has seen."""

    daemon_threads = True

    def __init__(self, page):
        super().__init__(("127.0.0.1", 0), SiteAnswer)
        self.page, self.told = page.encode(), queue.SimpleQueue()


class SiteAnswer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(self.server.page if self.path == "/" else b"")

    def do_POST(self):
        self.server.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.reply(b"")

    def reply(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Chromium(ClientCase):
    cors = {"enabled": True, "allowHeaders": ["Content-Type", "X-Mark"]}
    spec = {"triggers": http_trigger({"cors": cors})}

    def seen_by_a_page(self):
        """What a page of another origin has seen of the function."""
        found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
        program = next(filter(None, found), None) or refuse_skip("chromium")
        with (
            Site(PAGE.replace("TARGET", json.dumps(self.url))) as site,
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        ):
            thread = threading.Thread(target=site.serve_forever, args=(0.05,))
            thread.start()
            browser = subprocess.Popen(
                [
                    program,
                    *CHROMIUM_FLAGS,
                    f"--user-data-dir={profile}",
                    "http://127.0.0.1:%d/" % site.server_address[1],
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                return site.told.get(timeout=LIMIT_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(browser.pid, signal.SIGKILL)
                browser.wait()
                site.shutdown()
                thread.join()

    def test_a_page_of_another_origin(self):
        seen = self.seen_by_a_page()
        self.assertEqual(seen["post"], [200, 6, None])
        self.assertEqual(seen["simple"], "GET x=1")
        self.assertEqual((seen["put"], seen["big"]), (300_000, len(BIG)))
        self.assertIn("Failed to fetch", seen["header"])


class Forbidden(Chromium):
    """A page whose origin is not on the list sees nothing, and its POST runs nothing."""

    spec = {
        "triggers": http_trigger({"cors": {"enabled": True, "allowOrigins": ["http://x.test"]}})
    }

    def test_a_page_of_another_origin(self):
        before = self.processor.counter("events")
        seen = self.seen_by_a_page()
        for name in ("post", "simple", "put", "big", "header"):
            self.assertIn("Failed to fetch", seen[name])
        self.assertEqual(self.processor.counter("events"), before)


if __name__ == "__main__":
    unittest.main()
