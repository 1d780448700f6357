"""The truth tables of the specification (C3), the override above them (C4), and purity (C1)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.interfaces import Verdict
from stillhouse.records import (
    CATEGORIES,
    SCORER_VERSION,
    Category,
    EvidenceRecord,
    HumanOverride,
    Provenance,
    encode,
)
from stillhouse.rows import read_line
from stillhouse.sources import SOURCES, build_instruction, build_scored_run, score_record

YES: Category = "accepted"
PART: Category = "partially_accepted"
NO: Category = "rejected"
ASK: Category = "needs_human_review"

TIME = "2026-03-01T08:00:00Z"


def evidence(stem: str, row: dict[str, Any]) -> EvidenceRecord:
    """The evidence of a row, as the pipeline reads it."""
    line = json.dumps({"ts": TIME, **row}).encode()
    hashed = hashlib.sha256(line).hexdigest()
    record = read_line(line, SOURCES[stem], f"_kb/{stem}.jsonl", 0, TIME, hashed)
    assert isinstance(record, EvidenceRecord), record
    return record


def findings(*severities: str) -> dict[str, Any]:
    """An audit's row with a finding of each severity."""
    return {"findings": [{"severity": severity, "message": "m"} for severity in severities]}


def events(*results: bool) -> dict[str, Any]:
    """A scenario's row with an event for each result."""
    return {"events": [{"name": "step", "ok": ok} for ok in results]}


def checks(*results: bool | None) -> dict[str, Any]:
    """An experiment's row with a validator for each result."""
    return {"validators": {f"check {number}": ok for number, ok in enumerate(results)}}


TABLE: list[tuple[str, dict[str, Any], Category, str]] = [
    ("scrum_reviews", {"accepted_on_attempt": 1}, YES, "attempt 1"),
    ("scrum_reviews", {"accepted_on_attempt": 1.0}, YES, "attempt 1"),
    ("scrum_reviews", {"accepted_on_attempt": 2}, PART, "attempt 2"),
    ("scrum_reviews", {"accepted_on_attempt": 3}, PART, "attempt 3"),
    ("scrum_reviews", {"accepted_on_attempt": 4}, ASK, "attempt 4"),
    ("scrum_reviews", {"accepted_on_attempt": 2**70}, ASK, f"attempt {2**70}"),
    ("scrum_reviews", {"accepted_on_attempt": None}, ASK, "no accepted attempt"),
    ("scrum_reviews", {}, ASK, "no accepted attempt"),
    ("observer_reviews", {"verdict": "accept"}, YES, "'accept'"),
    ("observer_reviews", {"verdict": " ACCEPT\n"}, YES, "'accept'"),
    ("observer_reviews", {"verdict": "Cycle"}, PART, "'cycle'"),
    ("observer_reviews", {"verdict": "reject"}, NO, "'reject'"),
    ("observer_reviews", {"verdict": "accepted"}, YES, "'accept'"),
    ("observer_reviews", {"verdict": "Approve"}, YES, "'accept'"),
    ("observer_reviews", {"verdict": "APPROVED"}, YES, "'accept'"),
    ("observer_reviews", {"verdict": "Rejected "}, NO, "'reject'"),
    ("observer_reviews", {"verdict": "acceptable"}, ASK, "'acceptable'"),
    ("observer_reviews", {"verdict": "perhaps"}, ASK, "'perhaps'"),
    ("observer_reviews", {"verdict": " "}, ASK, "no observer verdict"),
    ("observer_reviews", {"verdict": None}, ASK, "no observer verdict"),
    ("observer_reviews", {}, ASK, "no observer verdict"),
    ("observer_reviews", {"verdict": "accept", "confidence": 0.0}, YES, "'accept'"),
    ("observer_reviews", {"verdict": "accept", "confidence": 1.5}, YES, "confidence 1.5 is not"),
    ("observer_reviews", {"verdict": "reject", "confidence": -1}, NO, "confidence -1.0 is not"),
    ("audits", {"overall": "approve"}, YES, "'approve'"),
    ("audits", {"overall": " Approve "}, YES, "'Approve'"),
    ("audits", {"overall": "request_changes"}, PART, "'request_changes'"),
    ("audits", {"overall": "Request changes"}, PART, "'Request changes'"),
    ("audits", {"overall": "block"}, NO, "'block'"),
    ("audits", {"overall": "approved"}, ASK, "'approved'"),
    ("audits", {"overall": " "}, ASK, "neither findings nor a verdict"),
    ("audits", {}, ASK, "neither findings nor a verdict"),
    ("audits", findings(), YES, "no findings"),
    ("audits", findings("none"), YES, "'none'"),
    ("audits", findings("info"), YES, "'info'"),
    ("audits", findings("info", "low"), PART, "'low'"),
    ("audits", findings("LOW ", "info", "low"), PART, "(2 of them)"),
    ("audits", findings("low", "medium"), ASK, "'medium'"),
    ("audits", findings("medium", "high", "low"), NO, "'high'"),
    ("audits", findings("high", "Critical"), NO, "'critical'"),
    ("audits", findings("info", "odd"), ASK, "'odd'"),
    ("audits", findings("odd"), ASK, "'odd'"),
    ("audits", findings(" "), ASK, "'unstated'"),
    ("audits", {"findings": [{"severity": "low"}]}, PART, "'low' (1 of them)"),
    ("audits", findings("odd", "high"), NO, "'high'"),
    ("audits", {"overall": "approve", **findings("high")}, NO, "findings decide"),
    ("audits", {"overall": "block", **findings("info")}, YES, "'block' was passed over"),
    ("audits", {"overall": "block", **findings()}, NO, "'block'"),
    ("auto_apply", {"action": "committed"}, YES, "'committed'"),
    ("auto_apply", {"action": " Committed"}, YES, "'Committed'"),
    ("auto_apply", {"action": "build_red_reverted"}, NO, "broke the build"),
    ("auto_apply", {"action": "Build-Red-Reverted"}, NO, "broke the build"),
    ("auto_apply", {"action": "test_red_reverted"}, PART, "'test_red_reverted'"),
    ("auto_apply", {"action": "timeout_reverted"}, PART, "another reason"),
    ("auto_apply", {"action": "reverted"}, PART, "'reverted'"),
    ("auto_apply", {"action": "no_patch"}, PART, "nothing to apply"),
    ("auto_apply", {"action": "skipped"}, ASK, "'skipped'"),
    ("auto_apply", {"action": "revertedly"}, ASK, "'revertedly'"),
    ("auto_apply", {"action": " "}, ASK, "no action"),
    ("auto_apply", {}, ASK, "no action"),
    ("outcomes", events(True), YES, "1 of 1 events ok"),
    ("outcomes", events(True, True, True), YES, "3 of 3 events ok"),
    ("outcomes", events(True, False, True), PART, "2 of 3 events ok; not ok: '2.step'"),
    ("outcomes", events(False, False), NO, "0 of 2 events ok"),
    ("outcomes", events(), ASK, "no event"),
    ("outcomes", {"events": None}, ASK, "no event"),
    ("outcomes", {}, ASK, "no event"),
    ("mode_experiments", checks(True, True), YES, "2 of 2 validators passed"),
    ("mode_experiments", checks(True, False), PART, "not passed: 'check 1'"),
    ("mode_experiments", checks(False), NO, "0 of 1 validators passed"),
    ("mode_experiments", checks(True, None), YES, "1 of 1 validators passed"),
    ("mode_experiments", checks(None), ASK, "no validator"),
    ("mode_experiments", checks(), ASK, "no validator"),
    ("mode_experiments", {}, ASK, "no validator"),
    ("contract_analyses", {"observer_verdict": "accept"}, YES, "'accept'"),
    ("contract_analyses", {"observer_verdict": "CYCLE"}, PART, "'cycle'"),
    ("contract_analyses", {"observer_verdict": "reject"}, NO, "'reject'"),
    ("contract_analyses", {"observer_verdict": "approved"}, YES, "'accept'"),
    ("contract_analyses", {"observer_verdict": "rejected"}, NO, "'reject'"),
    ("contract_analyses", {"observer_verdict": "hold"}, ASK, "'hold'"),
    ("contract_analyses", {}, ASK, "no observer verdict"),
    ("contract_analyses", {"failure_markers": ["no licence"]}, NO, "'no licence'"),
    ("contract_analyses", {"failure_markers": "no licence"}, NO, "'no licence'"),
    (
        "contract_analyses",
        {"observer_verdict": "accept", "failure_markers": ["x"]},
        NO,
        "does not outweigh",
    ),
    ("contract_analyses", {"observer_verdict": "reject", "failure_markers": ["x"]}, NO, "'x'"),
    ("contract_analyses", {"observer_verdict": "accept", "failure_markers": []}, YES, "'accept'"),
    ("contract_analyses", {"observer_verdict": "accept", "failure_markers": [" "]}, YES, "accept"),
    ("contract_analyses", {"success_markers": ["signed"]}, ASK, "no observer verdict"),
    *(
        (stem, {"fact": "f"}, ASK, "only extracts")
        for stem, source in SOURCES.items()
        if source.source_class == "extraction"
    ),
]


@pytest.mark.parametrize(("stem", "row", "category", "words"), TABLE)
def test_the_truth_table(stem: str, row: dict[str, Any], category: Category, words: str) -> None:
    """The signal gives the category, and the reasons name the signal and its value (C3, C5)."""
    verdict = score_record(evidence(stem, row))
    assert verdict.category == category
    assert words in "; ".join(verdict.reasons)
    assert all(reason.strip() for reason in verdict.reasons)


def test_every_source_has_its_rows_in_the_table() -> None:
    """No source is left out of the table above, and every rule gives every category it can."""
    assert {stem for stem, *_ in TABLE} == set(SOURCES)
    for stem, source in SOURCES.items():
        given_here = {category for of, _, category, _ in TABLE if of == stem}
        wanted = {ASK} if source.source_class == "extraction" else set(CATEGORIES)
        assert given_here == (wanted - {NO} if stem == "scrum_reviews" else wanted)


@pytest.mark.parametrize(
    ("decision", "category"), [("accept", YES), ("reject", NO), ("needs_review", ASK)]
)
@pytest.mark.parametrize(("stem", "row"), [(stem, row) for stem, row, *_ in TABLE])
def test_a_human_override_beats_every_rule(
    stem: str, row: dict[str, Any], decision: str, category: Category
) -> None:
    """Whatever the rule says, the person decides, and the reasons name the person (C4)."""
    override = {"decision": decision, "reviewer": "Ana Silva"}
    rule = score_record(evidence(stem, row))
    verdict = score_record(evidence(stem, {**row, "human_override": override}))
    assert verdict.category == category
    assert "Ana Silva" in verdict.reasons[0]
    assert decision in verdict.reasons[0]
    assert verdict.reasons[1:] == [
        f"overridden rule ({rule.category}): {reason}" for reason in rule.reasons
    ]


SIGNALS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
NAMES = st.sampled_from(
    [
        "accepted_on_attempt",
        "verdict",
        "observer_verdict",
        "confidence",
        "overall",
        "findings",
        "findings.high",
        "findings.odd",
        "action",
        "event.1.a",
        "event.2.b",
        "validator.a",
    ]
)
RECORDS = st.builds(
    EvidenceRecord,
    schema_version=st.just(1),
    run_id=st.just("r"),
    task_id=st.sampled_from(["t", "phase:P1", "permit:9", "scrum:r"]),
    timestamp=st.just(TIME),
    provenance=st.builds(
        Provenance,
        source_file=st.sampled_from([f"_kb/{stem}.jsonl" for stem in [*SOURCES, "odd"]]),
        line_offset=st.just(0),
        sig_hash=st.just("0" * 64),
        recorded_at=st.just(TIME),
    ),
    observer_verdict=st.sampled_from([None, "accept", "reject", "cycle"]),
    failure_markers=st.lists(st.text(max_size=4), max_size=2),
    validation_results=st.dictionaries(NAMES, SIGNALS, max_size=5),
    human_override=st.none()
    | st.builds(HumanOverride, decision=st.sampled_from(["accept", "reject", "needs_review"])),
    metadata=st.dictionaries(st.sampled_from(["contractor", "phase"]), st.text(), max_size=2),
    text=st.text(max_size=20),
)


@given(RECORDS)
def test_scoring_is_pure(record: EvidenceRecord) -> None:
    """The same record gives the same verdict, untouched, even when its signals make no sense."""
    before = encode(record)
    first, second = score_record(record), score_record(record)
    assert first == second
    assert isinstance(first, Verdict)
    assert first.category in CATEGORIES
    assert first.reasons
    assert first.reasons is not second.reasons
    run = build_scored_run(record, "1" * 64, TIME)
    assert encode(run) == encode(build_scored_run(record, "1" * 64, TIME))
    assert run.problems() == []
    assert run.scorer_version == SCORER_VERSION
    assert (run.sig_hash, run.provenance) == ("1" * 64, record.provenance)
    assert build_instruction(record) == build_instruction(record)
    assert encode(record) == before
