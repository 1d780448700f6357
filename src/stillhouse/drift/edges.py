"""Where numeric buckets begin and end.

A value on an edge belongs to the bucket that begins there, and the largest edge to the last
bucket: ``[e₀, e₁) [e₁, e₂) … [eₙ₋₁, eₙ]``, as in `numpy.histogram`. Edges are finite and rise
strictly. Infinities, and whatever lies outside, are counted beside the buckets.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Final

import numpy as np

from stillhouse.drift.values import FloatArray, Numbers, sorted_values
from stillhouse.errors import UsageError

FEWEST_BUCKETS: Final = 2
MOST_BUCKETS: Final = 1000
"""A number of buckets outside these bounds is taken as the nearer one."""


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
    return [float(edge) for edge in np.unique(np.clip(spread, low, high))]


def quantile_edges(values: Numbers, buckets: int) -> list[float]:
    """Edges that give each bucket an equal share of the finite values, from the smallest to the
    largest of them; empty when there is none.

    Quantiles are interpolated linearly (number 7 of Hyndman and Fan 1996, NumPy's default). A
    value so frequent that it fills a bucket gets a bucket that holds it alone, so that it cannot
    hide what happens beside it; there are then fewer buckets than asked for.
    """
    ordered = sorted_values(values)
    finite = ordered[np.isfinite(ordered)]
    if not finite.size:
        return []
    cuts = _quantiles(finite, bound_buckets(buckets))
    repeated = cuts[:-1][cuts[:-1] == cuts[1:]]
    alone = [edge for value in np.unique(repeated) for edge in _edges_around(float(value))]
    return [float(edge) for edge in np.unique([*cuts, *alone])]


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
        array = np.asarray(edges, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 1 or not FEWEST_BUCKETS <= array.size <= MOST_BUCKETS + 1:
        raise UsageError(
            "edges are not a list of 2 to 1001 numbers",
            way_out="Name where each bucket begins, and where the last one ends.",
        )
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
    return array


def is_one_value(low: float, high: float) -> bool:
    """True when no float lies between the two edges: the bucket was made for one value."""
    return bool(np.nextafter(low, np.inf) >= high)


def bucket_labels(edges: Sequence[float]) -> list[str]:
    """Names of the buckets, such as ``[0, 10)``, with as many digits as tell the edges apart."""
    texts: list[str] = []
    for digits in range(6, 18):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(texts)) == len(texts):
            break
    labels = []
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        if is_one_value(low, high):
            labels.append(f"{low:.17g}" if low != float(texts[place]) else texts[place])
        else:
            closing = "]" if place == len(edges) - 2 else ")"
            labels.append(f"[{texts[place]}, {texts[place + 1]}{closing}")
    return labels


def _edges_around(value: float) -> list[float]:
    """Two edges with one value between them: the value itself, and the next float."""
    after = float(np.nextafter(value, np.inf))
    return [value, after] if np.isfinite(after) else [float(np.nextafter(value, -np.inf)), value]


def _scale(low: float, high: float) -> float:
    """A factor under which the distance of two floats is a float too."""
    return 1.0 if np.isfinite(np.subtract(high, low, dtype=np.float64)) else 0.5


def _quantiles(ordered: FloatArray, buckets: int) -> FloatArray:
    """The ``buckets`` + 1 quantiles of values in rising order, both ends among them."""
    places = np.arange(buckets + 1) * ((ordered.size - 1) / buckets)
    before = np.minimum(places.astype(np.int64), ordered.size - 1)
    after = np.minimum(before + 1, ordered.size - 1)
    scale = _scale(ordered[0], ordered[-1])
    left, right = ordered[before] * scale, ordered[after] * scale
    return np.maximum.accumulate((left + (right - left) * (places - before)) / scale)
