"""The background thread hears who closes it or has work, also while it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from stillhouse.vectors.worker import Worker

LONG = 3_600.0
ENOUGH = 30.0


class Idle:
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
def index() -> Idle:
    """A fresh one."""
    return Idle()


def test_closing_while_the_worker_looks_does_not_wait_until_it_is_quiet(index: Idle) -> None:
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


def test_work_that_comes_while_the_worker_looks_is_seen_at_once(index: Idle) -> None:
    """A nudge during a look is not lost: the index is looked at again before it is quiet."""
    worker = Worker(quiet_seconds=LONG)
    index.meanwhile = lambda: worker.tell(index, pressing=True)
    worker.tell(index, pressing=True)
    assert index.seen_again.wait(ENOUGH)
    worker.close()


class Busy:
    """Work to do, a piece at a time; what is told of each call is kept."""

    def __init__(self, pieces: int = 1, fails: int = 0) -> None:
        self.pieces = pieces
        self.fails = fails
        self.calls: list[tuple[bool, bool]] = []
        self.done = threading.Event()
        self.begun = threading.Event()
        self.may = threading.Event()
        self.may.set()

    def tend(self, *, quiet: bool, waited_for: bool = False) -> bool:
        self.begun.set()
        assert self.may.wait(30)
        self.calls.append((quiet, waited_for))
        if self.fails:
            self.fails -= 1
            raise OSError(28, "no space left")
        if self.pieces:
            self.pieces -= 1
            return True
        if quiet:
            self.done.set()
        return False


def test_an_index_is_tended_when_it_has_become_quiet() -> None:
    """All its work is done, as when nobody writes."""
    worker, index = Worker(quiet_seconds=0.01), Busy(pieces=3)
    worker.tell(index)
    assert index.done.wait(30)
    worker.close()
    assert index.calls == [(True, False)] * 4


def test_pressing_work_does_not_wait_for_quiet() -> None:
    """It is done at once, as while somebody writes, however long quiet is away."""
    worker, index = Worker(quiet_seconds=3_600), Busy(pieces=2)
    index.may.clear()
    worker.tell(index)
    assert not index.begun.wait(0.05)
    worker.tell(index, pressing=True)
    assert index.begun.wait(30)
    index.may.set()
    worker.settle(index)
    worker.close()
    assert (False, False) in index.calls
    assert index.pieces == 0


def test_a_worker_without_work_has_no_thread() -> None:
    """Five hundred indexes that nobody writes to cost no thread."""
    before = threading.active_count()
    workers = [Worker() for _ in range(500)]
    assert threading.active_count() == before
    for worker in workers:
        worker.close()


def test_what_fails_is_logged_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is full for a while stops nothing; there is one line about it."""
    worker, index = Worker(quiet_seconds=0.01, again_seconds=0.01), Busy(pieces=1, fails=3)
    with caplog.at_level(logging.ERROR):
        worker.tell(index)
        assert index.done.wait(30)
    worker.close()
    assert len(index.calls) == 5
    assert [record.message for record in caplog.records] == [
        "building segments failed, and is tried again later: [Errno 28] no space left"
    ]


def test_a_bug_in_building_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody thought of is told with where it happened, and tried again like a full disk:
    nobody waits for ever for a thread that is gone."""

    class Broken(Busy):
        def tend(self, *, quiet: bool, waited_for: bool = False) -> bool:
            if not self.calls:
                self.calls.append((quiet, waited_for))
                raise LookupError("a bug")
            return super().tend(quiet=quiet, waited_for=waited_for)

    worker, index = Worker(quiet_seconds=0.01, again_seconds=0.01), Broken()
    with caplog.at_level(logging.ERROR):
        worker.tell(index)
        assert index.done.wait(30)
    worker.settle(index)
    worker.close()
    assert index.pieces == 0
    assert "LookupError: a bug" in caplog.text


def test_what_fails_does_not_hold_up_others() -> None:
    """While one index waits to be tried again, another is tended, and pressing does not help."""
    worker = Worker(quiet_seconds=0.01, again_seconds=3_600)
    bad, good = Busy(fails=100), Busy(pieces=2)
    worker.tell(bad, pressing=True)
    assert bad.begun.wait(30)
    worker.tell(good)
    assert good.done.wait(30)
    worker.tell(bad, pressing=True)
    later = Busy()
    worker.tell(later)
    assert later.done.wait(30)
    worker.close()
    assert len(bad.calls) == 1


def test_settling_waits_and_tells_of_failures() -> None:
    """It comes back when there is nothing left to do, or raises what ended it."""
    worker, index = Worker(quiet_seconds=3_600), Busy(pieces=5)
    worker.tell(index)
    worker.settle(index)
    assert index.calls == [(True, True)] * 6
    with pytest.raises(OSError, match="no space"):
        worker.settle(Busy(fails=1))
    worker.close()


def test_only_one_is_at_work() -> None:
    """Who settles waits for the piece under way, and keeps the worker away meanwhile."""
    worker, slow = Worker(quiet_seconds=0.001), Busy(pieces=1)
    slow.may.clear()
    worker.tell(slow)
    assert slow.begun.wait(30)
    other = Busy(pieces=1)
    settling = threading.Thread(target=worker.settle, args=(other,))
    settling.start()
    settling.join(0.05)
    assert settling.is_alive()
    assert other.calls == []
    slow.may.set()
    settling.join(30)
    assert other.calls == [(True, True)] * 2
    with worker.alone(other):
        later = Busy()
        worker.tell(later, pressing=True)
        assert not later.begun.wait(0.05)
    assert later.done.wait(30)
    worker.close()


def test_what_is_forgotten_is_left_alone() -> None:
    """After `forget` nothing more is done for an index, and none of it is under way."""
    worker, index = Worker(quiet_seconds=0.001), Busy(pieces=1_000_000)
    worker.tell(index)
    assert index.begun.wait(30)
    worker.forget(index)
    before = len(index.calls)
    other = Busy()
    worker.tell(other)
    assert other.done.wait(30)
    worker.close()
    assert len(index.calls) == before


def test_closing_ends_the_thread() -> None:
    """Whatever is due is dropped; closing again, and telling after it, do nothing."""
    worker, index = Worker(quiet_seconds=3_600), Busy()
    worker.tell(index)
    worker.close()
    worker.close()
    worker.tell(index, pressing=True)
    assert index.calls == []
    assert not any(one.name == "vector-worker" for one in threading.enumerate())


def test_forgetting_waits_for_the_work_under_way() -> None:
    """Whoever forgets an index may take its files away when it comes back."""
    worker, index = Worker(quiet_seconds=0.001), Busy(pieces=1)
    index.may.clear()
    worker.tell(index)
    assert index.begun.wait(30)
    forgetting = threading.Thread(target=worker.forget, args=(index,))
    forgetting.start()
    forgetting.join(0.05)
    assert forgetting.is_alive()
    index.may.set()
    forgetting.join(30)
    assert not forgetting.is_alive()
    worker.close()
