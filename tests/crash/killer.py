"""A process with everything imported that forks one child a trial, and lets it be killed.

Starting an interpreter for each trial would take most of the time. It reads one JSON trial a
line on stdin and answers one JSON line on stdout.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

from stillhouse.engines import InlineEngine, LocalEngine
from stillhouse.errors import EngineError, StillhouseError
from stillhouse.exports import ExportOptions
from stillhouse.interfaces import Store
from stillhouse.pipeline import run_lake
from stillhouse.receipts import sign_lake
from stillhouse.receipts.keys import read_private_key
from stillhouse.storage import LocalStore
from tests.crash import forking
from tests.runs import WatchedStore

DONE, REFUSED, BROKEN, NO_WORKER = 0, 3, 4, 5


class Trial(NamedTuple):
    """One run: over which lake, with which engine, and how it dies. With the file of a private
    ``key`` it is not the job that runs, but signing.

    ``kill_at`` is the number of the operation at which it does (0-based; None: never),
    ``after`` the seconds after which it is killed from outside. ``victim`` is ``self`` or
    ``worker``.
    """

    lake: str
    recorded_at: str
    kill_at: int | None = None
    after: float | None = None
    workers: int = 0
    victim: str = "self"
    unit_bytes: int = 8 << 20
    key: str = ""


class MortalStore(WatchedStore):
    """Kills its process, or a worker of it, at the n-th operation that changes something."""

    def __init__(self, inner: Store, trial: Trial) -> None:
        super().__init__(inner)
        self.trial = trial
        self.operations = 0

    def __reduce__(self) -> tuple[object, ...]:
        # Workers get the store itself: operations are counted in one process only.
        return (LocalStore, (self.trial.lake,))

    def seen(self, action: str, path: str, size: int = 0) -> None:
        """Die when it is time; looking changes nothing and is not counted."""
        if action in ("read", "open"):
            return
        if self.operations == self.trial.kill_at:
            if self.trial.victim == "self":
                os.kill(os.getpid(), signal.SIGKILL)
            kill_a_worker()
        self.operations += 1


class RecordingStore(MortalStore):
    """Keeps every content that a file was ever visible with."""

    def __init__(self, inner: Store, trial: Trial) -> None:
        super().__init__(inner, trial)
        self.published: dict[str, set[bytes]] = {}

    def publish(self, staged: str, target: str, *, durable: bool = True) -> None:
        """Look at the file before it is moved."""
        self.published.setdefault(target, set()).add(self.inner.read(staged))
        super().publish(staged, target, durable=durable)


def children(process: int) -> list[int]:
    """The processes that this one started and that live."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(number) for number in found]


def kill_a_worker() -> None:
    """Kill one worker of this process; the run has none yet when it is early."""
    for worker in children(os.getpid()):
        os.kill(worker, signal.SIGKILL)
        return
    os._exit(NO_WORKER)


def run_trial(trial: Trial) -> int:
    """In the child: the whole job, or signing, as the program would do it."""
    store = MortalStore(LocalStore(trial.lake), trial)
    if trial.key:
        sign_lake(store, read_private_key(trial.key), "a trial")
        return DONE
    engine = LocalEngine(trial.workers) if trial.workers else InlineEngine()
    try:
        with engine:
            run_lake(store, engine, ExportOptions(), trial.recorded_at, unit_bytes=trial.unit_bytes)
    except EngineError:
        return REFUSED
    except StillhouseError as error:
        print(error, file=sys.stderr)
        return BROKEN
    return DONE


def serve() -> None:
    """Trials in, wait statuses out, until stdin ends."""
    forking.serve(_status)


def _status(**fields: Any) -> int:
    trial = Trial(**fields)
    return forking.fork(lambda: run_trial(trial), BROKEN, trial.after)
