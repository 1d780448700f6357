"""What the vector store means, told once more: dictionaries, float64, and no other line of ours.

The tests compare backends with it. Metadata is JSON text with sorted keys, so that 1, 1.0 and true
are three things to `add`; filters are read from their JSON form, not through `filters`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.vectors.values import Hit, Item, MergeResult, Metric

FilterJson = dict[str, Any]


class Held(NamedTuple):
    """An item: its float32 vector's bytes, its metadata as text."""

    vector: bytes
    metadata: str | None


class Index:
    """An index as it should be."""

    def __init__(self, dimension: int, metric: Metric, metadata: Any = None) -> None:
        self.made_with = (dimension, metric, held(None, metadata).metadata)
        self.metric = metric
        self.items: dict[str, Held] = {}

    def add(self, items: Iterable[Item]) -> list[str]:
        """Insert or replace; what became of each."""
        told = []
        for item in items:
            new, old = held(item.vector, item.metadata), self.items.get(item.id)
            told.append("inserted" if old is None else "unchanged" if old == new else "replaced")
            self.items[item.id] = new
        return told

    def delete(self, ids: Iterable[str]) -> list[str]:
        """Delete; those that were not there."""
        return [id_ for id_ in ids if self.items.pop(id_, None) is None]

    def ids(self, filter_: FilterJson | None = None) -> list[str]:
        """The ids (of those that match), by code point."""
        return sorted(
            id_
            for id_, one in self.items.items()
            if filter_ is None or holds(filter_, plain(one.metadata))
        )

    def scores(self, query: object, ids: list[str]) -> npt.NDArray[np.float64]:
        """The score of each of the ids, in float64."""
        wanted = np.asarray(query, np.float32).astype(np.float64)
        rows = np.array([np.frombuffer(self.items[id_].vector, np.float32) for id_ in ids])
        rows = rows.reshape(len(ids), len(wanted)).astype(np.float64)
        if self.metric == "l2":
            apart: npt.NDArray[np.float64] = np.sqrt(((rows - wanted) ** 2).sum(axis=1))
            return apart
        products: npt.NDArray[np.float64] = rows @ wanted
        if self.metric == "cosine":
            products = products / np.sqrt((rows**2).sum(axis=1) * (wanted**2).sum())
        return products

    def merge_into(self, dest: Index, clear_source: bool, on_conflict: str) -> dict[str, Any]:
        """SPEC V4 item by item."""
        told: dict[str, Any] = {"merged": 0, "skipped": 0, "conflicts": [], "cleared": 0}
        for id_ in sorted(self.items):
            ours, theirs = self.items[id_], dest.items.get(id_)
            if theirs is not None and theirs != ours and on_conflict == "skip":
                told["conflicts"].append(id_)
                continue
            told["skipped" if theirs == ours else "merged"] += 1
            dest.items[id_] = ours
            if clear_source:
                del self.items[id_]
                told["cleared"] += 1
        return {**told, "failed": [], "remaining": len(self.items)}


def held(vector: object, metadata: Any) -> Held:
    """An item as it is kept."""
    data = b"" if vector is None else np.asarray(vector, np.float32).tobytes()
    return Held(data, None if metadata is None else json.dumps(metadata, sort_keys=True))


@lru_cache(maxsize=10_000)
def plain(metadata: str | None) -> Any:
    """Metadata as an object again; not to be changed."""
    return None if metadata is None else json.loads(metadata)


def told_of(result: MergeResult) -> dict[str, Any]:
    """A merge's result without the names."""
    return {
        field: getattr(result, field)
        for field in ("merged", "skipped", "conflicts", "cleared", "failed", "remaining")
    }


def check_hits(
    index: Index, query: object, k: int, filter_: FilterJson | None, found: list[Hit]
) -> None:
    """Assert that these are the exact nearest: as many as there should be, each once, each with
    its score, in order, and none nearer left out. Equal scores may come in any order."""
    matching = index.ids(filter_)
    ids = [hit.id for hit in found]
    assert len(ids) == min(k, len(matching))
    assert len(set(ids)) == len(ids)
    assert set(ids) <= set(matching)
    sign = 1.0 if index.metric == "l2" else -1.0
    keys = dict(zip(matching, sign * index.scores(query, matching), strict=True))
    for hit in found:
        assert close(sign * hit.score, keys[hit.id])
    got = [hit.score * sign for hit in found]
    assert got == sorted(got)
    for best, hit in zip(sorted(keys.values()), found, strict=False):
        assert close(keys[hit.id], best)


def close(left: float, right: float) -> bool:
    """Whether two scores differ by no more than float32 sums may."""
    return abs(left - right) <= 2e-5 * max(1.0, abs(left), abs(right))


# -------------------------------------------------------------------------------- filters


def holds(filter_: FilterJson, metadata: Any) -> bool:
    """Whether a filter's JSON form holds for an item's metadata."""
    return all(_entry(key, value, metadata) for key, value in filter_.items())


def _entry(key: str, value: Any, metadata: Any) -> bool:
    if key == "$and":
        return all(holds(one, metadata) for one in value)
    if key == "$or":
        return any(holds(one, metadata) for one in value)
    if key == "$not":
        return not holds(value, metadata)
    there, found = _find(keys_of(key), metadata)
    if not isinstance(value, dict):
        value = {"$eq": value}
    return all(_OPERATORS[operator](there, found, wanted) for operator, wanted in value.items())


def keys_of(path: str) -> list[str]:
    """The keys of a path. A backslash makes a dot, a backslash or a leading dollar plain."""
    marked = path.replace("\\\\", "\x01").replace("\\.", "\x02")
    if marked.startswith("\\$"):
        marked = marked[1:]
    return [part.replace("\x02", ".").replace("\x01", "\\") for part in marked.split(".")]


def _find(keys: list[str], value: Any) -> tuple[bool, Any]:
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    return True, value


def _any(test: Callable[[Any, Any], bool]) -> Callable[[bool, Any, Any], bool]:
    def operator(there: bool, found: Any, wanted: Any) -> bool:
        values = found if isinstance(found, list) else [found]
        return there and any(test(value, wanted) for value in values)

    return operator


def _equal(value: Any, wanted: Any) -> bool:
    return _kind(value) == _kind(wanted) != "other" and value == wanted


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return type(value).__name__
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _range(test: Callable[[Any, Any], bool]) -> Callable[[bool, Any, Any], bool]:
    return _any(lambda value, wanted: _kind(value) == _kind(wanted) and test(value, wanted))


_equals = _any(_equal)


def _among(there: bool, found: Any, wanted: Any) -> bool:
    return any(_equals(there, found, one) for one in wanted)


_OPERATORS: dict[str, Callable[[bool, Any, Any], bool]] = {
    "$eq": _equals,
    "$ne": lambda there, found, wanted: not _equals(there, found, wanted),
    "$in": _among,
    "$nin": lambda there, found, wanted: not _among(there, found, wanted),
    "$exists": lambda there, found, wanted: there is wanted,
    "$gt": _range(lambda value, wanted: value > wanted),
    "$gte": _range(lambda value, wanted: value >= wanted),
    "$lt": _range(lambda value, wanted: value < wanted),
    "$lte": _range(lambda value, wanted: value <= wanted),
}
