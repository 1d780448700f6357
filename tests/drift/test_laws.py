"""Laws of the comparison that hold for any values whatever: tried with made-up ones."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.drift import (
    DistributionDrift,
    build_histogram,
    compare_counts,
    compare_histograms,
    compute_categorical_drift,
    compute_distribution_drift,
    merge_histograms,
)
from stillhouse.records import decode, encode

anything = st.lists(
    st.one_of(
        st.floats(),
        st.floats(-10, 10),
        st.integers(-3, 3).map(float),
        st.sampled_from([0.0, -0.0, 1e308, -1.7e308, 5e-324, math.inf, -math.inf, math.nan]),
    ),
    max_size=60,
)
"""Values of all kinds: ties, extremes, infinities, NaN, none at all."""

rules = st.sampled_from(["equal_width", "quantile"])
risen = st.lists(st.floats(-20, 20), min_size=2, max_size=12, unique=True).map(sorted)
counts = st.dictionaries(st.text(max_size=3), st.integers(0, 200), max_size=12)


def figures(value: Any) -> Iterator[float]:
    """Every number in a JSON-like value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from figures(item)
    elif isinstance(value, int | float):
        yield value


def joined(parts: list[list[float]]) -> list[float]:
    """The parts as one list."""
    return list(itertools.chain.from_iterable(parts))


def check_figures(drift: DistributionDrift) -> None:
    """What holds for every comparison."""
    assert all(math.isfinite(number) for number in figures(msgspec.to_builtins(drift)))
    assert decode(encode(drift), DistributionDrift) == drift
    assert 0 <= drift.psi_debiased <= drift.psi
    assert 0 <= drift.psi_from_clamped_buckets <= drift.psi * (1 + 1e-12)
    assert drift.psi == pytest.approx(math.fsum(bucket.psi for bucket in drift.buckets))
    assert min([bucket.psi for bucket in drift.buckets], default=0) >= 0
    assert 0 <= drift.jensen_shannon <= 1
    assert 0 <= drift.expected_noise <= drift.noise_floor_99
    for chance in (drift.p_value, drift.ks, drift.ks_p_value):
        assert chance is None or 0 <= chance <= 1
    assert (drift.verdict == "empty") == (not drift.reference_size or not drift.current_size)


@given(anything, anything, st.integers(-1, 30), rules)
def test_no_input_gives_a_figure_that_is_no_number(
    reference: list[float], current: list[float], buckets: int, rule: Any
) -> None:
    """Whatever the values, figures are finite and within their bounds, and the JSON reads back."""
    check_figures(compute_distribution_drift(reference, current, buckets, edges=rule))


@given(counts, counts)
def test_no_counts_give_a_figure_that_is_no_number(
    reference: dict[str, int], current: dict[str, int]
) -> None:
    """Whatever the categories, figures are finite and within their bounds."""
    check_figures(compare_counts(reference, current))


@given(anything, anything, st.integers(2, 30), rules)
def test_counts_are_conserved(
    reference: list[float], current: list[float], buckets: int, rule: Any
) -> None:
    """The buckets of a side hold exactly as many values as went in, and their shares add up."""
    drift = compute_distribution_drift(reference, current, buckets, edges=rule)
    assert sum(bucket.reference for bucket in drift.buckets) == len(reference)
    assert sum(bucket.current for bucket in drift.buckets) == len(current)
    assert (drift.reference_size, drift.current_size) == (len(reference), len(current))
    if reference:
        assert math.fsum(b.reference_share for b in drift.buckets) == pytest.approx(1)


@given(anything, anything, st.integers(2, 30))
def test_psi_is_symmetric(reference: list[float], current: list[float], buckets: int) -> None:
    """The two sides may change places: not one bit of PSI, JS or KS differs."""
    there = compute_distribution_drift(reference, current, buckets)
    back = compute_distribution_drift(current, reference, buckets)
    assert (there.psi, there.jensen_shannon, there.p_value) == (
        back.psi,
        back.jensen_shannon,
        back.p_value,
    )
    assert there.ks == pytest.approx(back.ks)


@given(anything, rules, st.integers(1, 3))
def test_equal_sides_have_no_drift(values: list[float], rule: Any, times: int) -> None:
    """The same values, even several times over, give exactly 0 everywhere."""
    drift = compute_distribution_drift(values, values * times, edges=rule)
    assert (drift.psi, drift.psi_debiased, drift.jensen_shannon) == (0, 0, 0)
    assert drift.ks is None or drift.ks == pytest.approx(0, abs=1e-12)
    assert drift.verdict == ("stable" if values else "empty")


@given(anything, anything, rules, st.randoms(use_true_random=False))
def test_order_is_irrelevant(
    reference: list[float], current: list[float], rule: Any, chance: Any
) -> None:
    """Shuffled values give the same record."""
    drift = compute_distribution_drift(reference, current, edges=rule)
    chance.shuffle(reference)
    chance.shuffle(current)
    assert compute_distribution_drift(reference, current, edges=rule) == drift


@given(st.lists(anything, max_size=5), risen)
def test_merged_histograms_are_the_histogram_of_the_whole(
    parts: list[list[float]], edges: list[float]
) -> None:
    """Parts counted apart and merged are the same record as all values counted at once."""
    merged = build_histogram([], edges)
    for part in parts:
        merged = merge_histograms(merged, build_histogram(part, edges))
    whole = joined(parts)
    assert merged == build_histogram(whole, edges)
    assert merged.size == len(whole)
    assert not merged.problems()


@given(anything, anything, risen)
def test_histograms_compare_as_their_values_do(
    reference: list[float], current: list[float], edges: list[float]
) -> None:
    """From histograms every figure is as from the values, but KS, which is at most as large."""
    drift = compute_distribution_drift(reference, current, edges=edges)
    coarse = compare_histograms(build_histogram(reference, edges), build_histogram(current, edges))
    assert (coarse.psi, coarse.buckets, coarse.p_value) == (drift.psi, drift.buckets, drift.p_value)
    assert coarse.warnings == drift.warnings
    if drift.ks is not None:
        assert coarse.ks is not None
        assert coarse.ks <= drift.ks + 1e-12


@given(st.lists(anything, max_size=4), st.lists(anything, max_size=4), rules)
def test_chunks_are_the_whole(
    reference: list[list[float]], current: list[list[float]], rule: Any
) -> None:
    """Values in chunks, read again or only once, give the figures of the values in one list."""
    whole = compute_distribution_drift(joined(reference), joined(current), edges=rule)
    arrays = [[np.array(chunk, dtype=float) for chunk in side] for side in (reference, current)]
    chunked = compute_distribution_drift(arrays[0], arrays[1], edges=rule)
    once = compute_distribution_drift(iter(arrays[0]), iter(arrays[1]), edges=rule)
    assert once == whole
    assert (chunked.edges, chunked.buckets, chunked.psi) == (whole.edges, whole.buckets, whole.psi)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.integers(2, 40))
def test_buckets_are_those_of_numpy(values: list[float], buckets: int) -> None:
    """Counts between equal-width edges are those of `numpy.histogram`, edge values included."""
    drift = compute_distribution_drift(values, values, buckets)
    assert [b.reference for b in drift.buckets] == np.histogram(values, drift.edges)[0].tolist()


@given(st.lists(st.sampled_from("abcdefg"), max_size=50), st.lists(st.sampled_from("efghi")))
def test_words_compare_as_their_counts_do(reference: list[str], current: list[str]) -> None:
    """Words, in any order, give the record that their counts give; so do the sides exchanged."""
    drift = compute_categorical_drift(reference, current)
    assert drift == compare_counts(Counter(reference), Counter(sorted(current)))
    assert drift.psi == compute_categorical_drift(current, reference).psi
    assert sum(bucket.reference for bucket in drift.buckets) == len(reference)
