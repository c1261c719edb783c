"""RSGI: hello on GET, the body back on POST. For granian."""

HELLO = b"hello"
HELLO_HEADERS = [("content-type", "text/plain")]
ECHO_HEADERS = [("content-type", "application/octet-stream")]


async def app(scope, protocol):
    if scope.method == "POST":
        protocol.response_bytes(200, ECHO_HEADERS, await protocol())
    else:
        protocol.response_bytes(200, HELLO_HEADERS, HELLO)
