"""Counts over fixed edges, which add up: parts counted apart are the whole counted at once.

A histogram holds counts, never the values. Memory does not grow with the number of values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stillhouse.drift.edges import check_edges
from stillhouse.drift.values import Numbers, read_blocks
from stillhouse.errors import RecordError, UsageError
from stillhouse.records import Record


class Histogram(Record, frozen=True, kw_only=True):
    """Counts of values between edges, and of those that no bucket takes.

    Bucket ``i`` holds ``edges[i] <= value < edges[i + 1]``, the last one its right edge too.
    ``below`` and ``above`` count values outside, infinities among them, and ``infinite`` how many
    of these are infinities. Without edges there is no bucket: for values none of which is finite.
    """

    edges: list[float]
    counts: list[int]
    below: int = 0
    above: int = 0
    nan: int = 0
    infinite: int = 0

    @property
    def size(self) -> int:
        """How many values were counted, NaN among them."""
        return sum(self.counts) + self.below + self.above + self.nan

    def problems(self) -> list[str]:
        out = []
        if self.edges:
            try:
                check_edges(self.edges)
            except UsageError as error:
                out.append(f"edges: {error.what}")
        if len(self.counts) != max(len(self.edges) - 1, 0):
            out.append("counts: are not one fewer than edges")
        if min([*self.counts, self.below, self.above, self.nan, self.infinite]) < 0:
            out.append("counts, below, above, nan, infinite: one is negative")
        if self.infinite > self.below + self.above:
            out.append("infinite: is more than below and above together")
        return out


def build_histogram(values: Numbers, edges: Sequence[float], *, name: str = "values") -> Histogram:
    """Count the values between the edges, block by block.

    ``values`` is a flat array or sequence of numbers, or an iterable of numbers or such arrays;
    ``name`` stands in the error for what cannot be counted. Raises `UsageError`.
    """
    kept = check_edges(edges).tolist() if len(edges) else []
    # The last bucket is closed: it ends where the next float begins. Without edges any will do,
    # since nothing may lie between them.
    limits = np.array([*kept[:-1], math.nextafter(kept[-1], math.inf)] if kept else [0.0, 1.0])
    slots = np.zeros(limits.size + 1, dtype=np.int64)
    size = nan = infinite = 0
    for block in read_blocks(values, name):
        slots += np.bincount(np.searchsorted(limits, block, side="right"), minlength=slots.size)
        size += block.size
        nan += int(np.count_nonzero(np.isnan(block)))
        infinite += int(np.count_nonzero(np.isinf(block)))
    if not kept and size > nan + infinite:
        raise UsageError("there are numbers, and no edges to count them between", where=name)
    return Histogram(
        edges=kept,
        counts=slots[1:-1].tolist() if kept else [],
        below=int(slots[0]),
        above=int(slots[-1]) - nan,  # NaN sorts behind everything
        nan=nan,
        infinite=infinite,
    )


def merge_histograms(a: Histogram, b: Histogram) -> Histogram:
    """The histogram of both sets of values. Raises `UsageError` when the edges differ."""
    check_same_edges(a, b)
    return Histogram(
        edges=a.edges,
        counts=[one + other for one, other in zip(a.counts, b.counts, strict=True)],
        below=a.below + b.below,
        above=a.above + b.above,
        nan=a.nan + b.nan,
        infinite=a.infinite + b.infinite,
    )


def check_same_edges(a: Histogram, b: Histogram) -> None:
    """Raise `RecordError` for a histogram that is off, `UsageError` for two that do not fit."""
    for histogram in (a, b):
        if problems := histogram.problems():
            raise RecordError(problems, where="histogram")
    if a.edges != b.edges:
        raise UsageError(
            "the two histograms have different edges",
            way_out="Build one of them again over the edges of the other.",
        )
