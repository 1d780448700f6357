"""Segments: rows come back as they went in, and filters are answered once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.filters import parse_filter
from stillhouse.vectors.live import Rows
from stillhouse.vectors.segment import Building, Segment, write_rows
from stillhouse.vectors.segment_file import SECTIONS, SegmentWriter, read_segment
from stillhouse.vectors.values import METRICS, IndexSpec, Metric
from tests.vectors.shelf import Shelf, clustered


def _nothing(point: str) -> None:
    pass


def _shelf(metric: Metric = "cosine", count: int = 700) -> Shelf:
    shelf = Shelf(metric)
    ids = [f"ä{at}" * (1 + at % 3) for at in range(count)]
    metadata = [None if at % 3 == 0 else {} if at % 3 == 1 else {"at": at} for at in range(count)]
    shelf.put(ids, clustered(count, 8, 1), metadata)
    return shelf


def _write(shelf: Shelf, path: Path, **how: object) -> Segment | None:
    every = shelf.versions()[0]
    building = Building(shelf.spec, "int8", 1, lambda: False, _nothing)
    return write_rows(path, shelf.rows(every), building._replace(**how))  # type: ignore[arg-type]


def _all_rows(shelf: Shelf) -> Rows:
    return next(shelf.rows(shelf.versions()[0], 10_000))


@pytest.mark.parametrize("metric", METRICS)
def test_rows_come_back_as_they_went_in(tmp_path: Path, metric: Metric) -> None:
    """Numbers, checksums, ids, vectors and metadata, none told from empty, also read again."""
    shelf = _shelf(metric)
    path = tmp_path / "one.seg"
    written = _write(shelf, path)
    assert written is not None
    right = _all_rows(shelf)
    for segment in (written, Segment.open(path, shelf.spec)):
        found = segment.rows(np.arange(segment.count))
        assert found.seqs.tolist() == right.seqs.tolist()
        assert found.checks.tolist() == right.checks.tolist()
        assert (found.ids, found.metadata) == (right.ids, right.metadata)
        assert found.vectors.tobytes() == right.vectors.tobytes()
        assert segment.ids_at([5, 0, 699]) == [right.ids[at] for at in (5, 0, 699)]
        assert segment.metadata_at([1, 2, 0]) == [b"{}", b'{"at":2}', None]
    assert list(tmp_path.iterdir()) == [path]


def test_a_segment_of_another_index_is_refused(tmp_path: Path) -> None:
    """Another metric or dimension means another index."""
    shelf = _shelf()
    _write(shelf, tmp_path / "one.seg")
    for spec in (IndexSpec("a", 8, "l2"), IndexSpec("a", 9, "cosine")):
        with pytest.raises(VectorDamagedError):
            Segment.open(tmp_path / "one.seg", spec)


def test_a_segment_with_the_graph_of_another_is_refused(tmp_path: Path) -> None:
    """A graph of more or fewer rows is not the graph of these rows, whatever the checksums say."""
    _write(_shelf(), tmp_path / "one.seg")
    _write(_shelf(count=650), tmp_path / "two.seg")
    one, two = (read_segment(tmp_path / name) for name in ("one.seg", "two.seg"))
    writer = SegmentWriter(tmp_path / "mixed.seg")
    for name in SECTIONS:
        writer.section(name, [(two if name == "graph" else one).section(name).tobytes()])
    writer.finish(one.header, _nothing)
    with pytest.raises(VectorDamagedError, match="other rows"):
        Segment.open(tmp_path / "mixed.seg", _shelf().spec)


def test_a_segment_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """Stopped at its first row, among its rows or while the graph grows, there is no file."""
    shelf = _shelf()
    for asks in (0, 3, 7):
        answers: Iterator[bool] = iter([False] * asks)
        assert _write(shelf, tmp_path / "x.seg", stopped=lambda: next(answers, True)) is None  # noqa: B023
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("point", ["seal:written"])
def test_a_segment_that_fails_leaves_nothing(tmp_path: Path, point: str) -> None:
    """A disk that fails on the way is told of, and has nothing to be swept."""

    def fail(now: str) -> None:
        if now == point:
            raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        _write(_shelf(), tmp_path / "x.seg", faults=fail)
    assert list(tmp_path.iterdir()) == []


def test_what_a_filter_chose_is_kept(tmp_path: Path) -> None:
    """The same filter over the same dead gives the same object; over others, right rows."""
    segment = _write(_shelf(), tmp_path / "x.seg")
    assert segment is not None
    some = parse_filter({"at": {"$gte": 600}})
    chosen = segment.choose(some, None)
    assert segment.choose(parse_filter({"at": {"$gte": 600}}), None) is chosen
    right = [at for at in range(600, 700) if at % 3 == 2]
    assert chosen.positions.tolist() == right
    dead = np.zeros(700, np.bool_)
    dead[602] = True
    without = segment.choose(some, dead)
    assert without.positions.tolist() == [at for at in right if at != 602]
    assert np.flatnonzero(without.allowed()).tolist() == without.positions.tolist()
    assert segment.choose(some, dead) is without
    assert segment.choose(None, dead).positions.tolist() == np.flatnonzero(~dead).tolist()
    assert segment.choose(some, None).positions.tolist() == right


def test_filters_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    """1, true and "1" are three values, though Python takes two of them for equal."""
    shelf = Shelf()
    shelf.put(["a", "b", "c"], clustered(3, 8, 1), [{"v": 1}, {"v": True}, {"v": "1"}])
    segment = _write(shelf, tmp_path / "x.seg")
    assert segment is not None
    found = [segment.choose(parse_filter({"v": v}), None).positions for v in (1, True, "1", 1.0)]
    assert [one.tolist() for one in found] == [[0], [1], [2], [0]]


def test_kept_answers_are_bounded(tmp_path: Path) -> None:
    """Filters without end do not take memory without end; the last ones asked for are there."""
    segment = _write(_shelf(), tmp_path / "x.seg")
    assert segment is not None
    first = segment.choose(parse_filter({"at": {"$gte": 0}}), None)
    for at in range(1_100):
        last = segment.choose(parse_filter({"at": {"$gte": at + 1}}), None)
    assert segment.choose(parse_filter({"at": {"$gte": 1_100}}), None) is last
    assert segment.choose(parse_filter({"at": {"$gte": 0}}), None) is not first
    kept = segment._kept
    assert len(kept._chosen) <= 1_024
    assert kept._size == sum(one.bytes for one in kept._chosen.values())
