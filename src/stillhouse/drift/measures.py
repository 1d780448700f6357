"""The formulas: pure functions of counts, shares and sorted values.

Sources: PSI as in Siddiqi, *Credit Risk Scorecards* (2006), and its distribution without drift as
in Yurdakul, *Statistical Properties of Population Stability Index* (2018); Jensen–Shannon as in
Lin (1991) and, as a distance, Endres and Schindelin (2003); Kolmogorov–Smirnov with the limiting
distribution of Smirnov (1948). No function here gives NaN for shares from 0 to 1.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, chdtri, kolmogorov, xlogy

from stillhouse.drift.values import FloatArray

_STRETCH: Final = 1 << 12


def psi_terms(reference: FloatArray, current: FloatArray) -> FloatArray:
    """What each bucket adds to PSI, (cᵢ - rᵢ) · ln(cᵢ / rᵢ), for shares above 0.

    None is negative, and the two sides may change places.
    """
    terms: FloatArray = np.abs(current - reference) * np.abs(np.log(current) - np.log(reference))
    return terms


def jensen_shannon(reference: FloatArray, current: FloatArray) -> float:
    """The Jensen–Shannon distance, base 2: 0 for equal shares, 1 for shares that never meet.

    It is the square root of the divergence, on shares as they are: 0 · log 0 is 0.
    """
    middle = (reference + current) / 2
    safe = np.where(middle > 0, middle, 1.0)
    terms = xlogy(reference, reference / safe) + xlogy(current, current / safe)
    return math.sqrt(min(max(math.fsum(terms) / (2 * math.log(2)), 0.0), 1.0))


# -------------------------------------------------------------------------------- noise


class Noise(NamedTuple):
    """What PSI does without drift, on sides of these sizes: its mean and its 99th percentile."""

    mean: float
    percentile_99: float


def psi_noise(reference_size: int, current_size: int, degrees: int) -> Noise:
    """The noise of PSI: (1/N + 1/M) · χ² with B - 1 ``degrees`` of freedom.

    It holds while buckets have some five expected values each; with emptier ones, see
    `psi_from_clamped_buckets`.
    """
    if degrees < 1:
        return Noise(0.0, 0.0)
    scale = 1 / reference_size + 1 / current_size
    return Noise(scale * degrees, scale * float(chdtri(degrees, 0.01)))


def psi_p_value(psi: float, reference_size: int, current_size: int, degrees: int) -> float | None:
    """How often PSI is this large or larger without drift; None with a single bucket."""
    if degrees < 1:
        return None
    scale = 1 / reference_size + 1 / current_size
    return float(chdtrc(degrees, psi / scale))


# ------------------------------------------------------------------- Kolmogorov–Smirnov


def ks_of_counts(reference: npt.NDArray[np.int64], current: npt.NDArray[np.int64]) -> float:
    """The largest distance of the cumulative shares at the buckets' edges.

    It cannot see inside a bucket, so the distance between the values may be larger.
    """
    distance = np.cumsum(reference) / reference.sum() - np.cumsum(current) / current.sum()
    return float(np.abs(distance).max())


def ks_of_values(reference: FloatArray, current: FloatArray) -> float:
    """The two-sample Kolmogorov–Smirnov statistic of values in rising order, without NaN.

    Only the stretches that can hold the largest distance are looked at value by value: where the
    distance at both ends of a stretch bounds it below one already found, it is passed over.
    """
    if reference.size > current.size:
        reference, current = current, reference
    n, m = reference.size, current.size
    starts = np.arange(0, n, _STRETCH)
    ends = np.minimum(starts + _STRETCH, n)
    low = np.searchsorted(current, reference[starts], side="left")
    high = np.searchsorted(current, reference[ends - 1], side="right")
    bounds = np.maximum(ends / n - low / m, high / m - starts / n)
    largest = 0.0
    for place in np.argsort(-bounds):
        if bounds[place] <= largest:
            break
        start, end = int(starts[place]), int(ends[place])
        stretch, others = reference[start:end], current[low[place] : high[place]]
        ranks = np.arange(start, end)
        at = (low[place] + np.searchsorted(others, stretch, side="right")) / m
        before = (low[place] + np.searchsorted(others, stretch, side="left")) / m
        largest = max(largest, ((ranks + 1) / n - at).max(), (before - ranks / n).max())
    return float(largest)


def ks_p_value(distance: float, reference_size: int, current_size: int) -> float:
    """How often the distance is this large or larger without drift, in the limit of many values.

    Careful (too large) for small sides and for values that repeat.
    """
    effective = reference_size * current_size / (reference_size + current_size)
    return float(kolmogorov(math.sqrt(effective) * distance))
