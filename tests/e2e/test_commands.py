"""What the commands say to a person: hints that can be pasted, reasons that can be acted on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from stillhouse.cli.app import run as program
from tests.runs import put, rows


class Told(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


Command = Callable[..., Told]


@pytest.fixture
def stillhouse(capfd: pytest.CaptureFixture[str]) -> Command:
    """The program, in this process."""

    def call(*arguments: object) -> Told:
        capfd.readouterr()
        code = program([str(argument) for argument in arguments])
        told = capfd.readouterr()
        return Told(code, told.out, told.err)

    return call


# ------------------------------------------------------------------------ folders and hints


@pytest.mark.parametrize("command", ["run", "evidence", "score", "export", "inspect"])
def test_a_folder_that_is_no_lake_stays_as_it_is(
    command: str, tmp_path: Path, stillhouse: Command
) -> None:
    """A folder given by mistake is said to be none in one line, and nothing is put into it."""
    (tmp_path / "notes.md").write_text("mine")
    told = stillhouse(command, tmp_path)
    assert told.code == 3
    assert told.err.startswith(f"error: {tmp_path}: has no _kb folder")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.md"]


@pytest.mark.parametrize("command", ["run", "export", "inspect"])
def test_the_log_folder_given_as_the_lake(
    command: str, tmp_path: Path, stillhouse: Command
) -> None:
    """Whoever names _kb itself is told to name what holds it."""
    log = put(tmp_path, "audits", rows(0, 3))
    told = stillhouse(command, log.parent)
    assert told.code == 3
    assert told.err == f"error: {log.parent}: you gave the _kb folder; give its parent\n"
    assert list(log.parent.iterdir()) == [log]


def test_a_folder_without_receipts_is_not_verified(tmp_path: Path, stillhouse: Command) -> None:
    """Where no run has been, nothing holds: exit code 1 and the way out, quoted for a shell."""
    lake = tmp_path / "my lake"
    lake.mkdir()
    told = stillhouse("verify", lake)
    assert told.code == 1
    assert told.err == f"error: no receipts here; run `stillhouse run '{lake}'` first\n"
    assert stillhouse("verify", lake, "--json").code == 1


def test_hints_can_be_pasted(tmp_path: Path, stillhouse: Command) -> None:
    """Paths in suggested commands are quoted where a shell would cut them."""
    lake = tmp_path / "my lake"
    assert f"stillhouse run '{lake}'" in stillhouse("demo", lake, "--rows", 60).err
    assert f"stillhouse run '{lake}'" in stillhouse("inspect", lake).err
    assert f"stillhouse inspect '{lake}'" in stillhouse("run", lake, "--engine", "inline").err


# ----------------------------------------------------------------------------- usage errors


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run"], "Missing argument 'LAKE'. Say `stillhouse run --help`."),
        (
            ["run", "x", "--engine", "foo"],
            "Invalid value for '--engine': 'foo' is not one of 'local', 'inline', 'ray'. "
            "Say `stillhouse run --help`.",
        ),
        (["nope"], "No such command 'nope'. Say `stillhouse --help`."),
    ],
)
def test_a_usage_error_names_the_command(
    arguments: list[str], line: str, stillhouse: Command
) -> None:
    """One line in whole sentences, with the help that fits."""
    assert stillhouse(*arguments) == Told(2, "", f"error: {line}\n")


def test_the_bare_program_is_its_help(stillhouse: Command) -> None:
    """Without a command there is help, and no error beneath it."""
    told = stillhouse()
    assert "Usage: stillhouse [OPTIONS] COMMAND" in told.out
    assert told.err == ""


def test_the_usage_line_names_arguments_plainly(stillhouse: Command) -> None:
    """Arguments are called there what errors call them."""
    assert "Usage: stillhouse run [OPTIONS] LAKE" in stillhouse("run", "--help").out
    assert "Usage: stillhouse trace [OPTIONS] LAKE ID" in stillhouse("trace", "--help").out


def test_a_log_that_no_source_reads_is_named(tmp_path: Path, stillhouse: Command) -> None:
    """A misspelt stem would train nothing and say nothing: each run names it, and the nearest."""
    put(tmp_path, "mode_experiment", rows(0, 4))
    put(tmp_path, "chat_log", rows(0, 4))
    said = "no source of that name, so nothing of it trains"
    for command in ("evidence", "run", "run"):
        told = stillhouse(command, tmp_path, "--engine", "inline", "--json")
        assert f"note: mode_experiment: {said}; did you mean mode_experiments?\n" in told.err
        assert f"note: chat_log: {said}\n" in told.err
        assert len(json.loads(told.out)["notes"]) == 2
