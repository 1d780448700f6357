"""`stillhouse audit` and `stillhouse baselines` as a user and a pipeline run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stillhouse.audit.report import REPORT, AuditReport
from stillhouse.cli.app import run as program
from stillhouse.lake import BASELINES
from tests.audit.lakes import FIRST, SECOND, THIRD, attempts, relabel
from tests.runs import add, demo, environment, put, rows, stamps

ALL_GATES = re.compile(r"gates\W+(\d+)/\1\b")
"""As many gates hold as there are."""

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A small lake that was never distilled."""
    put(tmp_path / "lake", "scrum_reviews", attempts(0, 20, 1) + attempts(20, 26, 2))
    return tmp_path / "lake"


class Told:
    """What a command answered: its code, its JSON and what it said to a person."""

    def __init__(self, capfd: pytest.CaptureFixture[str], *arguments: object) -> None:
        capfd.readouterr()
        self.code = program([str(argument) for argument in arguments])
        told = capfd.readouterr()
        self.out, self.err = told.out, told.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def audit(capfd: pytest.CaptureFixture[str], lake: Path, time: str, *options: object) -> Told:
    return Told(capfd, "audit", lake, "--engine", "inline", "--recorded-at", time, *options)


def test_a_lake_that_grew_between_two_audits(lake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Through all gates: first_run, then ok and warn where they belong."""
    first = audit(capfd, lake, FIRST, "--fail-on-warn")
    assert first.code == 0, first.err
    assert first.out == ""
    assert first.err.count("| first_run |") == 14
    assert ALL_GATES.search(first.err)

    add(lake / "_kb" / "scrum_reviews.jsonl", attempts(30, 34, 2))
    second = audit(capfd, lake, SECOND)
    assert second.code == 0
    assert re.search(r"\| p2_evidence_rows +\| +26 \| +30 \| +\+15\.38% \| ok ", second.err)
    assert re.search(r"\| p3_partial +\| +6 \| +10 \| +\+66\.67% \| warn ", second.err)
    assert "warning: p3_partial moved by more than the threshold" in second.err
    assert (lake / BASELINES).read_bytes().count(b"\n") == 2

    add(lake / "_kb" / "scrum_reviews.jsonl", attempts(40, 60, 2))
    third = audit(capfd, lake, THIRD, "--fail-on-warn")
    assert third.code == 2
    assert f"Metrics against {SECOND}" in third.err


def test_the_json_is_the_report_of_the_lake(lake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One document on stdout and nothing else there; its every field is in the page."""
    told = audit(capfd, lake, FIRST, "--json")
    assert told.code == 0
    assert told.json == json.loads((lake / REPORT).read_bytes())
    assert told.json["schema_version"] == 1
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8").partition("## The report")[2]
    named = set(re.findall(r"`(\w+)`", page))
    assert set(AuditReport.__struct_fields__) <= named
    for part in (told.json["phases"][0], told.json["table"][0]):
        assert part.keys() <= named


def test_the_other_name_is_the_same_command(lake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`audit-full` does what `audit` does; help names one of them."""
    told = Told(capfd, "audit-full", lake, "--engine", "inline", "--as-is")
    assert told.code == 3
    assert "`stillhouse run` it first" in told.err
    shown = Told(capfd, "--help")
    assert "audit-full" not in shown.out + shown.err


def test_harm_fails_the_audit_and_closes_the_gate(
    lake: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stored rejection that today's rules accept: told, exit code 2, no export behind it."""
    assert audit(capfd, lake, FIRST).code == 0
    relabel(lake, "accepted", "rejected")
    told = audit(capfd, lake, SECOND, "--fail-on-warn")
    assert told.code == 2
    assert "warning: today's rules accept 1 row scored as rejected" in told.err
    export = ("export", lake, "sft", "--engine", "inline", "--gate", "drift")
    assert Told(capfd, *export).code == 1
    assert audit(capfd, lake, THIRD, "--fail-on-warn").code == 0
    assert Told(capfd, *export).code == 0


def test_damage_is_exit_code_1(lake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The file is named, nothing is kept as a baseline, and an audit that runs mends it."""
    assert audit(capfd, lake, FIRST).code == 0
    path = lake / "distilled" / "rag" / "rag_export.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    told = audit(capfd, lake, SECOND, "--as-is", "--fail-on-warn")
    assert told.code == 1
    assert "distilled/rag/rag_export.jsonl" in told.err
    assert "failed: the figures are not kept" in told.err
    assert (lake / BASELINES).read_bytes().count(b"\n") == 1
    mended = audit(capfd, lake, THIRD, "--fail-on-warn")
    assert mended.code == 2
    assert "before this audit, distilled/rag/rag_export.jsonl has" in mended.err
    assert audit(capfd, lake, "2026-04-04T08:00:00Z", "--fail-on-warn").code == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--threshold", "-0.1"], 2, r"the threshold -0\.1 is not a share"),
        (["--threshold", "nan"], 2, "the threshold nan is not a share"),
        (["--threshold", "much"], 2, "threshold"),
        (["--recorded-at", "soon"], 2, "is not an ISO 8601 time"),
    ],
)
def test_an_option_that_is_off_is_one_line(
    lake: Path, capfd: pytest.CaptureFixture[str], options: list[str], code: int, words: str
) -> None:
    """What is wrong and what to write; nothing is done."""
    before = stamps(lake)
    told = Told(capfd, "audit", lake, *options)
    assert (told.code, told.out) == (code, "")
    assert re.search(words, told.err)
    assert told.err.count("\n") == 1
    assert stamps(lake) == before


@pytest.mark.parametrize("command", ["list", "show", "repair"])
def test_what_is_no_lake_has_no_baselines(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A folder given by mistake is said to be none, and stays as it is."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        told = Told(capfd, "baselines", command, folder)
        assert (told.code, told.err.count("\n")) == (3, 1)
    assert list(tmp_path.iterdir()) == []


def test_baselines_are_listed_and_shown(lake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Oldest first, by number; the last one is shown when none is named."""
    none = Told(capfd, "baselines", "list", lake)
    assert (none.code, Told(capfd, "baselines", "show", lake).code) == (1, 1)
    assert "`stillhouse audit` keeps the first" in none.err
    for time, more in ((FIRST, b""), (SECOND, rows(30, 33))):
        add(lake / "_kb" / "scrum_reviews.jsonl", more)
        assert audit(capfd, lake, time).code == 0
    listed = Told(capfd, "baselines", "list", lake)
    assert listed.err.index(FIRST) < listed.err.index(SECOND)
    told = Told(capfd, "baselines", "list", lake, "--json").json
    assert told["schema_version"] == 1
    assert [one["recorded_at"] for one in told["baselines"]] == [FIRST, SECOND]
    shown = Told(capfd, "baselines", "show", lake)
    assert f"baseline 2 of 2, {SECOND}" in shown.err
    assert ALL_GATES.search(shown.err)
    assert "; harmful 0" in shown.err
    assert re.search(r"p2_evidence_rows +│ +29 ", shown.err)
    assert f"baseline 1 of 2, {FIRST}" in Told(capfd, "baselines", "show", lake, 1).err
    one = Told(capfd, "baselines", "show", lake, 1, "--json").json
    assert one["baseline"] == told["baselines"][0]
    beyond = Told(capfd, "baselines", "show", lake, 3)
    assert (beyond.code, "there is no baseline 3" in beyond.err) == (2, True)


def test_torn_baselines_are_repaired(lake: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every command names the way out, which works; the fragment is kept."""
    assert audit(capfd, lake, FIRST).code == 0
    whole = (lake / BASELINES).read_bytes()
    add(lake / BASELINES, b'{"schema_ver')
    before = stamps(lake)
    for command in (["audit"], ["baselines", "list"], ["baselines", "show"]):
        told = Told(capfd, *command, lake)
        assert (told.code, told.err.count("\n")) == (3, 1)
        assert f"`stillhouse baselines repair {lake}`" in told.err
    assert stamps(lake) == before
    done = Told(capfd, "baselines", "repair", lake, "--json")
    assert (done.code, done.json["cut"]["bytes"], done.json["cut"]["line"]) == (0, 12, 2)
    assert (lake / done.json["cut"]["kept_in"]).read_bytes() == b'{"schema_ver'
    assert (lake / BASELINES).read_bytes() == whole
    again = Told(capfd, "baselines", "repair", lake)
    assert (again.code, "nothing to do" in again.err) == (0, True)
    assert audit(capfd, lake, SECOND, "--fail-on-warn").code == 0
    assert "audit_baselines" not in Told(capfd, "run", lake, "--engine", "inline").err


@pytest.mark.s3
def test_a_lake_in_a_bucket_is_audited(
    s3_environment: str,
    s3_client: Any,
    new_prefix: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Baselines are appended there, and the gate before an export asks them."""
    key, url = f"{new_prefix}/_kb/scrum_reviews.jsonl", f"s3://lakes/{new_prefix}"
    s3_client.put_object(Bucket="lakes", Key=key, Body=attempts(0, 8, 1))
    for time in (FIRST, SECOND):
        told = Told(capfd, "audit", url, "--engine", "inline", "--recorded-at", time)
        assert told.code == 0, told.err
    listed = Told(capfd, "baselines", "list", url, "--json").json
    assert [one["recorded_at"] for one in listed["baselines"]] == [FIRST, SECOND]
    export = Told(capfd, "export", url, "sft", "--engine", "inline", "--gate", "drift")
    assert export.code == 0


# -------------------------------------------------------------------------------------- CI


def workflow() -> list[tuple[str, str, bool]]:
    """The steps of the documented workflow that run commands: name, commands, whether always."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    steps = yaml.safe_load(block)["jobs"]["audit"]["steps"]
    return [
        (step["name"], step["run"], "always" in step.get("if", ""))
        for step in steps
        if "run" in step
    ]


def run_workflow(lake: Path, folder: Path) -> tuple[int, list[str], str]:
    """Run the steps as GitHub does: by `bash -e`, none but those of `always()` after a failure.

    Returned are the first code that is not 0, which steps ran, and the summary. The step that
    installs is the README's own command, and is done already.
    """
    tools = folder / ".tools"
    tools.mkdir(exist_ok=True)
    for name, call in (("stillhouse", "-m stillhouse"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        (tools / name).chmod(0o755)
    summary = folder / "summary.md"
    variables = {
        **environment(),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "LAKE": str(lake),
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    code, ran = 0, []
    for name, commands, always in workflow():
        if name == "Install":
            assert f"`{commands}`" in (ROOT / "README.md").read_text(encoding="utf-8")
        elif code == 0 or always:
            ran.append(name)
            done = subprocess.run(
                ["bash", "-e", "-c", commands], cwd=folder, env=variables, check=False
            )
            code = code or done.returncode
    return code, ran, summary.read_text(encoding="utf-8")


def test_the_workflow_of_the_page_does_what_the_page_says(tmp_path: Path) -> None:
    """A green lake is handed on; one whose figures moved is not, and is the next time."""
    lake = demo(tmp_path / "lake", 60)
    code, ran, said = run_workflow(lake, tmp_path)
    assert (code, ran) == (0, ["Audit", "Say what moved", "Hand on"])
    assert "## ok" in said
    assert ALL_GATES.search(said)
    add(lake / "_kb" / "scrum_reviews.jsonl", attempts(1000, 1100, 4))
    code, ran, said = run_workflow(lake, tmp_path)
    assert (code, ran) == (2, ["Audit", "Say what moved"])
    assert re.search(r"- \*\*p3_human moved by more than the threshold: \d+ to \d+ \(", said)
    assert json.loads((tmp_path / "audit.json").read_bytes())["verdict"] == "warned"
    code, ran, _ = run_workflow(lake, tmp_path)
    assert (code, ran[-1]) == (0, "Hand on")
