"""Reports as tables for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from stillhouse.cli import output
from stillhouse.funnel import Funnel, NotAccepted, Refused
from stillhouse.interfaces import Store
from stillhouse.lake import RAW
from stillhouse.pipeline import RunReport
from stillhouse.records import CATEGORIES

_FILES = {
    "sft": "distilled/sft/sft_export.jsonl",
    "preference": "distilled/preference/preference_export.jsonl",
    "unpaired": "distilled/preference/unpaired_export.jsonl",
    "rag": "distilled/rag/rag_export.jsonl",
}


_MOST_REASONS = 12
"""Rows of a table that is to be taken in at a glance."""

SHORT = {"partially_accepted": "partial", "needs_human_review": "review"}
"""Categories as headings of narrow columns."""


def report_tables(url: str, report: RunReport) -> None:
    """What a command did, and where to look next."""
    if report.read:
        output.table("Raw rows read now", ["outcome", "rows"], sorted(report.read.items()), 1)
    elif not report.exports and not report.is_news():
        output.say("nothing new")
    if report.scored:
        output.table("Scored now", ["category", "rows"], sorted(report.scored.items()), 1)
    if report.exports:
        title = "Exports (dry run: nothing was written)" if report.dry_run else "Exports"
        output.table(title, ["export", "rows", "refused", "secrets", "where"], export_rows(report))
        if not report.is_news():
            output.say("nothing new: every file is as the last run left it")
    where = url.rstrip("/")
    if report.exports and not report.dry_run and report.has_data():
        command = f"stillhouse inspect {shlex.quote(where)}"
        output.say(f"look at {where}/distilled, or `{command}`", "dim")


def no_logs(store: Store) -> str:
    """That a lake has no raw log, in words; empty when it has one."""
    if any(entry.path.endswith(".jsonl") for entry in store.list(RAW)):
        return ""
    return f"no *.jsonl in {store.url.rstrip('/')}/{RAW}"


def shortfall(store: Store, report: RunReport) -> str:
    """Why a command came to nothing, in one line."""
    what = "nothing exported" if report.exports else "no evidence"
    refused, rows = report.refused, sum(report.refused.values())
    if report.rows:
        # Each export gives reasons of its own; the first that has any speaks for all.
        each = (_refused(counts) for counts in report.exports.values())
        refused, rows = next(filter(None, each), {}), report.rows
    if not rows:
        return f"{what}: {no_logs(store) or 'no rows were read'}"
    if not refused:
        return f"{what}: none of {rows:,} rows may leave"
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in refused.items())
    return f"{what}: {sum(refused.values()):,} of {rows:,} rows refused ({reasons})"


def _refused(counts: Mapping[str, int]) -> dict[str, int]:
    """An export's refusals by reason."""
    start = "refused/"
    return {name[len(start) :]: n for name, n in counts.items() if n and name.startswith(start)}


def export_rows(report: RunReport) -> list[tuple[object, ...]]:
    """One row an export file: rows, refusals, redactions."""
    rows: list[tuple[object, ...]] = []
    for kind, counts in report.exports.items():
        refused, hidden = total(counts, "refused/"), total(counts, "redacted/")
        if kind == "dataset":
            files = sum(1 for name in counts if name.startswith("rows/"))
            rows.append(
                (kind, total(counts, "rows/"), "", "", f"distilled/dataset ({files} files)")
            )
        elif kind == "preference":
            rows.append(("preference", counts.get("preference", 0), refused, hidden, _FILES[kind]))
            rows.append(("unpaired", counts.get("unpaired", 0), "", "", _FILES["unpaired"]))
        else:
            rows.append((kind, counts.get(kind, 0), refused, hidden, _FILES[kind]))
    return rows


def total(counts: Mapping[str, int], prefix: str) -> int:
    """Sum of the counts whose name begins so."""
    return sum(number for name, number in counts.items() if name.startswith(prefix))


def funnel_tables(funnel: Funnel) -> None:
    """The funnel by source and category, and why rows were refused or not accepted."""
    _source_tables(funnel)
    output.table("Exports", ["export", "what it holds"], list(_holdings(funnel)))
    raw = [found for found in funnel.refused if found.stage == "evidence"]
    output.table(
        "Raw rows refused, and why",
        ["reason", "for example", "rows"],
        [(found.reason, "\n".join(found.examples), found.rows) for found in raw],
        1,
    )
    kept_out = [found for found in funnel.refused if found.stage != "evidence"]
    stages = [kind for kind in _FILES if any(found.stage == kind for found in kept_out)]
    output.table(
        "Rows kept out of exports, and why",
        ["reason", "for example", *stages],
        list(_kept_out(kept_out, stages)),
        len(stages),
    )
    reasons = sorted(_not_accepted(funnel), key=lambda row: -row[3])
    output.table(
        "Why not accepted",
        ["category", "first reason", "for example", "rows"],
        reasons[:_MOST_REASONS],
        1,
    )
    if more := reasons[_MOST_REASONS:]:
        rows_left = sum(row[3] for row in more)
        output.say(f"and {len(more):,} more reasons with {rows_left:,} rows: --json names them")


def _source_tables(funnel: Funnel) -> None:
    """Rows by source: one table, or two where one is too wide for the screen."""
    categories = [SHORT.get(name, name) for name in CATEGORIES]
    columns = ["source", "lines", "blank", "refused", "evidence", *categories]
    rows = [
        (
            source.stem,
            [
                source.lines,
                source.blank,
                source.quarantined,
                source.evidence,
                *(source.categories[name] for name in CATEGORIES),
            ],
        )
        for source in funnel.sources
    ]
    sums = [sum(column) for column in zip(*(row[1] for row in rows), strict=True)]
    lines = [(stem, *numbers) for stem, numbers in [*rows, ("all", sums)]]
    title, middle = "Raw rows to evidence", len(columns) - len(categories)
    if output.fits(columns, lines):
        output.table(title, columns, lines, len(columns) - 1)
    else:
        output.table(title, columns[:middle], [line[:middle] for line in lines], middle - 1)
        parts = [(line[0], *line[middle:]) for line in lines]
        output.table("Evidence by category", ["source", *categories], parts, len(categories))


def _not_accepted(funnel: Funnel) -> Iterator[tuple[str, str, str, int]]:
    """One line a category and reason, whatever sources gave it."""
    alike: dict[tuple[str, str], list[NotAccepted]] = {}
    for found in funnel.not_accepted:
        alike.setdefault((found.category, found.reason), []).append(found)
    for (category, reason), each in alike.items():
        example = each[0].example
        if len(each) > 1:
            example += f"\nand in {output.number(len(each) - 1, 'more log')}"
        yield SHORT.get(category, category), reason, example, sum(one.rows for one in each)


def _holdings(funnel: Funnel) -> Iterator[tuple[str, str]]:
    """One line an export: its rows by what they are."""
    for kind, counts in funnel.exports.items():
        kept = {
            name.removeprefix("rows/"): number
            for name, number in counts.items()
            if number and not name.startswith(("refused/", "redacted/"))
        }
        names = sorted(kept, key=_place) if kind == "dataset" else kept
        yield kind, ", ".join(f"{name} {kept[name]:,}" for name in names) or "nothing"


def _place(section: str) -> tuple[int, int]:
    """Where a section of the dataset (``sft/train``) stands among the others."""
    config, _, split = section.partition("/")
    return _at(config, [*_FILES]), _at(split, ["train", "validation", "test"])


def _at(name: str, names: list[str]) -> int:
    return names.index(name) if name in names else len(names)


def _kept_out(refused: list[Refused], stages: list[str]) -> Iterator[tuple[object, ...]]:
    """One line a reason (and category, where that is the reason), with its rows in each export
    and the first examples of any."""
    reasons = list(dict.fromkeys(found.reason for found in refused))
    pairs = dict.fromkeys((found.reason, found.category) for found in refused)
    for reason, category in sorted(pairs, key=lambda pair: reasons.index(pair[0])):
        same = [found for found in refused if (found.reason, found.category) == (reason, category)]
        alike = {found.stage: found for found in same}
        most = max(len(found.examples) for found in alike.values())
        examples = dict.fromkeys(row for found in alike.values() for row in found.examples)
        rows = (alike[stage].rows if stage in alike else 0 for stage in stages)
        name = f"{reason}\n{SHORT.get(category, category)}" if category else reason
        yield name, "\n".join(list(examples)[:most]), *rows
