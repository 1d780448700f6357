"""The file of baselines: appended whole by many, read strictly, repaired without loss."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stillhouse.audit.baselines import (
    Repair,
    add_baseline,
    append_baseline,
    last_baseline,
    load_last_baseline,
    read_baselines,
    repair_baselines,
)
from stillhouse.errors import BaselineError
from stillhouse.lake import BASELINES, raw_files
from stillhouse.records import AuditBaseline, encode
from stillhouse.storage import LocalStore, MemoryStore
from tests.runs import WatchedStore, environment, put, rows, stamps

TIME = "2026-04-01T08:00:00Z"


def baseline(value: float = 1.0, **fields: Any) -> AuditBaseline:
    return AuditBaseline(schema_version=1, recorded_at=TIME, metrics={"a": value}, **fields)


def line(value: float) -> bytes:
    return encode(baseline(value)) + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a lake's baselines are; neither the file nor its folder is there yet."""
    return tmp_path / "lake" / BASELINES


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# -------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("data", [None, b"", b"\n", b" \n\r\n\n"])
def test_a_file_that_is_missing_or_blank_holds_none(path: Path, data: bytes | None) -> None:
    """There is no last baseline, and that is no error."""
    if data is not None:
        written(path, data)
    assert load_last_baseline(path) is None
    assert read_baselines(LocalStore(path.parents[1])) == []


@pytest.mark.parametrize("end", [b"\n", b"", b"\r\n", b"\n\n  \n", b"\n \t"])
def test_the_newest_entry_is_the_last_line(path: Path, end: bytes) -> None:
    """Blank lines are tolerated anywhere, and the last line may lack its end."""
    written(path, b"\n" + line(1) + b"\n \n" + line(2).rstrip() + end)
    assert load_last_baseline(path) == baseline(2)
    assert load_last_baseline(str(path)) == baseline(2)
    assert read_baselines(LocalStore(path.parents[1])) == [baseline(1), baseline(2)]


def test_a_baseline_of_the_first_shape_reads_today(path: Path) -> None:
    """Fields that came later have defaults, and those that are not known are ignored."""
    written(path, b'{"recorded_at": "%s", "metrics": {"a": 1}, "later": 1}' % TIME.encode())
    assert load_last_baseline(path) == AuditBaseline(recorded_at=TIME, metrics={"a": 1.0})


TORN = [
    b'{"schema_version":1,"rec',
    b"\0\0\0\0",
    b"[1]",
    b'{"a":1}{',
    b"\xff\xfe",
    b"7",
    b"[" * 99999,
]


@pytest.mark.parametrize("tail", TORN)
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_torn_last_line_is_named_and_left(path: Path, tail: bytes, end: bytes) -> None:
    """Reading says file, line and the command that mends it, and changes nothing."""
    written(path, line(1) + b"\n" + line(2) + tail + end)
    before = stamps(path.parent)
    for read in (load_last_baseline, lambda path: read_baselines(LocalStore(path.parents[1]))):
        with pytest.raises(
            BaselineError, match=rf"{BASELINES}:4: the last line is torn.*baselines repair .*lake`"
        ) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    assert stamps(path.parent) == before


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("NaN", "metrics.a: is not a finite number"),
        ("-Infinity", "metrics.a: is not a finite number"),
        ("1e999", "metrics.a: is not a finite number"),
        ('"3"', "metrics.a: expected a number, got a string"),
        ("true", "metrics.a: expected a number, got a boolean"),
        ("null", "metrics.a: expected a number, got null"),
        ("1" + "0" * 400, "metrics.a: number out of range"),
    ],
)
def test_a_metric_that_is_no_number_is_named(path: Path, metric: str, words: str) -> None:
    """Whether it is the last line or another, which one is said and what to do with it."""
    bad = f'{{"recorded_at": "{TIME}", "metrics": {{"a": {metric}}}}}\n'.encode()
    written(path, line(1) + bad)
    with pytest.raises(BaselineError, match=rf":2: {words}\. Mend .*sed -i 2d {path}\)"):
        load_last_baseline(path)
    written(path, bad + line(1))
    assert load_last_baseline(path) == baseline(1)
    store = LocalStore(path.parents[1])
    before = stamps(path.parent)
    for work in (read_baselines, repair_baselines):
        with pytest.raises(BaselineError, match=rf":1: {words}"):
            work(store)
    assert stamps(path.parent) == before


@pytest.mark.parametrize("bad", [b'{"recorded_at', b"[]", b"\0\0", b"{}", b'{"metrics": {}}'])
def test_a_corrupt_middle_is_never_skipped(path: Path, bad: bytes) -> None:
    """It was written whole once: a person must judge it, and repairing leaves it."""
    for tail in (line(2), b'{"torn'):
        written(path, line(1) + bad + b"\n" + tail)
        before = stamps(path.parent)
        store = LocalStore(path.parents[1])
        with pytest.raises(BaselineError, match=r":2: .*sed -i 2d"):
            repair_baselines(store)
        with pytest.raises(BaselineError, match=r":2: "):
            read_baselines(store)
        assert stamps(path.parent) == before


def test_the_way_out_of_a_corrupt_middle_works(path: Path) -> None:
    """The command that the error names does away with the line, also in an odd folder."""
    odd = path.parents[1].parent / "it's a lake" / BASELINES
    written(odd, line(1) + b"?\n" + line(2))
    store = LocalStore(odd.parents[1])
    with pytest.raises(BaselineError) as caught:
        read_baselines(store)
    command = str(caught.value).partition("delete it (")[2].removesuffix(").")
    subprocess.run(["sh", "-c", command], check=True)
    assert read_baselines(store) == [baseline(1), baseline(2)]


def test_a_newer_version_asks_for_an_upgrade(path: Path) -> None:
    """What a newer version meant is not guessed, wherever its line stands."""
    newer = b'{"schema_version": 2, "recorded_at": "%s", "metrics": {}}\n' % TIME.encode()
    written(path, line(1) + newer)
    with pytest.raises(BaselineError, match=r":2: .*newer stillhouse \(schema_version 2.*Upgrade"):
        load_last_baseline(path)
    written(path, newer + b'{"torn')
    with pytest.raises(BaselineError, match=r":1: .*Upgrade"):
        repair_baselines(LocalStore(path.parents[1]))


# ------------------------------------------------------------------------------ appending


def test_an_appended_baseline_is_one_line(path: Path) -> None:
    """The folder is made, each baseline is a line of its own, and reads back as it was."""
    rich = baseline(2.5, version="0.1", options={"sft": {"max_pairs": 4}}, harmful=0, gates=16)
    append_baseline(path, baseline(1))
    append_baseline(str(path), rich)
    assert path.read_bytes().count(b"\n") == 2
    assert [json.loads(text) for text in path.read_bytes().splitlines()][1]["harmful"] == 0
    assert load_last_baseline(path) == rich
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_a_file_by_any_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path need not lie in a lake, and may be relative."""
    monkeypatch.chdir(tmp_path)
    for name in ("figures.jsonl", "deep/down/figures.jsonl", "_kb/audit_baselines.jsonl"):
        append_baseline(name, baseline(1))
        assert load_last_baseline(name) == load_last_baseline(tmp_path / name) == baseline(1)
    (tmp_path / "figures.jsonl").write_bytes(b"{")
    with pytest.raises(BaselineError, match=r"figures\.jsonl:1: .*Keep a copy, and cut"):
        append_baseline("figures.jsonl", baseline(2))


def test_a_whole_line_without_its_end_gets_it_first(path: Path) -> None:
    """The next baseline does not grow onto it."""
    written(path, line(1).rstrip())
    append_baseline(path, baseline(2))
    assert path.read_bytes() == line(1) + line(2)


@pytest.mark.parametrize("tail", TORN)
def test_nothing_is_added_behind_a_torn_line(path: Path, tail: bytes) -> None:
    """It would swallow the new one."""
    written(path, line(1) + tail)
    before = stamps(path.parent)
    with pytest.raises(BaselineError, match=rf"{BASELINES}:2: .*torn.*baselines repair"):
        append_baseline(path, baseline(2))
    assert stamps(path.parent) == before


def test_an_invalid_baseline_is_not_written(path: Path) -> None:
    """What could not be read back is refused, every problem named, and no file is made."""
    bad = AuditBaseline(recorded_at="soon", metrics={"a": float("nan"), "b": float("inf")})
    with pytest.raises(BaselineError, match=r"recorded_at.*metrics\.a.*metrics\.b"):
        append_baseline(path, bad)
    assert not path.parent.exists()


# ---------------------------------------------------------------------------- many at once

APPENDER = """
import sys
from stillhouse.audit.baselines import append_baseline
from stillhouse.records import AuditBaseline
path, writer, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
time = "2026-04-01T08:00:00Z"
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    metrics = {"writer": float(writer), "number": float(number)}
    append_baseline(path, AuditBaseline(schema_version=1, recorded_at=time, metrics=metrics))
    print(number, flush=True)
"""


def start(path: str, writer: int, count: int) -> subprocess.Popen[bytes]:
    """A process that appends as soon as it is told to."""
    command = [sys.executable, "-c", APPENDER, path, str(writer), str(count)]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment())
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


def append_at_once(path: str, writers: int, count: int) -> None:
    children = [start(path, writer, count) for writer in range(writers)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
    for child in children:
        child.communicate()
        assert child.returncode == 0


def check_all(found: list[AuditBaseline], writers: int, count: int) -> None:
    """Every baseline of every writer once, each writer's in its own order."""
    seen = [(one.metrics["writer"], one.metrics["number"]) for one in found]
    assert len(seen) == writers * count
    for writer in range(writers):
        assert [number for who, number in seen if who == writer] == list(range(count))


def test_eight_processes_lose_no_line(path: Path) -> None:
    """Eight that append a thousand each at once leave eight thousand whole lines."""
    append_at_once(str(path), 8, 1000)
    assert path.read_bytes().count(b"\n") == 8000
    check_all(read_baselines(LocalStore(path.parents[1])), 8, 1000)


@pytest.mark.s3
def test_eight_writers_of_a_bucket_lose_no_line(
    s3_environment: str, s3_client: Any, new_prefix: str
) -> None:
    """An object store has no append: each that was too late reads again."""
    url = f"s3://lakes/{new_prefix}/{BASELINES}"
    append_at_once(url, 8, 5)
    last = load_last_baseline(url)
    assert last is not None
    from stillhouse.storage.objects import ObjectStore

    found = read_baselines(ObjectStore(f"s3://lakes/{new_prefix}"))
    check_all(found, 8, 5)
    assert found[-1] == last


@pytest.mark.crash
def test_killed_writers_leave_what_they_told_of(path: Path) -> None:
    """After kill -9 every acknowledged line is there, and at most the last one is torn."""
    children = [start(str(path), writer, 10_000) for writer in range(4)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"go\n")
        child.stdin.flush()
    deadline = time.monotonic() + 30
    while not path.exists() or path.read_bytes().count(b"\n") < 40:
        assert time.monotonic() < deadline, "nobody appends"
        time.sleep(0.01)
    told: Counter[float] = Counter()
    for writer, child in enumerate(children):
        child.send_signal(signal.SIGKILL)
        out, _ = child.communicate()
        told[writer] = out.count(b"\n")
    store = LocalStore(path.parents[1])
    repair_baselines(store)
    there = Counter(one.metrics["writer"] for one in read_baselines(store))
    assert all(told[writer] <= there[writer] <= told[writer] + 1 for writer in range(4))
    append_baseline(path, baseline(1))
    assert load_last_baseline(path) == baseline(1)


# ------------------------------------------------------------------------------ repairing


@pytest.mark.parametrize("tail", TORN)
@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n \n"])
@pytest.mark.parametrize("head", [b"", line(1), line(1) + b"\n" + line(2)])
def test_a_torn_tail_is_cut_off_and_kept(path: Path, head: bytes, tail: bytes, end: bytes) -> None:
    """What stood before it is as it was, its bytes lie beside, and all commands work again."""
    written(path, head + tail + end)
    store = LocalStore(path.parents[1])
    done = repair_baselines(store)
    assert done is not None
    assert (done.bytes, done.line) == (len(tail + end), head.count(b"\n") + 1)
    assert path.read_bytes() == head
    assert (path.parents[1] / done.kept_in).read_bytes() == tail + end
    assert repair_baselines(store) is None
    add_baseline(store, baseline(3))
    assert last_baseline(store) == baseline(3)


@pytest.mark.parametrize("data", [None, b"", b"\n", line(1), line(1).rstrip()])
def test_where_nothing_is_torn_nothing_is_changed(path: Path, data: bytes | None) -> None:
    """Repairing a sound file, or none, leaves it."""
    written(path, data or b"")
    if data is None:
        path.unlink()
    before = stamps(path.parent)
    assert repair_baselines(LocalStore(path.parents[1])) is None
    assert stamps(path.parent) == before


def test_a_repair_that_died_is_done_again(path: Path) -> None:
    """A crash between keeping and cutting leaves the file whole; the next repair ends it."""

    class Dying(WatchedStore):
        def seen(self, action: str, path: str, size: int = 0) -> None:
            if action == "truncate":
                raise ZeroDivisionError

    written(path, line(1) + b"{")
    store = LocalStore(path.parents[1])
    with pytest.raises(ZeroDivisionError):
        repair_baselines(Dying(store))
    assert path.read_bytes() == line(1) + b"{"
    done = repair_baselines(store)
    assert done is not None
    assert (path.read_bytes(), store.read(done.kept_in)) == (line(1), b"{")
    assert len(list(path.parent.iterdir())) == 2


def test_a_repair_cuts_nothing_that_came_meanwhile(path: Path) -> None:
    """A line that was added after the repair had looked stays."""

    class Late(WatchedStore):
        def seen(self, action: str, path: str, size: int = 0) -> None:
            if action == "truncate":
                written(where, line(1) + b"{}\n" + line(2))

    where = written(path, line(1) + b"{")
    with pytest.raises(BaselineError, match="changed while it was repaired"):
        repair_baselines(Late(LocalStore(path.parents[1])))
    assert path.read_bytes() == line(1) + b"{}\n" + line(2)


def test_what_was_cut_off_is_no_run_log(path: Path) -> None:
    """A run neither reads the fragment nor speaks of it."""
    lake = path.parents[1]
    written(path, line(1) + b"{")
    put(lake, "scrum_reviews", rows(0, 1))
    repair_baselines(LocalStore(lake))
    found, odd = raw_files(LocalStore(lake))
    assert ([raw.stem for raw in found], odd) == (["scrum_reviews"], [])


def test_other_stores_are_repaired_alike() -> None:
    """The same calls on a store that is no disk."""
    store = MemoryStore("memory://baselines")
    with store.writer(BASELINES) as sink:
        sink.write(line(1) + b'{"torn')
    with pytest.raises(BaselineError, match="torn"):
        add_baseline(store, baseline(2))
    done = repair_baselines(store)
    assert isinstance(done, Repair)
    assert (store.read(BASELINES), store.read(done.kept_in)) == (line(1), b'{"torn')
    add_baseline(store, baseline(2))
    assert [one.metrics["a"] for one in read_baselines(store)] == [1, 2]
