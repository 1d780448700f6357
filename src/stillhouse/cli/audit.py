"""The command that audits a lake."""

from __future__ import annotations

from typing import Annotated

import typer

from stillhouse import config
from stillhouse.audit import AuditReport, audit_lake, format_audit_drift_table
from stillhouse.audit.report import REPORT
from stillhouse.audit.spread import FieldDrift
from stillhouse.audit.table import THRESHOLD
from stillhouse.cli import output
from stillhouse.cli.options import (
    EngineChoice,
    EngineName,
    Json,
    Lake,
    RecordedAt,
    Workers,
    engine_for,
)
from stillhouse.storage import open_store

_MOST_OFFENCES = 3


def audit(
    lake: Lake,
    fail_on_warn: Annotated[
        bool, typer.Option("--fail-on-warn", help="Exit code 2 when a figure warns.")
    ] = False,
    threshold: Annotated[
        float,
        typer.Option("--threshold", help="Share by which a metric may move; 0.2 is 20 %."),
    ] = THRESHOLD,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Distil nothing: judge the lake as it stands.")
    ] = False,
    recorded_at: RecordedAt = None,
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """All phases over a lake, and its figures beside those of the last audit.

    Brings the lake up to date with the options of its last exports, checks every receipt and
    gate, and keeps the figures as the new baseline when all of them hold. Exit codes: 0 ok,
    1 a gate or a receipt does not hold, 2 a warning (with --fail-on-warn), 3 an error.
    """
    store = open_store(lake)
    with engine_for(engine, workers) as pool, output.progress(json) as hears:
        report = audit_lake(
            store,
            pool,
            config.check_recorded_at(recorded_at),
            threshold=threshold,
            as_is=as_is,
            progress=hears,
        )
    if json:
        output.emit(report)
    else:
        _tables(report)
    return report.exit_code(fail_on_warn)


def _tables(report: AuditReport) -> None:
    output.table(
        "Phases",
        ["", "phase", "what came of it", "seconds"],
        [
            (_MARKS[phase.outcome], phase.name, phase.detail, f"{phase.seconds:.1f}")
            for phase in report.phases
        ],
        1,
    )
    _what_does_not_hold(report)
    _data(report)
    if report.table:
        against = f" against {report.prior}" if report.prior else ""
        output.say(f"Metrics{against}, threshold {report.threshold:.0%}", "bold")
        output.say(format_audit_drift_table(report.table))
    for line in report.notes:
        output.note(line)
    for line in report.warnings:
        output.say(f"warning: {line}", "yellow")
    kept = "kept as the new baseline" if report.appended else "not kept: no new baseline"
    output.say(f"{report.verdict}: the figures are {kept}; all of it is in {REPORT}", "bold")


_MARKS = {"ok": "✓", "failed": "✗", "error": "✗", "skipped": "-"}


def _what_does_not_hold(report: AuditReport) -> None:
    if report.gates:
        output.table(
            "Gates that do not hold",
            ["gate", "first rows", "what to do", "faults"],
            [
                (
                    f"{gate.number} {gate.name}",
                    "\n".join(
                        f"{one.path}:{one.line or ''}  {one.detail}"
                        for one in gate.offences[:_MOST_OFFENCES]
                    ),
                    gate.detail,
                    gate.failures,
                )
                for gate in report.gates.gates
                if gate.verdict != "ok"
            ],
            1,
        )
    if report.verify:
        output.table(
            "Receipts that do not hold",
            ["problem", "file", "detail"],
            [(found.kind, found.path, found.detail) for found in report.verify.problems],
        )


def _is_chance(found: FieldDrift) -> bool:
    return found.drift.psi <= found.drift.noise_floor_99


def _data(report: AuditReport) -> None:
    """The fields that are not as they were at the last audit."""
    moved = {name: found for name, found in report.data.items() if found.drift.verdict != "stable"}
    output.table(
        f"Data that moved since {report.prior}",
        ["field", "drift", "compared", "PSI", "PSI by chance", "rows"],
        [
            (
                name,
                found.drift.verdict + (", as by chance" if _is_chance(found) else ""),
                found.compared,
                f"{found.drift.psi:.3f}",
                f"{found.drift.noise_floor_99:.3f}",
                found.drift.current_size,
            )
            for name, found in moved.items()
        ],
        3,
    )
    if report.data and not moved:
        output.say(f"data: {output.number(len(report.data), 'field')}, none moved", "dim")
