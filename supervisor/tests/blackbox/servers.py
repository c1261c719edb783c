"""Real servers that functions talk to: PostgreSQL and Redis, each in its own folder, on its own port.

Ready means that a real question was answered. Only what was started here is ended, by its pid.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

from desk import refuse_skip
from processor import STOP_LIMIT_S, wait_until

START_LIMIT_S = 30


def free_port():
    """A port that was free a moment ago."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


class Server:
    """A server process; use as a context manager."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nuclio-server-"))
        self.port = free_port()
        self.child = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, argv, **popen):
        with open(self.folder / "log", "ab") as log:
            self.child = subprocess.Popen(argv, stdout=log, stderr=log, **popen)
        wait_until(self.is_up, self.log, START_LIMIT_S)

    def is_up(self):
        if self.child.poll() is not None:
            raise AssertionError(f"ended with {self.child.returncode}: {self.log()}")
        return self.answers()

    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    # The signal that ends it without waiting for its clients.
    ending = signal.SIGTERM

    def stop(self):
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(self.ending)
            try:
                self.child.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait(STOP_LIMIT_S)

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Server):
    def start(self):
        program = refuse_skip("redis-server")
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self.run([program, *where, "--save", "", "--appendonly", "no"])

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def answers(self):
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                client.sendall(b"PING\r\n")
                return client.recv(100) == b"+PONG\r\n"
        return False


class Postgres(Server):
    """Refuses to run as root, so root starts it as the user that the package made."""

    ending = signal.SIGINT

    def programs(self):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if found:
            return found[-1].parent
        return pathlib.Path(refuse_skip("postgres")).parent

    def start(self):
        programs = self.programs()
        data = self.folder / "data"
        self.user = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            self.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        make = [programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N"]
        subprocess.run(
            make, check=True, capture_output=True, cwd=self.folder, timeout=60, **self.user
        )
        self.serve()

    def serve(self):
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        argv = [self.programs() / "postgres", "-D", self.folder / "data", "-p", str(self.port)]
        self.run([*argv, "-k", self.folder, *settings], cwd=self.folder, **self.user)

    @property
    def url(self):
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def answers(self):
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                return connection.execute("select 1").fetchone() == (1,)
        return False
