"""The one thread that writes to a data folder, and how a write becomes an acknowledgement.

    jobs that wait ──▶ one transaction, a savepoint a job ──▶ COMMIT (synced)
                   ──▶ mark (synced) ──▶ views of the search ──▶ acknowledge each job

Jobs that wait for one another share the two syncs (group commit). A job that fails is rolled back
alone. When the disk fails, nothing after it is acknowledged: what is in memory may then be ahead
of what is on disk, so the store has to be opened again.

The log is folded into the database after the acknowledgement, so that no write waits for it. While
somebody reads an old state it cannot be; past a bound writes are refused until it can.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from stillhouse.errors import (
    StillhouseError,
    VectorBusyError,
    VectorDamagedError,
    VectorError,
    VectorFailedError,
)
from stillhouse.vectors import truth
from stillhouse.vectors.live import Rows
from stillhouse.vectors.mark import Mark
from stillhouse.vectors.registry import Entry
from stillhouse.vectors.schema import BUSY_SECONDS, is_disk_trouble, told
from stillhouse.vectors.write_errors import again, broken, in_words

T = TypeVar("T")

_log = logging.getLogger(__name__)

_GROUP: Final = 128
_GROUP_ROWS: Final = 20_000
"""A group that has written so many rows takes no further job: its view would come late."""
_FOLD_WAIT: Final = 0.05
"""Seconds to wait for readers to let go of the log."""


class WriterLimits(NamedTuple):
    """How much may wait, and how long the write-ahead log may get.

    At most ``waiting`` jobs wait, each of at most one batch. The log is folded into the database
    whenever it has grown by ``fold_bytes``; past ``log_bytes`` no write is taken.
    """

    waiting: int = 1_000
    fold_bytes: int = 32 << 20
    log_bytes: int = 1 << 30


class Transaction:
    """What a job writes with: the connection, and what the views are told once it is on disk."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self.rows = 0
        self.committed = False
        self._later: list[Callable[[], None]] = []
        self._state = truth.get_state(connection, path)
        self._changes = connection.total_changes

    @property
    def wrote(self) -> bool:
        """Whether there is anything to commit."""
        return self.connection.total_changes != self._changes

    @property
    def next_seq(self) -> int:
        """The number that the next version gets: greater than that of any there is."""
        return self._state.next_seq

    def next_index(self) -> int:
        """A number that no index ever had."""
        number = self._state.next_index
        self._state = self._state._replace(next_index=number + 1)
        return number

    def insert(self, index: int, rows: Sequence[truth.Row]) -> list[tuple[int, truth.Row]]:
        """Write new versions; they come back with their numbers, which nothing ever had."""
        first = self._state.next_seq
        self._state = self._state._replace(next_seq=first + len(rows))
        numbered = list(enumerate(rows, first))
        truth.insert(self.connection, index, numbered)
        return numbered

    def commit(self) -> int:
        """Put everything on disk; the number of this commit."""
        state = self._state._replace(last_commit=self._state.last_commit + 1)
        truth.put_state(self.connection, state)
        self.connection.execute("COMMIT")
        self.committed = True
        return state.last_commit

    def change(
        self,
        entry: Entry,
        added: Sequence[tuple[int, truth.Row]],
        removed: Sequence[tuple[int, int]],
    ) -> None:
        """Keep an index's count and digest, and have its view follow: ``added`` are new versions
        as `insert` gave them, ``removed`` numbers and checksums of those that ended."""
        if not added and not removed:
            return
        kept = truth.get_index(self.connection, entry.number, self.path)
        truth.count_change(
            self.connection, kept, [row.check for _, row in added], [check for _, check in removed]
        )
        self.rows += len(added) + len(removed)
        rows: Rows | None = truth.columns_of(added, entry.spec.dimension) if added else None
        gone = [seq for seq, _ in removed]
        self.later(lambda: entry.search.apply(gone, rows))

    def later(self, action: Callable[[], None]) -> None:
        """Do this once the commit is on disk and before anybody is told of it, in order."""
        self._later.append(action)

    def savepoint(self) -> int:
        """Where a job begins."""
        self.connection.execute("SAVEPOINT job")
        return len(self._later)

    def keep(self) -> None:
        """The job is done."""
        self.connection.execute("RELEASE job")

    def roll_back(self, begun: int) -> None:
        """The job failed: as if it had never begun."""
        self.connection.execute("ROLLBACK TO job")
        self.connection.execute("RELEASE job")
        del self._later[begun:]

    def tell_views(self) -> None:
        """Let the views follow."""
        for action in self._later:
            action()


class _Job(Generic[T]):
    def __init__(self, run: Callable[[Transaction], T], sees_all: bool) -> None:
        self.run = run
        self.sees_all = sees_all
        self.future: Future[T] = Future()


class Writer:
    """Takes jobs from any thread and answers when they are durable."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        mark: Mark,
        path: Path,
        faults: Callable[[str], None],
        limits: WriterLimits,
    ) -> None:
        self._connection = connection
        self._mark = mark
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._faults = faults
        self._limits = limits
        self._folded = 0
        self._waiting: deque[_Job[Any]] = deque()
        self._bell = threading.Condition()
        self._closing = False
        self._failed: VectorError | None = None
        self._thread = threading.Thread(target=self._work, name="vector-writer", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> VectorError | None:
        """Why nothing is acknowledged any more; None while all is well."""
        return self._failed

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    def do(self, run: Callable[[Transaction], T], *, sees_all: bool = False) -> T:
        """Run a job and give back what it gives, once that is durable.

        ``sees_all`` has the views follow all earlier jobs first. Raises what the job raises,
        `VectorBusyError` when too many wait, `VectorFailedError` when the disk fails.
        """
        job = _Job(run, sees_all)
        with self._bell:
            self._refuse()
            if self.waiting >= self._limits.waiting:
                raise VectorBusyError(
                    f"{self.waiting:,} writes are waiting already",
                    way_out="Try again shortly.",
                )
            self._waiting.append(job)
            self._bell.notify()
        return job.future.result()

    def close(self) -> None:
        """Finish what waits, then stop. Later jobs are refused."""
        with self._bell:
            self._closing = True
            self._bell.notify()
        self._thread.join()

    def _refuse(self) -> None:
        if self._failed is not None:
            raise again(self._failed)
        if self._closing:
            raise VectorFailedError("the store is closed", where=str(self._path.parent))

    # -------------------------------------------------------------- the writing thread

    def _work(self) -> None:
        while True:
            with self._bell:
                while not self._waiting and not self._closing:
                    self._bell.wait()
                if not self._waiting:
                    return
            try:
                if self._failed is None:
                    self._group()
                    if self._size() - self._folded >= self._limits.fold_bytes:
                        self._fold()
            except BaseException as error:
                # Without this thread nobody would be answered again, nor told why.
                _log.exception("the writer met what it does not know")
                if self._failed is None:
                    self._stop(broken(error, self._path))
            finally:
                if self._failed is not None:
                    self._refuse_waiting(self._failed)

    def _refuse_waiting(self, failed: VectorError) -> None:
        with self._bell:
            waiting = list(self._waiting)
            self._waiting.clear()
        for job in waiting:
            job.future.set_exception(again(failed))

    def _next(self, first: bool) -> _Job[Any] | None:
        with self._bell:
            if not self._waiting or (self._waiting[0].sees_all and not first):
                return None
            return self._waiting.popleft()

    def _group(self) -> None:
        """One transaction over the jobs that wait."""
        done: list[tuple[_Job[Any], Any]] = []
        taken: list[_Job[Any]] = []
        transaction = None
        try:
            self._make_room()
            self._connection.execute("BEGIN IMMEDIATE")
            transaction = Transaction(self._connection, self._path)
            while len(taken) < _GROUP and transaction.rows < _GROUP_ROWS:
                job = self._next(first=not taken)
                if job is None:
                    break
                taken.append(job)
                self._run(transaction, job, done)
            self._commit(transaction)
        except (sqlite3.Error, OSError, StillhouseError) as error:
            self._give_up(error, taken, transaction is not None and transaction.committed)
            return
        except BaseException as error:
            # Nobody of this group may be told that it is on disk, whatever it was.
            self._give_up(error, taken, transaction is not None and transaction.committed)
            raise
        for job, result in done:
            job.future.set_result(result)

    def _run(
        self, transaction: Transaction, job: _Job[Any], done: list[tuple[_Job[Any], Any]]
    ) -> None:
        begun = transaction.savepoint()
        try:
            result = job.run(transaction)
        except BaseException as error:
            if not self._connection.in_transaction:
                raise  # SQLite gave up the whole transaction, with the jobs before this one.
            transaction.roll_back(begun)
            if isinstance(error, VectorDamagedError) or is_disk_trouble(error):
                raise
            job.future.set_exception(in_words(error, self._path))
        else:
            transaction.keep()
            done.append((job, result))

    def _commit(self, transaction: Transaction) -> None:
        if not transaction.wrote:
            self._connection.execute("ROLLBACK")
            return
        self._faults("commit:before")
        number = transaction.commit()
        self._faults("commit:after")
        self._mark.write(number)
        self._faults("mark:written")
        transaction.tell_views()
        self._faults("views:told")

    def _give_up(self, error: BaseException, taken: list[_Job[Any]], committed: bool) -> None:
        # SQLite takes back what finds no room, and a busy store has done nothing. Whatever else
        # happened, and whatever happened behind a commit, memory may be ahead of the disk.
        mild = isinstance(error, sqlite3.Error | VectorBusyError) and not committed
        fatal = not mild or is_disk_trouble(error)
        words = in_words(error, self._path)
        if not isinstance(words, VectorError):
            words = broken(error, self._path)
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as second:
                fatal, words = True, told(second, self._path)
        if fatal:
            self._stop(words)
        if not taken and (job := self._next(first=True)):
            taken = [job]  # It did not come to a transaction: whoever waits longest is told.
        for job in taken:
            if not job.future.done():
                job.future.set_exception(words)

    def _stop(self, words: VectorError) -> None:
        _log.error("the vector store stops acknowledging writes: %s", words)
        self._failed = words

    # ------------------------------------------------------------- the write-ahead log

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0

    def _make_room(self) -> None:
        """Raises `VectorBusyError` when the log is too long and somebody still reads what is in
        the way of folding it."""
        if self._size() < self._limits.log_bytes:
            return
        self._fold()
        if self._failed is None and self._size() >= self._limits.log_bytes:
            raise VectorBusyError(
                "the write-ahead log is full: an export or a snapshot is reading an old state",
                where=str(self._log),
                way_out="Try again when it is done.",
            )

    def _fold(self) -> None:
        """Fold the log into the database and begin it anew, as far as readers let us. What is
        acknowledged is on disk already."""
        self._faults("fold:before")
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {int(_FOLD_WAIT * 1000)}")
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        except sqlite3.Error as error:
            words = told(error, self._path)
            if is_disk_trouble(error):
                self._stop(words)
            else:
                _log.warning("the write-ahead log was not folded into the database: %s", words)
        self._folded = self._size()
        self._faults("fold:after")
