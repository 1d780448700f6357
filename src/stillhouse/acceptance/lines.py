"""Reading a range of one file of a lake: its facts, and what is wrong with lines by themselves.

A unit of work, pure but for its store: any engine may run it. What stands in a line is read by
the validators; the rules, the words and the redaction are asked what they say of evidence
today. This module judges no line against another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from itertools import zip_longest
from typing import Any, Final, TypeVar

import msgspec

from stillhouse.acceptance import facts as kind_of
from stillhouse.acceptance import gates
from stillhouse.acceptance.answers import last_words, said, said_by, said_in, said_to
from stillhouse.acceptance.facts import CODE, NOTHING, UNKNOWN, Anchor, Said, anchor, pack
from stillhouse.acceptance.verdicts import MOST, Fault
from stillhouse.interfaces import Store
from stillhouse.lake import ByteRange, RawLine, read_lines
from stillhouse.records import (
    AuditBaseline,
    Category,
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

_ANY_LENGTH: Final = 1 << 62
"""Raw lines alone have a limit: what was made of one may be longer than it."""

_NAMED: Final = re.compile(
    rb'"source_file": ?"([^"\\]*)", ?"line_offset": ?([0-9]{1,18}), ?"sig_hash": ?"([0-9a-f]{64})"'
)
"""The raw line that a line names which cannot be read as a whole."""


class Unit(msgspec.Struct, frozen=True):
    """A range of one file; ``kind`` says what it holds, and ``number`` which file it is.

    ``stem`` is the log's, or of a dataset file its config; ``beside`` is the same lines of its
    lineage, None when there are none left.
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
    if unit.kind == "dataset":
        _dataset(notes)
    else:
        reader = _READERS[unit.kind]
        longest = {} if unit.kind == "raw" else {"longest": _ANY_LENGTH}
        for line in read_lines(unit.store, unit.path, unit.part, **longest):
            if line.data is None or (line.data and not line.data.isspace()):
                reader(notes, line)
    return notes.done()


class _Notes:
    """Collects what a unit gives."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self._facts: list[bytes] = []
        self._faults: dict[str, list[Fault]] = {}
        self._failures: Counter[str] = Counter()
        self._checked: Counter[int] = Counter()

    def put(self, kind: int, at: Anchor, row: int, *what: Any) -> None:
        """Note a fact of a line (the arguments of `facts.pack`)."""
        self._facts.append(pack(kind, at, (self.unit.number, row), *what))

    def check(
        self, name: str, gate: int, row: int, problems: Sequence[str], at: Anchor | None,
        path: str = "",
    ) -> None:  # fmt: skip
        """Note that a gate looked at a line, and what it found."""
        self._checked[gate] += 1
        if not problems:
            return
        self._failures[name] += 1
        held = self._faults.setdefault(name, [])
        if len(held) < MOST:
            family = (at.log, at.line, int.from_bytes(at.sig[:8], "little")) if at else ()
            words = "; ".join(problems)
            held.append(Fault(path or self.unit.path, row + 1, words, *family))

    def record(
        self, line: RawLine, kind: type[R], origin: Callable[[R], Anchor | None], path: str = ""
    ) -> R | None:
        """A line as a record, put through gate 2; None when it cannot be read as one."""
        data = line.data or b""
        record, problems = gates.valid(data, kind)
        at = None
        if problems:
            at = origin(record) if record is not None else named(data)
        self.check("valid", 2, line.number, problems, at, path)
        return record

    def substance(self, row: int, says: Mapping[str, bool], at: Anchor) -> None:
        """Put the parts of an exported row through gate 10."""
        self.check("substance", 10, row, gates.substance(says), at)

    def done(self) -> Noted:
        """All of it."""
        facts = b"".join(self._facts)
        return Noted(facts, self._faults, dict(self._failures), dict(self._checked))


# ----------------------------------------------------------------------- where it is from


def named(line: bytes) -> Anchor | None:
    """The raw line that a line names which is no whole record."""
    found = _NAMED.search(line)
    if found is None:
        return None
    file = found[1].decode(errors="replace")
    return anchor(found[3].decode(), file, int(found[2]))


def _anchor(at: Provenance) -> Anchor:
    return anchor(at.sig_hash, at.source_file, at.line_offset)


def _origin(record: Any) -> Anchor:
    return _anchor(record.provenance)


# -------------------------------------------------------------------------------- stages


def _raw(notes: _Notes, line: RawLine) -> None:
    digest = bytes.fromhex(line.digest) if line.data is None else sha256(line.data).digest()
    at = Anchor(digest[:16], kind_of.log_key(notes.unit.stem), line.number)
    notes.put(kind_of.RAW, at, line.number)


def _evidence(notes: _Notes, line: RawLine) -> None:
    record = notes.record(line, EvidenceRecord, _origin)
    if record is None:
        return
    at = _origin(record)
    stem = stem_from_source_file(record.provenance.source_file)
    if stem != notes.unit.stem:
        at = at._replace(log=0)  # of no log that its partition could be made of
    category, reasons, _ = score_record(record)
    words = words_of(record, reasons)
    flags = 0
    if is_extraction(stem):
        flags = kind_of.EXTRACTED | kind_of.NO_VERDICT
    elif record.model_role == "extractor":
        flags = kind_of.EXTRACTED
    said, task = said_by(record, words), kind_of.log_key(words.task_id)
    own = sha256(line.data or b"").digest()[:16]
    notes.put(kind_of.EVIDENCE, at, line.number, UNKNOWN, said, task, own, CODE[category], flags)


class _Run(msgspec.Struct):
    """What is looked at of a scored run that is none."""

    provenance: Provenance
    sig_hash: str
    category: Any = None
    reasons: Any = None
    scorer_version: Any = None


def _scored(notes: _Notes, line: RawLine) -> None:
    run: ScoredRun | _Run | None = notes.record(line, ScoredRun, _origin)
    if run is None:
        try:
            run = msgspec.json.decode(line.data or b"", type=_Run)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
    at = _origin(run)
    told = {"category": run.category, "reasons": run.reasons, "scorer_version": run.scorer_version}
    notes.check("explained", 5, line.number, gates.explained(told), at)
    category = CODE.get(run.category, UNKNOWN) if isinstance(run.category, str) else UNKNOWN
    own = kind_of.half(run.sig_hash)
    notes.put(kind_of.SCORED, at, line.number, category, kind_of.NOTHING, 0, own)


_REFUSALS: Final = {
    "evidence": kind_of.REFUSED,
    "sft": kind_of.NOT_SFT,
    "preference": kind_of.NOT_PREFERENCE,
    "rag": kind_of.NOT_RAG,
}
"""Kinds of refusals by stage. Those of the stage ``export`` are about no raw line."""


def _refusal_origin(row: QuarantineRow) -> Anchor:
    return anchor(row.sig_hash, row.source_file, row.line_offset)


def _refused(notes: _Notes, line: RawLine) -> None:
    row = notes.record(line, QuarantineRow, _refusal_origin)
    if row is not None and row.stage in _REFUSALS:
        notes.put(_REFUSALS[row.stage], _refusal_origin(row), line.number)


def _baseline(notes: _Notes, line: RawLine) -> None:
    notes.record(line, AuditBaseline, lambda _: None)


# ------------------------------------------------------------------------------- exports


def _sft(notes: _Notes, line: RawLine) -> None:
    sample = notes.record(line, SftSample, _origin)
    if sample is None:
        return
    at = _origin(sample)
    parts = {"instruction": sample.instruction, "response": sample.response}
    notes.substance(line.number, {name: bool(text.strip()) for name, text in parts.items()}, at)
    if sample.messages:
        heard = said_in(sample.messages, sample.response)
    else:
        heard = said_to(sample.instruction, sample.response)
    notes.put(kind_of.SFT, at, line.number, CODE[sample.category], heard)


def _pair(notes: _Notes, line: RawLine) -> None:
    pair = notes.record(line, PreferenceSample, _origin)
    if pair is None:
        return
    sides = (
        (kind_of.CHOSEN, pair.chosen, pair.provenance, pair.chosen_category),
        (kind_of.REJECTED, pair.rejected, pair.rejected_provenance, pair.rejected_category),
    )
    says = {"chosen": has_substance(pair.chosen), "rejected": has_substance(pair.rejected)}
    notes.substance(line.number, says, _anchor(pair.provenance))
    for kind, answer, at, category in sides:
        _side(notes, line.number, kind, _anchor(at), (pair.prompt, answer), pair.task_id, category)


def _single(notes: _Notes, line: RawLine) -> None:
    sample = notes.record(line, UnpairedSample, _origin)
    if sample is None:
        return
    at, told = _origin(sample), (sample.prompt, sample.completion)
    notes.substance(line.number, {"completion": has_substance(sample.completion)}, at)
    kind = kind_of.TRUE if sample.label else kind_of.FALSE
    _side(notes, line.number, kind, at, told, sample.task_id, sample.category)


def _chunk(notes: _Notes, line: RawLine) -> None:
    chunk = notes.record(line, RagChunk, _origin)
    if chunk is None:
        return
    at, task = _origin(chunk), kind_of.log_key(chunk.task_id)
    notes.substance(line.number, {"chunk": bool(chunk.text.strip())}, at)
    notes.put(kind_of.CHUNK, at, line.number, CODE[chunk.category], kind_of.NOTHING, task)


def _side(
    notes: _Notes,
    row: int,
    kind: int,
    at: Anchor,
    told: tuple[list[Message], list[Message]],
    task: str,
    category: Category,
) -> None:
    prompt, answer = told
    heard = said(prompt, answer, last_words(answer))
    notes.put(kind, at, row, CODE[category], heard, kind_of.log_key(task))


# ------------------------------------------------------------------------------- dataset


class _Origin(Record, frozen=True, kw_only=True):
    """One side in a lineage row."""

    source: str
    run_id: str
    category: Category
    source_file: str
    line_offset: int
    sig_hash: str


class _Lineage(Record, frozen=True, kw_only=True):
    """A line of the lineage beside a dataset file."""

    id: str
    task_id: str
    origins: list[_Origin]
    context: str
    reason: str

    def problems(self) -> list[str]:
        out = [] if self.id.strip() else ["id: is empty"]
        return out if self.origins else [*out, "origins: are none"]


class _Conversation(Record, frozen=True, kw_only=True):
    messages: list[Message]
    tools: Any = msgspec.UNSET

    def problems(self) -> list[str]:
        return _not_strings(self.messages)


class _Compared(Record, frozen=True, kw_only=True):
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: Any = msgspec.UNSET

    def problems(self) -> list[str]:
        return _not_strings([*self.prompt, *self.chosen, *self.rejected])


class _Labelled(Record, frozen=True, kw_only=True):
    prompt: list[Message]
    completion: list[Message]
    label: bool
    tools: Any = msgspec.UNSET

    def problems(self) -> list[str]:
        return _not_strings([*self.prompt, *self.completion])


class _Piece(Record, frozen=True, kw_only=True):
    id: str
    text: str
    source: str
    task_id: str
    category: Category


def _not_strings(messages: Sequence[Message]) -> list[str]:
    """SPEC T1: content is always a string."""
    strings = all(isinstance(message.content, str) for message in messages)
    return [] if strings else ["content: is not always a string"]


_ROWS: Final[dict[str, type[Record]]] = {
    "sft": _Conversation,
    "preference": _Compared,
    "unpaired": _Labelled,
    "rag": _Piece,
}


def _dataset(notes: _Notes) -> None:
    """The rows of a dataset file, each with its lineage."""
    unit = notes.unit
    part, beside = unit.part, unit.beside
    rows = read_lines(unit.store, unit.path, part, _ANY_LENGTH) if part.end > part.start else ()
    lineages = read_lines(unit.store, unit.beside_path, beside, _ANY_LENGTH) if beside else ()
    kind = _ROWS[unit.stem]
    sides = 2 if unit.stem == "preference" else 1
    for line, origin in zip_longest(rows, lineages):
        if line is None or origin is None:
            words = "has no lineage line" if origin is None else "has no row in the dataset"
            path, number = (unit.path, line) if origin is None else (unit.beside_path, origin)
            notes.check("valid", 2, number.number, [words], None, path)
            continue
        lineage = notes.record(origin, _Lineage, lambda _: None, unit.beside_path)
        at = named(origin.data or b"")
        row = notes.record(line, kind, lambda _, at=at: at)  # type: ignore[misc]
        if row is None or lineage is None:
            continue
        if len(lineage.origins) != sides:
            words = f"origins: are {len(lineage.origins)}, not {sides}"
            notes.check("valid", 2, origin.number, [words], at, unit.beside_path)
            continue
        _dataset_row(notes, line.number, row, lineage)


def _dataset_row(notes: _Notes, number: int, row: Record, lineage: _Lineage) -> None:
    ats = [anchor(one.sig_hash, one.source_file, one.line_offset) for one in lineage.origins]
    sides: list[tuple[int, Said]]
    match row:
        case _Conversation():
            answered = [m for m in row.messages if m.role == "assistant"]
            says = {"answer": has_substance(answered)}
            sides = [(kind_of.SFT, said_in(row.messages))]
        case _Compared():
            says = {"chosen": has_substance(row.chosen), "rejected": has_substance(row.rejected)}
            sides = [
                (kind, said(row.prompt, answer, last_words(answer)))
                for kind, answer in ((kind_of.CHOSEN, row.chosen), (kind_of.REJECTED, row.rejected))
            ]
        case _Labelled():
            says = {"completion": has_substance(row.completion)}
            kind = kind_of.TRUE if row.label else kind_of.FALSE
            sides = [(kind, said(row.prompt, row.completion, last_words(row.completion)))]
        case _:
            says = {"chunk": isinstance(row, _Piece) and bool(row.text.strip())}
            sides = [(kind_of.CHUNK, NOTHING)]
    notes.substance(number, says, ats[0])
    task = kind_of.log_key(lineage.task_id)
    for (kind, heard), at, origin in zip(sides, ats, lineage.origins, strict=True):
        category, flags = CODE[origin.category], kind_of.IN_DATASET
        notes.put(kind, at, number, category, heard, task, kind_of.NO_HASH, UNKNOWN, flags)


_READERS: Final[dict[str, Callable[[_Notes, RawLine], None]]] = {
    "raw": _raw,
    "evidence": _evidence,
    "scored": _scored,
    "quarantine": _refused,
    "sft": _sft,
    "preference": _pair,
    "unpaired": _single,
    "rag": _chunk,
    "baseline": _baseline,
}
