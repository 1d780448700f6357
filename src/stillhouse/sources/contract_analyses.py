"""Analyses of permits and their contractors, judged by an observer.

A row::

    {"reviewed_at": "2026-03-02T11:20:00Z", "permit_id": "P-2209", "contractor": "Acme Roofing",
     "observer_verdict": "accept", "failure_markers": [], "model": "analyst", "latency_ms": 5310,
     "analysis": "Acme Roofing holds a valid licence; two of the three inspections are complete."}

A failure marker rejects the run whatever the observer says.
"""

from __future__ import annotations

from stillhouse.interfaces import Anchor, Source, Verdict
from stillhouse.records import EvidenceRecord
from stillhouse.rows import RawRow, evidence, observer_word, task_name
from stillhouse.scoring import listed, observer_verdict
from stillhouse.spelling import Words, said, words

STEM = "contract_analyses"


class Raw(RawRow, frozen=True, kw_only=True):
    """Own fields of a row."""

    permit_id: str | None = None
    contractor: str | None = None
    observer_verdict: str | None = None
    failure_markers: Words = None
    success_markers: Words = None
    analysis: str | None = None


def transform(raw: Raw, anchor: Anchor) -> EvidenceRecord:
    """Verdict and markers are the signals; permit and contractor go to the metadata."""
    verdict = observer_word(raw.observer_verdict)
    unknown = None if verdict else said(raw.observer_verdict)
    return evidence(
        raw,
        anchor,
        task=("permit", raw.permit_id),
        text=raw.analysis,
        observer_verdict=verdict,
        success_markers=words(raw.success_markers),
        failure_markers=words(raw.failure_markers),
        validation_results={"observer_verdict": unknown} if unknown else {},
        about={"permit_id": raw.permit_id, "contractor": raw.contractor},
    )


def score(record: EvidenceRecord) -> Verdict:
    """A failure marker rejects; else the observer's verdict decides, or a person."""
    if not record.failure_markers:
        said_instead = record.validation_results.get("observer_verdict")
        return observer_verdict(record.observer_verdict, said_instead)
    reasons = [f"failure marker found: {listed(record.failure_markers)}"]
    if record.observer_verdict in ("accept", "cycle"):
        reasons.append(f"observer verdict '{record.observer_verdict}' does not outweigh it")
    return Verdict("rejected", reasons, {"failure_markers": len(record.failure_markers)})


def template(record: EvidenceRecord) -> str:
    """The instruction (SPEC S5, S6); the task id names the permit."""
    permit = task_name(record, "permit") or record.metadata.get("permit_id")
    if not permit and not record.task_id.startswith("permit:"):
        permit = record.task_id
    named = f"permit '{permit}'" if permit else "the permit at hand"
    contractor = record.metadata.get("contractor")
    whom = f"contractor '{contractor}' for {named}" if contractor else named
    return (
        f"Analyze {whom}: check licence, insurance, history and open inspections against what the "
        "permit demands, name each risk with the record it rests on, and say whether work may "
        "proceed."
    )


SOURCE = Source(
    stem=STEM,
    source_class="verdict",
    raw=Raw,
    transform=transform,
    score=score,
    template=template,
    summary="analyses of permits; a failure marker or the observer's verdict decides",
)
