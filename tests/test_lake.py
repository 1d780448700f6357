"""Where a lake's files are, and how raw logs are cut into ranges and lines."""

from __future__ import annotations

import hashlib
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.errors import LakeChangedError, LakeError
from stillhouse.lake import (
    MAX_LINE_BYTES,
    ByteRange,
    evidence_path_for,
    partition_of,
    partition_path,
    raw_files,
    read_lines,
    stem_of,
)
from stillhouse.rawscan import RawScan, line_end_width
from stillhouse.storage import LocalStore, MemoryStore

LOG = "_kb/log.jsonl"

logs = st.lists(
    st.sampled_from([b"", b"\r", b" ", b"a", b"{}", b"word" * 5, b"\r\r", b"x\r", b"y" * 40]),
    max_size=30,
).map(b"\n".join)


def _store(data: bytes) -> MemoryStore:
    store = MemoryStore()
    store.create(LOG, data)
    return store


def _naive(data: bytes) -> list[tuple[int, bytes]]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return list(enumerate(line[:-1] if line.endswith(b"\r") else line for line in lines))


@given(
    data=logs,
    unit=st.integers(1, 200),
    most=st.integers(1, 12),
    stops=st.lists(st.integers(0, 400), max_size=4).map(sorted),
)
def test_ranges_cover_a_log_exactly(data: bytes, unit: int, most: int, stops: list[int]) -> None:
    """Ranges follow one another without a gap, hold whole lines, few enough, know the number of
    their first, and none holds a line that starts before a stop together with one after it."""
    scan = RawScan(_store(data), LOG, len(data))
    stops = [stop for stop in stops if stop <= len(data)]
    ranges = list(scan.ranges(tuple(stops), unit, most))
    end, line = 0, 0
    for part in ranges:
        piece = data[part.start : part.end]
        assert (part.start, part.first_line, part.check) == (end, line, crc32(piece))
        assert piece.endswith(b"\n")
        assert piece.count(b"\n") <= most
        end, line = part.end, line + piece.count(b"\n")
        starts = [part.start + at for at in range(len(piece)) if at == 0 or piece[at - 1] == 10]
        for stop in stops:
            if data[stop - 1 : stop] == b"\n":
                assert len({start < stop for start in starts}) == 1
    tail = data[end:]
    assert b"\n" not in tail
    assert (scan.end, scan.lines, scan.torn) == (end, line, bool(tail))
    digest = scan.digest()
    assert (digest.bytes, digest.rows) == (end, line)
    assert digest.sha256 == hashlib.sha256(data[:end]).hexdigest()
    if scan.torn:
        assert scan.take_torn() == ByteRange(end, len(data), line, crc32(tail))
        assert scan.digest().sha256 == hashlib.sha256(data).hexdigest()


@given(data=logs, more=logs, unit=st.integers(1, 100))
def test_a_scan_goes_on_where_another_ended(data: bytes, more: bytes, unit: int) -> None:
    """Skipping what was read and scanning the rest gives what one scan over all gives."""
    data += b"\n"
    first = RawScan(_store(data), LOG, len(data))
    list(first.ranges((), unit))
    done = first.digest()
    whole = data + more
    again = RawScan(_store(whole), LOG, len(whole))
    assert again.skip(done.bytes, done.rows or 0, done.sha256)
    rest = list(again.ranges((), unit))
    once = RawScan(_store(whole), LOG, len(whole))
    list(once.ranges((), unit))
    assert (again.end, again.lines, again.torn) == (once.end, once.lines, once.torn)
    assert again.digest() == once.digest()
    assert all(part.start >= len(data) for part in rest)
    spoilt = b"#" + whole[1:]
    if spoilt != whole:
        other = RawScan(_store(spoilt), LOG, len(spoilt))
        assert not other.skip(done.bytes, done.rows or 0, done.sha256)
    short = RawScan(_store(data[:-1]), LOG, len(data) - 1)
    assert not short.skip(done.bytes, done.rows or 0, done.sha256)


@given(data=logs, longest=st.integers(0, 25), at_once=st.integers(1, 60))
def test_lines_are_those_of_a_naive_reader(data: bytes, longest: int, at_once: int) -> None:
    """Whether read at once or block by block: the same numbers, bytes, sizes and hashes; what
    is too long is hashed without being kept."""
    part = ByteRange(0, len(data), 0)
    lines = list(read_lines(_store(data), LOG, part, longest, at_once))
    wanted = _naive(data)
    assert [line.number for line in lines] == [number for number, _ in wanted]
    for line, (_, text) in zip(lines, wanted, strict=True):
        assert line.size == len(text)
        if len(text) > longest:
            assert line.data is None
            assert line.digest == hashlib.sha256(text).hexdigest()
        else:
            assert line.data == text


@given(data=logs, unit=st.integers(1, 60), most=st.integers(1, 9))
def test_ranges_and_lines_together_lose_nothing(data: bytes, unit: int, most: int) -> None:
    """The lines of all ranges, one after the other, are the lines of the file."""
    store = _store(data)
    scan = RawScan(store, LOG, len(data))
    parts = list(scan.ranges((), unit, most))
    if scan.torn:
        parts.append(scan.take_torn())
    found = [(line.number, line.data) for part in parts for line in read_lines(store, LOG, part)]
    assert found == _naive(data)


def test_a_log_that_shrinks_while_it_is_read() -> None:
    """A file that is shorter than it was listed is an error that says so, not fewer rows."""
    store = _store(b"a\nb\n")
    with pytest.raises(LakeChangedError, match="became shorter"):
        list(RawScan(store, LOG, 9).ranges())
    for at_once in (100, 3):
        with pytest.raises(LakeChangedError, match="became shorter"):
            list(read_lines(store, LOG, ByteRange(0, 9, 0), at_once=at_once))


@pytest.mark.parametrize("at_once", [100, 3])
def test_a_log_that_is_rewritten_while_it_is_read(at_once: int) -> None:
    """Bytes that are not those that were hashed make no rows, but an error with a way out."""
    store = _store(b"aaa\nbbb\ncc")
    scan = RawScan(store, LOG, 10)
    parts = [*scan.ranges((), 4), scan.tail]
    assert [part.start for part in parts] == [0, 4, 8]
    for part in parts:
        list(read_lines(store, LOG, part, at_once=at_once))
    with store.writer(LOG) as sink:
        sink.write(b"aaA\nbbB\ncC")
    for part in parts:
        with pytest.raises(LakeChangedError, match="was rewritten while it was read"):
            list(read_lines(store, LOG, part, at_once=at_once))


def test_a_scan_hashes_what_it_cut() -> None:
    """The digest is of the bytes that passed, also when the log is rewritten behind them."""
    for tail in (b"", b"torn"):
        data = b"aaa\n" + tail
        store = _store(data)
        scan = RawScan(store, LOG, len(data))
        list(scan.ranges())
        with store.writer(LOG) as sink:
            sink.write(b"AAA\n" + tail)
        assert scan.digest().sha256 == hashlib.sha256(b"aaa\n").hexdigest()


@pytest.mark.parametrize("line", [b"abc", b"abc\r"])
@pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n", b"\r", b"\rx", b"x", b"x\n", b"\n\n"])
def test_what_finishes_a_line(line: bytes, rest: bytes) -> None:
    """What was written since is of the line end exactly when the line reads as it did."""
    whole = line + rest
    read = [
        next(read_lines(_store(data), LOG, ByteRange(0, len(data), 0))) for data in (line, whole)
    ]
    width = line_end_width(line[-1:], rest[:2])
    assert (width is not None) == (read[0] == read[1])
    scan = RawScan(_store(whole), LOG, len(whole))
    assert scan.skip(len(line), 1, hashlib.sha256(line).hexdigest())
    assert scan.skip_line_end() == (width is not None)
    assert scan.end == len(line) + (width or 0)
    assert scan.sha256 == hashlib.sha256(whole[: scan.end]).hexdigest()
    if width is None:
        assert scan.last_line_start() == 0


def test_paths_of_partitions() -> None:
    """A partition's path and its name are two spellings of one thing."""
    path = partition_path("evidence", "2026-01-31", "audits")
    assert path == "evidence/2026/01/31/audits.jsonl"
    assert partition_of(path) == ("2026-01-31", "audits")
    assert evidence_path_for(path.replace("evidence", "scored-runs")) == path
    for odd in ("evidence/audits.jsonl", "evidence/2026/1/31/a.jsonl", path + "x", "a/b/c/d/e"):
        assert partition_of(odd) is None
    assert stem_of("_kb/audits.jsonl") == stem_of("data/_kb/audits.jsonl") == "audits"
    assert evidence_path_for("a/scored-runs/x/scored-runs/y") == "a/evidence/x/scored-runs/y"


def test_only_run_logs_are_raw_files(tmp_path: Path) -> None:
    """Logs come sorted by stem; audit baselines and what was cut off them are none; the rest is
    named."""
    with pytest.raises(LakeError, match="no such lake"):
        raw_files(LocalStore(tmp_path / "nowhere"))
    with pytest.raises(LakeError, match="has no _kb folder"):
        raw_files(LocalStore(tmp_path))
    (tmp_path / "_kb" / "deeper").mkdir(parents=True)
    for name in ("b", "a", "audit_baselines", "deeper/c"):
        (tmp_path / "_kb" / f"{name}.jsonl").write_text("{}\n")
    for name in ("notes.md", ".jsonl", ".b.jsonl", "audit_baselines.jsonl.torn-0123456789ab"):
        (tmp_path / "_kb" / name).write_text("{}\n")
    found, odd = raw_files(LocalStore(tmp_path))
    assert [raw.stem for raw in found] == ["a", "b"]
    assert [note.partition(":")[0] for note in odd] == [
        "_kb/.b.jsonl",
        "_kb/.jsonl",
        "_kb/deeper/c.jsonl",
        "_kb/notes.md",
    ]
    assert MAX_LINE_BYTES > 1 << 20
