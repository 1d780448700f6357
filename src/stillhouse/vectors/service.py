"""What a program may ask of vector indexes, wherever they are: in a folder of this machine
(`stillhouse.vectors.VectorStore`) or behind a server (`stillhouse.vectors.Client`).

Both give the same answers and raise the same errors, so code that takes a `VectorService` does
not care which it has. Beyond this a store exports and imports, and a client adds more than one
batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self, overload

from stillhouse.vectors.values import (
    AddResult,
    DeleteResult,
    Floats,
    Health,
    Hit,
    Include,
    IndexInfo,
    Item,
    MergeResult,
    Metadata,
    Metric,
    OnConflict,
    SnapshotInfo,
)


class VectorService(Protocol):
    """Named indexes of vectors. Every method may be called from any thread at any time; what is
    off raises a `stillhouse.errors.VectorError` and leaves nothing half-done."""

    def create(
        self,
        name: str,
        dimension: int,
        metric: Metric = "cosine",
        metadata: Metadata | None = None,
    ) -> bool:
        """Make an index; False when there is the same already. Raises `VectorConflictError` when
        there is another of that name."""
        ...

    def drop(self, name: str) -> None:
        """Remove an index with all its items."""
        ...

    def indexes(self) -> list[IndexInfo]:
        """Every index as it stands, by name."""
        ...

    def describe(self, name: str) -> IndexInfo:
        """An index as it stands."""
        ...

    def add(self, name: str, items: Iterable[Item]) -> AddResult:
        """Insert or replace a batch, whole or not at all; durable when it returns."""
        ...

    def add_columns(
        self,
        name: str,
        ids: Sequence[str],
        vectors: Floats | Sequence[Sequence[float]],
        metadata: Sequence[Metadata | None] | None = None,
    ) -> AddResult:
        """The same from columns: ``vectors`` is an array of shape (n, dimension), or n lists."""
        ...

    def get(self, name: str, id_: str) -> Item:
        """An item, its vector as float32. Raises `VectorNotFoundError` (``item_not_found``)."""
        ...

    @overload
    def delete(self, name: str, ids: Sequence[str]) -> DeleteResult: ...
    @overload
    def delete(self, name: str, *, filter: Metadata) -> DeleteResult: ...

    def ids(self, name: str) -> list[str]:
        """The id set (SPEC V1) by code point, of one consistent state."""
        ...

    def count(self, name: str, filter: Metadata | None = None) -> int:
        """How many items there are, or match."""
        ...

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
        ...

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
        ...

    def merge(
        self,
        src: str,
        dest: str,
        *,
        clear_source: bool = False,
        on_conflict: OnConflict = "skip",
    ) -> MergeResult:
        """Bring the items of ``src`` into ``dest`` (SPEC V4)."""
        ...

    def snapshot(self, name: str) -> SnapshotInfo:
        """Write an index down as it stands now, to where snapshots are kept."""
        ...

    def snapshots(self, name: str) -> list[SnapshotInfo]:
        """The snapshots of an index, oldest first."""
        ...

    def restore(
        self, name: str, snapshot: str, into: str | None = None, replace: bool = False
    ) -> int:
        """Make an index (``into``, or the one of that name) of a snapshot of ``name`` (``latest``:
        of the newest); how many items it has. One that is there is only given up with
        ``replace``."""
        ...

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        """Remove a snapshot. Raises `VectorNotFoundError` (``snapshot_not_found``)."""
        ...

    def health(self) -> Health:
        """Whether writes are acknowledged."""
        ...

    def close(self) -> None:
        """Give back what is held. Calling it again does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
