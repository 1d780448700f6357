"""An observer's reviews of an attempt, with the verdict it came to.

A row::

    {"ts": 1772442845, "file": "src/cart/totals.py", "verdict": "cycle", "confidence": 0.7,
     "notes": ["second look"], "model": "observer-small", "role": "reviewer",
     "review": "The total is right, but the discount is applied twice when the cart is reloaded."}
"""

from __future__ import annotations

from stillhouse.interfaces import Anchor, Source, Verdict
from stillhouse.records import EvidenceRecord, Signal
from stillhouse.rows import RawRow, evidence, file_name, observer_word
from stillhouse.scoring import observer_verdict
from stillhouse.spelling import Words, said, words

STEM = "observer_reviews"


class Raw(RawRow, frozen=True, kw_only=True):
    """Own fields of a row; ``confidence`` runs from 0 to 1."""

    file: str | None = None
    verdict: str | None = None
    confidence: float | None = None
    notes: Words = None
    review: str | None = None


def transform(raw: Raw, anchor: Anchor) -> EvidenceRecord:
    """The verdict is the signal, the review the text.

    A verdict that is no known word and a confidence outside its scale are kept as they
    stood among the signals: the row still says what the observer thought.
    """
    signals: dict[str, Signal] = {}
    verdict = observer_word(raw.verdict)
    if verdict is None and said(raw.verdict):
        signals["verdict"] = raw.verdict
    confidence = raw.confidence
    if confidence is not None and not 0 <= confidence <= 1:
        signals["confidence"] = confidence
        confidence = None
    return evidence(
        raw,
        anchor,
        task=("observer", raw.file),
        text=raw.review,
        file=raw.file,
        observer_notes=words(raw.notes),
        observer_verdict=verdict,
        observer_confidence=confidence,
        validation_results=signals,
    )


def score(record: EvidenceRecord) -> Verdict:
    """Accept, cycle and reject speak for themselves; anything else is for a person."""
    signals = record.validation_results
    verdict = observer_verdict(record.observer_verdict, signals.get("verdict"))
    if "confidence" in signals:
        verdict.reasons.append(
            f"confidence {signals['confidence']} is not within 0 and 1 and was passed over"
        )
    return verdict


def template(record: EvidenceRecord) -> str:
    """The instruction (SPEC S5)."""
    file = file_name(record, "observer")
    at = f" at '{file}'" if file else ""
    return (
        f"Observer-review the latest attempt{at}: list each real defect with where it is and what "
        "it breaks, leave out what is only a matter of taste, and say whether to accept the "
        "attempt, send it round again, or reject it."
    )


SOURCE = Source(
    stem=STEM,
    source_class="verdict",
    raw=Raw,
    transform=transform,
    score=score,
    template=template,
    summary="an observer's reviews; its verdict accept, cycle or reject decides",
)
