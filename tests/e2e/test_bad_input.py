"""Every kind of bad input that a lake can meet, as its user would meet it.

None may crash a run, lose a row or pass silently: each ends in a refusal that is counted and
says why, or in one line with a way out, and nothing half-written is left.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runs import (
    FIRST,
    SECOND,
    Command,
    Told,
    add,
    check_accounted,
    check_clean,
    environment,
    files,
    from_scratch,
    lines,
    put,
    refused,
    row,
    rows,
    run,
    visible,
)


def _distil(stillhouse: Command, root: Path, recorded_at: str = FIRST) -> Any:
    """Run the whole job with the program; its report."""
    told = stillhouse("run", root, "--engine", "inline", "--recorded-at", recorded_at, "--json")
    assert told.code == 0, told.err
    check_clean(root)
    return json.loads(told.out)


def _only_line(told: Told) -> str:
    """The one line an error ends in."""
    assert told.code == 3
    found = told.err.strip().splitlines()
    assert len(found) == 1, found
    assert found[0].startswith("error: ")
    return found[0]


# ------------------------------------------------------------------------------ bad rows

_GOOD = row(0)

_BAD_ROWS: dict[str, tuple[bytes, str, str]] = {
    "cut in the middle": (_GOOD[:40], "bad_json", "truncated"),
    "invalid UTF-8": (_GOOD[:-2] + b'\xff\xfe"}', "bad_encoding", "not UTF-8"),
    "Latin-1": ('{"ts": 1767225600, "review": "Straße"}'.encode("latin-1"), "bad_encoding", "0xdf"),
    "UTF-16": (_GOOD.decode().encode("utf-16-be"), "bad_encoding", "UTF-16"),
    "NUL bytes": (b"\0" * 512, "bad_json", "512 NUL bytes"),
    "a NUL within": (_GOOD[:20] + b"\0" + _GOOD[20:], "bad_json", "NUL"),
    "a BOM and nothing": (b"\xef\xbb\xbf", "bad_json", "empty"),
    "an array": (b"[1, 2, 3]", "not_an_object", "an array"),
    "a number": (b"17", "not_an_object", "a number"),
    "a string": (b'"words"', "not_an_object", "a string"),
    "null": (b"null", "not_an_object", "null"),
    "10,000 deep": (
        b'{"ts": 1767225600, "metadata": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
        "bad_json",
        "deep",
    ),
    "10,000 deep and cut": (b'{"ts": 1767225600, "m": ' + b"[" * 10_000, "bad_json", ""),
    "NaN": (b'{"ts": 1767225600, "cost_usd": NaN}', "bad_json", "NaN"),
    "Infinity": (b'{"ts": 1767225600, "cost_usd": -Infinity}', "bad_json", "Infinity"),
    "a number out of range": (b'{"ts": 1767225600, "cost_usd": 1e999}', "bad_json", "range"),
    "a repeated key": (
        b'{"ts": 1767225600, "accepted_on_attempt": 9, "accepted_on_attempt": 1}',
        "duplicate_key",
        "accepted_on_attempt",
    ),
    "a lone surrogate": (rb'{"ts": 1767225600, "review": "\ud800"}', "bad_json", "surrogate"),
    "no time": (b'{"review": "Fine."}', "missing_time", "no time"),
    "a time before time": (b'{"ts": "0000-00-00T00:00:00Z"}', "missing_time", "ts"),
    "the thirteenth month": (b'{"ts": "2026-13-45"}', "missing_time", "2026-13-45"),
    "a time past all time": (b'{"ts": 1e300}', "missing_time", "ts"),
    "a year of five digits": (b'{"ts": "12026-01-01T00:00:00Z"}', "missing_time", "12026"),
    "an offset past the end": (
        b'{"ts": "9999-12-31T23:59:59-14:00"}',
        "missing_time",
        "9999",
    ),
}


@pytest.mark.parametrize("kind", _BAD_ROWS)
def test_a_bad_row_is_refused_in_words(kind: str, tmp_path: Path, stillhouse: Command) -> None:
    """A bad row between good ones is quarantined with its reason, the good ones are evidence."""
    line, reason, words = _BAD_ROWS[kind]
    put(tmp_path, "scrum_reviews", row(1) + b"\n" + line + b"\n" + row(2) + b"\n")
    report = _distil(stillhouse, tmp_path)
    assert report["read"] == {"evidence": 2, reason: 1}
    check_accounted(tmp_path)
    (found,) = [line for _, line in lines(tmp_path, "quarantine") if line["stage"] == "evidence"]
    assert (found["reason"], found["line_offset"]) == (reason, 1)
    assert words in " ".join(found["detail"])


_WRONG = {
    "timestamp": [1],
    "run_id": 7,
    "task_id": {},
    "model": ["m"],
    "cost_usd": "much",
    "latency_ms": {},
    "metadata": "none",
    "human_override": 1,
    "matrix_corpora": {"a": 1},
    "matrix_hits": "three",
    "pathway_fingerprints": 3,
    "messages": "hello",
    "tools": "hammer",
    "prompt": 4,
    "file": 5,
    "accepted_on_attempt": "first",
    "review": {"said": "fine"},
}


def test_wrong_types_in_every_field_are_all_named(tmp_path: Path, stillhouse: Command) -> None:
    """A row that is wrong throughout is refused once, and every one of its fields is named."""
    put(tmp_path, "scrum_reviews", row(1) + b"\n" + json.dumps(_WRONG).encode() + b"\n")
    report = _distil(stillhouse, tmp_path)
    assert report["read"] == {"evidence": 1, "invalid": 1}
    (found,) = [line for _, line in lines(tmp_path, "quarantine") if line["stage"] == "evidence"]
    said = " ".join(found["detail"])
    assert [name for name in _WRONG if name not in said] == []


def test_all_bad_rows_at_once_on_every_source(tmp_path: Path, stillhouse: Command) -> None:
    """Whatever the source, every bad row is counted, the funnel shows it, nothing is lost."""
    bad = b"".join(line + b"\n" for line, _, _ in _BAD_ROWS.values())
    stems = ("scrum_reviews", "audits", "outcomes", "distilled_facts", "a_stem_of_nobody")
    for stem in stems:
        put(tmp_path, stem, rows(0, 3) + bad + rows(3, 6))
    _distil(stillhouse, tmp_path)
    assert check_accounted(tmp_path) == len(stems) * (6 + len(_BAD_ROWS))
    told = stillhouse("inspect", tmp_path, "--json")
    funnel = json.loads(told.out)
    assert [found["lines"] for found in funnel["sources"]] == [6 + len(_BAD_ROWS)] * len(stems)
    shown = {
        found["reason"]: found["rows"]
        for found in funnel["refused"]
        if found["stage"] == "evidence"
    }
    assert shown == dict(refused(tmp_path))
    assert stillhouse("verify", tmp_path).code == 0


def test_odd_rows_that_are_good(tmp_path: Path, stillhouse: Command) -> None:
    """A BOM, CRLF, blank lines, huge integers, odd but real times: evidence, nothing refused."""
    odd = [
        b"\xef\xbb\xbf" + row(0),
        b"",
        b"   \t ",
        b"\r",
        row(1, metadata={"big": 2**80, "nothing": None, "deep": [[[[1]]]]}),
        row(7, accepted_on_attempt=2**70),
        row(2, timestamp="1990-01-01T00:00:00Z"),
        row(3, timestamp="2099-12-31T23:59:59.999999Z"),
        row(4, timestamp=4102444799999),
        row(5, review="a\u2028b\u2029c\x85d\x0ce\u0000f"),
        row(6, file="..\\..\\/etc/passwd\n\r"),
    ]
    put(tmp_path, "scrum_reviews", b"\r\n".join(odd) + b"\r\n")
    report = _distil(stillhouse, tmp_path)
    assert report["read"] == {"evidence": 8, "blank": 3}
    assert check_accounted(tmp_path) == 8


def test_a_log_of_blank_lines_and_an_empty_one(tmp_path: Path, stillhouse: Command) -> None:
    """Files that say nothing are read, counted as nothing, and leave the others alone."""
    put(tmp_path, "audits", b"")
    put(tmp_path, "outcomes", b"\n\n  \n\t\r\n")
    put(tmp_path, "scrum_reviews", rows(0, 4))
    report = _distil(stillhouse, tmp_path)
    assert report["read"] == {"evidence": 4, "blank": 4}
    assert stillhouse("verify", tmp_path).code == 0
    told = stillhouse("run", tmp_path, "--engine", "inline")
    assert told.code == 0
    assert "nothing new" in told.err


# --------------------------------------------------------------------------- the last line


def test_a_truncated_last_line_is_refused_until_it_is_whole(
    tmp_path: Path, stillhouse: Command
) -> None:
    """A torn last line is a refusal that says so; when its writer finishes it, the refusal is
    taken back and the row appears, as if it had never been torn."""
    log = put(tmp_path, "scrum_reviews", rows(0, 3) + row(3)[:50])
    _distil(stillhouse, tmp_path)
    assert refused(tmp_path) == {"bad_json": 1}
    check_accounted(tmp_path)
    assert stillhouse("verify", tmp_path).code == 0
    add(log, row(3)[50:] + b"\n" + rows(4, 6))
    report = _distil(stillhouse, tmp_path)
    assert report["read"] == {"evidence": 3}
    assert refused(tmp_path) == {}
    assert check_accounted(tmp_path) == 6
    assert stillhouse("verify", tmp_path).code == 0
    assert files(tmp_path) == files(from_scratch(tmp_path, tmp_path / "other"))


@pytest.mark.parametrize("tail", [b"", b"\0\0\0", b"   ", row(3)[:50], row(3) + b"\n" + b"{"])
def test_a_torn_line_that_becomes_something_else(
    tail: bytes, tmp_path: Path, stillhouse: Command
) -> None:
    """Whatever a torn tail turns into (gone, NULs, blanks, more of it), counts and files are
    those of a first run over the same bytes."""
    log = put(tmp_path, "scrum_reviews", rows(0, 3) + row(3)[:20])
    _distil(stillhouse, tmp_path)
    log.write_bytes(rows(0, 3) + tail)
    _distil(stillhouse, tmp_path)
    check_accounted(tmp_path)
    assert stillhouse("verify", tmp_path).code == 0
    other = from_scratch(tmp_path, tmp_path / "other")
    assert files(tmp_path) == files(other)
    shown = [json.loads(stillhouse("inspect", each, "--json").out) for each in (tmp_path, other)]
    assert shown[0]["sources"] == shown[1]["sources"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_whole_last_object_without_a_line_end_is_a_row(
    end: bytes, tmp_path: Path, stillhouse: Command
) -> None:
    """It is evidence at once; its line end and more rows, when they come, add only those rows
    and number them right."""
    log = put(tmp_path, "scrum_reviews", rows(0, 3) + row(3))
    assert _distil(stillhouse, tmp_path)["read"] == {"evidence": 4}
    check_accounted(tmp_path)
    before = files(tmp_path, "evidence")
    add(log, end)
    assert _distil(stillhouse, tmp_path, SECOND)["read"].get("evidence", 0) == 0
    assert files(tmp_path, "evidence") == before
    add(log, rows(4, 7))
    assert _distil(stillhouse, tmp_path, SECOND)["read"] == {"evidence": 3}
    check_accounted(tmp_path)
    told = json.loads(stillhouse("inspect", tmp_path, "--json").out)
    assert told["sources"][0]["lines"] == told["sources"][0]["evidence"] == 7


@pytest.mark.parametrize("more", [b" ", b"x", b"\rx\n", b"\r", row(9) + b"\n"])
def test_a_whole_last_object_that_is_extended(
    more: bytes, tmp_path: Path, stillhouse: Command
) -> None:
    """More bytes on the last line make it another line: the old row goes, the new one is read."""
    log = put(tmp_path, "scrum_reviews", rows(0, 3) + row(3))
    _distil(stillhouse, tmp_path)
    add(log, more)
    _distil(stillhouse, tmp_path)
    check_accounted(tmp_path)
    assert files(tmp_path) == files(from_scratch(tmp_path, tmp_path / "other"))
    assert stillhouse("verify", tmp_path).code == 0


def test_rows_after_a_late_line_end_keep_their_own_time(
    tmp_path: Path, stillhouse: Command
) -> None:
    """A rebuild tells the row that was read without its line end from those that came after."""
    log = put(tmp_path, "scrum_reviews", rows(0, 3) + row(3))
    _distil(stillhouse, tmp_path, FIRST)
    add(log, b"\n" + rows(4, 7))
    _distil(stillhouse, tmp_path, SECOND)
    before = files(tmp_path)
    times = {
        line["provenance"]["line_offset"]: line["provenance"]["recorded_at"]
        for _, line in lines(tmp_path, "evidence")
    }
    assert times == {n: FIRST if n < 4 else SECOND for n in range(7)}
    for path in (tmp_path / "evidence").rglob("*.jsonl"):
        path.unlink()
    _distil(stillhouse, tmp_path, "2027-01-01T00:00:00Z")
    assert files(tmp_path) == before


# ------------------------------------------------------------------------------ huge lines

_MEASURE = """
import resource, sys
from stillhouse.cli.app import run
code = run(sys.argv[1:])
with open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
print(int(peak) // 1024)
sys.exit(code)
"""


def _peak(root: Path, command: str) -> int:
    """Peak memory in MB of a process that runs a command over a lake inline."""
    words = [sys.executable, "-c", _MEASURE, command, str(root), "--engine", "inline"]
    told = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "Traceback" not in told.stderr
    return int(told.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_line_of_200_mb_is_refused_in_little_memory(tmp_path: Path) -> None:
    """A huge line is quarantined by its size and hash without being held in memory, whether
    it ends or is torn."""
    small = tmp_path / "small"
    put(small, "scrum_reviews", rows(0, 6))
    usual = _peak(small, "run")
    huge = tmp_path / "huge"
    for stem, ends in (("scrum_reviews", True), ("audits", False)):
        log = put(huge, stem, rows(0, 3))
        with log.open("r+b") as handle:
            # A hole in the file: NUL bytes that cost no disk.
            handle.seek(200 << 20, os.SEEK_END)
            handle.write(b"}\n" + rows(3, 6) if ends else b"}")
    peak = _peak(huge, "run")
    assert refused(huge) == {"too_large": 2}
    sizes = [
        line["raw_bytes"] for _, line in lines(huge, "quarantine") if line["stage"] == "evidence"
    ]
    assert sizes == [(200 << 20) + 1] * 2
    assert sum(1 for _ in lines(huge, "evidence")) == 9
    assert peak < usual + 60, f"{usual} MB for small lines, {peak} MB for huge ones"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_short_lines_stay_in_bounded_memory(tmp_path: Path) -> None:
    """Lines of a few bytes become records of a thousand: units hold few enough of them."""
    small, many = tmp_path / "small", tmp_path / "many"
    put(small, "distilled_facts", rows(0, 6))
    put(many, "distilled_facts", b"".join(b'{"ts": 17%08d}\n' % n for n in range(80_000)))
    usual, peak = _peak(small, "evidence"), _peak(many, "evidence")
    assert peak < usual + 60, f"{usual} MB for six rows, {peak} MB for many"


# ---------------------------------------------------------------------- files and folders


# Rights are dropped after the imports: nobody may not be allowed to read this checkout.
_AS_NOBODY = """
import contextlib, io, os, sys
import stillhouse.cli.app
with contextlib.redirect_stderr(io.StringIO()):
    stillhouse.cli.app.run([sys.argv[1], os.devnull, *sys.argv[3:]])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(stillhouse.cli.app.run(sys.argv[1:]))
"""


@pytest.fixture
def nobody(tmp_path: Path) -> Command:
    """The program as a user without rights; root may read anything."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become nobody")
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o711)

    def call(*arguments: object) -> Told:
        told = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, *map(str, arguments)],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in told.stderr, told.stderr
        return Told(told.returncode, told.stdout, told.stderr)

    return call


def test_an_unreadable_log_is_one_line_and_changes_nothing(tmp_path: Path, nobody: Command) -> None:
    """A log that may not be read stops the run, by name, before anything is written."""
    lake = tmp_path / "lake"
    put(lake, "audits", rows(0, 3))
    locked = put(lake, "scrum_reviews", rows(0, 3))
    locked.chmod(0)
    lake.chmod(0o777)
    told = nobody("run", lake, "--engine", "inline")
    line = _only_line(told)
    assert "_kb/scrum_reviews.jsonl" in line
    assert "permission denied" in line
    assert files(lake) == {}
    locked.chmod(0o644)
    assert nobody("run", lake, "--engine", "inline").code == 0
    assert check_accounted(lake) == 6


def test_a_lake_that_may_not_be_written_can_still_be_looked_at(
    tmp_path: Path, nobody: Command
) -> None:
    """A read-only lake: run says so in one line; inspect, trace and verify work."""
    lake = tmp_path / "lake"
    put(lake, "scrum_reviews", rows(0, 9))
    run(lake)
    add(lake / "_kb" / "scrum_reviews.jsonl", rows(9, 12))
    before = visible(lake)
    for path in (lake, *lake.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    line = _only_line(nobody("run", lake, "--engine", "inline"))
    assert "permission denied" in line
    assert visible(lake) == before
    assert nobody("inspect", lake).code == 0
    assert nobody("verify", lake).code == 0
    wanted = next(line["id"] for _, line in lines(lake, "distilled/sft"))
    assert nobody("trace", lake, wanted).code == 0


def test_what_stands_among_the_logs_and_is_none(tmp_path: Path, stillhouse: Command) -> None:
    """A folder named x.jsonl, links out of the lake, broken links, pipes and strange names are
    named and left alone; the logs beside them are read."""
    lake = tmp_path / "lake"
    put(lake, "scrum_reviews", rows(0, 4))
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(rows(50, 60))
    logs = lake / "_kb"
    (logs / "x.jsonl").mkdir()
    (logs / "x.jsonl" / "inner.jsonl").write_bytes(rows(0, 2))
    (logs / "leaves.jsonl").symlink_to(outside)
    (logs / "broken.jsonl").symlink_to(tmp_path / "nothing")
    (logs / "circle.jsonl").symlink_to("circle.jsonl")
    (logs / "notes.txt").write_text("not a log")
    os.mkfifo(logs / "pipe.jsonl")
    with open(os.fsencode(logs) + b"/\xff\xfe.jsonl", "wb") as odd:
        odd.write(rows(0, 2))
    (logs / "back\\slash.jsonl").write_bytes(rows(0, 2))
    told = stillhouse("run", lake, "--engine", "inline", "--json")
    assert told.code == 0
    assert json.loads(told.out)["rows"] == 4
    for name in ("x.jsonl", "leaves", "broken", "circle", "notes.txt", "pipe", "slash"):
        assert name in told.err, name
    assert "\\xff\\xfe.jsonl" in told.err
    check_clean(lake)


def test_a_link_within_the_lake_is_read_once_under_its_own_name(
    tmp_path: Path, stillhouse: Command
) -> None:
    """A log that is a link to another file of the lake is a log of its own."""
    put(tmp_path, "scrum_reviews", rows(0, 4))
    (tmp_path / "_kb" / "audits.jsonl").symlink_to("scrum_reviews.jsonl")
    _distil(stillhouse, tmp_path)
    assert check_accounted(tmp_path) == 8


def test_a_log_folder_that_leaves_the_lake(tmp_path: Path, stillhouse: Command) -> None:
    """A lake whose _kb is a link to somewhere else is refused in one line."""
    put(tmp_path / "elsewhere", "scrum_reviews", rows(0, 4))
    lake = tmp_path / "lake"
    lake.mkdir()
    (lake / "_kb").symlink_to(tmp_path / "elsewhere" / "_kb")
    line = _only_line(stillhouse("run", lake, "--engine", "inline"))
    assert "symbolic link" in line
    assert files(lake) == {}


def test_an_output_that_would_leave_the_lake(tmp_path: Path, stillhouse: Command) -> None:
    """Nothing is written through a link out of the lake."""
    lake = tmp_path / "lake"
    put(lake, "scrum_reviews", rows(0, 4))
    target = tmp_path / "target"
    target.mkdir()
    (lake / "evidence").symlink_to(target)
    line = _only_line(stillhouse("run", lake, "--engine", "inline"))
    assert "symbolic link" in line
    assert list(target.rglob("*")) == []


def test_a_folder_where_a_file_must_go(tmp_path: Path, stillhouse: Command) -> None:
    """A folder in the way of an output is said in one line; with it gone, the run completes."""
    put(tmp_path, "scrum_reviews", rows(0, 4))
    in_the_way = tmp_path / "distilled" / "sft" / "sft_export.jsonl"
    (in_the_way / "inner").mkdir(parents=True)
    line = _only_line(stillhouse("run", tmp_path, "--engine", "inline"))
    assert "sft_export.jsonl" in line
    (in_the_way / "inner").rmdir()
    in_the_way.rmdir()
    _distil(stillhouse, tmp_path)
    check_accounted(tmp_path)
    assert stillhouse("verify", tmp_path).code == 0


@pytest.mark.parametrize("command", ["run", "evidence", "score", "export", "inspect", "verify"])
def test_a_lake_that_does_not_exist(command: str, tmp_path: Path, stillhouse: Command) -> None:
    """Every command says so in one line with a way out, and makes nothing."""
    line = _only_line(stillhouse(command, tmp_path / "nowhere"))
    assert "no such lake" in line
    assert "stillhouse demo" in line
    assert not (tmp_path / "nowhere").exists()


def test_a_file_given_as_the_lake(tmp_path: Path, stillhouse: Command) -> None:
    """A path to a log instead of its lake is said in one line."""
    path = put(tmp_path, "scrum_reviews", rows(0, 4))
    assert "is a file, not a lake" in _only_line(stillhouse("run", path))


def test_a_lake_without_logs(tmp_path: Path, stillhouse: Command) -> None:
    """Without _kb it is an error with a way out; with an empty _kb the data falls short."""
    line = _only_line(stillhouse("run", tmp_path, "--engine", "inline"))
    assert "_kb" in line
    assert "stillhouse demo" in line
    (tmp_path / "_kb").mkdir()
    for command in ("run", "evidence", "score", "export"):
        told = stillhouse(command, tmp_path, "--engine", "inline")
        assert told.code == 1, command
    assert stillhouse("inspect", tmp_path).code == 1
    check_clean(tmp_path)


# -------------------------------------------------------------------------- a full disk


def _limited(megabytes: float, *arguments: object) -> Told:
    """The program in a process whose files may not grow past a size."""
    size = int(megabytes * (1 << 20))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    code = (
        "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from stillhouse.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert "Traceback" not in told.stderr, told.stderr
    return Told(told.returncode, told.stdout, told.stderr)


@pytest.mark.parametrize("workers", [None, 2])
def test_files_that_cannot_grow(workers: int | None, tmp_path: Path) -> None:
    """When writing fails the run ends in one line, what was visible stays as it was, and
    running again with room completes it."""
    for stem in ("scrum_reviews", "audits"):
        put(tmp_path, stem, rows(0, 60))
    run(tmp_path)
    before = visible(tmp_path)
    for stem in ("scrum_reviews", "audits"):
        add(tmp_path / "_kb" / f"{stem}.jsonl", rows(60, 400))
    engine = ["--engine", "inline"] if workers is None else ["--workers", workers]
    line = _only_line(_limited(0.1, "run", tmp_path, *engine, "--recorded-at", FIRST))
    assert "larger than the system allows" in line
    assert visible(tmp_path) == before
    run(tmp_path)
    check_clean(tmp_path)
    check_accounted(tmp_path)
    assert files(tmp_path) == files(from_scratch(tmp_path, tmp_path / "other"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where this machine allows to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("spare", range(0, 1200, 200))
def test_a_full_disk(spare: int, small_disk: Path, tmp_path: Path, stillhouse: Command) -> None:
    """However little room there is, a full disk is one line, nothing half-written is left, and
    with room again the same command completes the job."""
    put(small_disk, "scrum_reviews", rows(0, 300))
    filler = small_disk / "filler"
    with filler.open("wb") as handle:
        room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        handle.write(b"x" * (room - (spare << 10)))
    told = stillhouse("run", small_disk, "--engine", "inline", "--recorded-at", FIRST)
    if told.code:
        assert "the disk is full" in _only_line(told)
    for folder in ("evidence", "scored-runs", "distilled", "quarantine"):
        list(lines(small_disk, folder))
    filler.unlink()
    run(small_disk)
    check_clean(small_disk)
    check_accounted(small_disk)
    assert visible(small_disk) == visible(from_scratch(small_disk, tmp_path / "other"))


# ------------------------------------------------------------------------------ odd wishes


@pytest.mark.parametrize(
    "moment", ["yesterday", "2026-13-01", "0001-01-01T00:00:00+14:00", "", "\udcff"]
)
def test_a_recorded_at_that_is_no_time(moment: str, tmp_path: Path, stillhouse: Command) -> None:
    """A wrong option is a usage error in words, not a traceback."""
    put(tmp_path, "scrum_reviews", rows(0, 4))
    told = stillhouse("run", tmp_path, "--engine", "inline", "--recorded-at", moment)
    assert told.code == 2
    assert files(tmp_path) == {}


@pytest.mark.parametrize("wanted", ["", "sft-nothing", "\udcff\n", '"', "x" * 5000])
def test_an_id_that_no_row_has(wanted: str, tmp_path: Path, stillhouse: Command) -> None:
    """Tracing what is not there is a usage error in words."""
    put(tmp_path, "scrum_reviews", rows(0, 4))
    run(tmp_path)
    assert stillhouse("trace", tmp_path, wanted).code == 2


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe\n", b"{}\n", b"[" * 9999])
def test_looking_at_files_that_were_spoilt(
    junk: bytes, tmp_path: Path, stillhouse: Command
) -> None:
    """Looking at a lake whose files were overwritten with junk never ends in a traceback, and
    a run mends it."""
    put(tmp_path, "scrum_reviews", rows(0, 12) + b"junk\n")
    run(tmp_path)
    before = files(tmp_path)
    wanted = next(line["id"] for _, line in lines(tmp_path, "distilled/sft"))
    for name in [*before, ".stillhouse/state.json"]:
        good = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(junk)
        for command in (["inspect"], ["verify"], ["trace", wanted]):
            assert stillhouse(command[0], tmp_path, *command[1:]).code in (0, 1, 2, 3)
        (tmp_path / name).write_bytes(good)
    for name in before:
        (tmp_path / name).write_bytes(junk)
    _distil(stillhouse, tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("handed", ["inspect", "verify"])
def test_a_newer_lake_is_not_touched(handed: str, tmp_path: Path, stillhouse: Command) -> None:
    """A lake that a newer program wrote is said to be so, and left as it is."""
    from stillhouse.state import STATE_PATH, seal

    put(tmp_path, "scrum_reviews", rows(0, 4))
    run(tmp_path)
    newer = b'{"version":99,"raw":"told in another way"}'
    (tmp_path / STATE_PATH).write_bytes(newer + b"\n" + seal(newer) + b"\n")
    before = visible(tmp_path)
    line = _only_line(stillhouse("run", tmp_path, "--engine", "inline"))
    assert "newer Stillhouse" in line
    assert visible(tmp_path) == before
    assert stillhouse(handed, tmp_path).code in (0, 3)


def test_an_export_before_any_run_says_what_to_do(tmp_path: Path, stillhouse: Command) -> None:
    """It leaves no empty files and no receipt that would narrow what later audits make."""
    put(tmp_path, "scrum_reviews", rows(0, 3))
    told = stillhouse("export", tmp_path, "sft", "--engine", "inline")
    assert (told.code, told.out) == (3, "")
    assert "nothing has been read here yet" in told.line
    assert "stillhouse run" in told.line
    assert not (tmp_path / "distilled").exists()
    assert not (tmp_path / "receipts").exists()
