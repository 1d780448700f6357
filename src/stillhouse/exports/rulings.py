"""Rulings: what the whole lake says of each row, before any text is read.

Over the index alone and in bounded memory: which answers have conflicting verdicts (SPEC
F5), which repeat another (S9), which runs make preference pairs (P1), and which rows share
a dataset split (T2). A ruling can only keep a row out; letting it out is the firewall's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.exports.firewall import CODE, EXPORT, ExportOptions
from stillhouse.index import (
    CATEGORY_CODE,
    EMPTY,
    EXTRACTION,
    MISMATCH,
    MISSING,
    NOT_INSTRUCTABLE,
    OTHER_MEDIA,
    UNKNOWN,
    Rows,
)
from stillhouse.spill import U64, Spill, group_starts

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ACCEPTED: Final = CATEGORY_CODE["accepted"]
PARTIAL: Final = CATEGORY_CODE["partially_accepted"]
REJECTED: Final = CATEGORY_CODE["rejected"]
REVIEW: Final = CATEGORY_CODE["needs_human_review"]

SPLIT_THOUSANDTHS: Final = (900, 950, 1000)
"""Upper bounds of the splits in thousandths: 90 %, 5 %, 5 % of the groups."""

_NONE: Final = np.iinfo(np.int64).max


class Rulings(NamedTuple):
    """One entry a row of the lake, in the order of the partitions.

    ``sft``, ``preference`` and ``rag`` are positions in `firewall.REASONS`; ``split`` a
    position in `SPLITS`. ``other`` names, for each export, the row that a conflict or a
    duplicate clashes with (-1: none). ``pairs`` are (chosen row, rejected row), sorted.
    """

    sft: U8
    preference: U8
    rag: U8
    split: U8
    other: dict[str, Clashes]
    pairs: I64


class Clashes(NamedTuple):
    """Sparse row → row: ``rows`` ascending, ``others`` beside them."""

    rows: I64
    others: I64

    def within(self, start: int, end: int) -> dict[int, int]:
        """Those of the rows from ``start`` to ``end``, counted from ``start``."""
        low, high = np.searchsorted(self.rows, [start, end])
        found = zip(self.rows[low:high].tolist(), self.others[low:high].tolist(), strict=True)
        return {row - start: other for row, other in found}


Blocks = Callable[[], Iterable[Rows]]
"""Gives the lake's index rows in order, block by block, as often as asked."""


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
        pairs=np.zeros((0, 2), dtype=np.int64),
    )
    _rule_rows(blocks, rulings, options)
    others = _rule_answers(blocks, rulings, options, spill)
    pairs = _rule_pairs(blocks, rulings, options, spill)
    _rule_splits(blocks, rulings, spill)
    return rulings._replace(other=others, pairs=pairs)


# ------------------------------------------------------------------------- row by itself


def _numbered(blocks: Blocks) -> Iterator[tuple[int, Rows]]:
    base = 0
    for rows in blocks():
        yield base, rows
        base += len(rows)


def _rule_rows(blocks: Blocks, rulings: Rulings, options: ExportOptions) -> None:
    """What a row's own category and flags say; the last rule applied is the strongest."""
    for base, rows in _numbered(blocks):
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
            part[(flags & MISMATCH) != 0] = CODE["verdict_mismatch"]
            part[category == UNKNOWN] = CODE["invalid"]
            part[(flags & MISSING) != 0] = CODE["not_scored"]


# ------------------------------------------------------------ same answer to same prompt

_ANSWER: Final = np.dtype(
    [("hi", "<u8"), ("lo", "<u8"), ("row", "<i8"), ("category", "u1"), ("flags", "u1")]
)


def _halves(rows: Rows, name: str) -> tuple[U64, U64]:
    both = np.ascontiguousarray(rows[name]).view("<u8").reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _rule_answers(
    blocks: Blocks, rulings: Rulings, options: ExportOptions, spill: Spill
) -> dict[str, Clashes]:
    buckets = spill.buckets("answers", _ANSWER)
    for base, rows in _numbered(blocks):
        packed = np.empty(len(rows), dtype=_ANSWER)
        packed["hi"], packed["lo"] = _halves(rows, "answer")
        packed["row"] = np.arange(base, base + len(rows))
        packed["category"], packed["flags"] = rows["category"], rows["flags"]
        full = (packed["flags"] & EMPTY) == 0
        buckets.add(packed["hi"][full], packed[full])
    found: dict[str, list[I64]] = {"sft": [], "preference": [], "rag": []}
    for bucket in buckets:
        for name, clashes in _rule_answer_bucket(bucket, rulings, options):
            found[name].append(clashes)
    return {name: _sorted_clashes(parts) for name, parts in found.items()}


def _sorted_clashes(parts: list[I64]) -> Clashes:
    both = np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.int64)
    both = both[np.argsort(both[:, 0], kind="stable")]
    return Clashes(np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1]))


def _rule_answer_bucket(
    bucket: npt.NDArray[Any], rulings: Rulings, options: ExportOptions
) -> Iterator[tuple[str, I64]]:
    order = np.lexsort((bucket["row"], bucket["lo"], bucket["hi"]))
    bucket = bucket[order]
    starts = group_starts(bucket["hi"], bucket["lo"])
    sizes = np.diff(np.append(starts, len(bucket)))
    if not (sizes > 1).any():
        return
    # Rows that are alone in their group clash with nobody.
    bucket = bucket[np.repeat(sizes > 1, sizes)]
    starts = group_starts(bucket["hi"], bucket["lo"])
    sizes = np.diff(np.append(starts, len(bucket)))
    row, category, flags = bucket["row"], bucket["category"], bucket["flags"]

    def first(mask: Mask) -> I64:
        """For every row, the first row of its group under the mask (or `_NONE`)."""
        least = np.minimum.reduceat(np.where(mask, row, _NONE), starts)
        return np.repeat(least, sizes)

    sound = (flags & (MISMATCH | MISSING)) == 0
    good = sound & ((category == ACCEPTED) | (category == PARTIAL))
    review = (category == REVIEW) & ((flags & EXTRACTION) == 0)
    refused = (category == REJECTED) | (category == UNKNOWN) | ((flags & MISMATCH) != 0)
    against, praise = first(refused | review), first(good)
    refused_by = first(refused)
    yield "sft", _mark(rulings.sft, "conflicting_verdict", row, against, good)
    yield "preference", _mark(rulings.preference, "conflicting_verdict", row, against, good)
    bad = sound & (category == REJECTED)
    yield "preference", _mark(rulings.preference, "conflicting_verdict", row, praise, bad)
    in_rag = good | ((category == REVIEW) & sound)
    by = refused_by if options.include_review else against
    yield "rag", _mark(rulings.rag, "conflicting_verdict", row, by, in_rag)
    for name, ruling in (("sft", rulings.sft), ("rag", rulings.rag)):
        # The best verdict is kept, then the earliest row; MAX marks rows that are out.
        out = ruling[row] == EXPORT
        rank = np.where(category == ACCEPTED, 0, np.where(category == PARTIAL, 1, 2))
        best_rank = np.repeat(np.minimum.reduceat(np.where(out, rank, 9), starts), sizes)
        keeper = first(out & (rank == best_rank))
        yield name, _mark(ruling, "duplicate", row, keeper, out & (row != keeper))


def _mark(ruling: U8, reason: str, row: I64, other: I64, mask: Mask) -> I64:
    """Rule out the rows under the mask that are still in; returns (row, other) for them."""
    hit = mask & (other != _NONE) & (ruling[row] == EXPORT)
    ruling[row[hit]] = CODE[reason]
    return np.stack([row[hit], other[hit]], axis=1)


# ------------------------------------------------------------------------------- pairs

_SIDE: Final = np.dtype(
    [
        ("task_hi", "<u8"),
        ("task_lo", "<u8"),
        ("prompt_hi", "<u8"),
        ("prompt_lo", "<u8"),
        ("answer_hi", "<u8"),
        ("answer_lo", "<u8"),
        ("row", "<i8"),
        ("category", "u1"),
    ]
)


def _rule_pairs(blocks: Blocks, rulings: Rulings, options: ExportOptions, spill: Spill) -> I64:
    buckets = spill.buckets("sides", _SIDE)
    for base, rows in _numbered(blocks):
        numbers = np.arange(base, base + len(rows))
        side = rulings.preference[numbers] == EXPORT
        packed = np.empty(int(side.sum()), dtype=_SIDE)
        for name in ("task", "prompt", "answer"):
            packed[f"{name}_hi"], packed[f"{name}_lo"] = _halves(rows[side], name)
        packed["row"], packed["category"] = numbers[side], rows["category"][side]
        buckets.add(packed["task_hi"], packed)
    pairs: list[I64] = [np.zeros((0, 2), dtype=np.int64)]
    for bucket in buckets:
        found = list(_pair_bucket(bucket, rulings.preference, options.max_pairs))
        pairs.append(np.array(found, dtype=np.int64).reshape(-1, 2))
    both = np.concatenate(pairs)
    return both[np.lexsort((both[:, 1], both[:, 0]))]


def _pair_bucket(bucket: npt.NDArray[Any], ruling: U8, max_pairs: int) -> Iterator[tuple[int, int]]:
    """Pairs of a bucket; every row in it gets its preference ruling here."""
    names = ("task_hi", "task_lo", "prompt_hi", "prompt_lo", "answer_hi", "answer_lo")
    keys = ("row", "category", *reversed(names))
    bucket = bucket[np.lexsort(tuple(bucket[key] for key in keys))]
    keep = group_starts(*(bucket[name] for name in names))
    repeats = np.ones(len(bucket), dtype=bool)
    repeats[keep] = False
    ruling[bucket["row"][repeats]] = CODE["duplicate"]
    bucket = bucket[keep]
    row, category = bucket["row"], bucket["category"]
    starts = group_starts(*(bucket[name] for name in names[:4]))
    sizes = np.diff(np.append(starts, len(bucket)))
    mixed = np.zeros(0, dtype=bool)
    if len(starts):
        mixed = np.minimum.reduceat(category, starts) != np.maximum.reduceat(category, starts)
    alone = ~np.repeat(mixed, sizes)
    ruling[row[alone]] = np.where(category[alone] == PARTIAL, CODE["no_partner"], CODE["unpaired"])
    ruling[row[~alone]] = CODE["over_max_pairs"]
    task, used = None, 0
    for start, size in zip(starts[mixed].tolist(), sizes[mixed].tolist(), strict=True):
        here = (int(bucket["task_hi"][start]), int(bucket["task_lo"][start]))
        if here != task:
            task, used = here, 0
        # Only so many of each verdict can ever stand in a pair; a task may have millions.
        span = slice(start, start + size)
        for chosen, rejected in choose_pairs(row[span], category[span], max_pairs - used):
            ruling[chosen] = ruling[rejected] = EXPORT
            used += 1
            yield chosen, rejected


def choose_pairs(row: I64, category: U8, limit: int) -> list[tuple[int, int]]:
    """Up to ``limit`` (chosen, rejected) rows of one prompt, the clearest contrast first.

    Accepted against rejected comes before the half steps, and every answer is used once
    before one is used twice, so that few pairs still show many answers.
    """
    pairs: list[tuple[int, int]] = []
    for high, low in ((ACCEPTED, REJECTED), (ACCEPTED, PARTIAL), (PARTIAL, REJECTED)):
        left = np.sort(row[category == high])[:limit].tolist()
        right = np.sort(row[category == low])[:limit].tolist()
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


# ------------------------------------------------------------------------------- splits

_LINK: Final = np.dtype([("task", "<u8"), ("prompt", "<u8")])
_TASK: Final = np.dtype([("task", "<u8"), ("row", "<i8")])


def _rule_splits(blocks: Blocks, rulings: Rulings, spill: Spill) -> None:
    """Rows that share a task or a prompt, directly or through others, share a split.

    Most prompts belong to one task. Only prompts shared by several tasks can tie tasks
    together, and only tasks with two such prompts can tie prompts together: the graph that
    has to be held in memory is that small core.
    """
    by_prompt = spill.buckets("prompts", _LINK)
    for rows in blocks():
        links = np.empty(len(rows), dtype=_LINK)
        links["task"], links["prompt"] = _halves(rows, "task")[0], _halves(rows, "prompt")[0]
        links = np.unique(links)
        by_prompt.add(links["prompt"], links)
    shared = spill.buckets("shared", _LINK)
    for links in by_prompt:
        links = np.unique(links)
        _, inverse, count = np.unique(links["prompt"], return_inverse=True, return_counts=True)
        several = links[count[inverse] > 1]
        shared.add(several["task"], several)
    tied: list[npt.NDArray[Any]] = []
    core: list[npt.NDArray[Any]] = []
    for links in shared:
        _, inverse, count = np.unique(links["task"], return_inverse=True, return_counts=True)
        core.append(links[count[inverse] > 1])
        tied.append(links)
    root = _Roots(np.concatenate(core) if core else np.zeros(0, dtype=_LINK))
    links = np.concatenate(tied) if tied else np.zeros(0, dtype=_LINK)
    tasks, first = np.unique(links["task"], return_index=True)
    labels = root.of(links["prompt"][first])
    for base, rows in _numbered(blocks):
        task = _halves(rows, "task")[0]
        label = task.copy()
        if len(tasks):
            at = np.minimum(np.searchsorted(tasks, task), len(tasks) - 1)
            known = tasks[at] == task
            label[known] = labels[at[known]]
        rulings.split[base : base + len(rows)] = split_codes(label)


class _Roots:
    """The representative (least) prompt of every connected component of the core."""

    def __init__(self, links: npt.NDArray[Any]) -> None:
        self._prompts, prompt = np.unique(links["prompt"], return_inverse=True)
        tasks, task = np.unique(links["task"], return_inverse=True)
        self._labels = self._prompts
        if len(links):
            # Slow to import, and most lakes have no such core.
            from scipy.sparse import coo_array
            from scipy.sparse.csgraph import connected_components

            nodes = len(self._prompts) + len(tasks)
            ones = np.ones(len(links), dtype=np.int8)
            graph = coo_array((ones, (prompt, task + len(self._prompts))), shape=(nodes, nodes))
            _, component = connected_components(graph, directed=False)
            component = component[: len(self._prompts)]
            # Prompts are sorted, so the first one of a component is its least.
            _, first = np.unique(component, return_index=True)
            least = np.zeros(int(component.max()) + 1, dtype=np.uint64)
            least[component[first]] = self._prompts[first]
            self._labels = least[component]

    def of(self, prompts: U64) -> U64:
        """The representative of each prompt: itself when it is not in the core."""
        if not len(self._prompts):
            return prompts
        at = np.minimum(np.searchsorted(self._prompts, prompts), len(self._prompts) - 1)
        return np.where(self._prompts[at] == prompts, self._labels[at], prompts)


def split_codes(labels: U64) -> U8:
    """Positions in `SPLITS` by a hash of the group's label (the splitmix64 finaliser of
    Steele, Lea and Flood 2014): the least label of a large group is no fair draw itself."""
    mixed = labels.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.searchsorted(SPLIT_THOUSANDTHS, mixed % np.uint64(1000), side="right").astype(
        np.uint8
    )
