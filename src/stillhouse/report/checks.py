"""What audit and acceptance left in the lake: gates, drift, baselines.

    reports/acceptance.json, reports/audit.json, _kb/audit_baselines.jsonl → facts

Other commands write these files, perhaps of another version, perhaps while we read. So they are
read with tolerance: what is not needed here is not looked at, and what cannot be read becomes a
note on the page, never an error. Nothing is judged here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, TypeVar

import msgspec

from stillhouse.errors import StorageError
from stillhouse.interfaces import Store
from stillhouse.records import AuditBaseline, is_utc_time
from stillhouse.redaction import redact
from stillhouse.report.facts import (
    Acceptance,
    Audit,
    Bucket,
    Change,
    FieldDrift,
    Flag,
    Gate,
    MetricHistory,
    Offence,
    Phase,
    Point,
    ReceiptRow,
)

ACCEPTANCE: Final = "reports/acceptance.json"
AUDIT: Final = "reports/audit.json"
BASELINES: Final = "_kb/audit_baselines.jsonl"

_LARGEST: Final = 64 << 20
_TAIL: Final = 4 << 20
_MOST_BASELINES: Final = 30
_MOST_BUCKETS: Final = 24
_MOST_OFFENCES: Final = 10
_LONGEST: Final = 600
_NAME: Final = 120
_THRESHOLD: Final = 0.20
_SEQUENCE: Final = re.compile(r"-([0-9]+)-[0-9a-f]{12}\.json$")

T = TypeVar("T")


# ----------------------------------------------------------------- what is read of a file


class _Gate(msgspec.Struct):
    number: int
    name: str
    verdict: str
    claim: str = ""
    checked: int = 0
    failures: int = 0
    offences: list[Offence] = []
    detail: str = ""


class _Accept(msgspec.Struct):
    recorded_at: str
    gates: list[_Gate]
    sequence: int | None = None


class _Bucket(msgspec.Struct):
    label: str
    reference_share: float
    current_share: float
    psi: float


class _Drift(msgspec.Struct):
    psi: float
    verdict: str
    reference_size: int
    current_size: int
    buckets: list[_Bucket]
    noise_floor_99: float | None = None
    p_value: float | None = None
    low_sample: bool = False
    warnings: list[str] = []


class _Field(msgspec.Struct):
    drift: _Drift
    compared: str = ""


class _Row(msgspec.Struct):
    metric: str
    prior: float | None
    current: float | None
    change: float | None
    flag: Flag
    creep: list[str] = []


class _Scorer(msgspec.Struct):
    harmful: int = 0


class _Finding(msgspec.Struct):
    path: str = ""


class _Verify(msgspec.Struct):
    ok: bool = True
    problems: list[_Finding] = []


class _Phase(msgspec.Struct):
    name: str
    outcome: str
    detail: str = ""


class _Audit(msgspec.Struct):
    recorded_at: str
    threshold: float = _THRESHOLD
    prior: str | None = None
    phases: list[_Phase] = []
    scorer: _Scorer | None = None
    verify: _Verify | None = None
    gates: _Accept | None = None
    table: list[_Row] = []
    data: dict[str, _Field] = {}


class Checks(msgspec.Struct, frozen=True):
    """The newest gates and audit, the metrics' history, and notes on what could not be read."""

    acceptance: Acceptance | None
    audit: Audit | None
    history: list[MetricHistory]
    notes: list[str]


def read_checks(store: Store, receipts: Sequence[ReceiptRow]) -> Checks:
    """All of it. ``receipts`` are the newest ones: what is older than they are is stale."""
    notes: list[str] = []
    accepted = _read(store, ACCEPTANCE, _Accept, notes)
    audited = _read(store, AUDIT, _Audit, notes)
    newest = _Newest(receipts)
    found = [(accepted, ACCEPTANCE)] if accepted else []
    if audited and audited.gates:
        found.append((audited.gates, AUDIT))
    gates = max(found, key=lambda one: one[0].recorded_at, default=None)
    audit = _audit(audited, newest) if audited else None
    threshold = audit.threshold if audit else _THRESHOLD
    return Checks(
        _acceptance(*gates, newest) if gates else None,
        audit,
        _history(_baselines(store, notes), threshold),
        notes,
    )


class _Newest:
    """The newest receipts' time and sequence."""

    def __init__(self, receipts: Sequence[ReceiptRow]) -> None:
        self.time = max((one.recorded_at for one in receipts), default="")
        names = (_SEQUENCE.search(one.path) for one in receipts)
        self.sequence = max((int(name[1]) for name in names if name), default=0)

    def is_after(self, recorded_at: str, sequence: int | None) -> bool:
        """True when the lake was written to since: by the sequence, or else by the time."""
        if sequence is not None:
            return self.sequence > sequence
        return self.time > recorded_at


def _read(store: Store, path: str, kind: type[T], notes: list[str]) -> T | None:
    entry = store.stat(path)
    if entry is None:
        return None
    try:
        if entry.size > _LARGEST:
            raise ValueError("it is too large")
        found = msgspec.json.decode(store.read(path), type=kind)
        moment: Any = found
        if not is_utc_time(moment.recorded_at):
            raise ValueError("its recorded_at is no time")
        return found
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        notes.append(f"{path} cannot be read ({error}): the command that wrote it writes it anew.")
    except StorageError as error:
        notes.append(f"{path} cannot be read ({error.what}).")
    return None


def _clip(text: str, longest: int = _LONGEST) -> str:
    """A text of bounded length, without secrets: it may quote a row."""
    text = redact(text, {})
    return text if len(text) <= longest else f"{text[:longest]} …"


# --------------------------------------------------------------------------------- gates


def _acceptance(found: _Accept, source: str, newest: _Newest) -> Acceptance:
    gates = [
        Gate(
            number=gate.number,
            name=_clip(gate.name, _NAME),
            claim=_clip(gate.claim),
            verdict=gate.verdict,
            checked=gate.checked,
            failures=gate.failures,
            detail=_clip(gate.detail),
            offences=[
                Offence(path=_clip(one.path), line=one.line, detail=_clip(one.detail))
                for one in gate.offences[:_MOST_OFFENCES]
            ],
        )
        for gate in found.gates
    ]
    return Acceptance(
        source=source,
        recorded_at=found.recorded_at,
        passed=sum(gate.verdict == "ok" for gate in gates),
        gates=gates,
        stale=newest.is_after(found.recorded_at, found.sequence),
    )


# --------------------------------------------------------------------------------- audit


def _audit(found: _Audit, newest: _Newest) -> Audit:
    sequence = found.gates.sequence if found.gates else None
    return Audit(
        recorded_at=found.recorded_at,
        stale=newest.is_after(found.recorded_at, sequence),
        threshold=found.threshold,
        prior_at=found.prior or "",
        drift_rows=[
            Change(
                what=_clip(row.metric, _NAME),
                before=row.prior,
                now=row.current,
                percent=None if row.change is None else 100 * row.change,
                flag=row.flag,
                creep=[_clip(words) for words in row.creep],
            )
            for row in found.table
        ],
        harmful=found.scorer.harmful if found.scorer else None,
        unverified=len(found.verify.problems) if found.verify else None,
        phases=[
            Phase(name=_clip(one.name, _NAME), outcome=one.outcome, detail=_clip(one.detail))
            for one in found.phases
        ],
        fields=[_field(name, field) for name, field in sorted(found.data.items())],
    )


def _field(name: str, found: _Field) -> FieldDrift:
    drift = found.drift
    # Numbers stand in their order; of many words those that moved most are shown.
    kept = drift.buckets
    if len(kept) > _MOST_BUCKETS:
        kept = sorted(kept, key=lambda bucket: -bucket.psi)[:_MOST_BUCKETS]
    return FieldDrift(
        field=_clip(name, _NAME),
        psi=drift.psi,
        verdict=drift.verdict,
        noise_floor=drift.noise_floor_99,
        p_value=drift.p_value,
        reference_rows=drift.reference_size,
        current_rows=drift.current_size,
        compared=found.compared,
        low_sample=drift.low_sample,
        warnings=[_clip(words) for words in drift.warnings[:8]],
        buckets=[
            Bucket(
                label=_clip(bucket.label, _NAME),
                reference=bucket.reference_share,
                current=bucket.current_share,
                psi=bucket.psi,
            )
            for bucket in kept
        ],
        buckets_left_out=len(drift.buckets) - len(kept),
    )


# ----------------------------------------------------------------------------- baselines


def _baselines(store: Store, notes: list[str]) -> list[AuditBaseline]:
    """The last baselines, oldest first; lines that are none are counted in a note."""
    entry = store.stat(BASELINES)
    if entry is None:
        return []
    start = max(0, entry.size - _TAIL)
    lines = store.read(BASELINES, start, entry.size).split(b"\n")
    found, bad = [], 0
    for line in lines[1:] if start else lines:
        if not line.strip():
            continue
        try:
            baseline = msgspec.json.decode(line, type=AuditBaseline)
            bad += bool(baseline.problems())
            found += [] if baseline.problems() else [baseline]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            bad += 1
    if bad:
        lines_are = "line is" if bad == 1 else "lines are"
        notes.append(
            f"{BASELINES}: {bad:,} {lines_are} no baseline; "
            "`stillhouse baselines repair` cuts a torn end off."
        )
    return found[-_MOST_BASELINES:]


def _history(baselines: Sequence[AuditBaseline], threshold: float) -> list[MetricHistory]:
    """Every metric of these baselines; those that left the band just now first."""
    names = sorted({name for baseline in baselines for name in baseline.metrics})
    history = []
    for name in names:
        values = [baseline.metrics.get(name) for baseline in baselines]
        befores = [None, *values[:-1]]
        points = [
            Point(
                recorded_at=baseline.recorded_at,
                value=value,
                warned=value is not None
                and before is not None
                and leaves_band(before, value, threshold),
            )
            for baseline, value, before in zip(baselines, values, befores, strict=True)
        ]
        history.append(MetricHistory(name=_clip(name, _NAME), points=points))
    return sorted(history, key=lambda metric: not metric.points[-1].warned)


def leaves_band(before: float, now: float, threshold: float) -> bool:
    """True when a figure moved by more than the threshold's share of what it was (SPEC A3).

    Numbers are taken as the decimals that they are written as: 0.3 is three times 0.1.
    """
    was, now_is, share = (Fraction(repr(float(value))) for value in (before, now, threshold))
    return abs(now_is - was) > share * abs(was)
