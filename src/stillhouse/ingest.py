"""The evidence and score stages as units of work: raw byte range in, partitions out.

`ingest` turns one range of raw lines into evidence, scored runs, index rows and refusals,
all in one scratch file (a blob) with a table of what lies where. `assemble` joins the
pieces of one partition, in raw order, into its files. `score_partition` scores evidence
that is already on disk. All three are pure but for their store, so that they run in any
process, on any machine, with the same bytes as a result.
"""

from __future__ import annotations

import base64
from collections import Counter
from hashlib import sha256
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.errors import LakeChangedError, RecordError
from stillhouse.index import (
    CATEGORY_CODE,
    ROW,
    Rows,
    index_path,
    iter_lines,
    keys_of,
    pack_row,
    read_index,
)
from stillhouse.interfaces import Refusal, Sink, Store
from stillhouse.lake import (
    EVIDENCE,
    SCORED,
    ByteRange,
    RawLine,
    Span,
    partition_path,
    read_lines,
)
from stillhouse.receipts import BlockHasher, FileDigest
from stillhouse.records import (
    CATEGORIES,
    SCHEMA_VERSION,
    EvidenceRecord,
    QuarantineRow,
    decode,
    encode,
)
from stillhouse.rows import read_line
from stillhouse.sources import build_scored_run, source_for

UNPARSED: Final = frozenset({"bad_json", "bad_encoding", "not_an_object", "duplicate_key"})
"""Reasons whose quarantine row carries the raw line: nothing else holds it in words."""

_COPY: Final = 1 << 20

Mask = npt.NDArray[np.bool_]


# --------------------------------------------------------------------------- raw → pieces


class IngestUnit(msgspec.Struct, frozen=True):
    """One range of one raw file, and where its blob goes."""

    store: Store
    path: str
    stem: str
    part: ByteRange
    recorded_at: str
    blob: str
    torn: bool = False


class Piece(msgspec.Struct, frozen=True):
    """What a unit (or an existing partition file) holds of one day."""

    day: str
    evidence: Span
    scored: Span
    index: Span


class IngestResult(msgspec.Struct, frozen=True):
    """A unit's blob: its pieces by day, its refusals, and its counts."""

    pieces: list[Piece]
    refused: Span
    counts: dict[str, int]


class _Day:
    """The lines of one day, as they come."""

    __slots__ = ("evidence", "evidence_size", "index", "scored", "scored_size")

    def __init__(self) -> None:
        self.evidence: list[bytes] = []
        self.scored: list[bytes] = []
        self.index: list[bytes] = []
        self.evidence_size = 0
        self.scored_size = 0


def ingest(unit: IngestUnit) -> IngestResult:
    """Read, normalise and score one range; every line that is not blank comes out as
    evidence or as a refusal, and ``counts`` add up to the lines seen."""
    source = source_for(unit.stem)
    days: dict[str, _Day] = {}
    refused: list[bytes] = []
    counts: Counter[str] = Counter()
    for line in read_lines(unit.store, unit.path, unit.part):
        data = line.data
        if data is not None and (not data or data.isspace()):
            counts["blank"] += 1
            continue
        if data is None:
            refusal = Refusal("too_large", [f"{line.size:,} bytes in one line"])
            refused.append(_quarantine(unit, line, line.digest, refusal))
            counts["too_large"] += 1
            continue
        raw_sig = sha256(data).digest()
        sig = raw_sig.hex()
        record = read_line(data, source, unit.path, line.number, unit.recorded_at, sig)
        if type(record) is Refusal:
            refused.append(_quarantine(unit, line, sig, record))
            counts[record.reason] += 1
            continue
        assert isinstance(record, EvidenceRecord)
        day = days.get(record.timestamp[:10])
        if day is None:
            day = days[record.timestamp[:10]] = _Day()
        counts[_add(day, record, unit.stem, raw_sig)] += 1
    return _write_blob(unit, days, refused, dict(counts))


def _add(day: _Day, record: EvidenceRecord, stem: str, raw_sig: bytes) -> str:
    """Score a record and put its three lines into its day; returns its category."""
    line = encode(record)
    evidence_sig = sha256(line).digest()
    run = build_scored_run(record, evidence_sig.hex(), record.provenance.recorded_at)
    scored = encode(run)
    sizes = (len(line) + 1, len(scored) + 1)
    day.evidence.append(line)
    day.scored.append(scored)
    day.index.append(
        pack_row(
            raw_sig,
            evidence_sig,
            keys_of(record, stem, run.reasons),
            (day.evidence_size, day.scored_size),
            sizes,
            record.provenance.line_offset,
            CATEGORY_CODE[run.category],
        )
    )
    day.evidence_size += sizes[0]
    day.scored_size += sizes[1]
    return run.category


def _quarantine(unit: IngestUnit, line: RawLine, sig: str, refusal: Refusal) -> bytes:
    raw, encoding = None, None
    if line.data is not None and refusal.reason in UNPARSED:
        try:
            raw = line.data.decode()
        except UnicodeDecodeError:
            raw, encoding = base64.b64encode(line.data).decode(), "base64"
    detail = list(refusal.detail)
    if unit.torn:
        detail.append("the file ends within this line; it is read again when the file grows")
    return encode(
        QuarantineRow(
            schema_version=SCHEMA_VERSION,
            stage="evidence",
            reason=refusal.reason,
            detail=detail,
            source_file=unit.path,
            line_offset=line.number,
            sig_hash=sig,
            raw=raw,
            raw_encoding="base64" if encoding else None,
            raw_bytes=line.size,
        )
    )


def _write_blob(
    unit: IngestUnit, days: dict[str, _Day], refused: list[bytes], counts: dict[str, int]
) -> IngestResult:
    pieces: list[Piece] = []
    at = 0

    def put(sink: Sink, lines: list[bytes], end: bytes) -> Span:
        nonlocal at
        # Joined with an empty one behind them, the lines are copied once, not twice.
        data = end.join([*lines, b""])
        sink.write(data)
        span = Span(unit.blob, at, len(data), len(lines))
        at += len(data)
        return span

    with unit.store.writer(unit.blob, durable=False) as sink:
        for day in sorted(days):
            held = days.pop(day)
            spans = (put(sink, held.evidence, b"\n"), put(sink, held.scored, b"\n"))
            pieces.append(Piece(day, *spans, put(sink, held.index, b"")))
        span = put(sink, refused, b"\n")
    return IngestResult(pieces, span, counts)


# --------------------------------------------------------------------- pieces → partition


class AssembleTask(msgspec.Struct, frozen=True):
    """One partition to write: the pieces in raw order, what stands there already first.

    ``drops`` are row numbers of a piece that repeat an earlier raw line. ``with_scored``
    is false when only the evidence stage runs: the index is written all the same.
    """

    store: Store
    day: str
    stem: str
    pieces: list[Piece]
    drops: dict[int, list[int]]
    staging: str
    with_scored: bool = True


class Assembled(msgspec.Struct, frozen=True):
    """The partition's files as they lie in staging, and its rows by category."""

    day: str
    stem: str
    evidence: FileDigest
    scored: FileDigest | None
    index: FileDigest | None
    counts: dict[str, int]


def assemble(task: AssembleTask) -> Assembled:
    """Join pieces into one evidence, one scored-runs and one index file, in staging."""
    paths = (
        partition_path(EVIDENCE, task.day, task.stem),
        partition_path(SCORED, task.day, task.stem),
        index_path(task.day, task.stem),
    )
    kept = [_kept_rows(task, number) for number in range(len(task.pieces))]
    evidence = _join_spans(task, paths[0], [piece.evidence for piece in task.pieces], kept)
    counts: Counter[str] = Counter()
    scored = None
    if task.with_scored:
        scored = _join_spans(task, paths[1], [piece.scored for piece in task.pieces], kept)
    hasher = BlockHasher()
    base_evidence = base_scored = rows = 0
    with task.store.writer(f"{task.staging}/{paths[2]}", durable=False) as sink:
        for number, piece in enumerate(task.pieces):
            index = _read_rows(task.store, piece.index).copy()
            keep = kept[number]
            if keep is not None:
                index = index[keep]
            base_evidence = _rebase(index, "evidence", base_evidence)
            base_scored = _rebase(index, "scored", base_scored)
            for code, count in zip(*np.unique(index["category"], return_counts=True), strict=True):
                counts[CATEGORIES[code]] += int(count)
            data = index.tobytes()
            hasher.update(data)
            sink.write(data)
            rows += len(index)
    return Assembled(
        task.day, task.stem, evidence, scored, hasher.digest(paths[2], rows), dict(counts)
    )


def _rebase(index: Rows, name: str, base: int) -> int:
    """Starts within a piece become starts within the file; returns the next base."""
    sizes = index[f"{name}_size"].astype(np.uint64)
    ends = np.cumsum(sizes) + np.uint64(base)
    index[f"{name}_start"] = ends - sizes
    return int(ends[-1]) if len(ends) else base


def _read_rows(store: Store, span: Span) -> Rows:
    return read_index(store.read(span.path, span.start, span.start + span.size))


def _kept_rows(task: AssembleTask, number: int) -> Mask | None:
    """Mask of the rows of a piece that stay; None when all do."""
    drops = task.drops.get(number)
    if not drops:
        return None
    mask = np.ones(task.pieces[number].index.size // ROW.itemsize, dtype=bool)
    mask[drops] = False
    return mask


def _join_spans(
    task: AssembleTask, path: str, spans: list[Span], kept: list[Mask | None]
) -> FileDigest:
    hasher = BlockHasher()
    rows = 0
    with task.store.writer(f"{task.staging}/{path}", durable=False) as sink:
        for number, span in enumerate(spans):
            keep = kept[number]
            if keep is None:
                copy_span(task.store, span, sink, hasher)
                rows += span.rows
                continue
            lines = task.store.read(span.path, span.start, span.start + span.size).split(b"\n")
            stay = (line for line, stays in zip(lines[:-1], keep, strict=True) if stays)
            chosen = b"".join(line + b"\n" for line in stay)
            hasher.update(chosen)
            sink.write(chosen)
            rows += int(keep.sum())
    return hasher.digest(path, rows)


def copy_span(store: Store, span: Span, sink: Sink, hasher: BlockHasher) -> None:
    """Copy stored bytes in blocks, hashing them on the way."""
    at, end = span.start, span.start + span.size
    while at < end:
        block = store.read(span.path, at, min(at + _COPY, end))
        if not block:
            raise LakeChangedError(
                f"ends at byte {at:,}, before byte {end:,}",
                where=span.path,
                way_out="Something changed it during the run: run again.",
            )
        hasher.update(block)
        sink.write(block)
        at += len(block)


# --------------------------------------------------------------------- evidence → scored


class ScoreTask(msgspec.Struct, frozen=True):
    """A partition whose evidence is on disk and is to be scored."""

    store: Store
    day: str
    stem: str
    staging: str


def score_partition(task: ScoreTask) -> Assembled:
    """Score every evidence line of a partition; the bytes are those `ingest` would write.

    Raises `RecordError` naming the line when the evidence does not validate.
    """
    path = partition_path(EVIDENCE, task.day, task.stem)
    scored_path = partition_path(SCORED, task.day, task.stem)
    idx_path = index_path(task.day, task.stem)
    evidence, scored, index = BlockHasher(), BlockHasher(), BlockHasher()
    counts: Counter[str] = Counter()
    rows = scored_size = 0
    with (
        task.store.writer(f"{task.staging}/{scored_path}", durable=False) as scored_sink,
        task.store.writer(f"{task.staging}/{idx_path}", durable=False) as index_sink,
    ):
        for start, line in iter_lines(task.store, path):
            body = line.rstrip(b"\n")
            try:
                record = decode(body, EvidenceRecord)
            except RecordError as error:
                where = f"{path}:{rows + 1}"
                raise RecordError(error.problems, where=where) from None
            sig = sha256(body)
            run = build_scored_run(record, sig.hexdigest(), record.provenance.recorded_at)
            out = encode(run) + b"\n"
            row = pack_row(
                bytes.fromhex(record.provenance.sig_hash),
                sig.digest(),
                keys_of(record, task.stem, run.reasons),
                (start, scored_size),
                (len(line), len(out)),
                record.provenance.line_offset,
                CATEGORY_CODE[run.category],
            )
            for hasher, sink, data in ((scored, scored_sink, out), (index, index_sink, row)):
                hasher.update(data)
                sink.write(data)
            evidence.update(line)
            scored_size += len(out)
            counts[run.category] += 1
            rows += 1
    return Assembled(
        task.day,
        task.stem,
        evidence.digest(path, rows),
        scored.digest(scored_path, rows),
        index.digest(idx_path, rows),
        dict(counts),
    )
