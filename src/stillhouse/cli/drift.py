"""The commands that ask what moved: drift scores, drift data. They change nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from stillhouse.cli import output
from stillhouse.cli.options import EngineChoice, EngineName, Json, Lake, Workers, engine_for
from stillhouse.cli.tables import SHORT, no_logs
from stillhouse.lake import check_lake
from stillhouse.records import CATEGORIES
from stillhouse.storage import open_store

if TYPE_CHECKING:
    from stillhouse.drift import Bucket, DistributionDrift
    from stillhouse.drift.data import DataDrift
    from stillhouse.drift.scorer import Agreement, ChangedVerdict, ScorerDrift
    from stillhouse.interfaces import Store

_BAR: Final = 20
_MOST_ROWS: Final = 40
"""Lines of a table that is to be taken in at a glance."""


class By(StrEnum):
    """What rows are told apart by."""

    source = "source"
    model = "model"
    category = "category"


class Edges(StrEnum):
    """How the edges of buckets are chosen."""

    equal = "equal"
    quantile = "quantile"


FieldName = Annotated[
    str,
    typer.Option(
        "--field",
        metavar="FIELD",
        help="text_chars, text_tokens, latency_ms, cost_usd, attempts, confidence, category, "
        "model, provider, verdict, source, or metadata.PATH.",
    ),
]
Reference = Annotated[
    str,
    typer.Option(
        "--reference",
        metavar="A..B",
        help="The window that counts as normal: dates (whole days, UTC, both in it) or times "
        "(the end not in it); A.. and ..B are open.",
    ),
]
Current = Annotated[
    str, typer.Option("--current", metavar="C..D", help="The window that is asked about.")
]
EdgesChoice = Annotated[
    Edges,
    typer.Option("--edges", help="Buckets of one width, or of an equal share of the reference."),
]


def scores(
    lake: Lake,
    examples: Annotated[
        int, typer.Option("--examples", min=0, help="Rows to show of each kind of change.")
    ] = 3,
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """Stored evidence scored again with today's rules: what changed, and which way.

    Exit code 1 when a row went from rejected or needs_human_review to accepted, and when there
    is nothing to compare.
    """
    from stillhouse.drift.scorer import scorer_drift  # statistics: slow to import

    store = open_store(lake)
    with engine_for(engine, workers) as pool, output.progress(json) as hears:
        found = scorer_drift(store, output.Watched(pool, "scoring", hears), examples=examples)
    if not found.rows:
        check_lake(store)
    if json:
        output.emit(found)
    elif found.rows:
        _score_tables(found)
    else:
        output.say(_nothing(store, lake))
    if not json:
        _uncompared(found, lake)
    return 1 if found.harmful or not found.rows else 0


def data(
    lake: Lake,
    field: FieldName,
    reference: Reference,
    current: Current,
    by: Annotated[
        By | None, typer.Option("--by", help="Ask the same of each value of this.")
    ] = None,
    buckets: Annotated[int, typer.Option("--buckets", help="Buckets of numbers, 2 to 1000.")] = 10,
    edges: EdgesChoice = Edges.equal,
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """How a field moved between two windows of time: PSI, its noise floor, KS, by bucket.

    Exit code 1 when a window has no value of the field; a drift, however large, is no failure.
    """
    from stillhouse.drift.data import DriftQuery, data_drift, lake_days  # slow to import
    from stillhouse.drift.windows import read_window

    query = DriftQuery(
        field=field,
        reference=read_window(reference, "--reference"),
        current=read_window(current, "--current"),
        by=by.value if by else None,
        buckets=buckets,
        edges="quantile" if edges is Edges.quantile else "equal_width",
    )
    store = open_store(lake)
    if not lake_days(store):
        check_lake(store)
        output.say(_nothing(store, lake))
        return 1
    with engine_for(engine, workers) as pool, output.progress(json) as hears:
        found = data_drift(store, output.Watched(pool, "reading", hears), query)
    if json:
        output.emit(found)
    else:
        _data_tables(found)
    return 0 if found.has_values() else 1


def _nothing(store: Store, lake: str) -> str:
    """That there is nothing to compare, and the way out."""
    return no_logs(store) or f"nothing has been scored yet: `stillhouse run {shlex.quote(lake)}`"


# ------------------------------------------------------------------------------- scores


def _score_tables(found: ScorerDrift) -> None:
    output.table(
        "Stored category (down) and today's (across)",
        ["stored", *(SHORT.get(name, name) for name in CATEGORIES)],
        [(name, *(found.matrix[name][now] for now in CATEGORIES)) for name in CATEGORIES],
        len(CATEGORIES),
    )
    if len(found.by_source) > 1:
        columns = ["source", "rows", "changed", "agreement", "κ", "harmful", "with partial"]
        rows = [
            (
                stem,
                one.rows,
                one.changed,
                f"{one.agreement:.1%}",
                f"{one.kappa:.3f}",
                one.harmful,
                one.harmful_partial,
            )
            for stem, one in sorted(found.by_source.items(), key=_worst_first)
        ]
        output.table("By source", columns, rows, len(columns) - 1)
    output.table(
        "Changed, for example (the harmful first)",
        ["change", "where", "stored, because", "today, because"],
        [_example(one) for one in found.examples[:_MOST_ROWS]],
    )
    if more := found.examples[_MOST_ROWS:]:
        output.say(f"and {len(more):,} more examples: --json names them")
    for line, style in _score_words(found):
        output.say(line, style)


def _worst_first(source: tuple[str, Agreement]) -> tuple[int, int, int, str]:
    stem, one = source
    return -one.harmful, -one.harmful_partial, -one.changed, stem


def _example(one: ChangedVerdict) -> tuple[str, ...]:
    change = f"{SHORT.get(one.stored, one.stored)} → {SHORT.get(one.today, one.today)}"
    return change, one.where, "\n".join(one.stored_reasons), "\n".join(one.today_reasons)


def _score_words(found: ScorerDrift) -> Iterator[tuple[str, str]]:
    rows = output.number(found.rows, "row")
    if not found.changed:
        yield f"{rows}: today's rules give each its stored category", ""
    else:
        yield (
            f"{found.changed:,} of {rows} get another category today: agreement "
            f"{found.agreement:.1%}, Cohen's κ {found.kappa:.3f}",
            "",
        )
    if found.reworded:
        yield f"{found.reworded:,} more keep their category for other reasons", ""
    if found.harmful:
        yield (
            f"harmful: {found.harmful:,} went from rejected or needs_human_review to accepted, "
            "and would train",
            "bold",
        )
    if found.harmful_partial:
        yield (
            f"harmful with --include-partial: {found.harmful_partial:,} went from there to "
            "partially_accepted",
            "bold",
        )


def _uncompared(found: ScorerDrift, lake: str) -> None:
    """Rows that were not compared, and why."""
    if found.missing:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in found.missing.items())
        runs = output.number(sum(found.missing.values()), "scored run")
        output.note(f"{runs} could not be compared ({reasons})")
    if found.unscored:
        output.note(f"{output.number(found.unscored, 'evidence row')} without a scored run")
    for words in found.missing_rows:
        output.note(words)
    if found.missing_rows and found.rows:
        output.note(f"`stillhouse run {shlex.quote(lake)}` writes anew what is not as it was")


# --------------------------------------------------------------------------------- data


def _data_tables(found: DataDrift) -> None:
    _bucket_table(found)
    if found.by is not None:
        _group_table(found)
    output.say(_verdict(found), "bold")
    drift = found.drift
    if drift.verdict != "empty":
        output.say(_companions(drift))
        for line in drift.warnings:
            output.note(line)
    for line in found.notes:
        output.note(line)
    if found.unreadable:
        lines = output.number(found.unreadable, "evidence line")
        output.note(f"{lines} could not be read, such as {found.unreadable_rows[0]}")


def _bucket_table(found: DataDrift) -> None:
    buckets = found.drift.buckets
    shown = _heaviest(buckets)
    most = max((max(b.reference_share, b.current_share) for b in shown), default=0.0)
    for name, side in (("reference", found.reference), ("current", found.current)):
        values = output.number(side.values, "value")
        missing = f", missing in {side.missing:,}" if side.missing else ""
        output.say(f"{name} {side.window}: {output.number(side.rows, 'row')}, {values}{missing}")
    kind = "value" if found.kind == "categorical" else "from, to"
    output.table(
        f"{found.field}, share of values",
        [kind, "reference", "current", "PSI"],
        [
            (
                bucket.label,
                _bar(bucket.reference_share, most),
                _bar(bucket.current_share, most),
                f"{bucket.psi:.4f}",
            )
            for bucket in shown
        ],
        1,
    )
    if more := len(buckets) - len(shown):
        output.say(f"and {more:,} more that add less to PSI: --json names them")


def _heaviest(buckets: list[Bucket]) -> list[Bucket]:
    """The buckets in their order, no more than a table takes: those that add most to PSI."""
    order = sorted(range(len(buckets)), key=lambda at: buckets[at].psi, reverse=True)
    return [buckets[at] for at in sorted(order[:_MOST_ROWS])]


def _bar(share: float, most: float) -> str:
    """A share in figures and as a bar; whatever is there has a mark."""
    marks = round(share / most * _BAR) if most else 0
    return f"{share:6.1%} " + "#" * max(marks, 1 if share else 0)


def _group_table(found: DataDrift) -> None:
    from stillhouse.drift.data import outcome

    columns = [str(found.by), "outcome", "reference", "current", "PSI", "noise floor", "p"]
    order = sorted(found.groups.items(), key=lambda one: _beyond_noise(one[1]), reverse=True)
    rows = [
        (
            group,
            outcome(drift),
            drift.reference_size,
            drift.current_size,
            f"{drift.psi:.4f}",
            f"{drift.noise_floor_99:.4f}",
            "" if drift.p_value is None else f"{drift.p_value:.2g}",
        )
        for group, drift in order
    ]
    output.table(f"{found.field} by {found.by}", columns, rows[:_MOST_ROWS], 5)
    if len(rows) > _MOST_ROWS:
        output.say(f"and {len(rows) - _MOST_ROWS:,} more: --json names them")
    for name, alone in (
        ("reference", found.only_in_reference),
        ("current", found.only_in_current),
    ):
        if alone:
            output.note(f"values in the {name} window alone: {', '.join(alone)}")


def _beyond_noise(drift: DistributionDrift) -> float:
    """PSI as a multiple of its noise floor; 0 where it has none."""
    return drift.psi / drift.noise_floor_99 if drift.noise_floor_99 else 0.0


def _verdict(found: DataDrift) -> str:
    """The figure and what it means, in one sentence."""
    from stillhouse.drift.data import outcome

    drift, named = found.drift, found.field
    if drift.verdict == "empty":
        empty = [
            f"the {name} window ({output.number(side.rows, 'row')})"
            for name, side in (("reference", found.reference), ("current", found.current))
            if not side.values
        ]
        return f"{named}: no value in {' and in '.join(empty)}; choose another field or window"
    said = f"{named}: {drift.verdict}, PSI {drift.psi:.4f}"
    if drift.p_value is None:
        return f"{said}; all values are alike"
    if outcome(drift) == "too few values":
        return f"{said}; but there are too few values for so many buckets to tell drift from noise"
    beyond = "more than noise" if _beyond_noise(drift) > 1 else "within noise"
    return (
        f"{said}; {beyond}: without drift 99 of 100 such samples stay below "
        f"{drift.noise_floor_99:.4f}"
    )


def _companions(drift: DistributionDrift) -> str:
    parts = [f"debiased {drift.psi_debiased:.4f}"]
    if drift.p_value is not None:
        parts.append(f"p {drift.p_value:.2g}")
    if drift.ks is not None:
        parts.append(f"KS {drift.ks:.4f}")
    return ", ".join([*parts, f"Jensen–Shannon {drift.jensen_shannon:.4f}"])
