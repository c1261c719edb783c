"""socketify: hello on GET, the body back on POST.

Usage: socketify_app.py PORT [future|callback]

It documents two ways to read a body: `get_data`, a future, and `on_data`, a callback. The callback
is the faster of the two and the default here; the future is kept to compare.
"""

import sys

from socketify import App, AppListenOptions

OCTETS = b"application/octet-stream"


def hello(res, req):
    res.cork_send(b"hello", b"text/plain")


def echo_by_callback(res, req):
    parts = []

    def on_data(res, chunk, is_end):
        if chunk is not None:
            parts.append(chunk)
        if is_end:
            res.cork_send(b"".join(parts), OCTETS)

    res.on_data(on_data)


async def echo_by_future(res, req):
    body = await res.get_data()
    res.cork_send(body.getvalue(), OCTETS)


def main():
    port = int(sys.argv[1])
    echo = echo_by_future if sys.argv[2:] == ["future"] else echo_by_callback
    app = App()
    app.get("/", hello)
    app.post("/", echo)
    app.listen(AppListenOptions(port=port, host="127.0.0.1"))
    app.run()


main()
