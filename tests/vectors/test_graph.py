"""Graphs: what they find, what codes and beam they come to have, and when they stop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import faiss
import numpy as np
import pytest

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.distances import lengths_inverted, scores
from stillhouse.vectors.graph import BEAM, Built, Codes, Graph, Labels, _beam, _probes, build
from stillhouse.vectors.values import METRICS, Floats, Metric
from tests.vectors.shelf import clustered


def _built(metric: Metric, vectors: Floats, codes: Codes = "int8", threads: int = 1) -> Built:
    made = build(metric, codes, vectors, lengths_inverted(metric, vectors), lambda: False, threads)
    assert made is not None
    return made


def _ready(metric: Metric, queries: Floats) -> Floats:
    if metric == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return np.ascontiguousarray(queries)


def _recall(metric: Metric, vectors: Floats, queries: Floats, labels: Labels) -> float:
    hits = 0
    for query, found in zip(queries, labels, strict=True):
        near = scores(metric, query, vectors)
        right = np.argsort(near if metric == "l2" else -near)[:10]
        hits += len(set(right.tolist()) & set(found.tolist()))
    return hits / (10 * len(queries))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("codes", ["int8", "fp16", "float32"])
def test_a_graph_finds_the_nearest(metric: Metric, codes: Codes) -> None:
    """Of every metric and code, the candidates hold the nearest, before and after its bytes."""
    vectors, queries = clustered(1_500, 24, 1), _ready(metric, clustered(40, 24, 2))
    made = _built(metric, vectors, codes)
    assert (made.codes, made.beam) == (codes, BEAM)
    found = made.graph.nearest(queries, 18, BEAM)
    assert _recall(metric, vectors, queries, found) >= 0.97
    again = Graph.from_bytes(made.graph.to_bytes())
    assert again.rows == 1_500
    np.testing.assert_array_equal(again.nearest(queries, 18, BEAM), found)
    np.testing.assert_array_equal(again.nearest(queries[:1], 18, BEAM), found[:1])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("codes", ["int8", "float32"])
def test_a_scan_of_codes_finds_the_nearest_of_some_rows(metric: Metric, codes: Codes) -> None:
    """Places among the rows that were laid end to end, the nearest first."""
    vectors, queries = clustered(800, 24, 3), _ready(metric, clustered(20, 24, 4))
    some = np.arange(1, 800, 3)
    scan = _built(metric, vectors, codes).graph.scan_of(some)
    found = scan.nearest(queries, 18)
    assert _recall(metric, vectors[some], queries, found) >= 0.98


def _is_whole(graph: Graph) -> bool:
    return graph._wholes is not None


@pytest.mark.parametrize(("metric", "whole"), [("cosine", True), ("ip", True), ("l2", False)])
def test_products_are_of_whole_numbers(metric: Metric, whole: bool) -> None:
    """Where the order of rows depends on no scale; read again from bytes they are the same."""
    made = _built(metric, clustered(300, 24, 1))
    assert _is_whole(made.graph) == whole
    assert _is_whole(Graph.from_bytes(made.graph.to_bytes())) == whole
    assert not _is_whole(_built(metric, clustered(300, 24, 1), "fp16").graph)


def test_dimensions_of_other_ranges_get_codes_of_their_own() -> None:
    """One scale for all dimensions is too coarse beside one that is wide and tells nothing: the
    codes are 8-bit still, each dimension with its range."""
    vectors, queries = clustered(2_000, 24, 5), clustered(40, 24, 6)
    for rows in (vectors, queries):
        rows[:, 3] = 2_000
    made = _built("ip", vectors)
    assert (made.codes, _is_whole(made.graph)) == ("int8", False)
    assert _recall("ip", vectors, queries, made.graph.nearest(queries, 18, made.beam)) >= 0.95


@pytest.mark.parametrize("scale", [0.0, 1e-44, 1e-20, 1.0, 1e15])
def test_queries_of_any_length_are_on_one_scale(scale: float) -> None:
    """What is asked of codes of whole numbers is not lost at any scale, and no error at none."""
    vectors, queries = clustered(1_500, 24, 1), clustered(40, 24, 2)
    graph = _built("ip", vectors).graph
    asked = queries * np.float32(scale)
    several = graph.nearest(asked, 18, BEAM)
    one_by_one = [graph.nearest(asked[at : at + 1], 18, BEAM) for at in range(len(asked))]
    np.testing.assert_array_equal(several, np.concatenate(one_by_one))
    if scale > 1e-30:
        assert _recall("ip", vectors, queries, several) >= 0.97
    else:
        assert (several == -1).all()


def test_numbers_beyond_16_bits_are_kept_in_32() -> None:
    """They would be infinite, and their rows not found by themselves."""
    vectors = clustered(2_000, 24, 5)
    vectors[7] *= 100_000
    made = _built("l2", vectors)
    assert made.codes == "float32"
    (found,) = made.graph.nearest(vectors[7:8], 18, made.beam)
    assert found[0] == 7


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_rows_of_another_magnitude_get_finer_codes(metric: Metric) -> None:
    """One row a thousand times as long does not make the others indistinguishable."""
    vectors = clustered(2_000, 24, 5)
    vectors[7] *= 1_000
    made = _built(metric, vectors)
    assert made.codes != "int8"
    queries = clustered(40, 24, 6)
    assert _recall(metric, vectors, queries, made.graph.nearest(queries, 18, made.beam)) >= 0.95


def test_rows_that_are_hard_to_find_get_a_wider_beam() -> None:
    """Noise in a graph of few links, where a narrow beam misses, is searched more widely."""
    noise = np.random.default_rng(8).normal(size=(4_000, 32)).astype(np.float32)
    sparse = faiss.IndexHNSWFlat(32, 6)
    sparse.hnsw.efConstruction = 16
    sparse.add(noise)
    beam = _beam(Graph(sparse), _probes("l2", noise, lengths_inverted("l2", noise)))
    assert BEAM < beam < len(noise)


def test_a_graph_that_does_not_find_its_rows_is_not_searched() -> None:
    """Where even the widest beam misses, the beam becomes that of all rows: they are scanned."""
    vectors = clustered(5_000, 4, 5)
    asked: list[int] = []

    def nowhere(queries: Floats, count: int, beam: int) -> Labels:
        asked.append(beam)
        return np.full((len(queries), count), -1, np.int64)

    blind = cast(Graph, SimpleNamespace(rows=5_000, nearest=nowhere))
    assert _beam(blind, _probes("l2", vectors, vectors[:0, 0])) == 5_000
    assert asked == [64, 96, 144, 216, 324, 486, 729, 1093]


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_are_no_trouble(metric: Metric) -> None:
    """Where all rows are the same, whichever is found is right: codes and beam stay."""
    vectors = np.repeat(clustered(1, 77, 3), 700, axis=0)
    made = _built(metric, vectors)
    assert (made.codes, made.beam) == ("int8", BEAM)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_smallest_graphs_are_built(count: int) -> None:
    """A graph of a handful of rows finds them all."""
    made = _built("l2", clustered(count, 3, 9))
    assert sorted(made.graph.nearest(clustered(1, 3, 1), count, 64)[0].tolist()) == list(
        range(count)
    )


def test_building_stops_when_told() -> None:
    """It ends between blocks, with no graph."""
    vectors = clustered(5_000, 4, 1)
    asked = iter([False, True])
    assert build("l2", "int8", vectors, vectors[:0, 0], lambda: next(asked)) is None
    assert next(asked, None) is None


def test_vectors_that_may_not_be_written_are_read() -> None:
    """Mapped files give arrays that are for reading only."""
    vectors = clustered(300, 4, 1)
    vectors.flags.writeable = False
    assert _built("ip", vectors, threads=2).graph.rows == 300


def test_bytes_of_no_graph_are_refused() -> None:
    """What faiss cannot read is damage, not a crash."""
    with pytest.raises(VectorDamagedError):
        Graph.from_bytes(np.zeros(100, np.uint8))
