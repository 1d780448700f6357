"""How a few fields of a lake's evidence are spread, beside how they were at the last audit.

The edges of the first audit are kept, so that all later figures are counted over the same
buckets. A lake grows: what is new would drown in all that was there before. So the new rows
alone, which are the difference of two histograms over the same edges, are compared with those
of the last audit; where rows went away, and there is no such difference, all with all.

This module never decides what a drift means.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from stillhouse.drift import (
    DistributionDrift,
    Histogram,
    build_histogram,
    compare_counts,
    compare_histograms,
    merge_histograms,
    quantile_edges,
)
from stillhouse.drift.data import outcome
from stillhouse.drift.fields import FIELDS, Row
from stillhouse.drift.pairs import numbered_lines
from stillhouse.drift.reading import Values
from stillhouse.errors import LakeError
from stillhouse.interfaces import Engine, Store
from stillhouse.records import BaselineDistribution, Record
from stillhouse.state import State

READ: Final = ("text_chars", "latency_ms", "cost_usd", "confidence", "model")
"""Fields that are read from the evidence; all but the model are numbers."""

COUNTED: Final = ("category", "source")
"""Fields that the lake's state counts."""

BUCKETS: Final = 10
BEYOND: Final = "(others)"
"""What the words past the first 1,000 are called together."""


class FieldDrift(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One field, this audit's values against the last one's. ``compared`` says which of this
    audit's: those of the rows that are new, or of all."""

    compared: Literal["new rows", "all rows"]
    drift: DistributionDrift


# ------------------------------------------------------------------------------- reading


class SpreadTask(msgspec.Struct, frozen=True):
    """One evidence file to read, and the edges of the fields that have some."""

    store: Store
    path: str
    edges: dict[str, list[float]]


class Spread(msgspec.Struct):
    """What was read: values of each field, and counts instead where the edges are known."""

    values: dict[str, Values]
    counted: dict[str, Histogram] = {}

    def merge(self, other: Spread) -> None:
        """Add what another unit read."""
        for name, values in other.values.items():
            self.values[name].merge(values)
        for name, histogram in other.counted.items():
            known = self.counted.get(name)
            self.counted[name] = merge_histograms(known, histogram) if known else histogram


_DECODER: Final = msgspec.json.Decoder(Row)


def read_spread(task: SpreadTask) -> Spread:
    """The fields of one evidence file, in one pass. A unit of work."""
    found = {name: Values() for name in READ}
    readers = [(found[name], FIELDS[name].read) for name in READ]
    for number, line in numbered_lines(task.store, task.path):
        try:
            row = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise LakeError(
                "is no evidence, so the file is not as it was written",
                where=f"{task.store.url}/{task.path}:{number}",
                way_out="`stillhouse run` writes it anew.",
            ) from None
        for values, read in readers:
            assert read is not None
            values.add(read(row))
    counted = {}
    for name, edges in task.edges.items():
        counted[name] = build_histogram(np.frombuffer(found[name].numbers), edges)
        found[name].numbers = array("d")
    return Spread(found, counted)


def spreads_of(
    store: Store,
    engine: Engine,
    state: State,
    before: Mapping[str, BaselineDistribution],
) -> dict[str, BaselineDistribution]:
    """Every field's spread, over the edges of ``before`` where it has some."""
    edges = {name: before[name].edges for name in READ if name in before and before[name].edges}
    parts = sorted(state.partitions.values(), key=lambda part: part.evidence.path)
    tasks = (SpreadTask(store, part.evidence.path, edges) for part in parts)
    whole = Spread({name: Values() for name in READ})
    for read in engine.map(read_spread, tasks):
        whole.merge(read)
    categories: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    for part in parts:
        categories.update(part.counts)
        sources[part.stem] += part.evidence.rows
    found = {
        name: _distribution(values, whole.counted.get(name))
        for name, values in whole.values.items()
    }
    found["category"] = BaselineDistribution(labels=_ordered(categories))
    found["source"] = BaselineDistribution(labels=_ordered(sources))
    return found


def _distribution(values: Values, counted: Histogram | None) -> BaselineDistribution:
    if values.words or values.beyond:
        return BaselineDistribution(
            labels=_ordered(values.words), beyond=values.beyond, missing=values.missing
        )
    if counted is None:
        numbers = np.frombuffer(values.numbers)
        counted = build_histogram(numbers, quantile_edges(numbers, BUCKETS))
    return BaselineDistribution(
        edges=counted.edges,
        counts=counted.counts,
        below=counted.below,
        above=counted.above,
        missing=values.missing,
    )


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts) if counts[name]}


# ----------------------------------------------------------------------------- comparing


def compare_spreads(
    before: Mapping[str, BaselineDistribution], now: Mapping[str, BaselineDistribution]
) -> dict[str, FieldDrift]:
    """The drift of every field that both audits have values of, over the same edges."""
    found = {}
    for name, current in now.items():
        prior = before.get(name)
        if prior and prior.edges == current.edges and _size(prior) and _size(current):
            found[name] = _compare(prior, current)
    return found


def moved_fields(fields: Mapping[str, FieldDrift]) -> list[str]:
    """The fields whose drift is major, with enough values to tell it from noise, in words."""
    return [
        f"{name} moved: PSI {one.drift.psi:.2f} of {one.compared}, where chance reaches "
        f"{one.drift.noise_floor_99:.2f}"
        for name, one in fields.items()
        if outcome(one.drift) == "major"
    ]


def _compare(prior: BaselineDistribution, now: BaselineDistribution) -> FieldDrift:
    new = _difference(prior, now)
    current = new or now
    if now.edges:
        drift = compare_histograms(_histogram(prior), _histogram(current))
    else:
        drift = compare_counts(_words(prior), _words(current))
    return FieldDrift(compared="new rows" if new else "all rows", drift=drift)


def _difference(
    prior: BaselineDistribution, now: BaselineDistribution
) -> BaselineDistribution | None:
    """What came since; None where nothing did, or where something went away."""
    labels = dict.fromkeys((*prior.labels, *now.labels), 0)
    new = BaselineDistribution(
        edges=now.edges,
        counts=_less(now.counts, prior.counts),
        below=now.below - prior.below,
        above=now.above - prior.above,
        labels={name: now.labels.get(name, 0) - prior.labels.get(name, 0) for name in labels},
        beyond=now.beyond - prior.beyond,
    )
    return new if not new.problems() and _size(new) else None


def _less(now: Sequence[int], before: Sequence[int]) -> list[int]:
    return [after - was for after, was in zip(now, before, strict=True)]


def _size(spread: BaselineDistribution) -> int:
    numbers = sum(spread.counts) + spread.below + spread.above
    return numbers + sum(spread.labels.values()) + spread.beyond


def _histogram(spread: BaselineDistribution) -> Histogram:
    return Histogram(
        edges=spread.edges, counts=spread.counts, below=spread.below, above=spread.above
    )


def _words(spread: BaselineDistribution) -> dict[str, int]:
    return {**spread.labels, BEYOND: spread.beyond} if spread.beyond else spread.labels
