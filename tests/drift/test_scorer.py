"""Stored verdicts against today's rules: the pure core, and the same over a lake."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stillhouse.drift.scorer import ScorerDrift, compute_scorer_drift, scorer_drift
from stillhouse.engines import InlineEngine, LocalEngine
from stillhouse.interfaces import Store, Verdict
from stillhouse.records import CATEGORIES, Category, EvidenceRecord, ScoredRun, encode
from stillhouse.sources import build_scored_run, score_record
from stillhouse.storage import LocalStore
from tests.exports.lakes import NOW, Row, digest, distilled, edit, files, loaded, put, scored_files
from tests.exports.made import evidence
from tests.runs import demo, run, stamps

VERDICTS: Mapping[str, Category] = {
    "accept": "accepted",
    "cycle": "partially_accepted",
    "reject": "rejected",
}


def stored(record: EvidenceRecord, category: Category, *reasons: str) -> ScoredRun:
    """A scored run that says something else than the rules would."""
    run = build_scored_run(record, digest(encode(record)), NOW)
    return msgspec.structs.replace(run, category=category, reasons=list(reasons) or run.reasons)


def pair(number: int, was: Category, now: Category) -> tuple[EvidenceRecord, ScoredRun]:
    """A row that was given one category and gets another today."""
    words = {category: word for word, category in VERDICTS.items()}
    record = evidence(run_id=f"run-{number}", observer_verdict=words.get(now))
    return record, stored(record, was, f"was {was}")


# ------------------------------------------------------------------------------ the core


@pytest.mark.parametrize("was", CATEGORIES)
@pytest.mark.parametrize("now", CATEGORIES)
def test_each_change_is_one_cell(was: Category, now: Category) -> None:
    """A row counts in the cell of its stored and today's category, and nowhere else."""
    found = compute_scorer_drift([pair(1, was, now)])
    cells = {(a, b): n for a, row in found.matrix.items() for b, n in row.items() if n}
    assert cells == {(was, now): 1}
    assert (found.rows, found.changed) == (1, int(was != now))
    never = was in ("rejected", "needs_human_review")
    assert found.harmful == int(never and now == "accepted")
    assert found.harmful_partial == int(never and now == "partially_accepted")
    assert [(one.stored, one.today, one.harmful) for one in found.examples] == (
        [(was, now, bool(found.harmful or found.harmful_partial))] if was != now else []
    )


def test_a_worked_example() -> None:
    """Fifty rows with the figures worked out by hand: κ (0.70 - 0.50) / (1 - 0.50)."""
    changes: list[tuple[Category, Category, int]] = [
        ("accepted", "accepted", 20),
        ("accepted", "rejected", 5),
        ("rejected", "accepted", 10),
        ("rejected", "rejected", 15),
    ]
    found = compute_scorer_drift(
        pair(number, was, now) for was, now, rows in changes for number in range(rows)
    )
    assert (found.rows, found.changed, found.harmful, found.harmful_partial) == (50, 15, 10, 0)
    assert found.agreement == 0.70
    assert found.kappa == pytest.approx(0.40, abs=1e-15)
    assert found.by_source.keys() == {"observer_reviews"}
    assert found.by_source["observer_reviews"].kappa == found.kappa


def test_examples_are_few_and_the_harmful_come_first() -> None:
    """So many of each kind of change, the first that came, in order of harm."""
    changes: list[tuple[Category, Category]] = [
        ("accepted", "rejected"),
        ("rejected", "partially_accepted"),
        ("rejected", "accepted"),
        ("needs_human_review", "accepted"),
    ]
    pairs = [pair(n, was, now) for n in range(5) for was, now in changes]
    found = compute_scorer_drift(pairs, examples=2)
    assert [(one.stored, one.today, one.run_id) for one in found.examples] == [
        ("rejected", "accepted", "run-0"),
        ("rejected", "accepted", "run-1"),
        ("needs_human_review", "accepted", "run-0"),
        ("needs_human_review", "accepted", "run-1"),
        ("rejected", "partially_accepted", "run-0"),
        ("rejected", "partially_accepted", "run-1"),
        ("accepted", "rejected", "run-0"),
        ("accepted", "rejected", "run-1"),
    ]
    first = found.examples[0]
    assert first.stored_reasons == ["was rejected"]
    assert first.today_reasons == ["observer verdict is 'accept'"]
    assert (first.where, first.source) == ("_kb/observer_reviews.jsonl:1", "observer_reviews")
    assert compute_scorer_drift(pairs, examples=0).examples == []


def test_other_reasons_for_the_same_category_are_counted() -> None:
    """A rule that says the same in other words changes no category."""
    record = evidence()
    found = compute_scorer_drift([(record, stored(record, "accepted", "other words"))])
    assert (found.changed, found.reworded) == (0, 1)
    assert compute_scorer_drift([(record, stored(record, "accepted"))]).reworded == 0


def test_rules_can_be_others() -> None:
    """What scores is an argument: a rule that is being written can be asked before it is used."""

    def strict(record: EvidenceRecord) -> Verdict:
        return Verdict("rejected", ["nothing is good enough"], {})

    record = evidence()
    found = compute_scorer_drift([(record, stored(record, "accepted"))], score=strict)
    assert found.matrix["accepted"]["rejected"] == 1


def test_examples_hold_no_secret_and_are_cut() -> None:
    """A person's words stand among the reasons, and may hold anything."""
    key = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
    record = evidence(observer_verdict="accept")
    found = compute_scorer_drift([(record, stored(record, "rejected", f"key {key}", "x" * 9000))])
    secret, long = found.examples[0].stored_reasons
    assert key not in secret
    assert "[REDACTED:" in secret
    assert len(long) < 600


def test_no_rows() -> None:
    """Nothing compared is nothing changed."""
    found = compute_scorer_drift([])
    assert (found.rows, found.changed, found.harmful, found.agreement, found.kappa) == (
        0,
        0,
        0,
        1.0,
        1.0,
    )


def test_the_shape_names_every_field() -> None:
    """The document of an empty answer has all its keys, and its version."""
    made = json.loads(encode(compute_scorer_drift([])))
    assert made["schema_version"] == 1
    assert set(made) == set(ScorerDrift.__struct_fields__)
    assert made["matrix"] == {was: dict.fromkeys(CATEGORIES, 0) for was in CATEGORIES}


# ------------------------------------------------------------------------------ the lake

REVIEWS = [
    {"ts": f"2026-03-0{1 + n % 2}T10:00:{n:02}Z", "file": f"{n}.py", "verdict": word, "review": "x"}
    for n, word in enumerate(["accept", "cycle", "reject", "accept", "reject", "", "accept"])
]


def rescored(store: Store) -> ScorerDrift:
    """The drift of a lake."""
    return scorer_drift(store, InlineEngine())


def relabel(store: Store, path: str, number: int, category: str) -> None:
    """Edit the category of one scored run."""
    line = store.read(path).splitlines()[number]
    edit(store, path, {number: msgspec.json.encode({**json.loads(line), "category": category})})


def test_a_lake_as_it_was_written_agrees() -> None:
    """Rules that did not change give every row what it has."""
    found = rescored(distilled({"observer_reviews": REVIEWS}))
    assert (found.rows, found.changed, found.reworded) == (7, 0, 0)
    assert (found.agreement, found.kappa) == (1.0, 1.0)
    assert (found.missing, found.unscored, found.missing_rows) == ({}, 0, [])


def test_an_edited_verdict_is_found() -> None:
    """A scored run that says less than the rules do is harmful drift: the rules would let it."""
    store = distilled({"observer_reviews": REVIEWS})
    first = scored_files(store)[0]
    relabel(store, first, 0, "rejected")
    found = rescored(store)
    assert (found.rows, found.changed, found.harmful) == (7, 1, 1)
    assert found.examples[0].where == "_kb/observer_reviews.jsonl:1"


def test_examples_of_a_lake_are_few() -> None:
    """Of a kind of change the first rows are told, however many files hold more."""
    store = distilled({"observer_reviews": [row | {"verdict": "accept"} for row in REVIEWS]})
    for path in scored_files(store):
        put(
            store,
            path,
            store.read(path).replace(b'"category":"accepted"', b'"category":"rejected"'),
        )
    found = scorer_drift(store, InlineEngine(), examples=5)
    assert found.harmful == 7
    assert [one.where.rpartition(":")[2] for one in found.examples] == ["1", "3", "5", "7", "2"]


def test_rows_that_cannot_be_compared_are_counted_and_named() -> None:
    """An unknown category, a scored run whose evidence was edited, and evidence that nothing
    names end no command."""
    store = distilled({"observer_reviews": REVIEWS})
    first, second = scored_files(store)
    relabel(store, first, 0, "Accepted")
    path = second.replace("scored-runs", "evidence")
    edit(store, path, {0: store.read(path).splitlines()[0].replace(b'"x"', b'"y"')})
    found = rescored(store)
    assert found.rows == 5
    assert found.missing == {"invalid_run": 1, "no_evidence": 1}
    assert found.unscored == 2
    assert set(found.missing_rows) == {
        f"{first}:1: is no valid scored run",
        f"{first.replace('scored-runs', 'evidence')}:1: no scored run names it",
        f"{second}:1: no evidence has the hash that it names",
        f"{path}:1: no scored run names it",
    }


def test_evidence_that_does_not_validate_is_counted_and_named() -> None:
    """A line that a scored run names, and that is no evidence, is told with its problems."""
    store = distilled({"observer_reviews": REVIEWS[:1]})
    (path,) = scored_files(store)
    spoilt = b'{"schema_version":1,"run_id":"r"}'
    put(store, path.replace("scored-runs", "evidence"), spoilt + b"\n")
    run_line = json.loads(store.read(path))
    put(store, path, msgspec.json.encode({**run_line, "sig_hash": digest(spoilt)}) + b"\n")
    found = rescored(store)
    assert (found.rows, found.missing) == (0, {"invalid_evidence": 1})
    assert "timestamp: is missing" in found.missing_rows[0]


def test_named_rows_are_few() -> None:
    """However much is spoilt, a few rows are named and all are counted."""
    store = distilled({"observer_reviews": REVIEWS * 1})
    for path in scored_files(store):
        put(store, path, b"{\n" * 30)
    found = rescored(store)
    assert (found.missing, found.unscored, len(found.missing_rows)) == ({"invalid_run": 60}, 7, 10)


def test_a_whole_scored_file_may_be_gone() -> None:
    """Evidence without scored runs is unscored, not changed."""
    store = distilled({"observer_reviews": REVIEWS})
    for path in scored_files(store):
        store.delete(path)
    found = rescored(store)
    assert (found.rows, found.unscored, found.missing) == (0, 7, {})


def test_sources_are_counted_by_themselves() -> None:
    """What changed in one log shows as that log's."""
    rows: dict[str, list[Row | bytes]] = {
        "observer_reviews": [*REVIEWS],
        "scrum_reviews": [
            {"ts": 1772442845 + n, "file": "a", "accepted_on_attempt": n + 1, "review": f"r{n}"}
            for n in range(4)
        ],
    }
    store = distilled(rows)
    (scrum,) = [path for path in scored_files(store) if "scrum" in path]
    relabel(store, scrum, 1, "needs_human_review")
    found = rescored(store)
    assert {stem: one.changed for stem, one in found.by_source.items()} == {
        "observer_reviews": 0,
        "scrum_reviews": 1,
    }
    assert found.by_source["scrum_reviews"].harmful_partial == found.harmful_partial == 1
    assert sum(one.rows for one in found.by_source.values()) == found.rows == 11


def _by_hand(root: Path) -> Iterator[tuple[str, str, str]]:
    """(stem, stored, today) of each row of a lake, from its files alone."""
    evidence_of = {}
    for path in (root / "evidence").rglob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            evidence_of[digest(line)] = line
    for path in (root / "scored-runs").rglob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            run_line = json.loads(line)
            record = msgspec.json.decode(evidence_of[run_line["sig_hash"]], type=EvidenceRecord)
            yield path.stem, run_line["category"], score_record(record).category


def test_the_demo_lake_by_hand(tmp_path: Path) -> None:
    """With every seventh verdict edited, the figures are those of a plain count, on both
    engines; and nothing in the lake changed."""
    root = demo(tmp_path / "lake", 300)
    run(root)
    number = 0
    for path in sorted((root / "scored-runs").rglob("*.jsonl")):
        rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_bytes().splitlines()]
        for row in rows:
            number += 1
            if number % 7 == 0:
                row["category"] = CATEGORIES[number % 4]
        path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    before = stamps(root)
    store = LocalStore(root)
    found = rescored(store)
    with LocalEngine(2) as engine:
        assert scorer_drift(store, engine) == found
    wanted = Counter((was, now) for _, was, now in _by_hand(root))
    assert {
        (was, now): n for was, row in found.matrix.items() for now, n in row.items() if n
    } == wanted
    assert found.rows == wanted.total() > 250
    assert found.changed == sum(n for (was, now), n in wanted.items() if was != now) > 20
    assert found.agreement == pytest.approx(1 - found.changed / found.rows, abs=1e-12)
    stems = Counter(stem for stem, _, _ in _by_hand(root))
    assert {stem: one.rows for stem, one in found.by_source.items()} == stems
    assert stamps(root) == before


def test_nothing_is_written() -> None:
    """Looking changes no file."""
    store = distilled({"observer_reviews": REVIEWS})
    before = files(store, "")
    rescored(store)
    assert files(store, "") == before
    assert loaded(store, scored_files(store)[0])
