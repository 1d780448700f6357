"""The commands about the figures of earlier audits: list, show, repair."""

from __future__ import annotations

from typing import Annotated

import typer

from stillhouse.audit import read_baselines, repair_baselines
from stillhouse.audit.table import shown_name, shown_number
from stillhouse.cli import output
from stillhouse.cli.options import Json, Lake
from stillhouse.errors import UsageError
from stillhouse.lake import BASELINES, check_lake
from stillhouse.records import AuditBaseline
from stillhouse.storage import open_store

_LISTED = ("p2_evidence_rows", "p3_accepted", "p4_sft_rows")
"""Metrics of which the list has a column."""


def list_(lake: Lake, json: Json = False) -> int:
    """The baselines of a lake, oldest first. Exit code 1 when there is none."""
    found = _read(lake)
    if json:
        output.emit({"schema_version": 1, "lake": lake, "baselines": found})
    elif found:
        output.table(
            "Baselines",
            ["", "recorded at", "version", "gates", "harmful", *_LISTED],
            [(number, *_cells(baseline)) for number, baseline in enumerate(found, 1)],
            len(_LISTED) + 2,
        )
    else:
        _say_none(lake)
    return 0 if found else 1


def show(
    lake: Lake,
    number: Annotated[
        int | None,
        typer.Argument(metavar="[NUMBER]", min=1, help="Which one, as listed (default: the last)."),
    ] = None,
    json: Json = False,
) -> int:
    """One baseline, whole. Exit code 1 when there is none."""
    found = _read(lake)
    if not found:
        _say_none(lake)
        return 1
    if number is not None and number > len(found):
        raise UsageError(
            f"there is no baseline {number}",
            where=lake,
            way_out=f"There are {len(found):,}; `stillhouse baselines list` numbers them.",
        )
    baseline = found[(number or len(found)) - 1]
    if json:
        output.emit({"schema_version": 1, "lake": lake, "baseline": baseline})
        return 0
    recorded, version, gates, harmful, *_ = _cells(baseline)
    output.say(f"baseline {number or len(found)} of {len(found)}, {recorded}", "bold")
    output.say(f"stillhouse {version or 'of unknown version'}; gates {gates}; harmful {harmful}")
    for gate in baseline.red_gates:
        output.say(f"gate {gate} did not hold")
    output.table(
        "Metrics",
        ["metric", "value"],
        [(shown_name(name), shown_number(value)) for name, value in baseline.metrics.items()],
        1,
    )
    return 0


def repair(lake: Lake, json: Json = False) -> int:
    """Cut a torn last line off the baselines and keep it beside; a sound file is left."""
    store = open_store(lake)
    check_lake(store)
    done = repair_baselines(store)
    if json:
        output.emit({"schema_version": 1, "lake": lake, "cut": done})
    elif done:
        output.say(
            f"cut {output.number(done.bytes, 'byte')} off {BASELINES} from line {done.line} on; "
            f"kept in {done.kept_in}"
        )
    else:
        output.say(f"{BASELINES} has no torn line: nothing to do")
    return 0


def _read(lake: str) -> list[AuditBaseline]:
    store = open_store(lake)
    check_lake(store)
    return read_baselines(store)


def _say_none(lake: str) -> None:
    output.say(f"no baselines in {lake}: `stillhouse audit` keeps the first")


def _cells(baseline: AuditBaseline) -> tuple[str, ...]:
    gates = "?" if baseline.gates is None else f"{baseline.gates_passed}/{baseline.gates}"
    harmful = "?" if baseline.harmful is None else f"{baseline.harmful:,}"
    listed = (shown_number(baseline.metrics.get(name)) for name in _LISTED)
    return (baseline.recorded_at, baseline.version or "", gates, harmful, *listed)
