"""The verdict: what forbids training, what is unproven, what wants a look, and what is fit."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from stillhouse.funnel import SourceFunnel
from stillhouse.report.facts import (
    Acceptance,
    Attention,
    Audit,
    Change,
    Changes,
    FieldDrift,
    Gate,
    Level,
    Offence,
    Phase,
    ReceiptRow,
    RefusedRows,
    Totals,
    Weight,
)
from stillhouse.report.judgement import (
    Seen,
    attention,
    changes,
    figure,
    has_drifted,
    moved,
    verdict,
)

TIME = "2026-05-01T00:00:00Z"


def _totals(**more: Any) -> Totals:
    base: dict[str, Any] = {
        "lines": 100,
        "blank": 0,
        "refused": 0,
        "evidence": 100,
        "categories": {
            "accepted": 90,
            "partially_accepted": 5,
            "rejected": 5,
            "needs_human_review": 0,
        },
        "exports": {"sft": 90, "preference": 3},
    }
    return Totals(**{**base, **more})


def _gate(number: int, word: str = "ok") -> Gate:
    offences = [Offence(path="a", line=2, detail="row 2 is off")] if word == "red" else []
    return Gate(number=number, name="firewall", claim="", verdict=word, checked=1,
                failures=len(offences), detail="", offences=offences)  # fmt: skip


def _acceptance(*words: str, stale: bool = False) -> Acceptance:
    verdicts = [*words, *["ok"] * (16 - len(words))]
    gates = [_gate(number, word) for number, word in enumerate(verdicts, 1)]
    passed = verdicts.count("ok")
    return Acceptance(source="x", recorded_at=TIME, passed=passed, gates=gates, stale=stale)


def _field(psi: float, word: str, floor: float | None) -> FieldDrift:
    return FieldDrift(field="cost_usd", psi=psi, verdict=word, noise_floor=floor, p_value=None,
                      reference_rows=9, current_rows=9, compared="", low_sample=False,
                      warnings=[], buckets=[])  # fmt: skip


def _change(what: str, before: float | None, now: float | None, flag: Any, **more: Any) -> Change:
    return Change(what=what, before=before, now=now, percent=None, flag=flag, **more)


def _audit(**more: Any) -> Audit:
    base: dict[str, Any] = {
        "recorded_at": TIME,
        "stale": False,
        "threshold": 0.2,
        "drift_rows": [],
        "harmful": 0,
        "unverified": 0,
    }
    return Audit(**{**base, **more})


def _seen(**more: Any) -> Seen:
    base = Seen(
        totals=_totals(),
        sources=[],
        refused=[],
        unread=[],
        owes=False,
        acceptance=_acceptance(),
        audit=None,
        receipts=[],
        notes=[],
    )
    return base._replace(**more)


def _level(seen: Seen) -> Level:
    return verdict(seen.totals, seen.acceptance, attention(seen)).level


@pytest.mark.parametrize(
    ("more", "level"),
    [
        ({}, "yes"),
        ({"acceptance": None}, "unproven"),
        ({"acceptance": _acceptance(stale=True)}, "unproven"),
        ({"acceptance": _acceptance("blocked")}, "unproven"),
        ({"acceptance": _acceptance()}, "yes"),
        ({"acceptance": _acceptance("red")}, "no"),
        ({"acceptance": _acceptance("red", stale=True)}, "no"),
        ({"owes": True}, "no"),
        ({"totals": _totals(exports={})}, "no"),
        ({"totals": _totals(exports={"sft": 0, "rag": 0})}, "no"),
        ({"audit": _audit(harmful=1)}, "no"),
        ({"audit": _audit(unverified=2)}, "no"),
        ({"audit": _audit(harmful=1, stale=True)}, "yes"),
        ({"audit": _audit(drift_rows=[_change("x", 1, 2, "warn")])}, "look"),
        ({"audit": _audit(drift_rows=[_change("x", 1, 1, "ok", creep=["up"])])}, "yes"),
        ({"audit": _audit(fields=[_field(0.3, "major", 0.05)])}, "look"),
        ({"audit": _audit(fields=[_field(0.2, "minor", 0.25)])}, "yes"),
        ({"audit": _audit(fields=[_field(0.01, "stable", 0.001)])}, "yes"),
        ({"audit": _audit(phases=[Phase(name="x", outcome="error", detail="y")])}, "look"),
        ({"unread": ["_kb/a.jsonl"]}, "look"),
        ({"unread": ["_kb/a.jsonl"], "acceptance": None}, "unproven"),
        ({"receipts": [ReceiptRow(path="a", problem="is off")]}, "look"),
        ({"notes": ["a file cannot be read"]}, "look"),
        ({"totals": _totals(refused=5, evidence=95)}, "yes"),
        ({"totals": _totals(refused=6, evidence=94)}, "look"),
    ],
)
def test_what_decides(more: dict[str, Any], level: Level) -> None:
    """Each finding by itself gives the level that docs/report.md names for it."""
    assert _level(_seen(**more)) == level


def test_the_gravest_comes_first_and_is_a_reason() -> None:
    """Findings stand in the order of their weight; those that forbid are told in the verdict."""
    seen = _seen(
        acceptance=_acceptance("ok", "red"),
        unread=["_kb/a.jsonl"],
        totals=_totals(refused=1),
        owes=True,
    )
    found = attention(seen)
    weights: list[Weight] = [one.weight for one in found]
    assert [weight for weight, _ in itertools.groupby(weights)] == ["stop", "look", "todo"]
    said = verdict(seen.totals, seen.acceptance, found)
    assert said.reasons == [
        "A run was interrupted while it put its files into place.",
        "Gate 2, firewall, does not hold: row 2 is off.",
        "15 of 16 gates held on 2026-05-01.",
        "It offers 90 SFT samples and 3 preference pairs.",
    ]


def test_what_waits_for_a_person_is_named_with_its_sources() -> None:
    """Rows to decide, answers in conflict, logs without a source: each said with a way out."""
    waiting = {"accepted": 0, "partially_accepted": 0, "rejected": 0, "needs_human_review": 7}
    sources = [
        SourceFunnel("audits", 7, 0, 7, 0, waiting),
        SourceFunnel("nobody_knows", 1, 0, 1, 0, dict.fromkeys(waiting, 0)),
    ]
    refused = [
        RefusedRows(stage=stage, reason="conflicting_verdict", category="", rows=n, examples=[])
        for stage, n in (("sft", 2), ("preference", 3))
    ]
    seen = _seen(totals=_totals(categories=waiting), sources=sources, refused=refused)
    said = [one.what for one in attention(seen)]
    assert any("3 answers" in words for words in said)
    assert any("No source is defined for nobody_knows" in words for words in said)
    assert any("7 rows await a person's verdict (audits 7)" in words for words in said)
    assert all(one.do for one in attention(seen))


def test_changes_come_from_a_fresh_audit_or_from_receipts() -> None:
    """A stale audit, or one without a table, does not speak of what changed last."""
    receipts = Changes(source="receipts", words="by receipts")
    table = [_change("b", 2, 2, "ok"), _change("p3_rejected", 1, 2, "warn")]
    fresh = _audit(drift_rows=table, prior_at=TIME)
    assert changes(None, receipts) is receipts
    assert changes(msgspec.structs.replace(fresh, stale=True), receipts) is receipts
    assert changes(msgspec.structs.replace(fresh, drift_rows=[]), receipts) is receipts
    found = changes(fresh, receipts)
    assert found.words == "1 figure moved by more than 20 %: rejected rows (p3_rejected)."
    assert [row.what for row in found.rows] == ["p3_rejected", "b"]
    calm = msgspec.structs.replace(fresh, drift_rows=table[:1])
    assert changes(calm, receipts).words == "No figure moved by more than 20 %."
    first = msgspec.structs.replace(calm, prior_at="")
    assert changes(first, receipts).words.startswith("This was the first audit")


def test_drift_without_a_noise_floor_is_taken_at_its_word() -> None:
    """Where the floor is not known, the verdict alone counts."""
    assert has_drifted(_field(0.2, "minor", None))
    assert not has_drifted(_field(0.0, "empty", None))


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (None, 3.0, "is 3, for the first time"),
        (3.0, None, "was 3 and is no longer measured"),
        (3.0, 3.0, "is 3 as before"),
        (1000.0, 2000.5, "rose from 1,000 to 2,000"),
        (0.25, 0.125, "fell from 0.25 to 0.125"),
    ],
)
def test_moves_in_words(before: float | None, now: float | None, words: str) -> None:
    """What a figure did is said in a sentence's end."""
    assert moved(before, now).startswith(words)


def test_figures_for_people() -> None:
    """Whole numbers have separators, others four digits, and what is missing a dash."""
    assert [figure(value) for value in (None, 0, 1234567, 0.123456, -5.0, 1e300)][:5] == [
        "–",
        "0",
        "1,234,567",
        "0.1235",
        "-5",
    ]


def test_every_finding_of_weight_is_told_in_words() -> None:
    """No attention is empty, and a command is one that the program has."""
    seen = _seen(
        acceptance=None,
        audit=_audit(harmful=1, unverified=1, fields=[_field(0.3, "major", 0.1)]),
        owes=True,
        unread=["a"],
        totals=_totals(refused=50, exports={}),
        receipts=[ReceiptRow(path="a", problem="b")],
    )
    found: list[Attention] = attention(seen)
    assert all(one.what for one in found)
    assert {one.command for one in found if one.command} == {
        "run",
        "inspect",
        "verify",
        "accept",
        "drift scores",
    }
