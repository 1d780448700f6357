"""Scenario runs with an outcome for every event.

A row::

    {"timestamp": 1772454600123, "scenario": "checkout with a voucher", "model": "agent-7b",
     "events": [{"name": "cart", "ok": true}, {"name": "pay", "ok": false, "note": "declined"}],
     "messages": [{"role": "user", "content": "Buy the blue mug, voucher SPRING."},
                  {"role": "assistant", "content": "The payment was declined; the cart is kept."}],
     "report": "cart: ok. pay: declined by the gateway, the cart is kept."}
"""

from __future__ import annotations

from stillhouse.interfaces import Anchor, Source, Verdict
from stillhouse.records import EvidenceRecord, Record, Signal
from stillhouse.rows import RawRow, evidence, task_name
from stillhouse.scoring import share_verdict
from stillhouse.spelling import said

STEM = "outcomes"


class Event(Record, frozen=True, kw_only=True):
    """One event of a scenario and whether it came out as it should."""

    name: str
    ok: bool
    note: str | None = None


class Raw(RawRow, frozen=True, kw_only=True):
    """Own fields of a row."""

    scenario: str | None = None
    events: list[Event] | None = None
    report: str | None = None


def transform(raw: Raw, anchor: Anchor) -> EvidenceRecord:
    """Each event is a signal ``event.NUMBER.NAME``: names may repeat, numbers do not."""
    signals: dict[str, Signal] = {}
    notes = []
    for number, event in enumerate(raw.events or (), start=1):
        signals[f"event.{number}.{event.name}"] = event.ok
        if said(event.note):
            notes.append(f"{event.name}: {event.note}")
    return evidence(
        raw,
        anchor,
        task=("scenario", raw.scenario),
        text=raw.report,
        observer_notes=notes,
        validation_results=signals,
        about={"scenario": raw.scenario},
    )


def score(record: EvidenceRecord) -> Verdict:
    """All events ok: accepted. Some: partially. None: rejected. No events: a person."""
    results = {
        name.removeprefix("event."): ok is True
        for name, ok in record.validation_results.items()
        if name.startswith("event.")
    }
    return share_verdict(results, "event", "ok")


def template(record: EvidenceRecord) -> str:
    """The instruction (SPEC S5)."""
    scenario = record.metadata.get("scenario") or task_name(record, "scenario")
    named = f" for '{scenario}'" if scenario else ""
    return (
        f"Run scenario; report per-event outcome{named}: go through the events in order, say for "
        "each whether it came out as it should and what shows it, and close with what has to be "
        "done about those that did not."
    )


SOURCE = Source(
    stem=STEM,
    source_class="telemetry",
    raw=Raw,
    transform=transform,
    score=score,
    template=template,
    summary="scenario runs; how many events came out ok decides",
)
