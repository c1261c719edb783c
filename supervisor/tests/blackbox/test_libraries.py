"""Libraries that people really use in handlers, on real data and with real servers.

What they need is installed by `cargo xtask setup`; its absence is a failure.
"""

import concurrent.futures
import contextlib
import http.server
import io
import json
import pathlib
import re
import tempfile
import threading
import unittest

from processor import REPOSITORY, Processor, wait_until
from servers import Postgres, Redis
from wire import ask

FUNCTIONS = REPOSITORY / "supervisor/tests/blackbox/functions/libraries"


def source(name):
    return (FUNCTIONS / f"{name}.py").read_text()


def post(processor, target, body, content_type="application/octet-stream"):
    return ask(processor.http, "POST", target, body, [f"Content-Type: {content_type}"])


@contextlib.contextmanager
def serving(test, name, files=(), **more):
    """A function of the folder, with further files beside it; nothing may leak."""
    with Processor(source(name), files=files, **more) as processor:
        processor.wait_ready()
        before = processor.census()
        yield processor
        processor.wait_census(before)
        test.assertEqual(processor.stop(), 0, processor.stderr())


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers each item with its number; keeps connections open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"item {self.path.rpartition('/')[2]}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def upstream():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Data(unittest.TestCase):
    """What comes in the body, without a copy where the library can look at memory."""

    def test_numpy_looks_at_the_body_where_it_lies(self):
        import numpy
        from sklearn.datasets import load_digits

        data = load_digits().data
        with serving(self, "matrix") as processor:
            reply = post(processor, "/?columns=64", data.astype("<f8").tobytes())
        said = json.loads(reply.body)
        self.assertEqual((reply.status, said["rows"], said["is_view"]), (200, len(data), True))
        self.assertAlmostEqual(said["mean"], float(data.mean()))
        centred = data - data.mean(axis=0)
        values = numpy.linalg.svd(centred, compute_uv=False) ** 2
        self.assertAlmostEqual(said["explained"], values[:2].sum() / values.sum())

    def test_pandas_groups_a_table(self):
        from sklearn.datasets import load_wine

        frame = load_wine(as_frame=True).frame
        with serving(self, "table") as processor:
            csv = frame.to_csv(index=False).encode()
            reply = post(processor, "/?by=target", csv, "text/csv")
        means = {int(group): row for group, row in json.loads(reply.body).items()}
        wanted = frame.groupby("target").mean().round(4).to_dict("index")
        self.assertEqual(means, wanted)

    def test_pillow_makes_a_photograph_small(self):
        import sklearn
        from PIL import Image

        folder = pathlib.Path(sklearn.__file__).parent / "datasets/images"
        with serving(self, "picture") as processor:
            for name in ("china.jpg", "flower.jpg"):
                reply = post(processor, "/", (folder / name).read_bytes())
                self.assertEqual(reply.get("Content-Type"), "image/png")
                wanted = Image.open(folder / name)
                wanted.thumbnail((128, 128))
                found = Image.open(io.BytesIO(reply.body))
                self.assertEqual((found.size, found.tobytes()), (wanted.size, wanted.tobytes()))

    def test_pydantic_tells_what_is_wrong(self):
        good = {"customer": "Ada", "lines": [{"item": "tea", "count": 3, "price": 2.5}]}
        bad = {"customer": "Ada", "lines": [{"item": "tea", "count": 0, "price": "much"}]}
        with serving(self, "order") as processor:
            for order, status, said in (
                (good, 200, {"total": 7.5}),
                (bad, 422, {"wrong": ["lines.0.count", "lines.0.price"]}),
            ):
                body = json.dumps(order).encode()
                reply = post(processor, "/", body)
                self.assertEqual((reply.status, json.loads(reply.body)), (status, said))


class Clients(unittest.TestCase):
    """Connections that live as long as the worker."""

    def test_http_clients_ask_for_many_at_once(self):
        with upstream() as url, serving(self, "gateway", env={"UPSTREAM": url}) as processor:

            def item(number):
                way = "/aiohttp" if number % 2 else "/httpx"
                return ask(processor.http, path=f"{way}?id={number}").body

            with concurrent.futures.ThreadPoolExecutor(32) as pool:
                found = list(pool.map(item, range(200)))
        self.assertEqual(found, [f"item {number}".encode() for number in range(200)])

    def test_redis_counts_each_visit_once(self):
        with Redis() as redis, serving(self, "visits", env={"REDIS": redis.url}) as processor:

            def visit(_):
                return int(ask(processor.http, path="/page").body)

            with concurrent.futures.ThreadPoolExecutor(32) as pool:
                found = list(pool.map(visit, range(300)))
        self.assertEqual(sorted(found), list(range(1, 301)))


class Database(unittest.TestCase):
    """PostgreSQL under four workers."""

    def balances(self):
        import psycopg

        with psycopg.connect(self.postgres.url) as connection:
            return dict(connection.execute("select name, balance from account").fetchall())

    def move(self, target):
        reply = ask(self.processor.http, "POST", target)
        return reply.status, reply.body

    def test_money_is_neither_made_nor_lost(self):
        import psycopg

        with Postgres() as self.postgres:
            with psycopg.connect(self.postgres.url) as connection:
                connection.execute(
                    "create table account (name text primary key, balance int check (balance >= 0))"
                )
                connection.execute("insert into account values ('ada', 100), ('bob', 0)")
            flags = ("--workers", "4")
            env = {"DATABASE": self.postgres.url}
            with serving(self, "accounts", flags=flags, env=env) as self.processor:
                self.many_moves()
                self.a_lost_connection()

    def many_moves(self):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            found = list(pool.map(self.move, ["/?from=ada&to=bob&amount=1"] * 150))
        self.assertEqual(found.count((200, b"moved")), 100, found)
        self.assertEqual(found.count((409, b"not enough")), 50, found)
        self.assertEqual(self.balances(), {"ada": 0, "bob": 100})

    def a_lost_connection(self):
        self.postgres.stop()
        status, body = self.move("/?from=bob&to=ada&amount=1")
        self.assertEqual(status, 500, body)
        self.postgres.serve()
        # Each worker finds its own connection broken once.
        back = "/?from=bob&to=ada&amount=1"
        wait_until(lambda: self.move(back)[0] == 200, "a worker has connected again")


class Inference(unittest.TestCase):
    """Models that are loaded once and asked often."""

    def ask_for_digits(self, processor, dtype, wanted):
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels, truth = digits.data[1500:], digits.target[1500:]
        reply = post(processor, "/", pixels.astype(dtype).tobytes())
        self.assertEqual(reply.status, 200, reply.body)
        said = json.loads(reply.body)
        right = sum(int(a == b) for a, b in zip(said["digits"], truth, strict=True)) / len(truth)
        self.assertGreater(right, wanted)
        return said

    def test_scikit_learn_is_loaded_once_for_four_workers(self):
        """The model is in the memory of the zygote; its children look at the same pages."""
        spec = {
            "triggers": {"web": {"kind": "http", "numWorkers": 4}},
            "runtimeAttributes": {"preload": ["digits_model"]},
            "readinessTimeoutSeconds": 60,
        }
        model = FUNCTIONS / "digits_model.py"
        with serving(self, "digits", files=[model], spec=spec) as processor:
            self.ask_for_digits(processor, "<f8", 0.9)
            workers = processor.worker_pids()
            self.assertEqual(len(workers), 4)
            own, shared = zip(*map(memory_of, workers), strict=True)
        # The table alone is 64 MiB; a page that a child has not looked at need not count for it.
        figures = f"own {own}, shared {shared}"
        self.assertLess(max(own), 32 << 20, figures)
        self.assertGreater(min(shared), 32 << 20, figures)

    def test_onnxruntime_reads_a_model_from_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder) / "digits.onnx"
            model.write_bytes(onnx_model())
            with serving(self, "digits_onnx", files=[model]) as processor:
                self.ask_for_digits(processor, "<f4", 0.85)


def memory_of(pid):
    """Bytes that a process alone has, and bytes that others look at as well."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = dict(re.findall(r"(\w+):\s+(\d+) kB", rollup))
    kib = lambda kind: sum(int(found[f"{kind}_{state}"]) for state in ("Clean", "Dirty"))  # noqa: E731
    return kib("Private") << 10, kib("Shared") << 10


def onnx_model():
    """A linear classifier of digits, fitted here, as an ONNX file."""
    import numpy
    from onnx import TensorProto, helper, numpy_helper
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    digits = load_digits()
    fitted = LogisticRegression(max_iter=2000).fit(digits.data[:1500], digits.target[:1500])
    weights = [
        numpy_helper.from_array(fitted.coef_.astype(numpy.float32), "weights"),
        numpy_helper.from_array(fitted.intercept_.astype(numpy.float32), "bias"),
    ]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["pixels", "weights", "bias"], ["scores"], transB=1)],
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    # An old version of both formats, which every runtime reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


if __name__ == "__main__":
    unittest.main()
