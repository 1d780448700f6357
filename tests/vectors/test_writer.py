"""The writing thread: who shares a commit, who fails alone, what is refused, how the log ends."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from stillhouse.errors import VectorBusyError, VectorDamagedError, VectorFailedError
from stillhouse.vectors import truth
from stillhouse.vectors.local import LocalBackend, LocalOptions
from stillhouse.vectors.opening import Opened, open_folder
from stillhouse.vectors.values import Batch, IndexSpec
from stillhouse.vectors.writer import Transaction, Writer, WriterLimits

_SPEC = IndexSpec("docs", 4)


class Gate:
    """Holds the writer at a named point until it is opened."""

    def __init__(self, point: str) -> None:
        self._point = point
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, point: str) -> None:
        if point == self._point:
            self.reached.set()
            assert self.open.wait(30)


def nothing(point: str) -> None:
    """No fault."""


@contextmanager
def writing(
    folder: Path, faults: Callable[[str], None] = nothing, limits: WriterLimits | None = None
) -> Iterator[tuple[Writer, Opened]]:
    """A writer on a folder of its own."""
    opened = open_folder(folder)
    writer = Writer(opened.connection, opened.mark, opened.path, faults, limits or WriterLimits())
    try:
        yield writer, opened
    finally:
        writer.close()
        opened.close()


def put(number: int) -> Callable[[Transaction], int]:
    """A job that writes an index."""

    def run(transaction: Transaction) -> int:
        spec = IndexSpec(f"i{number}", 4)
        truth.put_index(transaction.connection, truth.Kept(number, spec, 0, 0))
        return number

    return run


def numbers(opened: Opened) -> list[int]:
    """The indexes that are in the database, as another connection sees it."""
    with opened.readers.transaction() as connection:
        return [kept.number for kept in truth.all_indexes(connection, opened.path)]


def commits(opened: Opened) -> int:
    """The number of the last commit."""
    with opened.readers.transaction() as connection:
        return truth.get_state(connection, opened.path).last_commit


def behind(
    gate: Gate, pool: ThreadPoolExecutor, writer: Writer, jobs: list[Callable[[Transaction], int]]
) -> list[Future[int]]:
    """Have the writer held with one job, and the others wait behind it."""
    futures = [pool.submit(writer.do, put(1_000))]
    assert gate.reached.wait(30)
    for job in jobs:
        waiting = writer.waiting
        futures.append(pool.submit(writer.do, job))
        while writer.waiting == waiting:
            threading.Event().wait(0.001)
    return futures


def test_jobs_that_wait_share_a_commit(tmp_path: Path) -> None:
    """Twenty jobs that waited for one are one commit, and each is answered."""
    gate = Gate("commit:before")
    with ThreadPoolExecutor(32) as pool, writing(tmp_path / "data", gate) as (writer, opened):
        futures = behind(gate, pool, writer, [put(number) for number in range(1, 21)])
        gate.open.set()
        assert [future.result() for future in futures] == [1_000, *range(1, 21)]
        assert commits(opened) == 2
        assert numbers(opened) == [*range(1, 21), 1_000]


def test_nobody_is_answered_before_the_commit(tmp_path: Path) -> None:
    """While the writer stands before the commit no job is done and nobody else sees it."""
    gate = Gate("commit:before")
    with ThreadPoolExecutor(4) as pool, writing(tmp_path / "data", gate) as (writer, opened):
        (future,) = behind(gate, pool, writer, [])
        assert not future.done()
        assert numbers(opened) == []
        gate.open.set()
        assert future.result() == 1_000


def test_a_job_that_fails_is_rolled_back_alone(tmp_path: Path) -> None:
    """Its error reaches its caller, what it wrote is gone, and its neighbours of the same commit
    are there."""

    def fails(transaction: Transaction) -> int:
        put(7)(transaction)
        transaction.later(lambda: told.append(7))
        raise LookupError("no")

    told: list[int] = []
    gate = Gate("commit:before")
    with ThreadPoolExecutor(8) as pool, writing(tmp_path / "data", gate) as (writer, opened):
        _, first, bad, last = behind(gate, pool, writer, [put(1), fails, put(2)])
        gate.open.set()
        assert (first.result(), last.result()) == (1, 2)
        with pytest.raises(LookupError, match="no"):
            bad.result()
        assert numbers(opened) == [1, 2, 1_000]
        assert told == []
        assert writer.failed is None


def test_what_sqlite_refuses_in_a_job_is_no_failing_disk(tmp_path: Path) -> None:
    """A broken constraint is the job's own trouble: the store goes on."""
    with writing(tmp_path / "data") as (writer, opened):
        writer.do(put(1))
        with pytest.raises(VectorFailedError):
            writer.do(lambda within: _again(within, 1))
        assert writer.do(put(2)) == 2
        assert numbers(opened) == [1, 2]


def _again(within: Transaction, number: int) -> None:
    within.connection.execute(
        "INSERT INTO indexes SELECT * FROM indexes WHERE number = ?", (number,)
    )


def test_damage_that_a_job_finds_ends_the_writing(tmp_path: Path) -> None:
    """A row that is not as it was written: the store acknowledges nothing more, and says why."""
    with writing(tmp_path / "data") as (writer, opened):
        writer.do(put(1))
        other = sqlite3.connect(opened.path)
        other.execute("UPDATE indexes SET items = 9")
        other.commit()
        other.close()
        with pytest.raises(VectorDamagedError, match="index 'i1'"):
            writer.do(lambda within: truth.get_index(within.connection, 1, within.path))
        with pytest.raises(VectorFailedError, match="nothing is acknowledged"):
            writer.do(put(2))


def test_too_many_that_wait_are_refused(tmp_path: Path) -> None:
    """The third of two that may wait is told to come again, and the two are done."""
    gate = Gate("commit:before")
    limits = WriterLimits(waiting=2)
    with ThreadPoolExecutor(8) as pool, writing(tmp_path / "data", gate, limits) as (writer, _):
        futures = behind(gate, pool, writer, [put(1), put(2)])
        with pytest.raises(VectorBusyError, match="waiting"):
            writer.do(put(3))
        gate.open.set()
        assert [future.result() for future in futures] == [1_000, 1, 2]


def test_a_view_that_breaks_ends_the_writing(tmp_path: Path) -> None:
    """When the views cannot follow a commit, it is not acknowledged, nor is anything after it."""

    def job(transaction: Transaction) -> int:
        transaction.later(breaks)
        return put(1)(transaction)

    def breaks() -> None:
        raise VectorBusyError("the view broke")

    with writing(tmp_path / "data") as (writer, _):
        with pytest.raises(VectorBusyError, match="the view broke"):
            writer.do(job)
        with pytest.raises(VectorFailedError, match="the view broke"):
            writer.do(put(2))


def test_nobody_waits_for_a_writer_that_is_gone(tmp_path: Path) -> None:
    """A bug in following a commit ends the writing, loudly; whoever writes later is refused at
    once."""

    def breaks() -> None:
        raise LookupError("a bug")

    def job(transaction: Transaction) -> int:
        transaction.later(breaks)
        return put(1)(transaction)

    def later() -> None:
        for _ in range(2):
            with pytest.raises(VectorFailedError, match="a bug"):
                writer.do(put(2))
        told.append(1)

    told: list[int] = []
    with writing(tmp_path / "data") as (writer, _):
        with pytest.raises(VectorFailedError, match="a bug"):
            writer.do(job)
        thread = threading.Thread(target=later, daemon=True)
        thread.start()
        thread.join(20)
        assert told


@pytest.mark.parametrize("method", ["_size", "_fold"])
def test_what_breaks_between_two_groups_ends_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Looking after the log may fail as well: what was acknowledged stays so, and later writes are
    refused with the reason."""

    def breaks(self: Writer) -> int:
        raise PermissionError(13, "not any more")

    with writing(tmp_path / "data", limits=WriterLimits(fold_bytes=0)) as (writer, opened):
        real = Writer._make_room
        monkeypatch.setattr(Writer, "_make_room", lambda self: None)
        monkeypatch.setattr(Writer, method, breaks)
        assert writer.do(put(1)) == 1
        while writer.failed is None:
            threading.Event().wait(0.001)
        with pytest.raises(VectorFailedError, match="not any more"):
            writer.do(put(2))
        monkeypatch.setattr(Writer, "_make_room", real)
        assert 1 in numbers(opened)


def test_a_job_that_sees_all_comes_after_the_views(tmp_path: Path) -> None:
    """What it asks the views has everything that was written before it, also when they waited
    together."""

    def job(transaction: Transaction) -> int:
        transaction.later(lambda: told.append(1))
        return put(1)(transaction)

    def sees(transaction: Transaction) -> int:
        return len(told)

    told: list[int] = []
    gate = Gate("commit:before")
    with ThreadPoolExecutor(8) as pool, writing(tmp_path / "data", gate) as (writer, _):
        futures = [pool.submit(writer.do, put(1_000))]
        assert gate.reached.wait(30)
        for run, all_ in ((job, False), (sees, True)):
            waiting = writer.waiting
            futures.append(pool.submit(writer.do, run, sees_all=all_))
            while writer.waiting == waiting:
                threading.Event().wait(0.001)
        gate.open.set()
        assert futures[2].result() == 1


def test_a_closed_writer_refuses(tmp_path: Path) -> None:
    """Closing finishes what waits; what comes later is refused in words."""
    with writing(tmp_path / "data") as (writer, _):
        writer.do(put(1))
        writer.close()
        with pytest.raises(VectorFailedError, match="closed"):
            writer.do(put(2))


# ------------------------------------------------------------------- the write-ahead log


def batch(number: int) -> Batch:
    """A hundred items of an index of four dimensions."""
    ids = [f"{number:04d}-{at:03d}" for at in range(100)]
    return Batch(ids, np.full((100, 4), number + 1, np.float32), [None] * 100)


def log_of(folder: Path) -> int:
    """The length of the write-ahead log in bytes."""
    return (folder / "truth.db-wal").stat().st_size


def test_the_log_is_folded_again_and_again(tmp_path: Path) -> None:
    """However much is written, the log stays within its measure."""
    folder = tmp_path / "data"
    options = LocalOptions(writer=WriterLimits(fold_bytes=200_000))
    backend = LocalBackend(folder, options=options)
    backend.create(_SPEC)
    longest = 0
    for number in range(60):
        backend.add("docs", batch(number))
        longest = max(longest, log_of(folder))
    backend.close()
    assert longest < 600_000
    assert (folder / "truth.db").stat().st_size > 300_000


def test_a_long_reader_cannot_make_the_log_grow_without_end(tmp_path: Path) -> None:
    """While an export holds an old state the log grows to its bound and no further: writes are
    refused as busy, reading goes on, the export is right, and then writes are taken again."""
    folder = tmp_path / "data"
    options = LocalOptions(writer=WriterLimits(fold_bytes=100_000, log_bytes=400_000))
    backend = LocalBackend(folder, options=options)
    backend.create(_SPEC)
    backend.add("docs", batch(0))
    added = 1
    with backend.export("docs") as export:
        while log_of(folder) < 400_000:
            backend.add("docs", batch(added))
            added += 1
        with pytest.raises(VectorBusyError, match="log is full"):
            backend.add("docs", batch(added))
        assert log_of(folder) < 800_000
        assert backend.count("docs", None) == added * 100
        assert [id_ for ids, _, _ in export.batches for id_ in ids] == batch(0).ids
    backend.add("docs", batch(500))
    backend.close()
    assert added > 3
    again = LocalBackend(folder)
    assert len(again.ids("docs")) == (added + 1) * 100
    again.close()
