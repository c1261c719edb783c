"""What tests of faulty handlers share: their functions, log records, and full recovery."""

import contextlib
import json
import os
import pathlib
import signal

from processor import ProcessorCase, wait_until
from wire import ask

FUNCTIONS = pathlib.Path(__file__).with_name("functions")


def function(name, ending=".py"):
    """The source of a function in `functions/`."""
    return (FUNCTIONS / f"{name}{ending}").read_text()


def records_of(processor):
    """The log so far; its format must be JSON."""
    found = processor.__dict__.setdefault("records_read", [])
    with open(processor.folder / "stderr", "rb") as log:
        log.seek(processor.__dict__.setdefault("records_end", 0))
        new = log.read()
    whole = new[: new.rfind(b"\n") + 1]
    processor.records_end += len(whole)
    for line in whole.splitlines():
        record = json.loads(line)
        assert {"time", "level", "message"} <= record.keys(), line
        found.append(record)
    return found


class FaultCase(ProcessorCase):
    """One processor with JSON logs; after each test it is as it was before."""

    env = {"NUCLIO_LOG_FORMAT": "json"}
    workers = 1
    # Answered with 200 by every worker that is well.
    probe = "/ok"

    @classmethod
    def setUpClass(cls):
        cls.env = {**cls.env, "NUCLIO_WORKERS": str(cls.workers)}
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.notes_path = self.processor.folder / "notes"
        self.notes_path.write_text("")

    def tearDown(self):
        wait_until(
            lambda: len(self.processor.worker_pids()) == self.workers,
            lambda: f"all workers ready again: {self.processor.workers()}",
        )
        super().tearDown()
        self.assertEqual(self.ask("GET", self.probe).status, 200)

    def ask(self, method, path, body=None, headers=()):
        return ask(self.http, method, path, body, headers)

    def notes(self):
        return self.notes_path.read_text().splitlines()

    def records(self, **wanted):
        """Records with these fields; a text is looked for inside the message."""
        text = wanted.pop("text", "")
        return [
            record
            for record in records_of(self.processor)
            if text in record["message"]
            and all(record.get(name) == value for name, value in wanted.items())
        ]

    def wait_record(self, **wanted):
        return wait_until(lambda: self.records(**wanted), lambda: f"a record with {wanted}")[-1]

    def end(self, pid):
        """Ends a process that a handler started."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def workers_of_processor(self):
        return self.processor.children()
