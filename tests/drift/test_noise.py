"""What PSI does when nothing drifted, by drawing both sides from one distribution, seeded.

The claim is that PSI is then (1/N + 1/M) · χ² with B - 1 degrees of freedom (SPEC G3).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from stillhouse.drift import Histogram, compare_histograms, compute_distribution_drift
from stillhouse.drift.measures import psi_noise


def draw_psi(
    seed: int, pairs: int, sizes: tuple[int, int], shares: list[float]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """PSI of pairs of sides whose buckets have these true shares."""
    chance = np.random.default_rng(seed)
    edges = [float(edge) for edge in range(len(shares) + 1)]
    draws = [chance.multinomial(size, shares, size=pairs).tolist() for size in sizes]
    sides = ([Histogram(edges=edges, counts=counts) for counts in draw] for draw in draws)
    return np.array([compare_histograms(*pair).psi for pair in zip(*sides, strict=True)])


def check_noise(seed: int, pairs: int, sizes: tuple[int, int], shares: list[float]) -> None:
    """Mean and 99th percentile agree with theory within five standard errors of the draw.

    Theory is the limit of many values a bucket; 2 % of its figure is allowed for these sizes.
    """
    drawn = draw_psi(seed, pairs, sizes, shares)
    theory = psi_noise(*sizes, len(shares) - 1)
    error = drawn.std() / math.sqrt(pairs)
    assert abs(drawn.mean() - theory.mean) < 5 * error + 0.02 * theory.mean
    # How many pass the 99th percentile is a binomial count.
    passed = np.count_nonzero(drawn > theory.percentile_99) / pairs
    assert abs(passed - 0.01) < 5 * math.sqrt(0.01 * 0.99 / pairs) + 0.001


CASES = [
    ((2000, 2000), [0.1] * 10),
    ((1000, 5000), [0.1] * 10),
    ((3000, 4000), [0.05, 0.05, 0.1, 0.2, 0.3, 0.2, 0.1]),
    ((5000, 5000), [0.05] * 20),
    ((400, 800), [0.5, 0.5]),
]


@pytest.mark.parametrize(("sizes", "shares"), CASES)
def test_noise_is_as_theory_says(sizes: tuple[int, int], shares: list[float]) -> None:
    """Two thousand drift-free pairs have the mean and the tail that theory gives."""
    check_noise(1, 2000, sizes, shares)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize(("sizes", "shares"), CASES)
def test_noise_is_as_theory_says_over_many_pairs(
    seed: int, sizes: tuple[int, int], shares: list[float]
) -> None:
    """Forty thousand pairs, several seeds."""
    check_noise(seed, 40_000, sizes, shares)


def test_small_samples_pass_the_limit_without_drift() -> None:
    """At 100 values a side and ten buckets 83 % of drift-free pairs reach 0.10 (SPEC G3)."""
    chance = np.random.default_rng(5)
    drifts = [
        compute_distribution_drift(chance.random(100), chance.random(100)) for _ in range(2000)
    ]
    passed = np.mean([drift.psi >= 0.10 for drift in drifts])
    # Theory says 83.4 %, the sampling error is 0.8 %; PSI of small buckets lies a little above χ².
    assert 0.81 < passed < 0.90
    assert all(drift.low_sample for drift in drifts)
    # And what to read instead: p-values are even, the debiased figure is small.
    assert np.mean([(drift.p_value or 0) < 0.05 for drift in drifts]) < 0.12
    assert np.median([drift.psi_debiased for drift in drifts]) < 0.05


def test_p_values_are_even_without_drift() -> None:
    """On sides that are large enough every tenth of the p-values holds a tenth of the pairs."""
    chance = np.random.default_rng(9)
    found = [
        compute_distribution_drift(chance.random(1000), chance.random(1500)).p_value
        for _ in range(1500)
    ]
    tenths = np.histogram(np.array(found, dtype=float), 10, (0, 1))[0]
    assert abs(tenths - 150).max() < 5 * math.sqrt(150)


def test_real_drift_stays_after_the_noise_is_taken_off() -> None:
    """A true PSI is what the debiased figure gives back on average."""
    reference, current = [0.1] * 10, [0.06, 0.08, *[0.1] * 6, 0.12, 0.14]
    true = sum((c - r) * math.log(c / r) for r, c in zip(reference, current, strict=True))
    chance = np.random.default_rng(13)
    edges = [float(edge) for edge in range(11)]
    drifts = [
        compare_histograms(
            Histogram(edges=edges, counts=chance.multinomial(2000, reference).tolist()),
            Histogram(edges=edges, counts=chance.multinomial(2000, current).tolist()),
        )
        for _ in range(500)
    ]
    assert np.mean([drift.psi_debiased for drift in drifts]) == pytest.approx(true, rel=0.05)
    assert np.mean([drift.psi for drift in drifts]) > true * 1.15
