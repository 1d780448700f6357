"""Vectors in Milvus, for clusters; or in milvus-lite, to try it on one machine. Needs the extra
``milvus``.

Milvus has no transactions. What that means for each promise of the interface is told by
`MilvusBackend` and in docs/backends.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Final

import msgspec
import numpy as np

from stillhouse.errors import VectorError, VectorLockedError
from stillhouse.vectors.backend import Export
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.milvus_calls import (
    IDS,
    Calls,
    MilvusOptions,
    Row,
    batch_of,
    chunk_rows,
    key,
    place_of,
    rows_of,
    same_row,
)
from stillhouse.vectors.milvus_merge import merge
from stillhouse.vectors.milvus_registry import Index, Locks, Registry
from stillhouse.vectors.milvus_search import matching, search
from stillhouse.vectors.refusals import (
    id_twice,
    index_exists,
    refuse_batch,
    refuse_dimension,
    refuse_other,
    refuse_unlike,
)
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

_FIELDS: Final = ("id", "vector", "metadata")

# milvus-lite would give two callers of a process one server, and their locks would not meet.
_open_files: set[Path] = set()
_open_files_lock = Lock()


class MilvusBackend:
    """`Backend` over a Milvus, given by its URL (see `stillhouse.vectors.places`).

    What Milvus cannot promise:

    - A batch of more than one request (1,000 items or 16 MB of vectors) is not all or nothing
      when Milvus fails in the middle: a part of it may have been taken. What Milvus would refuse
      (metadata beyond 65,535 bytes) is refused before anything is sent. Adding or deleting again
      finishes it.
    - A merge copies, verifies and then deletes, some items at a time. Cut off anywhere, no item is
      lost from both indexes, and running it again finishes it.
    - One process writes. Within it readers and writers exclude one another by index, so each
      sees whole states; others may read, and see a merge or a large batch in the making.
    - Filters are evaluated here and not in Milvus, so that they mean what they mean elsewhere:
      counting, deleting and narrow searches by a filter look at every item's metadata.

    Raises `VectorFailedError` when Milvus cannot be reached, `VectorLockedError` when this process
    has the file of a milvus-lite open already.
    """

    def __init__(self, url: str, *, options: MilvusOptions | None = None) -> None:
        place = place_of(url)
        self._file = place.file
        if self._file is not None:
            _claim(self._file)
        try:
            self._calls = Calls(place, options or MilvusOptions())
            try:
                self._registry = Registry(self._calls)
            except BaseException:
                self._calls.close()
                raise
        except BaseException:
            self._unclaim()
            raise
        self._locks = Locks()

    # ------------------------------------------------------------------------ indexes

    def create(self, spec: IndexSpec) -> bool:
        with self._locks.writing(spec.name):
            there = self._registry.look(spec.name)
            if there is not None:
                refuse_other(there.spec, spec)
                return False
            self._registry.enter(self._registry.new_collection(spec))
            return True

    def drop(self, name: str) -> None:
        with self._locks.writing(name):
            index = self._registry.find(name)
            self._registry.forget(name)
            self._abandon(index)

    def spec(self, name: str) -> IndexSpec:
        return self._registry.find(name).spec

    def describe(self, name: str) -> IndexInfo:
        with self._locks.reading(name):
            index = self._registry.find(name)
            spec = index.spec
            return IndexInfo(
                name=name,
                dimension=spec.dimension,
                metric=spec.metric,
                metadata=spec.metadata,
                count=self._calls.count(index.collection),
            )

    def names(self) -> list[str]:
        return self._registry.names()

    # -------------------------------------------------------------------------- items

    def add(self, name: str, batch: Batch) -> list[Status]:
        with self._locks.writing(name):
            index = self._registry.find(name)
            refuse_batch(index.spec, batch)
            rows = rows_of(batch)
            statuses: list[Status] = []
            changed: list[Row] = []
            size = chunk_rows(index.spec.dimension)
            for at in range(0, len(rows), size):
                part = rows[at : at + size]
                there = self._calls.rows(index.collection, [row["pk"] for row in part], _FIELDS)
                for row in part:
                    old = there.get(row["pk"])
                    same = old is not None and same_row(row, old)
                    statuses.append("unchanged" if same else "replaced" if old else "inserted")
                    if not same:
                        changed.append(row)
            for at in range(0, len(changed), size):
                self._calls.put(index.collection, changed[at : at + size])
            return statuses

    def get(self, name: str, ids: Sequence[str]) -> Batch:
        with self._locks.reading(name):
            index = self._registry.find(name)
            keys = [key(id_) for id_ in ids]
            size = chunk_rows(index.spec.dimension)
            found: dict[str, Row] = {}
            for at in range(0, len(keys), size):
                found |= self._calls.rows(index.collection, keys[at : at + size], _FIELDS)
            return batch_of([found[pk] for pk in keys if pk in found], index.spec.dimension)

    def delete(self, name: str, ids: Sequence[str]) -> list[bool]:
        with self._locks.writing(name):
            index = self._registry.find(name)
            keys = [key(id_) for id_ in ids]
            there = self._calls.rows(index.collection, keys, ["id"])
            self._calls.remove(index.collection, list(there))
            return [pk in there for pk in keys]

    def delete_matching(self, name: str, filter_: Filter) -> int:
        with self._locks.writing(name):
            index = self._registry.find(name)
            doomed = matching(self._calls, index, filter_)
            self._calls.remove(index.collection, doomed)
            return len(doomed)

    def ids(self, name: str) -> list[str]:
        with self._locks.reading(name):
            index = self._registry.find(name)
            scanned = self._calls.scan(index.collection, ["id"], IDS)
            return sorted(row["id"] for rows in scanned for row in rows)

    def count(self, name: str, filter_: Filter | None) -> int:
        with self._locks.reading(name):
            index = self._registry.find(name)
            if filter_ is None:
                return self._calls.count(index.collection)
            return len(matching(self._calls, index, filter_))

    # ------------------------------------------------------------ searching and merging

    def search(
        self,
        name: str,
        queries: Floats,
        k: int,
        filter_: Filter | None,
        ef: int | None,
        include: frozenset[Include],
    ) -> list[Hits]:
        with self._locks.reading(name):
            index = self._registry.find(name)
            refuse_dimension(index.spec, queries)
            return search(self._calls, index, queries, k, filter_, ef, include)

    def merge(
        self, src: str, dest: str, *, clear_source: bool, on_conflict: OnConflict
    ) -> MergeResult:
        with self._locks.writing(src, dest):
            source, target = self._registry.find(src), self._registry.find(dest)
            refuse_unlike(source.spec, target.spec)
            return merge(
                self._calls, source, target, clear_source=clear_source, on_conflict=on_conflict
            )

    # --------------------------------------------------------------- whole indexes, life

    @contextmanager
    def export(self, name: str) -> Iterator[Export]:
        """Milvus has no snapshots: the state is copied to a temporary file first."""
        with tempfile.TemporaryFile() as file:
            with self._locks.reading(name):
                index = self._registry.find(name)
                scanned = self._calls.scan(index.collection, ["id"], IDS)
                ids = sorted(row["id"] for rows in scanned for row in rows)
                size = chunk_rows(index.spec.dimension)
                for at in range(0, len(ids), size):
                    keys = [key(id_) for id_ in ids[at : at + size]]
                    found = self._calls.rows(index.collection, keys, _FIELDS)
                    batch = batch_of([found[pk] for pk in keys], index.spec.dimension)
                    file.write(_packed(batch))
            file.seek(0)
            yield Export(index.spec, len(ids), _unpacked(file, index.spec.dimension))

    def load(self, spec: IndexSpec, batches: Iterable[Batch], *, replace: bool) -> int:
        if not replace and self._registry.look(spec.name):
            raise index_exists(spec.name)
        new = self._registry.new_collection(spec)
        try:
            size = chunk_rows(spec.dimension)
            for batch in batches:
                refuse_dimension(spec, batch.vectors)
                rows = rows_of(batch)
                for at in range(0, len(rows), size):
                    part = rows[at : at + size]
                    keys = [row["pk"] for row in part]
                    for row in self._calls.rows(new.collection, keys, ["id"]).values():
                        raise id_twice(row["id"])
                    self._calls.put(new.collection, part)
            # Sealed, what was loaded is found by its index and not by looking at all of it.
            self._calls.call("flush", new.collection)
            total = self._calls.count(new.collection)
        except BaseException:
            self._abandon(new)
            raise
        with self._locks.writing(spec.name):
            there = self._registry.look(spec.name)
            if there is not None and not replace:
                self._abandon(new)
                raise index_exists(spec.name)
            # If this fails nobody knows whether it was done: then both collections stay.
            self._registry.enter(new)
            if there is not None:
                self._abandon(there)
        return total

    def _abandon(self, index: Index) -> None:
        """Remove a collection that no name leads to. Where that fails it stays, unused: what was
        asked for is done already, or an error is on its way."""
        with suppress(VectorError):
            self._registry.drop_collection(index)

    def health(self) -> Health:
        try:
            self._registry.names()
        except VectorError as error:
            return Health(False, str(error))
        return Health(True)

    def close(self) -> None:
        self._calls.close()
        self._unclaim()

    def _unclaim(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with _open_files_lock:
                _open_files.discard(file)


def _claim(file: Path) -> None:
    with _open_files_lock:
        if file in _open_files:
            raise VectorLockedError("this process has it open already", where=str(file))
        _open_files.add(file)


def _packed(batch: Batch) -> bytes:
    packed = msgspec.msgpack.encode((batch.ids, batch.vectors.tobytes(), batch.metadata))
    return len(packed).to_bytes(8, "little") + packed


def _unpacked(file: IO[bytes], dimension: int) -> Iterator[Batch]:
    kind = tuple[list[str], bytes, list[bytes | None]]
    while size := file.read(8):
        packed = file.read(int.from_bytes(size, "little"))
        ids, vectors, metadata = msgspec.msgpack.decode(packed, type=kind)
        array = np.frombuffer(vectors, np.float32).reshape(len(ids), dimension)
        yield Batch(ids, array, metadata)
