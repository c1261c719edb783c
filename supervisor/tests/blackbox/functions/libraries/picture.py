"""Pillow: a photograph comes in, a small PNG goes out."""

import io

from PIL import Image


def handler(context, event):
    image = Image.open(io.BytesIO(event.body_view))
    image.thumbnail((128, 128))
    out = io.BytesIO()
    image.save(out, "PNG")
    return context.Response(body=out.getbuffer(), content_type="image/png")
