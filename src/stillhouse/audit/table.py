"""The drift table: this audit's metrics beside the last one's (SPEC A3, A4).

Pure: two baselines in, rows out, text out. Shares are compared exactly, as decimals and not
as binary fractions, so that a change of just the threshold is `ok` whatever the numbers are.

This module never reads a baseline and never decides what happens after a warning.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from stillhouse.audit.change import exceeds, share_of_change
from stillhouse.audit.history import LEAST_AUDITS, MetricHistory, creep_of
from stillhouse.errors import UsageError
from stillhouse.records import AuditBaseline, Record

THRESHOLD: Final = 0.20
"""Share of the prior value by which a metric may move unremarked."""

Flag = Literal["first_run", "ok", "warn", "removed"]


class DriftRow(Record, frozen=True, kw_only=True):
    """One metric. ``change`` is (current - prior) / abs(prior): 0.2 is a rise by 20 %; None
    where there is nothing to divide by. ``creep`` says, of a metric that is ``ok``, how far it
    has gone from its history (SPEC A7)."""

    metric: str
    prior: float | None
    current: float | None
    change: float | None
    flag: Flag
    history: MetricHistory | None = None
    creep: list[str] = []


def build_audit_drift_table(
    prior: AuditBaseline | None,
    current: AuditBaseline,
    threshold: float = THRESHOLD,
    history: Mapping[str, MetricHistory] | None = None,
) -> list[DriftRow]:
    """A row a metric of either baseline, sorted by name.

    ``threshold`` is a share, 0.2 for 20 %; raises `UsageError` when it is negative or not a
    finite number. With a ``history`` (`summarise_history`) rows tell of slow creep too.
    """
    check_threshold(threshold)
    before = prior.metrics if prior else {}
    known = history or {}
    return [
        _row(name, before.get(name), current.metrics.get(name), threshold, known.get(name))
        for name in sorted(before.keys() | current.metrics.keys())
    ]


def check_threshold(threshold: float) -> None:
    """Raise `UsageError` for what is no share of change."""
    if not (math.isfinite(threshold) and threshold >= 0):
        raise UsageError(
            f"the threshold {threshold!r} is not a share of 0 or more",
            way_out="Write 20 % as 0.2.",
        )


def rows_that_warn(rows: Sequence[DriftRow]) -> list[DriftRow]:
    """The metrics that moved by more than the threshold."""
    return [row for row in rows if row.flag == "warn"]


def warning_of(row: DriftRow) -> str:
    """A metric that moved, in words."""
    change = "" if row.change is None else f" ({row.change:+.0%})"
    was, now = shown_number(row.prior), shown_number(row.current)
    return f"{shown_name(row.metric)} moved by more than the threshold: {was} to {now}{change}"


def _row(
    name: str,
    prior: float | None,
    current: float | None,
    threshold: float,
    history: MetricHistory | None,
) -> DriftRow:
    flag: Flag = "ok"
    if current is None:
        flag = "removed"
    elif prior is None:
        flag = "first_run"
    elif exceeds(prior, current, threshold):
        flag = "warn"
    return DriftRow(
        metric=name,
        prior=prior,
        current=current,
        change=share_of_change(prior, current),
        flag=flag,
        history=history,
        creep=creep_of(current, history, threshold)
        if current is not None and history and flag == "ok"
        else [],
    )


# ------------------------------------------------------------------------------------ text

_HEADINGS: Final = ("metric", "prior", "current", "change", "flag")
_HISTORY: Final = ("best", "median", "MAD", "creep")
_LEFT: Final = frozenset({"metric", "flag", "creep"})


def format_audit_drift_table(rows: Sequence[DriftRow]) -> str:
    """The rows as a grid of text for a fixed-width font, without a line end behind the last
    line; with the columns of the history where any row has one that is long enough."""
    headings = _HEADINGS + (_HISTORY if any(_past(row) for row in rows) else ())
    cells = [_cells(row)[: len(headings)] for row in rows]
    widths = [max(_width(line[at]) for line in (headings, *cells)) for at, _ in enumerate(headings)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [_line(line, headings, widths) for line in cells]
    foot = [rule] if lines else []
    return "\n".join([rule, _line(headings, headings, widths), rule, *lines, *foot])


def _cells(row: DriftRow) -> tuple[str, ...]:
    past = _past(row)
    change = "" if row.change is None else f"{row.change:+.2%}"
    spread = (
        (_best(past), shown_number(past.median), shown_number(past.mad)) if past else ("", "", "")
    )
    return (
        shown_name(row.metric),
        shown_number(row.prior),
        shown_number(row.current),
        change,
        row.flag,
        *spread,
        "; ".join(row.creep),
    )


def _past(row: DriftRow) -> MetricHistory | None:
    return row.history if row.history and row.history.audits >= LEAST_AUDITS else None


def _best(past: MetricHistory) -> str:
    """The best value, or the range where nobody knows which end of it is better."""
    if past.best is not None:
        return shown_number(past.best)
    return f"{shown_number(past.low)} to {shown_number(past.high)}"


def shown_number(value: float | None) -> str:
    """A metric's value: whole numbers with their thousands apart, others to six digits."""
    if value is None:
        return ""
    is_whole = value == int(value) and abs(value) < 1e15
    return f"{int(value):,}" if is_whole else f"{value:.6g}"


def _line(cells: Sequence[str], headings: Sequence[str], widths: Sequence[int]) -> str:
    padded = []
    for cell, heading, width in zip(cells, headings, widths, strict=True):
        blank = " " * (width - _width(cell))
        padded.append(f" {cell}{blank} " if heading in _LEFT else f" {blank}{cell} ")
    return f"|{'|'.join(padded)}|"


def shown_name(name: str) -> str:
    """A metric's name on one line: names are free, and may hold anything."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in name)


def _width(text: str) -> int:
    """Columns that a text takes: East Asian wide signs take two, marks on a letter none."""
    return sum(
        0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF")
        for sign in text
    )
