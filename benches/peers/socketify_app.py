"""socketify: hello on GET, the body back on POST.

Usage: socketify_app.py PORT [future|callback]

It documents two ways to read a body: `get_data`, a future, and `on_data`, a callback. The callback
is the faster of the two and the default here; the future is kept to compare.
"""

import sys

from socketify import App, AppListenOptions

OCTETS = b"application/octet-stream"


def hello(res, req):
    # Callbacks are corked by socketify, so a plain send is one system call here and below.
    res.send(b"hello", b"text/plain")


# socketify itself holds a response only in a reference cycle: without these, Python's collector
# frees it while its body is still arriving, and the process aborts.
awaiting_body = set()


def echo_by_callback(res, req):
    parts = []
    awaiting_body.add(res)

    def on_data(_, chunk, is_end):
        if chunk is not None:
            parts.append(chunk)
        if is_end:
            awaiting_body.discard(res)
            res.send(b"".join(parts), OCTETS)

    res.on_aborted(awaiting_body.discard)
    res.on_data(on_data)


async def echo_by_future(res, req):
    awaiting_body.add(res)
    body = await res.get_data()
    awaiting_body.discard(res)
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
