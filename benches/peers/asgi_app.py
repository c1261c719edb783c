"""ASGI: hello on GET, the body back on POST. For uvicorn."""

HELLO_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"5")],
}
HELLO_BODY = {"type": "http.response.body", "body": b"hello"}
OCTETS = (b"content-type", b"application/octet-stream")


async def app(scope, receive, send):
    if scope["method"] == "POST":
        await echo(receive, send)
    else:
        await send(HELLO_START)
        await send(HELLO_BODY)


async def echo(receive, send):
    message = await receive()
    body = message["body"]
    if message["more_body"]:
        parts = [body]
        while message["more_body"]:
            message = await receive()
            parts.append(message["body"])
        body = b"".join(parts)
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [OCTETS, length]})
    await send({"type": "http.response.body", "body": body})
