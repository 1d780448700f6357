"""The page: nothing from a lake becomes markup, nothing is loaded, and it reads as it should."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from stillhouse.report import Facts
from stillhouse.report.page import render_page, size
from tests.report.lakes import (
    ATTACK,
    Marks,
    facts_of,
    gate,
    hostile_lake,
    leave_checks,
    leave_refusals,
)
from tests.runs import demo, put, row, rows, run, stamps

HTML = {
    "html": {"lang"},
    "head": set(),
    "meta": {"charset", "http-equiv", "content", "name"},
    "title": set(),
    "style": set(),
    "body": set(),
    "header": set(),
    "main": set(),
    "nav": {"aria-label"},
    "section": {"class", "aria-labelledby"},
    "article": {"class"},
    "div": {"class"},
    "p": {"class"},
    "br": set(),
    "h1": set(),
    "h2": {"id"},
    "h3": set(),
    "h4": {"class"},
    "ul": {"class", "aria-label"},
    "ol": {"class"},
    "li": set(),
    "dl": {"class"},
    "dt": set(),
    "dd": set(),
    "small": set(),
    "strong": {"class"},
    "span": {"class", "aria-hidden"},
    "bdi": set(),
    "code": set(),
    "pre": {"class"},
    "a": {"class", "href"},
    "figure": set(),
    "figcaption": set(),
    "details": set(),
    "summary": {"class"},
    "table": {"class", "role"},
    "caption": set(),
    "thead": {"role"},
    "tbody": {"role"},
    "tfoot": {"role"},
    "tr": {"role"},
    "th": {"class", "role", "scope"},
    "td": {"class", "role", "data-label", "colspan"},
}
"""The template's own elements with their attributes."""

SVG = {
    "svg": {"class", "role", "focusable", "aria-label", "width", "height", "viewbox"},
    "g": {"class", "role", "fill", "stroke-miterlimit", "transform", "pointer-events",
          "aria-hidden", "aria-roledescription", "aria-label"},
    "path": {"class", "d", "fill", "stroke", "stroke-width", "transform", "opacity", "display",
             "pointer-events", "aria-hidden", "fill-opacity"},
    "line": {"transform", "x2", "y2", "stroke", "stroke-width", "stroke-dasharray",
             "stroke-linecap", "opacity"},
    "text": {"text-anchor", "transform", "font-family", "font-size", "font-weight", "fill",
             "opacity"},
}  # fmt: skip
"""What a chart is made of."""

VOID = {"meta", "br"}


class Page(HTMLParser):
    """A page taken apart: elements, attributes, text, and whether tags close as they opened."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.headings: list[str] = []
        self.unclosed: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.unclosed.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed, f"</{tag}> closes nothing"
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check_harmless(html: str) -> Page:
    """Only the template's elements and attributes, only links into the page and to raw logs."""
    page = Page(html)
    assert not page.unclosed
    known = HTML | SVG
    for tag, name, value in page.attributes:
        assert name in known.get(tag, set()), (tag, name, value[:200])
        assert not name.startswith("on")
        if name == "href":
            assert re.fullmatch(r"#[a-z]+|\.\./_kb/[\w.%~|-]+\.jsonl", value), value
        elif name == "class":
            assert re.fullmatch(r"[a-z0-9_ -]*", value), value
        else:
            assert "javascript:" not in value.lower()
            assert "url(" not in value
    assert set(page.elements) <= set(known), set(page.elements) - set(known)
    return page


class Hostile(NamedTuple):
    """A hostile lake's page, and the attacks that were put into it."""

    mark: Marks
    html: str


class Example(NamedTuple):
    """A lake, its facts and its page."""

    root: Path
    facts: Facts
    html: str


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """A lake in which everything that can be an attack is one."""
    root = tmp_path_factory.mktemp("hostile") / ATTACK.replace("/", "|")
    root.mkdir()
    mark = hostile_lake(root)
    leave_checks(root, mark)
    leave_refusals(root, mark)
    return Hostile(mark, render_page(facts_of(root)))


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """The example lake with gates, an audit and baselines."""
    root = tmp_path_factory.mktemp("example")
    run(demo(root))
    leave_checks(root, Marks())
    facts = facts_of(root)
    return Example(root, facts, render_page(facts))


def test_no_text_of_a_lake_becomes_markup(hostile: Hostile) -> None:
    """With an attack in every field of every kind of row, in names, in quarantine, in what audits
    leave and in the lake's own path, the page has no element and attribute but its own."""
    mark = hostile.mark
    page = check_harmless(hostile.html)
    said = "".join(page.text)
    shown = {found for found in mark.made if found in said}
    # The test would prove little if the attacks did not reach the page at all.
    assert len(shown) > 60, len(shown)
    assert "<script>window.harmed=1</script>" in said
    where = {mark.made[found] for found in shown}
    for place in ("metric", "gate claim", "offence", "label", "field", "phase", "creep",
                  "warning", "detail", "source file", "bytes", "other", "torn line",
                  "not UTF-8", "control characters", "a long word"):  # fmt: skip
        assert place in where, place
    stems = {place.partition(".")[0] for place in where}
    assert {"audits", "auto_apply", "contract_analyses", "mode_experiments", "observer_reviews",
            "outcomes"} <= stems  # fmt: skip


def test_attacks_in_receipts_do_not_become_markup(tmp_path: Path) -> None:
    """Options of a receipt are whatever its writer put there."""
    put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    for path in (tmp_path / "receipts" / "sft").iterdir():
        body = json.loads(path.read_text())
        definition = body["predicate"]["buildDefinition"]
        definition["externalParameters"]["options"] = {ATTACK: [ATTACK]}
        body["predicate"]["runDetails"]["builder"]["version"] = {"stillhouse": ATTACK}
        body["predicate"]["runDetails"]["byproducts"][0]["annotations"]["counts"] = {ATTACK: 3}
        path.write_text(json.dumps(body))
    for path in (tmp_path / "receipts" / "rag").iterdir():
        path.write_text(json.dumps({"_type": ATTACK}))
    page = check_harmless(render_page(facts_of(tmp_path)))
    said = "".join(page.text)
    assert said.count("onerror=") >= 4
    assert "cannot be read" in said


def test_what_cannot_be_seen_is_named(hostile: Hostile) -> None:
    """Control characters and marks that turn the writing are spelt out; none is in the page."""
    html = hostile.html
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]", html
    )
    for name in ("⟦U+202E⟧", "⟦U+2066⟧", "⟦U+E0041⟧", "\\xff"):
        assert name in html, name


def test_the_page_stays_small_whatever_is_in_the_rows(hostile: Hostile) -> None:
    """A word of a megabyte, and as many rows as there are, leave a page that can be opened."""
    html = hostile.html
    assert len(html) < 1_500_000
    assert "w" * 5000 not in html


def test_nothing_is_loaded_and_no_script_can_run(example: Example) -> None:
    """The page forbids everything but its own style, and names no address."""
    html = example.html
    page = check_harmless(html)
    policy = [value for tag, name, value in page.attributes if value.startswith("default-src")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"(?:src|href|action|xlink:href)=[\"']?(?:https?:|//|data:)", html)


def test_the_same_lake_and_time_give_the_same_bytes(example: Example) -> None:
    """Two pages of a lake are one page, and making them changes nothing in the lake."""
    before = stamps(example.root)
    assert render_page(facts_of(example.root)) == example.html
    assert stamps(example.root) == before


def test_ids_are_unique_and_headings_in_order(example: Example) -> None:
    """No level of heading is skipped, each id stands once, and each link in the page has one."""
    page = check_harmless(example.html)
    levels = [int(heading[1]) for heading in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    wanted = [value[1:] for _, name, value in page.attributes if name == "href" and value[0] == "#"]
    assert set(wanted) <= set(ids)
    labels = [value for _, name, value in page.attributes if name == "aria-labelledby"]
    assert set(labels) <= set(ids)


def test_every_chart_says_what_it_shows(example: Example) -> None:
    """Each picture has a description with its figures, each table a caption."""
    page = check_harmless(example.html)
    described = [
        value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")
    ]
    assert page.elements["svg"] == len(described)
    assert all(re.search(r"\d", words) for words in described)
    assert page.elements["table"] == page.elements["caption"]


def test_a_raw_line_is_linked_and_its_command_given(tmp_path: Path) -> None:
    """A refused row leads to its log, from wherever the page is, and says how to print the line."""
    put(tmp_path, "scrum_reviews", rows(0, 2) + b"{torn\n")
    run(tmp_path)
    facts = facts_of(tmp_path)
    html = render_page(facts)
    assert '<a class="mono" href="../_kb/scrum_reviews.jsonl"><bdi>_kb/scrum_reviews.jsonl' in html
    assert f"sed -n 3p {tmp_path}/_kb/scrum_reviews.jsonl" in html
    assert 'href="up/here/_kb/scrum_reviews.jsonl"' in render_page(facts, "up/here/")
    assert "scrum_reviews.jsonl</a>" not in render_page(facts, None)
    assert "_kb/scrum_reviews.jsonl</bdi>, line 3" in render_page(facts, None).replace(
        "</span>", ""
    )


def test_secrets_do_not_reach_the_page(tmp_path: Path) -> None:
    """Secrets in refused rows and samples are taken out, also where a line is no JSON."""
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    torn = b'{"torn": "' + token.encode() + b'"'
    no_time = json.dumps({"file": "a", "review": f"use {token} here"}).encode()
    said = {"decision": "reject", "reason": "x " * 60 + f"it has the token {token} in it"}
    judged = row(1, human_override=said)
    good = row(0, review=f"the token {token} was in the diff", accepted_on_attempt=1)
    latin = b'{"\xff": "' + token.encode() + b'"}'
    put(tmp_path, "scrum_reviews", b"\n".join([torn, no_time, good, latin, judged]) + b"\n")
    run(tmp_path)
    leave_checks(tmp_path, _Secrets(token))
    html = render_page(facts_of(tmp_path))
    assert "a1B2c3D4" not in html
    assert html.count("[REDACTED:github]") >= 20
    assert html.count("Secrets were taken out of this text.") >= 3


class _Secrets(Marks):
    """The same secret wherever something is quoted, so placed that a cut would go through it."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def __call__(self, where: str) -> str:
        return f"{where}: {'y ' * 50}{self._token}"


def test_figures_are_those_of_the_lake(example: Example) -> None:
    """The sentence of the funnel and the table hold the lake's own counts."""
    said = " ".join("".join(Page(example.html).text).split())
    totals = example.facts.totals
    assert (
        f"Of {totals.lines - totals.blank:,} raw rows, {totals.evidence:,} became evidence and "
        f"{totals.categories['accepted']:,} were accepted; {totals.exports['sft']:,} SFT samples"
    ) in said


def test_what_was_not_run_is_said_with_its_command(tmp_path: Path) -> None:
    """Without audit and gates the page says so, and what to run: it shows no empty chart."""
    put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    said = "".join(Page(render_page(facts_of(tmp_path))).text)
    assert "Not proven fit to train on." in said
    assert f"stillhouse accept {tmp_path}" in said
    assert said.count(f"stillhouse audit {tmp_path}") == 2
    assert "No baseline has been recorded yet" in said


def test_a_red_gate_is_seen_without_colour(tmp_path: Path) -> None:
    """Verdicts are words and signs: red, blocked and the rows at fault are named."""
    put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    (tmp_path / "reports").mkdir()
    gates = [gate(number) for number in range(1, 16)] + [gate(16, "red")]
    report = {"recorded_at": "2026-05-01T00:00:00Z", "sequence": 99, "gates": gates}
    (tmp_path / "reports" / "acceptance.json").write_text(json.dumps(report))
    said = "".join(Page(render_page(facts_of(tmp_path))).text)
    assert "✕ Do not train on this lake as it is." in said
    assert "✕ red" in said
    assert said.count("✓ holds") == 15
    assert "path:3 offence" in " ".join(said.split())


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1_234_567, "1.23 MB"),
        (10**15, "1e+03 TB"),
    ],
)
def test_sizes_are_for_people(count: int, words: str) -> None:
    """Bytes are told with three digits and a unit of thousands."""
    assert size(count) == words
