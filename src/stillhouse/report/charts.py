"""The charts, as static SVG: Vega-Lite by altair, drawn by vl-convert.

Every chart is at most `WIDTH` pixels wide, so that it is read at its own size on a phone and side
by side with others on a screen. Colours are CSS variables of the page (a presentation attribute
takes ``var()``), so that one SVG serves the light and the dark theme and print. No chart says what
a table or a sentence beside it does not say too.

The SVG holds no script, no link and no id; it depends on its figures alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import altair as alt
import vl_convert
from markupsafe import Markup

from stillhouse.records import CATEGORIES
from stillhouse.report.facts import FieldDrift, MetricHistory, Series, Totals
from stillhouse.report.visible import visible

WIDTH: Final = 320
_FAR: Final = 0.5
"""PSI at which a bar ends: twice what is called major."""

_FONT: Final = "system-ui, sans-serif"
_COLOURS: Final = {
    "accepted": "var(--accepted)",
    "partially_accepted": "var(--partial)",
    "rejected": "var(--rejected)",
    "needs_human_review": "var(--review)",
}
_OPENING: Final = re.compile(r"<svg [^>]*?(viewBox=\"[0-9. -]+\")[^>]*>")
_SIZE: Final = re.compile(r"<svg [^>]*?width=\"([0-9.]+)\" height=\"([0-9.]+)\"")

_CONFIG: Final[dict[str, Any]] = {
    "background": "transparent",
    "font": _FONT,
    "padding": 4,
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "grid": True,
        "gridColor": "var(--rule)",
        "labelColor": "var(--muted)",
        "labelFontSize": 11,
        "labelFont": _FONT,
        "ticks": False,
        "title": None,
        "aria": False,
    },
    "axisX": {"grid": False, "labelPadding": 6},
    "text": {"color": "var(--ink)", "font": _FONT, "fontSize": 11},
    "aria": False,
}


def _draw(chart: Any, height: int, words: str) -> Markup:
    """The chart as SVG with its description for those who do not see it."""
    sized = chart.properties(
        width=WIDTH, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )
    spec = {**sized.to_dict(), "config": _CONFIG}
    svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    size, opening = _SIZE.match(svg), _OPENING.match(svg)
    assert size is not None
    assert opening is not None
    ours = Markup(
        '<svg class="chart" role="img" focusable="false" aria-label="{}" width="{}" height="{}" {}>'
    ).format(visible(words), size[1], size[2], Markup(opening[1]))
    # Vega escapes what it writes; no attribute of ours stands in it but colours and figures.
    return ours + Markup(svg[opening.end() :])


def _values(rows: Sequence[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=list(rows))


def _names() -> alt.Axis:
    """An axis of names, with room for what a wider font than ours makes of them."""
    return alt.Axis(labelLimit=104, minExtent=116, labelColor="var(--ink)", grid=False)


# ------------------------------------------------------------------------------- funnel


def funnel_chart(totals: Totals) -> Markup:
    """Rows at each step of the way, as bars with their figures."""
    steps = [
        ("raw rows", totals.lines - totals.blank, "var(--neutral)"),
        ("evidence", totals.evidence, "var(--neutral)"),
        ("accepted", totals.categories["accepted"], "var(--accepted)"),
        ("SFT samples", totals.exports.get("sft", 0), "var(--accent)"),
        ("preference pairs", totals.exports.get("preference", 0), "var(--accent)"),
        ("unpaired answers", totals.exports.get("unpaired", 0), "var(--accent)"),
        ("RAG chunks", totals.exports.get("rag", 0), "var(--accent)"),
    ]
    rows = [
        {"step": name, "rows": count, "colour": colour, "words": f"{count:,}"}
        for name, count, colour in steps
    ]
    most = max(count for _, count, _ in steps) or 1
    base = alt.Chart(_values(rows)).encode(
        y=alt.Y("step:N", sort=None, axis=_names()),
        x=alt.X("rows:Q", axis=None, scale=alt.Scale(domain=[0, most * 1.28], nice=False)),
    )
    bars = base.mark_bar(height=14).encode(color=alt.Color("colour:N", scale=None))
    figures = base.mark_text(align="left", dx=5).encode(text="words:N")
    words = "Rows by step: " + ", ".join(f"{name} {count:,}" for name, count, _ in steps)
    return _draw(bars + figures, 28 * len(steps) + 10, words)


# -------------------------------------------------------------------- categories over time


def series_chart(series: Series) -> Markup:
    """One source: stacked columns, one a bucket, by category."""
    rows = []
    for number in range(len(series.starts)):
        base = 0
        for name in CATEGORIES:
            count = series.counts[name][number]
            if count:
                rows.append(
                    {"x": number, "x2": number + 0.84, "y": base, "y2": base + count, "c": name}
                )
                base += count
    x = alt.X(
        "x:Q", axis=_ends(series), scale=alt.Scale(domain=[0, len(series.starts)], nice=False)
    )
    colours = alt.Scale(domain=list(CATEGORIES), range=[_COLOURS[name] for name in CATEGORIES])
    chart = (
        alt.Chart(_values(rows))
        .mark_rect()
        .encode(
            x=x,
            x2="x2:Q",
            y=alt.Y("y:Q", axis=alt.Axis(tickCount=3, format=",d", tickMinStep=1)),
            y2="y2:Q",
            color=alt.Color("c:N", legend=None, scale=colours),
        )
    )
    counts = ", ".join(f"{name} {sum(series.counts[name]):,}" for name in CATEGORIES)
    words = f"{series.stem} by {series.unit}, {series.first_day} to {series.last_day}: {counts}"
    return _draw(chart, 132, words)


def _ends(series: Series) -> alt.Axis:
    """An axis that names the first and the last bucket, each within the chart."""
    ends = len(series.starts)
    first, last = bucket_name(series, 0), bucket_name(series, ends - 1)
    if ends == 1:
        return alt.Axis(values=[0], labelExpr=f"'{first}'", labelAlign="left")
    align = {"condition": {"test": "datum.value > 0", "value": "right"}, "value": "left"}
    words = f"datum.value > 0 ? '{last}' : '{first}'"
    return alt.Axis(values=[0, ends], labelExpr=words, labelAlign=align, labelOverlap=False)


def bucket_name(series: Series, number: int) -> str:
    """A bucket as people name it: 2026-03-02, 2026-03, 2026 Q1, 2026."""
    start = series.starts[number]
    match series.unit:
        case "month":
            return start[:7]
        case "quarter":
            return f"{start[:4]} Q{(int(start[5:7]) + 2) // 3}"
        case "year":
            return start[:4]
    return start


# ---------------------------------------------------------------------------- baselines


def metric_chart(metric: MetricHistory, threshold: float) -> Markup:
    """A metric over its baselines, with the band that the one before allowed. A figure outside
    of it is a diamond, one inside a dot."""
    points: list[dict[str, Any]] = []
    before: float | None = None
    for number, point in enumerate(metric.points):
        if point.value is None:
            continue
        row = {"x": number, "y": point.value, "c": _point_colour(point.warned),
               "s": "diamond" if point.warned else "circle"}  # fmt: skip
        if before is not None:
            reach = threshold * abs(before)
            row |= {"low": before - reach, "high": before + reach}
        before = point.value
        points.append(row)
    ends = len(metric.points)
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.5, ends - 0.5], nice=False))
    base = alt.Chart(_values(points)).encode(x=x)
    band = base.mark_rule(strokeWidth=9, color="var(--band)", strokeCap="butt").encode(
        y=alt.Y("low:Q", scale=alt.Scale(zero=False)), y2="high:Q"
    )
    path = base.mark_line(color="var(--muted)", strokeWidth=1.2).encode(y=alt.Y("y:Q", axis=_few()))
    dots = base.mark_point(filled=True, size=46, opacity=1).encode(
        y=alt.Y("y:Q", axis=_few()),
        color=alt.Color("c:N", scale=None),
        shape=alt.Shape("s:N", scale=None),
    )
    warned = sum(point.warned for point in metric.points)
    words = f"{metric.name} over {ends} baselines; {warned} of them outside the band"
    return _draw(band + path + dots, 104, words)


def _few() -> alt.Axis:
    return alt.Axis(tickCount=3, format="~s")


def _point_colour(warned: bool) -> str:
    return "var(--bad)" if warned else "var(--ink)"


# -------------------------------------------------------------------------------- drift


def psi_chart(fields: Sequence[FieldDrift]) -> Markup:
    """PSI of each field as a bar with its figure, its noise floor as a tick, and the lines of 0.10
    and 0.25. Bars end at `_FAR`: how much more it is matters less than that it is."""
    rows = [
        {
            "field": visible(field.field),
            "psi": min(field.psi, _FAR),
            "floor": None if field.noise_floor is None else min(field.noise_floor, _FAR),
            "words": f"{field.psi:.2f}",
            "end": min(max(field.psi, field.noise_floor or 0.0), _FAR),
        }
        for field in fields
    ]
    scale = alt.Scale(domain=[0, _FAR * 1.2], nice=False)
    lines = alt.Axis(
        values=[0.1, 0.25], format=".2f", grid=True, gridDash=[3, 3], gridColor="var(--muted)"
    )
    base = alt.Chart(_values(rows)).encode(y=alt.Y("field:N", sort=None, axis=_names()))
    x = alt.X("psi:Q", scale=scale, axis=lines)
    bars = base.mark_bar(height=10, color="var(--accent)").encode(x=x)
    figures = base.mark_text(align="left", dx=5).encode(
        x=alt.X("end:Q", scale=scale), text="words:N"
    )
    floors = base.mark_tick(thickness=3, height=18, color="var(--ink)").encode(
        x=alt.X("floor:Q", scale=scale)
    )
    words = "PSI by field with its noise floor: " + ", ".join(
        f"{field.field} {field.psi:.3f} (floor {field.noise_floor or 0:.3f})" for field in fields
    )
    return _draw(bars + figures + floors, 26 * len(rows) + 28, words)


def shares_chart(field: FieldDrift) -> Markup:
    """Shares of reference and current by bucket: outlined before, filled now."""
    rows = [
        {"x": number, "before": bucket.reference, "now": bucket.current}
        for number, bucket in enumerate(field.buckets)
    ]
    x = alt.X("x:O", axis=alt.Axis(labelExpr="datum.value + 1", labelAngle=0, labelOverlap=True),
              scale=alt.Scale(paddingInner=0.25, paddingOuter=0.1))  # fmt: skip
    axis = alt.Axis(tickCount=3, format=".0%")
    base = alt.Chart(_values(rows)).encode(x=x)
    now = base.mark_bar(color="var(--accent)", opacity=0.75).encode(y=alt.Y("now:Q", axis=axis))
    before = base.mark_bar(fillOpacity=0, stroke="var(--ink)", strokeWidth=1.3).encode(
        y=alt.Y("before:Q", axis=axis)
    )
    words = f"{field.field}: share of rows by bucket, before and now; PSI {field.psi:.3f}"
    return _draw(now + before, 120, words)
