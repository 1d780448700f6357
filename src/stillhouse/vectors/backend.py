"""What keeps vectors, behind one interface: a folder of this machine, a database, memory.

A backend is given what `stillhouse.vectors.checks` has checked and speaks in columns. It raises
the errors of `stillhouse.errors.VectorError`'s tree and no others that a user could cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from stillhouse.vectors.filters import Filter
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


class Export(NamedTuple):
    """One consistent state of an index: ``batches`` give each item once, by ascending id (code
    points). ``total`` is how many there are."""

    spec: IndexSpec
    total: int
    batches: Iterator[Batch]


class Backend(Protocol):
    """Named indexes of vectors. Every method may be called from any thread at any time.

    An index that is not there is a `VectorNotFoundError` with code ``index_not_found``. Vectors of
    another dimension than the index has, which was made anew since somebody looked at it, are a
    `VectorConflictError` (``dimension_mismatch``). What a method returns is durable as far as the
    backend promises; what it raises left nothing behind.

    A backend whose searches only compute, and never wait for a network, says so by ``in_process =
    True``: the service may then run a short one where a thread would cost more.
    """

    def create(self, spec: IndexSpec) -> bool:
        """Make an index; False when there is the same already. Raises `VectorConflictError`
        (``index_exists``) when its dimension, metric or metadata is another."""
        ...

    def drop(self, name: str) -> None:
        """Remove an index with all its items."""
        ...

    def spec(self, name: str) -> IndexSpec:
        """What the index was made with. Cheap: it is called before every other method."""
        ...

    def describe(self, name: str) -> IndexInfo:
        """The index as it stands."""
        ...

    def names(self) -> list[str]:
        """Every index, by name."""
        ...

    def add(self, name: str, batch: Batch) -> list[Status]:
        """Insert or replace, all or nothing. An item that is there with the same vector (bit for
        bit) and metadata is ``unchanged``."""
        ...

    def get(self, name: str, ids: Sequence[str]) -> Batch:
        """Those of the items that are there, in the order asked for."""
        ...

    def delete(self, name: str, ids: Sequence[str]) -> list[bool]:
        """Delete items; whether each was there. All or nothing."""
        ...

    def delete_matching(self, name: str, filter_: Filter) -> int:
        """Delete every item that a filter matches; how many there were. All or nothing."""
        ...

    def ids(self, name: str) -> list[str]:
        """Every id by code point, of one consistent state."""
        ...

    def count(self, name: str, filter_: Filter | None) -> int:
        """How many items there are, or match."""
        ...

    def search(
        self,
        name: str,
        queries: Floats,
        k: int,
        filter_: Filter | None,
        ef: int | None,
        include: frozenset[Include],
    ) -> list[Hits]:
        """For each row of ``queries`` its nearest items, min(k, matches) of them, of one
        consistent state. ``ef`` widens an approximate search; None leaves it to the backend."""
        ...

    def merge(
        self, src: str, dest: str, *, clear_source: bool, on_conflict: OnConflict
    ) -> MergeResult:
        """Bring the items of ``src`` into ``dest`` (SPEC V4). The facade has checked that both
        are there, differ, and agree in dimension and metric; one that was made anew since, with
        others, is a `VectorConflictError` (``dimension_mismatch``, ``metric_mismatch``)."""
        ...

    def export(self, name: str) -> AbstractContextManager[Export]:
        """One state of an index, held while the context lasts, whatever others write."""
        ...

    def load(self, spec: IndexSpec, batches: Iterable[Batch], *, replace: bool) -> int:
        """Make an index of exactly these items, all or nothing; how many there are. With
        ``replace`` an index of that name is given up in the same step, whatever it was; without,
        it is a `VectorConflictError`. An id that comes twice is a `VectorRequestError`. Whatever
        ``batches`` raises ends the load and goes on."""
        ...

    def health(self) -> Health:
        """Whether writes are acknowledged."""
        ...

    def close(self) -> None:
        """Give back what is held. Calling it again does nothing."""
        ...
