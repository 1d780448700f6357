"""`stillhouse accept` as a person and as a program run it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.acceptance import REPORT_PATH
from stillhouse.acceptance.table import GATES
from stillhouse.cli.app import run as program
from tests import runs

ALL = f"{len(GATES)}/{len(GATES)}"
SFT = "distilled/sft/sft_export.jsonl"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A lake that was run."""
    runs.put(tmp_path, "scrum_reviews", runs.rows(0, 12))
    runs.run(tmp_path)
    return tmp_path


def test_a_sound_lake_passes_all(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The last line counts them, and the report is kept in the lake."""
    assert program(["accept", str(root), "--engine", "inline"]) == 0
    said = capfd.readouterr()
    assert said.err.splitlines()[-1] == ALL
    assert said.out == ""
    kept = json.loads((root / REPORT_PATH).read_bytes())
    assert (kept["ok"], kept["lake"], kept["passed"]) == (True, str(root), len(GATES))


def test_a_red_gate_names_rows_and_a_way_out(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """File, line, run id and what to do; gates that rest on it are told to be blocked."""
    path = root / SFT
    path.write_bytes(path.read_bytes().replace(b"keeps the contract", b"breaks all rules", 1))
    assert program(["accept", str(root), "--engine", "inline"]) == 1
    said = capfd.readouterr().err
    assert f"{SFT}:1  run run-" in said
    assert "its evidence says something else" in said
    assert "`stillhouse run` writes from the raw logs what does not hold" in said
    assert "it rests on what gate 12 found" in said
    assert said.splitlines()[-1] != ALL
    assert json.loads((root / REPORT_PATH).read_bytes())["ok"] is False


def test_json_is_what_is_kept(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One document on stdout, and nothing else."""
    assert program(["accept", str(root), "--engine", "inline", "--json"]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out) == json.loads((root / REPORT_PATH).read_bytes())
    assert said.err == ""


def test_a_lake_can_be_left_untouched(root: Path) -> None:
    """With --no-save every file is as it was, inode and times and all."""
    before = runs.stamps(root)
    assert program(["accept", str(root), "--engine", "inline", "--no-save"]) == 0
    assert runs.stamps(root) == before


def test_without_a_lake_the_example_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Made for this, and nothing is left behind where the command was given."""
    monkeypatch.chdir(tmp_path)
    assert program(["accept", "--json", "--engine", "inline"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["lake"], report["ok"]) == ("the example lake", True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "is missing|does not exist|there is no"),
        (lambda root: (root / "_kb").mkdir(parents=True), "nothing here has been distilled yet"),
        (lambda root: root.mkdir(), "has no _kb folder"),
    ],
    ids=["missing", "never run", "no lake"],
)
def test_what_is_no_lake_ends_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Callable[[Path], None], said: str
) -> None:
    """With exit code 3 and a way out, and nothing is written there."""
    root = tmp_path / "lake"
    make(root)
    before = sorted(tmp_path.rglob("*"))
    assert program(["accept", str(root), "--engine", "inline"]) == 3
    (line,) = capfd.readouterr().err.splitlines()
    assert re.search(said, line), line
    assert sorted(tmp_path.rglob("*")) == before
