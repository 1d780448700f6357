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
