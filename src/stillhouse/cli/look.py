"""The commands that look: inspect, trace, sources, verify. They change nothing."""

from __future__ import annotations

import inspect as python_inspect
import shlex
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer

from stillhouse.cli import output
from stillhouse.cli.options import EngineChoice, EngineName, Json, Lake, Workers, engine_for
from stillhouse.cli.tables import funnel_tables, no_logs
from stillhouse.funnel import funnel
from stillhouse.lake import PRIVATE, check_lake
from stillhouse.receipts import VerifyReport, verify_lake
from stillhouse.receipts.keys import read_public_key
from stillhouse.rows import RawRow
from stillhouse.sources import all_sources
from stillhouse.storage import open_store
from stillhouse.trace import Trace
from stillhouse.trace import trace as walk


def inspect(
    lake: Lake,
    examples: Annotated[
        int, typer.Option("--examples", min=0, help="Refused rows to show for each reason.")
    ] = 1,
    json: Json = False,
) -> int:
    """The funnel: rows by source and category, why rows were refused, and why not accepted."""
    store = open_store(lake)
    seen = funnel(store, examples)
    if not seen.sources:
        check_lake(store)
    if json:
        output.emit(seen)
    elif seen.sources:
        funnel_tables(seen)
    else:
        start = f"start with `stillhouse run {shlex.quote(lake)}`"
        output.say(no_logs(store) or f"nothing has been read yet; {start}")
    return 0 if seen.sources else 1


def trace(
    lake: Lake,
    wanted: Annotated[
        str,
        typer.Argument(metavar="ID", help="Id of an exported row, its beginning, or a run's id."),
    ],
    raw: Annotated[
        bool, typer.Option("--raw", help="Show lines as they are, secrets included.")
    ] = False,
    json: Json = False,
) -> int:
    """An exported row back to its raw line, each hash checked. Exit code 1 if one parts.

    Of a run that was not exported it says why each export refused it, with exit code 1.
    """
    found = walk(open_store(lake), wanted, raw=raw)
    if json:
        output.emit(found)
        return 0 if found.holds else 1
    for line in _headings(found):
        output.say(line, "bold")
    for chain in found.chains:
        rows = [
            (
                "✓" if step.holds else "✗",
                step.what,
                step.where,
                step.sig_hash and f"{step.sig_hash[:16]}…",
                step.detail,
            )
            for step in chain.steps
        ]
        output.table(chain.side, ["", "link", "where", "sha256 of the line", ""], rows)
        output.say(chain.raw if len(chain.raw) <= 2000 else chain.raw[:2000] + " …", "dim")
        if chain.redacted:
            output.note("secrets were taken out of this line; --raw shows them")
    return 0 if found.holds else 1


def _headings(found: Trace) -> Iterator[str]:
    """What was found: a row, the rows of a run, or why a run has none."""
    if len(found.rows) > 1:
        yield f"run {found.id}: {len(found.rows):,} exported rows"
    for row in found.rows:
        yield f"{row.id}  {row.export}:{row.line}"
    for chain in () if found.rows else found.chains:
        where = chain.steps[-1].where
        reasons = [
            f"{one.export} {one.reason}" + (f" (see {one.other})" if one.other else "")
            for one in found.refused
            if one.where == where
        ]
        why = (
            "; ".join(reasons) or "no export tells of it, so none was made since; `stillhouse run`"
        )
        yield f"run {found.id} ({where}) was not exported: {why}"


def sources(json: Json = False) -> int:
    """The sources: class, own fields, template, and where each is defined."""
    common = {field.encode_name for field in msgspec.structs.fields(RawRow)}
    found: list[dict[str, Any]] = []
    for source in all_sources().values():
        own = [field.encode_name for field in msgspec.structs.fields(source.raw)]
        found.append(
            {
                "stem": source.stem,
                "class": source.source_class,
                "fields": [name for name in own if name not in common],
                "summary": source.summary,
                "template": f"{source.template.__module__}.{source.template.__qualname__}",
                "defined": _where(source.transform),
            }
        )
    if json:
        output.emit(found)
        return 0
    output.table(
        "Sources",
        ["stem", "class", "own fields", "what it is", "defined"],
        [
            (row["stem"], row["class"], ", ".join(row["fields"]), row["summary"], row["defined"])
            for row in found
        ],
    )
    return 0


def _where(function: Any) -> str:
    try:
        _, line = python_inspect.getsourcelines(function)
    except (OSError, TypeError):
        return str(function.__module__)
    return f"{function.__module__}:{line}"


def verify(
    lake: Lake,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key",
            metavar="FILE.pub",
            help="Public key; every receipt must be signed by one. May be repeated.",
        ),
    ] = None,
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """Every receipt against the files; names the first block that parts. Exit code 1 if any.

    With --key the receipts' signatures too.
    """
    store, keys = open_store(lake), [read_public_key(file) for file in key or ()]
    with engine_for(engine, workers) as pool:
        report = verify_lake(store, pool, keys)
    bare = not report.receipts and not any(one.receipt for one in report.problems)
    if bare:
        check_lake(store)
    if json:
        output.emit(report)
    elif not bare:
        _verified(report)
    if bare:
        command = f"`stillhouse run {shlex.quote(lake)}`"
        if report.problems or any(store.list(PRIVATE)):
            output.fail(f"receipts/ is gone; {command} writes new ones")
        else:
            output.fail(f"no receipts here; run {command} first")
    return 0 if report.ok and report.receipts else 1


def _verified(report: VerifyReport) -> None:
    if report.problems:
        output.table(
            "What does not hold",
            ["problem", "file", "detail"],
            [(found.kind, found.path, found.detail) for found in report.problems],
        )
    for words in dict.fromkeys(found.way_out for found in report.problems if found.way_out):
        output.say(words)
    for found in report.notes:
        output.note(f"{found.path}: {found.detail}")
    counted = [
        output.number(report.receipts, "receipt"),
        output.number(report.files, "file"),
        output.number(report.bytes, "byte"),
    ]
    bad = output.number(len(report.problems), "problem")
    output.say(f"{', '.join(counted)}: {'all as receipted' if report.ok else bad}")
    if report.keys:
        signed = f"{report.signed:,} of {output.number(report.receipts, 'receipt')}"
        output.say(f"{signed} signed by {output.number(len(report.keys), 'given key')}")
    elif report.signed:
        signed = output.number(report.signed, "receipt")
        output.say(f"{signed} signed, which was not checked: give --key FILE.pub", "dim")
