"""The command that puts a lake through the acceptance gates."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer
from msgspec.structs import replace

from stillhouse import config
from stillhouse.acceptance import REPORT_PATH, AcceptReport, save
from stillhouse.acceptance import accept as put_through
from stillhouse.cli import output
from stillhouse.cli.options import EngineChoice, EngineName, Json, Workers, engine_for
from stillhouse.demo import write_demo_lake
from stillhouse.exports import ExportOptions
from stillhouse.interfaces import Engine, Store
from stillhouse.pipeline import run_lake
from stillhouse.storage import open_store
from stillhouse.work import Progress


def accept(
    lake: Annotated[
        str | None,
        typer.Argument(
            metavar="LAKE",
            help="Folder (or s3://bucket/prefix) of a lake that was run; the example lake, made "
            "for this and forgotten, when none is given.",
            show_default=False,
        ),
    ] = None,
    save_report: Annotated[
        bool,
        typer.Option("--save/--no-save", help=f"Keep the result in the lake, as {REPORT_PATH}."),
    ] = True,
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """Put a lake through the sixteen acceptance gates. Exit code 1 when one does not hold.

    A gate that is red names the first rows that break it, and what to do. One that is blocked was
    not judged: what it looks at rests on what another gate found.
    """
    with engine_for(engine, workers) as pool, output.progress(json) as hears:
        if lake is None:
            report = _example(pool, hears)
        else:
            store = open_store(lake)
            report = _accept(store, pool, hears)
            if save_report:
                save(store, report)
    if json:
        output.emit(report)
    else:
        _tell(report, lake)
    return 0 if report.ok else 1


def _accept(store: Store, pool: Engine, hears: Progress) -> AcceptReport:
    with config.scratch_folder() as scratch:
        return put_through(
            store,
            pool,
            recorded_at=config.now(),
            version=config.version(),
            commit=config.git_commit(),
            scratch=scratch,
            progress=hears,
        )


def _example(pool: Engine, hears: Progress) -> AcceptReport:
    """The bundled fixture: the example lake, distilled by this very program."""
    with config.scratch_folder() as folder:
        store = open_store(str(folder), create=True)
        write_demo_lake(store)
        run_lake(store, pool, ExportOptions(), config.now(), hears)
        return replace(_accept(store, pool, hears), lake="the example lake")


def _tell(report: AcceptReport, lake: str | None) -> None:
    output.table(
        "Gates",
        ["gate", "", "verdict", "holds when", "checked"],
        [
            (str(gate.number), gate.name, gate.verdict, gate.claim, gate.checked)
            for gate in report.gates
        ],
        numbers=1,
    )
    for gate in report.gates:
        if gate.verdict == "ok":
            continue
        found = output.number(gate.failures, "fault")
        output.say(f"gate {gate.number}, {gate.name}: {gate.verdict} ({found})", "bold")
        for one in gate.offences if gate.verdict == "red" else ():
            where = one.path if one.line is None else f"{one.path}:{one.line}"
            output.say(f"  {where}  {one.detail}")
        output.say(f"  {gate.detail.replace('LAKE', shlex.quote(lake or 'LAKE'))}")
    output.say(f"{report.passed}/{len(report.gates)}")
