"""The result of a comparison, and how counts by bucket become one.

Numeric and categorical comparisons meet here: both are rows of two counts. This module never sees
a value, only counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.drift.measures import (
    jensen_shannon,
    ks_p_value,
    psi_noise,
    psi_p_value,
    psi_terms,
)
from stillhouse.errors import UsageError
from stillhouse.records import SCHEMA_VERSION, Record

DriftKind = Literal["numeric", "categorical"]
DriftVerdict = Literal["stable", "minor", "major", "empty"]
KsBasis = Literal["values", "buckets"]

MINOR: Final = 0.10
MAJOR: Final = 0.25
"""PSI from which a drift is called minor and major (SPEC G1)."""

EPSILON: Final = 1e-4
"""The share that stands for a bucket with less, unless another is asked for (SPEC G1)."""


class Bucket(Record, frozen=True, kw_only=True):
    """One row of the breakdown: a range of numbers, NaN, or a category.

    ``low`` and ``high`` are the range's limits, None where it has none on that side, and for NaN
    and categories. Shares are counts over the side's size as they are; ``psi`` is what the bucket
    adds to the whole, with shares below epsilon ``clamped`` to it.
    """

    low: float | None
    high: float | None
    label: str
    reference: int
    current: int
    reference_share: float
    current_share: float
    psi: float
    clamped: bool


class DistributionDrift(Record, frozen=True, kw_only=True):
    """How far the current values are from the reference (SPEC G1 to G3).

    ``verdict`` goes by ``psi`` alone: stable below 0.10, major from 0.25, minor between; it is
    ``empty`` when a side has no values, and then every figure is 0 or None and says nothing.
    Sizes count every value, NaN among them. ``edges`` are those of the buckets between the
    smallest and the largest edge; what lies outside, and NaN, has buckets beside them.

    ``degrees_of_freedom`` is one less than the buckets that either side occupies. ``p_value`` is
    the chance of such a PSI without drift, None with one bucket; ``expected_noise`` and
    ``noise_floor_99`` are the mean and the 99th percentile of PSI without drift; ``psi_debiased``
    is PSI less the mean, at least 0. ``low_sample`` says that more than one pair of sides in a
    hundred would pass 0.10 without drift. ``psi_from_clamped_buckets`` is the part of PSI whose
    size depends on ``epsilon``.

    ``ks`` is the Kolmogorov–Smirnov distance of the numbers (NaN left out), None for categories;
    by ``ks_basis`` from the values, or from the buckets, and then a lower bound.
    ``jensen_shannon`` is the distance, base 2, from 0 to 1. ``warnings`` are for people.
    """

    schema_version: int = 0
    kind: DriftKind
    psi: float
    verdict: DriftVerdict
    reference_size: int
    current_size: int
    buckets: list[Bucket]
    edges: list[float]
    epsilon: float
    p_value: float | None
    degrees_of_freedom: int
    psi_debiased: float
    noise_floor_99: float
    expected_noise: float
    low_sample: bool
    psi_from_clamped_buckets: float
    ks: float | None
    ks_p_value: float | None
    ks_basis: KsBasis | None = None
    jensen_shannon: float
    warnings: list[str]


class Row(NamedTuple):
    """Counts of one bucket, and how it is called."""

    low: float | None
    high: float | None
    label: str
    reference: int
    current: int


class Ks(NamedTuple):
    """A Kolmogorov–Smirnov distance, how many values each side has, and what was compared."""

    distance: float
    reference_size: int
    current_size: int
    basis: KsBasis


def check_epsilon(epsilon: float) -> float:
    """The epsilon. Raises `UsageError` when it is no share."""
    if not 0 < epsilon < 1:
        raise UsageError(
            f"epsilon is {epsilon}", way_out="Give a share above 0 and below 1, such as 0.0001."
        )
    return float(epsilon)


def drift_of_rows(
    kind: DriftKind,
    rows: Sequence[Row],
    *,
    epsilon: float,
    edges: Sequence[float] = (),
    ks: Ks | None = None,
) -> DistributionDrift:
    """Compare two sides that were counted into the same rows. ``warnings`` is left empty."""
    epsilon = check_epsilon(epsilon)
    sizes = sum(row.reference for row in rows), sum(row.current for row in rows)
    reference = np.array([row.reference / max(sizes[0], 1) for row in rows])
    current = np.array([row.current / max(sizes[1], 1) for row in rows])
    # Shares are raised to epsilon, not only where a bucket is empty: one value in ten million
    # would else weigh more than none, and every large sample would seem to have drifted.
    terms = psi_terms(np.maximum(reference, epsilon), np.maximum(current, epsilon))
    if not all(sizes):
        terms = np.zeros(len(rows))
    clamped = np.minimum(reference, current) < epsilon
    psi = math.fsum(terms)
    occupied = sum(1 for row in rows if row.reference or row.current)
    degrees = max(occupied - 1, 0) if all(sizes) else 0
    noise = psi_noise(*sizes, degrees)
    return DistributionDrift(
        schema_version=SCHEMA_VERSION,
        kind=kind,
        psi=psi,
        verdict=verdict_of(psi) if all(sizes) else "empty",
        reference_size=sizes[0],
        current_size=sizes[1],
        buckets=_buckets(rows, reference, current, terms, clamped),
        edges=list(edges),
        epsilon=epsilon,
        p_value=psi_p_value(psi, *sizes, degrees),
        degrees_of_freedom=degrees,
        psi_debiased=max(psi - noise.mean, 0.0),
        noise_floor_99=noise.percentile_99,
        expected_noise=noise.mean,
        low_sample=not all(sizes) or noise.percentile_99 >= MINOR,
        psi_from_clamped_buckets=math.fsum(terms[clamped]),
        ks=ks.distance if ks else None,
        ks_p_value=ks_p_value(*ks[:3]) if ks else None,
        ks_basis=ks.basis if ks else None,
        jensen_shannon=jensen_shannon(reference, current) if all(sizes) else 0.0,
        warnings=[],
    )


def _buckets(rows: Sequence[Row], *columns: npt.NDArray[Any]) -> list[Bucket]:
    """The rows with their shares, what each adds to PSI, and whether it was clamped."""
    return [
        Bucket(
            **row._asdict(), reference_share=share, current_share=other, psi=term, clamped=clamped
        )
        for row, share, other, term, clamped in zip(
            rows, *(column.tolist() for column in columns), strict=True
        )
    ]


def verdict_of(psi: float) -> DriftVerdict:
    """What a PSI is called (SPEC G1)."""
    if psi < MINOR:
        return "stable"
    return "minor" if psi < MAJOR else "major"


def with_warnings(drift: DistributionDrift, warnings: Sequence[str]) -> DistributionDrift:
    """The same comparison with these words to people."""
    return msgspec.structs.replace(drift, warnings=list(warnings))
