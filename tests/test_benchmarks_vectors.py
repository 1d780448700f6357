"""The benchmark of vector search must measure what it says, and tell what failed."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.vectors.__main__ import arguments
from benchmarks.vectors.adding import durable_rate, run_adding
from benchmarks.vectors.child import load_engine
from benchmarks.vectors.children import Child, EngineFailedError, NotInstalledError
from benchmarks.vectors.data import (
    FIELDS,
    K,
    clustered,
    exact_answers,
    nearest,
    read_set,
    real,
    recall,
    short_answers,
    write_set,
)
from benchmarks.vectors.embedded import Figures, Options, chosen_of, run_embedded
from benchmarks.vectors.engines import BARE, CONTENDERS, FAISS, NAMES, STILLHOUSE, Contender
from benchmarks.vectors.load import BadAnswerError, fetch, request, run_load, serve_trivially
from benchmarks.vectors.report import machine, markdown
from benchmarks.vectors.serving import CEILING, our_requests, run_http
from benchmarks.vectors.targets import Target, find_targets

SIZE = 700
QUERIES = 40
MISSING = Contender("missing", "no_such_engine:Engine", "no-such-engine", "no")
BROKEN = Contender("broken", "benchmarks.vectors.engines:NoSuchEngine", "no-such-engine", "no")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    write_set(folder / "clustered", "clustered", clustered(SIZE, QUERIES, 400))
    return folder


@pytest.fixture(scope="module")
def options(work: Path) -> Options:
    return Options(work, rounds=1, seconds=0.01, least=QUERIES, timeout=60, log=lambda line: None)


def _contenders(*names: str) -> list[Contender]:
    return [contender for contender in CONTENDERS if contender.name in names]


@pytest.fixture(scope="module")
def embedded(work: Path, options: Options) -> dict[str, Figures]:
    pytest.importorskip("faiss")
    who = [*_contenders(STILLHOUSE, *BARE), MISSING, BROKEN]
    return run_embedded(work / "clustered", who, options)


# -------------------------------------------------------------------------------- data


def test_a_seed_gives_the_same_vectors() -> None:
    """The clustered set follows from its seed, has unit lengths, and its queries are held out."""
    base, more, queries = clustered(300, 20, 10)
    assert [part.shape for part in (base, more, queries)] == [(300, 384), (10, 384), (20, 384)]
    assert (base == clustered(300, 20, 10)[0]).all()
    assert (base != clustered(300, 20, 10, seed=1)[0]).any()
    np.testing.assert_allclose(np.linalg.norm(base, axis=1), 1, rtol=1e-5)
    assert (queries @ base.T).max() < 0.99


def test_exact_answers_are_those_of_a_full_sort() -> None:
    """The blocked product finds what sorting all products finds, under a filter what matches."""
    base, _, queries = clustered(500, 30, 0)
    near = queries @ base.T
    assert (nearest(base, queries) == np.argsort(-near, axis=1, kind="stable")[:, :K]).all()
    assert (nearest(base[:3], queries)[:, 3:] == -1).all()
    values = (np.arange(500)[:, None] % list(FIELDS.values())).astype(np.int32)
    exact = exact_answers(base, values, queries)
    for field, modulus in FIELDS.items():
        for at, found in enumerate(exact[field]):
            right = [one for one in np.argsort(-near[at]) if one % modulus == at % modulus][:K]
            assert found[found >= 0].tolist() == right


def test_a_set_is_read_as_it_was_written(work: Path) -> None:
    """Every process sees the same set, and each value of a field is about equally frequent."""
    vectors = read_set(work / "clustered")
    assert (len(vectors.base), len(vectors.queries), len(vectors.more)) == (SIZE, QUERIES, 400)
    counts = np.bincount(vectors.values[:, 0])
    assert len(counts) == 10
    assert counts.max() - counts.min() <= 1


def test_real_embeddings_are_taken_where_they_are(tmp_path: Path) -> None:
    """A folder of embeddings gives base, later and query vectors; without any it is an error."""
    with pytest.raises(FileNotFoundError):
        real(tmp_path, 10, 10, 10)
    chance = np.random.default_rng(1)
    np.save(tmp_path / "base-x.npy", chance.standard_normal((100, 384)).astype(np.float16))
    np.save(tmp_path / "queries-x.npy", chance.standard_normal((7, 384)).astype(np.float16))
    assert [len(part) for part in real(tmp_path, 1000, 5, 1000)] == [90, 10, 5]


def test_recall_counts_what_there_is_to_find() -> None:
    """Where fewer than k match, those are the whole; an answer that is too short is counted."""
    exact = np.array([[1, 2, 3], [4, -1, -1]])
    assert recall(exact, [[3, 1, 9], [4]]) == 0.75
    assert short_answers(exact, [[3, 1], [4]]) == 1


# ------------------------------------------------------------------------------ engines


def test_engines_are_measured_in_everything(embedded: dict[str, Figures]) -> None:
    """Ours and bare faiss give figures of building, opening, searching and filters."""
    for name in (STILLHOUSE, *BARE):
        figures = embedded[name]
        assert figures["failed"] == {}
        assert figures["builds"][0]["disk"] > SIZE * 384
        for done in figures["rounds"]:
            assert done["startup"] > 0
            assert {"0.95", "0.99", "0.95 many", *FIELDS} <= set(done)
            assert done["0.99"]["qps"] > 0
            assert done["0.99"]["recall"] >= 0.99
    for field in FIELDS:
        assert embedded[STILLHOUSE]["rounds"][0][field]["recall"] >= 0.95
        assert embedded[STILLHOUSE]["rounds"][0][field]["short"] == 0


def test_an_engine_that_is_missing_or_broken_is_told(embedded: dict[str, Figures]) -> None:
    """Who gives no figures stands in the report with the reason, and the others go on."""
    assert "no_such_engine" in embedded["missing"]["failed"]["import"]
    assert "NoSuchEngine" in embedded["broken"]["failed"]["build"]
    one = {"size": SIZE, "queries": QUERIES, "embedded": embedded}
    sets = {"clustered": one}
    results = {
        "command": "bench",
        "machine": machine(),
        "rounds": 1,
        "sets": sets,
        "targets": find_targets(sets),
    }
    page = markdown(json.loads(json.dumps(results)))
    assert "- missing: import: not installed" in page
    assert "| missing | failed |" in page
    assert f"| {FAISS} |" in page
    assert "clustered: QPS at 0.95, × bare faiss, at least" in page


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (STILLHOUSE, *BARE)])
def test_each_peer_takes_part_where_it_is_installed(
    name: str, work: Path, options: Options
) -> None:
    """A peer finds what there is to find, or is left out because it is not installed."""
    (contender,) = _contenders(name)
    try:
        load_engine(contender.target)
    except ImportError as error:
        pytest.skip(f"not installed: {error}")
    figures = run_embedded(
        work / "clustered", [contender], options._replace(seconds=0.005, least=5)
    )[name]
    assert figures["failed"] == {}
    assert figures["rounds"][0]["0.95"]["recall"] >= 0.9


def test_what_takes_too_long_is_ended(work: Path) -> None:
    """A step beyond its time fails with that reason, and its process is gone."""
    pytest.importorskip("faiss")
    (contender,) = _contenders(FAISS)
    with Child(contender, work / "late", work / "clustered", sys.executable) as child:
        with pytest.raises(EngineFailedError, match="longer than 0 s"):
            child.ask("build", 0.0)
        with pytest.raises(EngineFailedError):
            child.ask("build", 1.0)
    with pytest.raises(NotInstalledError):
        Child(MISSING, work / "missing", work / "clustered", sys.executable)


def test_the_fastest_setting_that_reaches_a_recall_is_chosen() -> None:
    """Of those nearly as fast the first is taken; under a filter the best stands in for none."""
    points = [
        {"setting": {"ef": ef}, "recall": recall_, "qps": qps}
        for ef, recall_, qps in ((10, 0.8, 90.0), (20, 0.95, 47.0), (30, 0.96, 50.0), (40, 0.98, 9))
    ]
    assert chosen_of("", points) == {"0.95": {"ef": 20}}
    assert chosen_of("tenth", points[:1]) == {"tenth": {"ef": 10}}


def test_adding_is_measured(tmp_path: Path, options: Options) -> None:
    """Durable batches and searches beside a writer give figures; libraries are left out."""
    pytest.importorskip("faiss")
    who = _contenders(STILLHOUSE, FAISS)
    write_set(tmp_path / "clustered", "clustered", clustered(SIZE, QUERIES, 400))
    how = options._replace(work=tmp_path)
    found = run_adding(tmp_path / "clustered", who, how, batches=1, seconds=0.2)
    assert list(found) == [STILLHOUSE]
    figures = found[STILLHOUSE]
    assert figures["failed"] == {}
    rate = durable_rate(figures)
    assert rate is not None
    assert rate > 0
    assert figures["beside"]["added"] >= 100
    assert figures["beside"]["beside"]["qps"] > 0


# --------------------------------------------------------------------------------- HTTP


@pytest.fixture
def trivial() -> Iterator[tuple[str, int]]:
    """A server that does nothing."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serve = threading.Thread(target=serve_trivially, args=(listening, b"xyz", ended.is_set))
        serve.start()
        yield listening.getsockname()
        ended.set()
        serve.join()


def test_the_load_generator_asks_in_a_closed_loop(trivial: tuple[str, int]) -> None:
    """One connection and several get whole answers, and the slowest are not the middle ones."""
    asks = [request("/x", b"{}"), request("/x", b"[1,2,3]")]
    assert fetch(trivial, asks) == [b"xyz", b"xyz"]
    for connections in (1, 4):
        load = run_load(trivial, asks, connections, 0.05)
        assert load.requests >= connections
        assert load.rate > 0
        assert 0 < load.p50 <= load.p99


def test_a_load_goes_round_its_requests_and_takes_answers_that_come_in_parts() -> None:
    """Every request is asked, and the next only when the last answer is whole."""
    seen: set[bytes] = set()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(2):  # the warm-up has a connection of its own
                seen.clear()
                connection, _ = listening.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with connection:
                    while asked := connection.recv(1 << 16):
                        seen.add(asked[-1:])
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
                        connection.sendall(b"bc")

        thread = threading.Thread(target=serve)
        thread.start()
        asks = [request("/x", body) for body in (b"1", b"2", b"3")]
        load = run_load(listening.getsockname(), asks, 1, 0.3)
        thread.join()
    assert load.requests >= 3
    assert seen == {b"1", b"2", b"3"}


def test_other_answers_than_200_end_a_load() -> None:
    """A server that refuses gives no figure; answers in chunks are put together."""
    answers = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for answer in answers:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        bodies: list[bytes] = []
        with pytest.raises(BadAnswerError, match="404"):
            bodies += fetch(listening.getsockname(), [request("/x", b"{}")] * 2)
        thread.join()


def test_requests_carry_the_same_vectors() -> None:
    """JSON, base64 and raw bodies of a query hold the same numbers."""
    queries = clustered(0, 3, 0)[2]
    requests = our_requests(queries, 64)
    body = json.loads(requests["JSON"][0].partition(b"\r\n\r\n")[2])
    assert np.array(body["vector"], np.float32).tobytes() == queries[0].tobytes()
    assert (body["k"], body["ef"], body["include"]) == (K, 64, [])
    plain = our_requests(queries, None)
    assert json.loads(plain["JSON"][0].partition(b"\r\n\r\n")[2])["k"] == K
    assert f"k={K}&".encode() in plain["raw float32"][0]
    assert requests["raw float32"][2].partition(b"\r\n\r\n")[2] == queries[2].tobytes()
    assert len(requests["base64, 100 at once"]) == 1


def test_the_service_is_measured(work: Path, options: Options) -> None:
    """Ours answers over HTTP as exactly as asked, in every kind of body."""
    pytest.importorskip("faiss")
    pytest.importorskip("stillhouse.web")
    who = _contenders(STILLHOUSE)
    found = run_http(work / "clustered", who, options, connections=(1, 2))
    figures = found[STILLHOUSE]
    assert figures["failed"] == {}
    assert figures["recall"] >= 0.95
    assert {"JSON × 1", "base64 × 2", "raw float32, 100 at once × 1"} <= set(figures["rounds"][0])
    assert found[CEILING]["rounds"][0]["JSON × 1"]["qps"] > 0


# ------------------------------------------------------------------------------ targets


def test_no_figure_is_a_target_missed() -> None:
    """A target holds on the right side of its limit, and never without a figure."""
    assert Target("x", 1.0, 1.0).holds
    assert not Target("x", 1.0, 0.9).holds
    assert Target("x", 1.0, 0.9, least=False).holds
    assert not Target("x", 1.0, None).holds


def test_targets_compare_with_the_fastest_database_that_is_exact_enough() -> None:
    """A faster peer whose recall under a filter is too low is not to be beaten."""

    def figures(qps: float, recall_: float) -> dict[str, Any]:
        one = {"p50": 0.1, "p99": 0.1, "cores": 1.0, "short": 0, "recall": recall_, "qps": qps}
        return {"rounds": [{"tenth": one}], "failed": {}}

    found = {
        STILLHOUSE: figures(20.0, 1.0),
        "zvec": figures(10.0, 0.99),
        "milvus-lite": figures(99.0, 0.6),
    }
    targets = {one.what: one for one in find_targets({"s": {"embedded": found}})}
    ahead = targets["s: QPS under a filter of 10 %, × the fastest database, at least"]
    assert ahead.value == 2.0
    assert "s: QPS at 0.95, × the fastest database, at least" not in targets
    assert not targets["s: recall under a filter of 1 %, at least"].holds


def test_the_command_line_has_the_sizes_of_the_issue() -> None:
    """Without options it is everything at 100,000 vectors."""
    options = arguments([])
    assert (options.part, options.size, options.rounds) == ("all", 100_000, 3)
