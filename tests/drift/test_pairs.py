"""Evidence lines and the scored runs that name them, in step and out of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from stillhouse.drift.pairs import Pair, Partition, pair_up, partitions
from stillhouse.interfaces import Store
from stillhouse.records import encode
from stillhouse.storage import MemoryStore
from tests.exports.lakes import join_lines, put
from tests.exports.made import both_lines, evidence
from tests.runs import CountingStore

PLACE = Partition("2026-04-01", "observer_reviews")

LINES = [both_lines(evidence(run_id=f"run-{number}"))[::-1] for number in range(8)]
"""(evidence, scored) of some rows."""


def stored(lines: Sequence[bytes], runs: Sequence[bytes]) -> Store:
    """A lake of one partition with these lines."""
    store = MemoryStore()
    put(store, PLACE.evidence, join_lines(lines))
    put(store, PLACE.scored, join_lines(runs))
    return store


def paired(store: Store) -> list[tuple[bytes | None, bytes | None]]:
    """The pairs as their lines."""
    return [
        (pair.evidence, encode(pair.scored) if pair.scored else None)
        for pair in pair_up(store, PLACE)
    ]


def test_files_in_step_are_read_line_by_line() -> None:
    """Files as the stages write them are opened once each, and no line is read again."""
    store = CountingStore(stored([line for line, _ in LINES], [run for _, run in LINES]))
    assert paired(store) == [*LINES]
    assert store.calls["open", "evidence"] == store.calls["open", "scored-runs"] == 1
    assert not store.calls["read", "evidence"]


def test_where_of_a_pair_is_the_evidence_line() -> None:
    """Lines are counted from 1, as editors do, blank ones too."""
    store = stored([LINES[0][0], b"", LINES[1][0]], [LINES[0][1], LINES[1][1]])
    assert [pair.where for pair in pair_up(store, PLACE)] == [
        f"{PLACE.evidence}:1",
        f"{PLACE.evidence}:3",
    ]


def test_what_stands_alone() -> None:
    """Evidence without a run, a run without evidence, and a line that is no run."""
    store = stored(
        [LINES[0][0], LINES[1][0], LINES[2][0]],
        [LINES[2][1], b"{", LINES[3][1], LINES[0][1]],
    )
    found = list(pair_up(store, PLACE))
    assert {(pair.where, pair.evidence is None, pair.scored is None) for pair in found} == {
        (f"{PLACE.evidence}:1", False, False),
        (f"{PLACE.evidence}:2", False, True),
        (f"{PLACE.evidence}:3", False, False),
        (f"{PLACE.scored}:2", True, True),
        (f"{PLACE.scored}:3", True, False),
    }
    assert len(found) == 5


def test_a_repeated_run_has_evidence_once() -> None:
    """Of scored runs that name the same line, one is paired and the others stand alone."""
    line, run = LINES[0]
    for runs in ([run, run], [LINES[1][1], run, run], [run, run, run]):
        found = paired(stored([line], runs))
        assert found.count((line, run)) == 1
        assert [pair for pair in found if pair[1] == run and pair[0] is None] == [(None, run)] * (
            runs.count(run) - 1
        )


def test_a_missing_file_has_no_lines() -> None:
    """All that the other file holds stands alone."""
    store = MemoryStore()
    assert list(pair_up(store, PLACE)) == []
    put(store, PLACE.scored, join_lines([LINES[0][1]]))
    assert paired(store) == [(None, LINES[0][1])]
    only = MemoryStore()
    put(only, PLACE.evidence, join_lines([LINES[0][0]]))
    assert list(pair_up(only, PLACE)) == [Pair(LINES[0][0], None, f"{PLACE.evidence}:1")]


@given(
    st.lists(st.sampled_from(range(8)), unique=True),
    st.lists(st.sampled_from(range(8)), unique=True),
    st.randoms(use_true_random=False),
)
def test_any_order_gives_the_same_pairs(
    lines: list[int], runs: list[int], chance: random.Random
) -> None:
    """Whatever is missing or out of order, each line comes out once, with its partner if any."""
    chance.shuffle(lines)
    chance.shuffle(runs)
    found = paired(stored([LINES[n][0] for n in lines], [LINES[n][1] for n in runs]))
    wanted = [
        (LINES[n][0] if n in lines else None, LINES[n][1] if n in runs else None)
        for n in sorted({*lines, *runs})
    ]
    assert sorted(found, key=str) == sorted(wanted, key=str)


def test_partitions_are_those_of_the_folders_asked() -> None:
    """By day and stem, once each; what is no partition is left out."""
    store = MemoryStore()
    for path in (
        "evidence/2026/04/02/a.jsonl",
        "evidence/2026/04/01/b.jsonl",
        "scored-runs/2026/04/01/b.jsonl",
        "scored-runs/2026/04/01/c.jsonl",
        "evidence/notes.txt",
    ):
        put(store, path, b"")
    assert partitions(store, "evidence") == [("2026-04-01", "b"), ("2026-04-02", "a")]
    assert [one.stem for one in partitions(store, "evidence", "scored-runs")] == ["b", "c", "a"]
