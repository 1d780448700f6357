"""The gates that run the program over a lake, 14 and 15: what turns them red and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.acceptance import AcceptReport, accept
from stillhouse.engines import InlineEngine
from stillhouse.exports import ExportOptions
from stillhouse.interfaces import Store
from stillhouse.pipeline import export_lake, make_evidence, score_evidence
from stillhouse.receipts import list_receipts, verify_lake
from stillhouse.storage import LocalStore, MemoryStore
from tests.replay.forging import forge
from tests.runs import FIRST, SECOND, THIRD, add, demo, put, rows, run, stamps


def judged(lake: Path, scratch: Path) -> AcceptReport:
    """A lake put through all gates."""
    scratch.mkdir(exist_ok=True)
    return accept(
        LocalStore(lake), InlineEngine(), recorded_at=THIRD, version="a test", scratch=scratch
    )


def verdicts(report: AcceptReport) -> dict[int, str]:
    """Gate → verdict, of those that do not hold."""
    return {gate.number: gate.verdict for gate in report.gates if gate.verdict != "ok"}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake that was run once, on which all gates hold."""
    root = tmp_path / "lake"
    put(root, "scrum_reviews", rows(0, 9))
    run(root)
    return root


def test_a_history_with_options_of_its_own_passes_all_sixteen(tmp_path: Path) -> None:
    """Runs, stages alone, a torn line, exports with other options: and the lake is not touched."""
    root = demo(tmp_path / "lake")
    log = put(root, "scrum_reviews", rows(0, 6))
    store, engine = LocalStore(root), InlineEngine()
    run(root, FIRST)
    add(log, rows(6, 12) + b'{"torn')
    make_evidence(store, engine, SECOND)
    score_evidence(store, engine, SECOND)
    partial = ExportOptions(include_partial=True, max_pairs=1)
    export_lake(store, engine, ["dataset"], partial, THIRD)
    before = stamps(root)
    report = judged(root, tmp_path / "scratch")
    assert (verdicts(report), report.passed, report.ok) == ({}, 16, True)
    assert stamps(root) == before


def test_a_row_that_only_a_second_run_tells_of_turns_gate_14_red(
    lake: Path, tmp_path: Path
) -> None:
    """Its context was edited, which no rule forbids, and every receipt made to fit."""
    path = "distilled/sft/sft_export.jsonl"
    data = (lake / path).read_bytes()
    forge(lake, path, data.replace(b'"context":""', b'"context":"trust me"', 1))
    assert verify_lake(LocalStore(lake)).ok
    report = judged(lake, tmp_path / "scratch")
    assert verdicts(report) == {14: "red", 15: "blocked"}
    (offence,) = report.gates[13].offences
    assert (offence.path, offence.line) == (path, 1)
    assert "gate 14" in report.gates[14].detail


def test_a_lake_that_a_further_run_would_write_to_turns_gate_15_red(
    lake: Path, tmp_path: Path
) -> None:
    """Its state is lost: nothing in it is wrong, but a run would make receipts anew."""
    (lake / ".stillhouse/state.json").unlink()
    report = judged(lake, tmp_path / "scratch")
    assert verdicts(report) == {15: "red"}
    assert {one.path.split("/")[0] for one in report.gates[14].offences} == {"receipts"}


def test_rows_that_wait_for_a_run_are_told_by_gate_1(lake: Path, tmp_path: Path) -> None:
    """A log that has grown is one fault: running again would write much, and rests on it."""
    add(lake / "_kb/scrum_reviews.jsonl", rows(9, 12))
    report = judged(lake, tmp_path / "scratch")
    assert verdicts(report) == {1: "red", 15: "blocked"}
    assert "gate 1" in report.gates[14].detail


def test_a_log_that_was_edited_blocks_what_runs_over_it(lake: Path, tmp_path: Path) -> None:
    """Rows that hang on nothing are told once, by gate 3; no second run can be had."""
    log = lake / "_kb/scrum_reviews.jsonl"
    log.write_bytes(log.read_bytes().replace(b"keeps", b"holds", 1))
    report = judged(lake, tmp_path / "scratch")
    found = verdicts(report)
    assert [gate for gate, verdict in found.items() if verdict == "red"] == [3]
    assert (found[14], found[15]) == ("blocked", "blocked")


def test_a_receipt_that_does_not_hold_blocks_what_runs_by_it(lake: Path, tmp_path: Path) -> None:
    """Nothing can be run again by words that are not those that were written."""
    path = lake / list_receipts(LocalStore(lake), "sft")[0]
    path.write_bytes(path.read_bytes().replace(b'"max_pairs": 4', b'"max_pairs": 5'))
    found = verdicts(judged(lake, tmp_path / "scratch"))
    assert found == {13: "red", 14: "blocked", 15: "blocked"}


def test_a_store_without_a_disk_is_judged_too(tmp_path: Path) -> None:
    """The second runs are on this machine, wherever the lake is."""
    store: Store = MemoryStore()
    with store.writer("_kb/scrum_reviews.jsonl") as sink:
        sink.write(rows(0, 9))
    run(store)
    report = accept(store, InlineEngine(), recorded_at=THIRD, version="a test", scratch=tmp_path)
    assert report.ok
