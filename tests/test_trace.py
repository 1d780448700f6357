"""An exported row back to its raw line: what the chain proves, and what it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillhouse.cli.app import run as program
from stillhouse.errors import UsageError
from stillhouse.storage import LocalStore
from stillhouse.trace import Trace, trace
from tests.runs import lines, put, row, rows, run

SFT = "distilled/sft/sft_export.jsonl"
RAG = "distilled/rag/rag_export.jsonl"
SECRET = "ghp_" + "x7Kq2Zr9Tn4Wb8Yd6Vm1Jc5Hs3Lf0Pg2QaEu"


def _walk(root: Path, wanted: str, **options: Any) -> Trace:
    return trace(LocalStore(root), wanted, **options)


def _ids(root: Path, path: str) -> list[str]:
    return [json.loads(line)["id"] for line in (root / path).read_bytes().splitlines()]


def test_the_chain_begins_with_the_export_file(tmp_path: Path) -> None:
    """The file's hash is the receipt's, and every link to the raw line holds."""
    put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    found = _walk(tmp_path, _ids(tmp_path, SFT)[0])
    assert found.holds
    (chain,) = found.chains
    assert [step.what for step in chain.steps] == ["export", "scored run", "evidence", "raw line"]
    assert chain.steps[0].where == f"{SFT}:1"


def test_an_edited_export_does_not_hold(tmp_path: Path) -> None:
    """A row whose words were changed after the run is known by its file's receipt."""
    put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    path = tmp_path / SFT
    path.write_bytes(path.read_bytes().replace(b"keeps the contract", b"breaks all rules"))
    found = _walk(tmp_path, _ids(tmp_path, SFT)[0])
    first = found.chains[0].steps[0]
    assert (found.holds, first.holds) == (False, False)
    assert first.detail == "the file is not as its receipt says; run `stillhouse verify`"
    for receipt in (tmp_path / "receipts" / "sft").iterdir():
        receipt.unlink()
    assert "no receipt names the file" in _walk(tmp_path, found.id).chains[0].steps[0].detail


def test_the_newest_receipt_has_the_word(tmp_path: Path) -> None:
    """After the log has grown, and with a receipt that is junk, the chain still holds."""
    log = put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    log.write_bytes(rows(0, 30))
    run(tmp_path)
    (tmp_path / "receipts" / "sft" / "odd.json").write_text("{")
    assert _walk(tmp_path, _ids(tmp_path, SFT)[-1]).holds


def test_the_id_of_a_run_that_gave_one_row(tmp_path: Path) -> None:
    """A run's id serves where one row came of it; else the rows' ids are named, five at most."""
    put(tmp_path, "scrum_reviews", row(1, run_id="partly") + b"\n")
    run(tmp_path)
    (chunk,) = _ids(tmp_path, RAG)
    assert _walk(tmp_path, "partly").id == chunk
    text = "\n\n".join(f"Paragraph {number}. " + "It goes on. " * 60 for number in range(20))
    put(tmp_path, "scrum_reviews", row(0, run_id="run-long", review=text) + b"\n")
    run(tmp_path)
    assert len(_ids(tmp_path, RAG)) > 5
    with pytest.raises(UsageError) as error:
        _walk(tmp_path, "run-long")
    assert _ids(tmp_path, SFT)[0] in error.value.way_out
    assert error.value.way_out.count(",") == 5
    assert error.value.way_out.endswith("…")
    with pytest.raises(UsageError, match="no exported row"):
        _walk(tmp_path, "run-lon")


def test_secrets_are_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The lines before the export hold secrets still: they are shown only when asked for."""
    put(tmp_path, "scrum_reviews", row(0, review=f"Use the token {SECRET} to push.") + b"\n")
    run(tmp_path)
    (wanted,) = _ids(tmp_path, SFT)
    for arguments in ([], ["--json"]):
        capfd.readouterr()
        assert program(["trace", str(tmp_path), wanted, *arguments]) == 0
        told = capfd.readouterr()
        assert SECRET not in told.out + told.err
        assert "[REDACTED:" in told.out + told.err
        assert program(["trace", str(tmp_path), wanted, "--raw", *arguments]) == 0
        told = capfd.readouterr()
        assert SECRET in told.out + told.err


def test_lines_without_secrets_are_shown_as_they_are(tmp_path: Path) -> None:
    """Where there is nothing to take out, not a byte is changed; a torn line is shown too."""
    log = put(tmp_path, "scrum_reviews", row(0) + b"\n")
    run(tmp_path)
    (wanted,) = _ids(tmp_path, SFT)
    (chain,) = _walk(tmp_path, wanted).chains
    assert (chain.raw, chain.redacted) == (row(0).decode(), False)
    assert json.loads(bytes(chain.evidence)) == next(lines(tmp_path, "evidence"))[1]
    log.write_bytes(f'{{"token": "{SECRET}'.encode())
    (chain,) = _walk(tmp_path, wanted).chains
    assert not chain.holds
    assert SECRET not in chain.raw
