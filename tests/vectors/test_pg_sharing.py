"""Those who share a PostgreSQL: what waits for whom, and what nobody sees of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import VectorBusyError
from stillhouse.vectors.filters import OneOf
from stillhouse.vectors.values import Batch, IndexSpec

psycopg = pytest.importorskip("psycopg", reason="psycopg (extra pgvector) is not installed")

from stillhouse.vectors.pg import PgBackend  # noqa: E402
from stillhouse.vectors.pg_pool import PgOptions  # noqa: E402
from tests.vectors.postgres import wait_for_lock  # noqa: E402

Make = Callable[..., PgBackend]
_HELD = "SELECT FROM stillhouse.indexes WHERE name = 'docs' FOR UPDATE"
_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'items%' ORDER BY 1"


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


# --------------------------------------------------------------------- who waits for whom


def test_readers_go_on_however_many_writers_wait(make: Make, url: str) -> None:
    """More writers than there are connections wait for one index: everything can be read, and
    when it is free each of them has its turn."""
    backend = make()
    _two(backend)
    with _held(url, 13) as (other, pool):
        waiting = [pool.submit(backend.add, "docs", _batch(f"w{at:02}")) for at in range(12)]
        try:
            wait_for_lock(other, 6)
            time.sleep(0.2)  # those who could still take a connection do
            query = np.ones((1, 3), np.float32)
            for name in ("docs", "src"):
                assert pool.submit(backend.ids, name).result(5) == [name]
                search = pool.submit(backend.search, name, query, 1, None, None, frozenset())
                assert search.result(5)[0].ids == [name]
            assert not any(one.done() for one in waiting)
        finally:
            other.rollback()
        assert [one.result(30) for one in waiting] == [["inserted"]] * 12


def _busy(work: Future[object]) -> str:
    with pytest.raises(VectorBusyError) as told:
        work.result(10)
    return str(told.value)


def test_a_writer_that_waits_too_long_is_told_so(make: Make, url: str) -> None:
    """Somebody holds an index for longer than one waits: every write ends with a
    `VectorBusyError`, changes nothing, and works once the index is free."""
    backend = make(wait_seconds=0.3)
    _two(backend)
    writes = _writes(backend)
    writes.append(lambda: backend.load(IndexSpec("docs", 3), [_batch("x")], replace=True))
    with _held(url, 1) as (other, pool):
        try:
            for write in writes:
                assert "waited too long for another writer" in _busy(pool.submit(write))
        finally:
            other.rollback()
    assert (backend.ids("docs"), backend.ids("src")) == (["docs"], ["src"])
    for write in writes:
        write()
    assert backend.ids("docs") == ["x"]


def test_writers_wait_for_their_share_of_the_connections_only_so_long(make: Make, url: str) -> None:
    """A share that is used up by one who waits is busy for the next writer, and for no reader."""
    backend = make(connections=2, writers=5)
    impatient = PgOptions(connections=2, writers=5, wait_seconds=0.3)
    _two(backend)
    with _held(url, 1) as (other, pool):
        first = pool.submit(backend.add, "docs", _batch("new"))
        try:
            wait_for_lock(other)
            backend._pool.options = impatient
            with pytest.raises(VectorBusyError, match="all 1 connections for writing are in use"):
                backend.add("src", _batch("new"))
            assert backend.ids("src") == ["src"]
        finally:
            other.rollback()
        assert first.result(30) == ["inserted"]


@pytest.mark.parametrize(
    ("given", "expected"), [("", "2s"), ("&options=-c%20lock_timeout%3D7s", "7s")]
)
def test_how_long_a_lock_is_waited_for_can_be_set_in_the_database(
    url: str, given: str, expected: str
) -> None:
    """A ``lock_timeout`` of the URL, the user or the database stays as it is."""
    backend = PgBackend(url + given, options=PgOptions(wait_seconds=2.0))
    try:
        with backend._pool.connection() as connection:
            assert connection.execute("SHOW lock_timeout").fetchone() == (expected,)
    finally:
        backend.close()


# ------------------------------------------------------------------------------- opening


def test_an_extension_that_another_program_makes_meanwhile_is_taken(url: str) -> None:
    """Whoever makes pgvector at the same moment, without our lock, has made it for us too."""
    with ThreadPoolExecutor(1) as pool, psycopg.connect(url) as other:
        other.execute("CREATE EXTENSION vector SCHEMA public")
        opening = pool.submit(PgBackend, url)
        wait_for_lock(other)
        other.commit()
        opening.result(30).close()


def test_schemas_of_an_empty_database_are_opened_at_once(postgres: Any) -> None:
    """The extension is the database's and not a schema's: it is made once, and nobody fails."""
    for _ in range(4):
        url = str(postgres.database())
        start = Barrier(3)

        def opened(number: int, url: str = url, start: Barrier = start) -> bool:
            start.wait(30)
            backend = PgBackend(f"{url}&schema=s{number}")
            backend.close()
            return True

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(opened, range(3))) == [True] * 3


# ------------------------------------------------------------------------------ sweeping


def test_a_table_that_cannot_be_removed_keeps_no_other(make: Make, url: str) -> None:
    """Of four dropped indexes one's table is gone already and one's has a view on it: the others
    are removed, and the one with the view when the view is gone."""
    backend = make()
    for name in "abcd":
        backend.create(IndexSpec(name, 3))
        backend.add(name, _batch("x"))
    with backend.export("a"), backend.export("b"):
        for name in "ab":
            backend.drop(name)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("DROP TABLE stillhouse.items_1")
        other.execute("CREATE VIEW mine AS SELECT id FROM stillhouse.items_2")
        for name in "cd":
            backend.drop(name)
        assert other.execute(_TABLES).fetchall() == [("items_2",)]
        assert other.execute("SELECT number FROM stillhouse.dropped").fetchall() == [(2,)]
        other.execute("DROP VIEW mine")
        make()
        assert other.execute(_TABLES).fetchall() == []
        assert other.execute("SELECT number FROM stillhouse.dropped").fetchall() == []
