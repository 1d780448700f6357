"""`stillhouse report`, as a person calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import chdir
from functools import partial
from pathlib import Path

import msgspec
import pytest

from stillhouse.report import Facts, gather_facts
from stillhouse.storage import MemoryStore
from tests.report.lakes import NOW, VERSION
from tests.runs import Command, add, demo, environment, files, put, row, rows, run, stamps


@pytest.fixture
def report(stillhouse: Command) -> Command:
    """The command, in this process."""
    return partial(stillhouse, "report")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A small lake that was run once."""
    root = tmp_path / "lake"
    put(root, "scrum_reviews", rows(0, 6) + b"{torn\n")
    run(root)
    return root


def test_the_page_is_written_into_the_lake(lake: Path, report: Command) -> None:
    """By default into reports/; the verdict and the place are said, and nothing else changes."""
    before = files(lake, "_kb", "evidence", "scored-runs", "distilled", "quarantine", "receipts")
    told = report(lake)
    assert told == (0, "", f"Not proven fit to train on. Read {lake}/reports/report.html\n")
    assert (lake / "reports" / "report.html").read_text().startswith("<!doctype html>")
    assert files(lake, *{name.split("/")[0] for name in before}) == before
    assert os.listdir(lake / "reports") == ["report.html"]


def test_the_same_time_gives_the_same_page(lake: Path, report: Command) -> None:
    """Made twice at a given time the page is the same; a report does not report itself."""
    report(lake, "--recorded-at", "2026-05-01")
    page = (lake / "reports" / "report.html").read_bytes()
    assert b"2026-05-01T00:00:00Z" in page
    report(lake, "--recorded-at", "2026-05-01")
    assert (lake / "reports" / "report.html").read_bytes() == page


def test_elsewhere_its_links_lead_back(lake: Path, tmp_path: Path, report: Command) -> None:
    """A page that lies elsewhere finds the raw logs; on stdout it cannot, and links none."""
    out = tmp_path / "a folder"
    out.mkdir()
    assert report(lake, "-o", out / "page.html").code == 0
    assert 'href="../lake/_kb/scrum_reviews.jsonl"' in (out / "page.html").read_text()
    assert not (lake / "reports").exists()
    with chdir(tmp_path):
        assert report("lake", "-o", "page.html").err.endswith("Read ./page.html\n")
    assert 'href="lake/_kb/scrum_reviews.jsonl"' in (tmp_path / "page.html").read_text()
    told = report(lake, "-o", "-")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("<!doctype html>")
    assert '_kb/scrum_reviews.jsonl"' not in told.out


def test_the_facts_as_json(lake: Path, report: Command) -> None:
    """One document with a version that reads back as the facts, and no page is written."""
    told = report(lake, "--json", "--recorded-at", NOW)
    assert (told.code, told.err) == (0, "")
    assert json.loads(told.out)["schema_version"] == 1
    facts = msgspec.json.decode(told.out, type=Facts)
    assert facts.verdict.level == "unproven"
    assert facts.totals.refused == 1
    assert not (lake / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["-o", "x/", "LAKE"], "names no file", 2),
        (["-o", "nowhere/page.html", "LAKE"], "there is no folder 'nowhere'", 2),
        (["-o", "LAKE/_kb/page.html", "LAKE"], "among the lake's own files (_kb/)", 2),
        (["-o", "LAKE/distilled/sft/page.html", "LAKE"], "own files (distilled/)", 2),
        (["-o", "page.html", "--json", "LAKE"], "--json prints the facts", 2),
        (["--recorded-at", "soon", "LAKE"], "'soon' is not an ISO 8601 time", 2),
        (["nowhere"], "there is no such lake", 3),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], words: str, code: int, lake: Path, report: Command
) -> None:
    """Each mistake is one line with its way out, and nothing is changed."""
    before = stamps(lake)
    with chdir(lake.parent):
        told = report(*(word.replace("LAKE", str(lake)) for word in arguments))
    assert (told.code, told.out) == (code, "")
    assert words in told.err
    assert told.err.count("\n") == 1
    assert stamps(lake) == before
    assert os.listdir(lake.parent) == ["lake"]


def test_a_lake_that_was_never_run_has_no_report(tmp_path: Path, report: Command) -> None:
    """Nothing was read: exit code 1, what to do, and no page."""
    put(tmp_path, "audits", rows(0, 2))
    told = report(tmp_path)
    assert told.code == 1
    assert told.err == f"nothing has been read yet; start with `stillhouse run {tmp_path}`\n"
    assert not (tmp_path / "reports").exists()


def test_a_folder_that_is_no_lake_gets_no_report(tmp_path: Path, report: Command) -> None:
    """A folder given by mistake stays as it is."""
    (tmp_path / "notes.md").write_text("mine")
    told = report(tmp_path)
    assert told.code == 3
    assert "has no _kb folder" in told.err
    assert os.listdir(tmp_path) == ["notes.md"]


def test_rows_that_no_run_has_read_are_told(lake: Path, report: Command) -> None:
    """A log that grew since, a new one and one that is gone: the page is behind, and says so."""
    assert "grew, changed or went" not in report(lake, "--json").out
    add(lake / "_kb" / "scrum_reviews.jsonl", row(9) + b"\n")
    put(lake, "audits", rows(0, 1))
    said = json.loads(report(lake, "--json").out)["attention"]
    (told,) = [one for one in said if "grew, changed or went" in one["what"]]
    assert "2 raw logs" in told["what"]
    assert "_kb/audits.jsonl, _kb/scrum_reviews.jsonl" in told["what"]
    assert (told["weight"], told["command"]) == ("look", "run")


def test_a_torn_last_line_is_not_news(tmp_path: Path, report: Command) -> None:
    """What its writer is in the middle of was read as torn, and is not told as unread."""
    put(tmp_path, "scrum_reviews", rows(0, 3) + b'{"half')
    run(tmp_path)
    assert "grew, changed or went" not in report(tmp_path, "--json").out


def test_spoilt_derived_files_are_an_error(lake: Path, report: Command) -> None:
    """A file that is not as it was written ends in its name and the way out; no page is written."""
    path = next((lake / "scored-runs").rglob("*.jsonl"))
    path.write_bytes(b"{spoilt\n")
    told = report(lake)
    assert told.code == 3
    assert "holds a line that is no scored run" in told.err
    assert not (lake / "reports").exists()


def test_a_lake_that_is_no_folder_has_a_report_too() -> None:
    """Facts are gathered through the store alone, so an object store's lake has them."""
    store = MemoryStore("memory://report")
    with store.writer("_kb/scrum_reviews.jsonl") as sink:
        sink.write(rows(0, 6) + b"{torn\n")
    run(store)
    facts = gather_facts(store, NOW, VERSION)
    assert facts is not None
    assert facts.totals.evidence == 6
    assert facts.refused[0].examples[0].raw is not None
    assert [one.kind for one in facts.samples][:1] == ["sft"]


def test_without_the_extra_one_line_names_it(tmp_path: Path) -> None:
    """Where drawing is not installed, the page is refused in one line, and the facts are not."""
    put(tmp_path, "scrum_reviews", rows(0, 4))
    run(tmp_path)
    hide = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "gone = ('altair', 'vl_convert')\n"
        "u.find_spec = lambda name, *more: None if name in gone else real(name, *more)\n"
        "from stillhouse.cli.app import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", hide, "report", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(), timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the report needs altair, vl_convert, which are not")
    assert "pip install 'stillhouse[report]'" in done.stderr
    assert done.stderr.count("\n") == 1
    facts = subprocess.run(
        [*command, "--json"], capture_output=True, check=False, env=environment(), timeout=60
    )
    assert facts.returncode == 0
    assert msgspec.json.decode(facts.stdout, type=Facts).totals.evidence == 4


def test_the_facts_of_the_example_add_up(tmp_path: Path, report: Command) -> None:
    """What the page counts is what `inspect` counts."""
    run(demo(tmp_path))
    facts = msgspec.json.decode(report(tmp_path, "--json").out, type=Facts)
    totals = facts.totals
    assert totals.lines - totals.blank == totals.evidence + totals.refused
    assert sum(totals.categories.values()) == totals.evidence
    assert sum(series.rows for series in facts.over_time) == totals.evidence
    raw = [one for one in facts.refused if one.stage == "evidence"]
    assert sum(one.rows for one in raw) == totals.refused
    for kind in ("sft", "rag"):
        refused = sum(one.rows for one in facts.refused if one.stage == kind)
        made = facts.exports[kind].get("records", facts.exports[kind][kind])
        assert refused + made == totals.evidence
