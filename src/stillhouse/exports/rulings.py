"""Rulings: what the whole lake says of each row, before any text is read.

Over the index alone and in bounded memory: which answers have conflicting verdicts (SPEC
F5), which repeat another (S9), which runs make preference pairs (P1), and which rows share
a dataset split (T2). A ruling can only keep a row out; letting it out is the firewall's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.exports.firewall import CODE, EXPORT, ExportOptions
from stillhouse.exports.pairing import ACCEPTED, PARTIAL, REJECTED, Pairs, rule_pairs
from stillhouse.exports.splits import rule_splits
from stillhouse.index import (
    CATEGORY_CODE,
    EMPTY,
    EXTRACTION,
    MISMATCH,
    MISSING,
    NOT_INSTRUCTABLE,
    OTHER_MEDIA,
    SECRET,
    UNKNOWN,
    Blocks,
    Rows,
    halves,
    numbered,
)
from stillhouse.spill import I64, U8, Spill, group_starts

Mask = npt.NDArray[np.bool_]

REVIEW: Final = CATEGORY_CODE["needs_human_review"]

_NONE: Final = np.iinfo(np.int64).max


class Rulings(NamedTuple):
    """One entry a row of the lake, in the order of the partitions.

    ``sft``, ``preference`` and ``rag`` are positions in `firewall.REASONS`; ``split`` a
    position in `SPLITS`. ``other`` names, for each export, the row that a conflict or a
    duplicate clashes with.
    """

    sft: U8
    preference: U8
    rag: U8
    split: U8
    other: dict[str, Clashes]
    pairs: Pairs


class Clashes(NamedTuple):
    """Sparse row → row: ``rows`` ascending, ``others`` beside them."""

    rows: I64
    others: I64

    def within(self, start: int, end: int) -> dict[int, int]:
        """Those of the rows from ``start`` to ``end``, counted from ``start``."""
        low, high = np.searchsorted(self.rows, [start, end])
        found = zip(self.rows[low:high].tolist(), self.others[low:high].tolist(), strict=True)
        return {row - start: other for row, other in found}


def rule(blocks: Blocks, spill: Spill, options: ExportOptions) -> Rulings:
    """Decide for every row of the lake.

    ``spill`` takes what does not fit in memory, and knows how many rows ``blocks`` gives.
    """
    sft, preference, rag, split = (np.zeros(spill.expected, dtype=np.uint8) for _ in range(4))
    rulings = Rulings(
        sft,
        preference,
        rag,
        split,
        other={},
        pairs=np.zeros(0, dtype=np.uint64),
    )
    _rule_rows(blocks, rulings, options)
    found = _rule_answers(blocks, rulings, options, spill)
    # Who repeats whom can be told only among those that no conflict keeps out.
    found["sft"] += _rule_repeats(blocks, sft, EXPORT, "answer", spill)
    found["rag"] += _rule_repeats(blocks, rag, EXPORT, "said", spill)
    pairs, repeats = rule_pairs(blocks, preference, options.max_pairs, spill)
    found["preference"] += repeats
    found["preference"] += _rule_repeats(blocks, preference, CODE["unpaired"], "answer", spill)
    rule_splits(blocks, split, spill)
    others = {kind: _sorted_clashes(parts) for kind, parts in found.items()}
    return rulings._replace(other=others, pairs=pairs)


# ------------------------------------------------------------------------- row by itself


def _rule_rows(blocks: Blocks, rulings: Rulings, options: ExportOptions) -> None:
    """What a row's own category and flags say; the last rule applied is the strongest."""
    for base, rows in numbered(blocks):
        span = slice(base, base + len(rows))
        category, flags = rows["category"], rows["flags"]
        empty = (flags & EMPTY) != 0
        foreign = (flags & (NOT_INSTRUCTABLE | EMPTY | OTHER_MEDIA)) != 0
        for ruling in (rulings.sft, rulings.preference, rulings.rag):
            part = ruling[span]
            part[category == REVIEW] = CODE["forbidden_category"]
            part[category == UNKNOWN] = CODE["invalid"]
        sft, preference, rag = rulings.sft[span], rulings.preference[span], rulings.rag[span]
        if not options.include_partial:
            sft[category == PARTIAL] = CODE["not_opted_in"]
        sft[category == REJECTED] = CODE["forbidden_category"]
        rag[category == REJECTED] = CODE["forbidden_category"]
        rag[category == REVIEW] = EXPORT if options.include_review else CODE["not_opted_in"]
        sft[foreign] = CODE["not_instructable"]
        preference[foreign] = CODE["not_instructable"]
        rag[empty] = CODE["not_instructable"]
        for part in (sft, preference, rag):
            if options.on_secret == "drop":
                part[((flags & SECRET) != 0) & (part == EXPORT)] = CODE["secret"]
            part[(flags & MISMATCH) != 0] = CODE["verdict_mismatch"]
            part[category == UNKNOWN] = CODE["invalid"]
            part[(flags & MISSING) != 0] = CODE["not_scored"]


# ------------------------------------------------------------ same answer to same prompt

_ANSWER: Final = np.dtype(
    [
        ("hi", "<u8"),
        ("lo", "<u8"),
        ("row", "<i8"),
        ("category", "u1"),
        ("flags", "u1"),
        ("form", "u1"),
    ]
)

# What an entry stands for. A plain answer is its text; a conversation is its turns, and its
# text, which leaves as response and as RAG text, by itself.
_PLAIN, _TURNS, _TEXT = range(3)


def _rule_answers(
    blocks: Blocks, rulings: Rulings, options: ExportOptions, spill: Spill
) -> dict[str, list[I64]]:
    """Conflicting verdicts on the same answer to the same prompt (SPEC F5); returns (row, other)
    by export."""
    buckets = spill.buckets("answers", _ANSWER)
    for base, rows in numbered(blocks):
        for entries in _entries(base, rows):
            buckets.add(entries["hi"], entries)
    found: dict[str, list[I64]] = {"sft": [], "preference": [], "rag": []}
    for bucket in buckets:
        for kind, clashes in _rule_answer_bucket(bucket, rulings, options):
            found[kind].append(clashes)
    return found


def _entries(base: int, rows: Rows) -> Iterator[npt.NDArray[Any]]:
    """What rows say, under the key of each form that they say it in."""
    answer, said = halves(rows, "answer"), halves(rows, "said")
    differ = (answer[0] != said[0]) | (answer[1] != said[1])
    for form, (hi, lo), mask in (
        (_PLAIN, answer, ~differ),
        (_TURNS, answer, differ),
        (_TEXT, said, differ),
    ):
        mask = mask & ((hi != 0) | (lo != 0))
        packed = np.empty(int(mask.sum()), dtype=_ANSWER)
        packed["hi"], packed["lo"], packed["form"] = hi[mask], lo[mask], form
        packed["row"] = np.flatnonzero(mask) + base
        packed["category"], packed["flags"] = rows["category"][mask], rows["flags"][mask]
        yield packed


class _Groups:
    """Entries in groups of equal keys, and within a group in the order of the lake; those
    that are alone in theirs are left out."""

    def __init__(self, entries: npt.NDArray[Any], *keys: str) -> None:
        order = np.lexsort((entries["row"], *(entries[key] for key in reversed(keys))))
        entries = entries[order]
        starts = group_starts(*(entries[key] for key in keys))
        sizes = np.diff(np.append(starts, len(entries)))
        self.entries = entries[np.repeat(sizes > 1, sizes)]
        self.sizes = sizes[sizes > 1]
        self.starts = np.cumsum(self.sizes) - self.sizes

    def least(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """For every entry, the least of the values of its group."""
        return np.repeat(np.minimum.reduceat(values, self.starts), self.sizes)

    def first(self, mask: Mask) -> I64:
        """For every entry, the first row of its group under the mask (or `_NONE`)."""
        return self.least(np.where(mask, self.entries["row"], _NONE))


def _rule_answer_bucket(
    bucket: npt.NDArray[Any], rulings: Rulings, options: ExportOptions
) -> Iterator[tuple[str, I64]]:
    groups = _Groups(bucket, "hi", "lo")
    entries = groups.entries
    if not len(entries):
        return
    row, category, flags = entries["row"], entries["category"], entries["flags"]
    whole, text = entries["form"] != _TEXT, entries["form"] != _TURNS
    sound = (flags & (MISMATCH | MISSING)) == 0
    praised = ((flags & MISMATCH) == 0) & ((category == ACCEPTED) | (category == PARTIAL))
    good = praised & sound
    review = (category == REVIEW) & ((flags & EXTRACTION) == 0)
    refused = (category == REJECTED) | (category == UNKNOWN) | ((flags & MISMATCH) != 0)

    def clash(mask: Mask) -> I64:
        """For every entry, the first row under the mask that gives the same answer. Two
        conversations are not the same because they end in the same words."""
        return np.where(whole, groups.first(mask), groups.first(mask & whole))

    # What nobody has scored yet leaves for nowhere, and speaks all the same.
    against, praise = clash(refused | review), clash(praised)
    yield "sft", _mark(rulings.sft, "conflicting_verdict", row, against, good)
    yield "preference", _mark(rulings.preference, "conflicting_verdict", row, against, good)
    bad = sound & (category == REJECTED)
    yield "preference", _mark(rulings.preference, "conflicting_verdict", row, praise, bad)
    in_rag = text & (good | ((category == REVIEW) & sound))
    by = groups.first(refused if options.include_review else refused | review)
    yield "rag", _mark(rulings.rag, "conflicting_verdict", row, by, in_rag)


def _mark(ruling: U8, reason: str, row: I64, other: I64, mask: Mask) -> I64:
    """Rule out the rows under the mask that are still in; returns (row, other) for them."""
    hit = mask & (other != _NONE) & (ruling[row] == EXPORT)
    ruling[row[hit]] = CODE[reason]
    return np.stack([row[hit], other[hit]], axis=1)


def _sorted_clashes(parts: list[I64]) -> Clashes:
    both = np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.int64)
    both = both[np.argsort(both[:, 0], kind="stable")]
    return Clashes(np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1]))


# ----------------------------------------------------------------------------- repeats

_REPEAT: Final = np.dtype([("hi", "<u8"), ("lo", "<u8"), ("row", "<i8"), ("category", "u1")])


def _rule_repeats(blocks: Blocks, ruling: U8, among: int, name: str, spill: Spill) -> list[I64]:
    """Of the rows ruled ``among`` that share a key, the best verdict is kept, then the
    earliest row (SPEC S9); returns (row, the one kept)."""
    buckets = spill.buckets("repeats", _REPEAT)
    for base, rows in numbered(blocks):
        mask = ruling[base : base + len(rows)] == among
        packed = np.empty(int(mask.sum()), dtype=_REPEAT)
        packed["hi"], packed["lo"] = halves(rows[mask], name)
        packed["row"] = np.flatnonzero(mask) + base
        packed["category"] = rows["category"][mask]
        buckets.add(packed["hi"], packed)
    found: list[I64] = []
    for bucket in buckets:
        groups = _Groups(bucket, "hi", "lo")
        row, category = groups.entries["row"], groups.entries["category"]
        if not len(row):
            continue
        # Categories are numbered in the order in which they are kept.
        kept = groups.first(category == groups.least(category))
        repeated = row != kept
        ruling[row[repeated]] = CODE["duplicate"]
        found.append(np.stack([row[repeated], kept[repeated]], axis=1))
    return found
