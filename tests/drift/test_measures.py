"""The formulas beside SciPy's own, on seeded values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from stillhouse.drift import compute_distribution_drift
from stillhouse.drift.measures import (
    jensen_shannon,
    ks_of_values,
    ks_p_value,
    psi_noise,
    psi_p_value,
)

SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_ks_is_scipys(seed: int) -> None:
    """The statistic is SciPy's exactly, over many sizes, with ties and without."""
    chance = np.random.default_rng(seed)
    one = chance.normal(size=int(chance.integers(1, 20_000)))
    other = chance.normal(0.02 * seed, 1, size=int(chance.integers(1, 20_000)))
    if seed % 2:
        one, other = one.round(1), other.round(1)
    mine = ks_of_values(np.sort(one), np.sort(other))
    theirs = stats.ks_2samp(one, other, method="asymp")
    assert mine == pytest.approx(theirs.statistic, abs=1e-12)
    assert mine == ks_of_values(np.sort(other), np.sort(one))


def test_ks_p_value_is_the_limit() -> None:
    """On sides of thousands the p-value is SciPy's to a few in a thousand."""
    chance = np.random.default_rng(3)
    one, other = chance.normal(size=4000), chance.normal(0.03, 1, size=5000)
    theirs = stats.ks_2samp(one, other, method="asymp")
    assert ks_p_value(theirs.statistic, 4000, 5000) == pytest.approx(theirs.pvalue, abs=0.005)


@pytest.mark.parametrize("seed", SEEDS)
def test_jensen_shannon_is_scipys(seed: int) -> None:
    """The distance is SciPy's with base 2, empty buckets among the shares."""
    chance = np.random.default_rng(seed)
    shares = chance.multinomial(40, chance.dirichlet(np.ones(9)), size=2) / 40
    expected = distance.jensenshannon(shares[0], shares[1], base=2)
    assert jensen_shannon(shares[0], shares[1]) == pytest.approx(expected, abs=1e-12)


def test_jensen_shannon_ends_at_one() -> None:
    """Shares that never meet are at distance 1, equal ones at 0."""
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1
    assert jensen_shannon(np.array([0.3, 0.7]), np.array([0.3, 0.7])) == 0


@pytest.mark.parametrize("degrees", [1, 9, 99, 999])
def test_noise_is_chi_square(degrees: int) -> None:
    """Mean, 99th percentile and p-value are those of (1/N + 1/M) · χ² (SPEC G3)."""
    scale = 1 / 300 + 1 / 700
    noise = psi_noise(300, 700, degrees)
    assert noise.mean == pytest.approx(scale * degrees)
    assert noise.percentile_99 == pytest.approx(scale * stats.chi2.ppf(0.99, degrees))
    for psi in (0.0, 0.05, 0.3, 20.0):
        expected = stats.chi2.sf(psi * 300 * 700 / 1000, degrees)
        assert psi_p_value(psi, 300, 700, degrees) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("bump", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("size", [40_000, 90_000])
def test_ks_of_many_values_looks_at_the_right_stretch(bump: float, size: int) -> None:
    """Far more values than a stretch holds, one side ahead or behind at one place: SciPy's KS."""
    chance = np.random.default_rng(11)
    one = chance.random(60_000)
    other = np.concatenate([chance.random(size), chance.uniform(bump, bump + 0.01, 30_000)])
    mine = compute_distribution_drift(one, other)
    expected = stats.ks_2samp(one, other, method="asymp").statistic
    assert mine.ks == pytest.approx(expected, abs=1e-12)
