"""An exported row back to its raw line: what the chain proves, and what it shows."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stillhouse.cli.app import run as program
from stillhouse.errors import UsageError
from stillhouse.storage import LocalStore
from stillhouse.trace import Trace, trace
from tests.runs import add, lines, put, row, rows, run

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
    """A run's id serves for its row; the beginning of a run's id does not."""
    put(tmp_path, "scrum_reviews", row(1, run_id="partly") + b"\n")
    run(tmp_path)
    (chunk,) = _ids(tmp_path, RAG)
    assert _walk(tmp_path, "partly").id == chunk
    with pytest.raises(UsageError, match="no exported row and no run"):
        _walk(tmp_path, "part")


def test_the_rows_of_a_run_have_one_way_back(tmp_path: Path) -> None:
    """All exported lines that came of one raw line stand in one chain."""
    text = "\n\n".join(f"Paragraph {number}. " + "It goes on. " * 60 for number in range(20))
    put(tmp_path, "scrum_reviews", row(0, run_id="run-long", review=text) + b"\n" + rows(1, 5))
    run(tmp_path)
    found = _walk(tmp_path, "run-long")
    (chain,) = found.chains
    links = [step.what for step in chain.steps]
    assert (found.id, found.holds, chain.side) == ("run-long", True, "run")
    assert links[-3:] == ["scored run", "evidence", "raw line"]
    assert links.count("export") == len(links) - 3 == len(found.rows)
    assert found.rows[0].id == _ids(tmp_path, SFT)[0]
    assert len(found.rows) > 5


def test_a_run_id_that_repeats(tmp_path: Path) -> None:
    """Each raw line has its chain; where they are too many, the rows' ids are named."""
    log = put(tmp_path, "scrum_reviews", b"")
    for number in (0, 4):
        add(log, row(number, run_id="again") + b"\n")
    run(tmp_path)
    found = _walk(tmp_path, "again")
    assert [chain.steps[-1].where for chain in found.chains] == [
        "_kb/scrum_reviews.jsonl:1",
        "_kb/scrum_reviews.jsonl:2",
    ]
    assert len(found.rows) == 6
    for number in range(8, 40, 4):
        add(log, row(number, run_id="again") + b"\n")
    run(tmp_path)
    with pytest.raises(UsageError, match="stands in 10 raw lines") as error:
        _walk(tmp_path, "again")
    assert _ids(tmp_path, SFT)[0] in error.value.way_out
    assert error.value.way_out.count(",") == 5
    assert error.value.way_out.endswith("…")


def test_a_run_that_was_not_exported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where its raw line is, and why each export refused it; exit code 1."""
    put(tmp_path, "scrum_reviews", rows(0, 2) + row(3, run_id="late") + b"\n")
    run(tmp_path)
    found = _walk(tmp_path, "late")
    assert (found.rows, found.holds) == ([], False)
    assert [step.what for step in found.chains[0].steps] == ["scored run", "evidence", "raw line"]
    assert {one.export for one in found.refused} == {"sft", "preference", "rag"}
    assert program(["trace", str(tmp_path), "late"]) == 1
    told = capfd.readouterr().err.splitlines()[0]
    assert told == (
        "run late (_kb/scrum_reviews.jsonl:3) was not exported: sft forbidden_category; "
        "preference forbidden_category; rag not_opted_in"
    )


def test_a_forged_verdict_does_not_hold(tmp_path: Path) -> None:
    """A scored run whose category was edited is known by its file's receipt and by the row."""
    put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    before = _walk(tmp_path, _ids(tmp_path, SFT)[0]).chains[0].steps[1]
    path = tmp_path / before.where.rpartition(":")[0]
    path.write_bytes(path.read_bytes().replace(b'"accepted"', b'"rejected"'))
    found = _walk(tmp_path, _ids(tmp_path, SFT)[0])
    (link,) = (step for step in found.chains[0].steps if not step.holds)
    assert link.what == "scored run"
    assert link.detail == (
        "rejected: the exported row is accepted; the file is not as its receipt says; "
        "run `stillhouse verify`"
    )


def test_forged_evidence_does_not_hold(tmp_path: Path) -> None:
    """The evidence file is compared with its receipt, whatever its own line says."""
    put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    before = _walk(tmp_path, _ids(tmp_path, SFT)[0]).chains[0].steps[2]
    path = tmp_path / before.where.rpartition(":")[0]
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*kept[:-1], kept[-1].replace(b"contract", b"covenant")]))
    found = _walk(tmp_path, _ids(tmp_path, SFT)[0])
    assert [step.what for step in found.chains[0].steps if not step.holds] == ["evidence"]


def test_each_link_has_the_hash_of_its_line(tmp_path: Path) -> None:
    """What is shown can be had with `sed` and `sha256sum` from the place that is shown."""
    put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    for step in _walk(tmp_path, _ids(tmp_path, SFT)[0]).chains[0].steps:
        name, _, number = step.where.rpartition(":")
        line = (tmp_path / name).read_bytes().splitlines()[int(number) - 1]
        assert step.sig_hash == sha256(line).hexdigest(), step.what


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
