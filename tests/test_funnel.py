"""The funnel: why rows were not accepted or refused, in few enough words to be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stillhouse.cli.app import run as program
from stillhouse.errors import LakeError
from stillhouse.funnel import OTHER, funnel
from stillhouse.storage import LocalStore
from tests.runs import add, demo, files, put, row, rows, run


def _checks(number: int, **results: bool) -> bytes:
    return row(number, response=f"answer {number}", validators=results) + b"\n"


def test_reasons_are_counted_by_source_and_category(tmp_path: Path) -> None:
    """Each reason has its rows and the first of them; what was accepted is not in it."""
    log = put(tmp_path, "mode_experiments", _checks(0, unit=True, value=True))
    add(log, _checks(1, unit=True, value=False) + _checks(2, unit=False, value=True))
    add(log, _checks(4, unit=True, value=False) + _checks(5))
    run(tmp_path)
    found = funnel(LocalStore(tmp_path)).not_accepted
    assert [(one.category, one.reason, one.rows) for one in found] == [
        ("partially_accepted", "1 of 2 validators passed; not passed: 'value'", 2),
        ("partially_accepted", "1 of 2 validators passed; not passed: 'unit'", 1),
        ("needs_human_review", "no validator was recorded: a person must decide", 1),
    ]
    assert {one.stem for one in found} == {"mode_experiments"}
    assert found[0].example in ("_kb/mode_experiments.jsonl:2", "_kb/mode_experiments.jsonl:4")


def test_many_reasons_are_told_without_their_values(tmp_path: Path) -> None:
    """Reasons that differ in names and numbers alone are one, once they are too many."""
    log = put(tmp_path, "mode_experiments", b"")
    for number in range(40):
        add(log, _checks(number, **{f"check_{number}": False}))
    run(tmp_path)
    (one,) = funnel(LocalStore(tmp_path)).not_accepted
    assert one.reason == "… of … validators passed; not passed: '…'"
    assert one.rows == 40


def test_reasons_are_held_in_bounds(tmp_path: Path) -> None:
    """Words that a person writes differ without end: past a few they are counted as other."""
    log = put(tmp_path, "scrum_reviews", b"")
    for number in range(26):
        said = {"decision": "reject", "reason": f"because of {chr(97 + number)}"}
        add(log, row(number, human_override=said) + b"\n")
    run(tmp_path)
    found = funnel(LocalStore(tmp_path)).not_accepted
    assert len(found) <= 9
    assert sum(one.rows for one in found) == 26
    assert max(found, key=lambda one: one.rows).reason == OTHER


def test_rows_add_up(tmp_path: Path) -> None:
    """Accepted and not accepted rows together are the evidence, by source and category."""
    run(demo(tmp_path))
    seen = funnel(LocalStore(tmp_path))
    for source in seen.sources:
        for category, count in source.categories.items():
            told = [one for one in seen.not_accepted if one.stem == source.stem]
            rows = sum(one.rows for one in told if one.category == category)
            assert rows == (0 if category == "accepted" else count)


def test_a_spoilt_scored_runs_file_is_named(tmp_path: Path) -> None:
    """A line that is no scored run is an error with its place and a way out."""
    put(tmp_path, "scrum_reviews", rows(0, 3))
    run(tmp_path)
    path = next(name for name in files(tmp_path, "scored-runs"))
    (tmp_path / path).write_bytes(b'{"category":"accepted","reasons":[]}\n')
    with pytest.raises(LakeError, match=rf"{path}: holds a line that is no scored run"):
        funnel(LocalStore(tmp_path))


def test_examples_are_as_many_as_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One row a reason, or as many as asked for; none shows the counts alone."""
    put(tmp_path, "scrum_reviews", b'{"file": "a"}\n{"file": "b"}\n{"file": "c"}\n' + rows(0, 3))
    run(tmp_path)
    for arguments, shown in (([], 1), (["--examples", "2"], 2), (["--examples", "0"], 0)):
        capfd.readouterr()
        assert program(["inspect", str(tmp_path), *arguments]) == 0
        told = capfd.readouterr().err
        assert told.count("no time: none of") == shown
        assert program(["inspect", str(tmp_path), "--json", *arguments]) == 0
        (refused,) = (
            one
            for one in json.loads(capfd.readouterr().out)["refused"]
            if one["reason"] == "missing_time"
        )
        assert (refused["rows"], len(refused["examples"])) == (3, shown)


def test_rows_kept_out_are_told_by_category(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the category is the reason each has its line and example, and the option is named."""
    log = put(tmp_path, "observer_reviews", b"")
    for number, verdict in enumerate(("accept", "cycle", "reject", "unclear")):
        add(log, row(number, verdict=verdict) + b"\n")
    run(tmp_path)
    seen = funnel(LocalStore(tmp_path)).refused
    told = {(one.stage, one.reason, one.category): one.examples[0] for one in seen}
    assert told["sft", "forbidden_category", "rejected"].startswith("_kb/observer_reviews.jsonl:3")
    assert told["sft", "forbidden_category", "needs_human_review"].startswith(
        "_kb/observer_reviews.jsonl:4"
    )
    assert told["sft", "not_opted_in", "partially_accepted"].endswith(": --include-partial")
    assert told["rag", "not_opted_in", "needs_human_review"].endswith(": --include-review")
    program(["inspect", str(tmp_path)])
    lines = capfd.readouterr().err.splitlines()
    firsts = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    place = firsts.index("forbidden_category")
    assert firsts[place + 2] == "forbidden_category"
    assert {firsts[place + 1], firsts[place + 3]} == {"rejected", "review"}


def test_exports_stand_in_one_order(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """That of the run's own table; what holds no row is said to hold nothing."""
    put(tmp_path, "distilled_facts", row(0) + b"\n")
    run(tmp_path)
    assert list(funnel(LocalStore(tmp_path)).exports) == ["sft", "preference", "rag", "dataset"]
    program(["inspect", str(tmp_path)])
    told = capfd.readouterr().err
    for kind in ("sft", "preference", "rag", "dataset"):
        assert re.search(rf"│ {kind} +│ nothing +│", told), told


def test_one_reason_of_many_sources_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Logs that only extract all say the same."""
    for stem in ("distilled_facts", "audit_facts", "distilled_procedures"):
        put(tmp_path, stem, rows(0, 2))
    run(tmp_path)
    program(["inspect", str(tmp_path)])
    told = capfd.readouterr().err
    assert told.count("the source only extracts") == 1
    assert "and in 2 more logs" in told


def test_the_other_row_is_named_once(tmp_path: Path) -> None:
    """A repeated answer's example names the one that is kept, and names it once."""
    same = {"file": "a", "review": "Good as it is.", "accepted_on_attempt": 1}
    put(tmp_path, "scrum_reviews", row(0, **same) + b"\n" + row(3, **same) + b"\n")
    run(tmp_path)
    (example,) = (
        one.examples[0]
        for one in funnel(LocalStore(tmp_path)).refused
        if (one.stage, one.reason) == ("sft", "duplicate")
    )
    assert example.count("_kb/scrum_reviews.jsonl:1") == 1


def test_long_words_keep_their_end(tmp_path: Path) -> None:
    """What is too long is cut in its middle: the way out stands at the end."""
    said = {"decision": "reject", "reason": "begin " + "and so on " * 60 + "the end"}
    put(tmp_path, "scrum_reviews", row(0, human_override=said) + b"\n")
    run(tmp_path)
    (one,) = funnel(LocalStore(tmp_path)).not_accepted
    assert "begin" in one.reason
    assert "the end" in one.reason
    assert len(one.reason) < 200


def test_a_reason_has_one_line_for_all_exports(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rows kept out of several exports for one reason are counted side by side."""
    put(tmp_path, "scrum_reviews", rows(0, 12))
    run(tmp_path)
    program(["inspect", str(tmp_path)])
    told = capfd.readouterr().err
    (line,) = (line for line in told.splitlines() if line.startswith("│ forbidden_category "))
    assert [cell.strip() for cell in line.strip("│").split("│")][-3:] == ["3", "3", "0"]
    assert told.rstrip().splitlines()[-1].startswith("└")
    assert "Raw rows refused" not in told, "nothing was refused, so there is no such table"
