"""The background thread hears who closes it or has work, also while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from stillhouse.vectors.worker import Worker

LONG = 3_600.0
ENOUGH = 30.0


class Index:
    """An index without work, to which something happens while it is looked at first."""

    def __init__(self) -> None:
        self.looks = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.seen_again = threading.Event()

    def tend(self, *, quiet: bool, waited_for: bool = False) -> bool:
        self.looks += 1
        if self.looks == 1:
            self.meanwhile()
        else:
            self.seen_again.set()
        return False


@pytest.fixture
def index() -> Index:
    """A fresh one."""
    return Index()


def test_closing_while_the_worker_looks_does_not_wait_until_it_is_quiet(index: Index) -> None:
    """Close comes back though it rang while nobody was waiting for the bell."""
    worker = Worker(quiet_seconds=LONG)
    closing = threading.Thread(target=worker.close, daemon=True)

    def meanwhile() -> None:
        closing.start()
        while not worker.closing:
            threading.Event().wait(0.001)

    index.meanwhile = meanwhile
    worker.tell(index, pressing=True)
    while not worker.closing:
        threading.Event().wait(0.001)
    closing.join(ENOUGH)
    assert not closing.is_alive()


def test_work_that_comes_while_the_worker_looks_is_seen_at_once(index: Index) -> None:
    """A nudge during a look is not lost: the index is looked at again before it is quiet."""
    worker = Worker(quiet_seconds=LONG)
    index.meanwhile = lambda: worker.tell(index, pressing=True)
    worker.tell(index, pressing=True)
    assert index.seen_again.wait(ENOUGH)
    worker.close()
