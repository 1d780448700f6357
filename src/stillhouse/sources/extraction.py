"""Logs that only extract, and logs of a stem nobody has defined: no verdict in them.

A row::

    {"timestamp": "2026-03-02T14:00:00Z", "model": "extractor-1b", "role": "extractor",
     "fact": "The retry limit of the ingest queue is 5.", "metadata": {"from": "docs/queue.md"}}

Without a verdict nothing here is an example to learn from; a person may still override.
"""

from __future__ import annotations

from stillhouse.interfaces import Anchor, Scorer, Source, Verdict
from stillhouse.records import EvidenceRecord
from stillhouse.rows import RawRow, evidence


class Raw(RawRow, frozen=True, kw_only=True):
    """Own field of a row."""

    fact: str | None = None


def transform(raw: Raw, anchor: Anchor) -> EvidenceRecord:
    """The fact is the text; all rows of a stem are one task."""
    return evidence(raw, anchor, task=("extract", anchor.stem), text=raw.fact)


def score(record: EvidenceRecord) -> Verdict:
    """Always for a person: extracting is not judging."""
    reason = "the source only extracts and holds no verdict: a person must judge the text"
    return Verdict("needs_human_review", [reason], {})


def known(stem: str, summary: str) -> Source:
    """An extraction source of ours."""
    return _source(stem, summary, score)


def unknown(stem: str) -> Source:
    """A source for a stem nobody has defined: kept, read as an extraction, and saying so."""

    def score_unknown(record: EvidenceRecord) -> Verdict:
        reason = (
            f"no source is defined for the stem '{stem}', so nothing can judge the run: define one "
            "through the entry-point group 'stillhouse.sources', or rename the log"
        )
        return Verdict("needs_human_review", [reason], {})

    return _source(stem, "unknown stem; read as an extraction", score_unknown)


def _source(stem: str, summary: str, scorer: Scorer) -> Source:
    def template(record: EvidenceRecord) -> str:
        """The instruction of any other source (SPEC S5)."""
        return (
            f"Source '{stem}' run; produce the appropriate output: what the run set out to find, "
            "stated in full and in a form that stands by itself."
        )

    return Source(
        stem=stem,
        source_class="extraction",
        raw=Raw,
        transform=transform,
        score=scorer,
        template=template,
        summary=summary,
    )
