"""Makes a thumbnail of a JPEG or PNG image; the format stays as it is. Needs Pillow.

    nuclio run thumbnail.py
    curl --data-binary @photo.jpg 'http://127.0.0.1:8080?size=128' -o thumbnail.jpg

`size` is the longer side in pixels, 16 to 1024, 256 unless given. What is no JPEG or PNG gets 415,
an image that is broken or too large 400.
"""

import io
import warnings

from PIL import Image, UnidentifiedImageError

CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png"}
SIZE_MIN, SIZE_DEFAULT, SIZE_MAX = 16, 256, 1024

# Pillow only warns of an image that decompresses into very much memory. Here it is refused.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def handler(context, event):
    try:
        size = int(event.fields.get("size", SIZE_DEFAULT))
    except ValueError:
        return 400, "size must be a number of pixels.\n"
    if not SIZE_MIN <= size <= SIZE_MAX:
        return 400, f"size must be from {SIZE_MIN} to {SIZE_MAX}.\n"

    try:
        image = Image.open(io.BytesIO(event.body_view), formats=list(CONTENT_TYPES))
    except UnidentifiedImageError:
        return 415, "Send a JPEG or PNG image.\n"
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return 400, "The image is broken or too large.\n"

    kind = image.format
    out = io.BytesIO()
    try:
        image.thumbnail((size, size))
        # An image that is small enough already is decoded only now.
        image.save(out, kind)
    except (OSError, ValueError, SyntaxError):
        return 400, "The image is broken.\n"
    context.logger.info_with("thumbnail made", format=kind, width=image.width, height=image.height)
    return context.Response(body=out.getvalue(), content_type=CONTENT_TYPES[kind])
