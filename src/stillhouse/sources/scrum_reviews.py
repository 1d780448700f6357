"""Reviews of a file against the product requirements, with the attempt that passed.

A row::

    {"timestamp": "2026-03-02T09:14:05Z", "run_id": "scrum-0412", "file": "src/cart/totals.py",
     "accepted_on_attempt": 2, "model": "reviewer-large", "provider": "local", "cost_usd": 0.004,
     "review": "R3 (rounding) is met in line 41. R5 (empty cart) was missing and is met now."}

The sooner a review was accepted, the more it is worth as an example.
"""

from __future__ import annotations

from stillhouse.interfaces import Anchor, Source, Verdict
from stillhouse.records import Category, EvidenceRecord
from stillhouse.rows import RawRow, count_problems, evidence, file_name

STEM = "scrum_reviews"


class Raw(RawRow, frozen=True, kw_only=True):
    """Own fields of a row; ``accepted_on_attempt`` counts from 1."""

    file: str | None = None
    accepted_on_attempt: int | float | None = None
    review: str | None = None

    def problems(self) -> list[str]:
        out = super().problems()
        if self.accepted_on_attempt is not None:
            out += count_problems("accepted_on_attempt", self.accepted_on_attempt, least=1)
        return out


def transform(raw: Raw, anchor: Anchor) -> EvidenceRecord:
    """The attempt is the signal, the review the text."""
    attempt = raw.accepted_on_attempt
    return evidence(
        raw,
        anchor,
        task=("scrum", raw.file),
        text=raw.review,
        file=raw.file,
        validation_results={} if attempt is None else {"accepted_on_attempt": int(attempt)},
    )


def score(record: EvidenceRecord) -> Verdict:
    """First attempt: accepted. Second or third: partially. Later, or unknown: a person."""
    attempt = record.validation_results.get("accepted_on_attempt")
    if not isinstance(attempt, int) or attempt < 1:
        reason = "no accepted attempt was recorded: a person must decide"
        return Verdict("needs_human_review", [reason], {})
    category: Category
    if attempt == 1:
        category, meaning = "accepted", "right at once"
    elif attempt <= 3:
        category, meaning = "partially_accepted", "right only after rework"
    else:
        category, meaning = "needs_human_review", "so late that a person must look at it"
    reason = f"accepted on attempt {attempt}: {meaning}"
    return Verdict(category, [reason], {"accepted_on_attempt": attempt})


def template(record: EvidenceRecord) -> str:
    """The instruction (SPEC S5)."""
    file = file_name(record, "scrum")
    named = f" '{file}'" if file else ""
    return (
        f"Review the file{named} against the PRD: say for each requirement "
        "that concerns it whether the code meets it, name the lines that show it, and list what "
        "must change before the file can be accepted."
    )


SOURCE = Source(
    stem=STEM,
    source_class="verdict",
    raw=Raw,
    transform=transform,
    score=score,
    template=template,
    summary="reviews against the PRD; the attempt that was accepted decides",
)
