"""Which runs make preference pairs (SPEC P1): over the index alone, in bounded memory.

Runs of one task and one prompt, given the same tools, whose verdicts differ. This module
sees no text; what a pair looks like is `preference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stillhouse.exports.firewall import CODE, EXPORT
from stillhouse.index import CATEGORY_CODE, Blocks, halves, numbered
from stillhouse.spill import I64, U8, U64, Spill, group_starts

ACCEPTED: Final = CATEGORY_CODE["accepted"]
PARTIAL: Final = CATEGORY_CODE["partially_accepted"]
REJECTED: Final = CATEGORY_CODE["rejected"]
_RANKED: Final = (ACCEPTED, PARTIAL, REJECTED)

Pairs = U64
"""Pairs, sorted: of each the chosen row's number in the upper 32 bits, the rejected one's in
the lower. Ten million rows can make as many pairs as that; an object each would not fit."""

_SIDE_KEYS: Final = ("task", "prompt", "answer")
_GROUP: Final = ("task_hi", "task_lo", "prompt_hi", "prompt_lo", "tools")
_SIDE: Final = np.dtype(
    [(f"{name}_{half}", "<u8") for name in _SIDE_KEYS for half in ("hi", "lo")]
    + [("tools", "<u8"), ("row", "<i8"), ("category", "u1")]
)


def rule_pairs(blocks: Blocks, ruling: U8, max_pairs: int, spill: Spill) -> tuple[Pairs, list[I64]]:
    """The pairs (see `Pairs`), and (row, the one kept) of repeated answers."""
    buckets = spill.buckets("sides", _SIDE)
    for base, rows in numbered(blocks):
        side = ruling[base : base + len(rows)] == EXPORT
        packed = np.empty(int(side.sum()), dtype=_SIDE)
        for name in _SIDE_KEYS:
            packed[f"{name}_hi"], packed[f"{name}_lo"] = halves(rows[side], name)
        packed["row"], packed["category"] = np.flatnonzero(side) + base, rows["category"][side]
        packed["tools"] = rows["tools"][side]
        buckets.add(packed["task_hi"], packed)
    found: list[U64] = []
    repeats: list[I64] = []
    for bucket in buckets:
        bucket, repeated = _without_repeats(bucket, ruling)
        repeats.append(repeated)
        found.append(_pair_bucket(bucket, ruling, max_pairs))
    pairs = np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)
    pairs.sort()
    return pairs, repeats


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


def _pair_bucket(bucket: npt.NDArray[Any], ruling: U8, max_pairs: int) -> U64:
    """Pairs of a bucket; every row in it gets its preference ruling here."""
    keys = ("row", "category", *reversed(_GROUP))
    bucket = bucket[np.lexsort(tuple(bucket[key] for key in keys))]
    row, category = bucket["row"], bucket["category"]
    starts = group_starts(*(bucket[name] for name in _GROUP))
    if not len(starts):
        return np.zeros(0, dtype=np.uint64)
    counts = [np.add.reduceat((category == code).astype(np.int64), starts) for code in _RANKED]
    sizes = np.diff(np.append(starts, len(bucket)))
    mixed = sum((count > 0).astype(np.int64) for count in counts) > 1
    alone = ~np.repeat(mixed, sizes)
    ruling[row[alone]] = np.where(category[alone] == PARTIAL, CODE["no_partner"], CODE["unpaired"])
    ruling[row[~alone]] = CODE["over_max_pairs"]
    chosen, rejected = _pair_groups(bucket, starts[mixed], [n[mixed] for n in counts], max_pairs)
    ruling[chosen] = ruling[rejected] = EXPORT
    return (chosen.astype(np.uint64) << np.uint64(32)) | rejected.astype(np.uint64)


def _pair_groups(
    bucket: npt.NDArray[Any], starts: npt.NDArray[np.intp], counts: list[I64], max_pairs: int
) -> tuple[I64, I64]:
    """Chosen and rejected rows of groups that have several verdicts, at most so many a task.

    A group's rows stand in the order of their verdicts; ``counts`` says how many have each.
    """
    row = bucket["row"]
    chosen: list[int] = []
    rejected: list[int] = []
    task, used = None, 0
    tasks = zip(bucket["task_hi"][starts].tolist(), bucket["task_lo"][starts].tolist(), strict=True)
    for start, here, *numbers in zip(
        starts.tolist(), tasks, *(count.tolist() for count in counts), strict=True
    ):
        if here != task:
            task, used = here, 0
        limit = max_pairs - used
        ranked = []
        for number in numbers:
            # Only so many of each verdict can ever stand in a pair; a task may have millions.
            ranked.append(row[start : start + min(number, limit)].tolist())
            start += number
        for better, worse in choose_pairs(ranked, limit):
            chosen.append(better)
            rejected.append(worse)
            used += 1
    return np.array(chosen, dtype=np.int64), np.array(rejected, dtype=np.int64)


def partners(pairs: Pairs, first: int, end: int) -> list[tuple[int, int]]:
    """(chosen, rejected) rows of those pairs whose chosen row is from ``first`` to ``end``."""
    low, high = np.searchsorted(pairs, np.array([first << 32, end << 32], dtype=np.uint64))
    return [(pair >> 32, pair & 0xFFFFFFFF) for pair in pairs[low:high].tolist()]


def choose_pairs(ranked: Sequence[list[int]], limit: int) -> list[tuple[int, int]]:
    """Up to ``limit`` (chosen, rejected) rows of one prompt, the clearest contrast first.

    ``ranked`` are the accepted, the partially accepted and the rejected rows. Accepted against
    rejected comes before the half steps, and every answer is used once before one is used
    twice, so that few pairs still show many answers.
    """
    accepted, partial, bad = ranked
    pairs: list[tuple[int, int]] = []
    for left, right in ((accepted, bad), (accepted, partial), (partial, bad)):
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
