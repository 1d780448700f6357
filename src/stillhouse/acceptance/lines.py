"""Reading a range of one file of a lake: its facts, and what is wrong with lines by themselves.

A unit of work, pure but for its store: any engine may run it. What stands in a line is read by
the validators; the rules, the words and the redaction are asked what they say of evidence
today. This module judges no line against another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import count, zip_longest
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from stillhouse.acceptance import facts as kind_of
from stillhouse.acceptance import gates
from stillhouse.acceptance.answers import last_words, said, said_by, said_in, said_to
from stillhouse.acceptance.facts import CODE, NO_HASH, NOTHING, UNKNOWN, Said, half, log_key, pack
from stillhouse.acceptance.samples import ROWS, Labelled, Lineage, Piece, Ranked, Talk
from stillhouse.acceptance.verdicts import MOST, Fault
from stillhouse.acceptance.verdicts import RawLine as FaultLine
from stillhouse.interfaces import Store
from stillhouse.lake import MAX_LINE_BYTES, UNIT_BYTES, ByteRange, read_lines
from stillhouse.records import (
    AuditBaseline,
    EvidenceRecord,
    Message,
    PreferenceSample,
    Provenance,
    QuarantineRow,
    RagChunk,
    Record,
    ScoredRun,
    SftSample,
    UnpairedSample,
    has_substance,
)
from stillhouse.sources import score_record, stem_from_source_file
from stillhouse.words import is_extraction, words_of

R = TypeVar("R", bound=Record)

_AT_ONCE: Final = UNIT_BYTES + MAX_LINE_BYTES
"""Bytes that are read into memory at once. A range is longer only for a line that is."""

_PIECE: Final = 64 << 10

_ANY_LENGTH: Final = 1 << 62
"""Raw lines alone have a limit: what was made of one may be longer than it."""

_NAMED: Final = re.compile(
    rb'"source_file": ?"([^"\\]*)", ?"line_offset": ?([0-9]{1,18}), ?"sig_hash": ?"([0-9a-f]{64})"'
)
"""The raw line that a line names which cannot be read as a whole."""


class Named(Protocol):
    """What names a raw line: a provenance, a row in quarantine, an origin in a lineage."""

    @property
    def source_file(self) -> str:
        """Its log."""

    @property
    def line_offset(self) -> int:
        """Its number, from 0."""

    @property
    def sig_hash(self) -> str:
        """Its SHA-256 in hex."""


class _RawLine(NamedTuple):
    source_file: str
    line_offset: int
    sig_hash: str


class Unit(msgspec.Struct, frozen=True):
    """A range of one file; ``kind`` says what it holds, and ``number`` which file it is.

    ``stem`` is the log's, or of a dataset file its config. ``beside_path`` is the file that goes
    with it: a lineage, of which ``beside`` are the same lines (None when there are none left), or
    of evidence and scored runs the other of the two.
    """

    store: Store
    kind: str
    path: str
    number: int
    stem: str
    part: ByteRange
    beside_path: str = ""
    beside: ByteRange | None = None


class Noted(msgspec.Struct, frozen=True):
    """What a unit gave: `facts.FACT` rows, faults by check, how many there are, and how many
    lines each gate looked at."""

    facts: bytes
    faults: dict[str, list[Fault]]
    failures: dict[str, int]
    checked: dict[int, int]


def note(unit: Unit) -> Noted:
    """Read a range."""
    notes = _Notes(unit)
    _READERS[unit.kind](notes)
    return notes.done()


class _Notes:
    """Collects what a unit gives."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.checked: Counter[int] = Counter()
        self._facts: list[bytes] = []
        self._faults: dict[str, list[Fault]] = {}
        self._failures: Counter[str] = Counter()

    def put(
        self,
        kind: int,
        at: Named,
        row: int,
        category: int = UNKNOWN,
        told: Said = NOTHING,
        task: int = 0,
        own: bytes = NO_HASH,
        today: int = UNKNOWN,
        flags: int = 0,
    ) -> None:
        """Note a fact of a line."""
        place = (self.unit.number, row)
        self._facts.append(
            pack(
                kind, at.sig_hash, at.source_file, at.line_offset, place,
                category, told, task, own, today, flags,
            )
        )  # fmt: skip

    def fault(
        self, check: str, row: int, problems: Sequence[str], at: Named | None, path: str = ""
    ) -> None:
        """Note what a check has found in a line."""
        self._failures[check] += 1
        held = self._faults.setdefault(check, [])
        if len(held) < MOST:
            words = "; ".join(problems)
            unit, lines = self.unit, (_numbers(at),) if at else ()
            beside = tuple(other for other in (unit.path, unit.beside_path) if other)
            held.append(Fault(path or unit.path, row + 1, words, lines, beside))

    def records(
        self,
        kind: type[R],
        origin: Callable[[R], Named | None],
        path: str = "",
        part: ByteRange | None = None,
    ) -> Iterator[tuple[int, bytes, R | None]]:
        """The lines of the range, with number and record, put through gate 2; None for one that
        cannot be read as a record. Blank lines are left out."""
        path = path or self.unit.path
        for first, lines in _pieces(self.unit.store, path, part or self.unit.part):
            found = gates.all_valid(lines, kind)
            if found is not None:
                self.checked[2] += len(found)
                yield from zip(count(first), lines.split(b"\n"), found, strict=False)
                continue
            for number, line in enumerate(lines.split(b"\n"), first):
                if line and not line.isspace():
                    yield number, line, self._record(number, line, kind, origin, path)

    def _record(
        self,
        number: int,
        line: bytes,
        kind: type[R],
        origin: Callable[[R], Named | None],
        path: str,
    ) -> R | None:
        record, problems = gates.valid(line, kind)
        self.checked[2] += 1
        if problems:
            at = origin(record) if record is not None else named(line)
            self.fault("valid", number, problems, at, path)
        return record

    def substance(self, row: int, says: dict[str, bool], at: Named) -> None:
        """Put the parts of an exported row through gate 10."""
        self.checked[10] += 1
        if problems := gates.substance(says):
            self.fault("substance", row, problems, at)

    def done(self) -> Noted:
        """All of it."""
        facts = b"".join(self._facts)
        return Noted(facts, self._faults, dict(self._failures), dict(self.checked))


def _pieces(store: Store, path: str, part: ByteRange) -> Iterator[tuple[int, bytes]]:
    """Some whole lines after the other, with the number of the first: few enough for their
    records to stay in a processor's cache, which makes reading them twice as fast."""
    if part.end - part.start > _AT_ONCE:
        for line in read_lines(store, path, part, _ANY_LENGTH):
            yield line.number, (line.data or b"") + b"\n"
        return
    data = store.read(path, part.start, part.end)
    at, first = 0, part.first_line
    while at < len(data):
        end = data.find(b"\n", at + _PIECE) + 1 or len(data)
        yield first, data[at:end]
        first += data.count(b"\n", at, end)
        at = end


def named(line: bytes) -> Named | None:
    """The raw line that a line names which is no whole record."""
    found = _NAMED.search(line)
    if found is None:
        return None
    return _RawLine(found[1].decode(errors="replace"), int(found[2]), found[3].decode())


def _numbers(at: Named) -> FaultLine:
    """A raw line as a fault has it."""
    sig = int.from_bytes(half(at.sig_hash)[:8], "little")
    return log_key(stem_from_source_file(at.source_file)), at.line_offset, sig


def _provenance(record: Any) -> Provenance:
    found: Provenance = record.provenance
    return found


# -------------------------------------------------------------------------------- stages


def _raw(notes: _Notes) -> None:
    unit = notes.unit
    for line in read_lines(unit.store, unit.path, unit.part):
        data = line.data
        if data is None or (data and not data.isspace()):
            digest = line.digest if data is None else sha256(data).hexdigest()
            notes.put(kind_of.RAW, _RawLine(unit.path, line.number, digest), line.number)


def _evidence(notes: _Notes) -> None:
    for number, line, record in notes.records(EvidenceRecord, _provenance):
        if record is None:
            continue
        at: Named = record.provenance
        stem = stem_from_source_file(at.source_file)
        if stem != notes.unit.stem:
            # Its partition is that of another log: it is as good as of no raw line.
            at = _RawLine(f"{at.source_file} in {notes.unit.path}", at.line_offset, at.sig_hash)
        category, reasons, _ = score_record(record)
        words = words_of(record, reasons)
        flags = 0
        if is_extraction(stem):
            flags = kind_of.EXTRACTED | kind_of.NO_VERDICT
        elif record.model_role == "extractor":
            flags = kind_of.EXTRACTED
        told, task = said_by(record, words), log_key(words.task_id)
        own = sha256(line).digest()
        notes.put(kind_of.EVIDENCE, at, number, UNKNOWN, told, task, own, CODE[category], flags)


class _Run(msgspec.Struct):
    """What is looked at of a scored run that is none."""

    provenance: Provenance
    sig_hash: str
    category: Any = None
    reasons: Any = None
    scorer_version: Any = None


def _scored(notes: _Notes) -> None:
    for number, line, record in notes.records(ScoredRun, _provenance):
        run: ScoredRun | _Run | None = record
        if run is None:
            try:
                run = msgspec.json.decode(line, type=_Run)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
        notes.checked[5] += 1
        if problems := gates.explained(run.category, run.reasons, run.scorer_version):
            notes.fault("explained", number, problems, run.provenance)
        category = CODE.get(run.category, UNKNOWN) if isinstance(run.category, str) else UNKNOWN
        own = half(run.sig_hash)
        notes.put(kind_of.SCORED, run.provenance, number, category, NOTHING, 0, own)


_REFUSALS: Final = {
    "evidence": kind_of.REFUSED,
    "sft": kind_of.NOT_SFT,
    "preference": kind_of.NOT_PREFERENCE,
    "rag": kind_of.NOT_RAG,
}
"""Kinds of refusals by stage. Those of the stage ``export`` are about no raw line."""


def _refused(notes: _Notes) -> None:
    for number, _, row in notes.records(QuarantineRow, lambda row: row):
        if row is not None and row.stage in _REFUSALS:
            notes.put(_REFUSALS[row.stage], row, number)


def _baseline(notes: _Notes) -> None:
    for _ in notes.records(AuditBaseline, lambda _: None):
        pass


# ------------------------------------------------------------------------------- exports


def _sft(notes: _Notes) -> None:
    for number, _, sample in notes.records(SftSample, _provenance):
        if sample is None:
            continue
        instruction, response = sample.instruction, sample.response
        says = {"instruction": bool(instruction.strip()), "response": bool(response.strip())}
        notes.substance(number, says, sample.provenance)
        if sample.messages:
            told = said_in(sample.messages, response)
        else:
            told = said_to(instruction, response)
        notes.put(kind_of.SFT, sample.provenance, number, CODE[sample.category], told)


def _pairs(notes: _Notes) -> None:
    for number, _, pair in notes.records(PreferenceSample, _provenance):
        if pair is None:
            continue
        says = {"chosen": has_substance(pair.chosen), "rejected": has_substance(pair.rejected)}
        notes.substance(number, says, pair.provenance)
        task = log_key(pair.task_id)
        for kind, answer, at, category in (
            (kind_of.CHOSEN, pair.chosen, pair.provenance, pair.chosen_category),
            (kind_of.REJECTED, pair.rejected, pair.rejected_provenance, pair.rejected_category),
        ):
            notes.put(kind, at, number, CODE[category], _told(pair.prompt, answer), task)


def _unpaired(notes: _Notes) -> None:
    for number, _, sample in notes.records(UnpairedSample, _provenance):
        if sample is None:
            continue
        notes.substance(number, {"answer": has_substance(sample.completion)}, sample.provenance)
        kind = kind_of.TRUE if sample.label else kind_of.FALSE
        told, task = _told(sample.prompt, sample.completion), log_key(sample.task_id)
        notes.put(kind, sample.provenance, number, CODE[sample.category], told, task)


def _chunks(notes: _Notes) -> None:
    for number, _, chunk in notes.records(RagChunk, _provenance):
        if chunk is not None:
            notes.substance(number, {"chunk": bool(chunk.text.strip())}, chunk.provenance)
            category, task = CODE[chunk.category], log_key(chunk.task_id)
            notes.put(kind_of.CHUNK, chunk.provenance, number, category, NOTHING, task)


def _told(prompt: list[Message], answer: list[Message]) -> Said:
    return said(prompt, answer, last_words(answer))


def _dataset(notes: _Notes) -> None:
    """The rows of a dataset file, each with its lineage."""
    unit = notes.unit
    kind = ROWS[unit.stem]
    origins = 2 if unit.stem == "preference" else 1
    rows = notes.records(kind, lambda _: None) if unit.part.end > unit.part.start else ()
    lineages: Any = ()
    if unit.beside is not None:
        lineages = notes.records(Lineage, lambda _: None, unit.beside_path, unit.beside)
    for one, other in zip_longest(rows, lineages):
        if one is None or other is None:
            words = "has no row in the dataset" if one is None else "has no line in the lineage"
            path, number = (unit.path, one[0]) if one else (unit.beside_path, other[0])
            notes.fault("valid", number, [words], None, path)
            continue
        (number, _, row), (_, line, lineage) = one, other
        if lineage is not None and len(lineage.origins) != origins:
            words = f"origins: are {len(lineage.origins)}, not {origins}"
            notes.fault("valid", number, [words], named(line), unit.beside_path)
        elif row is not None and lineage is not None:
            _dataset_row(notes, number, row, lineage)


def _dataset_row(notes: _Notes, number: int, row: Record, lineage: Lineage) -> None:
    sides: list[tuple[int, Said]]
    match row:
        case Talk():
            says = {"answer": has_substance([m for m in row.messages if m.role == "assistant"])}
            sides = [(kind_of.SFT, said_in(row.messages))]
        case Ranked():
            says = {"chosen": has_substance(row.chosen), "rejected": has_substance(row.rejected)}
            sides = [
                (kind_of.CHOSEN, _told(row.prompt, row.chosen)),
                (kind_of.REJECTED, _told(row.prompt, row.rejected)),
            ]
        case Labelled():
            says = {"answer": has_substance(row.completion)}
            kind = kind_of.TRUE if row.label else kind_of.FALSE
            sides = [(kind, _told(row.prompt, row.completion))]
        case Piece():
            says = {"chunk": bool(row.text.strip())}
            sides = [(kind_of.CHUNK, NOTHING)]
    notes.substance(number, says, lineage.origins[0])
    task, flags = log_key(lineage.task_id), kind_of.IN_DATASET
    for (kind, told), at in zip(sides, lineage.origins, strict=True):
        notes.put(kind, at, number, CODE[at.category], told, task, NO_HASH, UNKNOWN, flags)


_READERS: Final[dict[str, Callable[[_Notes], None]]] = {
    "raw": _raw,
    "evidence": _evidence,
    "scored": _scored,
    "quarantine": _refused,
    "sft": _sft,
    "preference": _pairs,
    "unpaired": _unpaired,
    "rag": _chunks,
    "dataset": _dataset,
    "baseline": _baseline,
}
