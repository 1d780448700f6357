"""Numbers compared: pinned figures, odd values, what the warnings say, and what is refused."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stillhouse.drift import (
    DistributionDrift,
    Histogram,
    build_histogram,
    compare_histograms,
    compute_distribution_drift,
    quantile_edges,
)
from stillhouse.drift.breakdown import verdict_of
from stillhouse.errors import RecordError, UsageError

HUNDRED = [float(number) for number in range(100)]
SHIFTED = [float(number) for number in range(20, 120)]
EXACT = 1e-12


def pair(reference: list[int], current: list[int]) -> DistributionDrift:
    """Two buckets filled with these counts."""
    sides = [[0.0] * side[0] + [1.0] * side[1] for side in (reference, current)]
    return compute_distribution_drift(sides[0], sides[1], buckets=2)


@pytest.mark.parametrize(
    ("shares", "psi", "verdict"),
    [
        ([40, 60], 0.040546510811, "stable"),
        ([30, 70], 0.169459572077, "minor"),
        ([25, 75], 0.274653072167, "major"),
    ],
)
def test_pinned_shares(shares: list[int], psi: float, verdict: str) -> None:
    """Half and half against other shares gives the contract's PSI and verdict (SPEC G2)."""
    drift = pair([50, 50], shares)
    assert drift.psi == pytest.approx(psi, abs=EXACT)
    assert drift.verdict == verdict


def test_a_quarter_of_log_three() -> None:
    """One to one against one to three is ¼ ln 3, to the last digits."""
    assert pair([50, 50], [25, 75]).psi == pytest.approx(math.log(3) / 4, abs=EXACT)


@pytest.mark.parametrize(("buckets", "psi"), [(10, 1.875978391406), (9, 2.101219563875)])
def test_pinned_shift(buckets: int, psi: float) -> None:
    """0..99 against 20..119 gives the contract's PSI in ten buckets and in nine (SPEC G2)."""
    drift = compute_distribution_drift(HUNDRED, SHIFTED, buckets)
    assert drift.psi == pytest.approx(psi, abs=EXACT)
    assert drift.verdict == "major"
    assert len(drift.edges) == buckets + 1


def test_pinned_opposites() -> None:
    """A hundred zeros against a hundred ones is all epsilon: 2 · (1 - 1e-4) · ln 1e4."""
    drift = compute_distribution_drift([0] * 100, [1] * 100)
    assert drift.psi == pytest.approx(18.418838675878, abs=EXACT)
    assert drift.psi_from_clamped_buckets == drift.psi
    assert any("from epsilon (0.0001)" in warning for warning in drift.warnings)


@pytest.mark.parametrize(
    ("psi", "verdict"),
    [(0.0, "stable"), (0.0999, "stable"), (0.10, "minor"), (0.2499, "minor"), (0.25, "major")],
)
def test_verdicts_change_at_their_limits(psi: float, verdict: str) -> None:
    """Minor begins at 0.10, and major at 0.25."""
    assert verdict_of(psi) == verdict


def test_an_outlier_blinds_equal_width_and_is_warned_of() -> None:
    """0..99 and 100..199, each with one 1e6, have a PSI of 0.0, and the warning says why."""
    sides = [*HUNDRED, 1e6], [*(HUNDRED[place] + 100 for place in range(100)), 1e6]
    drift = compute_distribution_drift(*sides)
    assert drift.psi == 0.0
    assert drift.warnings[0].startswith("one bucket, [0, 100000) holds over 90 % of both sides")
    assert drift.ks == pytest.approx(100 / 101)
    assert drift.ks_basis == "values"
    told = compute_distribution_drift(*sides, edges="quantile")
    assert told.verdict == "major"
    assert not any("one bucket" in warning for warning in told.warnings)


def test_breakdown_adds_up() -> None:
    """Every bucket shows its range, counts, shares, and what it adds to PSI."""
    drift = compute_distribution_drift([0, 1, 2, 3, 4], [0, 0, 2, 3, 4], 4)
    assert [bucket.label for bucket in drift.buckets] == ["[0, 1)", "[1, 2)", "[2, 3)", "[3, 4]"]
    assert [bucket.reference for bucket in drift.buckets] == [1, 1, 1, 2]
    assert [bucket.current for bucket in drift.buckets] == [2, 0, 1, 2]
    assert [bucket.clamped for bucket in drift.buckets] == [False, True, False, False]
    first, second = drift.buckets[:2]
    assert (first.low, first.high, first.reference_share, first.current_share) == (0, 1, 0.2, 0.4)
    assert first.psi == pytest.approx(0.2 * math.log(2))
    assert (second.reference_share, second.current_share) == (0.2, 0.0)
    assert second.psi == pytest.approx((0.2 - 1e-4) * math.log(0.2 / 1e-4))
    assert drift.psi_from_clamped_buckets == second.psi
    assert drift.psi == pytest.approx(first.psi + second.psi)


def test_shares_below_epsilon_are_raised_to_it() -> None:
    """In a large sample one value where the other side has none is no drift."""
    none = Histogram(edges=[0, 1, 2], counts=[10_000_000, 0])
    one = Histogram(edges=[0, 1, 2], counts=[9_999_999, 1])
    for drift in (compare_histograms(none, one), compare_histograms(one, none)):
        assert drift.psi < 1e-12
        assert drift.p_value == pytest.approx(1, abs=1e-3)


def test_epsilon_is_the_callers() -> None:
    """Another epsilon gives another PSI and is recorded."""
    drift = compute_distribution_drift([0] * 100, [1] * 100, epsilon=0.01)
    assert drift.psi == pytest.approx(2 * 0.99 * math.log(100))
    assert drift.epsilon == 0.01


# -------------------------------------------------------------------------------- noise


def test_companions_of_the_plain_figure() -> None:
    """Degrees, mean, floor and p-value follow from the sizes and the occupied buckets (G3)."""
    drift = pair([50, 50], [30, 70])
    assert drift.degrees_of_freedom == 1
    assert drift.expected_noise == pytest.approx(1 / 100 + 1 / 100)
    assert drift.noise_floor_99 == pytest.approx(6.634896601021213 * 0.02)
    assert drift.psi_debiased == pytest.approx(0.169459572077 - 0.02)
    assert drift.p_value == pytest.approx(math.erfc(math.sqrt(0.169459572077 / 0.02 / 2)))


def test_buckets_that_nobody_occupies_do_not_count() -> None:
    """A gap between two heaps leaves two buckets: one degree of freedom."""
    drift = compute_distribution_drift([0] * 50 + [1] * 50, [0] * 50 + [1] * 50, 10)
    assert (len(drift.buckets), drift.degrees_of_freedom) == (10, 1)


@pytest.mark.parametrize(("size", "low"), [(100, True), (432, True), (434, False), (5000, False)])
def test_low_sample(size: int, low: bool) -> None:
    """Ten buckets want 434 values a side for a noise floor below 0.10."""
    values = np.linspace(0, 1, size)
    drift = compute_distribution_drift(values, values)
    assert drift.degrees_of_freedom == 9
    assert drift.low_sample is low is (drift.noise_floor_99 >= 0.10)
    assert any("too few values" in warning for warning in drift.warnings) is low


# --------------------------------------------------------------------------- odd values


def test_nan_has_a_bucket_of_its_own() -> None:
    """NaN and None are counted beside the numbers, in the shares, and said."""
    drift = compute_distribution_drift([1.0, 2.0, math.nan, None], [1.0, 2.0, 2.0, 1.0], 2)
    assert [(b.label, b.reference, b.current) for b in drift.buckets] == [
        ("[1, 1.5)", 1, 2),
        ("[1.5, 2]", 1, 2),
        ("nan", 2, 0),
    ]
    assert drift.buckets[-1].low is drift.buckets[-1].high is None
    assert (drift.reference_size, drift.ks) == (4, 0.0)
    assert "NaN: 2 in reference, 0 in current, in a bucket apart" in drift.warnings


def test_infinities_stand_outside_the_edges() -> None:
    """Infinities do not stretch the buckets; they are counted below and above, and said."""
    drift = compute_distribution_drift([-math.inf, 0, 1, 2], [0, 1, 2, math.inf, math.inf], 2)
    assert drift.edges == [0, 1, 2]
    assert [(b.label, b.low, b.high, b.reference, b.current) for b in drift.buckets] == [
        ("< 0", None, 0, 1, 0),
        ("[0, 1)", 0, 1, 1, 1),
        ("[1, 2]", 1, 2, 2, 2),
        ("> 2", 2, None, 0, 2),
    ]
    assert any("infinite values: 1 in reference, 2 in current" in w for w in drift.warnings)
    assert not any("outside the edges: 0" in warning for warning in drift.warnings)


@pytest.mark.parametrize(
    ("reference", "current", "labels"),
    [
        ([math.nan] * 3, [math.nan] * 5, ["nan"]),
        ([math.inf] * 3, [math.inf] * 5, ["inf"]),
        ([-math.inf, math.nan], [-math.inf, math.nan], ["-inf", "nan"]),
    ],
)
def test_without_a_finite_number_there_are_no_edges(
    reference: list[float], current: list[float], labels: list[str]
) -> None:
    """All NaN, or all infinite, is equal to itself and needs no edge."""
    rules: list[Any] = ["equal_width", "quantile"]
    for rule in rules:
        drift = compute_distribution_drift(reference, current, edges=rule)
        assert [bucket.label for bucket in drift.buckets] == labels
        assert (drift.edges, drift.psi, drift.verdict) == ([], 0, "stable")


@pytest.mark.parametrize("rule", ["equal_width", "quantile"])
def test_all_nan_against_numbers_is_major(rule: Any) -> None:
    """A field that is lost altogether is a major drift, with no distance of numbers."""
    for sides in (([math.nan] * 9, HUNDRED), (HUNDRED, [math.nan] * 9)):
        drift = compute_distribution_drift(*sides, edges=rule)
        assert (drift.verdict, drift.ks, drift.ks_p_value, drift.ks_basis) == (
            "major",
            None,
            None,
            None,
        )


@pytest.mark.parametrize(
    "value", [0.0, -5.0, 1e300, 5e-324, -5e-324, sys.float_info.max, -sys.float_info.max]
)
def test_one_value_over_and_over(value: float) -> None:
    """All values alike are one bucket named for the value; another value is outside of it."""
    drift = compute_distribution_drift([value] * 3, [value] * 7)
    (bucket,) = drift.buckets
    assert float(bucket.label) == pytest.approx(value, rel=1e-5)
    assert (drift.psi, drift.verdict, drift.p_value, drift.degrees_of_freedom) == (
        0,
        "stable",
        None,
        0,
    )
    assert drift.warnings == []
    later = compute_distribution_drift([value] * 3, [1.5] * 7, edges=drift.edges)
    assert later.verdict == "major"


@pytest.mark.parametrize(
    ("reference", "current", "named"),
    [
        ([], HUNDRED, "reference"),
        (HUNDRED, [], "current"),
        ([], [], "reference and current"),
        (np.array([]), iter([]), "reference and current"),
    ],
)
def test_an_empty_side_has_its_own_verdict(reference: Any, current: Any, named: str) -> None:
    """Without values nothing is said but that, and counts still stand in the breakdown."""
    drift = compute_distribution_drift(reference, current)
    assert drift.verdict == "empty"
    assert (drift.psi, drift.psi_debiased, drift.jensen_shannon) == (0, 0, 0)
    assert (drift.p_value, drift.ks, drift.low_sample) == (None, None, True)
    assert drift.warnings == [f"nothing to compare: no values in {named}"]
    assert sum(bucket.reference for bucket in drift.buckets) == drift.reference_size
    assert sum(bucket.current for bucket in drift.buckets) == drift.current_size


@pytest.mark.parametrize(("asked", "made"), [(-5, 2), (0, 2), (1, 2), (1000, 1000), (5000, 1000)])
def test_the_number_of_buckets_is_bounded(asked: int, made: int) -> None:
    """Fewer than 2 buckets are 2, more than 1000 are 1000, and a warning says so."""
    values = np.linspace(0, 1, 50)
    drift = compute_distribution_drift(values, values, asked)
    assert len(drift.edges) == made + 1
    said = any(f"{asked} buckets were asked for, and {made} taken" in w for w in drift.warnings)
    assert said is (asked != made)


def test_a_range_too_narrow_for_its_buckets() -> None:
    """Where fewer floats lie than edges were asked for, there are fewer buckets, and it is said."""
    near = [1.0, math.nextafter(1.0, 2), math.nextafter(math.nextafter(1.0, 2), 2)]
    drift = compute_distribution_drift(near, near)
    assert [bucket.reference for bucket in drift.buckets] == [1, 2]
    assert any(warning.startswith("2 buckets instead of 10") for warning in drift.warnings)


# -------------------------------------------------------------------------------- edges


def test_quantile_buckets_take_the_reference_evenly() -> None:
    """Quantile buckets hold equal shares of the reference, and reach out to what is current."""
    drift = compute_distribution_drift(HUNDRED, SHIFTED, edges="quantile")
    assert [bucket.reference for bucket in drift.buckets] == [10] * 10
    assert (drift.edges[0], drift.edges[-1]) == (0, 119)
    assert drift.edges[1:-1] == quantile_edges(HUNDRED, 10)[1:-1]
    assert [bucket.current for bucket in drift.buckets] == [0, 0, *[10] * 7, 30]


def test_a_frequent_value_does_not_hide_the_others() -> None:
    """With seven zeros in ten, quantile buckets still see the rest move."""
    reference = [0.0] * 700 + list(np.linspace(1, 2, 300))
    current = [0.0] * 700 + list(np.linspace(8, 9, 300))
    drift = compute_distribution_drift(reference, current, edges="quantile")
    assert drift.buckets[0].label == "0"
    assert drift.buckets[0].reference == drift.buckets[0].current == 700
    assert [bucket.current for bucket in drift.buckets[1:]] == [0, 0, 0, 300]
    assert drift.verdict == "major"
    moved = compute_distribution_drift([5.0] * 50, HUNDRED, edges="quantile")
    assert [bucket.label for bucket in moved.buckets] == ["[0, 5)", "5", "(5, 99]"]


def test_kept_edges_compare_later_values() -> None:
    """With the edges of an earlier comparison, values beyond them have buckets of their own."""
    edges = compute_distribution_drift(HUNDRED, HUNDRED, 4).edges
    drift = compute_distribution_drift(HUNDRED, SHIFTED, edges=edges)
    assert drift.edges == edges
    assert [(b.label, b.reference, b.current) for b in drift.buckets][-2:] == [
        ("[74.25, 99]", 25, 25),
        ("> 99", 0, 20),
    ]
    assert any("outside the edges: 0 in reference, 20 in current" in w for w in drift.warnings)


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([3, 2, 1], "edge 1 is 2 after 3"),
        ([1, 2, 2], "edge 2 is 2 after 2"),
        ([0, math.nan, 1], "edge 1 is nan"),
        ([0, 1, math.inf], "edge 2 is inf"),
        ([1], "not a list of 2 to 1001 numbers"),
        ([], "not a list of 2 to 1001 numbers"),
        (range(1002), "not a list of 2 to 1001 numbers"),
        ([[0, 1], [2, 3]], "not a list of 2 to 1001 numbers"),
        ([[0, 1], [2]], "not a list of 2 to 1001 numbers"),
        (["0", "1"], "not a list of 2 to 1001 numbers"),
        (None, "not a list of 2 to 1001 numbers"),
        ("deciles", "edges are 'deciles'. Say equal_width or quantile"),
    ],
)
def test_edges_that_are_off(edges: Any, said: str) -> None:
    """Edges that fall, repeat, are infinite or no numbers are refused in one line."""
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        compute_distribution_drift(HUNDRED, SHIFTED, edges=edges)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("epsilon", [0, -1e-4, 1, 2, math.nan, math.inf])
def test_an_epsilon_that_is_no_share(epsilon: float) -> None:
    """Epsilon lies between 0 and 1."""
    with pytest.raises(UsageError, match=r"epsilon is .* Give a share above 0 and below 1"):
        compute_distribution_drift(HUNDRED, SHIFTED, epsilon=epsilon)


@pytest.mark.parametrize("buckets", [2.5, "10", None])
def test_a_number_of_buckets_that_is_none(buckets: Any) -> None:
    """The number of buckets is a whole number."""
    with pytest.raises(UsageError, match="the number of buckets is"):
        compute_distribution_drift(HUNDRED, SHIFTED, buckets)


# ---------------------------------------------------------------------------- in chunks


class Readings:
    """Chunks that are made anew whenever they are read, and counts how often."""

    def __init__(self, *chunks: list[float]) -> None:
        self.chunks = chunks
        self.passes = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        self.passes += 1
        yield from (np.array(chunk) for chunk in self.chunks)


def test_chunks_that_can_be_read_again_are_not_held() -> None:
    """Two passes, for the range and for the counts; KS is then from the buckets."""
    reference, current = Readings(HUNDRED[:40], HUNDRED[40:]), Readings(SHIFTED)
    drift = compute_distribution_drift(reference, current)
    assert (reference.passes, current.passes) == (2, 2)
    assert drift.psi == pytest.approx(1.875978391406, abs=EXACT)
    assert drift.ks_basis == "buckets"


def test_given_edges_need_one_pass() -> None:
    """With the edges given, an iterator is counted as it comes."""
    drift = compute_distribution_drift(iter([HUNDRED]), iter(SHIFTED), edges=[0, 50, 120])
    assert [bucket.current for bucket in drift.buckets] == [30, 70]
    assert drift.ks_basis == "buckets"


def test_histograms_must_fit() -> None:
    """Histograms over other edges, or that cannot be, are refused."""
    one = build_histogram(HUNDRED, [0, 50, 100])
    with pytest.raises(UsageError, match="different edges"):
        compare_histograms(one, build_histogram(HUNDRED, [0, 60, 100]))
    with pytest.raises(RecordError, match="one fewer than edges"):
        compare_histograms(one, Histogram(edges=[0, 50, 100], counts=[1]))
