# Starts a Python worker: refuses interpreters that cannot load the extension, then hands over.
#
# Everything here must run on any Python 3, however old, so that the refusal is a sentence and not a
# traceback. Nothing is imported that the interpreter has not loaded already, or nearly so: each
# millisecond here is one of the cold start.
import os
import sys

# The processor shows the sentence on standard error and stops.
REFUSED = 78


def refusal():
    version = "%d.%d.%d" % sys.version_info[:3]
    if sys.version_info < (3, 11):
        return "Python 3.11 or later is needed, %s is Python %s" % (sys.executable, version)
    if sys.implementation.name != "cpython":
        return "CPython is needed, %s is %s" % (sys.executable, sys.implementation.name)
    # A free-threaded build cannot load the stable ABI of other builds.
    if "t" in getattr(sys, "abiflags", ""):
        return "a Python with the GIL is needed, %s is a free-threaded build of Python %s" % (
            sys.executable,
            version,
        )
    return None


def start():
    # A worker has its own process group, but a terminal's Ctrl-C is for the processor alone: it
    # drains, and tells its workers when to stop.
    import _signal

    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    # Taken away, so that no function that the user's code starts takes itself for this one.
    is_debugged = os.environ.pop("NUCLIO_WORKER_DEBUG", None)
    # The folder of this script must be first only for these two imports: the user's code must not
    # find its files (`import tests` means theirs), nor a package of the same name instead of ours.
    # Processes that the user's code starts find it last.
    folder = os.path.dirname(os.path.abspath(__file__))
    if sys.path and sys.path[0] == folder:
        sys.path.pop(0)
    sys.path.insert(0, folder)
    import _nuclio
    import nuclio_sdk  # noqa: F401

    if "NUCLIO_ZYGOTE_FD" in os.environ:
        from nuclio_sdk import _zygote
    else:
        _zygote = None
    sys.path.pop(0)
    sys.path.append(folder)
    if is_debugged:
        from nuclio_sdk import _debug

        _debug.install()
    if _zygote is not None:
        # Comes back in each forked worker, and never in the zygote itself.
        _zygote.serve()
    _nuclio.main()


if __name__ == "__main__":
    sentence = refusal()
    if sentence is None:
        try:
            start()
        except ImportError as error:
            if getattr(error, "name", None) not in ("_nuclio", "nuclio_sdk"):
                raise
            sentence = "the Python runtime cannot be loaded by %s: %s" % (sys.executable, error)
    if sentence is not None:
        sys.stderr.write(sentence + "\n")
        sys.exit(REFUSED)
