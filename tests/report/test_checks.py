"""What other commands left: read with tolerance, dated, and never believed when it is old."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from stillhouse.drift import compute_categorical_drift, compute_distribution_drift
from stillhouse.records import AuditBaseline, encode
from stillhouse.report.checks import (
    ACCEPTANCE,
    AUDIT,
    BASELINES,
    Checks,
    leaves_band,
    read_checks,
)
from stillhouse.report.facts import ReceiptRow
from stillhouse.storage import MemoryStore
from tests.report.lakes import audit, gate

OLD, NEW = "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z"
RECEIPT = ReceiptRow(
    path="receipts/sft/20260501T000000.000000Z-000007-aabbccddeeff.json", recorded_at=OLD
)


def _checks(*receipts: ReceiptRow, **files: Any) -> Checks:
    store = MemoryStore()
    paths = {"acceptance": ACCEPTANCE, "audit": AUDIT, "baselines": BASELINES}
    for name, content in files.items():
        with store.writer(paths[name]) as sink:
            sink.write(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_checks(store, receipts)


def _accept(recorded_at: str = OLD, **more: Any) -> dict[str, Any]:
    return {"recorded_at": recorded_at, "gates": [gate(n) for n in range(1, 17)], **more}


def test_a_lake_without_checks_has_none() -> None:
    """Nothing there is nothing found, and no note."""
    assert _checks() == Checks(None, None, [], [])


def test_the_newer_result_of_the_gates_is_shown() -> None:
    """Of acceptance and audit the newer one speaks, and says which it was."""
    older = _checks(acceptance=_accept(NEW), audit=audit(recorded_at=OLD, gates=_accept(OLD)))
    assert older.acceptance is not None
    assert (older.acceptance.source, older.acceptance.passed) == (ACCEPTANCE, 16)
    newer = _checks(acceptance=_accept(OLD), audit=audit(recorded_at=NEW, gates=_accept(NEW)))
    assert newer.acceptance is not None
    assert newer.acceptance.source == AUDIT


@pytest.mark.parametrize(
    ("report", "stale"),
    [
        (_accept(OLD, sequence=7), False),
        (_accept(NEW, sequence=6), True),
        (_accept("2020-01-01T00:00:00Z", sequence=7), False),
        (_accept(NEW), False),
        (_accept("2020-01-01T00:00:00Z"), True),
    ],
)
def test_what_is_older_than_the_receipts_is_stale(report: dict[str, Any], stale: bool) -> None:
    """The receipts' sequence decides, whatever the clocks said; without one, the time does."""
    found = _checks(RECEIPT, acceptance=report, audit=audit(gates=report, recorded_at=OLD))
    assert found.acceptance is not None
    assert found.acceptance.stale is stale
    alone = _checks(RECEIPT, audit=audit(gates=report, recorded_at=report["recorded_at"]))
    assert alone.audit is not None
    assert alone.audit.stale is stale


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"recorded_at": 3}',
        b'{"recorded_at": "yesterday", "gates": []}',
        b'{"recorded_at": "2026-05-01T00:00:00Z", "gates": [{"number": "one"}]}',
        b"[" * 200_000,
    ],
)
def test_what_cannot_be_read_is_a_note(data: bytes) -> None:
    """A spoilt report is named in one line, and everything else is shown."""
    found = _checks(acceptance=data, audit=audit())
    assert found.acceptance is None
    assert found.audit is not None
    (note,) = found.notes
    assert note.startswith(f"{ACCEPTANCE} cannot be read (")


def test_an_audit_is_read_as_it_is_written() -> None:
    """Table, drift and counts reach the facts; what a newer version adds is passed over."""
    written = audit(scorer={"harmful": 3, "kappa": 1}, newer={"x": 1})
    written["verify"] = {"ok": False, "problems": [{"path": "a", "kind": "missing"}]}
    found = _checks(audit=written).audit
    assert found is not None
    assert (found.harmful, found.unverified, found.prior_at) == (3, 1, "2026-04-01T00:00:00Z")
    assert [(row.what, row.percent, row.flag) for row in found.drift_rows] == [
        ("metric", 30.0, "warn"),
        ("creeping", 10.0, "ok"),
    ]
    (field,) = found.fields
    assert (field.psi, field.noise_floor, field.current_rows) == (0.3, 0.05, 90)
    assert [bucket.current for bucket in field.buckets] == [0.3, 0.7]


def test_a_drift_is_read_as_the_program_computes_it() -> None:
    """What `drift` gives, numbers and categories alike, reaches the facts with nothing lost."""
    numbers = compute_distribution_drift(range(400), range(100, 500))
    words = compute_categorical_drift(["a"] * 90 + ["b"] * 10, ["a"] * 50 + ["c"] * 50)
    written = audit(
        data={
            name: {"compared": "all rows", "drift": msgspec.to_builtins(drift)}
            for name, drift in (("numbers", numbers), ("words", words))
        }
    )
    found = _checks(audit=written)
    assert found.notes == []
    assert found.audit is not None
    for field, drift in zip(found.audit.fields, (numbers, words), strict=True):
        assert (field.psi, field.verdict) == (drift.psi, drift.verdict)
        assert (field.noise_floor, field.p_value) == (drift.noise_floor_99, drift.p_value)
        assert field.low_sample is drift.low_sample
        assert [one.label for one in field.buckets] == [one.label for one in drift.buckets]
        assert sum(one.psi for one in field.buckets) == pytest.approx(drift.psi)


def test_a_field_of_many_words_shows_those_that_moved() -> None:
    """A field with a thousand categories does not make a page of a thousand lines."""
    written = audit()
    drift = written["data"]["field"]["drift"]
    drift["buckets"] = [
        {"label": f"w{n}", "reference_share": 0.1, "current_share": 0.1, "psi": float(n)}
        for n in range(1000)
    ]
    found = _checks(audit=written).audit
    assert found is not None
    assert len(found.fields[0].buckets) + found.fields[0].buckets_left_out == 1000
    assert found.fields[0].buckets[0].label == "w999"


def _lines(*metrics: dict[str, float]) -> bytes:
    return b"".join(
        encode(AuditBaseline(recorded_at=f"2026-05-{day:02d}T00:00:00Z", metrics=each)) + b"\n"
        for day, each in enumerate(metrics, 1)
    )


def test_the_history_follows_each_metric() -> None:
    """A point a baseline, empty without the metric; what left the band just now comes first."""
    found = _checks(baselines=_lines({"a": 1, "b": 10}, {"b": 12, "c": 5}, {"a": 1, "b": 15}))
    assert [metric.name for metric in found.history] == ["b", "a", "c"]
    assert [(p.value, p.warned) for p in found.history[0].points] == [
        (10, False),
        (12, False),
        (15, True),
    ]
    assert [(p.value, p.warned) for p in found.history[1].points] == [
        (1, False),
        (None, False),
        (1, False),
    ]


def test_bad_lines_of_the_baselines_are_counted_in_a_note() -> None:
    """A torn end, a corrupt middle and a metric that is no number hide no other baseline."""
    data = _lines({"a": 1}) + b"{corrupt\n\n" + b'{"recorded_at": "x", "metrics": {}}\n'
    found = _checks(baselines=data + _lines({"a": 2}) + b'{"recorded_at": "2026')
    assert [point.value for point in found.history[0].points] == [1, 2]
    (note,) = found.notes
    assert note.startswith(f"{BASELINES}: 3 lines are no baseline")


def test_of_a_long_history_the_end_is_read() -> None:
    """However many audits there were, the last ones are shown."""
    found = _checks(baselines=_lines(*[{"a": float(n)} for n in range(28)]) * 4000)
    assert len(found.history[0].points) == 30
    assert found.history[0].points[-1].value == 27
    assert found.notes == []


@pytest.mark.parametrize(
    ("before", "now", "left"),
    [
        (10, 12, False),
        (10, 12.000001, True),
        (10, 8, False),
        (0.1, 0.12, False),
        (0.3, 0.36, False),
        (0.7, 0.84, False),
        (0, 0, False),
        (0, 1, True),
        (-10, -12, False),
        (-10, -13, True),
    ],
)
def test_the_band_ends_just_at_the_threshold(before: float, now: float, left: bool) -> None:
    """A change of exactly the threshold is within (SPEC A3), in decimals as they are written."""
    assert leaves_band(before, now, 0.2) is left
