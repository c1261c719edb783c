"""Hostile programs: each has the answer that is written here, and harms nobody else.

After each of them the same processor answers other events, a second function does, and neither
holds more than before.
"""

import os
import signal
import unittest

from faults import FaultCase, function
from processor import Processor, http_trigger, is_alive, wait_until
from wire import Client, ask

TIMED_OUT = (408, '{"error": "handler timed out"}')
DIED = (502, None)

# Program -> status and body of its answer; None for a body that is not ours to choose.
SYNC = {
    # Threads and processes.
    "threads_outlive": (200, "started"),
    "thread_keeps_the_event": (200, "kept"),
    "fork_returns": (200, "parent"),
    "fork_execs": (200, "0"),
    "fork_grandchild": (200, "parent"),
    "fork_raises": (200, "0"),
    "fork_many": (200, "parent"),
    "own_session": (500, "PermissionError: [Errno 1] Operation not permitted"),
    "foreign_group": TIMED_OUT,
    # Signals.
    "signal_to_itself": DIED,
    "signal_handled": (200, "5"),
    "signal_raises": (500, "KeyboardInterrupt"),
    "signal_children": (200, "0"),
    "signal_blocked": TIMED_OUT,
    "signal_alarm": DIED,
    "signal_stops": TIMED_OUT,
    # Output and descriptors.
    "stdout_patched": (500, "AttributeError: 'NoStream' object has no attribute 'write'"),
    "stdout_raises": (500, "ValueError: unheard"),
    "stdout_closed": (200, "closed"),
    "descriptors_closed": (200, "closed"),
    "descriptors_replaced": (200, "replaced"),
    "descriptors_written": (200, "written"),
    "log_without_end": TIMED_OUT,
    "print_without_newline": TIMED_OUT,
    "native_output_without_end": TIMED_OUT,
    # Limits.
    "recursion": (500, "RecursionError: maximum recursion depth exceeded"),
    "recursion_limit": (200, "low"),
    "stack_overflow": DIED,
    "null_pointer": DIED,
    "huge_reply": None,
    "huge_headers": (500, "ValueError: the reply's headers are larger than 16384 bytes"),
    "no_memory": (500, "MemoryError"),
    "memory_limit": (500, "MemoryError"),
    "cpu_limit": None,
    "sleeps": TIMED_OUT,
    "spins": TIMED_OUT,
    "late": TIMED_OUT,
    # Ends.
    "leaves": (500, "SystemExit: 3"),
    "leaves_at_once": DIED,
    "interrupts": (500, "KeyboardInterrupt"),
    "stops_generators": (500, "GeneratorExit"),
    "stops_iteration": (500, "StopIteration: 5"),
    "atexit_waits": (200, "registered"),
    # Exceptions.
    "broken_exception": (500, "Broken: <exception str() failed>"),
    "base_exception": (500, "Base: x"),
    "nameless_exception": (500, None),
    "circular_exception": (500, "ValueError: one"),
    "long_chain": (500, "ValueError: 19999"),
    "surrogate_exception": (500, None),
    # Odd answers.
    "itself": (500, "TypeError: the handler returned a function: call it"),
    "lies_about_its_class": (200, None),
    "explodes_when_asked": (200, "exploded"),
    "circular_answer": (500, "ValueError: Circular reference detected"),
    "deep_answer": (500, None),
    "header_with_line_break": (500, None),
    "header_not_text": (500, None),
    "header_name_with_line_break": (500, None),
    "content_type_with_line_break": (500, None),
    "generator_in_itself": (500, "ValueError: generator already executing"),
    "changed_while_written": (200, ""),
    # Harm to the interpreter.
    "globals_cleared": (200, "cleared"),
    "builtins_replaced": (200, "replaced"),
    "import_broken": (200, '{"answered": "set"}'),
    "modules_cleared": (200, "cleared"),
    "collector_off": (200, "off"),
    "folder_removed": (200, "removed"),
    "trace_raises": (200, "set"),
    "context_emptied": (200, "emptied"),
    "switch_interval": (200, "set"),
    "finalizers": (200, "risen"),
}

ASYNC = {
    "leaves": (500, "SystemExit: 3"),
    "leaves_at_once": DIED,
    "interrupts": (500, "KeyboardInterrupt"),
    "leaves_in_a_task": (200, "went on"),
    "interrupts_in_a_callback": (200, "went on"),
    "stops_the_loop": (200, "went on"),
    "closes_the_loop": (500, "RuntimeError: Cannot close a running event loop"),
    "runs_another_loop": (
        500,
        "RuntimeError: asyncio.run() cannot be called from a running event loop",
    ),
    "forgets_the_loop": (200, "went on"),
    "cancels_itself": (500, "CancelledError"),
    "cancels_all": (500, "CancelledError"),
    "keeps_cancellations": TIMED_OUT,
    "never_ends": TIMED_OUT,
    "blocks": TIMED_OUT,
    "spins": TIMED_OUT,
    "spins_politely": TIMED_OUT,
    "deafens": (200, "deaf"),
    "forks": (200, "parent"),
    "broken_exception_handler": (200, "went on"),
    "many_tasks": (200, "started"),
    "a_coroutine_as_answer": (
        500,
        "TypeError: the handler returned a coroutine: declare it with `async def`, so that it is "
        "awaited",
    ),
}

# Programs after which the same worker must go on: nothing of it was harmed that it needs.
HARMLESS = {
    "fork_returns",
    "fork_execs",
    "fork_grandchild",
    "fork_raises",
    "fork_many",
    "own_session",
    "signal_handled",
    "signal_raises",
    "signal_children",
    "stdout_patched",
    "stdout_raises",
    "stdout_closed",
    "recursion",
    "recursion_limit",
    "no_memory",
    "huge_headers",
    "leaves",
    "interrupts",
    "broken_exception",
    "base_exception",
    "circular_exception",
    "long_chain",
    "itself",
    "deep_answer",
    "import_broken",
    "modules_cleared",
    "collector_off",
    "folder_removed",
    "context_emptied",
    "leaves_in_a_task",
    "interrupts_in_a_callback",
    "stops_the_loop",
    "closes_the_loop",
    "cancels_itself",
    "broken_exception_handler",
    "many_tasks",
}

# Programs that take from their own code what its later events need.
SELF_HARM = {"globals_cleared", "builtins_replaced", "trace_raises"}

INNOCENT = """
def handler(context, event):
    return event.body[::-1]
"""


class HostileCase(FaultCase):
    """One hostile function with two workers, and one innocent beside it."""

    workers = 2
    keeps_workers = False
    probe = "/ok"
    spec = {"eventTimeout": "1s"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = Processor(INNOCENT)
        cls.addClassCleanup(cls.other.close)
        cls.other.wait_ready()
        cls.other_before = cls.other.census()

    def programs(self, programs):
        for name, answer in programs.items():
            with self.subTest(program=name):
                try:
                    self.program(name, answer)
                finally:
                    self.anew()

    def program(self, name, answer):
        with Client(self.http) as client:
            client.ask("POST", "/ok", b"first")
            reply = client.ask("POST", f"/{name}", b"body")
        status, body = answer
        self.assertEqual(reply.status, status, reply.body[:200])
        if body is not None:
            self.assertEqual(reply.body.decode(), body)
        self.assertIsNone(reply.get("X-Evil"))
        pids = self.processor.worker_pids()
        if name in SELF_HARM:
            self.anew()
        self.others_are_unharmed()
        if name in HARMLESS:
            self.assertEqual(self.processor.worker_pids(), pids, "its worker went on")

    def others_are_unharmed(self):
        """Both workers of the same function, and the other function."""
        for _ in range(6):
            reply = ask(self.http, "POST", "/ok", b"12345")
            self.assertEqual((reply.status, reply.body.split()[-1:]), (200, [b"5"]), reply.body)
        self.assertEqual(ask(self.other.http, "POST", "/", b"abc").body, b"cba")
        self.other.wait_census(self.other_before)

    def anew(self):
        """Other workers for the next program."""
        pids = self.processor.worker_pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

        def replaced():
            now = self.processor.worker_pids()
            return len(now) == self.workers and not set(now) & set(pids)

        wait_until(replaced, "other workers", 30)


class Programs(HostileCase):
    code = function("hostile")

    def test_each_has_its_answer(self):
        self.programs({name: answer for name, answer in SYNC.items() if answer})

    def test_a_limit_of_cpu_time(self):
        """Whichever comes first, the signal of the limit or the deadline, of the same second."""
        reply = ask(self.http, "POST", "/cpu_limit", b"")
        self.assertIn(reply.status, (408, 502))
        self.others_are_unharmed()

    def test_a_reply_larger_than_any_memory_of_ours(self):
        with Client(self.http) as client:
            reply = client.ask("POST", "/huge_reply")
        self.assertEqual((reply.status, len(reply.body)), (200, 100 << 20))
        self.others_are_unharmed()


class Ends(unittest.TestCase):
    """What is left behind does not keep a processor from ending."""

    def test_it_ends_in_time(self):
        spec = {"triggers": http_trigger(workerTerminationTimeout="1s")}
        for name in ("threads_outlive", "atexit_waits", "signal_handled", "switch_interval"):
            with self.subTest(program=name), Processor(function("hostile"), spec) as processor:
                processor.wait_ready()
                self.assertEqual(ask(processor.http, "POST", f"/{name}", b"").status, 200)
                (pid,) = processor.worker_pids()
                self.assertEqual(processor.stop(), 0, processor.stderr())
                self.assertFalse(is_alive(pid))


class AsyncPrograms(HostileCase):
    code = function("hostile_async")

    def test_each_has_its_answer(self):
        self.programs(ASYNC)


if __name__ == "__main__":
    unittest.main()
