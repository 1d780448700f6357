"""What an audit found: the document of ``--json`` and of ``reports/audit.json``.

The report says everything the tables say, and is what a page or a program reads. This module
never runs anything.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from stillhouse.acceptance import AcceptReport
from stillhouse.audit.spread import FieldDrift
from stillhouse.audit.table import DriftRow
from stillhouse.drift.scorer import ScorerDrift
from stillhouse.errors import LakeError
from stillhouse.interfaces import Store
from stillhouse.receipts import VerifyReport
from stillhouse.records import SCHEMA_VERSION, AuditBaseline, Record

REPORT: Final = "reports/audit.json"
"""The report of the last audit, in the lake."""

Outcome = Literal["ok", "failed", "error", "skipped"]
Verdict = Literal["ok", "warned", "failed", "error"]


class PhaseReport(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One phase: its outcome, how long it took in seconds, and a line about it. ``failed`` means
    that what it looked at does not hold, ``error`` that it could not look."""

    name: str
    outcome: Outcome
    seconds: float
    detail: str


class AuditReport(Record, frozen=True, kw_only=True, omit_defaults=False):
    """An audit, whole.

    ``verdict`` is the worst of what was found: an ``error`` in a phase, a gate or a receipt that
    ``failed``, a figure that ``warned``, or ``ok``. ``prior`` is when the baseline was recorded
    that ``table`` and ``data`` compare with; ``baseline`` what this audit measured, and
    ``appended`` whether it is now the last one. Parts whose phase did not come to an end are
    None. ``data`` has the drift of a few fields by their names.
    """

    schema_version: int = SCHEMA_VERSION
    lake: str
    recorded_at: str
    version: str
    git_commit: str | None
    verdict: Verdict
    threshold: float
    as_is: bool
    phases: list[PhaseReport]
    scorer: ScorerDrift | None
    verify: VerifyReport | None
    gates: AcceptReport | None
    prior: str | None
    table: list[DriftRow]
    data: dict[str, FieldDrift]
    baseline: AuditBaseline | None
    appended: bool
    warnings: list[str]
    notes: list[str]

    def exit_code(self, fail_on_warn: bool) -> int:
        """0 ok, 1 a gate failed, 2 a warning that is to fail, 3 an error (SPEC A6)."""
        if self.verdict == "warned":
            return 2 if fail_on_warn else 0
        return {"ok": 0, "failed": 1, "error": 3}[self.verdict]


class ReportHead(msgspec.Struct, frozen=True):
    """What of a report is asked by a gate: enough to tell which audit it is of, and its end."""

    recorded_at: str
    verdict: str
    appended: bool
    schema_version: int = 0


def write_report(store: Store, report: AuditReport) -> None:
    """Write the report of the last audit, whole or not at all."""
    with store.writer(REPORT) as sink:
        sink.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def read_report_head(store: Store) -> ReportHead | None:
    """The head of the last audit's report; None when there is none.

    Raises `LakeError` for a file that is no such report.
    """
    if store.stat(REPORT) is None:
        return None
    try:
        return msgspec.json.decode(store.read(REPORT), type=ReportHead)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise LakeError(
            "is no report of an audit",
            where=f"{store.url.rstrip('/')}/{REPORT}",
            way_out="`stillhouse audit` writes it anew.",
        ) from None
