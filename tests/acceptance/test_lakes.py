"""Lakes of all kinds on which the gates hold, and what they say of lakes that are not finished."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from stillhouse.acceptance import REPORT_PATH, AcceptReport, accept, save
from stillhouse.acceptance.walk import cut
from stillhouse.engines import InlineEngine, start_engine
from stillhouse.errors import LakeError, LakeLockedError
from stillhouse.exports import ExportOptions
from stillhouse.interfaces import Store
from stillhouse.pipeline import export_lake, make_evidence, score_evidence
from stillhouse.receipts import verify_lake
from stillhouse.state import STATE_PATH, seal
from stillhouse.storage import LocalStore, MemoryStore
from tests import runs
from tests.acceptance.planting import by_files_alone, copy_of, judged
from tests.acceptance.test_gates import ROWS, offences, red, scrum
from tests.exports.lakes import LATER, NOW, distilled, lake, line_of, loaded, paths, put, run


@pytest.fixture(scope="module")
def sound() -> Store:
    """A lake that was run once."""
    return distilled(ROWS)


def _holds(store: Store, scratch: Path) -> None:
    report = by_files_alone(store, scratch)
    assert report.ok, {gate.number: offences(report, gate.number) for gate in report.gates}


@pytest.mark.parametrize(
    "options",
    [
        {"include_partial": True},
        {"include_review": True},
        {"on_secret": "drop"},
        {"max_pairs": 1},
        {"chunk_size": 40, "chunk_overlap": 10},
        {"tools_as": "objects"},
        {"tools_as": "openai", "llama_factory": True},
    ],
    ids=str,
)
def test_the_gates_hold_whatever_the_options(tmp_path: Path, options: dict[str, object]) -> None:
    """What an option lets out, and how rows look then, is as the gates expect it."""
    _holds(distilled(ROWS, **options), tmp_path)


def test_partial_samples_need_the_option_of_the_newest_receipt(tmp_path: Path) -> None:
    """An SFT export made anew with the option holds beside a dataset that was made without it."""
    store = distilled(ROWS)
    options = ExportOptions(include_partial=True)
    export_lake(store, InlineEngine(), ["sft"], options, LATER)
    assert any(
        row["category"] == "partially_accepted"
        for row in loaded(store, "distilled/sft/sft_export.jsonl")
    )
    _holds(store, tmp_path)


def test_the_gates_hold_on_an_example_lake(tmp_path: Path) -> None:
    """Every source, every category and all the dirt of real logs."""
    root = runs.demo(tmp_path / "lake", 300)
    runs.run(root)
    report = judged(LocalStore(root), tmp_path)
    assert report.ok, red(report)
    assert report.sequence == 2


def test_the_gates_hold_on_a_lake_that_grew(tmp_path: Path) -> None:
    """After several runs, a torn line among them that was finished later, with a lost state."""
    root = tmp_path / "lake"
    log = runs.put(root, "scrum_reviews", runs.rows(0, 20) + runs.row(20)[:-9])
    runs.run(root, runs.FIRST)
    _holds(LocalStore(root), tmp_path)
    runs.add(log, runs.row(20)[-9:] + b"\n" + runs.rows(21, 30))
    runs.run(root, runs.SECOND)
    _holds(LocalStore(root), tmp_path)
    shutil.rmtree(root / ".stillhouse")
    _holds(LocalStore(root), tmp_path)
    runs.add(log, runs.rows(30, 33))
    runs.run(root, runs.THIRD)
    _holds(LocalStore(root), tmp_path)


def test_a_log_that_grew_since_is_not_accounted(tmp_path: Path) -> None:
    """Also where it grew within its last line; the way out is a run."""
    root = tmp_path / "lake"
    log = runs.put(root, "scrum_reviews", runs.rows(0, 5) + runs.row(5)[:-9])
    runs.run(root)
    runs.add(log, runs.row(5)[-9:] + b"\n" + runs.row(6))
    report = by_files_alone(LocalStore(root), tmp_path)
    assert red(report) == [1]
    assert [one.split(" ")[0] for one in offences(report, 1)] == [
        "_kb/scrum_reviews.jsonl:6",
        "_kb/scrum_reviews.jsonl:7",
        "quarantine/torn/scrum_reviews.jsonl:1",
    ]
    assert "`stillhouse run`" in report.gates[0].detail


def test_a_lake_without_anything_accepted_holds(tmp_path: Path) -> None:
    """No sample is no bad sample; nor is a lake of blank lines and dirt."""
    _holds(distilled({"scrum_reviews": [scrum(0, 5), b"", b"no JSON"]}), tmp_path)
    _holds(distilled({"scrum_reviews": [b"", b"no JSON"]}), tmp_path)


def test_odd_lines_are_read_as_the_stages_read_them(tmp_path: Path) -> None:
    """Carriage returns, a byte order mark, blanks, repeats, an empty log, one huge line."""
    store = MemoryStore()
    row = line_of(scrum(0, 1))
    mark = b"\xef\xbb\xbf"
    put(store, "_kb/scrum_reviews.jsonl", mark + row + b"\r\n \r\n" + row + b"\r\n" + row + b"\r")
    put(store, "_kb/audits.jsonl", b"")
    put(store, "_kb/outcomes.jsonl", b'{"report": "' + b"a" * (17 << 20) + b'"}\n')
    run(store)
    _holds(store, tmp_path)


def test_a_stage_that_is_to_come_is_missed(tmp_path: Path) -> None:
    """Evidence alone is not scored; scored runs alone are exported nowhere, and hold."""
    store = lake({"scrum_reviews": [scrum(0, 1)]})
    make_evidence(store, InlineEngine(), NOW)
    assert red(by_files_alone(store, tmp_path)) == [4]
    score_evidence(store, InlineEngine(), NOW)
    _holds(store, tmp_path)


def test_an_export_that_is_behind_is_missed(tmp_path: Path) -> None:
    """Rows that came after it are in no export and refused by none."""
    store = lake({"scrum_reviews": [scrum(0, 1)]})
    run(store)
    put(store, "_kb/scrum_reviews.jsonl", b"".join(line_of(scrum(n, 1)) + b"\n" for n in (0, 1)))
    make_evidence(store, InlineEngine(), LATER)
    score_evidence(store, InlineEngine(), LATER)
    report = by_files_alone(store, tmp_path)
    assert red(report) == [1]
    assert "is neither in the sft export nor refused there" in offences(report, 1)[0]


def test_many_workers_say_the_same(tmp_path: Path) -> None:
    """Processes and one process give one report, also when facts go to disk."""
    root = runs.demo(tmp_path / "lake", 120)
    runs.run(root)
    with start_engine("local", 2) as engine:
        many = _judged_by(LocalStore(root), engine, tmp_path)
    assert many == judged(LocalStore(root), tmp_path)


def _judged_by(store: Store, engine: object, scratch: Path) -> AcceptReport:
    return accept(store, engine, recorded_at=NOW, version="a test", scratch=scratch)  # type: ignore[arg-type]


def test_a_report_is_kept_where_verify_minds_nothing(tmp_path: Path) -> None:
    """It is JSON with a version, the same for the same lake, and no file that a receipt misses."""
    store = distilled({"scrum_reviews": [scrum(0, 1)]})
    save(store, judged(store, tmp_path))
    first = store.read(REPORT_PATH)
    report = json.loads(first)
    assert (report["schema_version"], report["ok"]) == (1, True)
    assert {
        "number",
        "name",
        "claim",
        "verdict",
        "checked",
        "failures",
        "offences",
        "detail",
    } == set(report["gates"][0])
    save(store, judged(store, tmp_path))
    assert store.read(REPORT_PATH) == first
    assert verify_lake(store).ok
    assert run(store, LATER).is_news() is False


def test_a_lake_that_was_never_run_is_an_error(tmp_path: Path) -> None:
    """One line that says what to do first."""
    with pytest.raises(LakeError, match=r"nothing here has been distilled yet.*`stillhouse run"):
        judged(lake({"scrum_reviews": [scrum(0, 1)]}), tmp_path)


def test_a_lake_that_is_being_run_is_an_error(tmp_path: Path) -> None:
    """What stands there meanwhile is no lake to judge; the holder is named."""
    store = distilled({"scrum_reviews": [scrum(0, 1)]})
    with store.lock("somebody else"), pytest.raises(LakeLockedError, match="somebody else"):
        judged(store, tmp_path)


def test_an_interrupted_run_is_an_error(tmp_path: Path) -> None:
    """Files of two runs may stand there side by side: the next run puts that right."""
    store = distilled({"scrum_reviews": [scrum(0, 1)]})
    state = json.loads(store.read(STATE_PATH).partition(b"\n")[0])
    body = json.dumps({**state, "pending": ["evidence/x.jsonl"]}).encode()
    put(store, STATE_PATH, body + b"\n" + seal(body) + b"\n")
    with pytest.raises(LakeError, match=r"was interrupted.*`stillhouse run` finishes that"):
        judged(store, tmp_path)


def test_secrets_are_not_told(tmp_path: Path) -> None:
    """A run id that is a secret does not stand in the report."""
    secret = "ghp" + "_" + "x7Kq2Zr9Tn4Wb8Yd6Vm1Jc5Hs3Lf0Pg2QaEu"
    store = distilled({"scrum_reviews": [scrum(0, 1, run_id=secret)]})
    (path,) = (entry.path for entry in store.list("scored-runs"))
    put(store, path, b"")
    report = by_files_alone(store, tmp_path)
    assert red(report) == [4]
    assert "[REDACTED:" in offences(report, 4)[0]
    assert secret not in str(report)


@pytest.mark.parametrize("seed", range(4))
def test_no_edit_of_a_file_goes_by(sound: Store, tmp_path: Path, seed: int) -> None:
    """Whatever is done to the bytes of whatever file: some gate is red, and none fails."""
    chance = random.Random(seed)
    files = [path for path in paths(sound, "") if not path.startswith(".stillhouse")]
    files = [path for path in files if sound.read(path)]
    for _ in range(10):
        path = chance.choice(files)
        before = sound.read(path)
        data = bytearray(before)
        at = chance.randrange(len(data))
        end = at + chance.randrange(1, 300)
        match chance.randrange(5):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = chance.randbytes(1)
            case 3:
                del data[at:end]
            case 4:
                data[at:end] = data[at:end][::-1]
        if data == before:
            continue
        store = copy_of(sound)
        put(store, path, bytes(data))
        report = by_files_alone(store, tmp_path)
        assert red(report), f"{path}: {bytes(data)[at - 20 : at + 20]!r}"
        assert not report.ok


def test_files_are_cut_at_line_ends(tmp_path: Path) -> None:
    """Ranges cover a file, begin where the one before ends, and know their first line."""
    store = MemoryStore()
    data = b"".join(b"%d\n" % number * (1 + number % 3) for number in range(500)) + b"no end"
    put(store, "file", data)
    for most, size in ((1, None), (7, None), (1000, 64), (5, 20)):
        parts = list(cut(store, "file", len(data), most, size))
        assert b"".join(store.read("file", part.start, part.end) for part in parts) == data
        for part in parts:
            assert part.first_line == data.count(b"\n", 0, part.start)
            assert part.start == 0 or data[part.start - 1 : part.start] == b"\n"
            assert data.count(b"\n", part.start, part.end) <= most
    assert list(cut(store, "file", 0)) == []
