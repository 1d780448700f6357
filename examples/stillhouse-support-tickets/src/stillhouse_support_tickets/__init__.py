"""Answers to support tickets, rated by the customer.

A row::

    {"created_at": "2026-03-02T15:00:00Z", "ticket_id": "T-881", "product": "Kettle 2",
     "prompt": "The lid does not close any more.", "rating": 5, "reopened": false,
     "answer": "Turn the hinge until it clicks; if it is bent, we send you a new lid."}

A good rating counts only while the ticket stays closed.
"""

from __future__ import annotations

from stillhouse.interfaces import Anchor, Source, Verdict
from stillhouse.records import EvidenceRecord
from stillhouse.rows import RawRow, evidence, task_name


class Raw(RawRow, frozen=True, kw_only=True):
    """Own fields of a row; ``rating`` runs from 1 to 5."""

    ticket_id: str | None = None
    product: str | None = None
    rating: int | None = None
    reopened: bool = False
    answer: str | None = None

    def problems(self) -> list[str]:
        out = super().problems()
        if self.rating is not None and not 1 <= self.rating <= 5:
            out.append(f"rating: {self.rating} is not from 1 to 5")
        return out


def transform(raw: Raw, anchor: Anchor) -> EvidenceRecord:
    """All that the score needs goes to ``validation_results``, the rest to the metadata."""
    return evidence(
        raw,
        anchor,
        task=("ticket", raw.ticket_id),
        text=raw.answer,
        about={"product": raw.product},
        validation_results={"rating": raw.rating, "reopened": raw.reopened},
    )


def score(record: EvidenceRecord) -> Verdict:
    """4 or 5 stars and closed: accepted. 3: partially. Fewer, or reopened: rejected."""
    rating = record.validation_results.get("rating")
    if not isinstance(rating, int):
        reason = "the customer gave no rating: a person must decide"
        return Verdict("needs_human_review", [reason], {})
    if record.validation_results.get("reopened"):
        return Verdict("rejected", [f"the ticket was reopened after rating {rating}"], {})
    named = f"the customer's rating is {rating} of 5"
    if rating >= 4:
        return Verdict("accepted", [named], {"rating": rating})
    return Verdict("partially_accepted" if rating == 3 else "rejected", [named], {"rating": rating})


def template(record: EvidenceRecord) -> str:
    """The instruction for a row that carries neither messages nor a prompt."""
    ticket = task_name(record, "ticket")
    product = record.metadata.get("product")
    about = f" '{ticket}'" if ticket else ""
    on = f" about the product '{product}'" if product else ""
    return (
        f"Answer the support ticket{about}{on}: say what to do first, what to do if that does not "
        "help, and what the customer can expect from us."
    )


SOURCE = Source(
    stem="support_tickets",
    source_class="verdict",
    raw=Raw,
    transform=transform,
    score=score,
    template=template,
    summary="answers to support tickets; the customer's rating decides",
)
