"""Audits of a project's phase, with findings by severity or, in old logs, one verdict.

A row::

    {"created_at": "2026-03-02T10:00:00+01:00", "phase": "P2-ingest", "model": "auditor",
     "findings": [{"severity": "low", "message": "The retry limit is not documented."}],
     "summary": "Ingest holds what it promises; the documentation of the retry limit is missing."}

Where a row has findings they decide, and the legacy verdict ``overall`` is only reported.
It decides where there are none.
"""

from __future__ import annotations

from stillhouse.interfaces import Anchor, Source, Verdict
from stillhouse.records import Category, EvidenceRecord, Record, Signal
from stillhouse.rows import RawRow, evidence, task_name
from stillhouse.scoring import quoted
from stillhouse.spelling import said, word

STEM = "audits"

OVERALL: dict[str, Category] = {
    "approve": "accepted",
    "request_changes": "partially_accepted",
    "block": "rejected",
}
SEVERITY: dict[str, Category] = {
    "critical": "rejected",
    "high": "rejected",
    "medium": "needs_human_review",
    "low": "partially_accepted",
    "info": "accepted",
    "none": "accepted",
}
"""Severities from the worst to the mildest."""


class Finding(Record, frozen=True, kw_only=True):
    """One finding of an audit."""

    severity: str
    message: str | None = None


class Raw(RawRow, frozen=True, kw_only=True):
    """Own fields of a row."""

    phase: str | None = None
    overall: str | None = None
    findings: list[Finding] | None = None
    summary: str | None = None


def transform(raw: Raw, anchor: Anchor) -> EvidenceRecord:
    """Findings are counted by severity; their messages are kept as notes."""
    signals: dict[str, Signal] = {}
    notes = []
    if said(raw.overall):
        signals["overall"] = raw.overall
    if raw.findings is not None:
        signals["findings"] = len(raw.findings)
        for finding in raw.findings:
            severity = word(finding.severity) or "unstated"
            before = signals.get(f"findings.{severity}")
            signals[f"findings.{severity}"] = 1 + (before if isinstance(before, int) else 0)
            if said(finding.message):
                notes.append(f"{severity}: {finding.message}")
    return evidence(
        raw,
        anchor,
        task=("phase", raw.phase),
        text=raw.summary,
        observer_notes=notes,
        validation_results=signals,
        about={"phase": raw.phase},
    )


def score(record: EvidenceRecord) -> Verdict:
    """The worst finding decides; without findings the legacy verdict, without either a person."""
    signals = record.validation_results
    overall = signals.get("overall")
    counts = {
        name.removeprefix("findings."): count
        for name, count in signals.items()
        if name.startswith("findings.")
    }
    if counts:
        verdict = _by_findings(counts)
        if overall is not None:
            verdict.reasons.append(
                f"the legacy verdict {quoted(overall)} was passed over: findings decide"
            )
        return verdict
    if overall is not None:
        return _by_overall(overall)
    if "findings" in signals:
        return Verdict("accepted", ["the audit has no findings"], {"findings": 0})
    reason = "neither findings nor a verdict was recorded: a person must decide"
    return Verdict("needs_human_review", [reason], {})


def _by_findings(counts: dict[str, Signal]) -> Verdict:
    worst = next((severity for severity in SEVERITY if severity in counts), None)
    unknown = [severity for severity in counts if severity not in SEVERITY]
    scores: dict[str, Signal] = {f"findings_{severity}": n for severity, n in counts.items()}
    if worst is None or (unknown and SEVERITY[worst] != "rejected"):
        reason = f"a finding has the unknown severity {quoted(unknown[0])}: a person must weigh it"
        return Verdict("needs_human_review", [reason], scores)
    reason = f"the worst finding is of severity {quoted(worst)} ({counts[worst]} of them)"
    if SEVERITY[worst] == "needs_human_review":
        reason += ": a person must weigh it"
    return Verdict(SEVERITY[worst], [reason], {"worst_severity": worst, **scores})


def _by_overall(overall: Signal) -> Verdict:
    category = OVERALL.get(word(overall))
    if category:
        reason = f"the audit's overall verdict is {quoted(overall)}"
        return Verdict(category, [reason], {"overall": overall})
    reason = (
        f"the audit's overall verdict {quoted(overall)} is none of {', '.join(OVERALL)}: "
        "a person must decide"
    )
    return Verdict("needs_human_review", [reason], {"overall": overall})


def template(record: EvidenceRecord) -> str:
    """The instruction (SPEC S5); the task id names the phase."""
    phase = task_name(record, "phase") or record.metadata.get("phase")
    if not phase and not record.task_id.startswith("phase:"):
        phase = record.task_id
    named = f"phase '{phase}'" if phase else "the phase"
    return (
        f"Audit {named}: check the work against what the phase set out to deliver, report each "
        "finding with its severity (info, low, medium, high or critical) and the evidence for it, "
        "and sum up whether the phase can be closed."
    )


SOURCE = Source(
    stem=STEM,
    source_class="verdict",
    raw=Raw,
    transform=transform,
    score=score,
    template=template,
    summary="audits of a phase; the worst finding (or the legacy verdict) decides",
)
