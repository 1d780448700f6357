"""The audit of a lake, phase by phase: what is there, is it right, and what moved (SPEC A6).

    files → as found → stored scores by today's rules → run → receipts → gates → figures

A phase that fails does not hide the others: each is tried, timed and told. Only when all held
do the figures become the new baseline, since a lake that is broken is no measure for the next.

This module says in what order; what a phase finds is found elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import msgspec

from stillhouse import config
from stillhouse.acceptance import AcceptReport, accept
from stillhouse.audit.baselines import add_baseline, read_baselines
from stillhouse.audit.history import LEAST_AUDITS, summarise_history
from stillhouse.audit.metrics import collect_metrics
from stillhouse.audit.report import AuditReport, Outcome, PhaseReport, Verdict, write_report
from stillhouse.audit.spread import compare_spreads, moved_fields, spreads_of
from stillhouse.audit.standing import bring_up_to_date, standing_options
from stillhouse.audit.table import (
    THRESHOLD,
    build_audit_drift_table,
    check_threshold,
    rows_that_warn,
    warning_of,
)
from stillhouse.drift.scorer import ScorerDrift, scorer_drift
from stillhouse.errors import LakeError, StillhouseError
from stillhouse.exports import ExportOptions
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import check_lake, raw_files
from stillhouse.receipts import VerifyReport, verify_lake
from stillhouse.records import SCHEMA_VERSION, AuditBaseline, BaselineDistribution
from stillhouse.state import load_state
from stillhouse.work import Progress, silent

_SHOWN: Final = 5
"""Files that were not as receipted and are named."""


class Gates(Protocol):
    """What puts a lake through the acceptance gates."""

    def __call__(self, store: Store, engine: Engine, recorded_at: str, /) -> AcceptReport:
        """The verdict of every gate; the lake is not changed."""


def all_gates(store: Store, engine: Engine, recorded_at: str, /) -> AcceptReport:
    """The sixteen gates, with a scratch folder of their own."""
    with config.scratch_folder() as scratch:
        return accept(
            store,
            engine,
            recorded_at=recorded_at,
            version=config.version(),
            commit=config.git_commit(),
            scratch=scratch,
        )


class Told(NamedTuple):
    """How a phase ended, in a word and in a line."""

    outcome: Outcome
    detail: str


class Audit(msgspec.Struct):
    """An audit under way: what it works with, and what its phases found so far."""

    store: Store
    engine: Engine
    recorded_at: str
    as_is: bool
    progress: Progress
    gates_of: Gates
    history: list[AuditBaseline]
    phases: list[PhaseReport] = []
    notes: list[str] = []
    warnings: list[str] = []
    options: dict[str, ExportOptions] = {}
    scorer: ScorerDrift | None = None
    verify: VerifyReport | None = None
    gates: AcceptReport | None = None
    metrics: dict[str, float] | None = None
    spreads: dict[str, BaselineDistribution] = {}

    @property
    def prior(self) -> AuditBaseline | None:
        """The baseline to compare with."""
        return self.history[-1] if self.history else None


# -------------------------------------------------------------------------------- phases


def _files(audit: Audit) -> Told:
    """The raw logs are there."""
    found, odd = raw_files(audit.store)
    audit.notes += odd
    size = sum(raw.size for raw in found)
    words = f"{_many(len(found), 'raw log')}, {_many(size, 'byte')}"
    return Told("ok" if found else "failed", words)


def _found(audit: Audit) -> Told:
    """Every receipt against the files as they were found: what a run mends or takes as it is, it
    says in a note at most."""
    if audit.as_is:
        return Told("skipped", "nothing is mended: p5 tells of it")
    found = verify_lake(audit.store, audit.engine)
    if not found.receipts and not found.problems:
        return Told("skipped", "nothing has been distilled here yet")
    shown = found.problems[:_SHOWN]
    audit.warnings += [f"before this audit, {one.path} {_sentence(one.detail)}" for one in shown]
    if len(found.problems) > len(shown):
        more = len(found.problems) - len(shown)
        audit.warnings.append(f"so it was with {_many(more, 'more file')}")
    words = f"{_many(found.files, 'file')} as found"
    return Told("ok", f"{words}, {_many(len(found.problems), 'problem')}")


def _sentence(detail: str) -> str:
    return detail.partition(";")[0]


def _scores(audit: Audit) -> Told:
    """Stored scores beside today's rules; before the run, which scores anew after a change."""
    drift = audit.scorer = scorer_drift(audit.store, audit.engine)
    return Told(
        "ok",
        f"{_many(drift.rows, 'stored verdict')}; otherwise by today's rules: {drift.changed:,}, "
        f"harmfully: {drift.harmful:,}",
    )


def _run(audit: Audit) -> Told:
    """The lake brought up to date."""
    audit.options = standing_options(audit.store)
    if audit.as_is:
        return Told("skipped", "the lake is taken as it is")
    done = bring_up_to_date(
        audit.store, audit.engine, audit.options, audit.recorded_at, audit.progress
    )
    audit.options = standing_options(audit.store)
    audit.notes += [note for report in done for note in report.notes]
    read = sum(sum(report.read.values()) for report in done)
    written = sum(report.written for report in done)
    return Told("ok", f"{_many(read, 'raw row')} read, {_many(written, 'file')} written")


def _verify(audit: Audit) -> Told:
    """Every receipt against the files."""
    found = audit.verify = verify_lake(audit.store, audit.engine)
    if not found.receipts:
        return Told("failed", "there is no receipt")
    words = f"{_many(found.receipts, 'receipt')}, {_many(found.files, 'file')}"
    if found.ok:
        return Told("ok", words)
    return Told("failed", f"{words}, {_many(len(found.problems), 'problem')}")


def _gates(audit: Audit) -> Told:
    """The acceptance gates."""
    found = audit.gates = audit.gates_of(audit.store, audit.engine, audit.recorded_at)
    words = f"{found.passed}/{len(found.gates)}"
    return Told("ok" if found.ok else "failed", words)


def _figures(audit: Audit) -> Told:
    """The metrics, and how a few fields are spread."""
    state = load_state(audit.store)
    if state is None or not state.raw:
        raise LakeError(
            "nothing was distilled here yet, so there is nothing to measure",
            where=audit.store.url,
            way_out="`stillhouse run` it first, or audit it without --as-is.",
        )
    before = audit.prior.distributions if audit.prior else {}
    audit.spreads = spreads_of(audit.store, audit.engine, state, before)
    audit.metrics = collect_metrics(state)
    return Told("ok", f"{len(audit.metrics)} metrics, {len(audit.spreads)} fields")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


PHASES: Final[dict[str, Callable[[Audit], Told]]] = {
    "p0 files": _files,
    "as found": _found,
    "scores": _scores,
    "p1-p4 run": _run,
    "p5 receipts": _verify,
    "p6 gates": _gates,
    "figures": _figures,
}
"""Phase → what does it, in order."""


# ------------------------------------------------------------------------------ the audit


def audit_lake(
    store: Store,
    engine: Engine,
    recorded_at: str,
    *,
    gates: Gates = all_gates,
    threshold: float = THRESHOLD,
    as_is: bool = False,
    progress: Progress = silent,
    clock: Callable[[], float] = config.seconds,
) -> AuditReport:
    """Run all phases, compare with the last baseline, append the new one, write the report.

    ``as_is`` leaves the run out: nothing is distilled, and what stands is judged. ``threshold``
    is a share (0.2 is 20 %). ``gates`` puts the lake through the acceptance harness.

    Raises, before anything is done: `UsageError` for a threshold that is none, `LakeError` for
    what is no lake, `BaselineError` for baselines that cannot be read.
    """
    check_threshold(threshold)
    check_lake(store)
    audit = Audit(store, engine, recorded_at, as_is, progress, gates, read_baselines(store))
    for number, (name, work) in enumerate(PHASES.items()):
        progress("audit", number, len(PHASES))
        started = clock()
        told = _tried(work, audit)
        audit.phases.append(
            PhaseReport(
                name=name,
                outcome=told.outcome,
                seconds=round(clock() - started, 3),
                detail=told.detail,
            )
        )
    report = _report(audit, threshold)
    if report.baseline and report.appended:
        add_baseline(store, report.baseline)
    write_report(store, report)
    return report


def _tried(work: Callable[[Audit], Told], audit: Audit) -> Told:
    try:
        return work(audit)
    except StillhouseError as error:
        return Told("error", str(error))


def _report(audit: Audit, threshold: float) -> AuditReport:
    baseline = _baseline(audit)
    table = []
    if baseline:
        history = summarise_history(audit.history, LEAST_AUDITS)
        table = build_audit_drift_table(audit.prior, baseline, threshold, history)
    prior = audit.prior
    data = compare_spreads(prior.distributions, audit.spreads) if prior else {}
    warnings = [*audit.warnings, *map(warning_of, rows_that_warn(table)), *moved_fields(data)]
    if audit.scorer and audit.scorer.harmful:
        warnings.append(
            f"today's rules accept {_many(audit.scorer.harmful, 'row')} scored as rejected or for "
            "review: look at `stillhouse drift scores`"
        )
    verdict = _verdict([phase.outcome for phase in audit.phases], warnings)
    return AuditReport(
        lake=audit.store.url,
        recorded_at=audit.recorded_at,
        version=config.version(),
        git_commit=config.git_commit(),
        verdict=verdict,
        threshold=threshold,
        as_is=audit.as_is,
        phases=audit.phases,
        scorer=audit.scorer,
        verify=audit.verify,
        gates=audit.gates,
        prior=prior.recorded_at if prior else None,
        table=table,
        data=data,
        baseline=baseline,
        appended=baseline is not None and verdict in ("ok", "warned"),
        warnings=warnings,
        notes=list(dict.fromkeys(audit.notes)),
    )


def _verdict(outcomes: list[Outcome], warnings: list[str]) -> Verdict:
    if "error" in outcomes:
        return "error"
    if "failed" in outcomes:
        return "failed"
    return "warned" if warnings else "ok"


def _baseline(audit: Audit) -> AuditBaseline | None:
    """What this audit measured; None where the figures could not be had."""
    if audit.metrics is None:
        return None
    red = [gate for gate in audit.gates.gates if gate.verdict != "ok"] if audit.gates else []
    return AuditBaseline(
        schema_version=SCHEMA_VERSION,
        recorded_at=audit.recorded_at,
        metrics=audit.metrics,
        git_commit=config.git_commit(),
        version=config.version(),
        options=msgspec.to_builtins(audit.options),
        gates=len(audit.gates.gates) if audit.gates else None,
        gates_passed=audit.gates.passed if audit.gates else None,
        red_gates=[f"{gate.number} {gate.name}" for gate in red],
        harmful=audit.scorer.harmful if audit.scorer else None,
        distributions=audit.spreads,
    )
