"""Opens a data folder for the first time, to be killed meanwhile. Started by `forking`."""

from __future__ import annotations

import time
from typing import NamedTuple

from stillhouse.vectors.local import LocalBackend
from tests.crash import forking

BROKEN = 3


class Opening(NamedTuple):
    """Which folder, and after how many seconds the process is killed."""

    folder: str
    kill_after: float


def run(folder: str, kill_after: float) -> int:
    """Open a folder in a child that is killed; its wait status."""

    def work() -> int:
        LocalBackend(folder)
        time.sleep(60)
        return BROKEN

    return forking.fork(work, BROKEN, kill_after)


def serve() -> None:
    """Do what is asked for on standard input."""
    forking.serve(run)
