"""The backend that keeps vectors in a folder of this machine.

    lock                 one process a folder
    truth.db             SQLite: every item, durable once acknowledged
    acked                the number of the last acknowledged commit
    segments/<number>/   what searching is fast by; derived, and may be deleted

Writes go through `writer`, searches through each index's `search_index`; what is left reads the
truth. This module says what each operation means in rows.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from stillhouse.errors import VectorError, VectorNotFoundError
from stillhouse.vectors import truth
from stillhouse.vectors.backend import Export
from stillhouse.vectors.checks import decoded
from stillhouse.vectors.filters import Filter, matches
from stillhouse.vectors.merging import merge
from stillhouse.vectors.opening import Opened, open_folder
from stillhouse.vectors.readers import Readers
from stillhouse.vectors.refusals import (
    id_twice,
    index_exists,
    refuse_batch,
    refuse_dimension,
    refuse_other,
)
from stillhouse.vectors.registry import Entry, FolderRegistry, Registry
from stillhouse.vectors.search_index import Pinned, SearchIndex, SearchOptions, nothing
from stillhouse.vectors.values import (
    Batch,
    Floats,
    Health,
    Hits,
    Include,
    IndexInfo,
    IndexSpec,
    MergeResult,
    OnConflict,
    Status,
)
from stillhouse.vectors.worker import Worker
from stillhouse.vectors.writer import Transaction, Writer, WriterLimits

_BATCH: Final = 1_000
_PURGE: Final = 5_000

_log = logging.getLogger(__name__)


class LocalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a folder is used. ``merge_batch`` items of a merge move in one transaction. ``faults``
    is called at named points of writing; tests stop there. ``registry`` replaces the look-up of
    indexes; tests have it fail."""

    search: SearchOptions = SearchOptions()
    writer: WriterLimits = WriterLimits()
    merge_batch: int = 1_000
    faults: Callable[[str], None] = nothing
    registry: Registry | None = None


class LocalBackend:
    """See the module and `stillhouse.vectors.backend.Backend`.

    Raises on opening `VectorLockedError`, `VectorDamagedError` (what is on disk is not what was
    acknowledged) or `VectorFailedError`.
    """

    in_process = True

    def __init__(self, folder: str | Path, *, options: LocalOptions | None = None) -> None:
        self.folder = Path(folder)
        self._options = options or LocalOptions()
        self._faults = self._options.faults
        self._registry: Registry = self._options.registry or FolderRegistry()
        self._worker = Worker()
        self._opened: Opened = open_folder(self.folder)
        self._readers: Readers = self._opened.readers
        self._closed = False
        self._closing = threading.Lock()
        try:
            for kept in self._opened.indexes:
                live = self._opened.live.pop(kept.number, truth.NOTHING)
                self._registry.put(self._open_index(kept.number, kept.spec, live))
        except BaseException:
            self._worker.close()
            self._opened.close()
            raise
        self._writer = Writer(
            self._opened.connection,
            self._opened.mark,
            self._opened.path,
            self._faults,
            self._options.writer,
        )
        for number in self._opened.leftovers:
            self._purge(number)

    def _open_index(self, number: int, spec: IndexSpec, live: truth.Scanned | None) -> Entry:
        reader = self._readers.truth(number, spec.dimension, live)
        folder = self.folder / "segments" / str(number)
        options = msgspec.structs.replace(self._options.search, worker=self._worker)
        return Entry(number, spec, SearchIndex.open(folder, spec, reader, options))

    def close(self) -> None:
        """Finish the writes that wait, then give everything back."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._writer.close()
            self._worker.close()
            self._opened.close()

    def health(self) -> Health:
        failed = self._writer.failed
        return Health(failed is None, "" if failed is None else str(failed))

    # ------------------------------------------------------------------------ indexes

    def create(self, spec: IndexSpec) -> bool:
        def run(transaction: Transaction) -> bool:
            with suppress(VectorNotFoundError):
                refuse_other(self._registry.find(spec.name).spec, spec)
                return False
            entry = self._make(transaction, spec, spec.name)
            transaction.later(lambda: self._registry.put(entry))
            return True

        # Two who create the same at once: the second must see the first.
        return self._writer.do(run, sees_all=True)

    def _make(self, transaction: Transaction, spec: IndexSpec, name: str) -> Entry:
        """A new index in the truth, with the name it has at first, and its empty search."""
        number = transaction.next_index()
        first = msgspec.structs.replace(spec, name=name)
        truth.put_index(transaction.connection, truth.Kept(number, first, 0, 0))
        shutil.rmtree(self.folder / "segments" / str(number), ignore_errors=True)
        return self._open_index(number, spec, truth.NOTHING)

    def drop(self, name: str) -> None:
        def run(transaction: Transaction) -> Entry:
            entry = self._registry.find(name)
            self._unname(transaction, entry)
            transaction.later(lambda: self._registry.drop(name))
            return entry

        entry = self._writer.do(run, sees_all=True)
        self._faults("drop:unnamed")
        entry.search.close()
        self._purge(entry.number)

    def _unname(self, transaction: Transaction, entry: Entry) -> None:
        """From here on the index is gone, though its rows are still there: they may be many."""
        kept = truth.get_index(transaction.connection, entry.number, transaction.path)
        unnamed = msgspec.structs.replace(kept.spec, name="")
        truth.put_index(transaction.connection, kept._replace(spec=unnamed))

    def _purge(self, number: int) -> None:
        """Remove the rows of an index without a name, then the index, then its segments. It is
        gone already: what cannot be removed now goes at the next opening."""
        try:
            while self._writer.do(lambda within: truth.purge(within.connection, number, _PURGE)):
                self._faults("purge:some")
            self._writer.do(lambda within: truth.forget(within.connection, number))
        except VectorError as error:
            _log.warning("a removed index still takes room until the next opening: %s", error)
            return
        self._faults("purge:rows")
        shutil.rmtree(self.folder / "segments" / str(number), ignore_errors=True)

    def spec(self, name: str) -> IndexSpec:
        return self._registry.find(name).spec

    def describe(self, name: str) -> IndexInfo:
        entry = self._registry.find(name)
        stats = entry.search.stats()
        count = entry.search.count(None)
        spec = entry.spec
        # What the database takes for a row, beside what segments take.
        rows = count * (spec.dimension * 4 + 64)
        return IndexInfo(
            name=name,
            dimension=spec.dimension,
            metric=spec.metric,
            metadata=spec.metadata,
            count=count,
            segments=stats.segments,
            tombstones=stats.tombstones,
            tail=stats.tail,
            bytes=stats.bytes + rows,
        )

    def names(self) -> list[str]:
        return [entry.spec.name for entry in self._registry.entries()]

    # -------------------------------------------------------------------------- items

    def add(self, name: str, batch: Batch) -> list[Status]:
        rows = truth.rows_of(batch)

        def run(transaction: Transaction) -> list[Status]:
            entry = self._registry.find(name)
            refuse_batch(entry.spec, batch)
            there = truth.find(transaction.connection, entry.number, batch.ids)
            alike = [there[row.id][0] for row in rows if there.get(row.id, (0, -1))[1] == row.check]
            same = {row.id for _, row in truth.read(transaction.connection, alike) if row in known}
            fresh = [row for row in rows if row.id not in same]
            over = [there[row.id] for row in fresh if row.id in there]
            truth.remove(transaction.connection, [seq for seq, _ in over])
            added = transaction.insert(entry.number, fresh)
            transaction.change(entry, added, over)
            return [
                "unchanged" if row.id in same else "replaced" if row.id in there else "inserted"
                for row in rows
            ]

        known = set(rows)
        return self._writer.do(run)

    def get(self, name: str, ids: Sequence[str]) -> Batch:
        with self._readers.index(name) as (connection, kept):
            there = truth.find(connection, kept.number, ids)
            seqs = [there[id_][0] for id_ in ids if id_ in there]
            return truth.sound_batch(list(truth.read(connection, seqs)), kept, self._opened.path)

    def delete(self, name: str, ids: Sequence[str]) -> list[bool]:
        def run(transaction: Transaction) -> list[bool]:
            entry = self._registry.find(name)
            there = truth.find(transaction.connection, entry.number, ids)
            truth.remove(transaction.connection, [seq for seq, _ in there.values()])
            transaction.change(entry, [], list(there.values()))
            return [id_ in there for id_ in ids]

        return self._writer.do(run)

    def delete_matching(self, name: str, filter_: Filter) -> int:
        def run(transaction: Transaction) -> int:
            entry = self._registry.find(name)
            doomed = self._matching(transaction, entry, filter_)
            truth.remove(transaction.connection, [seq for seq, _ in doomed])
            transaction.change(entry, [], doomed)
            return len(doomed)

        return self._writer.do(run, sees_all=True)

    def _matching(
        self, transaction: Transaction, entry: Entry, filter_: Filter
    ) -> list[tuple[int, int]]:
        """The versions that a filter matches, with their checksums. Segments find them, but what
        is to be deleted is decided by the truth."""
        seqs = entry.search.select(filter_).tolist()
        found = []
        for seq, row in truth.read(transaction.connection, seqs):
            if not _holds(row, filter_):
                _log.error("segments of index %r disagree with the truth", entry.spec.name)
                rows = truth.every(transaction.connection, entry.number)
                return [(seq, row.check) for seq, row in rows if _holds(row, filter_)]
            found.append((seq, row.check))
        return found

    def ids(self, name: str) -> list[str]:
        with self._readers.index(name) as (connection, kept):
            return truth.ids(connection, kept.number)

    def count(self, name: str, filter_: Filter | None) -> int:
        return self._registry.find(name).search.count(filter_)

    def search(
        self,
        name: str,
        queries: Floats,
        k: int,
        filter_: Filter | None,
        ef: int | None,
        include: frozenset[Include],
    ) -> list[Hits]:
        entry = self._registry.find(name)
        refuse_dimension(entry.spec, queries)
        return entry.search.search(queries, k, filter_, ef, include)

    def merge(
        self, src: str, dest: str, *, clear_source: bool, on_conflict: OnConflict
    ) -> MergeResult:
        return merge(
            self._writer,
            self._registry,
            src,
            dest,
            clear_source=clear_source,
            on_conflict=on_conflict,
            faults=self._faults,
            batch=self._options.merge_batch,
        )

    # ----------------------------------------------------------------- whole indexes

    @contextmanager
    def export(self, name: str) -> Iterator[Export]:
        with self._readers.index(name) as (connection, kept):
            yield Export(kept.spec, kept.items, self._exported(connection, kept))

    def _exported(self, connection: sqlite3.Connection, kept: truth.Kept) -> Iterator[Batch]:
        place: str | None = ""
        while place is not None:
            rows = truth.after(connection, kept.number, place, _BATCH)
            if rows:
                yield truth.sound_batch(rows, kept, self._opened.path)
            place = rows[-1][1].id if len(rows) == _BATCH else None

    def load(self, spec: IndexSpec, batches: Iterable[Batch], *, replace: bool) -> int:
        if not replace and spec.name in self.names():
            raise index_exists(spec.name)
        # Until it has its name nobody else sees it; what is left of it is swept at opening.
        entry = self._writer.do(lambda within: self._make(within, spec, ""))
        try:
            for batch in batches:
                refuse_dimension(spec, batch.vectors)
                self._writer.do(partial(_take, entry=entry, rows=truth.rows_of(batch)))
                self._faults("load:batch")
            old, total = self._writer.do(
                lambda within: self._swap(within, entry, replace), sees_all=True
            )
        except BaseException:
            entry.search.close()
            self._purge(entry.number)
            raise
        self._faults("load:swapped")
        if old is not None:
            old.search.close()
            self._purge(old.number)
        return total

    def _swap(
        self, transaction: Transaction, entry: Entry, replace: bool
    ) -> tuple[Entry | None, int]:
        """Give a loaded index its name, and take it from the one that had it."""
        old = None
        with suppress(VectorNotFoundError):
            old = self._registry.find(entry.spec.name)
        if old is not None:
            if not replace:
                raise index_exists(entry.spec.name)
            self._unname(transaction, old)
        kept = truth.get_index(transaction.connection, entry.number, transaction.path)
        truth.put_index(transaction.connection, kept._replace(spec=entry.spec))
        transaction.later(lambda: self._registry.put(entry))
        return old, kept.items

    # ------------------------------------------------------------------ derived parts

    def settle(self, name: str) -> None:
        """Wait until an index's segments have nothing left to do."""
        self._registry.find(name).search.settle()

    def rebuild(self, name: str | None = None) -> list[str]:
        """Build the segments of one index, or of all, anew from the truth; returns their names."""
        chosen = self._registry.entries() if name is None else [self._registry.find(name)]
        for entry in chosen:
            reader = self._readers.truth(entry.number, entry.spec.dimension, None)
            entry.search.rebuild(reader, self._between_commits)
        return [entry.spec.name for entry in chosen]

    def _between_commits(self, pin: Callable[[], Pinned]) -> Pinned:
        return self._writer.do(lambda _: pin(), sees_all=True)


def _holds(row: truth.Row, filter_: Filter) -> bool:
    return truth.is_sound(row) and matches(filter_, decoded(row.metadata))


def _take(transaction: Transaction, entry: Entry, rows: list[truth.Row]) -> None:
    """Write rows of which none may be there yet."""
    ids = [row.id for row in rows]
    for id_ in truth.find(transaction.connection, entry.number, ids):
        raise id_twice(id_)
    transaction.change(entry, transaction.insert(entry.number, rows), [])
