"""The real examples of the Ruby and Go runtimes, on real files."""

import csv
import io
import json
import unittest
from decimal import Decimal

from desk import refuse_skip
from processor import REPOSITORY, Processor
from wire import ask, pattern

# Go's standard library may have to be compiled first.
START_LIMIT_S = 300


def serve(case, language, name):
    refuse_skip(language)
    text = (REPOSITORY / f"runtimes/{language}/examples/{name}").read_text()
    processor = case.enterClassContext(Processor(text, file=name))
    processor.wait_ready(START_LIMIT_S)
    return processor


class Sales(unittest.TestCase):
    """Ruby, with its csv and bigdecimal."""

    @classmethod
    def setUpClass(cls):
        cls.processor = serve(cls, "ruby", "sales.rb")

    def ask(self, body):
        return ask(self.processor.http, "POST", "/", body, ["Content-Type: text/csv"])

    def test_totals(self):
        rows = [
            (f'Chair "no. {n % 5}", blue é', n % 7 + 1, Decimal(n % 11) + Decimal("0.10"))
            for n in range(5000)
        ]
        sums = {}
        for product, count, price in rows:
            sums[product] = sums.get(product, 0) + count * price
        for ending, bom in (("\n", ""), ("\r\n", "\ufeff")):
            text = io.StringIO()
            writer = csv.writer(text, lineterminator=ending)
            writer.writerows([("count", "product", "price"), *((c, p, d) for p, c, d in rows)])
            reply = self.ask((bom + text.getvalue()).encode())
            self.assertEqual((reply.status, reply.get("Content-Type")), (200, "application/json"))
            found = json.loads(reply.body)
            self.assertEqual(found["wrong_lines"], [])
            totals = {product: Decimal(sum) for product, sum in found["totals"].items()}
            self.assertEqual(totals, sums)

    def test_wrong_lines_are_named(self):
        body = b"product,count,price\na,2,1.5\n,1,1\nb,x,1\nb,1,\na,1,0.5\n"
        found = json.loads(self.ask(body).body)
        self.assertEqual(found, {"totals": {"a": "3.5"}, "wrong_lines": [3, 4, 5]})

    def test_nonsense(self):
        reply = self.ask(b"a,b\n1,2\n")
        self.assertEqual((reply.status, reply.body), (422, b"no column product, count, price"))
        self.assertEqual(self.ask(b'product,count,price\n"a').status, 422)
        self.assertEqual(self.ask(pattern(5000)).status, 422)


class Thumbnails(unittest.TestCase):
    """Go, with the images of its standard library."""

    @classmethod
    def setUpClass(cls):
        cls.processor = serve(cls, "go", "thumbnail.go")

    def ask(self, path, body):
        return ask(self.processor.http, "POST", path, body)

    def image(self, kind, size, color):
        from PIL import Image

        out = io.BytesIO()
        Image.new("RGB", size, color).save(out, kind)
        return out.getvalue()

    def test_real_images(self):
        from PIL import Image

        for kind in ("JPEG", "PNG", "GIF"):
            for path, size, small in (
                ("/", (400, 300), (128, 96)),
                ("/?size=50", (30, 3000), (1, 50)),
                ("/?size=500", (40, 30), (40, 30)),
            ):
                with self.subTest(f"{kind} {size}"):
                    reply = self.ask(path, self.image(kind, size, (200, 30, 90)))
                    self.assertEqual((reply.status, reply.get("Content-Type")), (200, "image/jpeg"))
                    made = Image.open(io.BytesIO(reply.body))
                    self.assertEqual((made.format, made.size), ("JPEG", small))
                    pixel = made.convert("RGB").getpixel((small[0] // 2, small[1] // 2))
                    self.assertTrue(
                        all(abs(a - b) < 12 for a, b in zip(pixel, (200, 30, 90), strict=True)),
                        pixel,
                    )

    def test_what_is_no_image(self):
        whole = self.image("PNG", (300, 300), (1, 2, 3))
        for path, body, told in (
            ("/", b"no image", "not an image"),
            ("/", whole[: len(whole) // 2], "a broken image"),
            ("/?size=0", whole, 'size: "0" is not a number from 1 to 1024'),
            ("/", whole[:16] + b"\x7f\xff\xff\xff" * 2 + whole[24:], "image"),
        ):
            with self.subTest(told):
                reply = self.ask(path, body)
                self.assertEqual(reply.status, 400, reply.body)
                self.assertIn(told, reply.body.decode())
        self.assertEqual(self.ask("/", whole).status, 200)


if __name__ == "__main__":
    unittest.main()
