"""Receipts for people, and what the last run changed."""

from __future__ import annotations

from pathlib import Path

from stillhouse.report.history import SHOWN, changes_by_receipts, receipt_rows
from stillhouse.storage import LocalStore
from tests.runs import FIRST, SECOND, THIRD, add, put, row, rows, run


def test_a_second_run_is_compared_with_the_first(tmp_path: Path) -> None:
    """Rows before and now, the difference in words, and the times of both."""
    log = put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path, FIRST)
    first = changes_by_receipts(receipt_rows(LocalStore(tmp_path))[0])
    assert first.words == "This is the first run, so there is nothing to compare with."
    add(log, rows(8, 16))
    run(tmp_path, SECOND)
    found = changes_by_receipts(receipt_rows(LocalStore(tmp_path))[0])
    assert (found.since, found.now) == (FIRST, SECOND)
    sft = found.rows[0]
    assert (sft.what, sft.before, sft.now, sft.percent) == ("SFT samples", 2, 4, 100.0)
    assert found.words.startswith("Since the export before the last: 2 more SFT samples")


def test_a_run_that_changed_no_count_says_so(tmp_path: Path) -> None:
    """Where only words changed, the figures are as before."""
    log = put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path, FIRST)
    log.write_bytes(rows(0, 8).replace(b"keeps", b"holds"))
    run(tmp_path, SECOND)
    found = changes_by_receipts(receipt_rows(LocalStore(tmp_path))[0])
    assert found.words == "The last export has as many rows of each kind as the one before it."


def test_without_exports_nothing_is_compared(tmp_path: Path) -> None:
    """No receipt of an export: nothing to compare, and it is said."""
    (tmp_path / "_kb").mkdir()
    assert changes_by_receipts(receipt_rows(LocalStore(tmp_path))[0]).source == "nothing"


def test_receipts_are_newest_first_and_a_bad_one_is_named(tmp_path: Path) -> None:
    """Each has what it wrote and by what; one that cannot be read stands there with its problem."""
    log = put(tmp_path, "scrum_reviews", rows(0, 4))
    run(tmp_path, FIRST)
    add(log, row(9) + b"\n")
    run(tmp_path, THIRD)
    found, in_all = receipt_rows(LocalStore(tmp_path))
    assert in_all == len(found) == 12
    times = [one.recorded_at for one in found]
    assert times == sorted(times, reverse=True)
    evidence = next(one for one in found if one.stage == "evidence")
    assert evidence.counts["evidence"] == 1
    assert not any(one.signed for one in found)
    (tmp_path / found[0].path).write_bytes(b"{spoilt")
    again, _ = receipt_rows(LocalStore(tmp_path))
    assert again[0].problem.startswith("is not JSON")
    assert again[1:] == found[1:]


def test_a_signature_beside_a_receipt_is_seen(tmp_path: Path) -> None:
    """A receipt is told as signed when its signature file is there."""
    put(tmp_path, "scrum_reviews", rows(0, 4))
    run(tmp_path, FIRST)
    path = next((tmp_path / "receipts" / "sft").iterdir())
    path.with_name(path.name.removesuffix(".json") + ".intoto.jsonl").write_bytes(b"{}")
    found, _ = receipt_rows(LocalStore(tmp_path))
    assert {one.stage: one.signed for one in found}["sft"]
    assert sum(one.signed for one in found) == 1


def test_of_many_receipts_the_newest_are_read(tmp_path: Path) -> None:
    """A lake of years has thousands; the page shows some and counts all."""
    folder = tmp_path / "receipts" / "sft"
    folder.mkdir(parents=True)
    for number in range(100):
        name = f"20260101T000000.000000Z-{number:06}-{'a' * 12}.json"
        (folder / name).write_bytes(b"{}")
    found, in_all = receipt_rows(LocalStore(tmp_path))
    assert (len(found), in_all) == (SHOWN, 100)
    assert "000099" in found[0].path
