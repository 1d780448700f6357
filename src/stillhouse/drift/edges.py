"""Where numeric buckets begin and end.

A value on an edge belongs to the bucket that begins there, and the largest edge to the last
bucket: ``[e₀, e₁) [e₁, e₂) … [eₙ₋₁, eₙ]``, as in `numpy.histogram`. Edges are finite and rise
strictly. Infinities, and whatever lies outside, are counted beside the buckets.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Final

import numpy as np

from stillhouse.drift.values import NUMERIC, FloatArray, Numbers, sorted_values
from stillhouse.errors import UsageError

FEWEST_BUCKETS: Final = 2
MOST_BUCKETS: Final = 1000
"""A number of buckets outside these bounds is taken as the nearer one."""

_MOST_EDGES: Final = MOST_BUCKETS + 1


def bound_buckets(buckets: int) -> int:
    """The number of buckets within the bounds. Raises `UsageError` when it is no whole number."""
    try:
        return min(max(operator.index(buckets), FEWEST_BUCKETS), MOST_BUCKETS)
    except TypeError:
        raise UsageError(
            f"the number of buckets is {buckets!r}",
            way_out=f"Give a whole number from {FEWEST_BUCKETS} to {MOST_BUCKETS}.",
        ) from None


def equal_width_edges(low: float, high: float, buckets: int) -> list[float]:
    """Edges of buckets of one width from ``low`` to ``high``, the same as NumPy's.

    Fewer buckets where the range holds fewer floats than edges are asked for. When ``low`` is
    ``high``, one bucket that holds that value alone. Raises `UsageError` when a limit is not
    finite or they are the wrong way round.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise UsageError(
            f"buckets cannot reach from {low} to {high}",
            way_out="Give two finite limits, low first.",
        )
    if low == high:
        return _edges_around(low)
    scale = _scale(low, high)
    spread = np.linspace(low * scale, high * scale, bound_buckets(buckets) + 1) / scale
    return _distinct(np.clip(spread, low, high))


def quantile_edges(values: Numbers, buckets: int) -> list[float]:
    """Edges that give each bucket an equal share of the finite values, from the smallest to the
    largest of them; empty when there is none.

    Quantiles are interpolated linearly (number 7 of Hyndman and Fan 1996, NumPy's default). A
    value so frequent that it fills a bucket gets a bucket that holds it alone, so that it cannot
    hide what happens beside it; there are then fewer buckets than asked for.
    """
    return quantile_edges_of_sorted(sorted_values(values), buckets)


def quantile_edges_of_sorted(ordered: FloatArray, buckets: int) -> list[float]:
    """`quantile_edges` of values that are in rising order already, NaN last."""
    begin = np.searchsorted(ordered, -np.inf, side="right")
    finite = ordered[begin : np.searchsorted(ordered, np.inf, side="left")]
    if not finite.size:
        return []
    cuts = _quantiles(finite, bound_buckets(buckets))
    repeated = cuts[:-1][cuts[:-1] == cuts[1:]]
    alone = [edge for value in np.unique(repeated) for edge in _edges_around(float(value))]
    return _distinct(np.array([*cuts, *alone]))


def widen_edges(edges: Sequence[float], low: float, high: float) -> list[float]:
    """Edges that also hold ``low`` and ``high``: the outermost buckets reach further out.

    One that holds a single value is kept as it is, and gets a neighbour.
    """
    out = list(edges)
    if low < out[0]:
        out[: 0 if is_one_value(out[0], out[1]) else 1] = [low]
    if high > out[-1]:
        out[len(out) if is_one_value(out[-2], out[-1]) else -1 :] = [high]
    return out


def check_edges(edges: Sequence[float]) -> FloatArray:
    """The edges as an array. Raises `UsageError` that names the first one that is off."""
    try:
        given = np.asarray(edges)
    except ValueError:  # parts of several lengths
        given = np.empty(0)
    if given.ndim != 1 or given.dtype.kind not in NUMERIC or not 2 <= given.size <= _MOST_EDGES:
        raise UsageError(
            f"edges are not a list of 2 to {_MOST_EDGES} numbers",
            way_out="Name where each bucket begins, and where the last one ends.",
        )
    array = given.astype(np.float64)
    for place, edge in enumerate(array):
        if not np.isfinite(edge):
            raise UsageError(
                f"edge {place} is {edge}",
                way_out="Edges are finite: what lies outside is counted beside the buckets.",
            )
        if place and edge <= array[place - 1]:
            raise UsageError(
                f"edge {place} is {edge:g} after {array[place - 1]:g}",
                way_out="Give edges that rise, each one once.",
            )
    return array + 0.0


def is_one_value(low: float, high: float) -> bool:
    """True when no float lies between the two edges: the bucket was made for one value."""
    return math.nextafter(low, math.inf) >= high


def bucket_labels(edges: Sequence[float]) -> list[str]:
    """Names of the buckets, such as ``[0, 10)``, with as many digits as tell the edges apart.

    A bucket that holds one value is named for it, and the one behind begins after it: ``(5, 9]``.
    """
    alone = [is_one_value(low, high) for low, high in itertools.pairwise(edges)]
    labels = []
    texts = _texts(edges)
    for place, single in enumerate(alone):
        if single:
            labels.append(repr(float(edges[place])).removesuffix(".0"))
            continue
        begin = f"({texts[place - 1]}" if place and alone[place - 1] else f"[{texts[place]}"
        labels.append(f"{begin}, {texts[place + 1]}{']' if place == len(alone) - 1 else ')'}")
    return labels


def _texts(edges: Sequence[float]) -> list[str]:
    """The edges in the fewest digits, from six, that tell those apart that a float lies between."""
    for digits in range(6, 18):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if all(
            one != other or is_one_value(low, high)
            for (one, other), (low, high) in zip(
                itertools.pairwise(texts), itertools.pairwise(edges), strict=True
            )
        ):
            break
    return texts


def _edges_around(value: float) -> list[float]:
    """Two edges with one value between them: the value itself, and the next float."""
    after = math.nextafter(value, math.inf)
    if math.isfinite(after):
        return [value + 0.0, after + 0.0]
    return [math.nextafter(value, -math.inf), value]


def _distinct(edges: FloatArray) -> list[float]:
    """Edges in rising order, each once; zero without a sign, so that equal edges read alike."""
    return [float(edge) + 0.0 for edge in np.unique(edges)]


def _scale(low: float, high: float) -> float:
    """A factor under which the distance of two floats is a float too."""
    return 1.0 if math.isfinite(float(high) - float(low)) else 0.5


def _quantiles(ordered: FloatArray, buckets: int) -> FloatArray:
    """The ``buckets`` + 1 quantiles of values in rising order, both ends among them."""
    places = np.arange(buckets + 1) * ((ordered.size - 1) / buckets)
    before = np.minimum(places.astype(np.int64), ordered.size - 1)
    after = np.minimum(before + 1, ordered.size - 1)
    scale = _scale(ordered[0], ordered[-1])
    left, right = ordered[before] * scale, ordered[after] * scale
    return np.maximum.accumulate((left + (right - left) * (places - before)) / scale)
