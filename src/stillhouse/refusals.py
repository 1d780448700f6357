"""Rows that the evidence stage refuses: repeats found over a whole stem, and the
quarantine files, in raw order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np

from stillhouse.index import ROW, read_index
from stillhouse.ingest import IngestResult, Piece
from stillhouse.lake import EVIDENCE, QUARANTINE, Span, partition_path
from stillhouse.receipts import BlockHasher, FileDigest
from stillhouse.records import SCHEMA_VERSION, QuarantineRow, encode
from stillhouse.spill import Buckets, group_starts
from stillhouse.state import FileState
from stillhouse.work import Work

# ---------------------------------------------------------------------------- duplicates

_SEEN: Final = np.dtype(
    [("hi", "<u8"), ("lo", "<u8"), ("line", "<u8"), ("piece", "<i4"), ("row", "<i4")]
)

Drops = dict[int, dict[int, int]]
"""Piece number → {row in the piece: line number of the row it repeats}."""


def find_repeats(work: Work, stem: str, incremental: bool, pieces: list[Piece]) -> Drops:
    """Rows that repeat an earlier raw line byte for byte, in bounded memory.

    Equal lines have equal times, so a repeat is always in the same partition: only the
    partitions that are touched have to be looked at.
    """
    days = {piece.day for piece in pieces}
    spans = [(number, piece.index) for number, piece in enumerate(pieces)]
    for day in sorted(days) if incremental else ():
        part = work.state.partitions.get(partition_path(EVIDENCE, day, stem))
        if part is not None and part.index is not None:
            spans.append((-1, Span(part.index.path, 0, part.index.bytes, part.index.rows)))
    total = sum(span.size // ROW.itemsize for _, span in spans)
    buckets = Buckets(work.scratch, f"seen-{len(work.state.raw)}-{stem}", _SEEN, total)
    for number, span in spans:
        for first in range(0, span.size, _INDEX_BLOCK):
            end = min(first + _INDEX_BLOCK, span.size)
            rows = read_index(work.store.read(span.path, span.start + first, span.start + end))
            seen = np.empty(len(rows), dtype=_SEEN)
            both = np.ascontiguousarray(rows["raw_sig"]).view("<u8").reshape(-1, 4)
            seen["hi"], seen["lo"] = both[:, 0], both[:, 1]
            seen["line"], seen["piece"] = rows["line_offset"], number
            seen["row"] = np.arange(first // ROW.itemsize, first // ROW.itemsize + len(rows))
            buckets.add(seen["hi"], seen)
    drops: Drops = {}
    for bucket in buckets:
        bucket = bucket[np.lexsort((bucket["line"], bucket["lo"], bucket["hi"]))]
        starts = group_starts(bucket["hi"], bucket["lo"])
        if len(starts) == len(bucket):
            continue
        first_of = np.repeat(starts, np.diff(np.append(starts, len(bucket))))
        for place in np.flatnonzero(first_of != np.arange(len(bucket))).tolist():
            piece = int(bucket["piece"][place])
            kept = int(bucket["line"][first_of[place]])
            drops.setdefault(piece, {})[int(bucket["row"][place])] = kept
    return drops


_INDEX_BLOCK = ROW.itemsize << 16


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


def write_refused(
    work: Work,
    stem: str,
    path: str,
    old: FileState | None,
    fresh: bool,
    results: list[IngestResult],
    tail: IngestResult | None,
    pieces: list[tuple[int, Piece]],
    drops: Drops,
) -> list[FileDigest]:
    """The stem's quarantine file, in raw order: what stood there, then what is new."""
    written: list[FileDigest] = []
    target, torn_path = quarantine_path(stem), _torn_path(stem)
    repeats: dict[int, list[tuple[int, bytes]]] = {}
    for number, places in drops.items():
        unit, piece = pieces[number]
        repeats.setdefault(unit, []).extend(_repeats(work, path, piece, places))
    new = sum(result.refused.rows for result in results) + sum(map(len, repeats.values()))
    torn_before = work.state.quarantine.pop(torn_name(stem), None)
    torn_now = tail is not None and tail.refused.rows > 0
    # A stem without refusals says so by an empty file; a torn line taken back is said in a
    # receipt, which needs a file that it is about.
    if new or fresh or (torn_before is not None and not torn_now):
        hasher = BlockHasher()
        rows = (old.rows if old else 0) + new
        with work.store.writer(work.staged(target), durable=False) as sink:
            for block in _refused_blocks(work, old, results, repeats):
                hasher.update(block)
                sink.write(block)
        digest = hasher.digest(target, rows)
        written.append(digest)
        work.state.quarantine[stem] = work.file_state(digest)
    if tail is not None and torn_now:
        span = tail.refused
        data = work.store.read(span.path, span.start, span.start + span.size)
        digest = work.write(torn_path, [data], span.rows)
        written.append(digest)
        work.state.quarantine[torn_name(stem)] = work.file_state(digest)
    elif torn_before is not None:
        work.remove(torn_path)
    return written


def _refused_blocks(
    work: Work,
    old: FileState | None,
    results: list[IngestResult],
    repeats: dict[int, list[tuple[int, bytes]]],
) -> Iterator[bytes]:
    if old is not None:
        for start in range(0, old.bytes, 1 << 20):
            yield work.store.read(old.path, start, min(start + (1 << 20), old.bytes))
    for number, result in enumerate(results):
        span = result.refused
        data = work.store.read(span.path, span.start, span.start + span.size)
        if number in repeats:
            lines = [
                (msgspec.json.decode(line, type=QuarantineRow).line_offset, line)
                for line in data.splitlines()
            ]
            both = sorted(lines + repeats[number])
            data = b"".join(line + b"\n" for _, line in both)
        yield data


def _repeats(
    work: Work, path: str, piece: Piece, places: dict[int, int]
) -> Iterator[tuple[int, bytes]]:
    span = piece.index
    rows: Any = read_index(work.store.read(span.path, span.start, span.start + span.size))
    for place, kept in places.items():
        number = int(rows["line_offset"][place])
        row = QuarantineRow(
            schema_version=SCHEMA_VERSION,
            stage="evidence",
            reason="duplicate",
            detail=[f"repeats line {kept + 1} byte for byte"],
            source_file=path,
            line_offset=number,
            sig_hash=bytes(rows["raw_sig"][place]).hex(),
            other=f"{path}:{kept + 1}",
        )
        yield number, encode(row)
