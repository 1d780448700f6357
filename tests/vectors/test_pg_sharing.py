"""Those who share a PostgreSQL: what waits for whom, and what nobody sees of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import numpy as np
import pytest

from stillhouse.vectors.filters import OneOf
from stillhouse.vectors.values import Batch, IndexSpec

psycopg = pytest.importorskip("psycopg", reason="psycopg (extra pgvector) is not installed")

from stillhouse.vectors.pg import PgBackend  # noqa: E402
from stillhouse.vectors.pg_pool import PgOptions  # noqa: E402
from tests.vectors.postgres import wait_for_lock  # noqa: E402

Make = Callable[..., PgBackend]
_HELD = "SELECT FROM stillhouse.indexes WHERE name = 'docs' FOR UPDATE"
_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'items%' ORDER BY 1"


@pytest.fixture
def url(postgres: Any) -> str:
    """An empty database."""
    return str(postgres.database())


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """Opens backends on that database and closes them."""
    opened: list[PgBackend] = []

    def open_one(**options: Any) -> PgBackend:
        opened.append(PgBackend(url, options=PgOptions(**options)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def _batch(*ids: str) -> Batch:
    return Batch(list(ids), np.ones((len(ids), 3), np.float32), [None] * len(ids))


def _two(backend: PgBackend) -> None:
    """The indexes ``docs`` and ``src``, each with an item of its name."""
    for name in ("docs", "src"):
        backend.create(IndexSpec(name, 3))
        backend.add(name, _batch(name))


def _writes(backend: PgBackend) -> list[Callable[[], object]]:
    """Every way to write to ``docs`` that needs it to be there."""
    return [
        lambda: backend.add("docs", _batch("new")),
        lambda: backend.delete("docs", ["none"]),
        lambda: backend.delete_matching("docs", OneOf(("x",), (1,))),
        lambda: backend.merge("src", "docs", clear_source=False, on_conflict="skip"),
        lambda: backend.merge("docs", "src", clear_source=False, on_conflict="skip"),
    ]


@contextmanager
def _held(url: str, threads: int) -> Iterator[tuple[Any, ThreadPoolExecutor]]:
    """The index ``docs`` is held by a connection until it ends its transaction; and threads, whose
    work ends before this does."""
    with ThreadPoolExecutor(threads) as pool, psycopg.connect(url) as other:
        other.execute(_HELD)
        yield other, pool


# ------------------------------------------------------------------ replaced meanwhile


@pytest.mark.parametrize("kind", range(5))
def test_who_waits_for_an_index_that_is_replaced_writes_to_the_new_one(
    make: Make, url: str, kind: int
) -> None:
    """The index is there at every moment, so nobody is told that it is not: whoever waited while
    it was replaced goes on with what the name leads to now."""
    backend = make()
    _two(backend)
    with _held(url, 2) as (other, pool):
        replaced = pool.submit(backend.load, IndexSpec("docs", 3), [_batch("fresh")], replace=True)
        wait_for_lock(other)
        written = pool.submit(_writes(backend)[kind])
        wait_for_lock(other, 2)
        other.rollback()
        assert replaced.result(30) == 1
        written.result(30)
    assert {"fresh"} <= set(backend.ids("docs")) <= {"fresh", "new", "src"}


def test_writers_find_an_index_that_is_replaced_all_the_time(make: Make) -> None:
    """Adds, deletes and merges through two stores while a third replaces the index again and
    again: none fails, and what the last one left is whole."""
    backend, other = make(), make()
    _two(backend)
    over = Event()

    def writing(write: Callable[[], object]) -> int:
        turns = 0
        while not over.is_set():
            write()
            turns += 1
        return turns

    works = [*_writes(backend), *_writes(other)[:2]]
    with ThreadPoolExecutor(len(works)) as pool:
        writers = [pool.submit(writing, work) for work in works]
        try:
            for _ in range(20):
                backend.load(IndexSpec("docs", 3), [_batch("fresh")], replace=True)
        finally:
            over.set()
        assert all(one.result(60) for one in writers)
    assert "fresh" in backend.ids("docs")


def test_a_replaced_index_is_what_it_was_replaced_by(make: Make) -> None:
    """Dimension, metric and metadata are the new ones, also where there were some before."""
    backend = make()
    backend.create(IndexSpec("docs", 3, "l2", {"by": "us"}))
    for spec in (IndexSpec("docs", 3, "ip"), IndexSpec("docs", 3, "cosine", {"by": "them"})):
        assert backend.load(spec, [_batch("a", "b")], replace=True) == 2
        assert backend.spec("docs") == spec
        assert backend.names() == ["docs"]
