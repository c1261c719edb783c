"""Workers that are forked: the same as started ones to their code, and no weaker when the zygote
is killed, stopped or unfit."""

import json
import os
import pathlib
import signal
import tempfile
import unittest

from faults import records_of
from processor import Processor, children_of, is_alive, name_of, wait_until
from wire import ask

LOOKS = """
import json, os, signal, sys, threading

def handler(context, event):
    if event.path == "/die":
        os._exit(9)
    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    handlers = {s.name: str(signal.getsignal(s)) for s in caught}
    own = ("NUCLIO_WORKER_ID", "NUCLIO_WORKER_FD", "NUCLIO_ZYGOTE_FD")
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgid(0),
        "argv": sys.argv,
        "path": sys.path,
        "cwd": os.getcwd(),
        "signals": handlers,
        "environment": {k: v for k, v in os.environ.items() if k not in own},
        "threads": threading.active_count(),
        "main": threading.current_thread() is threading.main_thread(),
        "worker": context.worker_id,
        "stdin": os.readlink("/proc/self/fd/0"),
        "out": [os.readlink(f"/proc/self/fd/{n}").split(":")[0] for n in (1, 2)],
        "command": open("/proc/self/cmdline").read().split("\\0"),
        "name": open("/proc/self/comm").read(),
        "oom": open("/proc/self/oom_score_adj").read(),
        "limits": open("/proc/self/limits").read(),
        "descriptors": sorted(kinds()),
    }

def kinds():
    with os.scandir("/proc/self/fd") as found:
        for one in found:
            yield os.readlink(one.path).split(":")[0].replace(str(os.getpid()), "self")
"""

COUNTS = """
import heavy

def handler(context, event):
    import os
    if event.path == "/die":
        os._exit(9)
    return {"pid": os.getpid(), "loaded_by": heavy.LOADED_BY, "word": heavy.WORD}
"""
HEAVY = 'import os\nLOADED_BY = os.getpid()\nWORD = {word!r}\nopen("loads", "a").write("x")\n'
THREADS = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"


class ForkCase(unittest.TestCase):
    def start(self, code=LOOKS, **options):
        options.setdefault("env", {"NUCLIO_LOG_FORMAT": "json", "NUCLIO_LOG_LEVEL": "debug"})
        processor = Processor(code, **options)
        self.addCleanup(processor.close)
        return processor.wait_ready()

    def look(self, processor, path="/"):
        reply = ask(processor.http, "GET", path)
        self.assertEqual(reply.status, 200, reply.body)
        return json.loads(reply.body)

    def replace(self, processor, worker):
        """Kills a worker; what its successor says of itself."""
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not is_alive(worker), "it is dead")
        return self.look(processor)

    def was_forked(self, pid):
        return b"NUCLIO_ZYGOTE_FD" in pathlib.Path(f"/proc/{pid}/environ").read_bytes()

    def forked(self, processor, tries=50):
        """What a forked worker says of itself; the zygote may still be warming."""
        said = self.look(processor)
        for _ in range(tries):
            said = self.replace(processor, said["pid"])
            if self.was_forked(said["pid"]):
                return said
        raise AssertionError("no worker was forked")


class Forked(ForkCase):
    def test_a_forked_worker_is_like_a_started_one(self):
        processor = self.start()
        plain = self.look(processor)
        self.assertFalse(self.was_forked(plain["pid"]))
        forked = self.forked(processor)
        self.assertEqual(forked["parent"], processor.pid)
        self.assertEqual(forked["group"], forked["pid"])
        own = {"pid", "group", "worker"}
        for name in plain.keys() - own:
            self.assertEqual(forked[name], plain[name], name)
        environment = pathlib.Path(f"/proc/{forked['pid']}/environ").read_bytes().split(b"\0")
        self.assertIn(b"NUCLIO_WORKER_ID=%010d" % forked["worker"], environment)

    def test_a_hundred_kills_leave_nothing(self):
        processor = self.start()
        said = self.forked(processor)
        before = processor.census()
        forked = 0
        for _ in range(100):
            said = self.replace(processor, said["pid"])
            forked += self.was_forked(said["pid"])
        self.assertGreaterEqual(forked, 90)
        processor.wait_census(before, same_workers=False)
        self.assertEqual(processor.stop(), 0, processor.stderr())

    def test_everybody_goes_with_the_processor(self):
        processor = self.start()
        self.forked(processor)
        everybody = children_of(processor.pid)
        self.assertEqual(len(everybody), 2)
        processor.signal(signal.SIGKILL)
        for pid in everybody:
            wait_until(lambda pid=pid: not is_alive(pid), f"{name_of(pid)} is gone")

    def test_a_drain_leaves_nobody(self):
        processor = self.start()
        self.forked(processor)
        everybody = children_of(processor.pid)
        self.assertEqual(processor.stop(), 0, processor.stderr())
        self.assertEqual([pid for pid in everybody if is_alive(pid)], [])

    def test_a_killed_zygote_is_replaced_and_missed_by_nobody(self):
        processor = self.start()
        said = self.forked(processor)
        for _ in range(3):
            zygote = processor.zygote()
            os.kill(zygote, signal.SIGKILL)
            said = self.replace(processor, said["pid"])
            fresh = lambda old=zygote: processor.zygote() not in (None, old)  # noqa: E731
            wait_until(fresh, "another zygote")
        self.assertTrue(self.forked(processor))

    def test_a_stopped_zygote_delays_and_no_more(self):
        processor = self.start()
        said = self.forked(processor)
        zygote = processor.zygote()
        os.kill(zygote, signal.SIGSTOP)
        said = self.replace(processor, said["pid"])
        self.assertFalse(self.was_forked(said["pid"]))
        wait_until(lambda: not is_alive(zygote), "it is ended")
        wait_until(lambda: processor.zygote() not in (None, zygote), "another zygote")

    def test_a_function_may_do_without(self):
        spec = {"runtimeAttributes": {"zygote": False}}
        processor = self.start(spec=spec, forks=False)
        said = self.look(processor)
        said = self.replace(processor, said["pid"])
        self.assertFalse(self.was_forked(said["pid"]))
        self.assertIsNone(processor.zygote())


class Preloaded(ForkCase):
    """Modules that the zygote has loaded are there in every worker, once in memory."""

    def start_with(self, heavy, flags=(), forks=True):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        module = pathlib.Path(folder.name) / "heavy.py"
        module.write_text(heavy)
        spec = {"runtimeAttributes": {"preload": ["heavy"]}}
        return self.start(COUNTS, spec=spec, files=[module], flags=flags, forks=forks)

    def test_a_module_is_loaded_once(self):
        processor = self.start_with(HEAVY.format(word="one"))
        forked = self.look(processor)
        zygote = processor.zygote()
        self.assertEqual(forked["loaded_by"], zygote)
        loads = processor.folder / "loads"
        before = loads.read_text()
        self.assertEqual(before, "x")
        for _ in range(5):
            self.assertEqual(self.replace(processor, forked["pid"])["loaded_by"], zygote)
            forked = self.look(processor)
        self.assertEqual(loads.read_text(), before)

    def test_new_code_comes_with_new_modules(self):
        processor = self.start_with(HEAVY.format(word="one"), flags=("--watch",))
        self.assertEqual(self.forked(processor)["word"], "one")
        (processor.folder / "heavy.py").write_text(HEAVY.format(word="two"))
        wait_until(lambda: self.look(processor)["word"] == "two", "the new module serves")
        self.assertEqual(self.forked(processor)["word"], "two")

    def test_threads_are_named_and_workers_started_plainly(self):
        processor = self.start_with(HEAVY.format(word="one") + THREADS, forks=False)
        told = lambda: [r for r in records_of(processor) if "preload: heavy" in r["message"]]  # noqa: E731
        record = wait_until(told, "a record that names it")[0]
        self.assertIn("started threads", record["message"])
        wait_until(lambda: processor.zygote() is None, "the zygote is gone")
        said = self.look(processor)
        said = self.replace(processor, said["pid"])
        self.assertFalse(self.was_forked(said["pid"]))

    def test_a_module_that_cannot_be_loaded_is_named(self):
        spec = {"runtimeAttributes": {"preload": ["no_such_module"]}}
        processor = self.start(spec=spec)
        told = lambda: [r for r in records_of(processor) if "no_such_module" in r["message"]]  # noqa: E731
        record = wait_until(told, "a record that names it")[0]
        self.assertIn("cannot be loaded: ModuleNotFoundError", record["message"])
        self.assertTrue(self.forked(processor))


if __name__ == "__main__":
    unittest.main()
