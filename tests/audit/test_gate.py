"""The gate before an export: open only on the word of a last audit that held."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.audit import append_baseline, check_drift_gate
from stillhouse.audit.report import REPORT
from stillhouse.cli.app import run as program
from stillhouse.errors import BaselineError, GateError
from stillhouse.lake import BASELINES
from stillhouse.records import AuditBaseline
from stillhouse.storage import LocalStore
from tests.audit.lakes import FIRST, SECOND, THIRD, attempts, audit, gates, relabel
from tests.runs import add, put, run, stamps


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake that was distilled and never audited."""
    put(tmp_path, "scrum_reviews", attempts(0, 12, 1))
    run(tmp_path, FIRST)
    return tmp_path


def check(lake: Path) -> None:
    check_drift_gate(LocalStore(lake))


def test_without_an_audit_the_gate_is_closed(lake: Path) -> None:
    """A gate without evidence is no gate."""
    with pytest.raises(GateError, match=r"never audited\. Run `stillhouse audit .*` first"):
        check(lake)


def test_after_an_audit_that_held_it_is_open(lake: Path) -> None:
    """Warnings of figures that moved do not close it."""
    audit(lake, FIRST)
    check(lake)
    add(lake / "_kb" / "scrum_reviews.jsonl", attempts(20, 40, 1))
    assert audit(lake, SECOND).verdict == "warned"
    check(lake)


def test_harmful_drift_closes_it_until_the_next_audit(lake: Path) -> None:
    """It says how many rows, and where to look; the next audit finds them scored anew."""
    audit(lake, FIRST)
    relabel(lake, "accepted", "rejected")
    audit(lake, SECOND)
    with pytest.raises(GateError, match=rf"{SECOND}: 1\. Look at `stillhouse drift scores .*`"):
        check(lake)
    audit(lake, THIRD)
    check(lake)


def test_a_last_audit_that_failed_closes_it(lake: Path) -> None:
    """It left no baseline, and the one before it is not the last word."""
    audit(lake, FIRST)
    audit(lake, SECOND, gates=gates(7))
    with pytest.raises(GateError, match=f"the audit of {SECOND} ended as failed"):
        check(lake)
    audit(lake, THIRD)
    check(lake)
    (lake / REPORT).unlink()
    check(lake)


def test_a_baseline_that_knows_nothing_of_scores_closes_it(lake: Path) -> None:
    """One that an older version wrote says nothing of the harmful direction."""
    append_baseline(lake / BASELINES, AuditBaseline(recorded_at=FIRST, metrics={}))
    with pytest.raises(GateError, match="did not look at scorer drift"):
        check(lake)


def test_torn_baselines_are_an_error_of_their_own(lake: Path) -> None:
    """Not to know is not the same as a no, and the way out is another."""
    audit(lake, FIRST)
    add(lake / BASELINES, b"{")
    with pytest.raises(BaselineError, match="baselines repair"):
        check(lake)


def test_a_closed_gate_stops_an_export_before_it_touches_anything(
    lake: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line with the way out, exit code 1, and every file as it was; opened, it exports."""
    command = ["export", str(lake), "sft", "--include-partial", "--engine", "inline"]
    before = stamps(lake)
    assert program([*command, "--gate", "drift"]) == 1
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("error: ")
    assert stamps(lake) == before
    audit(lake, FIRST)
    assert program([*command, "--gate", "drift"]) == 0
    assert program(["export", str(lake), "--gate", "weather"]) == 2
    assert program(["export", str(lake / "nowhere"), "--gate", "drift"]) == 3
