"""The commands that make things: run, evidence, score, export."""

from __future__ import annotations

from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated, Literal

import typer

from stillhouse import config, pipeline
from stillhouse.audit import check_drift_gate
from stillhouse.cli import output
from stillhouse.cli.options import (
    EngineChoice,
    EngineName,
    IncludePartial,
    IncludeReview,
    Json,
    Lake,
    LlamaFactory,
    MaxPairs,
    OnSecret,
    Parquet,
    RecordedAt,
    Secrets,
    ToolsAs,
    ToolsChoice,
    Workers,
    engine_for,
)
from stillhouse.cli.tables import report_tables, shortfall
from stillhouse.errors import UsageError
from stillhouse.exports import KINDS, ExportOptions
from stillhouse.interfaces import Store
from stillhouse.lake import check_lake
from stillhouse.storage import open_store


class Gate(StrEnum):
    """What must hold before anything is exported."""

    drift = "drift"


class What(StrEnum):
    """What to export."""

    sft = "sft"
    preference = "preference"
    rag = "rag"
    dataset = "dataset"
    all = "all"


def run(
    lake: Lake,
    include_partial: IncludePartial = False,
    include_review: IncludeReview = False,
    max_pairs: MaxPairs = 4,
    on_secret: Secrets = OnSecret.redact,
    tools_as: ToolsChoice = ToolsAs.strings,
    llama_factory: LlamaFactory = False,
    parquet: Parquet = False,
    recorded_at: RecordedAt = None,
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """Distil a lake: raw logs to evidence, scores, SFT, preference, RAG and dataset.

    Does only what is new since the last run. Exit code 1 when nothing could be exported.
    """
    store = open_store(lake)
    options = _options(
        include_partial, include_review, max_pairs, on_secret, tools_as, llama_factory, parquet
    )
    with engine_for(engine, workers) as pool, output.progress(json) as hears:
        report = pipeline.run_lake(
            store, pool, options, config.check_recorded_at(recorded_at), hears
        )
    return _finish(store, report, json)


def evidence(
    lake: Lake,
    recorded_at: RecordedAt = None,
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """Raw rows to evidence: normalise, type, anchor each row to its raw line."""
    store = open_store(lake)
    with engine_for(engine, workers) as pool, output.progress(json) as hears:
        report = pipeline.make_evidence(store, pool, config.check_recorded_at(recorded_at), hears)
    return _finish(store, report, json)


def score(
    lake: Lake,
    recorded_at: RecordedAt = None,
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """Evidence to scored runs: a category and its reasons for every record."""
    store = open_store(lake)
    with engine_for(engine, workers) as pool, output.progress(json) as hears:
        report = pipeline.score_evidence(store, pool, config.check_recorded_at(recorded_at), hears)
    return _finish(store, report, json)


def export(
    lake: Lake,
    what: Annotated[What, typer.Argument(help="What to write.")] = What.all,
    include_partial: IncludePartial = False,
    include_review: IncludeReview = False,
    max_pairs: MaxPairs = 4,
    on_secret: Secrets = OnSecret.redact,
    tools_as: ToolsChoice = ToolsAs.strings,
    llama_factory: LlamaFactory = False,
    parquet: Parquet = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything but write; print what it would be.")
    ] = False,
    gate: Annotated[
        Gate | None,
        typer.Option(
            "--gate",
            help="drift: refuse, with exit code 1, when the last audit failed, or found rows that "
            "today's rules accept against their stored score; and when there was none.",
        ),
    ] = None,
    recorded_at: RecordedAt = None,
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """Scored runs to training data, through the firewall. Exit code 1 when none is left."""
    store = open_store(lake)
    if gate is Gate.drift:
        check_lake(store)
        check_drift_gate(store)
    options = _options(
        include_partial, include_review, max_pairs, on_secret, tools_as, llama_factory, parquet
    )
    kinds = KINDS if what is What.all else (what.value,)
    with engine_for(engine, workers) as pool, output.progress(json) as hears:
        report = pipeline.export_lake(
            store,
            pool,
            kinds,
            options,
            config.check_recorded_at(recorded_at),
            hears,
            dry_run=dry_run,
        )
    return _finish(store, report, json)


_FORMS: dict[ToolsAs, Literal["strings", "objects", "openai"]] = {
    ToolsAs.strings: "strings",
    ToolsAs.objects: "objects",
    ToolsAs.openai: "openai",
}


def _options(
    include_partial: bool,
    include_review: bool,
    max_pairs: int,
    on_secret: OnSecret,
    tools_as: ToolsAs,
    llama_factory: bool,
    parquet: bool,
) -> ExportOptions:
    if parquet and find_spec("pyarrow") is None:
        raise UsageError(
            "--parquet needs pyarrow, which is not installed",
            way_out="Install it with: python -m pip install 'stillhouse[parquet]'",
        )
    return ExportOptions(
        include_partial=include_partial,
        include_review=include_review,
        max_pairs=max_pairs,
        on_secret="drop" if on_secret is OnSecret.drop else "redact",
        tools_as=_FORMS[tools_as],
        llama_factory=llama_factory,
        parquet=parquet,
    )


def _finish(store: Store, report: pipeline.RunReport, json: bool) -> int:
    if json:
        output.emit(report)
    else:
        report_tables(store.url, report)
    # Behind the tables, where they are seen.
    for line in report.notes:
        output.note(line)
    if report.has_data():
        return 0
    output.say(shortfall(store, report), "bold")
    return 1
