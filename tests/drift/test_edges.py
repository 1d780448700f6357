"""Where buckets begin and end, and how they are called."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from stillhouse.drift import build_histogram, equal_width_edges, quantile_edges
from stillhouse.drift.edges import bucket_labels, widen_edges
from stillhouse.errors import UsageError

LARGEST = sys.float_info.max


@pytest.mark.parametrize(("low", "high", "buckets"), [(0, 119, 10), (-3.7, 0.1, 7), (0.1, 0.7, 6)])
def test_equal_width_is_numpys(low: float, high: float, buckets: int) -> None:
    """Bit for bit the edges that `numpy.histogram` uses."""
    assert equal_width_edges(low, high, buckets) == np.linspace(low, high, buckets + 1).tolist()


def test_equal_width_over_all_floats() -> None:
    """A range wider than the largest float is cut evenly too."""
    assert equal_width_edges(-LARGEST, LARGEST, 2) == [-LARGEST, 0, LARGEST]


def test_zero_has_no_sign() -> None:
    """Whether values held 0.0 or -0.0, edges read the same."""
    assert str(equal_width_edges(-1.0, -0.0, 2)) == "[-1.0, -0.5, 0.0]"
    assert str(quantile_edges([-1.0, -0.0], 2)) == "[-1.0, -0.5, 0.0]"
    assert str(equal_width_edges(-0.0, -0.0, 2)) == "[0.0, 5e-324]"
    assert str(build_histogram([], [-1.0, -0.0]).edges) == "[-1.0, 0.0]"


@pytest.mark.parametrize(
    ("low", "high"), [(1, 0), (math.nan, 1), (0, math.nan), (-math.inf, 0), (0, math.inf)]
)
def test_equal_width_refuses(low: float, high: float) -> None:
    """Limits that are exchanged or not finite are refused."""
    with pytest.raises(UsageError, match="buckets cannot reach from"):
        equal_width_edges(low, high, 10)


def test_quantiles_are_numpys() -> None:
    """Linearly interpolated quantiles, as `numpy.quantile` gives them."""
    values = np.random.default_rng(1).lognormal(size=1001)
    expected = np.quantile(values, np.linspace(0, 1, 14))
    assert quantile_edges(values, 13) == pytest.approx(expected.tolist(), rel=1e-12)


def test_quantiles_leave_out_what_is_not_finite() -> None:
    """NaN and infinities have no place among the edges; without numbers there are none."""
    assert quantile_edges([math.nan, 0, 1, 2, math.inf, -math.inf], 2) == [0, 1, 2]
    assert quantile_edges([math.nan, math.inf], 2) == []


def test_quantiles_of_opposite_extremes() -> None:
    """Values at both ends of what a float can hold give edges that are finite."""
    assert quantile_edges([-LARGEST, -LARGEST / 2, LARGEST / 2, LARGEST], 2)[1] == 0


def test_a_frequent_value_gets_a_bucket_of_its_own() -> None:
    """A value that fills a bucket is held alone, wherever it lies."""
    after = math.nextafter(5, 6)
    assert quantile_edges([5, 5, 5, 9], 3) == [5, after, 9]
    assert quantile_edges([1, 5, 5, 5], 3) == [1, 5, after]
    assert quantile_edges([5, 5], 3) == [5, after]


@pytest.mark.parametrize(
    ("edges", "low", "high", "wide"),
    [
        ([0, 1, 2], -1, 3, [-1, 1, 3]),
        ([0, 1, 2], 0.5, 1.5, [0, 1, 2]),
        ([5, math.nextafter(5, 6)], 4, 6, [4, 5, math.nextafter(5, 6), 6]),
        ([0, 5, math.nextafter(5, 6)], -1, 6, [-1, 5, math.nextafter(5, 6), 6]),
    ],
)
def test_widening(edges: list[float], low: float, high: float, wide: list[float]) -> None:
    """The outermost buckets reach out, but one that holds a single value stays as it is."""
    assert widen_edges(edges, low, high) == wide


@pytest.mark.parametrize(
    ("edges", "labels"),
    [
        ([0, 10, 20], ["[0, 10)", "[10, 20]"]),
        ([0.5, 1e9], ["[0.5, 1e+09]"]),
        ([1000000.25, 1000000.5, 1000001], ["[1000000.2, 1000000.5)", "[1000000.5, 1000001]"]),
        ([0, 5, math.nextafter(5, 6), 9], ["[0, 5)", "5", "(5, 9]"]),
        ([0.1, math.nextafter(0.1, 1)], ["0.1"]),
        ([], []),
    ],
)
def test_labels(edges: list[float], labels: list[str]) -> None:
    """Labels have as many digits as tell neighbours apart, and name a single value plainly."""
    assert bucket_labels(edges) == labels
