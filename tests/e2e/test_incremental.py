"""Running again: work in proportion to what is new, the same bytes as a first run, and what
was edited, deleted or replaced is made anew as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from stillhouse import distil, pipeline
from stillhouse.cli.app import run as program
from stillhouse.engines import InlineEngine, LocalEngine
from stillhouse.errors import LakeChangedError, LakeError, LakeLockedError
from stillhouse.exports import KINDS, ExportOptions
from stillhouse.funnel import funnel
from stillhouse.receipts import verify_lake
from stillhouse.state import State, load_state
from stillhouse.storage import LocalStore, MemoryStore
from stillhouse.work import Work
from tests.runs import (
    DERIVED,
    FIRST,
    SECOND,
    THIRD,
    CountingStore,
    add,
    check_accounted,
    check_clean,
    demo,
    environment,
    files,
    from_scratch,
    lines,
    put,
    row,
    rows,
    run,
    stamps,
    visible,
)

T = TypeVar("T")
U = TypeVar("U")

FAR = "2031-12-31T00:00:00Z"
"""A time that no row may carry when it was there before."""


def _verified(root: Path) -> bool:
    return verify_lake(LocalStore(root)).ok


def _state(root: Path) -> State:
    state = load_state(LocalStore(root))
    assert state is not None
    return state


def _grown(root: Path, rounds: int = 3) -> Path:
    """A lake that grew over several runs, each at its own time; dirt and repeats among it."""
    log = put(root, "scrum_reviews", b"")
    other = put(root, "a_stem_of_nobody", rows(0, 9))
    for number, moment in enumerate((FIRST, SECOND, THIRD)[:rounds]):
        first = number * 20
        add(log, rows(first, first + 20) + b"not json\n" + row(first) + b"\n" + b"\n")
        if number == 1:
            add(other, rows(9, 12))
        run(root, moment)
    return log


# --------------------------------------------------------------------- only what is new


def test_nothing_new_changes_no_file(tmp_path: Path) -> None:
    """A second run leaves every file as it is, to its inode and time, and writes no receipt."""
    demo(tmp_path)
    run(tmp_path)
    before = stamps(tmp_path)
    report = run(tmp_path, SECOND)
    assert stamps(tmp_path) == before
    assert report.read == {}
    assert sorted(report.unchanged) == sorted(KINDS)


def test_nothing_new_reads_no_log(tmp_path: Path) -> None:
    """A second run looks at names, sizes and times alone."""
    demo(tmp_path)
    run(tmp_path)
    store = CountingStore(LocalStore(tmp_path))
    run(store, SECOND)
    assert set(store.paths.get("read", ())) <= {".stillhouse/state.json"}
    assert "open" not in store.paths
    assert not store.paths.keys() & {"begin", "publish", "create"}


def test_appended_rows_cost_what_they_are(tmp_path: Path) -> None:
    """After an append only the new bytes are transformed, only the touched day's files are
    written, and no other log is looked into."""
    log = put(tmp_path, "scrum_reviews", rows(0, 300))
    put(tmp_path, "audits", rows(0, 300))
    run(tmp_path)
    new = row(300) + b"\n"  # a row of the first of three days
    add(log, new)
    store = CountingStore(LocalStore(tmp_path))
    report = run(store, SECOND)
    assert report.read == {"evidence": 1}
    assert store.bytes["read", "_kb"] == len(new)
    touched = {"evidence/2026/02/01", "scored-runs/2026/02/01", ".stillhouse/index/2026/02/01"}
    written = {
        path
        for path in store.paths["publish"]
        if path.split("/")[0] in ("evidence", "scored-runs", ".stillhouse", "quarantine")
    }
    assert {
        path.rpartition("/")[0] for path in written if not path.startswith("quarantine")
    } == touched
    assert {path for path in written if "audits" in path} == set()
    # The old part is passed over once, to see that it is the same; no other log is opened.
    assert {path for path in store.paths["open"] if path.startswith("_kb/")} == {
        "_kb/scrum_reviews.jsonl"
    }
    assert files(tmp_path, "evidence") != {}
    check_accounted(tmp_path)


@pytest.mark.parametrize("unit_bytes", [700, 8 << 20])
def test_growing_gives_the_bytes_of_a_first_run(unit_bytes: int, tmp_path: Path) -> None:
    """However a lake grew, and however it is cut into units, its files are those of one run
    over all of it."""
    whole = demo(tmp_path / "whole", 150)
    run(whole, unit_bytes=unit_bytes)
    grown = tmp_path / "grown"
    for part in (0.2, 0.21, 0.6, 1.0):
        for log in sorted((whole / "_kb").glob("*.jsonl")):
            data = log.read_bytes()
            put(grown, log.stem, data[: int(len(data) * part)])
        run(grown, unit_bytes=unit_bytes)
        check_accounted(grown)
    assert files(grown) == files(whole)
    assert _verified(grown)


def test_growing_keeps_each_rows_time(tmp_path: Path) -> None:
    """A row keeps the time of the run that read it first."""
    _grown(tmp_path)
    times = {
        line["provenance"]["line_offset"]: line["provenance"]["recorded_at"]
        for path, line in lines(tmp_path, "evidence")
        if "scrum" in path
    }
    assert Counter(times.values()) == {FIRST: 20, SECOND: 20, THIRD: 20}
    assert all(times[number] == FIRST for number in range(20))
    assert _verified(tmp_path)


@pytest.mark.parametrize(("workers", "unit_bytes"), [(1, 8 << 20), (2, 1500), (3, 900)])
def test_every_engine_gives_the_same_bytes(workers: int, unit_bytes: int, tmp_path: Path) -> None:
    """Processes, however many, write what one process writes: receipts and index included."""
    demo(tmp_path / "one", 80)
    shutil.copytree(tmp_path / "one", tmp_path / "many")
    run(tmp_path / "one")
    with LocalEngine(workers) as engine:
        run(tmp_path / "many", engine=engine, unit_bytes=unit_bytes)
    assert visible(tmp_path / "many") == visible(tmp_path / "one")
    check_clean(tmp_path / "many")


def test_stage_by_stage_gives_the_bytes_of_run(tmp_path: Path) -> None:
    """`evidence`, `score` and `export` one after the other make what `run` makes, also when the
    lake has grown in between."""
    demo(tmp_path / "run", 80)
    shutil.copytree(tmp_path / "run", tmp_path / "steps")
    for moment in (FIRST, SECOND):
        run(tmp_path / "run", moment)
        for stage in ("evidence", "score", "export"):
            arguments = [stage, str(tmp_path / "steps"), "--engine", "inline"]
            assert program([*arguments, "--recorded-at", moment]) == 0
        assert files(tmp_path / "steps") == files(tmp_path / "run")
        assert _verified(tmp_path / "steps")
        for lake in ("run", "steps"):
            for stem in ("scrum_reviews", "outcomes", "a_new_stem"):
                path = tmp_path / lake / "_kb" / f"{stem}.jsonl"
                add(path, b"\n" + rows(900, 910) + row(900) + b"\n")


def test_evidence_alone_keeps_up_with_a_lost_index(tmp_path: Path) -> None:
    """The index is derived: without it the evidence stage still finds repeats and goes on."""
    log = put(tmp_path, "scrum_reviews", rows(0, 9))
    store, engine = LocalStore(tmp_path), InlineEngine()
    pipeline.make_evidence(store, engine, FIRST)
    shutil.rmtree(tmp_path / ".stillhouse" / "index")
    add(log, row(3) + b"\n" + rows(9, 12))
    report = pipeline.make_evidence(store, engine, FIRST)
    assert report.read["duplicate"] == 1
    pipeline.score_evidence(store, engine, FIRST)
    check_accounted(tmp_path)


def test_scored_runs_never_outlive_their_evidence(tmp_path: Path) -> None:
    """When a rebuild drops a day, its scored runs go too, even those that wait for `score`."""
    log = put(tmp_path, "scrum_reviews", rows(0, 9))
    run(tmp_path)
    add(log, rows(9, 12))
    pipeline.make_evidence(LocalStore(tmp_path), InlineEngine(), FIRST)
    log.write_bytes(row(0, timestamp="2026-03-05T00:00:00Z") + b"\n")
    pipeline.make_evidence(LocalStore(tmp_path), InlineEngine(), FIRST)
    assert list(files(tmp_path, "scored-runs")) == []
    run(tmp_path)
    check_accounted(tmp_path)
    assert _verified(tmp_path)


def test_scores_add_up(tmp_path: Path) -> None:
    """The score stage's counts are those of its rows: repeats are not counted as scored."""
    put(tmp_path, "scrum_reviews", rows(0, 9) + rows(0, 4))
    report = run(tmp_path)
    assert report.read == {"evidence": 9, "duplicate": 4}
    assert sum(report.scored.values()) == 9
    (receipt,) = (tmp_path / "receipts" / "score").iterdir()
    notes = json.loads(receipt.read_text())["predicate"]["runDetails"]["byproducts"][0]
    assert sum(notes["annotations"]["counts"].values()) == 9


# ------------------------------------------------------- edited, deleted, replaced: as it was


def _edit_hidden(path: Path) -> None:
    """Another byte in a file whose size and time stay, as an editor may leave it."""
    status = path.stat()
    time.sleep(0.02)  # a file system's clock may tick that slowly
    with path.open("r+b") as handle:
        first = handle.read(1)
        handle.seek(0)
        handle.write(b"x" if first != b"x" else b"y")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


_SPOILS: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "edited in place": lambda path: path.write_bytes(
        path.read_bytes().replace(b"2026", b"2062") or b"{}\n"
    ),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "edited, its time put back": _edit_hidden,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"{}\n"),
    "replaced": lambda path: (
        path.with_suffix(".new").write_bytes(b"x") and path.with_suffix(".new").replace(path)
    ),
}

_PLACES = {
    "evidence": "evidence/2026/02/02/scrum_reviews.jsonl",
    "scored runs": "scored-runs/2026/02/02/scrum_reviews.jsonl",
    "index": ".stillhouse/index/2026/02/02/scrum_reviews.idx",
    "refused rows": "quarantine/evidence/scrum_reviews.jsonl",
    "sft": "distilled/sft/sft_export.jsonl",
    "preference": "distilled/preference/preference_export.jsonl",
    "unpaired": "distilled/preference/unpaired_export.jsonl",
    "rag": "distilled/rag/rag_export.jsonl",
    "what sft refused": "quarantine/sft/sft.jsonl",
    "card": "distilled/dataset/README.md",
    "state": ".stillhouse/state.json",
}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that grew in three runs; to be copied, not changed."""
    root = tmp_path_factory.mktemp("grown")
    log = _grown(root)
    add(log, row(70)[:30])  # a torn last line
    run(root, THIRD)
    return root


@pytest.mark.parametrize("spoil", _SPOILS)
@pytest.mark.parametrize("place", _PLACES)
def test_a_spoilt_file_is_made_anew(place: str, spoil: str, grown: Path, tmp_path: Path) -> None:
    """Whichever derived file is edited, deleted or replaced: one run later every byte is as it
    was, each row with its own time, and the receipts hold."""
    lake = tmp_path / "lake"
    shutil.copytree(grown, lake)
    before = files(lake, *DERIVED, ".stillhouse/index")
    _SPOILS[spoil](lake / _PLACES[place])
    run(lake, FAR)
    assert files(lake, *DERIVED, ".stillhouse/index") == before
    assert _verified(lake)
    after = stamps(lake)
    run(lake, FAR)
    assert stamps(lake) == after


@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize("change", ["mode", "link", "time"])
def test_a_file_that_is_only_handled_is_hashed_once(
    change: str, place: str, grown: Path, tmp_path: Path
) -> None:
    """Another mode, time or a hard link (a backup's) makes nothing anew, and the run after the
    next one knows the file by name again."""
    lake = tmp_path / "lake"
    shutil.copytree(grown, lake)
    run(lake, FAR)
    before = visible(lake)
    path = lake / _PLACES[place]
    time.sleep(0.02)  # a file system's clock may tick that slowly
    if change == "mode":
        path.chmod(0o600)
    elif change == "link":
        os.link(path, tmp_path / "backup")
    else:
        os.utime(path)
    run(lake, FAR)
    assert visible(lake) == before
    store = CountingStore(LocalStore(lake))
    run(store, FAR)
    assert "open" not in store.paths
    assert visible(lake) == before


def test_a_run_that_repeats_another_keeps_its_receipts(tmp_path: Path) -> None:
    """Runs at one `--recorded-at` may write the same files twice: each has receipts of its own,
    and the chain from every output to its raw rows holds."""
    put(tmp_path, "scrum_reviews", rows(0, 9) + b"not json\n")
    run(tmp_path)
    for _ in range(2):
        before = files(tmp_path, "receipts")
        shutil.rmtree(tmp_path / "quarantine")
        pipeline.make_evidence(LocalStore(tmp_path), InlineEngine(), FIRST)
        run(tmp_path)
        after = files(tmp_path, "receipts")
        assert {path: after.get(path) for path in before} == before
        assert _verified(tmp_path)


@pytest.mark.parametrize(
    "stages", [["evidence"], ["score"], ["evidence", "sft", "rag"], ["dataset"], None]
)
@pytest.mark.parametrize("spoil", ["lost", "edited", "not JSON"])
def test_receipts_are_made_up_for(
    stages: list[str] | None, spoil: str, grown: Path, tmp_path: Path
) -> None:
    """Receipts that are lost or damaged are said and made up for: `verify` is clean again, the
    derived files are as they were, and a lost state still gives each row its time."""
    lake = tmp_path / "lake"
    shutil.copytree(grown, lake)
    before = files(lake)
    spoilt = [
        path
        for path in (lake / "receipts").rglob("*.json")
        if stages is None or path.parent.name in stages
    ]
    assert spoilt
    for path in spoilt:
        if spoil == "lost":
            path.unlink()
        else:
            text = path.read_text()
            path.write_text(text.replace('"rows": 2', '"rows": 3') if spoil == "edited" else "{")
    assert not _verified(lake)
    notes = run(lake, FAR).notes
    said = "is gone" if spoil == "lost" else "is not as it was written"
    assert any(f"{said}" in note and "a new receipt names its files" in note for note in notes)
    assert _verified(lake)
    assert files(lake) == before
    assert not any("receipt" in note for note in run(lake, FAR).notes)
    shutil.rmtree(lake / ".stillhouse")
    run(lake, FAR)
    assert files(lake) == before
    assert _verified(lake)


def _rejected(root: Path) -> Path:
    """All rows turn: the dataset loses splits, and receipts of the second run say so."""
    log = put(root, "mode_experiments", b"")
    for moment, passed in ((FIRST, True), (SECOND, False)):
        said = {"task_class": "t", "response": "It keeps it.", "validators": {"a": passed}}
        lines = [row(number, prompt=f"p{number}", **said) + b"\n" for number in range(30)]
        log.write_bytes(b"".join(lines))
        run(root, moment)
    return root


def _moved_on(root: Path) -> Path:
    """The rows of one day become those of another; another log stays as it is."""
    put(root, "audits", rows(0, 3))
    log = put(root, "scrum_reviews", row(0) + b"\n")
    run(root)
    log.write_bytes(row(1) + b"\n")
    run(root, SECOND)
    return root


def _forgotten(root: Path) -> Path:
    """A log that went on purpose, with all that was made of it; another one stays."""
    put(root, "audits", rows(0, 3))
    log = put(root, "scrum_reviews", rows(0, 3))
    run(root)
    log.unlink()
    for top in ("evidence", "scored-runs", "quarantine"):
        for path in (root / top).rglob("scrum_reviews.jsonl"):
            path.unlink()
    run(root, SECOND)
    return root


@pytest.mark.parametrize("spoil", ["lost", "truncated"])
@pytest.mark.parametrize("stages", [["dataset"], ["evidence"], ["evidence", "score"], None])
@pytest.mark.parametrize("made", [_rejected, _moved_on, _forgotten])
@pytest.mark.parametrize("command", ["run", "evidence"])
def test_a_receipt_that_said_what_is_gone(
    command: str, made: Callable[[Path], Path], stages: list[str] | None, spoil: str, tmp_path: Path
) -> None:
    """When the receipt that let files go is lost or damaged, a new one says it: what older
    receipts tell of those files is taken back, and `verify` is clean."""
    lake = made(tmp_path)
    assert _verified(lake)
    for path in (lake / "receipts").rglob("20260402*.json"):
        if stages is None or path.parent.name in stages:
            path.unlink() if spoil == "lost" else path.write_bytes(path.read_bytes()[:-40])
    assert not _verified(lake)
    before = files(lake)
    if command == "evidence":
        pipeline.make_evidence(LocalStore(lake), InlineEngine(), THIRD)
    run(lake, THIRD)
    assert _verified(lake)
    assert files(lake) == before
    assert run(lake, FAR).notes == []
    shutil.rmtree(lake / ".stillhouse")
    run(lake, FAR)
    assert _verified(lake)
    assert files(lake) == before


@pytest.mark.parametrize("spoil", ["lost", "not JSON"])
def test_a_state_and_a_receipt_lost_together(spoil: str, grown: Path, tmp_path: Path) -> None:
    """Nobody can tell which receipt is missing when the state is lost too: all are made up for,
    also where it was the one that said what is gone."""
    moved_on = _moved_on(tmp_path / "moved on")
    for whole in (grown, moved_on):
        for number in range(len(list((whole / "receipts").rglob("*.json")))):
            lake = tmp_path / f"{whole.name} {number}"
            shutil.copytree(whole, lake)
            path = sorted((lake / "receipts").rglob("*.json"))[number]
            path.unlink() if spoil == "lost" else path.write_text("{")
            shutil.rmtree(lake / ".stillhouse")
            run(lake, FAR)
            check_accounted(lake)
            assert _verified(lake)


@pytest.mark.parametrize("command", ["evidence", "score", "export"])
def test_each_stage_makes_up_for_receipts(command: str, grown: Path, tmp_path: Path) -> None:
    """Whichever command comes first; after the stages that follow it `verify` is clean."""
    lake = tmp_path / "lake"
    shutil.copytree(grown, lake)
    shutil.rmtree(lake / "receipts")
    order = ["evidence", "score", "export"]
    for stage in order[order.index(command) :]:
        assert program([stage, str(lake), "--engine", "inline"]) == 0
    assert _verified(lake)


def test_a_torn_lines_refusal_is_made_anew(grown: Path, tmp_path: Path) -> None:
    """The refusal of an unfinished last line is a derived file like any other."""
    shutil.copytree(grown, tmp_path / "lake")
    before = files(tmp_path / "lake")
    (tmp_path / "lake" / "quarantine" / "torn" / "scrum_reviews.jsonl").unlink()
    run(tmp_path / "lake", FAR)
    assert files(tmp_path / "lake") == before


@pytest.mark.parametrize(
    "gone",
    [
        ("evidence",),
        ("scored-runs",),
        ("evidence", "scored-runs"),
        (".stillhouse",),
        (".stillhouse", "evidence", "scored-runs"),
        (".stillhouse", "evidence", "scored-runs", "distilled", "quarantine"),
    ],
)
def test_whole_folders_are_made_anew(gone: tuple[str, ...], grown: Path, tmp_path: Path) -> None:
    """Evidence and scored runs, the state, even all that is derived but for the receipts: each
    row comes back with the time of its first reading (SPEC L2)."""
    lake = tmp_path / "lake"
    shutil.copytree(grown, lake)
    before = files(lake)
    for folder in gone:
        shutil.rmtree(lake / folder)
    run(lake, FAR)
    assert files(lake) == before
    assert _verified(lake)
    check_clean(lake)


def test_a_lost_state_forgets_no_file(grown: Path, tmp_path: Path) -> None:
    """A day and a split that the logs no longer have go, though only the receipts knew them."""
    lake = tmp_path / "lake"
    shutil.copytree(grown, lake)
    shutil.rmtree(lake / ".stillhouse")
    put(lake, "scrum_reviews", rows(0, 1))
    run(lake, FIRST)
    (lake / "_kb" / "a_stem_of_nobody.jsonl").read_bytes()
    other = from_scratch(lake, tmp_path / "other")
    for path in (f for f in files(lake) if "a_stem_of_nobody" not in f):
        assert path in files(other), path
    check_accounted(lake)
    assert _verified(lake)


def test_another_lakes_state_is_not_believed(grown: Path, tmp_path: Path) -> None:
    """A state file of another lake names other hashes: everything is made anew."""
    other = tmp_path / "other"
    put(other, "scrum_reviews", rows(100, 140))
    run(other)
    lake = tmp_path / "lake"
    shutil.copytree(grown, lake)
    shutil.copy(lake / ".stillhouse" / "state.json", other / ".stillhouse" / "state.json")
    run(other)
    check_accounted(other)
    assert files(other, "evidence") == files(from_scratch(other, tmp_path / "x"), "evidence")


# ------------------------------------------------------------------------ raw logs change


def test_a_changed_log_is_noticed_and_read_anew(tmp_path: Path) -> None:
    """A byte that changes under the part that was read is noticed and said, whether or not the
    log grew; what was made of the old bytes goes."""
    for more in (b"", rows(60, 64)):
        lake = tmp_path / f"lake{len(more)}"
        log = put(lake, "scrum_reviews", rows(0, 60))
        run(lake)
        data = log.read_bytes()
        log.write_bytes(data.replace(b"module 7 ", b"module 8 ") + more)
        report = run(lake, FIRST)
        assert any("changed where it had been read" in note for note in report.notes)
        check_accounted(lake)
        assert files(lake) == files(from_scratch(lake, lake / "other"))
        assert _verified(lake)


def test_a_day_that_is_lost_and_then_cut_off(tmp_path: Path) -> None:
    """Files that were deleted before their rows went from the log are said to be gone."""
    log = put(tmp_path, "scrum_reviews", rows(0, 6))
    run(tmp_path)
    for top in ("evidence", "scored-runs"):
        shutil.rmtree(tmp_path / top / "2026" / "02" / "03")
    log.write_bytes(rows(0, 2))
    run(tmp_path, SECOND)
    check_accounted(tmp_path)
    assert _verified(tmp_path)


def test_a_log_rewritten_to_the_same_effect(tmp_path: Path) -> None:
    """A log whose bytes changed while nothing made of it did has a receipt of its new bytes."""
    log = put(tmp_path, "scrum_reviews", b"\n\n")
    run(tmp_path)
    log.write_bytes(b"\n")
    run(tmp_path, SECOND)
    assert _verified(tmp_path)


def test_an_edit_that_hides_is_noticed(tmp_path: Path) -> None:
    """An edit in place that keeps the size and puts the time of change back is still seen."""
    log = put(tmp_path, "scrum_reviews", rows(0, 6))
    run(tmp_path)
    status = log.stat()
    with log.open("r+b") as handle:
        handle.write(rows(0, 6).replace(b"module 1 ", b"module 9 "))
    os.utime(log, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert any("changed where it had been read" in note for note in run(tmp_path).notes)
    check_accounted(tmp_path)
    assert _verified(tmp_path)


def test_a_truncated_log_is_read_anew(tmp_path: Path) -> None:
    """A log that became shorter, even empty, takes its later rows and days with it."""
    log = put(tmp_path, "scrum_reviews", rows(0, 60))
    run(tmp_path)
    for end in (31, 1, 0):
        log.write_bytes(rows(0, end))
        assert any("changed" in note for note in run(tmp_path).notes)
        check_accounted(tmp_path)
        assert files(tmp_path) == files(from_scratch(tmp_path, tmp_path / f"other{end}"))
        assert _verified(tmp_path)


class _Rewriting:
    """An engine during whose work a log's owner rewrites the log."""

    name = "inline"
    workers = 1

    def __init__(self, log: Path, data: bytes, after: int) -> None:
        self.log, self.data, self.after = log, data, after

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        for item in items:
            if function.__name__ == "ingest":
                self.after -= 1
                if self.after < 0:
                    self.log.write_bytes(self.data)
            yield function(item)
        if function.__name__ == "ingest" and self.after == 0:
            self.log.write_bytes(self.data)

    def close(self) -> None:
        return None


@pytest.mark.parametrize("tail", [b"", b'{"ts": "torn'])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_log_that_is_rewritten_during_a_run(tail: bytes, after: int, tmp_path: Path) -> None:
    """Rewritten before its rows are read, between them or behind them: the run ends in an error
    that says so or the next one notices, and then all is as of the new bytes."""
    old, new = rows(0, 2), rows(0, 2).replace(b"attempt", b"attempT")
    log = put(tmp_path, "scrum_reviews", old + tail)
    engine = _Rewriting(log, new + tail, after)
    if after < 2:
        with pytest.raises(LakeChangedError, match="rewritten while it was read"):
            run(tmp_path, engine=engine, unit_bytes=len(old) // 2)
    else:
        run(tmp_path, engine=engine, unit_bytes=len(old) // 2)
    assert log.read_bytes() == new + tail
    run(tmp_path)
    check_accounted(tmp_path)
    assert files(tmp_path) == files(from_scratch(tmp_path, tmp_path / "other"))
    assert _verified(tmp_path)
    assert run(tmp_path).read == {}


@pytest.mark.parametrize("rest", [b"\n", b"\r\n", b"\r", b" \n", b"}\n", b"}", b"\rx\n"])
def test_a_last_line_that_goes_on_is_the_only_new_one(rest: bytes, tmp_path: Path) -> None:
    """A last line that was read before it had a line end keeps its time when it gets one, and
    is a new line when more of it comes; those before it keep their times. The receipts alone
    tell the same."""
    log = put(tmp_path, "scrum_reviews", rows(0, 3))
    run(tmp_path, FIRST)
    add(log, row(3))
    run(tmp_path, SECOND)
    add(log, rest)
    run(tmp_path, THIRD)
    if not rest.endswith(b"\n"):
        add(log, b"\n")
        run(tmp_path, THIRD)
    same = rest in (b"\n", b"\r\n", b"\r")
    times = Counter(line["provenance"]["recorded_at"] for _, line in lines(tmp_path, "evidence"))
    last = {SECOND: 1} if same else {THIRD: 1} if rest == b" \n" else {}
    assert times == {FIRST: 3, **last}
    check_accounted(tmp_path)
    before = files(tmp_path)
    shutil.rmtree(tmp_path / ".stillhouse")
    run(tmp_path, FAR)
    assert files(tmp_path) == before
    assert _verified(tmp_path)


def test_a_state_lost_while_a_log_is_away(grown: Path, tmp_path: Path) -> None:
    """What was known of a log that is away is known from the receipts: its rows are counted as
    before, and have their times when it comes back."""
    lake = tmp_path / "lake"
    shutil.copytree(grown, lake)
    before, told = files(lake), funnel(LocalStore(lake))
    log = lake / "_kb" / "scrum_reviews.jsonl"
    log.rename(tmp_path / "away")
    shutil.rmtree(lake / ".stillhouse")
    run(lake, FAR)
    assert files(lake) == before
    assert funnel(LocalStore(lake)) == told
    (tmp_path / "away").rename(log)
    run(lake, FAR)
    assert files(lake) == before
    assert _verified(lake)


def test_a_removed_log_is_said_and_its_rows_stay(tmp_path: Path) -> None:
    """Rows whose log is gone are not lost with it; each run says that they cannot be traced."""
    put(tmp_path, "audits", rows(0, 9))
    log = put(tmp_path, "scrum_reviews", rows(0, 9))
    run(tmp_path)
    before = files(tmp_path)
    log.unlink()
    for _ in range(2):
        notes = run(tmp_path, SECOND).notes
        assert any("_kb/scrum_reviews.jsonl: is gone" in note for note in notes)
        assert files(tmp_path) == before


def test_a_log_removed_on_purpose_is_forgotten(tmp_path: Path) -> None:
    """The note names what to delete; then the stem is forgotten, its exported rows go, and the
    receipts say so, also where it was the only one. A log of that name is read as a new one."""
    for others in (0, 9):
        lake = tmp_path / f"lake{others}"
        put(lake, "audits", rows(0, others))
        log = put(lake, "scrum_reviews", rows(0, 9) + b"not json\n" + row(9)[:20])
        if not others:
            (lake / "_kb" / "audits.jsonl").unlink()
        run(lake)
        log.unlink()
        (note,) = run(lake, SECOND).notes
        for pattern in (
            "evidence/**/scrum_reviews.jsonl",
            "scored-runs/**/scrum_reviews.jsonl",
            "quarantine/evidence/scrum_reviews.jsonl",
        ):
            assert pattern in note
            for path in lake.glob(pattern):
                path.unlink()
        (lake / "quarantine" / "torn" / "scrum_reviews.jsonl").unlink()
        assert any("forgotten" in note for note in run(lake, SECOND).notes)
        assert run(lake, SECOND).notes == []
        assert _verified(lake)
        assert not any("scrum_reviews" in str(line) for _, line in lines(lake, "distilled"))
        shutil.rmtree(lake / ".stillhouse")
        assert "scrum_reviews" not in str(run(lake, THIRD).notes)
        put(lake, "scrum_reviews", rows(3, 7))
        run(lake, THIRD)
        check_accounted(lake)
        assert _verified(lake)


def test_evidence_that_nobody_knows(tmp_path: Path) -> None:
    """Files of a day that the log no longer has go, though state and receipts that knew them are
    lost; where the log is not there either, they stay and a note says what helps."""
    log = put(tmp_path, "scrum_reviews", rows(0, 3))
    other = put(tmp_path, "audits", rows(0, 3))
    run(tmp_path)
    shutil.rmtree(tmp_path / "receipts")
    shutil.rmtree(tmp_path / ".stillhouse")
    log.write_bytes(rows(0, 1).replace(b"2026-02-01", b"2026-02-09"))
    other.unlink()
    notes = run(tmp_path).notes
    assert any("no raw row stands behind it; removed (6 such files)" in note for note in notes)
    assert any("audits" in note and "delete evidence/**/audits.jsonl" in note for note in notes)
    found = [path for path in files(tmp_path, "evidence", "scored-runs") if "scrum" in path]
    assert found == [f"{top}/2026/02/09/scrum_reviews.jsonl" for top in ("evidence", "scored-runs")]
    for top in ("evidence", "scored-runs", "quarantine/evidence"):
        for path in (tmp_path / top).rglob("audits.jsonl"):
            path.unlink()
    run(tmp_path)
    assert run(tmp_path).notes == []
    check_accounted(tmp_path)
    assert _verified(tmp_path)


def test_a_copied_lake_is_still_done(grown: Path, tmp_path: Path) -> None:
    """A copy with new inodes and times is known by its hashes: nothing is read anew."""
    copy = tmp_path / "copy"
    shutil.copytree(grown, copy, copy_function=shutil.copyfile)
    before = visible(copy)
    store = CountingStore(LocalStore(copy))
    report = run(store, FAR)
    assert visible(copy) == before
    assert report.notes == ["a_stem_of_nobody: no source of that name, so nothing of it trains"]
    assert store.bytes["read", "_kb"] <= 100  # the torn tail; the rest is hashed, not read
    before_again = stamps(copy)
    store = CountingStore(LocalStore(copy))
    run(store, FAR)
    assert stamps(copy) == before_again
    assert "open" not in store.paths, "hashed once is known by name again"


def test_another_version_reads_anew(tmp_path: Path) -> None:
    """Evidence that another version of the code made is made anew by this one, and says so."""
    _grown(tmp_path, 2)
    before = files(tmp_path)
    path = tmp_path / ".stillhouse" / "state.json"
    with _work(tmp_path, version="9.9.9") as work:
        distil.read_raw(work)
        work.commit()
        assert any("read by other code" in note for note in work.notes)
    assert b"9.9.9" in path.read_bytes()
    report = run(tmp_path, FAR)
    assert any("9.9.9" in note for note in report.notes)
    assert files(tmp_path) == before


@contextmanager
def _work(root: Path, version: str) -> Iterator[Work]:
    """A run of another version of the program."""
    store = LocalStore(root)
    with store.lock("a test"):
        yield Work(
            store, _state(root), InlineEngine(), recorded_at=SECOND, version=version, scratch=root
        )


def test_more_logs_than_a_process_may_open(tmp_path: Path) -> None:
    """The number of logs is not bounded by the number of files a process may have open."""
    for number in range(120):
        put(tmp_path, f"log_{number:03}", rows(number, number + 1))
    code = (
        "import resource, sys; from stillhouse.cli.app import run; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60)); sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "evidence", str(tmp_path), "--engine", "inline"]
    told = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert len(list(lines(tmp_path, "evidence"))) == 120


def test_a_thousand_runs_leave_no_thousand_folders(tmp_path: Path) -> None:
    """What staging needs is gone afterwards, folders too."""
    log = put(tmp_path, "scrum_reviews", rows(0, 3))
    for number in range(3, 6):
        run(tmp_path)
        add(log, rows(number, number + 1))
    inside = {path.name for path in (tmp_path / ".stillhouse").iterdir()}
    assert inside == {"lock", "state.json", "index"}


def test_a_lake_in_memory(tmp_path: Path) -> None:
    """The same job over a store that is no disk gives the same bytes."""
    demo(tmp_path, 80)
    store = MemoryStore()
    for path, data in files(tmp_path, "_kb").items():
        store.create(path, data)
    run(store)
    run(tmp_path)
    found = {entry.path: store.read(entry.path) for entry in store.list("")}
    assert {path: data for path, data in found.items() if path.split("/")[0] in DERIVED} == files(
        tmp_path
    )


# --------------------------------------------------------------------------------- locking


def test_a_second_writer_is_told_who_holds_the_lake(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of two runs at once the second ends in one line that names the first; readers go on."""
    put(tmp_path, "scrum_reviews", rows(0, 9))
    run(tmp_path)
    add(tmp_path / "_kb" / "scrum_reviews.jsonl", rows(9, 12))
    entered, leave = threading.Event(), threading.Event()

    def hold(stage: str, done: int, total: int | None, /) -> None:
        entered.set()
        assert leave.wait(60)

    first = threading.Thread(
        target=pipeline.run_lake,
        args=(LocalStore(tmp_path), InlineEngine(), ExportOptions(), SECOND, hold),
    )
    first.start()
    try:
        assert entered.wait(60)
        with pytest.raises(LakeLockedError, match="is being written by stillhouse"):
            run(tmp_path)
        assert issubclass(LakeLockedError, LakeError)
        capfd.readouterr()
        for command in ("run", "evidence", "score", "export"):
            assert program([command, str(tmp_path), "--engine", "inline"]) == 3
            told = capfd.readouterr().err.strip()
            assert "is being written by stillhouse" in told
            assert len(told.splitlines()) == 1
        wanted = next(line["id"] for _, line in lines(tmp_path, "distilled/sft"))
        for arguments in (["inspect"], ["verify"], ["trace", wanted]):
            assert program([arguments[0], str(tmp_path), *arguments[1:]]) == 0
    finally:
        leave.set()
        first.join(60)
    assert check_accounted(tmp_path) == 12
    assert run(tmp_path).read == {}


def test_two_programs_at_once(tmp_path: Path) -> None:
    """Several programs started together: whoever loses says so with exit code 3, and the lake
    is as one run leaves it."""
    demo(tmp_path, 80)
    command = [sys.executable, "-m", "stillhouse", "run", str(tmp_path), "--workers", "1"]
    command += ["--recorded-at", FIRST]
    started = [
        subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ended = [(process.communicate()[1], process.returncode) for process in started]
    assert {code for _, code in ended} <= {0, 3}
    assert 0 in {code for _, code in ended}
    for said, code in ended:
        assert code == 0 or "is being written by stillhouse" in said
        assert "Traceback" not in said
    run(tmp_path)
    assert visible(tmp_path) == visible(from_scratch(tmp_path, tmp_path / "other"))
