"""Drift of numbers: values or histograms in, a `DistributionDrift` out (SPEC G1 to G3).

Every comparison goes through histograms over common edges. Values held in memory are sorted once,
for the Kolmogorov–Smirnov distance; values that come in chunks are only counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from stillhouse.drift.breakdown import (
    EPSILON,
    DistributionDrift,
    Ks,
    Row,
    check_epsilon,
    drift_of_rows,
    with_warnings,
)
from stillhouse.drift.cautions import cautions
from stillhouse.drift.edges import (
    bound_buckets,
    bucket_labels,
    check_edges,
    equal_width_edges,
    quantile_edges_of_sorted,
    widen_edges,
)
from stillhouse.drift.histogram import Histogram, build_histogram, check_same_edges
from stillhouse.drift.measures import ks_of_counts, ks_of_values
from stillhouse.drift.values import (
    FloatArray,
    Numbers,
    finite_range,
    is_array,
    is_one_pass,
    sorted_values,
)
from stillhouse.errors import UsageError

Edges = Literal["equal_width", "quantile"] | Sequence[float]


def compute_distribution_drift(
    reference: Numbers,
    current: Numbers,
    buckets: int = 10,
    *,
    edges: Edges = "equal_width",
    epsilon: float = EPSILON,
) -> DistributionDrift:
    """Compare two sets of numbers by their Population Stability Index and its companions.

    ``reference`` and ``current`` are flat arrays or sequences of numbers, or iterables of numbers
    or of such arrays. NaN (and None) and values outside the edges have buckets of their own;
    infinities are always outside.

    ``edges``: ``equal_width`` cuts the range of both sides into ``buckets`` (2 to 1000; taken as
    the nearer bound beyond) of one width. ``quantile`` gives each an equal share of the
    *reference*; the outermost ones reach out to what the current side holds. Or the edges
    themselves, two or more finite numbers that rise; ``buckets`` then plays no part.

    ``epsilon`` is the share that stands for a bucket with less.

    Memory: arrays are copied once, 8 bytes a value. Iterables of chunks that can be read again,
    and iterators when the edges are given, are read block by block; other iterators, and the
    reference under ``quantile``, are held. ``ks`` is exact when both sides are held.

    Raises `UsageError` for what is no set of numbers, or edges or an epsilon that are off.
    """
    wanted = bound_buckets(buckets)
    check_epsilon(epsilon)
    given = None if isinstance(edges, str) else check_edges(edges).tolist()
    reference = _held(reference, "reference", given is not None)
    current = _held(current, "current", given is not None)
    chosen = given or _choose_edges(edges, reference, current, wanted)
    ks = None
    if isinstance(reference, np.ndarray) and isinstance(current, np.ndarray):
        ks = _ks_of_held(reference, current)
    drift = _compare(
        build_histogram(reference, chosen, name="reference"),
        build_histogram(current, chosen, name="current"),
        epsilon,
        ks,
    )
    if given is not None or drift.verdict == "empty":
        return drift
    return with_warnings(drift, [*drift.warnings, *_bucket_notes(buckets, wanted, chosen)])


def compare_histograms(
    reference: Histogram, current: Histogram, epsilon: float = EPSILON
) -> DistributionDrift:
    """Compare two histograms over the same edges; ``ks`` is then a lower bound.

    Raises `UsageError` when the edges differ, `RecordError` for a histogram that is off.
    """
    check_same_edges(reference, current)
    return _compare(reference, current, epsilon, None)


# ------------------------------------------------------------------------------ choosing


def _held(values: Numbers, name: str, edges_given: bool) -> Numbers:
    """The values, sorted in memory where they are there already or can be read only once."""
    if is_array(values) or (is_one_pass(values) and not edges_given):
        return sorted_values(values, name)
    return values


def _choose_edges(rule: Edges, reference: Numbers, current: Numbers, buckets: int) -> list[float]:
    if rule not in ("equal_width", "quantile"):
        raise UsageError(
            f"edges are {rule!r}", way_out="Say equal_width or quantile, or give the edges."
        )
    ranges = [finite_range(reference, "reference"), finite_range(current, "current")]
    known = [each for each in ranges if each is not None]
    if not known:
        return []
    low, high = min(each[0] for each in known), max(each[1] for each in known)
    if rule == "quantile" and ranges[0] is not None:
        ordered = reference
        if not isinstance(ordered, np.ndarray):
            ordered = sorted_values(reference, "reference")
        return widen_edges(quantile_edges_of_sorted(ordered, buckets), low, high)
    return equal_width_edges(low, high, buckets)


def _bucket_notes(asked: int, wanted: int, edges: Sequence[float]) -> Iterator[str]:
    """What became of the number of buckets that was asked for."""
    if asked != wanted:
        yield f"{asked} buckets were asked for, and {wanted} taken: it takes 2 to 1000"
    made = len(edges) - 1
    if 1 < made < wanted:
        yield f"{made} buckets instead of {wanted}: the values leave no room for more"


# ----------------------------------------------------------------------------- comparing


def _compare(
    reference: Histogram, current: Histogram, epsilon: float, ks: Ks | None
) -> DistributionDrift:
    drift = drift_of_rows(
        "numeric",
        list(_rows(reference, current)),
        epsilon=epsilon,
        edges=reference.edges,
        ks=ks or _ks_of_histograms(reference, current),
    )
    return with_warnings(drift, [*cautions(drift), *_odd_values(reference, current)])


def _rows(reference: Histogram, current: Histogram) -> Iterator[Row]:
    """The buckets in rising order; those outside the edges, and NaN, where a value is in them."""
    edges = reference.edges
    first, last = (edges[0], edges[-1]) if edges else (None, None)
    if reference.below or current.below:
        label = "-inf" if first is None else f"< {first:g}"
        yield Row(None, first, label, reference.below, current.below)
    counted = zip(bucket_labels(edges), reference.counts, current.counts, strict=True)
    for place, (label, old, new) in enumerate(counted):
        yield Row(edges[place], edges[place + 1], label, old, new)
    if reference.above or current.above:
        label = "inf" if last is None else f"> {last:g}"
        yield Row(last, None, label, reference.above, current.above)
    if reference.nan or current.nan:
        yield Row(None, None, "nan", reference.nan, current.nan)


def _odd_values(reference: Histogram, current: Histogram) -> Iterator[str]:
    """Values that are no finite numbers, or lie outside the edges."""
    if reference.nan or current.nan:
        yield f"NaN: {reference.nan} in reference, {current.nan} in current, in a bucket apart"
    if reference.infinite or current.infinite:
        yield (
            f"infinite values: {reference.infinite} in reference, {current.infinite} in current, "
            "counted outside the edges"
        )
    outside = [side.below + side.above - side.infinite for side in (reference, current)]
    if any(outside):
        yield (
            f"values outside the edges: {outside[0]} in reference, {outside[1]} in current, in "
            "buckets of their own"
        )


def _ks_of_held(reference: FloatArray, current: FloatArray) -> Ks | None:
    """From values in rising order, NaN last."""
    one, other = (side[: np.searchsorted(side, np.nan)] for side in (reference, current))
    if not (one.size and other.size):
        return None
    return Ks(ks_of_values(one, other), one.size, other.size, "values")


def _ks_of_histograms(reference: Histogram, current: Histogram) -> Ks | None:
    counts = [np.array([h.below, *h.counts, h.above]) for h in (reference, current)]
    sizes = [int(side.sum()) for side in counts]
    return Ks(ks_of_counts(*counts), sizes[0], sizes[1], "buckets") if all(sizes) else None
