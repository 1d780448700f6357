"""Which collection of Milvus is which index, and who may use it when.

Milvus allows few names for collections, so an index has one of a made-up name, and a collection
``stillhouse_registry`` leads from names to them. Giving an index another collection is one
change of one row. The locks are of this process: one process writes (see docs/backends.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock
from typing import Any, Final, NamedTuple, cast

import msgspec

from stillhouse.errors import VectorFailedError, VectorLimitError
from stillhouse.vectors.milvus_calls import MOST_DIMENSIONS, TEXT, Calls, key
from stillhouse.vectors.refusals import index_not_found
from stillhouse.vectors.values import IndexSpec, Metric

REGISTRY: Final = "stillhouse_registry"
_VERSION: Final = "1"
_FIELDS: Final = ("name", "collection", "dimension", "metric", "metadata", "version")
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


class Index(NamedTuple):
    """An index and its collection."""

    spec: IndexSpec
    collection: str


class Registry:
    """The indexes by name. Not a cache: every look-up asks Milvus."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._loaded: set[str] = set()
        if calls.call("has_collection", REGISTRY):
            # Whoever made it may have been killed before he made its index.
            calls.make_index(REGISTRY, "l2")
        else:
            calls.make(REGISTRY, 2, "l2", _FIELDS)
        self._load(REGISTRY)

    def find(self, name: str) -> Index:
        """Raises `VectorNotFoundError`."""
        found = self.look(name)
        if found is None:
            raise index_not_found(name)
        return found

    def look(self, name: str) -> Index | None:
        """The same; None when there is none."""
        pk = key(name)
        row = self._calls.rows(REGISTRY, [pk], _FIELDS).get(pk)
        if row is None:
            return None
        if row["version"] != _VERSION:
            raise VectorFailedError(
                f"the index {name!r} was written in version {row['version']}",
                way_out="Use a newer Stillhouse.",
            )
        metadata = row["metadata"]
        spec = IndexSpec(
            name,
            int(row["dimension"]),
            cast(Metric, row["metric"]),
            msgspec.json.decode(metadata, type=dict[str, Any]) if metadata else None,
        )
        self._load(row["collection"])
        return Index(spec, row["collection"])

    def names(self) -> list[str]:
        """Every index, by name."""
        return sorted(
            row["name"] for rows in self._calls.scan(REGISTRY, ["name"], 1_000) for row in rows
        )

    def new_collection(self, spec: IndexSpec) -> Index:
        """A collection that no name leads to yet. Raises `VectorLimitError`."""
        if spec.dimension > MOST_DIMENSIONS:
            raise VectorLimitError(
                [("dimension", f"is {spec.dimension:,}; Milvus has at most {MOST_DIMENSIONS:,}")]
            )
        if len(_metadata(spec)) > TEXT:
            raise VectorLimitError([("metadata", f"is more than the {TEXT:,} bytes of Milvus")])
        collection = f"stillhouse_{secrets.token_hex(16)}"
        self._calls.make(collection, spec.dimension, spec.metric, ("id", "metadata"))
        self._load(collection)
        return Index(spec, collection)

    def enter(self, index: Index) -> None:
        """Let a name lead to a collection, whatever it led to before."""
        spec = index.spec
        row = {
            "pk": key(spec.name),
            "name": spec.name,
            "collection": index.collection,
            "dimension": str(spec.dimension),
            "metric": spec.metric,
            "metadata": _metadata(spec),
            "version": _VERSION,
            "vector": [0.0, 0.0],
        }
        self._calls.put(REGISTRY, [row])

    def forget(self, name: str) -> None:
        """Let a name lead nowhere."""
        self._calls.remove(REGISTRY, [key(name)])

    def drop_collection(self, index: Index) -> None:
        """Remove a collection and all that is in it."""
        self._calls.call("drop_collection", index.collection)
        self._loaded.discard(index.collection)

    def _load(self, collection: str) -> None:
        if collection not in self._loaded:
            self._calls.call("load_collection", collection)
            self._loaded.add(collection)


def _metadata(spec: IndexSpec) -> str:
    return "" if spec.metadata is None else _CANONICAL.encode(spec.metadata).decode()


# ----------------------------------------------------------------------------- locks


class Locks:
    """A lock for each name: many read, or one writes. Who waits to write goes first. A lock is kept
    only as long as somebody has it or waits for it: names come from users."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._locks: dict[str, _ReadWrite] = {}

    @contextmanager
    def _of(self, name: str) -> Iterator[_ReadWrite]:
        with self._lock:
            lock = self._locks.setdefault(name, _ReadWrite())
            lock.users += 1
        try:
            yield lock
        finally:
            with self._lock:
                lock.users -= 1
                if not lock.users:
                    del self._locks[name]

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Nobody writes meanwhile."""
        with self._of(name) as lock, lock.reading():
            yield

    @contextmanager
    def writing(self, *names: str) -> Iterator[None]:
        """Nobody else reads or writes any of them meanwhile; taken in sorted order."""
        first, *rest = sorted(set(names))
        with self._of(first) as lock, lock.writing():
            if rest:
                with self.writing(*rest):
                    yield
            else:
                yield


class _ReadWrite:
    def __init__(self) -> None:
        self.users = 0
        """Those who have it or wait for it, counted by `Locks`."""
        self._changed = Condition()
        self._readers = 0
        self._writers = 0
        """Those who write or wait to."""
        self._writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._writers)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        mine = False
        with self._changed:
            self._writers += 1
        try:
            # Whoever is interrupted while he waits must not keep the readers out for good.
            with self._changed:
                self._changed.wait_for(lambda: not self._writing and not self._readers)
                self._writing = mine = True
            yield
        finally:
            with self._changed:
                self._writers -= 1
                if mine:
                    self._writing = False
                self._changed.notify_all()
