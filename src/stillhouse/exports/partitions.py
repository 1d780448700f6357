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

from stillhouse.exports.distrusted import Problem, RawLog, read_raw_log, rejoin
from stillhouse.index import ROW, Rows, read_index
from stillhouse.interfaces import Sink
from stillhouse.lake import EVIDENCE, SCORED, Span, partition_of, partition_path, raw_path
from stillhouse.records import SCHEMA_VERSION, QuarantineRow
from stillhouse.redaction import redact_value
from stillhouse.work import Work, is_intact

_BLOCK_ROWS: Final = 1 << 16


class Partition(NamedTuple):
    """One partition: where its index is, and its first row's number.

    ``identity`` changes with all that its exports depend on. ``problems`` are the quarantine
    lines of what could not be used. The rows of a ``witness`` are never rendered: they only
    speak against the same answers elsewhere.
    """

    day: str
    stem: str
    rows: Span
    first_row: int
    identity: str
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
    suspects = Counter(stem for (_, stem), part in known.items() if part is None)
    witnesses: list[Partition] = []
    logs: dict[str, RawLog | None] = {}
    for stem, number in sorted(suspects.items()):
        work.notes.append(
            f"{stem}: files of {number} days are not as the stages wrote them; every row of them "
            "is checked again (`stillhouse run` writes them anew)"
        )
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
    return Partition(day, stem, span, 0, identity, [])


def _raw_log(work: Work, stem: str) -> tuple[RawLog | None, Partition]:
    """A suspect stem's raw log, and what it speaks against."""
    blob = work.blob()
    with work.store.writer(blob, durable=False) as sink:
        hashing = _Hashing(sink)
        log = read_raw_log(work.store, stem, hashing)
    if log is None:
        work.notes.append(
            f"{raw_path(stem)}: is gone, so evidence of it that was edited cannot be told"
        )
    size, said = hashing.size, hashing.hexdigest()
    span = Span(blob, 0, size, size // ROW.itemsize)
    return log, Partition("", stem, span, 0, f"raw {stem} {said}", [], witness=True)


def _distrusted(work: Work, day: str, stem: str, raw: RawLog | None) -> tuple[Partition, Partition]:
    """A partition from its files, and the witnesses among its rows."""
    joined = rejoin(work.store, day, stem, raw)
    refused = [_refused(problem) for problem in joined.problems]
    blob = work.blob()
    with work.store.writer(blob, durable=False) as sink:
        sink.write(joined.rows)
        sink.write(joined.witnesses)
    told = digest([joined.rows, joined.witnesses, *refused])
    sizes = (len(joined.rows), len(joined.witnesses))
    rows = Span(blob, 0, sizes[0], sizes[0] // ROW.itemsize)
    speaking = Span(blob, sizes[0], sizes[1], sizes[1] // ROW.itemsize)
    name = f"{day} {stem} {told}"
    return (
        Partition(day, stem, rows, 0, name, refused),
        Partition(day, stem, speaking, 0, name, [], witness=True),
    )


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
