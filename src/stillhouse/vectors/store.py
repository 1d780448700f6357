"""The vector store inside a program: checks what it is given, once for every backend, and hands
it on.

    with VectorStore("vectors") as store:
        store.create("docs", dimension=384)
        store.add("docs", [Item("a", vector, {"lang": "en"})])
        hits = store.search("docs", vector, k=10, filter={"lang": "en"})

A store is safe to use from many threads. It keeps nothing itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, get_args, overload

import numpy as np
from msgspec import UNSET

from stillhouse.errors import (
    VectorBusyError,
    VectorError,
    VectorNotFoundError,
    VectorRequestError,
)
from stillhouse.vectors import checks
from stillhouse.vectors.backend import Backend
from stillhouse.vectors.filters import Filter, parse_filter
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.refusals import item_not_found, refuse_unlike, registry_failed
from stillhouse.vectors.values import (
    AddedItem,
    AddResult,
    Batch,
    DeleteResult,
    EnvelopeInfo,
    Floats,
    Health,
    Hit,
    Hits,
    Include,
    IndexInfo,
    IndexSpec,
    Item,
    MergeResult,
    Metadata,
    Metric,
    OnConflict,
    SnapshotInfo,
)

if TYPE_CHECKING:
    from stillhouse.vectors.snapshots import Snapshots

_log = logging.getLogger(__name__)


class VectorStore:
    """Named indexes of vectors in a folder, a database or memory.

    ``data`` is a folder (made when it is missing), a URL (see `stillhouse.vectors.places`) or a
    backend. Raises `VectorLockedError` when another process has the folder, `VectorDamagedError`
    when it is not as it was written.

    ``snapshots`` is where snapshots are kept: a folder or a URL like ``s3://bucket/prefix``; the
    folder ``snapshots`` of a data folder when it is not given.
    """

    def __init__(
        self,
        data: str | Path | Backend,
        *,
        limits: Limits | None = None,
        snapshots: str | Path | Snapshots | None = None,
    ) -> None:
        self.limits = limits or Limits()
        if isinstance(data, str | Path):
            from stillhouse.vectors.places import open_backend

            self.backend: Backend = open_backend(data)
        else:
            self.backend = data
        folder = getattr(self.backend, "folder", None)
        if snapshots is None and folder is not None:
            snapshots = Path(folder) / "snapshots"
        self._snapshots = snapshots

    def __enter__(self) -> VectorStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back what is held. Calling it again does nothing."""
        self.backend.close()

    def health(self) -> Health:
        """Whether writes are acknowledged."""
        return self.backend.health()

    # ------------------------------------------------------------------------ indexes

    def create(
        self,
        name: str,
        dimension: int,
        metric: Metric = "cosine",
        metadata: Metadata | None = None,
    ) -> bool:
        """Make an index; False when there is the same already. Raises `VectorConflictError` when
        there is another of that name."""
        spec = checks.check_spec(IndexSpec(name, dimension, metric, metadata), self.limits)
        return self.backend.create(spec)

    def drop(self, name: str) -> None:
        """Remove an index with all its items."""
        self.backend.drop(self._name(name))

    def indexes(self) -> list[IndexInfo]:
        """Every index as it stands, by name."""
        found = []
        for name in self.backend.names():
            try:
                found.append(self.backend.describe(name))
            except VectorNotFoundError:  # dropped since
                continue
        return found

    def describe(self, name: str) -> IndexInfo:
        """An index as it stands."""
        return self.backend.describe(self._name(name))

    # -------------------------------------------------------------------------- items

    def add(self, name: str, items: Iterable[Item]) -> AddResult:
        """Insert or replace a batch, whole or not at all; durable when it returns."""
        spec = self.backend.spec(self._name(name))
        return self._add(name, checks.check_batch(items, spec, self.limits))

    def add_columns(
        self,
        name: str,
        ids: Sequence[str],
        vectors: Floats | Sequence[Sequence[float]],
        metadata: Sequence[Metadata | None] | None = None,
    ) -> AddResult:
        """The same from columns: ``vectors`` is an array of shape (n, dimension), or n lists."""
        spec = self.backend.spec(self._name(name))
        if isinstance(ids, str):
            raise VectorRequestError([("ids", "must be a list of strings")])
        lengths = {len(ids), len(vectors), len(ids if metadata is None else metadata)}
        if len(lengths) > 1:
            raise VectorRequestError([("items", "have columns of different lengths")])
        if isinstance(vectors, np.ndarray):
            vectors = checks.check_matrix(vectors, spec)
        return self._add(name, checks.check_columns(ids, vectors, metadata, spec, self.limits))

    def _add(self, name: str, batch: Batch) -> AddResult:
        statuses = self.backend.add(name, batch) if batch.ids else []
        return AddResult(
            results=[AddedItem(*one) for one in zip(batch.ids, statuses, strict=True)],
            inserted=statuses.count("inserted"),
            replaced=statuses.count("replaced"),
            unchanged=statuses.count("unchanged"),
        )

    def get(self, name: str, id_: str) -> Item:
        """An item. Raises `VectorNotFoundError` (``item_not_found``)."""
        # An id that no item can have is not there; a backend need not know what to do with it.
        sound = not checks.id_problem(id_, self.limits)
        found = self.backend.get(self._name(name), [id_] if sound else [])
        if not found.ids:
            raise item_not_found(name, id_)
        return Item(id_, found.vectors[0], checks.decoded(found.metadata[0]))

    @overload
    def delete(self, name: str, ids: Sequence[str]) -> DeleteResult: ...
    @overload
    def delete(self, name: str, *, filter: Metadata) -> DeleteResult: ...

    def delete(
        self, name: str, ids: Sequence[str] | None = None, *, filter: Metadata | None = None
    ) -> DeleteResult:
        """Delete by ids or by filter, all or nothing."""
        self._name(name)
        if (ids is None) == (filter is None):
            raise VectorRequestError([("ids", "give either ids or a filter")])
        if ids is None:
            parsed = parse_filter(filter, self.limits)
            return DeleteResult(deleted=self.backend.delete_matching(name, parsed))
        wanted = checks.check_ids(ids, self.limits)
        sound = [id_ for id_ in wanted if not checks.id_problem(id_, self.limits)]
        there = self.backend.delete(name, sound)
        deleted = {id_ for id_, was in zip(sound, there, strict=True) if was}
        return DeleteResult(
            deleted=len(deleted), missing=[id_ for id_ in wanted if id_ not in deleted]
        )

    def ids(self, name: str) -> list[str]:
        """The id set (SPEC V1) by code point: one consistent state, whatever has metadata."""
        return self.backend.ids(self._name(name))

    def count(self, name: str, filter: Metadata | None = None) -> int:
        """How many items there are, or match."""
        parsed = None if filter is None else parse_filter(filter, self.limits)
        return self.backend.count(self._name(name), parsed)

    # ----------------------------------------------------------------------- searching

    def search(
        self,
        name: str,
        vector: Floats | Sequence[float],
        k: int = 10,
        *,
        filter: Metadata | None = None,
        ef: int | None = None,
        include: Iterable[Include] = ("metadata",),
    ) -> list[Hit]:
        """The min(k, matches) nearest items, nearest first."""
        found = self.search_columns(name, vector, k, filter=filter, ef=ef, include=include)
        if len(found) != 1:
            raise VectorRequestError([("vector", "are several; search_many takes those")])
        return hits(found[0])

    def search_many(
        self,
        name: str,
        vectors: Floats | Sequence[Sequence[float]],
        k: int = 10,
        *,
        filter: Metadata | None = None,
        ef: int | None = None,
        include: Iterable[Include] = ("metadata",),
    ) -> list[list[Hit]]:
        """The same for several vectors, in their order, all of one consistent state."""
        return [
            hits(found)
            for found in self.search_columns(
                name, vectors, k, filter=filter, ef=ef, include=include
            )
        ]

    def search_columns(
        self,
        name: str,
        vectors: object,
        k: int,
        *,
        filter: object = None,
        ef: int | None = None,
        include: Iterable[Include] = (),
        field: str = "vector",
    ) -> list[Hits]:
        """The same by columns, for those who need speed: metadata stays JSON. ``field`` is what
        a refusal calls the vectors."""
        spec = self.backend.spec(self._name(name))
        limits = self.limits
        queries = checks.check_queries(vectors, spec, limits, field)
        k = checks.check_count(k, limits.k, "k")
        if ef is not None:
            ef = checks.check_count(ef, limits.ef, "ef")
        parsed: Filter | None = None if filter is None else parse_filter(filter, limits)
        asked = checks.check_include(include)
        if len(queries) > 1 or asked:
            checks.check_hits(queries, k, asked, limits)
        return self.backend.search(name, queries, k, parsed, ef, asked)

    # ------------------------------------------------------------------------- merging

    def merge(
        self,
        src: str,
        dest: str,
        *,
        clear_source: bool = False,
        on_conflict: OnConflict = "skip",
    ) -> MergeResult:
        """Bring the items of ``src`` into ``dest`` (SPEC V4). What is there already is skipped,
        so that it can be run again; with ``clear_source`` what dest took or already holds the
        same is deleted from the source. Interrupted anywhere, nothing is lost from both."""
        source = self._looked_up(self._name(src, "src"))
        if self._name(dest, "dest") == src:
            raise VectorRequestError([("dest", "is the source itself")], code="merge_into_itself")
        if on_conflict not in get_args(OnConflict):
            raise VectorRequestError([("on_conflict", "must be skip or replace")])
        target = self._looked_up(dest)
        refuse_unlike(source, target)
        return self.backend.merge(src, dest, clear_source=clear_source, on_conflict=on_conflict)

    def _looked_up(self, name: str) -> IndexSpec:
        """What an index of a merge is. Raises `VectorRegistryError` when that cannot be said."""
        try:
            return self.backend.spec(name)
        except (VectorNotFoundError, VectorBusyError):
            raise
        except (VectorError, OSError) as error:
            _log.exception("merge: looking up index %r failed; nothing is touched", name)
            raise registry_failed(name, error) from error

    # ---------------------------------------------------------- snapshots and envelopes

    def snapshot(self, name: str) -> SnapshotInfo:
        """Write a snapshot: one state of the index, whatever is written meanwhile. Raises
        `VectorFailedError` when the place refuses it: then there is none."""
        return self._kept().take(self.backend, self._name(name))

    def snapshots(self, name: str) -> list[SnapshotInfo]:
        """The snapshots of an index, oldest first, also when the index itself is gone."""
        return self._kept().list(self._name(name))

    def restore(
        self, name: str, snapshot: str, into: str | None = None, replace: bool = False
    ) -> int:
        """Make the index ``into`` (``name`` when it is not given) of a snapshot of ``name``, all
        or nothing; how many items it has. ``latest`` is the newest snapshot. Raises
        `VectorConflictError` (``index_exists``) unless ``replace``, `VectorNotFoundError`
        (``snapshot_not_found``), and `VectorDamagedError` (``envelope_damaged``) before anything
        is touched."""
        self._name(name)
        target = name if into is None else self._name(into, "into")
        return self._kept().restore(self.backend, name, snapshot, target, replace=replace)

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        """Remove a snapshot. Raises `VectorNotFoundError` (``snapshot_not_found``)."""
        self._kept().delete(self._name(name), snapshot)

    def export_file(self, name: str, path: str | Path) -> EnvelopeInfo:
        """Write an index to a file (docs/envelope.md), whole or not at all."""
        from stillhouse.vectors.envelope_files import write_envelope

        return write_envelope(self.backend, self._name(name), path)

    def import_file(self, path: str | Path, into: str, replace: bool = False) -> EnvelopeInfo:
        """Make an index of a file of either version, all or nothing. Raises as `restore`, or
        `VectorNotFoundError` (``file_not_found``)."""
        from stillhouse.vectors.envelope_files import read_envelope

        self._name(into, "into")
        return read_envelope(self.backend, path, into, self.limits, replace=replace)

    def _kept(self) -> Snapshots:
        """The snapshots, opened when they are first asked for."""
        if self._snapshots is None:
            raise VectorRequestError(
                [("snapshots", "have no place here; open the store with a folder or a URL")]
            )
        if isinstance(self._snapshots, str | Path):
            from stillhouse.vectors.snapshots import Snapshots

            self._snapshots = Snapshots(self._snapshots, limits=self.limits)
        return self._snapshots

    def _name(self, name: str, field: str = "name") -> str:
        return checks.check_name(name, self.limits, field)


def hits(found: Hits) -> list[Hit]:
    """What a query found, as rows."""
    count = len(found.ids)
    metadata: list[Any] = [UNSET] * count
    if found.metadata is not None:
        metadata = [checks.decoded(one) for one in found.metadata]
    vectors: list[Any] = [UNSET] * count if found.vectors is None else found.vectors.tolist()
    rows = zip(found.ids, found.scores.tolist(), metadata, vectors, strict=True)
    return [Hit(*row) for row in rows]
