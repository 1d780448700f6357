"""PostgreSQL answers as memory does, whatever happens at once and to the connection."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import (
    UsageError,
    VectorBusyError,
    VectorConflictError,
    VectorFailedError,
    VectorLimitError,
    VectorNotFoundError,
)
from stillhouse.vectors import Limits, VectorStore
from stillhouse.vectors.filters import OneOf, parse_filter
from stillhouse.vectors.memory import MemoryBackend
from stillhouse.vectors.places import open_backend
from stillhouse.vectors.values import Batch, IndexSpec, Item, Metric
from tests.vectors.alike import compare, same_items

psycopg = pytest.importorskip("psycopg", reason="psycopg (extra pgvector) is not installed")

from psycopg import sql  # noqa: E402

from stillhouse.vectors import pg  # noqa: E402
from stillhouse.vectors.pg import PgBackend  # noqa: E402
from stillhouse.vectors.pg_filters import condition  # noqa: E402
from tests.vectors.postgres import wait_for_lock  # noqa: E402

LOGIN = "u:s3cret" + "@"
Make = Callable[..., PgBackend]


def _batch(ids: list[str], dimension: int = 3, fill: float = 1.0) -> Batch:
    vectors = np.full((len(ids), dimension), fill, np.float32)
    return Batch(ids, vectors, [None] * len(ids))


def _random(count: int, dimension: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def _ask(url: str, query: bytes) -> list[tuple[Any, ...]]:
    """Look, or reach, behind the store's back."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query)
        return list(cursor.fetchall()) if cursor.description else []


# ---------------------------------------------------------------------------- answers


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_the_same_calls_get_the_same_answers(make: Make, metric: Metric) -> None:
    """A long seeded series of all calls, compared with memory after each."""
    compare(make(), seed=11, steps=250, metric=metric)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_the_same_calls_get_the_same_answers_at_length(make: Make, seed: int) -> None:
    """The same with many more series."""
    compare(make(), seed=seed, steps=1_000, metric=("cosine", "ip", "l2")[seed % 3])


def test_the_database_comparing_all_answers_the_same(make: Make) -> None:
    """The second way of searching: every match compared by the database."""
    compare(make(fetched_matches=0), seed=12, steps=250, metric="l2")


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_hnsw_finds_what_is_near_at_every_selectivity(make: Make, metric: Metric) -> None:
    """The third way, in a table large enough to be sampled: recall of at least 0.95 and exactly
    min(k, matches) hits, from all items to a single one."""
    backend = make(fetched_matches=0, exact_matches=0)
    memory = MemoryBackend()
    count = 1_200
    vectors = _random(count, 200)
    items = [
        Item(f"{at:05}", vectors[at], {"tenth": at % 10, "one": at, "hundredth": [at % 100]})
        for at in range(count)
    ]
    stores = [VectorStore(backend), VectorStore(memory)]
    for store in stores:
        store.create("docs", 200, metric)
        store.add("docs", items)
    asked: list[tuple[Any, int]] = [(None, 10), ({"tenth": 3}, 10), ({"hundredth": 7}, 10)]
    asked += [({"one": 77}, 10), ({"one": {"$lt": 600}}, 400), ({"no": 1}, 5), (None, 1_199)]
    for filter_, k in asked:
        found, right = (
            store.search_many("docs", _random(5, 200, 2), k, filter=filter_) for store in stores
        )
        near = total = 0
        for ours, theirs in zip(found, right, strict=True):
            assert len(ours) == len(theirs) == len({hit.id for hit in ours})
            scores = [hit.score for hit in ours]
            assert scores == sorted(scores, reverse=metric != "l2")
            near += len({hit.id for hit in ours} & {hit.id for hit in theirs})
            total += len(theirs)
        assert near >= 0.95 * total, (filter_, k)


def test_the_hnsw_index_is_what_a_wide_search_uses(make: Make, url: str) -> None:
    """The planner does take the index that was made for it."""
    store = VectorStore(make(fetched_matches=0, exact_matches=0))
    store.create("docs", 8)
    store.add_columns("docs", [str(at) for at in range(2_000)], _random(2_000, 8))
    store.search("docs", _random(1, 8)[0], 5)
    store.close()
    used = b"SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'items_1_vector_idx'"
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(used).fetchone() != (
            1,
        ):  # told a little after the connection ends
            connection.execute("SELECT pg_sleep(0.01)")


def test_what_is_equally_near_comes_by_id(make: Make) -> None:
    """Where the database compares all, and where the HNSW index finds it in no order."""
    backend = make(fetched_matches=0, exact_matches=0)
    backend.create(IndexSpec("docs", 3))
    ids = [f"{at:02}" for at in range(40)]
    backend.add("docs", _batch(ids[::-1]))
    found = backend.search("docs", np.ones((1, 3), np.float32), 40, None, None, frozenset())
    assert found[0].ids == ids
    comparing = make(fetched_matches=0)
    found = comparing.search("docs", np.ones((1, 3), np.float32), 10, None, None, frozenset())
    assert found[0].ids == ids[:10]


def test_an_exhausted_hnsw_scan_is_made_up_for(make: Make, url: str) -> None:
    """Where the index gives too little, every match is compared after all."""
    backend = make(fetched_matches=0, exact_matches=0)
    backend.create(IndexSpec("docs", 3, "cosine"))
    # Nothing leads to these from the index: pgvector leaves zero vectors out of it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pg, "refuse_batch", lambda spec, batch: None)
        backend.add("docs", _batch(["a", "b"], fill=0.0))
    backend.add("docs", _batch(["c"]))
    with np.errstate(all="ignore"):
        found = backend.search("docs", np.ones((1, 3), np.float32), 2, None, None, frozenset())
    assert len(found[0].ids) == 2


def test_a_dimension_beyond_hnsw_is_searched_exactly(make: Make) -> None:
    """Beyond 2,000 dimensions there is no HNSW index and every match is compared."""
    store = VectorStore(make(fetched_matches=0, exact_matches=0))
    store.create("wide", 2_001)
    vectors = _random(40, 2_001)
    store.add_columns("wide", [f"{at:02}" for at in range(40)], vectors)
    assert [store.search("wide", one, 1)[0].id for one in vectors[:3]] == ["00", "01", "02"]


def test_a_dimension_beyond_pgvector_is_refused(make: Make) -> None:
    """16,001 dimensions are told to be too many, by create and by load."""
    store = VectorStore(make())
    with pytest.raises(VectorLimitError, match=r"dimension: is 16,001; pgvector has at most"):
        store.create("wide", 16_001)
    with pytest.raises(VectorLimitError):
        store.backend.load(IndexSpec("wide", 16_001), [], replace=False)
    assert store.create("wide", 16_000)
    store.add("wide", [Item("a", _random(1, 16_000)[0])])
    assert store.search("wide", _random(1, 16_000)[0])[0].score == pytest.approx(1.0)


def test_vectors_and_metadata_come_back_as_they_went(make: Make) -> None:
    """Every bit of a vector, null told from {}, 64-bit numbers, floats, unusual text."""
    metadata = [
        None,
        {},
        {"n": [2**64 - 1, -(2**63), 1e300, 5e-324, -0.0, 1.0, 1]},
        {"é\x01": "😀"},
    ]
    vectors = np.array([[1, -0.0, 1e-38], [3e18, 0, 1], [1e-45, 1, 2], [0.1, 0.2, 0.3]], np.float32)
    ours, memory = make(), MemoryBackend()
    for backend in (ours, memory):
        store = VectorStore(backend)
        store.create("docs", 3, "l2")
        store.add_columns("docs", ["a", "b", "c", "d"], vectors, metadata)
    same_items(memory, ours, "docs")


def test_an_equality_can_be_answered_by_an_index(make: Make, url: str) -> None:
    """`fields @> ANY(…)` is what the index on the fields is for."""
    store = VectorStore(make())
    store.create("docs", 3)
    store.add("docs", [Item(str(at), [1, 1, 1], {"at": at}) for at in range(20)])
    where, values = condition(parse_filter({"at": {"$in": [5, 6, "x"]}}))
    explain = sql.SQL("EXPLAIN SELECT FROM stillhouse.items_1 WHERE {}").format(where)
    with psycopg.connect(url) as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = "\n".join(line for (line,) in connection.execute(explain, values))
    assert "items_1_fields_idx" in plan


def test_the_sign_of_zero_is_part_of_a_vector(make: Make) -> None:
    """-0.0 in place of 0.0 is another vector, to add and to merge; the same bits are the same."""
    backend = make()
    plus, minus = _batch(["a", "b"], fill=0.0), _batch(["a"], fill=-0.0)
    for name in ("src", "dest"):
        backend.create(IndexSpec(name, 3, "l2"))
        backend.add(name, plus)
    assert backend.add("dest", minus) == ["replaced"]
    assert backend.add("dest", minus) == ["unchanged"]
    done = backend.merge("src", "dest", clear_source=False, on_conflict="skip")
    assert (done.conflicts, done.skipped, done.merged) == (["a"], 1, 0)
    done = backend.merge("src", "dest", clear_source=True, on_conflict="replace")
    assert (done.conflicts, done.skipped, done.merged, done.cleared) == ([], 1, 1, 2)
    assert not np.signbit(backend.get("dest", ["a"]).vectors).any()


# ------------------------------------------------------------------- whole indexes


def test_an_export_is_one_state_whatever_others_do(make: Make) -> None:
    """Adding, deleting, replacing and dropping meanwhile do not wait, and are not seen."""
    backend, other = make(), make()
    backend.create(IndexSpec("docs", 3))
    backend.add("docs", _batch([f"{at:04}" for at in range(2_500)]))
    with backend.export("docs") as state:
        other.delete("docs", ["0400"])
        other.add("docs", _batch(["0401", "new"], fill=2.0))
        first = next(state.batches)
        assert first.vectors.max() == 1.0
        other.load(IndexSpec("docs", 2), [_batch(["x"], 2)], replace=True)
        assert other.ids("docs") == ["x"]
        other.drop("docs")
        rest = [id_ for batch in state.batches for id_ in batch.ids]
        assert [*first.ids, *rest] == [f"{at:04}" for at in range(2_500)]
        assert state.total == 2_500
    assert other.names() == []


def test_an_export_left_early_gives_its_connection_back_clean(make: Make) -> None:
    """The next caller of that connection sees nothing of a cursor that was half read."""
    backend = make(connections=1)
    backend.create(IndexSpec("docs", 3))
    backend.add("docs", _batch([f"{at:04}" for at in range(1_500)]))
    with backend.export("docs") as state:
        next(state.batches)
    kept = state.batches
    with backend.export("docs") as state:
        first = next(state.batches)
        assert list(kept) == []
        assert len(first.ids) + sum(len(batch.ids) for batch in state.batches) == 1_500


def test_a_connection_in_an_open_transaction_is_not_used_again(make: Make) -> None:
    """What somebody left half done goes with its connection."""
    backend = make(connections=1)
    with backend._pool.connection() as connection:
        connection.execute("BEGIN")
    assert connection.closed
    assert backend.create(IndexSpec("docs", 3))


def test_tables_of_dropped_indexes_are_removed_once_nobody_reads_them(make: Make, url: str) -> None:
    """A table that an export holds outlives its index, and goes with the next drop."""
    backend = make()
    tables = (
        b"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'items%' ORDER BY 1"
    )
    backend.create(IndexSpec("docs", 3))
    backend.add("docs", _batch(["a"]))
    with backend.export("docs"):
        backend.drop("docs")
        assert _ask(url, tables) == [("items_1",)]
    backend.create(IndexSpec("docs", 3))
    backend.drop("docs")
    assert _ask(url, tables) == []


def test_a_load_that_fails_leaves_everything_as_it_was(make: Make, url: str) -> None:
    """What the batches raise goes on, and the index that was to be replaced stays."""
    backend = make()
    backend.create(IndexSpec("docs", 3))
    backend.add("docs", _batch(["old"]))

    def batches() -> Iterator[Batch]:
        yield _batch(["a"], 2)
        raise ValueError("no more")

    for name in ("docs", "fresh"):
        with pytest.raises(ValueError, match="no more"):
            backend.load(IndexSpec(name, 2), batches(), replace=True)
    untouched = batches()
    with pytest.raises(VectorConflictError):
        backend.load(IndexSpec("docs", 2), untouched, replace=False)
    assert len(next(untouched).ids) == 1
    assert backend.names() == ["docs"]
    assert backend.ids("docs") == ["old"]
    assert _ask(url, b"SELECT count(*) FROM pg_class WHERE relname LIKE 'items_%' AND relkind='r'")[
        0
    ] == (1,)


def test_an_index_made_during_a_load_is_not_replaced_unasked(make: Make) -> None:
    """Somebody creates the name while it is being loaded: refused, unless it may be replaced."""
    backend, other = make(), make()

    def batches() -> Iterator[Batch]:
        yield _batch(["a"])
        other.create(IndexSpec("docs", 2))

    with pytest.raises(VectorConflictError):
        backend.load(IndexSpec("docs", 3), batches(), replace=False)
    assert backend.spec("docs").dimension == 2
    assert backend.load(IndexSpec("docs", 3), batches(), replace=True) == 1
    assert backend.spec("docs").dimension == 3


def test_a_table_that_goes_between_look_up_and_reading_is_looked_up_again(make: Make) -> None:
    """Whoever finds the table gone under the name reads what the name leads to now."""
    backend, other = make(), make()
    backend.load(IndexSpec("docs", 3), [_batch(["old"])], replace=False)
    tries = []

    def work(connection: Any, index: Any) -> Any:
        tries.append(index.number)
        if len(tries) == 1:
            other.load(IndexSpec("docs", 3), [_batch(["new"])], replace=True)
        query = sql.SQL("SELECT id FROM {}").format(index.table)
        return connection.execute(query).fetchall()

    assert backend._read("docs", work) == [("new",)]
    assert len(tries) == 2


def test_a_load_takes_an_export_of_the_same_store(make: Make) -> None:
    """An index is copied within a database, and onto itself."""
    backend = make()
    backend.create(IndexSpec("docs", 3))
    backend.add("docs", _batch(["a", "b"]))
    with backend.export("docs") as state:
        assert backend.load(IndexSpec("copy", 3), state.batches, replace=False) == 2
    with backend.export("copy") as state:
        assert backend.load(IndexSpec("copy", 3), state.batches, replace=True) == 2


# ------------------------------------------------------------------------ at once


def _together(*works: Callable[[], object]) -> list[object]:
    """Run at once in threads; an error of one is raised here."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        start.wait(30)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [one.result(60) for one in [pool.submit(run, work) for work in works]]


def test_adds_and_deletes_at_once_lose_nothing(make: Make) -> None:
    """Writers of overlapping batches, in opposite orders and through two stores: each change is
    whole, each status true."""
    stores = [make(), make()]
    stores[0].create(IndexSpec("docs", 3))
    shared = [f"s{at}" for at in range(40)]

    def writer(number: int) -> Callable[[], object]:
        def work() -> object:
            backend = stores[number % 2]
            inserted = deleted = 0
            for turn in range(8):
                ids = [*shared, f"own{number}-{turn}"]
                batch = _batch(ids if number % 2 else ids[::-1], fill=float(number + 1))
                inserted += backend.add("docs", batch).count("inserted")
                deleted += sum(backend.delete("docs", shared[turn::7]))
            return inserted - deleted

        return work

    left = _together(*map(writer, range(4)))
    ids = stores[0].ids("docs")
    assert sum(map(int, map(str, left))) == len(ids) == stores[1].count("docs", None)
    assert {f"own{n}-{turn}" for n in range(4) for turn in range(8)} <= set(ids)


def test_merges_in_both_directions_at_once_end(make: Make) -> None:
    """A→B with B→A, clearing, while others add: it ends, and every id is in exactly one."""
    stores = [make(), make()]
    for name in ("a", "b"):
        stores[0].create(IndexSpec(name, 3))
        stores[0].add(name, _batch([f"{name}{at}" for at in range(50)]))

    def merging(backend: PgBackend, src: str, dest: str) -> Callable[[], object]:
        def work() -> object:
            for _ in range(10):
                backend.merge(src, dest, clear_source=True, on_conflict="skip")
            return None

        return work

    def adding() -> object:
        for at in range(20):
            stores[0].add("a", _batch([f"new{at}"]))
        return None

    _together(merging(stores[0], "a", "b"), merging(stores[1], "b", "a"), adding)
    stores[1].merge("a", "b", clear_source=True, on_conflict="skip")
    expected = [f"{name}{at}" for name in "ab" for at in range(50)] + [f"new{n}" for n in range(20)]
    assert stores[0].ids("a") == []
    assert stores[0].ids("b") == sorted(expected)


def test_no_reader_sees_a_merge_half_done(make: Make) -> None:
    """While items wander between two indexes, one statement's view of them stays whole."""
    backend = make()
    for name in ("a", "b"):
        backend.create(IndexSpec(name, 3))
    backend.add("a", _batch([str(at) for at in range(30)]))
    done = threading.Event()

    def merging() -> object:
        try:
            for _ in range(15):
                for src, dest in (("a", "b"), ("b", "a")):
                    backend.merge(src, dest, clear_source=True, on_conflict="skip")
        finally:
            done.set()
        return None

    def reading() -> object:
        query = np.ones((1, 3), np.float32)
        while not done.is_set():
            found = backend.search("a", query, 100, None, None, frozenset())[0]
            assert len(found.ids) in (0, 30)
            assert len(backend.ids("b")) in (0, 30)
        return None

    _together(merging, reading)


def test_an_index_replaced_under_readers_is_one_or_the_other(make: Make) -> None:
    """Reading never fails while an index is replaced again and again."""
    backend = make()
    backend.load(IndexSpec("docs", 3), [_batch(["a"])], replace=True)
    done = threading.Event()

    def replacing() -> object:
        try:
            for turn in range(25):
                batch = _batch(["a", "b"] if turn % 2 else ["a"])
                backend.load(IndexSpec("docs", 3), [batch], replace=True)
        finally:
            done.set()
        return None

    def reading() -> object:
        while not done.is_set():
            assert backend.ids("docs") in (["a"], ["a", "b"])
            with backend.export("docs") as state:
                assert state.total == sum(len(batch.ids) for batch in state.batches)
            assert backend.count("docs", OneOf(("x",), (1,))) == 0
        return None

    _together(replacing, reading, reading)


def test_one_creates_and_the_others_find_it_there(make: Make) -> None:
    """Many creating the same index at once: one makes it, nobody fails; another is refused."""
    stores = [make() for _ in range(3)]
    made = _together(*[lambda one=one: one.create(IndexSpec("docs", 3)) for one in stores])
    assert sorted(map(bool, made)) == [False, False, True]
    with pytest.raises(VectorConflictError):
        stores[0].create(IndexSpec("docs", 4))


def test_who_comes_second_with_a_name_leaves_no_table(make: Make, url: str) -> None:
    """The name is entered by another while this one makes its table: found there, and undone."""
    backend = make()
    with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("INSERT INTO stillhouse.indexes VALUES ('docs', 99, 3, 'cosine')")
        creating = pool.submit(backend.create, IndexSpec("docs", 3))
        wait_for_lock(other)
        other.commit()
        assert creating.result(30) is False
    assert _ask(url, b"SELECT relname FROM pg_class WHERE relname LIKE 'items%'") == []


def test_several_processes_open_an_empty_database_at_once(url: str) -> None:
    """The tables are made once, whoever comes first."""
    program = (
        "import sys; from stillhouse.vectors.pg import PgBackend; PgBackend(sys.argv[1]).close()"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, url]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert _ask(url, b"SELECT number FROM stillhouse.schema_version") == [(1,)]


def test_a_writer_waits_for_the_one_before_and_readers_do_not(make: Make, url: str) -> None:
    """Somebody holds the index's lock: reads go on, a write goes on after him."""
    backend = make()
    backend.create(IndexSpec("docs", 3))
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM stillhouse.indexes WHERE name = 'docs' FOR UPDATE")
        with ThreadPoolExecutor(1) as pool:
            adding = pool.submit(backend.add, "docs", _batch(["a"]))
            assert backend.ids("docs") == []
            assert not adding.done()
            other.rollback()
            assert adding.result(30) == ["inserted"]


# ------------------------------------------------------------------------ failures


def test_a_merge_cut_off_half_way_moves_nothing(make: Make, url: str) -> None:
    """The connection is ended while the merge waits for the destination: both are as before."""
    backend = make()
    for name in ("a", "b"):
        backend.create(IndexSpec(name, 3))
    backend.add("a", _batch(["x", "y"]))
    with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT FROM stillhouse.indexes WHERE name = 'b' FOR UPDATE")
        merging = pool.submit(backend.merge, "a", "b", clear_source=True, on_conflict="skip")
        other.execute("SELECT pg_terminate_backend(%s)", [wait_for_lock(other)])
        with pytest.raises(VectorFailedError):
            merging.result(30)
    assert (backend.ids("a"), backend.ids("b")) == (["x", "y"], [])
    done = backend.merge("a", "b", clear_source=True, on_conflict="skip")
    assert (done.merged, done.cleared, backend.ids("b")) == (2, 2, ["x", "y"])


def test_a_failing_registry_is_not_a_missing_index(make: Make, url: str) -> None:
    """When the table of indexes cannot be read, a merge fails and touches nothing."""
    backend = make()
    for name in ("a", "b"):
        backend.create(IndexSpec(name, 3))
    backend.add("a", _batch(["x"]))
    _ask(url, b"ALTER TABLE stillhouse.indexes RENAME COLUMN number TO gone")
    for call in (
        lambda: backend.merge("a", "b", clear_source=True, on_conflict="replace"),
        lambda: backend.spec("a"),
    ):
        with pytest.raises(VectorFailedError):
            call()
    _ask(url, b"ALTER TABLE stillhouse.indexes RENAME COLUMN gone TO number")
    assert (backend.ids("a"), backend.ids("b")) == (["x"], [])
    with pytest.raises(VectorNotFoundError):
        backend.merge("a", "none", clear_source=True, on_conflict="skip")


def test_a_full_pool_is_busy_and_not_stuck(make: Make) -> None:
    """Who waits too long for a connection is told so."""
    backend = make(connections=1, wait_seconds=0.05)
    backend.create(IndexSpec("docs", 3))
    with backend.export("docs"), pytest.raises(VectorBusyError, match="all 1 connections"):
        backend.names()
    assert backend.names() == ["docs"]


def test_a_restarted_server_is_found_again(make_server: Any) -> None:
    """While the server is away a call is one line of `VectorFailedError`; when it is back the
    next call works, through connections that were open before."""
    backend = PgBackend(make_server.url("postgres"))
    backend.create(IndexSpec("docs", 3))
    with backend.export("docs"):
        backend.add("docs", _batch(["a"]))  # two connections wait in the pool afterwards
    make_server.stop()
    for call in (lambda: backend.ids("docs"), lambda: backend.add("docs", _batch(["b"]))):
        with pytest.raises(VectorFailedError) as failed:
            call()
        assert "\n" not in str(failed.value)
    assert not backend.health().writable
    make_server.start()
    assert [backend.ids("docs") for _ in range(3)] == [["a"]] * 3
    make_server.stop()
    make_server.start()
    with backend.export("docs") as state:
        assert state.total == 1
        assert backend.add("docs", _batch(["a"])) == ["unchanged"]
    assert backend.health().writable
    backend.close()


@pytest.fixture
def make_server() -> Iterator[Any]:
    """A server of its own, to be stopped and started."""
    from tests.vectors.postgres import Postgres, missing

    if reason := missing():
        pytest.skip(reason)
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def test_a_database_that_takes_no_writes_is_not_healthy(make: Make, url: str) -> None:
    """Health says so before anybody writes."""
    backend = make()
    assert backend.health().writable
    database = url.partition("@/")[2].partition("?")[0].encode()
    _ask(url, b"ALTER DATABASE " + database + b" SET default_transaction_read_only = on")
    assert "read only" in make().health().reason


# ------------------------------------------------------------------------- opening


@pytest.mark.parametrize(
    "wrong",
    [
        f"postgresql://{LOGIN}127.0.0.1:1/db",
        f"postgres://{LOGIN}127.0.0.1:1/db?connect_timeout=2",
        f"postgresql://u:{'s3cret'}%zz@127.0.0.1/db",
        f"postgresql://{LOGIN}[::1/db",
        f"postgresql://{LOGIN}127.0.0.1/db?no_such_option=1",
        f"postgresql://{LOGIN}127.0.0.1/db?schema=Not-One",
    ],
)
def test_a_password_is_never_told(wrong: str) -> None:
    """Whatever is wrong with a URL or behind it, the error is one line without the password."""
    with pytest.raises((UsageError, VectorFailedError)) as failed:
        open_backend(wrong)
    told = []
    error: BaseException | None = failed.value
    while error is not None:
        told.append(f"{error} {error!r}")
        error = error.__cause__
    assert "s3cret" not in " ".join(told)
    assert "\n" not in str(failed.value)


def test_schemas_keep_stores_apart(url: str) -> None:
    """Two schemas of one database know nothing of one another."""
    with VectorStore(f"{url}&schema=one") as one, VectorStore(f"{url}&schema=two") as two:
        one.create("docs", 3)
        assert (one.backend.names(), two.backend.names()) == (["docs"], [])


def test_tables_of_a_newer_program_are_left_alone(make: Make, url: str) -> None:
    """A schema version that is not known is refused with a way out."""
    make()
    _ask(url, b"UPDATE stillhouse.schema_version SET number = 99")
    with pytest.raises(VectorFailedError, match=r"version 99.*newer Stillhouse"):
        make()


def test_what_was_written_is_there_for_the_next(make: Make) -> None:
    """Opening again migrates nothing and loses nothing; a closed store refuses."""
    first = make()
    first.create(IndexSpec("docs", 3, "l2", {"by": "us"}))
    first.add("docs", _batch(["a"]))
    first.close()
    with pytest.raises(VectorFailedError, match="closed"):
        first.names()
    again = make()
    assert again.spec("docs") == IndexSpec("docs", 3, "l2", {"by": "us"})
    assert again.ids("docs") == ["a"]


def test_large_batches_go_in_parts_of_one_transaction(make: Make) -> None:
    """More than one statement's worth of vectors is still all or nothing."""
    backend = make()
    backend.create(IndexSpec("docs", 4_000, "l2"))
    ids = [f"{at:04}" for at in range(1_500)]
    assert backend.add("docs", _batch(ids, 4_000)) == ["inserted"] * 1_500
    wrong = _batch([*ids, "last"], 4_000, fill=2.0)
    wrong.vectors[-1, 0] = np.nan  # the checks before would refuse it; the database does too
    with pytest.raises(VectorFailedError):
        backend.add("docs", wrong)
    assert (backend.get("docs", ["0000"]).vectors == 1.0).all()


def test_filters_by_the_limits_reach_the_database(make: Make) -> None:
    """A filter of as many clauses as are allowed is answered."""
    store = VectorStore(make(), limits=Limits())
    store.create("docs", 3)
    store.add("docs", [Item("a", [1, 1, 1], {"n": 5})])
    parse_filter(wide := {"n": {"$in": list(range(990))}})
    assert store.count("docs", wide) == 1
