"""Renders the facts as one self-contained HTML page: no script, no request, nothing to load.

Everything that the templates print is made visible (`visible`) and escaped by Jinja's autoescaping;
markup comes from the templates and from `charts` alone. A link leads to nothing but a raw log of
this lake, and only where its name is one that a raw log can have.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stillhouse.records import CATEGORIES
from stillhouse.report import charts, reasons
from stillhouse.report.excerpts import raw_log_of
from stillhouse.report.facts import Excerpt, Facts, MetricHistory, RefusedRow, RefusedRows, Series
from stillhouse.report.judgement import figure, has_drifted, moved, number
from stillhouse.report.visible import visible

_CLIPPED: Final = 280
"""Characters of a text that are seen before it is opened."""

_STAGES: Final = ("export", "sft", "preference", "rag")
_MOST_EXAMPLES: Final = 3
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


class KeptOut(NamedTuple):
    """A reason that keeps rows out of exports: rows by export, and the first few of any."""

    reason: str
    category: str
    rows: Mapping[str, int]
    examples: Sequence[RefusedRow]


def render_page(facts: Facts, link_base: str | None = "../") -> str:
    """The page. ``link_base`` leads from the page's folder to the lake's root, as a relative URL
    that ends in ``/``; None where there is no such way, and then no raw log is linked."""
    environment = Environment(
        loader=PackageLoader("stillhouse.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": number,
        "figure": figure,
        "size": size,
        "clipped": clipped,
        "json": compact_json,
        "coded": coded,
        "metric": reasons.metric,
        "short": lambda name: reasons.SHORT.get(name, name),
    }
    raw = [one for one in facts.refused if one.stage == "evidence"]
    return environment.get_template("page.html").render(
        facts=facts,
        charts=charts,
        categories=CATEGORIES,
        raw_reasons=reasons.RAW,
        export_reasons=reasons.EXPORT,
        refused_raw=raw,
        kept_out=kept_out([one for one in facts.refused if one.stage != "evidence"]),
        stages=[name for name in _STAGES if any(one.stage == name for one in facts.refused)],
        link=lambda place: raw_link(place, link_base),
        show_line=lambda row: show_line(facts.lake, row),
        command=lambda words, *more: command(facts.lake, words, *more),
        buckets=buckets,
        shares=shares,
        moved=moved,
        steady=steady,
        has_drifted=has_drifted,
    )


def _finalize(value: Any) -> Any:
    """What every printed value goes through, before it is escaped."""
    if isinstance(value, Markup):
        return value
    return visible(value if isinstance(value, str) else str(value))


# -------------------------------------------------------------------------- view models


def kept_out(refused: Sequence[RefusedRows]) -> list[KeptOut]:
    """One entry a reason and category, whatever exports gave it, most rows first."""
    found: dict[tuple[str, str], list[RefusedRows]] = {}
    for one in refused:
        found.setdefault((one.reason, one.category), []).append(one)
    entries = []
    for (reason, category), alike in found.items():
        rows: dict[str, int] = {}
        examples: dict[tuple[str, int], RefusedRow] = {}
        for one in alike:
            rows[one.stage] = rows.get(one.stage, 0) + one.rows
            for row in one.examples:
                examples.setdefault((row.source_file, row.line), row)
        entries.append(KeptOut(reason, category, rows, [*examples.values()][:_MOST_EXAMPLES]))
    return sorted(entries, key=lambda one: (-max(one.rows.values()), one.reason, one.category))


def buckets(series: Series) -> list[tuple[str, list[int]]]:
    """The figures of a chart: each bucket that has rows, by category."""
    rows = []
    for at in range(len(series.starts)):
        counts = [series.counts[name][at] for name in CATEGORIES]
        if any(counts):
            rows.append((charts.bucket_name(series, at), counts))
    return rows


def shares(series: Series) -> list[str]:
    """What part of a source's rows each category is, those without rows left out."""
    sums = {name: sum(series.counts[name]) for name in CATEGORIES}
    return [
        f"{reasons.SHORT[name]} {100 * rows / series.rows:.0f} %"
        for name, rows in sums.items()
        if rows
    ]


def steady(metric: MetricHistory) -> bool:
    """True for a metric that several audits found the same: a chart of it would say nothing."""
    known = [point.value for point in metric.points if point.value is not None]
    return len(known) > 1 and len(set(known)) == 1


def clipped(text: Excerpt) -> tuple[str, str]:
    """An excerpt in two: what is seen, and what is seen when it is opened. It is parted at a
    blank, where one is near."""
    if len(text.text) <= _CLIPPED * 3 // 2:
        return text.text, ""
    at = text.text.rfind(" ", _CLIPPED * 3 // 4, _CLIPPED)
    at = at if at > 0 else _CLIPPED
    return text.text[:at], text.text[at:]


def coded(sentence: str) -> Markup:
    """A sentence with what stands in backquotes as code."""
    pieces = visible(sentence).split("`")
    return Markup("").join(
        Markup("<code>{}</code>" if at % 2 else "{}").format(piece)
        for at, piece in enumerate(pieces)
    )


def compact_json(value: Any) -> str:
    """Options as they stand in a receipt, on one line and of bounded length."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 800 else f"{text[:800]} …"


def size(count: int) -> str:
    """Bytes for people: 950 bytes, 1.2 MB."""
    amount, unit = float(count), 0
    while amount >= 1000 and unit + 1 < len(_UNITS):
        amount, unit = amount / 1000, unit + 1
    return f"{count:,} bytes" if not unit else f"{amount:.3g} {_UNITS[unit]}"


# --------------------------------------------------------------------- links and commands


def raw_link(source_file: str, link_base: str | None) -> str:
    """The relative URL of a raw log; empty for what is no raw log of a lake."""
    path = raw_log_of(source_file)
    return link_base + quote(path) if path and link_base is not None else ""


def show_line(lake: str, row: RefusedRow) -> str:
    """The command that prints a raw line; empty where it cannot be given."""
    path = raw_log_of(row.source_file)
    if not path or "://" in lake:
        return ""
    file = f"{lake.rstrip('/')}/{path}"
    return f"sed -n {row.line}p {shlex.quote(file)}"


def command(lake: str, words: str, *more: str) -> str:
    """A command of this program on this lake."""
    return " ".join(["stillhouse", words, shlex.quote(lake), *map(shlex.quote, more)])
