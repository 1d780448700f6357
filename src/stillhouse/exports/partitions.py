"""The partitions of a lake as the exports see them, and how far each can be trusted.

Where the files are as the stages left them, the index that the stages wrote serves. A stem
with any file that is not (edited, replaced, deleted) is read again from its files, against
its raw log (`distrusted`). This module never decides what may leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from stillhouse.exports.distrusted import Problem, RawLog, Vouches, read_raw_log, rejoin
from stillhouse.index import KEY_BYTES, MISSING, ROW, Rows, read_index
from stillhouse.interfaces import Sink
from stillhouse.lake import EVIDENCE, SCORED, Span, partition_of, partition_path, raw_path
from stillhouse.receipts import FileDigest, hash_prefix
from stillhouse.records import SCHEMA_VERSION, QuarantineRow
from stillhouse.redaction import redact_value
from stillhouse.work import Work, is_intact

_BLOCK_ROWS: Final = 1 << 16


class Partition(NamedTuple):
    """One partition: where its index is, and its first row's number.

    ``identity`` changes with all that its exports depend on, ``files`` are those that it was
    read from, and ``problems`` the quarantine lines of what could not be used. The rows of a
    ``witness`` are never rendered: they only speak against the same answers elsewhere.
    """

    day: str
    stem: str
    rows: Span
    first_row: int
    identity: str
    files: list[FileDigest]
    problems: list[bytes]
    witness: bool = False


def find_partitions(work: Work) -> list[Partition]:
    """Every partition, in the order of day and stem; witnesses come last."""
    on_disk = {
        place
        for root in (EVIDENCE, SCORED)
        for entry in work.store.list(root)
        if (place := partition_of(entry.path)) is not None
    }
    written = {(part.day, part.stem) for part in work.state.partitions.values()}
    known = {name: _known(work, *name) for name in on_disk | written}
    suspects = {name for name, part in known.items() if part is None}
    work.notes += _notes_on(work, suspects)
    witnesses: list[Partition] = []
    logs: dict[str, RawLog | None] = {}
    for stem in sorted({stem for _, stem in suspects}):
        logs[stem], speaking = _raw_log(work, stem)
        witnesses.append(speaking)
    found: list[Partition] = []
    for name in sorted(known):
        part = known[name]
        if part is None:
            part, speaking = _distrusted(work, *name, logs[name[1]])
            witnesses.append(speaking)
        found.append(part)
    row = 0
    numbered: list[Partition] = []
    for part in found + [each for each in witnesses if each.rows.size]:
        numbered.append(part._replace(first_row=row))
        row += part.rows.size // ROW.itemsize
    return numbered


def blocks(work: Work, part: Partition) -> Iterator[Rows]:
    """A partition's index rows, block by block."""
    step, stop = _BLOCK_ROWS * ROW.itemsize, part.rows.start + part.rows.size
    for start in range(part.rows.start, stop, step):
        yield read_index(work.store.read(part.rows.path, start, min(start + step, stop)))


def digest(parts: Iterable[str | bytes]) -> str:
    """SHA-256 over a list of parts, in hex."""
    hashed = sha256()
    for part in parts:
        hashed.update(part.encode() if isinstance(part, str) else part)
        hashed.update(b"\0")
    return hashed.hexdigest()


def _known(work: Work, day: str, stem: str) -> Partition | None:
    state = work.state.partitions.get(partition_path(EVIDENCE, day, stem))
    if state is None or state.scored is None or state.index is None:
        return None
    if not all(is_intact(work.store, file) for file in (state.evidence, state.scored, state.index)):
        return None
    span = Span(state.index.path, 0, state.index.bytes, state.index.rows)
    identity = f"{day} {stem} {state.evidence.sha256} {state.scored.sha256}"
    files = [
        FileDigest(file.path, file.bytes, file.rows, file.sha256)
        for file in (state.evidence, state.scored)
    ]
    return Partition(day, stem, span, 0, identity, files, [])


def _notes_on(work: Work, suspects: set[tuple[str, str]]) -> Iterator[str]:
    """What a person should know of files that cannot be taken as they are."""
    unscored: Counter[str] = Counter()
    altered: Counter[str] = Counter()
    for day, stem in suspects:
        state = work.state.partitions.get(partition_path(EVIDENCE, day, stem))
        waits = state is not None and state.scored is None and is_intact(work.store, state.evidence)
        (unscored if waits else altered)[stem] += 1
    for stem, days in sorted(unscored.items()):
        yield f"{stem}: rows of {days} days await `stillhouse score`, and leave after it"
    for stem, days in sorted(altered.items()):
        yield (
            f"{stem}: files of {days} days are not as the stages wrote them; every row of them "
            "is checked again (`stillhouse run` writes them anew)"
        )


def _raw_log(work: Work, stem: str) -> tuple[RawLog | None, Partition]:
    """A suspect stem's raw log, and what it speaks against."""
    blob = work.blob()
    with work.store.writer(blob, durable=False) as sink:
        hashing = _Hashing(sink)
        log = read_raw_log(work.store, stem, hashing)
    if log is None:
        work.notes.append(
            f"{raw_path(stem)}: is gone, so of the files that were changed only what the index "
            "still knows is used"
        )
    size, said = hashing.size, hashing.hexdigest()
    span = Span(blob, 0, size, size // ROW.itemsize)
    files = _digests(work, [raw_path(stem)])
    return log, Partition("", stem, span, 0, f"raw {stem} {said}", files, [], witness=True)


def _distrusted(work: Work, day: str, stem: str, raw: RawLog | None) -> tuple[Partition, Partition]:
    """A partition from its files, and the witnesses among its rows."""
    vouches, noted = (raw.gives, b"") if raw is not None else _without_raw_log(work, day, stem)
    joined = rejoin(work.store, day, stem, vouches)
    refused = [_refused(problem) for problem in joined.problems]
    against = joined.witnesses + noted
    blob = work.blob()
    with work.store.writer(blob, durable=False) as sink:
        sink.write(joined.rows)
        sink.write(against)
    told = digest([joined.rows, against, *refused])
    sizes = (len(joined.rows), len(against))
    rows = Span(blob, 0, sizes[0], sizes[0] // ROW.itemsize)
    speaking = Span(blob, sizes[0], sizes[1], sizes[1] // ROW.itemsize)
    name = f"{day} {stem} {told}"
    files = _digests(work, [partition_path(root, day, stem) for root in (EVIDENCE, SCORED)])
    return (
        Partition(day, stem, rows, 0, name, files, refused),
        Partition(day, stem, speaking, 0, name, [], [], witness=True),
    )


def _without_raw_log(work: Work, day: str, stem: str) -> tuple[Vouches, bytes]:
    """Who vouches for evidence whose raw log is gone, and index rows that still speak: the
    evidence file itself while it is as the stages wrote it, else the index that they wrote
    beside it, line by line, else nobody."""
    state = work.state.partitions.get(partition_path(EVIDENCE, day, stem))
    if state is not None and is_intact(work.store, state.evidence):
        return (lambda record, sig: True), b""
    if state is None or state.index is None or not is_intact(work.store, state.index):
        return (lambda record, sig: False), b""
    rows = read_index(work.store.read(state.index.path)).copy()
    known = {sig.tobytes() for sig in rows["evidence_sig"]}
    rows["flags"] |= MISSING
    return (lambda record, sig: sig[:KEY_BYTES] in known), rows.tobytes()


def _digests(work: Work, paths: list[str]) -> list[FileDigest]:
    """The files as they are now, of those that are there."""
    found = []
    for path in paths:
        entry = work.store.stat(path)
        if entry is not None:
            with work.store.open(path) as handle:
                found.append(hash_prefix(handle, entry.size, path, 0))
    return found


def _refused(problem: Problem) -> bytes:
    """A problem's quarantine line. It lies beside the exports, so no secret stays in it."""
    row = QuarantineRow(
        schema_version=SCHEMA_VERSION,
        stage="export",
        reason=problem.reason,
        detail=problem.detail,
        source_file=problem.path,
        line_offset=problem.number,
        sig_hash=sha256(problem.line).hexdigest(),
        raw=problem.line.decode(errors="replace"),
    )
    return msgspec.json.encode(redact_value(msgspec.to_builtins(row), {}))


class _Hashing:
    """A sink that hashes and counts what passes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._hash = sha256()
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        self._hash.update(data)
        self.size += len(data)
        self._sink.write(data)

    def hexdigest(self) -> str:
        """SHA-256 of all that passed."""
        return self._hash.hexdigest()
