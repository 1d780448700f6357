"""Which runs make preference pairs (SPEC P1): over the index alone, in bounded memory.

Runs of one task and one prompt, given the same tools, whose verdicts differ. This module
sees no text; what a pair looks like is `preference`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stillhouse.exports.firewall import CODE, EXPORT
from stillhouse.index import CATEGORY_CODE, Blocks, halves, numbered
from stillhouse.spill import I64, U8, Spill, group_starts

ACCEPTED: Final = CATEGORY_CODE["accepted"]
PARTIAL: Final = CATEGORY_CODE["partially_accepted"]
REJECTED: Final = CATEGORY_CODE["rejected"]
_RANKED: Final = (ACCEPTED, PARTIAL, REJECTED)

_SIDE_KEYS: Final = ("task", "prompt", "answer")
_GROUP: Final = ("task_hi", "task_lo", "prompt_hi", "prompt_lo", "tools")
_SIDE: Final = np.dtype(
    [(f"{name}_{half}", "<u8") for name in _SIDE_KEYS for half in ("hi", "lo")]
    + [("tools", "<u8"), ("row", "<i8"), ("category", "u1")]
)


def rule_pairs(blocks: Blocks, ruling: U8, max_pairs: int, spill: Spill) -> tuple[I64, list[I64]]:
    """(chosen row, rejected row) sorted, and (row, the one kept) of repeated answers."""
    buckets = spill.buckets("sides", _SIDE)
    for base, rows in numbered(blocks):
        side = ruling[base : base + len(rows)] == EXPORT
        packed = np.empty(int(side.sum()), dtype=_SIDE)
        for name in _SIDE_KEYS:
            packed[f"{name}_hi"], packed[f"{name}_lo"] = halves(rows[side], name)
        packed["row"], packed["category"] = np.flatnonzero(side) + base, rows["category"][side]
        packed["tools"] = rows["tools"][side]
        buckets.add(packed["task_hi"], packed)
    pairs: list[I64] = [np.zeros((0, 2), dtype=np.int64)]
    repeats: list[I64] = []
    for bucket in buckets:
        bucket, repeated = _without_repeats(bucket, ruling)
        repeats.append(repeated)
        pairs.append(_pair_bucket(bucket, ruling, max_pairs))
    both = np.concatenate(pairs)
    return both[np.lexsort((both[:, 1], both[:, 0]))], repeats


def _without_repeats(bucket: npt.NDArray[Any], ruling: U8) -> tuple[npt.NDArray[Any], I64]:
    """A bucket sorted by task, prompt and answer, each answer of a prompt once."""
    names = (*_GROUP, "answer_hi", "answer_lo")
    keys = ("row", "category", *reversed(names))
    bucket = bucket[np.lexsort(tuple(bucket[key] for key in keys))]
    starts = group_starts(*(bucket[name] for name in names))
    sizes = np.diff(np.append(starts, len(bucket)))
    repeats = np.ones(len(bucket), dtype=bool)
    repeats[starts] = False
    row = bucket["row"]
    ruling[row[repeats]] = CODE["duplicate"]
    kept = np.repeat(row[starts], sizes)
    return bucket[starts], np.stack([row[repeats], kept[repeats]], axis=1)


def _pair_bucket(bucket: npt.NDArray[Any], ruling: U8, max_pairs: int) -> I64:
    """Pairs of a bucket; every row in it gets its preference ruling here."""
    row, category = bucket["row"], bucket["category"]
    starts = group_starts(*(bucket[name] for name in _GROUP))
    sizes = np.diff(np.append(starts, len(bucket)))
    mixed = np.zeros(0, dtype=bool)
    if len(starts):
        mixed = np.minimum.reduceat(category, starts) != np.maximum.reduceat(category, starts)
    alone = ~np.repeat(mixed, sizes)
    ruling[row[alone]] = np.where(category[alone] == PARTIAL, CODE["no_partner"], CODE["unpaired"])
    ruling[row[~alone]] = CODE["over_max_pairs"]
    chosen: list[int] = []
    rejected: list[int] = []
    task, used = None, 0
    tasks = zip(bucket["task_hi"][starts].tolist(), bucket["task_lo"][starts].tolist(), strict=True)
    for start, size, here, both in zip(
        starts.tolist(), sizes.tolist(), tasks, mixed.tolist(), strict=True
    ):
        if not both:
            continue
        if here != task:
            task, used = here, 0
        span = slice(start, start + size)
        for better, worse in choose_pairs(row[span], category[span], max_pairs - used):
            chosen.append(better)
            rejected.append(worse)
            used += 1
    pairs = np.array([chosen, rejected], dtype=np.int64).T
    ruling[pairs] = EXPORT
    return pairs


def choose_pairs(row: I64, category: U8, limit: int) -> list[tuple[int, int]]:
    """Up to ``limit`` (chosen, rejected) rows of one prompt, the clearest contrast first.

    Accepted against rejected comes before the half steps, and every answer is used once
    before one is used twice, so that few pairs still show many answers.
    """
    # Only so many of each verdict can ever stand in a pair; a task may have millions.
    best = {code: np.sort(row[category == code])[:limit].tolist() for code in _RANKED}
    pairs: list[tuple[int, int]] = []
    for high, low in ((ACCEPTED, REJECTED), (ACCEPTED, PARTIAL), (PARTIAL, REJECTED)):
        left, right = best[high], best[low]
        if not left or not right:
            continue
        longer = max(len(left), len(right))
        for shift in range(min(len(left), len(right))):
            for step in range(longer):
                if len(pairs) >= limit:
                    return pairs
                if len(left) >= len(right):
                    pairs.append((left[step], right[(step + shift) % len(right)]))
                else:
                    pairs.append((left[(step + shift) % len(left)], right[step]))
    return pairs
