"""The threads of a sync handler; what each of them does is in the extension.

Loaded only where `threads` asks for them.
"""

from threading import Thread

from _nuclio import serve_thread


def serve(count, handler, context):
    """Runs the threads until the processor says stop. The main thread only waits, so that what
    `signal.signal` has set is called at once."""
    threads = [
        Thread(target=serve_thread, args=(handler, context), name=f"handler-{n}", daemon=True)
        for n in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
