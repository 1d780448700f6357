"""The report in a real browser: it fits, can be read in both themes, prints, and runs nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillhouse.report.page import render_page
from tests.report import browser
from tests.report.lakes import ATTACK, Marks, facts_of, hostile_lake, leave_checks, leave_refusals
from tests.runs import demo, put, row, run

PROGRAM = browser.find_browser()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason=f"none of {', '.join(browser.NAMES)} here: apt-get install chromium"
)

PHONE = "<!doctype html><meta name=viewport content='width=device-width'>"
WIDTHS = (390, 1440)
THEMES = ("light", "dark")

OPEN_ALL = "document.querySelectorAll('details').forEach(one => { one.open = true; })"

OVERFLOWS = """
(() => {
  const unseen = one => {
    const head = one.closest('thead');
    return head && getComputedStyle(head).position === 'absolute';
  };
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push('the page is ' + root.scrollWidth);
  for (const one of document.querySelectorAll('body *')) {
    if (unseen(one) || (one.closest('svg') && one.tagName !== 'svg')) continue;
    const box = one.getBoundingClientRect();
    const words = one.textContent.trim().slice(0, 40);
    const name = `${one.tagName}.${one.getAttribute('class') || ''} ${words}`;
    if (box.right > root.clientWidth + 0.5 || box.left < -0.5) found.push('leaves: ' + name);
    const inline = getComputedStyle(one).display === 'inline' || one.tagName === 'svg';
    if (!inline && one.scrollWidth > one.clientWidth + 1) found.push('overflows: ' + name);
  }
  return found;
})()
"""
"""Elements whose content is wider than they are, or that leave the page on a side."""

CONTRASTS = """
(() => {
  const numbers = colour => colour.match(/[0-9.]+/g).map(Number);
  const linear = part => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const light = colour => {
    const [red, green, blue] = numbers(colour).map(part => linear(part / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = one => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = {};
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const one = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim()) continue;
    const front = getComputedStyle(one)[one.closest('svg') ? 'fill' : 'color'];
    const [most, least] = [light(front), light(behind(one))].sort((x, y) => y - x);
    const ratio = (most + 0.05) / (least + 0.05);
    const name = `${one.tagName}.${one.getAttribute('class') || ''}`;
    if (ratio < 4.5) found[`${name} ${front} on ${behind(one)}`] = ratio;
  }
  return found;
})()
"""
"""Texts with less contrast to what is behind them than WCAG 2 (level AA, 4.5 to 1) asks for."""


class Pages(NamedTuple):
    """Files to look at."""

    example: Path
    hostile: Path
    wide: Path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """The page of the example lake with all its parts, of a hostile lake, and of one whose words
    are as long as they may be."""
    root = tmp_path_factory.mktemp("lakes")
    example, hostile, wide = root / "example", root / "hostile", root / "wide"
    run(demo(example))
    leave_checks(example, Marks())
    mark = hostile_lake(hostile)
    leave_checks(hostile, mark)
    leave_refusals(hostile, mark)
    long = "a" * 3000
    body = row(0, file=long, review=f"{long} {long}", model=long, task_id=long, run_id=long)
    put(wide, "s" * 200, b"\n".join([row(1), b'{"torn' + long.encode()]) + b"\n")
    put(wide, "scrum_reviews", body + b"\n" + row(1) + b"\n")
    run(wide)
    leave_checks(wide, _Long())
    return Pages(*(_written(lake) for lake in (example, hostile, wide)))


class _Long(Marks):
    """Words without a place to break at, in place of attacks."""

    def __call__(self, where: str) -> str:
        return f"{where.replace(' ', '_')}_{'w' * 300}{len(self.made)}"


def _written(lake: Path) -> Path:
    path = lake / "reports" / "report.html"
    path.parent.mkdir(exist_ok=True)
    path.write_text(render_page(facts_of(lake)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    """One browser for all of these tests."""
    assert PROGRAM is not None
    with browser.start(PROGRAM, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", Pages._fields)
def test_nothing_overflows(
    name: str, width: int, pages: Pages, chromium: browser.Browser, tmp_path: Path
) -> None:
    """Neither the page nor any cell is wider than it may be, folded and with all opened."""
    chromium.open(getattr(pages, name), width, 900, theme="light")
    assert chromium.evaluate("innerWidth") == width
    assert chromium.evaluate(OVERFLOWS) == []
    chromium.evaluate(OPEN_ALL)
    assert chromium.evaluate(OVERFLOWS) == []


def test_the_measure_sees_an_overflow(chromium: browser.Browser, tmp_path: Path) -> None:
    """A cell that is too wide for its column, and a page that is too wide, are found."""
    page = tmp_path / "page.html"
    cell = "<td style='max-width: 50px'>" + "w" * 200
    page.write_text(f"{PHONE}<body style='overflow-x: hidden'><table><tr>{cell}</table>")
    chromium.open(page, 390, 900, theme="light")
    assert any("TD" in found for found in chromium.evaluate(OVERFLOWS))
    page.write_text(f"{PHONE}<p style='color: #999; width: 900px'>grey")
    chromium.open(page, 390, 900, theme="light")
    assert any("leaves: P" in found for found in chromium.evaluate(OVERFLOWS))
    assert len(chromium.evaluate(CONTRASTS)) == 1


@pytest.mark.parametrize("theme", THEMES)
def test_both_themes_can_be_read(theme: str, pages: Pages, chromium: browser.Browser) -> None:
    """Every text, in charts too, stands out from what is behind it; the themes differ."""
    chromium.open(pages.example, 1440, 900, theme=theme)
    chromium.evaluate(OPEN_ALL)
    assert chromium.evaluate(CONTRASTS) == {}
    paper = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"}[theme]


@pytest.mark.parametrize("name", Pages._fields)
def test_nothing_runs_and_nothing_is_loaded(
    name: str, pages: Pages, chromium: browser.Browser
) -> None:
    """The browser asks for the page alone, runs nothing that a row brought, and complains of
    nothing."""
    page: Path = getattr(pages, name)
    chromium.open(page, 1440, 900, theme="light")
    assert chromium.evaluate("typeof window.harmed") == "undefined"
    assert chromium.evaluate("document.querySelectorAll('script, img, iframe, object').length") == 0
    assert chromium.requests == [page.as_uri()]
    assert chromium.errors == []


def test_an_attack_would_be_seen(chromium: browser.Browser, tmp_path: Path) -> None:
    """The attacks of these tests do run where a page lets them."""
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><p title="{ATTACK}">')
    chromium.open(page, 1440, 900, theme="light")
    assert chromium.evaluate("window.harmed") == 1


def test_pictures_and_print(pages: Pages, chromium: browser.Browser, tmp_path: Path) -> None:
    """The whole page is drawn at both widths in both themes, and prints."""
    for width in WIDTHS:
        drawn = {}
        for theme in THEMES:
            chromium.open(pages.example, width, 900, theme=theme)
            height = chromium.evaluate("document.documentElement.scrollHeight")
            picture = chromium.picture(tmp_path / f"{width}-{theme}.png")
            assert struct.unpack(">II", picture[16:24]) == (width, height)
            drawn[theme] = picture
        assert drawn["light"] != drawn["dark"]
    chromium.open(pages.example, 1000, 900, theme="dark")
    pdf = chromium.pdf(tmp_path / "report.pdf")
    assert pdf.startswith(b"%PDF-")


def test_a_dark_screen_prints_on_white(pages: Pages, chromium: browser.Browser) -> None:
    """Print has dark words on white paper, whatever the theme, and no links to jump by."""
    chromium.open(pages.example, 1000, 900, theme="dark", media="print")
    colours: Any = chromium.evaluate(
        "['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name])"
    )
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert chromium.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert chromium.evaluate(CONTRASTS) == {}
