"""Counting between fixed edges: where each value lands, merging, and what is refused."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from stillhouse.drift import Histogram, build_histogram, merge_histograms
from stillhouse.errors import RecordError, UsageError
from stillhouse.records import decode, encode, validate

TENTHS = [place / 10 for place in range(11)]


def test_a_value_on_an_edge_belongs_to_the_bucket_that_begins_there() -> None:
    """Every edge opens its bucket; the largest one is in the last bucket."""
    counted = build_histogram([0, 1, 2, 3], [0, 1, 2, 3])
    assert counted.counts == [1, 1, 2]
    assert (counted.below, counted.above) == (0, 0)


@pytest.mark.parametrize("edge", TENTHS)
def test_the_floats_beside_an_edge_part_there(edge: float) -> None:
    """The next float below an edge is in the bucket before, exactly, also for 0.3 and 0.7."""
    below, above = math.nextafter(edge, -1), math.nextafter(edge, 2)
    counted = build_histogram([below, edge, above], TENTHS)
    place = TENTHS.index(edge)
    expected = [0] * 10
    for bucket, count in ((place - 1, 1), (min(place, 9), 2 if place < 10 else 1)):
        if 0 <= bucket < 10:
            expected[bucket] += count
    assert counted.counts == expected
    assert (counted.below, counted.above) == (int(place == 0), int(place == 10))


def test_chunks_land_where_the_whole_does() -> None:
    """Values right on computed edges are counted alike in one piece, in chunks and by NumPy."""
    edges = np.linspace(0.1, 0.7, 8)
    values = np.concatenate([edges] * 3)
    whole = build_histogram(values, edges.tolist())
    assert build_histogram([values[:5], values[5:]], edges.tolist()) == whole
    assert whole.counts == np.histogram(values, 7, (0.1, 0.7))[0].tolist()


def test_what_no_bucket_takes_is_counted_beside() -> None:
    """Below, above, infinite and NaN each have a count, and the size has them all."""
    counted = build_histogram([-math.inf, -1, 0.5, 2, 3, math.inf, math.nan], [0, 1])
    assert counted == Histogram(edges=[0, 1], counts=[1], below=2, above=3, nan=1, infinite=2)
    assert counted.size == 7


def test_the_largest_float_is_a_number() -> None:
    """Edges may reach to the largest float; an infinity is still outside."""
    largest = sys.float_info.max
    counted = build_histogram([largest, -largest, math.inf], [-largest, 0, largest])
    assert (counted.counts, counted.above, counted.infinite) == ([1, 1], 1, 1)


def test_without_edges_only_what_is_not_finite_counts() -> None:
    """No edges will do for NaN and infinities; a number then has nowhere to go."""
    counted = build_histogram([math.nan, math.inf, -math.inf, -math.inf], [])
    assert counted == Histogram(edges=[], counts=[], below=2, above=1, nan=1, infinite=3)
    with pytest.raises(UsageError, match="no edges to count them between"):
        build_histogram([math.nan, 0.5], [])


def test_more_than_a_block() -> None:
    """Two hundred thousand values, which is several blocks, are all counted."""
    values = np.arange(200_000)
    counted = build_histogram(values, [0, 50_000, 65_536, 199_999])
    assert counted.counts == [50_000, 15_536, 134_464]


def test_merging_adds_every_count() -> None:
    """Each count of the sum is the sum of the counts; other edges are refused."""
    one = Histogram(edges=[0, 1, 2], counts=[1, 2], below=3, above=4, nan=5, infinite=6)
    other = Histogram(edges=[0, 1, 2], counts=[10, 20], below=30, above=40, nan=50, infinite=60)
    assert merge_histograms(one, other) == Histogram(
        edges=[0, 1, 2], counts=[11, 22], below=33, above=44, nan=55, infinite=66
    )
    with pytest.raises(UsageError, match="different edges"):
        merge_histograms(one, Histogram(edges=[0, 1, 3], counts=[1, 2]))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"edges":[0,1,2],"counts":[1]}', "counts: are not one fewer than edges"),
        (b'{"edges":[],"counts":[1]}', "counts: are not one fewer than edges"),
        (b'{"edges":[0,2,1],"counts":[1,1]}', "edges: edge 2 is 1 after 2"),
        (b'{"edges":[1],"counts":[]}', "edges: edges are not a list of 2 to 1001 numbers"),
        (b'{"edges":[0,1],"counts":[-1]}', "counts, below, above, nan, infinite: one is negative"),
        (b'{"edges":[0,1],"counts":[1],"infinite":1}', "infinite: is more than below and above"),
    ],
)
def test_a_stored_histogram_that_is_off(line: bytes, problem: str) -> None:
    """A histogram that cannot be says why on reading, and is not merged."""
    assert any(problem in said for said in validate(line, Histogram))
    with pytest.raises(RecordError):
        decode(line, Histogram)


def test_a_stored_histogram_reads_back() -> None:
    """What `encode` writes is what `decode` gives."""
    counted = build_histogram([1, 2.5, math.nan], [0, 2, 3])
    assert encode(counted) == b'{"edges":[0.0,2.0,3.0],"counts":[1,1],"nan":1}'
    assert decode(encode(counted), Histogram) == counted
