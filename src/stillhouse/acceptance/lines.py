"""Reading a range of one file of a lake: its facts, and what is wrong with lines by themselves.

A unit of work, pure but for its store: any engine may run it. What stands in a line is read by
the validators; the rules, the words and the redaction are asked what they say of evidence
today. This module judges no line against another.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import zip_longest
from typing import Any, Final

import msgspec

from stillhouse.acceptance import facts as kind_of
from stillhouse.acceptance import gates
from stillhouse.acceptance.answers import last_words, said, said_by, said_in, said_to
from stillhouse.acceptance.facts import CODE, NO_HASH, NOTHING, UNKNOWN, Said, half, log_key
from stillhouse.acceptance.notes import Named, Noted, Notes, Place, Unit, named
from stillhouse.acceptance.samples import ROWS, Labelled, Lineage, Piece, Ranked, Talk
from stillhouse.lake import read_lines
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


def note(unit: Unit) -> Noted:
    """Read a range."""
    notes = Notes(unit)
    _READERS[unit.kind](notes)
    return notes.done()


def _provenance(record: Any) -> Provenance:
    found: Provenance = record.provenance
    return found


# -------------------------------------------------------------------------------- stages


def _raw(notes: Notes) -> None:
    unit = notes.unit
    for line in read_lines(unit.store, unit.path, unit.part):
        data = line.data
        if data is None or (data and not data.isspace()):
            digest = line.digest if data is None else sha256(data).hexdigest()
            notes.put(kind_of.RAW, Place(unit.path, line.number, digest), line.number)


def _evidence(notes: Notes) -> None:
    for number, line, record in notes.records(EvidenceRecord, _provenance):
        if record is None:
            continue
        at: Named = record.provenance
        stem = stem_from_source_file(at.source_file)
        if stem != notes.unit.stem:
            # Its partition is that of another log: it is as good as of no raw line.
            at = Place(f"{at.source_file} in {notes.unit.path}", at.line_offset, at.sig_hash)
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


def _scored(notes: Notes) -> None:
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


def _refused(notes: Notes) -> None:
    for number, _, row in notes.records(QuarantineRow, lambda row: row):
        if row is not None and row.stage in _REFUSALS:
            notes.put(_REFUSALS[row.stage], row, number)


def _baseline(notes: Notes) -> None:
    for _ in notes.records(AuditBaseline, lambda _: None):
        pass


# ------------------------------------------------------------------------------- exports


def _sft(notes: Notes) -> None:
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


def _pairs(notes: Notes) -> None:
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


def _unpaired(notes: Notes) -> None:
    for number, _, sample in notes.records(UnpairedSample, _provenance):
        if sample is None:
            continue
        notes.substance(number, {"answer": has_substance(sample.completion)}, sample.provenance)
        kind = kind_of.TRUE if sample.label else kind_of.FALSE
        told, task = _told(sample.prompt, sample.completion), log_key(sample.task_id)
        notes.put(kind, sample.provenance, number, CODE[sample.category], told, task)


def _chunks(notes: Notes) -> None:
    for number, _, chunk in notes.records(RagChunk, _provenance):
        if chunk is not None:
            notes.substance(number, {"chunk": bool(chunk.text.strip())}, chunk.provenance)
            category, task = CODE[chunk.category], log_key(chunk.task_id)
            notes.put(kind_of.CHUNK, chunk.provenance, number, category, NOTHING, task)


def _told(prompt: list[Message], answer: list[Message]) -> Said:
    return said(prompt, answer, last_words(answer))


def _dataset(notes: Notes) -> None:
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


def _dataset_row(notes: Notes, number: int, row: Record, lineage: Lineage) -> None:
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


_READERS: Final[dict[str, Callable[[Notes], None]]] = {
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
