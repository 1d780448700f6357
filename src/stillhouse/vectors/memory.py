"""A backend that keeps everything in memory and searches every vector: for tests, for small
throw-away indexes, and as the definition of what the other backends must answer.

One lock holds for everything, so each call sees and leaves one state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import NamedTuple

import numpy as np

from stillhouse.vectors.backend import Export
from stillhouse.vectors.checks import decoded
from stillhouse.vectors.distances import better_first, scores
from stillhouse.vectors.filters import Filter, matches
from stillhouse.vectors.refusals import (
    id_twice,
    index_exists,
    index_not_found,
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

_BATCH = 1_000


class _Kept(NamedTuple):
    vector: Floats
    metadata: bytes | None

    def same(self, other: _Kept | None) -> bool:
        return (
            other is not None
            and self.metadata == other.metadata
            and self.vector.tobytes() == other.vector.tobytes()
        )


class _Index:
    def __init__(self, spec: IndexSpec) -> None:
        self.spec = spec
        self.items: dict[str, _Kept] = {}


class MemoryBackend:
    """See the module."""

    in_process = True

    def __init__(self) -> None:
        self._lock = RLock()
        self._indexes: dict[str, _Index] = {}

    def _index(self, name: str) -> _Index:
        index = self._indexes.get(name)
        if index is None:
            raise index_not_found(name)
        return index

    def create(self, spec: IndexSpec) -> bool:
        with self._lock:
            there = self._indexes.get(spec.name)
            if there is None:
                self._indexes[spec.name] = _Index(spec)
                return True
            refuse_other(there.spec, spec)
            return False

    def drop(self, name: str) -> None:
        with self._lock:
            self._index(name)
            del self._indexes[name]

    def spec(self, name: str) -> IndexSpec:
        with self._lock:
            return self._index(name).spec

    def describe(self, name: str) -> IndexInfo:
        with self._lock:
            index = self._index(name)
            spec = index.spec
            return IndexInfo(
                name=name,
                dimension=spec.dimension,
                metric=spec.metric,
                metadata=spec.metadata,
                count=len(index.items),
                tail=len(index.items),
            )

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._indexes)

    def add(self, name: str, batch: Batch) -> list[Status]:
        with self._lock:
            index = self._index(name)
            refuse_batch(index.spec, batch)
            items = index.items
            statuses: list[Status] = []
            for id_, vector, metadata in zip(*batch, strict=True):
                new, old = _Kept(vector.copy(), metadata), items.get(id_)
                same = new.same(old)
                statuses.append("unchanged" if same else "replaced" if old else "inserted")
                items[id_] = new
            return statuses

    def get(self, name: str, ids: Sequence[str]) -> Batch:
        with self._lock:
            index = self._index(name)
            return _columns(index, [id_ for id_ in ids if id_ in index.items])

    def delete(self, name: str, ids: Sequence[str]) -> list[bool]:
        with self._lock:
            items = self._index(name).items
            return [items.pop(id_, None) is not None for id_ in ids]

    def delete_matching(self, name: str, filter_: Filter) -> int:
        with self._lock:
            index = self._index(name)
            doomed = _matching(index, filter_)
            for id_ in doomed:
                del index.items[id_]
            return len(doomed)

    def ids(self, name: str) -> list[str]:
        with self._lock:
            return sorted(self._index(name).items)

    def count(self, name: str, filter_: Filter | None) -> int:
        with self._lock:
            return len(_matching(self._index(name), filter_))

    def search(
        self,
        name: str,
        queries: Floats,
        k: int,
        filter_: Filter | None,
        ef: int | None,
        include: frozenset[Include],
    ) -> list[Hits]:
        with self._lock:
            index = self._index(name)
            refuse_dimension(index.spec, queries)
            found = _columns(index, _matching(index, filter_))
        metric = index.spec.metric
        answers = []
        for query in queries:
            near = scores(metric, query, found.vectors)
            order = better_first(metric, near)[:k]
            answers.append(
                Hits(
                    [found.ids[at] for at in order],
                    near[order],
                    [found.metadata[at] for at in order] if "metadata" in include else None,
                    found.vectors[order] if "vector" in include else None,
                )
            )
        return answers

    def merge(
        self, src: str, dest: str, *, clear_source: bool, on_conflict: OnConflict
    ) -> MergeResult:
        with self._lock:
            refuse_unlike(self._index(src).spec, self._index(dest).spec)
            source, target = self._index(src).items, self._index(dest).items
            merged = skipped = 0
            conflicts = []
            taken = []
            for id_ in sorted(source):
                there = target.get(id_)
                if there is None or (on_conflict == "replace" and not source[id_].same(there)):
                    target[id_] = source[id_]
                    merged += 1
                elif source[id_].same(there):
                    skipped += 1
                else:
                    conflicts.append(id_)
                    continue
                taken.append(id_)
            for id_ in taken if clear_source else ():
                del source[id_]
            return MergeResult(
                src=src,
                dest=dest,
                merged=merged,
                skipped=skipped,
                conflicts=conflicts,
                failed=[],
                cleared=len(taken) if clear_source else 0,
                remaining=len(source),
            )

    @contextmanager
    def export(self, name: str) -> Iterator[Export]:
        with self._lock:
            index = self._index(name)
            frozen = _Index(index.spec)
            frozen.items = dict(index.items)
        ids = sorted(frozen.items)
        batches = (_columns(frozen, ids[at : at + _BATCH]) for at in range(0, len(ids), _BATCH))
        yield Export(frozen.spec, len(ids), batches)

    def load(self, spec: IndexSpec, batches: Iterable[Batch], *, replace: bool) -> int:
        new = _Index(spec)
        for batch in batches:
            refuse_dimension(spec, batch.vectors)
            for id_, vector, metadata in zip(*batch, strict=True):
                if id_ in new.items:
                    raise id_twice(id_)
                new.items[id_] = _Kept(vector.copy(), metadata)
        with self._lock:
            if spec.name in self._indexes and not replace:
                raise index_exists(spec.name)
            self._indexes[spec.name] = new
        return len(new.items)

    def health(self) -> Health:
        return Health(True)

    def close(self) -> None:
        pass


def _matching(index: _Index, filter_: Filter | None) -> list[str]:
    ids = sorted(index.items)
    if filter_ is None:
        return ids
    return [id_ for id_ in ids if matches(filter_, decoded(index.items[id_].metadata))]


def _columns(index: _Index, ids: list[str]) -> Batch:
    kept = [index.items[id_] for id_ in ids]
    vectors = np.array([one.vector for one in kept], np.float32)
    return Batch(
        ids, vectors.reshape(len(ids), index.spec.dimension), [one.metadata for one in kept]
    )
