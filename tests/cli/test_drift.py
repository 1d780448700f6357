"""`stillhouse drift`: what the two commands print, and the exit codes they end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stillhouse.cli.app import commands
from stillhouse.cli.app import run as program
from stillhouse.drift.fields import FIELDS
from tests.runs import Command, Told, demo, put, row, rows, run, stamps


@pytest.fixture
def drift(stillhouse: Command) -> Command:
    """`stillhouse drift`, in this process."""

    def call(*words: object) -> Told:
        return stillhouse("drift", *words, *([] if "--help" in words else ["--engine", "inline"]))

    return call


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Twelve reviews on three days of February, run."""
    put(tmp_path, "scrum_reviews", rows(0, 12))
    run(tmp_path)
    return tmp_path


def relabel(lake: Path, was: str, now: str) -> None:
    """Edit every stored verdict of one category."""
    for path in (lake / "scored-runs").rglob("*.jsonl"):
        path.write_text(path.read_text().replace(f'"category":"{was}"', f'"category":"{now}"'))


# ------------------------------------------------------------------------------- scores


def test_scores_that_agree(lake: Path, drift: Command) -> None:
    """Verdicts that today's rules give too end with exit code 0 and one sentence."""
    before = stamps(lake)
    told = drift("scores", lake)
    assert (told.code, told.out) == (0, "")
    assert told.err.endswith("12 rows: today's rules give each its stored category\n")
    assert "Stored category (down) and today's (across)" in told.err
    assert stamps(lake) == before


def test_scores_that_changed_for_the_worse(lake: Path, drift: Command) -> None:
    """Rows that today's rules would let train, and the stored verdict did not: exit code 1."""
    relabel(lake, "accepted", "rejected")
    relabel(lake, "partially_accepted", "needs_human_review")
    told = drift("scores", lake, "--examples", 1)
    assert told.code == 1
    assert "9 of 12 rows get another category today: agreement 25.0%, Cohen's κ" in told.line
    assert "harmful: 3 went from rejected or needs_human_review to accepted" in told.line
    assert "harmful with --include-partial: 6 went from there to partially_accepted" in told.line
    assert told.err.index("rejected → accepted") < told.err.index("review → partial")


def test_scores_that_changed_for_the_better_or_in_part(lake: Path, drift: Command) -> None:
    """What today's rules take back, or let train only when asked, is told with exit code 0."""
    relabel(lake, "needs_human_review", "accepted")
    assert drift("scores", lake).code == 0
    relabel(lake, "partially_accepted", "rejected")
    told = drift("scores", lake)
    assert told.code == 0
    assert "harmful with --include-partial: 6" in told.line


def test_the_worst_source_stands_first(tmp_path: Path, drift: Command) -> None:
    """Of many sources one looks at those where something changed."""
    for stem in ("aa_facts", "scrum_reviews"):
        put(tmp_path, stem, rows(0, 6))
    run(tmp_path)
    told = drift("scores", tmp_path)
    assert told.err.index("aa_facts") < told.err.index("scrum_reviews")
    relabel(tmp_path, "accepted", "rejected")
    told = drift("scores", tmp_path)
    assert told.err.index("scrum_reviews") < told.err.index("aa_facts")


def test_scores_as_json(lake: Path, drift: Command) -> None:
    """One document on stdout, nothing else anywhere, the same exit code."""
    relabel(lake, "accepted", "rejected")
    told = drift("scores", lake, "--json")
    assert (told.code, told.err) == (1, "")
    made = json.loads(told.out)
    assert (made["schema_version"], made["rows"], made["harmful"]) == (1, 12, 3)
    assert made["matrix"]["rejected"]["accepted"] == 3
    assert made["examples"][0]["today_reasons"] == ["accepted on attempt 1: right at once"]


def test_rows_that_cannot_be_compared_are_notes(lake: Path, drift: Command) -> None:
    """They are counted, some are named, and the rest is compared."""
    relabel(lake, "accepted", "Accepted")
    told = drift("scores", lake)
    assert told.code == 0
    assert "9 rows: today's rules give each its stored category" in told.line
    assert "note: 3 scored runs could not be compared (invalid_run 3)" in told.line
    assert "note: 3 evidence rows without a scored run" in told.line
    assert told.line.endswith(f"note: `stillhouse run {lake}` writes anew what is not as it was")
    assert "scrum_reviews.jsonl:1: is no valid scored run" in told.line


@pytest.mark.parametrize(
    "command",
    [["scores"], ["data", "--field", "text_chars", "--reference", "..", "--current", ".."]],
)
def test_a_lake_that_was_never_run(command: list[str], tmp_path: Path, drift: Command) -> None:
    """Exit code 1 and the command that helps, quoted for a shell; exit code 3 for no lake."""
    name, *options = command
    lake = tmp_path / "my lake"
    put(lake, "audits", rows(0, 3))
    told = drift(name, lake, *options)
    assert told == Told(1, "", f"nothing has been scored yet: `stillhouse run '{lake}'`\n")
    (lake / "_kb" / "audits.jsonl").unlink()
    assert drift(name, lake, *options).err == f"no *.jsonl in {lake}/_kb\n"
    (lake / "_kb").rmdir()
    told = drift(name, lake, *options)
    assert told.code == 3
    assert told.err.startswith(f"error: {lake}: has no _kb folder")


# --------------------------------------------------------------------------------- data

WINDOWS = ("--reference", "2026-02-01..2026-02-01", "--current", "2026-02-02..")


def test_data_says_the_figure_in_a_sentence(tmp_path: Path, drift: Command) -> None:
    """Rows, buckets with bars, verdict with its noise floor, companions, notes."""
    root = demo(tmp_path / "lake")
    run(root)
    before = stamps(root)
    told = drift(
        "data", root, "--field", "latency_ms", "--buckets", 4, "--by", "source",
        "--reference", "..2026-03-04", "--current", "2026-03-05..",
    )  # fmt: skip
    assert (told.code, told.out) == (0, "")
    assert "reference ..2026-03-04: " in told.err
    assert " values, missing in " in told.err
    assert "#" * 20 in told.err
    assert "latency_ms by source" in told.err
    assert "; within noise: without drift 99 of 100 such samples stay below 0." in told.line
    assert "debiased 0." in told.line
    assert stamps(root) == before


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """Sixty reviews accepted on attempt 1 to 3, and sixty of the next day on attempt 9."""
    lines = [
        row(n, timestamp=f"2026-02-0{1 + n // 60}T10:00:00Z", accepted_on_attempt=attempt)
        for n in range(120)
        for attempt in [9 if n >= 60 else 1 + n % 3]
    ]
    put(tmp_path, "scrum_reviews", b"".join(line + b"\n" for line in lines))
    run(tmp_path)
    return tmp_path


def test_a_drift_is_no_failure(moved: Path, drift: Command) -> None:
    """However far the numbers moved, the command did what it was asked: exit code 0."""
    told = drift("data", moved, "--field", "attempts", *WINDOWS)
    assert told.code == 0
    assert "attempts: major, PSI " in told.err
    assert "; more than noise: without drift 99 of 100 such samples stay below 0." in told.err


def test_a_share_that_is_small_has_a_mark(tmp_path: Path, drift: Command) -> None:
    """One value among a hundred is not drawn as none."""
    lines = [row(n, accepted_on_attempt=9 if n == 7 else 1) + b"\n" for n in range(100)]
    put(tmp_path, "scrum_reviews", b"".join(lines))
    run(tmp_path)
    windows = ("--reference", "..", "--current", "..")
    told = drift("data", tmp_path, "--field", "attempts", *windows, "--buckets", 2)
    shares = [line.split("│")[2].split() for line in told.err.splitlines() if "│ [" in line]
    assert shares == [["99.0%", "#" * 20], ["1.0%", "#"]]


def test_edges_are_those_asked_for(moved: Path, drift: Command) -> None:
    """Buckets of one width, or of an equal share of the reference."""
    found = {}
    for edges in ("equal", "quantile"):
        options = ["--field", "attempts", *WINDOWS, "--buckets", 2, "--edges", edges, "--json"]
        found[edges] = json.loads(drift("data", moved, *options).out)["drift"]["edges"]
    assert found["equal"] == [1.0, 5.0, 9.0]
    assert found["quantile"][0] == 1.0
    assert found["quantile"][1] <= 3.0


def test_data_without_values(lake: Path, drift: Command) -> None:
    """A field that no row of a window has: exit code 1, also as JSON."""
    told = drift("data", lake, "--field", "cost_usd", *WINDOWS)
    assert told.code == 1
    assert told.err.endswith(
        "cost_usd: no value in the reference window (4 rows) and in the current window (8 rows); "
        "choose another field or window\n"
    )
    told = drift("data", lake, "--field", "cost_usd", *WINDOWS, "--json")
    assert (told.code, told.err) == (1, "")
    assert json.loads(told.out)["drift"]["verdict"] == "empty"


def test_data_as_json(lake: Path, drift: Command) -> None:
    """One document on stdout, nothing else anywhere."""
    told = drift("data", lake, "--field", "attempts", *WINDOWS, "--by", "category", "--json")
    assert (told.code, told.err) == (0, "")
    made = json.loads(told.out)
    assert (made["schema_version"], made["field"], made["by"]) == (1, "attempts", "category")
    assert sum(bucket["current"] for bucket in made["drift"]["buckets"]) == 8
    assert {*made["groups"], *made["only_in_reference"], *made["only_in_current"]} == {
        "accepted",
        "needs_human_review",
        "partially_accepted",
    }


def test_a_group_in_one_window_is_named(lake: Path, drift: Command) -> None:
    """What cannot be compared is listed, not left out silently."""
    windows = ("--reference", "2026-02-01T10:00:00Z..2026-02-01T10:00:01Z", "--current", "..")
    told = drift("data", lake, "--field", "text_chars", *windows, "--by", "category")
    assert "note: values in the current window alone: needs_human_review, partially" in told.line


@pytest.mark.parametrize("buckets", [0, -1, 10**9])
def test_odd_numbers_of_buckets(buckets: int, lake: Path, drift: Command) -> None:
    """The nearest sane number is taken, and a note says so."""
    told = drift("data", lake, "--field", "attempts", *WINDOWS, "--buckets", buckets)
    assert told.code == 0
    assert f"note: {buckets} buckets were asked for, and " in told.line


def test_many_buckets_are_cut_to_a_screen(tmp_path: Path, drift: Command) -> None:
    """The table keeps the buckets that add most, in order; --json has them all."""
    root = demo(tmp_path / "lake")
    run(root)
    windows = ("--reference", "..2026-03-04", "--current", "2026-03-05..")
    told = drift("data", root, "--field", "latency_ms", *windows, "--buckets", 1000)
    assert "and 960 more that add less to PSI: --json names them" in told.line
    assert len([line for line in told.err.splitlines() if line.startswith("│ [")]) == 40


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["--field", "latency", *WINDOWS],
            "there is no field 'latency'. Did you mean latency_ms? Use one of text_chars,",
        ),
        (
            ["--field", "text_chars", "--reference", "2020-01-01..", "--current", "..2019-12-31"],
            "--current ..2019-12-31 has no rows. The lake has rows in 2026-02-01..2026-02-03.",
        ),
        (
            ["--field", "text_chars", "--reference", "2026-02-02..2026-02-01", "--current", ".."],
            "--reference '2026-02-02..2026-02-01' ends before it starts. Write the earlier",
        ),
        (
            ["--field", "text_chars", "--reference", "..", "--current", "yesterday"],
            "--current 'yesterday' is no window of time. Write START..END with dates",
        ),
        (
            ["--field", "text_chars", *WINDOWS, "--by", "colour"],
            "Invalid value for '--by': 'colour' is not one of 'source', 'model', 'category'.",
        ),
        (["--field", "text_chars"], "Missing option '--reference'."),
        (
            ["--field", "text_chars", *WINDOWS, "--buckets", "many"],
            "Invalid value for '--buckets': Input should be a valid integer",
        ),
    ],
)
def test_usage_errors_are_one_line(
    options: list[str], line: str, lake: Path, drift: Command
) -> None:
    """Exit code 2, what is off and what would do, and nothing changed on disk."""
    before = stamps(lake)
    told = drift("data", lake, *options)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"error: {line}")
    assert told.err.count("\n") == 1
    assert stamps(lake) == before


def test_the_help_names_every_field(drift: Command) -> None:
    """The option's help lists the fields of the table."""
    (field,) = [param for param in commands()["drift data"].params if param.name == "field"]
    assert set(FIELDS) | {"metadata.PATH"} == set(
        field.help.removesuffix(".").replace(" or ", " ").split(", ")
    )


def test_the_group_names_its_commands(drift: Command) -> None:
    """`stillhouse drift` alone is its help."""
    told = drift("--help")
    assert "scores" in told.out
    assert "data" in told.out
    assert program(["drift", "sores"]) == 2
