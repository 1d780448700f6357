"""One task class run in several modes, each answer checked by validators.

A row::

    {"created_at": "2026-03-02T13:05:00Z", "task_class": "unit_conversion", "file": "set-a/017",
     "mode": "two_pass", "model": "solver-3b", "validators": {"units": true, "value": true},
     "prompt": "How many metres are 3.2 kilometres?", "response": "3.2 km = 3200 m"}
"""

from __future__ import annotations

from stillhouse.interfaces import Anchor, Source, Verdict
from stillhouse.records import EvidenceRecord
from stillhouse.rows import RawRow, evidence
from stillhouse.scoring import share_verdict
from stillhouse.spelling import said

STEM = "mode_experiments"


class Raw(RawRow, frozen=True, kw_only=True):
    """Own fields of a row; a validator that is null did not run."""

    task_class: str | None = None
    file: str | None = None
    mode: str | None = None
    validators: dict[str, bool | None] | None = None


def transform(raw: Raw, anchor: Anchor) -> EvidenceRecord:
    """Each validator is a signal ``validator.NAME``.

    The task is the class and the file together; where one is missing the run stands alone.
    """
    task_class, file = said(raw.task_class), said(raw.file)
    checks = (raw.validators or {}).items()
    return evidence(
        raw,
        anchor,
        task=(task_class, file) if task_class and file else (STEM, None),
        text=raw.response,
        file=file,
        validation_results={
            f"validator.{name}": passed for name, passed in checks if passed is not None
        },
        about={"task_class": task_class, "mode": raw.mode},
    )


def score(record: EvidenceRecord) -> Verdict:
    """All validators passed: accepted. Some: partially. None: rejected. None ran: a person."""
    results = {
        name.removeprefix("validator."): passed is True
        for name, passed in record.validation_results.items()
        if name.startswith("validator.")
    }
    return share_verdict(results, "validator", "passed")


def template(record: EvidenceRecord) -> str:
    """The instruction (SPEC S5). It leaves the mode out: modes are ways to do the same task."""
    task_class = record.metadata.get("task_class") or "unnamed"
    file = f" '{record.source_files[0]}'" if record.source_files else " at hand"
    return (
        f"Run task_class='{task_class}' for file{file}: work the task out step by step from what "
        "the file gives, and answer in the form that its validators check."
    )


SOURCE = Source(
    stem=STEM,
    source_class="telemetry",
    raw=Raw,
    transform=transform,
    score=score,
    template=template,
    summary="one task in several modes; the validators that passed decide",
)
