"""A lake run again from its receipts: the same bytes, or which rows part and why (SPEC P4)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stillhouse
from stillhouse import config
from stillhouse.cli.app import run as program
from stillhouse.engines import InlineEngine
from stillhouse.errors import ReceiptError
from stillhouse.exports import ExportOptions
from stillhouse.interfaces import Store
from stillhouse.pipeline import export_lake, make_evidence, score_evidence
from stillhouse.receipts import list_receipts
from stillhouse.replay import Maker, ReplayReport, replay, run_again
from stillhouse.storage import LocalStore, MemoryStore
from tests.replay.forging import forge
from tests.runs import FIRST, SECOND, THIRD, add, demo, environment, put, rows, run, stamps

PACKAGE = Path(stillhouse.__file__).parent
HERE = Maker(config.version(), config.git_commit())


def again(lake: Path | Store, receipt: str | None = None, maker: Maker = HERE) -> ReplayReport:
    store = LocalStore(lake) if isinstance(lake, Path) else lake
    with config.scratch_folder() as scratch:
        return replay(store, InlineEngine(), MemoryStore(), scratch, maker, receipt=receipt)


def history(root: Path) -> Path:
    """A lake of three runs, a stage alone, and exports with options of their own."""
    demo(root)
    log = put(root, "scrum_reviews", rows(0, 6))
    store, engine = LocalStore(root), InlineEngine()
    run(root, FIRST)
    add(log, rows(6, 9))
    make_evidence(store, engine, SECOND)
    score_evidence(store, engine, THIRD)
    add(log, rows(9, 12) + b'{"torn')
    run(root, "2026-04-04T08:00:00Z")
    partial = ExportOptions(include_partial=True, max_pairs=1)
    export_lake(store, engine, ["sft", "preference"], partial, "2026-04-05T08:00:00Z")
    return root


# ------------------------------------------------------------------------------ the same


def test_a_history_of_runs_is_repeated_byte_for_byte(tmp_path: Path) -> None:
    """Runs, stages alone and exports with other options come out the same in one second run, and
    the lake is not touched, not even its times."""
    root = history(tmp_path / "lake")
    before = stamps(root)
    done = again(root)
    assert done.ok, done
    assert (done.parted, done.inputs, done.same) == ([], [], done.files)
    assert done.files > 20
    assert stamps(root) == before


def test_every_receipt_of_a_history_can_be_replayed_by_itself(tmp_path: Path) -> None:
    """The lake as it was when the receipt was written gives the files that it names."""
    store = LocalStore(history(tmp_path / "lake"))
    paths = list_receipts(store)
    assert len(paths) > 8
    for path in paths:
        done = again(store, path)
        assert done.ok, done
        assert done.receipt == path
        assert done.files > 0


def test_a_lake_that_has_grown_is_replayed_as_it_was(tmp_path: Path) -> None:
    """Rows that came after the last run are no part of what its receipts tell."""
    root = tmp_path / "lake"
    log = put(root, "scrum_reviews", rows(0, 4) + b'{"unfinished')
    run(root)
    add(log, b'": 1}\n' + rows(4, 9))
    done = again(root)
    assert done.ok, done
    assert "quarantine/torn/scrum_reviews.jsonl" in stamps_of(root)


def stamps_of(root: Path) -> set[str]:
    return {Path(path).relative_to(root).as_posix() for path in stamps(root)}


def test_a_lake_in_memory_is_replayed(tmp_path: Path) -> None:
    """Any store will do."""
    store = MemoryStore()
    with store.writer("_kb/scrum_reviews.jsonl") as sink:
        sink.write(rows(0, 9))
    run(store)
    assert again(store).ok


def test_an_export_that_waits_for_a_run_is_said_and_not_compared(tmp_path: Path) -> None:
    """Exports made before the evidence was read anew are told in a note; by themselves they can
    be replayed as of their time."""
    root = tmp_path / "lake"
    log = put(root, "scrum_reviews", rows(0, 4))
    run(root)
    add(log, rows(4, 9))
    make_evidence(LocalStore(root), InlineEngine(), SECOND)
    done = again(root)
    assert done.ok, done
    assert any("made before what they are made of" in note for note in done.notes)
    (sft,) = list_receipts(LocalStore(root), "sft")
    assert again(root, sft).ok


# ---------------------------------------------------------------------- where it parts, why


def edited(site: Path, module: str, before: str, after: str) -> Path:
    """A copy of the package in which one module was edited."""
    shutil.copytree(PACKAGE, site / "stillhouse", ignore=shutil.ignore_patterns("__pycache__"))
    path = site / "stillhouse" / module
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    return site


def by(site: Path, *words: object) -> dict[str, Any]:
    """What the package in a folder says of a lake."""
    done = subprocess.run(
        [sys.executable, "-B", "-m", "stillhouse", *map(str, words), "--json", "--engine=inline"],
        env={**environment(), "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    loaded = json.loads(done.stdout)
    assert isinstance(loaded, dict)
    return loaded


RULE = ("sources/scrum_reviews.py", '"accepted"', '"rejected"')
TEMPLATE = ("sources/scrum_reviews.py", "Review the file", "Look at the file")


def test_a_changed_rule_is_named_with_the_rows_it_moved(tmp_path: Path) -> None:
    """Scored runs part, each row with its category before and after; the evidence does not, and
    exports only follow."""
    root = tmp_path / "lake"
    put(root, "scrum_reviews", rows(0, 8))
    plain = edited(tmp_path / "plain", "__init__.py", "", "")
    by(plain, "run", root)
    done = by(edited(tmp_path / "other", *RULE), "replay", root)
    assert done["ok"] is False
    why = {one["path"].split("/")[0]: one["why"] for one in done["parted"]}
    assert why["scored-runs"] == "rule"
    assert why["distilled"] == "follows"
    assert "evidence" not in why
    (example, *_) = done["parted"][0]["difference"]["examples"]
    assert example["fields"]["category"] == "accepted → rejected"
    assert example["source_file"] == "_kb/scrum_reviews.jsonl"
    moved = sum(one["difference"]["rows"] for one in done["parted"] if one["stage"] == "score")
    assert moved == 2  # of 8 rows those accepted on the first attempt


def test_a_changed_template_parts_exports_alone(tmp_path: Path) -> None:
    """Another wording of an instruction changes no evidence and no score, and is shown."""
    root = tmp_path / "lake"
    put(root, "scrum_reviews", rows(0, 8))
    plain = edited(tmp_path / "plain", "__init__.py", "", "")
    by(plain, "run", root)
    done = by(edited(tmp_path / "other", *TEMPLATE), "replay", root)
    assert {one["stage"] for one in done["parted"]} <= {"sft", "preference", "dataset"}
    sft = next(one for one in done["parted"] if one["path"].endswith("sft_export.jsonl"))
    assert sft["why"] == "rule"
    fields = sft["difference"]["examples"][0]["fields"]
    assert fields["instruction"].startswith("Review the file")
    assert "→ Look at the file" in fields["instruction"]


def test_another_version_is_the_reason_where_the_receipt_names_another(tmp_path: Path) -> None:
    """What parts between two commits or versions is said to be of them."""
    root = tmp_path / "lake"
    put(root, "scrum_reviews", rows(0, 8))
    plain = edited(tmp_path / "plain", "__init__.py", "", "")
    by(plain, "run", root)
    site = edited(tmp_path / "other", *RULE)
    version = site / "stillhouse" / "__init__.py"
    version.write_text(version.read_text().replace(config.version(), "9.9.9"))
    done = by(site, "replay", root)
    assert {one["why"] for one in done["parted"]} == {"version", "follows"}
    assert "stillhouse 9.9.9" in done["parted"][0]["detail"]
    # A version that changes no rule gives the same bytes.
    assert again(root, maker=Maker("9.9.9")).ok


@pytest.mark.parametrize("how", ["gone", "edited", "shortened"])
def test_a_changed_input_is_named(how: str, tmp_path: Path) -> None:
    """A raw log that is gone, edited or cut is the reason for what parts, with the byte."""
    root = tmp_path / "lake"
    log = put(root, "scrum_reviews", rows(0, 8))
    put(root, "observer_reviews", rows(0, 8))
    run(root)
    data = log.read_bytes()
    if how == "gone":
        log.unlink()
    else:
        log.write_bytes(data[:-40] if how == "shortened" else data.replace(b"keeps", b"holds"))
    done = again(root)
    assert not done.ok
    (lost,) = done.inputs
    assert lost.path == "_kb/scrum_reviews.jsonl"
    assert (lost.byte is None) == (how == "gone")
    why = {one.path: one.why for one in done.parted}
    evidence = {why[path] for path in why if path.startswith("evidence/")}
    assert evidence == {"input"}
    assert {why[path] for path in why if path.startswith("distilled/")} == {"follows"}
    assert not [path for path in why if path.endswith("observer_reviews.jsonl")]


def test_an_edited_row_that_a_forged_receipt_vouches_for_is_found(tmp_path: Path) -> None:
    """A second run tells a lake whose receipt was forged together with the file."""
    root = tmp_path / "lake"
    put(root, "scrum_reviews", rows(0, 8))
    run(root)
    path = "distilled/sft/sft_export.jsonl"
    forge(root, path, (root / path).read_bytes().replace(b"contract", b"contrast", 1))
    done = again(root)
    (parted,) = done.parted
    assert (parted.path, parted.why, parted.difference.rows) == (path, "rule", 1)
    assert "contrast" in parted.difference.examples[0].fields["response"]


def test_of_an_edited_log_only_the_edited_row_parts(tmp_path: Path) -> None:
    """The others keep the times of their first reading, and come out the same."""
    root = tmp_path / "lake"
    log = put(root, "scrum_reviews", rows(0, 6))
    run(root, FIRST)
    add(log, rows(6, 9))
    run(root, SECOND)
    log.write_bytes(log.read_bytes().replace(b"keeps", b"holds", 1))
    evidence = [one for one in again(root).parted if one.stage == "evidence"]
    assert [one.difference.rows for one in evidence] == [1]
    assert evidence[0].difference.examples[0].line_offset == 0


# --------------------------------------------------------------------------- what cannot be


def test_receipts_that_cannot_be_had_are_one_clear_error(tmp_path: Path) -> None:
    """No receipts, none like that, several like that, and one that was edited."""
    root = tmp_path / "lake"
    put(root, "scrum_reviews", rows(0, 4))
    with pytest.raises(ReceiptError, match=r"has no receipts.*stillhouse run"):
        again(root)
    run(root)
    with pytest.raises(ReceiptError, match="no receipt like 'nothing'"):
        again(root, "nothing")
    with pytest.raises(ReceiptError, match=r"receipts like 'receipts/'.* Say receipts/"):
        again(root, "receipts/")
    path = root / list_receipts(LocalStore(root), "sft")[0]
    path.write_bytes(path.read_bytes().replace(b'"max_pairs": 4', b'"max_pairs": 5'))
    with pytest.raises(ReceiptError, match=r"is not as it was written.*verify"):
        again(root)


def test_rows_of_which_no_receipt_knows_the_time_are_said(tmp_path: Path) -> None:
    """Where the receipt of an earlier reading is gone, its rows cannot have their time again."""
    root = tmp_path / "lake"
    log = put(root, "scrum_reviews", rows(0, 4))
    run(root)
    add(log, rows(4, 6))
    run(root, SECOND)
    first, second = list_receipts(LocalStore(root), "evidence")
    (root / first).unlink()
    done = again(root, second)
    assert not done.ok
    assert "by runs whose receipts are gone" in done.inputs[0].detail


def test_what_was_read_of_files_that_no_receipt_tells_of_is_said(tmp_path: Path) -> None:
    """A score receipt whose evidence receipt is gone cannot be replayed, and no rule is blamed."""
    root = tmp_path / "lake"
    put(root, "scrum_reviews", rows(0, 4))
    run(root)
    store = LocalStore(root)
    (evidence,), (score,) = list_receipts(store, "evidence"), list_receipts(store, "score")
    (root / evidence).unlink()
    done = again(root, score)
    assert not done.ok
    assert {lost.path.split("/")[0] for lost in done.inputs} == {"evidence"}
    assert {one.why for one in done.parted} <= {"input"}


# ---------------------------------------------------------------------------- the command


def test_the_command_says_what_it_did_and_keeps_the_second_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`replay` ends with 0 and one line; `--keep` leaves the second run's files to look at."""
    root, kept = history(tmp_path / "lake"), tmp_path / "kept"
    assert program(["replay", str(root), "--keep", str(kept), "--workers", "1"]) == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert "files as receipted" in told.err
    path = "distilled/sft/sft_export.jsonl"
    assert (kept / path).read_bytes() == (root / path).read_bytes()
    assert program(["replay", str(root), "--keep", str(kept)]) == 2
    assert "is not empty" in capfd.readouterr().err


def test_the_command_shows_the_rows_that_part(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, a table of files with the reason, and one of rows with their raw lines."""
    root = tmp_path / "lake"
    log = put(root, "scrum_reviews", rows(0, 8))
    run(root)
    log.write_bytes(log.read_bytes().replace(b"keeps", b"holds", 1))
    assert program(["replay", str(root), "--engine", "inline"]) == 1
    told = capfd.readouterr().err
    assert "Raw logs that are not as they were read" in told
    assert "_kb/scrum_reviews.jsonl:1" in told
    assert "text" in told


# ------------------------------------------------------------------------- running again


def rerun(root: Path) -> list[str]:
    return run_again(
        LocalStore(root), InlineEngine(), MemoryStore(), "2027-01-01T00:00:00Z"
    ).changed


def test_running_again_over_a_lake_that_is_done_changes_nothing(tmp_path: Path) -> None:
    """Whatever options its exports were made with."""
    root = history(tmp_path / "lake")
    before = stamps(root)
    assert rerun(root) == []
    assert stamps(root) == before


def test_running_again_names_what_it_would_change(tmp_path: Path) -> None:
    """New rows, exports that wait for a run, and a derived file that was edited."""
    root = tmp_path / "lake"
    log = put(root, "scrum_reviews", rows(0, 6))
    run(root)
    add(log, rows(6, 9))
    changed = rerun(root)
    assert "evidence/2026/02/01/scrum_reviews.jsonl" in changed
    assert any(path.startswith("receipts/evidence/") for path in changed)
    make_evidence(LocalStore(root), InlineEngine(), SECOND)
    score_evidence(LocalStore(root), InlineEngine(), SECOND)
    assert "distilled/sft/sft_export.jsonl" in rerun(root)
    run(root, SECOND)
    assert rerun(root) == []
    path = root / "distilled/rag/rag_export.jsonl"
    path.write_bytes(path.read_bytes()[:-9] + b"\n")
    assert "distilled/rag/rag_export.jsonl" in rerun(root)
