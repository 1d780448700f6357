"""The one thread that writes to a data folder, and how a write becomes an acknowledgement.

    jobs that wait ──▶ one transaction, a savepoint a job ──▶ COMMIT (synced)
                   ──▶ mark (synced) ──▶ views of the search ──▶ acknowledge each job

Jobs that wait for one another share the two syncs (group commit). A job that fails is rolled back
alone. When the disk fails, nothing after it is acknowledged: what is in memory may then be ahead
of what is on disk, so the store has to be opened again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

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
from stillhouse.vectors.schema import told

T = TypeVar("T")

_log = logging.getLogger(__name__)

_WAITING: Final = 1_000
"""Jobs that may wait; each is at most one batch."""
_GROUP: Final = 128
_GROUP_ROWS: Final = 20_000
"""A group that has written so many rows takes no further job: its view would come late."""


class Transaction:
    """What a job writes with: the connection, and what the views are told once it is on disk."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self.rows = 0
        self._later: list[Callable[[], None]] = []

    def change(
        self,
        entry: Entry,
        added: Sequence[tuple[int, truth.Row]],
        removed: Sequence[tuple[int, int]],
    ) -> None:
        """Keep an index's count and digest, and have its view follow: ``added`` are new versions
        as `truth.insert` gave them, ``removed`` numbers and checksums of those that ended."""
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
    ) -> None:
        self._connection = connection
        self._mark = mark
        self._path = path
        self._faults = faults
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

    def do(self, run: Callable[[Transaction], T], *, sees_all: bool = False) -> T:
        """Run a job and give back what it gives, once that is durable.

        ``sees_all`` has the views follow all earlier jobs first. Raises what the job raises,
        `VectorBusyError` when too many wait, `VectorFailedError` when the disk fails.
        """
        job = _Job(run, sees_all)
        with self._bell:
            self._refuse()
            if len(self._waiting) >= _WAITING:
                raise VectorBusyError(
                    f"{_WAITING:,} writes are waiting already", way_out="Try again shortly."
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
            raise _again(self._failed)
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
            finally:
                if self._failed is not None:
                    self._refuse_waiting(self._failed)

    def _refuse_waiting(self, failed: VectorError) -> None:
        with self._bell:
            waiting = list(self._waiting)
            self._waiting.clear()
        for job in waiting:
            job.future.set_exception(_again(failed))

    def _next(self, first: bool) -> _Job[Any] | None:
        with self._bell:
            if not self._waiting or (self._waiting[0].sees_all and not first):
                return None
            return self._waiting.popleft()

    def _group(self) -> None:
        """One transaction over the jobs that wait."""
        transaction = Transaction(self._connection, self._path)
        done: list[tuple[_Job[Any], Any]] = []
        taken: list[_Job[Any]] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            while len(taken) < _GROUP and transaction.rows < _GROUP_ROWS:
                job = self._next(first=not taken)
                if job is None:
                    break
                taken.append(job)
                self._run(transaction, job, done)
            self._commit(transaction)
        except (sqlite3.Error, OSError, StillhouseError) as error:
            self._give_up(error, taken)
            return
        except BaseException as error:
            # Nobody of this group may be told that it is on disk, whatever it was.
            self._give_up(error, taken)
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
            job.future.set_exception(self._words(error))
            if isinstance(error, sqlite3.Error) and _is_fatal(told(error, self._path)):
                raise
        else:
            transaction.keep()
            done.append((job, result))

    def _commit(self, transaction: Transaction) -> None:
        self._faults("commit:before")
        number = truth.take_number(self._connection, "last_commit") + 1
        self._connection.execute("COMMIT")
        self._faults("commit:after")
        try:
            self._mark.write(number)
        except OSError as error:
            raise VectorFailedError(
                f"the disk fails: {error.strerror or error}",
                where=str(self._path.parent),
                way_out="See to the disk, then open the store again.",
            ) from error
        self._faults("mark:written")
        transaction.tell_views()

    def _give_up(self, error: BaseException, taken: list[_Job[Any]]) -> None:
        words = self._words(error)
        committed = not self._connection.in_transaction
        if not committed:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as second:
                words = told(second, self._path)
        if not isinstance(words, VectorError) or _is_fatal(words):
            _log.error("the vector store stops acknowledging writes: %s", words)
            self._failed = words if isinstance(words, VectorError) else _broken(words, self._path)
        for job in taken:
            if not job.future.done():
                job.future.set_exception(words)

    def _words(self, error: BaseException) -> BaseException:
        if isinstance(error, sqlite3.Error):
            return told(error, self._path)
        return error


def _is_fatal(error: StillhouseError) -> bool:
    """Whether the store must be opened anew. A full disk is none: SQLite took the write back."""
    if isinstance(error, VectorFailedError):
        return error.code != "disk_full"
    return isinstance(error, VectorDamagedError)


def _broken(error: BaseException, path: Path) -> VectorFailedError:
    return VectorFailedError(
        f"a write broke off ({type(error).__name__}: {error})",
        where=str(path.parent),
        way_out="Open the store again.",
    )


def _again(failed: VectorError) -> VectorFailedError:
    """The same refusal for another caller: an error object belongs to one raise."""
    return VectorFailedError(
        f"nothing is acknowledged since this happened: {failed.what}",
        where=failed.where,
        way_out="Open the store again.",
    )
