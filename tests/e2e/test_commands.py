"""What the commands say to a person: hints that can be pasted, reasons that can be acted on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runs import Command, Told, demo, environment, put, row, rows

# ------------------------------------------------------------------------ folders and hints


def _id(command: str) -> list[str]:
    """What a command needs beside the lake."""
    return ["sft-1"] if command == "trace" else []


@pytest.mark.parametrize(
    "command", ["run", "evidence", "score", "export", "inspect", "trace", "verify"]
)
def test_a_folder_that_is_no_lake_stays_as_it_is(
    command: str, tmp_path: Path, stillhouse: Command
) -> None:
    """A folder given by mistake is said to be none in one line, and nothing is put into it."""
    (tmp_path / "notes.md").write_text("mine")
    told = stillhouse(command, tmp_path, *_id(command))
    assert told.code == 3
    assert told.err.startswith(f"error: {tmp_path}: has no _kb folder")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.md"]


@pytest.mark.parametrize("command", ["run", "export", "inspect", "trace", "verify"])
def test_the_log_folder_given_as_the_lake(
    command: str, tmp_path: Path, stillhouse: Command
) -> None:
    """Whoever names _kb itself is told to name what holds it."""
    log = put(tmp_path, "audits", rows(0, 3))
    told = stillhouse(command, log.parent, *_id(command))
    assert told.code == 3
    assert told.err == f"error: {log.parent}: you gave the _kb folder; give its parent\n"
    assert list(log.parent.iterdir()) == [log]


def test_a_folder_without_receipts_is_not_verified(tmp_path: Path, stillhouse: Command) -> None:
    """Where no run has been, nothing holds: exit code 1 and the way out, quoted for a shell."""
    lake = tmp_path / "my lake"
    put(lake, "audits", rows(0, 3))
    told = stillhouse("verify", lake)
    assert told.code == 1
    assert told.err == f"error: no receipts here; run `stillhouse run '{lake}'` first\n"
    assert stillhouse("verify", lake, "--json").code == 1


def test_receipts_that_are_gone_are_one_line(tmp_path: Path, stillhouse: Command) -> None:
    """A lake whose receipts were deleted is told so at once, not by the name of every file."""
    put(tmp_path, "scrum_reviews", rows(0, 3))
    stillhouse("run", tmp_path, "--engine", "inline")
    shutil.rmtree(tmp_path / "receipts")
    told = stillhouse("verify", tmp_path)
    said = f"receipts/ is gone; `stillhouse run {tmp_path}` writes new ones"
    assert told == Told(1, "", f"error: {said}\n")
    stillhouse("run", tmp_path, "--engine", "inline")
    assert _last(stillhouse("verify", tmp_path)).endswith("all as receipted")
    (tmp_path / "distilled" / "rag" / "rag_export.jsonl").unlink()
    assert _last(stillhouse("verify", tmp_path)).endswith(" bytes: 1 problem")


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
        (["rn"], "No such command 'rn'. Did you mean 'run'? Say `stillhouse --help`."),
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


def test_flags_take_no_value(stillhouse: Command) -> None:
    """The help of a flag names no type."""
    for command in ("run", "export", "verify", "trace"):
        assert "bool" not in stillhouse(command, "--help").out, command
    assert "bool" not in stillhouse("--help").out


def test_parquet_without_its_library_is_said_before_any_work(tmp_path: Path) -> None:
    """An extra that is missing is a usage error, and the lake is as it was."""
    put(tmp_path, "scrum_reviews", rows(0, 3))
    code = (
        "import sys; sys.modules['pyarrow'] = None; "
        "from stillhouse.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, "run", str(tmp_path), "--parquet"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2
    assert "python -m pip install 'stillhouse[parquet]'" in told.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["_kb"]


# ------------------------------------------------------------------------- what came of it


def _last(told: Told) -> str:
    return told.err.rstrip().splitlines()[-1]


def test_nothing_exported_says_why(tmp_path: Path, stillhouse: Command) -> None:
    """The last line names what kept the rows out, on every run."""
    (tmp_path / "_kb").mkdir()
    arguments = ("run", tmp_path, "--engine", "inline")
    empty = f"no *.jsonl in {tmp_path}/_kb"
    assert _last(stillhouse("inspect", tmp_path)) == empty
    assert _last(stillhouse(*arguments)) == f"nothing exported: {empty}"
    log = put(tmp_path, "mode_experiments", b"")
    assert _last(stillhouse(*arguments)) == "nothing exported: no rows were read"
    log.write_bytes(b'{"file": "a"}\n{"file": "b"}\n[]\n\n')
    for _ in range(2):
        told = stillhouse(*arguments)
        assert told.code == 1
        reasons = "3 of 3 rows refused (missing_time 2, not_an_object 1)"
        assert _last(told) == f"nothing exported: {reasons}"
    assert _last(stillhouse("evidence", tmp_path)) == f"no evidence: {reasons}"
    put(tmp_path, "scrum_reviews", row(0, accepted_on_attempt=None, file="a") + b"\n")
    told = stillhouse(*arguments)
    assert _last(told) == "nothing exported: 1 of 1 rows refused (forbidden_category 1)"
    assert told.code == 1


def test_notes_stand_where_they_are_seen(tmp_path: Path, stillhouse: Command) -> None:
    """What is worth knowing comes behind the tables, whether there is anything new or not."""
    put(tmp_path, "scrum_reviews", rows(0, 4))
    log = put(tmp_path, "audits", rows(0, 4))
    stillhouse("run", tmp_path, "--engine", "inline")
    log.unlink()
    for command in ("run", "run", "evidence"):
        told = stillhouse(command, tmp_path, "--engine", "inline")
        assert _last(told).startswith("note: _kb/audits.jsonl: is gone")


def test_nothing_new_is_said_of_nothing_alone(tmp_path: Path, stillhouse: Command) -> None:
    """A run that mended what was deleted or edited, or has a note, does not say so."""
    put(tmp_path, "scrum_reviews", rows(0, 6))
    said = "nothing new: every file is as the last run left it"
    assert said not in stillhouse("run", tmp_path, "--engine", "inline").err
    assert said in stillhouse("run", tmp_path, "--engine", "inline").err
    for folder in ("evidence", "scored-runs", "distilled", "receipts", ".stillhouse/index"):
        shutil.rmtree(tmp_path / folder)
        told = stillhouse("run", tmp_path, "--engine", "inline", "--json")
        assert json.loads(told.out)["written"] or json.loads(told.out)["notes"], folder
        shutil.rmtree(tmp_path / folder)
        assert said not in stillhouse("run", tmp_path, "--engine", "inline").err, folder
        assert said in stillhouse("run", tmp_path, "--engine", "inline").err, folder
    put(tmp_path, "diary", b"")
    stillhouse("run", tmp_path, "--engine", "inline")
    assert said not in stillhouse("run", tmp_path, "--engine", "inline").err


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


# ------------------------------------------------------------------------- the streams


def _shell(lake: Path, line: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """A line of shell in which ``$RUN`` is the program and ``$LAKE`` the lake."""
    told = {"PYTHON": sys.executable, "LAKE": str(lake), **more}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("$RUN", '"$PYTHON" -m stillhouse')],
        env=environment() | told,
        capture_output=True,
        check=False,
    )


def test_json_is_utf_8_whatever_the_terminal_speaks(tmp_path: Path) -> None:
    """JSON has no other encoding; a lake's name may hold anything."""
    lake = tmp_path / "Brennerei Müller"
    put(lake, "scrum_reviews", row(0, file="straße.py") + b"\n" + b"{torn\n")
    _shell(lake, '$RUN run "$LAKE" --engine inline')
    told = _shell(lake, '$RUN inspect "$LAKE" --json', PYTHONIOENCODING="ascii")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.decode())["sources"]


def test_json_without_a_place_to_go_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Standard output is closed: nobody could read it."""
    put(tmp_path, "scrum_reviews", rows(0, 2))
    told = _shell(tmp_path, '$RUN run "$LAKE" --engine inline --json >&-')
    assert told.returncode == 2
    assert told.stderr.count(b"\n") == 1
    assert told.stderr.startswith(b"error: standard output is closed")


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path) -> None:
    """``| head`` closes the pipe while tables are written."""
    put(tmp_path, "scrum_reviews", rows(0, 2))
    _shell(tmp_path, '$RUN run "$LAKE" --engine inline')
    line = '{ sleep 2; $RUN inspect "$LAKE" 2>&1; echo "code $?" >&3; } 3>"$LAKE/code" | true'
    _shell(tmp_path, line)
    assert (tmp_path / "code").read_text() == "code 0\n"


def test_ctrl_c_says_what_became_of_the_lake(tmp_path: Path) -> None:
    """Exit code 130, one line, no traceback."""
    put(tmp_path, "scrum_reviews", rows(0, 40_000))
    with subprocess.Popen(
        [sys.executable, "-m", "stillhouse", "run", str(tmp_path), "--engine", "inline"],
        env=environment(),
        stderr=subprocess.PIPE,
    ) as run:
        deadline = time.monotonic() + 60
        while not (tmp_path / ".stillhouse" / "staging").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate()
    assert run.returncode == 130
    assert said == b"stopped; the lake is as it was before the step that was under way\n"


# ------------------------------------------------------------------------- narrow screens


def test_tables_fit_a_narrow_screen(tmp_path: Path) -> None:
    """At 80 columns no line is longer, and no name of a log is cut within a word."""
    demo(tmp_path)
    code = (
        "import sys; from stillhouse.cli import output; output.err.width = 80; "
        "from stillhouse.cli.app import run; "
        "run(['run', sys.argv[1], '--engine', 'inline']); run(['inspect', sys.argv[1]])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    tables = [line for line in told.splitlines() if line[:1] in tuple("┏┃┡│└")]
    assert max(map(len, tables)) <= 80
    assert "│ distilled_config_hints │" in told
    for cell in (cell.strip() for line in tables for cell in line.split("│")):
        assert not cell.startswith((".jsonl", "jsonl", "l:")), cell
