"""Drift of categories: words or their counts in, a `DistributionDrift` out (SPEC G3).

Each category is a bucket. Categories are compared as they are written: no case is folded and no
blank is trimmed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from stillhouse.drift.breakdown import (
    EPSILON,
    DistributionDrift,
    Row,
    drift_of_rows,
    with_warnings,
)
from stillhouse.drift.cautions import cautions
from stillhouse.errors import UsageError

Categories = Iterable[str] | Mapping[str, int]
"""Words, or how often each was seen."""


def compute_categorical_drift(
    reference: Categories, current: Categories, *, epsilon: float = EPSILON
) -> DistributionDrift:
    """Compare two sets of categories, given as words or as counts by word.

    Raises `UsageError` for a category that is no text or a count that is no number of times.
    """
    return compare_counts(_counted(reference, "reference"), _counted(current, "current"), epsilon)


def compare_counts(
    reference: Mapping[str, int], current: Mapping[str, int], epsilon: float = EPSILON
) -> DistributionDrift:
    """Compare counts by category. Buckets are the categories that a side has, the commonest of
    both sides together first.

    Raises `UsageError` for a category that is no text or a count that is no number of times.
    """
    for name, counts in (("reference", reference), ("current", current)):
        _check_counts(counts, name)
    names = [name for name in {**reference, **current} if reference.get(name) or current.get(name)]
    rows = [Row(None, None, name, reference.get(name, 0), current.get(name, 0)) for name in names]
    sizes = max(sum(reference.values()), 1), max(sum(current.values()), 1)
    rows.sort(key=lambda row: (-row.reference / sizes[0] - row.current / sizes[1], row.label))
    drift = drift_of_rows("categorical", rows, epsilon=epsilon)
    return with_warnings(drift, list(cautions(drift)))


def _counted(values: Categories, name: str) -> Mapping[str, int]:
    if isinstance(values, Mapping):
        return values
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise UsageError(
            f"{type(values).__name__} is no list of categories",
            where=name,
            way_out="Give an iterable of words, or counts by word.",
        )
    return Counter(values)


def _check_counts(counts: Mapping[Any, Any], name: str) -> None:
    for word, count in counts.items():
        if not isinstance(word, str):
            raise UsageError(
                f"the category {word!r} is no text",
                where=name,
                way_out="Name what has no category, such as '(none)'.",
            )
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise UsageError(
                f"{word!r} is counted {count!r} times",
                where=name,
                way_out="Give whole numbers from 0.",
            )
