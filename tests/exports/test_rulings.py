"""Rulings over the whole lake, against slow and simple ones, in one bucket and in many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.exports.dataset import SPLITS
from stillhouse.exports.firewall import CODE, REASONS, ExportOptions
from stillhouse.exports.pairing import ACCEPTED, PARTIAL, REJECTED, choose_pairs, partners
from stillhouse.exports.rulings import REVIEW, Rulings, rule
from stillhouse.exports.splits import split_codes
from stillhouse.index import (
    EMPTY,
    EXTRACTION,
    MISMATCH,
    MISSING,
    NOT_INSTRUCTABLE,
    OTHER_MEDIA,
    ROW,
    SECRET,
    UNKNOWN,
    Keys,
    Rows,
    pack_row,
    read_index,
)
from stillhouse.spill import ROWS_PER_BUCKET, Buckets, Spill, group_starts


class Fact(NamedTuple):
    """What an index row says, in small numbers."""

    task: int
    prompt: int
    answer: int
    category: int
    flags: int = 0
    talk: int = 0  # which conversation the answer is; 0: none, it is its text
    tools: int = 0

    @property
    def own(self) -> tuple[object, ...] | None:
        """What its verdict is about; None when nothing was said."""
        if self.talk:
            return ("talk", self.prompt, self.talk)
        return self.said

    @property
    def said(self) -> tuple[object, ...] | None:
        """Its text under its prompt."""
        return None if self.flags & EMPTY else ("said", self.prompt, self.answer)


FLAGS = (0, 0, 0, 0, 0, EMPTY, OTHER_MEDIA, NOT_INSTRUCTABLE, NOT_INSTRUCTABLE | EXTRACTION)
DOUBTS = (0, 0, 0, 0, 0, 0, MISMATCH, MISSING, SECRET)


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    """A row of few tasks, prompts and answers."""
    return Fact(
        draw(st.integers(0, 3)),
        draw(st.integers(0, 2)),
        draw(st.integers(0, 2)),
        draw(st.sampled_from([ACCEPTED, PARTIAL, REJECTED, REVIEW, ACCEPTED, REJECTED, UNKNOWN])),
        draw(st.sampled_from(FLAGS)) | draw(st.sampled_from(DOUBTS)),
        draw(st.sampled_from([0, 0, 0, 1, 2])),
        draw(st.sampled_from([0, 0, 0, 1])),
    )


LAKES = st.lists(facts(), max_size=25)
OPTIONS = st.builds(
    ExportOptions,
    include_partial=st.booleans(),
    include_review=st.booleans(),
    max_pairs=st.integers(0, 5),
    on_secret=st.sampled_from(["redact", "redact", "drop"]),
)
BUCKETS = st.sampled_from([1, 2, 3, ROWS_PER_BUCKET])


def _hash(*parts: object) -> bytes:
    return sha256(repr(parts).encode()).digest()


def packed(lake: Sequence[Fact]) -> Rows:
    """Facts as index rows."""
    rows = []
    for number, fact in enumerate(lake):
        keys = Keys(
            _hash("task", fact.task)[:16],
            _hash("prompt", fact.prompt)[:16],
            _hash(fact.own)[:16] if fact.own else bytes(16),
            _hash(fact.said)[:16] if fact.said else bytes(16),
            fact.tools,
            fact.flags,
        )
        sigs = (_hash("raw", number), _hash("evidence", number))
        rows.append(pack_row(*sigs, keys, (0, 0), (1, 1), number, fact.category))
    return read_index(b"".join(rows))


def ruled(
    lake: Sequence[Fact],
    options: ExportOptions | None = None,
    bucket: int = ROWS_PER_BUCKET,
    block: int = 7,
) -> Rulings:
    """The program's rulings; rows come in small blocks."""
    rows = packed(lake)
    with TemporaryDirectory() as folder:
        spill = Spill(Path(folder), len(lake), bucket)
        rulings = rule(
            lambda: (rows[at : at + block] for at in range(0, len(rows), block)),
            spill,
            options or ExportOptions(),
        )
        assert not list(Path(folder).iterdir()), "buckets are left behind"
    return rulings


# -------------------------------------------------------------------------- the oracle


def same(one: Fact, other: Fact) -> bool:
    """The same answer to the same prompt: a conversation is the same as a text that it ends
    in, but not as another conversation that ends in it."""
    if one.own == other.own:
        return one.own is not None
    return not (one.talk and other.talk) and same_text(one, other)


def same_text(one: Fact, other: Fact) -> bool:
    """The same text under the same prompt."""
    return one.said is not None and one.said == other.said


def by_itself(fact: Fact, kind: str, options: ExportOptions) -> str:
    """What a row's own category and flags say of it."""
    if fact.flags & MISSING:
        return "not_scored"
    if fact.category == UNKNOWN:
        return "invalid"
    if fact.flags & MISMATCH:
        return "verdict_mismatch"
    foreign = EMPTY if kind == "rag" else EMPTY | OTHER_MEDIA | NOT_INSTRUCTABLE
    if fact.flags & foreign:
        return "not_instructable"
    if kind == "sft" and fact.category == PARTIAL and not options.include_partial:
        return "not_opted_in"
    if kind == "rag" and fact.category == REVIEW:
        if not options.include_review:
            return "not_opted_in"
    elif fact.category == REVIEW or (kind != "preference" and fact.category == REJECTED):
        return "forbidden_category"
    return "secret" if fact.flags & SECRET and options.on_secret == "drop" else "export"


def speaks(fact: Fact, *, review: bool = True) -> bool:
    """Whether a row speaks against its answer elsewhere (F5)."""
    if fact.category in (REJECTED, UNKNOWN) or fact.flags & MISMATCH:
        return True
    return review and fact.category == REVIEW and not fact.flags & EXTRACTION


def praises(fact: Fact) -> bool:
    """Whether a row's verdict on its answer is good, and stands; scored or not yet."""
    return fact.category in (ACCEPTED, PARTIAL) and not fact.flags & MISMATCH


def clash(fact: Fact, lake: Sequence[Fact], kind: str, options: ExportOptions) -> bool:
    """Whether another row's verdict keeps this one out."""
    alike = same_text if kind == "rag" else same
    if kind == "preference" and fact.category == REJECTED:
        return any(praises(other) and alike(fact, other) for other in lake)
    if fact.category == REVIEW and kind != "rag":
        return False
    review = kind != "rag" or not options.include_review
    return any(speaks(other, review=review) and alike(fact, other) for other in lake)


def repeats(one: Fact, other: Fact, kind: str) -> bool:
    """Whether two rows would stand in an export as the same."""
    return one.said == other.said if kind == "rag" else one.own == other.own


def expected(lake: Sequence[Fact], kind: str, options: ExportOptions) -> list[str]:
    """The rulings on SFT or RAG."""
    out = [by_itself(fact, kind, options) for fact in lake]
    for number, fact in enumerate(lake):
        if out[number] == "export" and clash(fact, lake, kind, options):
            out[number] = "conflicting_verdict"
    free = [number for number, reason in enumerate(out) if reason == "export"]
    order = {ACCEPTED: 0, PARTIAL: 1, REVIEW: 2}
    for number in free:
        group = [other for other in free if repeats(lake[number], lake[other], kind)]
        if number != min(group, key=lambda at: (order[lake[at].category], at)):
            out[number] = "duplicate"
    return out


def words(codes: Sequence[int] | np.ndarray) -> list[str]:
    """Codes as reasons."""
    return [REASONS[code] for code in codes]


# ----------------------------------------------------------------------------- the laws


@settings(max_examples=120)
@given(lake=LAKES, options=OPTIONS, bucket=BUCKETS)
def test_rulings_are_those_of_every_row_held_against_every_other(
    lake: list[Fact], options: ExportOptions, bucket: int
) -> None:
    """Conflicts, duplicates and a row's own faults, in any number of buckets."""
    rulings = ruled(lake, options, bucket)
    assert words(rulings.sft) == expected(lake, "sft", options)
    assert words(rulings.rag) == expected(lake, "rag", options)


@settings(max_examples=120)
@given(lake=LAKES, options=OPTIONS, bucket=BUCKETS)
def test_a_refusal_names_the_row_it_clashes_with(
    lake: list[Fact], options: ExportOptions, bucket: int
) -> None:
    """A conflict names one that speaks against it, a duplicate the one that is kept (S9)."""
    rulings = ruled(lake, options, bucket)
    for kind, codes in (("sft", rulings.sft), ("rag", rulings.rag)):
        named = rulings.other[kind].within(0, len(lake))
        reasons = words(codes)
        clashing = {n for n, r in enumerate(reasons) if r in ("conflicting_verdict", "duplicate")}
        assert set(named) == clashing
        for number, other in named.items():
            if reasons[number] == "duplicate":
                assert repeats(lake[number], lake[other], kind)
                assert reasons[other] == "export"
            else:
                alike = same_text if kind == "rag" else same
                assert alike(lake[number], lake[other])
                assert speaks(lake[other])
    reasons = words(rulings.preference)
    named = rulings.other["preference"].within(0, len(lake))
    clashing = {n for n, r in enumerate(reasons) if r in ("conflicting_verdict", "duplicate")}
    assert set(named) == clashing
    for number, other in named.items():
        if reasons[number] == "duplicate":
            assert repeats(lake[number], lake[other], "preference")
            assert reasons[other] not in ("duplicate", "conflicting_verdict")
        else:
            bad = lake[number].category == REJECTED
            assert same(lake[number], lake[other])
            assert praises(lake[other]) if bad else speaks(lake[other])


@settings(max_examples=150)
@given(lake=LAKES, options=OPTIONS, bucket=BUCKETS)
def test_pairs_keep_their_laws(lake: list[Fact], options: ExportOptions, bucket: int) -> None:
    """P1: task, prompt, rank, the limit a task, no pair twice; and every row is accounted for."""
    rulings = ruled(lake, options, bucket)
    reasons = words(rulings.preference)
    free = [
        number
        for number, fact in enumerate(lake)
        if by_itself(fact, "preference", options) == "export"
        and not clash(fact, lake, "preference", options)
    ]
    pairs = partners(rulings.pairs, 0, len(lake))
    assert pairs == sorted(set(pairs))
    for good, bad in pairs:
        one, two = lake[good], lake[bad]
        assert {good, bad} <= set(free)
        assert (one.task, one.prompt, one.tools) == (two.task, two.prompt, two.tools)
        assert one.own != two.own
        assert one.category < two.category
        assert two.category != REVIEW
    a_task = Counter(lake[good].task for good, _ in pairs)
    assert max(a_task.values(), default=0) <= options.max_pairs
    stands = {row for pair in pairs for row in pair}
    groups: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for number in free:
        groups[lake[number].task, lake[number].prompt, lake[number].tools].append(number)
    possible: Counter[int] = Counter()
    alone: dict[object, int] = {}
    for (task, _, _), members in groups.items():
        kept: dict[object, int] = {}
        for number in sorted(members, key=lambda at: (lake[at].category, at)):
            kept.setdefault(lake[number].own, number)
        verdicts = Counter(lake[number].category for number in kept.values())
        possible[task] += sum(
            verdicts[high] * verdicts[low]
            for high, low in ((ACCEPTED, REJECTED), (ACCEPTED, PARTIAL), (PARTIAL, REJECTED))
        )
        for number in members:
            if number not in kept.values():
                assert reasons[number] == "duplicate"
            elif len(verdicts) > 1:
                assert reasons[number] == ("export" if number in stands else "over_max_pairs")
            elif lake[number].category == PARTIAL:
                assert reasons[number] == "no_partner"
            else:
                own = lake[number].own
                alone[own] = min(number, alone.get(own, number))
                assert reasons[number] in ("unpaired", "duplicate")
    unpaired = [number for number, reason in enumerate(reasons) if reason == "unpaired"]
    assert unpaired == sorted(alone.values())
    for task, number in possible.items():
        assert a_task[task] == min(number, options.max_pairs)


@given(
    good=st.integers(0, 6), half=st.integers(0, 6), bad=st.integers(0, 6), limit=st.integers(0, 50)
)
def test_pairs_of_a_prompt_are_as_many_and_as_varied_as_can_be(
    good: int, half: int, bad: int, limit: int
) -> None:
    """The clearest contrast first; each answer once before any stands twice."""
    category = [ACCEPTED] * good + [PARTIAL] * half + [REJECTED] * bad
    named = dict(zip(reversed(range(len(category))), category, strict=True))
    ranked = [
        sorted(n for n, c in named.items() if c == code) for code in (ACCEPTED, PARTIAL, REJECTED)
    ]
    pairs = choose_pairs(ranked, limit)
    assert len(set(pairs)) == len(pairs) == min(limit, good * bad + good * half + half * bad)
    kinds = [(named[one], named[two]) for one, two in pairs]
    order = [(ACCEPTED, REJECTED), (ACCEPTED, PARTIAL), (PARTIAL, REJECTED)]
    assert kinds == sorted(kinds, key=order.index)
    clearest = pairs[: max(good, bad)] if good and bad else []
    longer = 0 if good >= bad else 1
    used = Counter(pair[longer] for pair in clearest)
    assert all(times == 1 for times in used.values())
    shorter = Counter(pair[1 - longer] for pair in clearest)
    assert (
        not shorter or max(shorter.values()) - min(shorter.values()) <= 1 or limit < max(good, bad)
    )


@settings(max_examples=120)
@given(links=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=14), bucket=BUCKETS)
def test_what_hangs_together_shares_a_split(links: list[tuple[int, int]], bucket: int) -> None:
    """Rows tied by task or prompt, directly or through others, have one split (T2)."""
    lake = [Fact(task, prompt, 0, ACCEPTED) for task, prompt in links]
    split = ruled(lake, bucket=bucket).split
    group = list(range(len(lake)))
    for _ in lake:
        for one, (task, prompt) in enumerate(links):
            for two, (task2, prompt2) in enumerate(links):
                if task == task2 or prompt == prompt2:
                    group[one] = group[two] = min(group[one], group[two])
    of_group: dict[int, set[int]] = defaultdict(set)
    for number, name in enumerate(group):
        of_group[name].add(int(split[number]))
    assert all(len(splits) == 1 for splits in of_group.values())


def test_a_chain_of_tasks_and_prompts_is_one_group() -> None:
    """Neither end of a long chain shares anything with the other, and yet one split has both."""
    chain = [Fact(n // 2, (n + 1) // 2, 0, ACCEPTED) for n in range(400)]
    assert len(set(ruled(chain, bucket=16).split.tolist())) == 1


def test_a_split_follows_from_the_group_alone() -> None:
    """Rows of other groups move nobody, and the shares are 90, 5 and 5 %."""
    lake = [Fact(n, 1000 + n, 0, ACCEPTED) for n in range(4000)]
    split = ruled(lake).split
    assert ruled(lake[:100]).split.tolist() == split[:100].tolist()
    shares = Counter(SPLITS[code] for code in split.tolist())
    assert 0.88 < shares["train"] / 4000 < 0.92
    assert 0.035 < shares["validation"] / 4000 < 0.065
    assert 0.035 < shares["test"] / 4000 < 0.065


def test_splits_are_pinned() -> None:
    """A lake keeps its splits from version to version: the test set must not leak."""
    split = split_codes(np.arange(60, dtype=np.uint64)).tolist()
    assert {label: code for label, code in enumerate(split) if code} == {13: 2, 42: 2, 43: 2, 44: 1}
    assert split_codes(np.array([2**63, 2**64 - 1], dtype=np.uint64)).tolist() == [0, 0]


# ------------------------------------------------------------------------------ buckets


@given(
    keys=st.lists(st.integers(0, 2**64 - 1), max_size=60),
    bucket=st.sampled_from([1, 3, 10, 1000]),
    block=st.integers(1, 20),
)
def test_buckets_keep_groups_together_and_rows_in_order(
    keys: list[int], bucket: int, block: int
) -> None:
    """Every row comes out once, those of one key in one bucket, in the order they came."""
    kind = np.dtype([("key", "<u8"), ("n", "<i8")])
    rows = np.array([(key, n) for n, key in enumerate(keys)], dtype=kind)
    with TemporaryDirectory() as folder:
        buckets = Buckets(Path(folder), "b", kind, len(keys), bucket)
        for at in range(0, len(rows), block):
            part = rows[at : at + block]
            buckets.add(part["key"].copy(), part)
        out = [part.tolist() for part in buckets]
        assert not list(Path(folder).iterdir())
    assert sorted(n for part in out for _, n in part) == list(range(len(keys)))
    seen: set[int] = set()
    for part in out:
        here = {key for key, _ in part}
        assert not here & seen
        seen |= here
        for key in here:
            of_key = [n for each, n in part if each == key]
            assert of_key == sorted(of_key)


def test_a_small_lake_touches_no_disk() -> None:
    """One bucket is held in memory; nothing comes of nothing."""
    kind = np.dtype([("key", "<u8")])
    nowhere = Path("/nonexistent")
    assert list(Buckets(nowhere, "b", kind, 0)) == []
    buckets = Spill(nowhere, 3).buckets("b", kind)
    one = np.array([(1,), (2,)], dtype=kind)
    buckets.add(one["key"].copy(), one)
    assert [part["key"].tolist() for part in buckets] == [[1, 2]]


def test_groups_start_where_any_key_changes() -> None:
    """The positions of the first rows; none in nothing."""
    one = np.array([1, 1, 1, 2, 2], dtype=np.uint64)
    two = np.array([5, 5, 6, 6, 6], dtype=np.uint64)
    assert group_starts(one, two).tolist() == [0, 2, 3]
    assert group_starts(np.zeros(0, dtype=np.uint64)).tolist() == []


def test_an_empty_lake_has_empty_rulings() -> None:
    """No rows, no rulings, no fault."""
    rulings = ruled([])
    assert [len(part) for part in rulings[:4]] == [0, 0, 0, 0]
    assert partners(rulings.pairs, 0, 10) == []
    assert rulings.other["sft"].within(0, 10) == {}


def test_the_codes_and_the_row_are_pinned() -> None:
    """Rulings are bytes and index rows are files: neither changes unseen."""
    assert REASONS[:3] == ("export", "not_instructable", "forbidden_category")
    assert CODE["unpaired"] == REASONS.index("unpaired")
    assert ROW.itemsize == 160


@pytest.mark.parametrize("bucket", [1, 5, ROWS_PER_BUCKET])
def test_the_number_of_buckets_changes_nothing(bucket: int) -> None:
    """The same rulings, pair by pair, in one bucket and in many."""
    draw = np.random.default_rng(7)
    lake = [Fact(*(int(n) for n in draw.integers(0, [40, 60, 50, 3]))) for _ in range(500)]
    options = ExportOptions(max_pairs=2, include_partial=True)
    one, many = ruled(lake, options), ruled(lake, options, bucket)
    for name in ("sft", "preference", "rag", "split", "pairs"):
        assert getattr(one, name).tolist() == getattr(many, name).tolist()
    assert len(one.pairs)
