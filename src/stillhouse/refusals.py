"""Rows that the evidence stage refuses: repeats found over a whole stem, and the
quarantine files, in raw order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from stillhouse.index import ROW, Rows, read_index
from stillhouse.ingest import IngestResult, Piece
from stillhouse.lake import EVIDENCE, QUARANTINE, Span, partition_path
from stillhouse.receipts import FileDigest
from stillhouse.records import SCHEMA_VERSION, QuarantineRow, encode
from stillhouse.spill import ROWS_PER_BUCKET, U64, Buckets, Spill, group_starts
from stillhouse.state import FileState
from stillhouse.work import Work

# ---------------------------------------------------------------------------- duplicates

_SEEN: Final = np.dtype([("hi", "<u8"), ("lo", "<u8"), ("line", "<u8"), ("place", "<u8")])
_REPEAT: Final = np.dtype([("place", "<u8"), ("kept", "<u8")])

_BEFORE: Final = np.iinfo(np.uint64).max
"""The place of rows that earlier runs wrote: they stay, whatever repeats them."""

_INDEX_BLOCK: Final = ROW.itemsize << 16


class Drops:
    """Rows of new pieces that repeat an earlier raw line: 16 bytes each, in order, on disk
    when they are many. A row's place is its number in all pieces, one after the other."""

    def __init__(self, starts: U64, rows: Rows | Path) -> None:
        """``starts`` are the places where each piece starts, and where the last one ends;
        ``rows`` are sorted by place."""
        self._starts = starts
        self._rows = rows
        self._edges = np.zeros(len(starts), dtype=np.int64)
        for block in self._blocks():
            self._edges += np.searchsorted(block["place"], starts)
        self.total = int(self._edges[-1])

    def count(self, piece: int) -> int:
        """How many rows of a piece go."""
        return int(self._edges[piece + 1] - self._edges[piece])

    def of(self, piece: int) -> Rows:
        """The rows of a piece that go (``place``: their number in it), and the line numbers of
        those they repeat (``kept``)."""
        first, end = int(self._edges[piece]), int(self._edges[piece + 1])
        found = self._read(first, end - first).copy()
        found["place"] -= self._starts[piece]
        return found

    def _blocks(self) -> Iterator[Rows]:
        if not isinstance(self._rows, Path):
            yield self._rows
            return
        step, first = 1 << 16, 0
        while len(block := self._read(first, step)):
            yield block
            first += step

    def _read(self, first: int, count: int) -> Rows:
        if not isinstance(self._rows, Path):
            return self._rows[first : first + count]
        offset = first * _REPEAT.itemsize
        return np.fromfile(self._rows, dtype=_REPEAT, count=count, offset=offset)


def find_repeats(
    work: Work,
    stem: str,
    incremental: bool,
    pieces: list[Piece],
    rows_per_bucket: int = ROWS_PER_BUCKET,
) -> Drops:
    """Rows that repeat an earlier raw line byte for byte, in bounded memory.

    Equal lines have equal times, so a repeat is always in the same partition: only the
    partitions that are touched have to be looked at.
    """
    sizes = [piece.index.size // ROW.itemsize for piece in pieces]
    starts = np.zeros(len(pieces) + 1, dtype=np.uint64)
    np.cumsum(sizes, out=starts[1:])
    # What stands already comes first: of equal lines, the one that came first stays.
    spans: list[tuple[int | None, Span]] = []
    for day in sorted({piece.day for piece in pieces}) if incremental else ():
        part = work.state.partitions.get(partition_path(EVIDENCE, day, stem))
        if part is not None and part.index is not None:
            spans.append((None, Span(part.index.path, 0, part.index.bytes, part.index.rows)))
    spans += [(int(starts[number]), piece.index) for number, piece in enumerate(pieces)]
    total = sum(span.size // ROW.itemsize for _, span in spans)
    spill = Spill(work.scratch, total, rows_per_bucket)
    seen = spill.buckets(f"seen-{work.next_number()}", _SEEN)
    for start, span in spans:
        for rows in _seen_rows(work, start, span):
            seen.add(rows["hi"], rows)
    repeats = spill.buckets(f"repeats-{work.next_number()}", _REPEAT)
    shift = np.uint64(64 - max(1, sum(sizes).bit_length()))
    for bucket in seen.in_blocks():
        for found in _repeats_of(bucket):
            # Dealt by place, and not by a hash, they come out in order.
            repeats.add(found["place"] << shift, found)
    return _sorted_drops(work, starts, repeats)


def _seen_rows(work: Work, start: int | None, span: Span) -> Iterator[Rows]:
    for first in range(0, span.size, _INDEX_BLOCK):
        end = min(first + _INDEX_BLOCK, span.size)
        rows = read_index(work.store.read(span.path, span.start + first, span.start + end))
        seen = np.empty(len(rows), dtype=_SEEN)
        both = np.ascontiguousarray(rows["raw_sig"]).view("<u8").reshape(-1, 4)
        seen["hi"], seen["lo"], seen["line"] = both[:, 0], both[:, 1], rows["line_offset"]
        seen["place"] = _BEFORE
        if start is not None:
            place = start + first // ROW.itemsize
            seen["place"] = np.arange(place, place + len(rows), dtype=np.uint64)
        yield seen


def _repeats_of(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """The repeats among rows that come in the order of their lines. Held are the first of each
    line alone: one line that comes a million times must not need a million places."""
    firsts = np.empty(0, dtype=_SEEN)
    for block in blocks:
        both = np.concatenate([firsts, block])
        both = both[np.lexsort((both["lo"], both["hi"]))]
        heads = group_starts(both["hi"], both["lo"])
        firsts = both[heads]
        if len(heads) == len(both):
            continue
        kept = np.repeat(firsts["line"], np.diff(np.append(heads, len(both))))
        again = np.ones(len(both), dtype=bool)
        again[heads] = False
        again &= both["place"] != _BEFORE
        found = np.empty(int(again.sum()), dtype=_REPEAT)
        found["place"], found["kept"] = both["place"][again], kept[again]
        yield found


def _sorted_drops(work: Work, starts: U64, repeats: Buckets) -> Drops:
    ordered = (np.sort(bucket, order="place") for bucket in repeats)
    if not repeats.spilled:
        return Drops(starts, next(ordered, np.empty(0, dtype=_REPEAT)))
    path = work.scratch / f"drops-{work.next_number()}"
    with path.open("wb") as handle:
        for bucket in ordered:
            handle.write(bucket.tobytes())
    return Drops(starts, path)


# ------------------------------------------------------------------------------ refusals


def quarantine_path(stem: str) -> str:
    """Where a stem's refused rows lie."""
    return f"{QUARANTINE}/evidence/{stem}.jsonl"


def _torn_path(stem: str) -> str:
    """The unfinished last line of a raw file stands by itself: the next run may find it
    finished, and must be able to take the refusal back."""
    return f"{QUARANTINE}/torn/{stem}.jsonl"


def torn_name(stem: str) -> str:
    """What the state calls that file; no stem has a slash in it."""
    return f"torn/{stem}"


class Refusing(NamedTuple):
    """What the evidence stage did with one raw file: its units' results in raw order, the pieces
    of each and which of their rows repeat others; ``tail`` is an unfinished last line.

    ``pieces`` are numbered over all units; ``fresh`` says that nothing from before stays.
    """

    stem: str
    path: str
    fresh: bool
    results: list[IngestResult]
    tail: IngestResult | None
    pieces: list[Piece]
    drops: Drops


def write_refused(work: Work, done: Refusing) -> list[FileDigest]:
    """The stem's quarantine file, in raw order: what stood there, then what is new."""
    written: list[FileDigest] = []
    target, torn_path = quarantine_path(done.stem), _torn_path(done.stem)
    old = None if done.fresh else work.state.quarantine.get(done.stem)
    new = sum(result.refused.rows for result in done.results) + done.drops.total
    torn_before = work.state.quarantine.pop(torn_name(done.stem), None)
    torn_now = done.tail.refused if done.tail is not None and done.tail.refused.rows else None
    # A stem without refusals says so by an empty file; a torn line taken back is said in a
    # receipt, which needs a file that it is about.
    if new or done.fresh or (torn_before is not None and torn_now is None):
        rows = (old.rows if old else 0) + new
        digest = work.write(target, _refused_blocks(work, old, done), rows)
        written.append(digest)
        work.state.quarantine[done.stem] = work.file_state(digest)
    if torn_now is not None:
        data = work.store.read(torn_now.path, torn_now.start, torn_now.start + torn_now.size)
        digest = work.write(torn_path, [data], torn_now.rows)
        written.append(digest)
        work.state.quarantine[torn_name(done.stem)] = work.file_state(digest)
    elif torn_before is not None:
        work.remove(torn_path)
    return written


def _refused_blocks(work: Work, old: FileState | None, done: Refusing) -> Iterator[bytes]:
    if old is not None:
        for start in range(0, old.bytes, 1 << 20):
            yield work.store.read(old.path, start, min(start + (1 << 20), old.bytes))
    first = 0
    for result in done.results:
        span = result.refused
        data = work.store.read(span.path, span.start, span.start + span.size)
        end = first + len(result.pieces)
        # Made when they are written: all of a log's at once may not fit in memory.
        repeats = [line for number in range(first, end) for line in _repeats(work, done, number)]
        first = end
        if repeats:
            lines = [
                (msgspec.json.decode(line, type=QuarantineRow).line_offset, line)
                for line in data.splitlines()
            ]
            data = b"".join(line + b"\n" for _, line in sorted(lines + repeats))
        yield data


def _repeats(work: Work, done: Refusing, number: int) -> Iterator[tuple[int, bytes]]:
    if not done.drops.count(number):
        return
    span = done.pieces[number].index
    rows: Any = read_index(work.store.read(span.path, span.start, span.start + span.size))
    for place, kept in done.drops.of(number).tolist():
        line = int(rows["line_offset"][place])
        row = QuarantineRow(
            schema_version=SCHEMA_VERSION,
            stage="evidence",
            reason="duplicate",
            detail=[f"repeats line {kept + 1} byte for byte"],
            source_file=done.path,
            line_offset=line,
            sig_hash=bytes(rows["raw_sig"][place]).hex(),
            other=f"{done.path}:{kept + 1}",
        )
        yield line, encode(row)
