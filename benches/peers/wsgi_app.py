"""WSGI: hello on GET, the body back on POST. For granian."""

HELLO = [b"hello"]
HELLO_HEADERS = [("content-type", "text/plain")]
ECHO_HEADERS = [("content-type", "application/octet-stream")]


def app(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        body = environ["wsgi.input"].read()
        start_response("200 OK", ECHO_HEADERS)
        return [body]
    start_response("200 OK", HELLO_HEADERS)
    return HELLO
