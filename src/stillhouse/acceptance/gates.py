"""The sixteen gates of SPEC P5, each a small function, in the order of its table.

A gate looks at one of four things:

    a line          as it stands in a file                        2, 5, 10
    a meeting       all facts that name the same raw lines        1, 3, 4, 6, 8, 9, 12
    answers, pairs  facts that say the same, or are one pair      7, 11
    the lake        its receipts, or runs of the program over it  13 to 16

and says what is wrong there in words; nothing when it holds. It asks the evidence and the raw
line behind a row, never what the row claims of itself, and never the index or the rulings that
the exports were made by. This module never reads a file by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final, TypeVar

import msgspec
import numpy as np

from stillhouse.acceptance import facts as kind_of
from stillhouse.acceptance.alarms import EXPECTED, planted_faults
from stillhouse.acceptance.asked import Asked, Broken, Found, Judged, View
from stillhouse.acceptance.facts import Facts, Mask, Meeting, Numbers
from stillhouse.acceptance.verdicts import Fault, RawLine
from stillhouse.errors import ReceiptError, RecordError
from stillhouse.exports import FILES
from stillhouse.interfaces import Refusal
from stillhouse.lake import EVIDENCE, raw_path, stem_of
from stillhouse.rawjson import read_object
from stillhouse.receipts import decode_receipt, list_receipts, verify_lake
from stillhouse.records import (
    CATEGORIES,
    RANK,
    SFT_NEVER,
    SFT_OPT_IN,
    Record,
    decode,
    decode_types,
    encode,
)
from stillhouse.replay import FileParting, Maker, RowParting, replay, run_again
from stillhouse.storage import LocalStore

R = TypeVar("R", bound=Record)


# ------------------------------------------------------------------------- 1 accounted


def accounted(met: Meeting, asked: Asked) -> Found:
    """1: a raw row that is not blank is evidence or in quarantine, exactly once."""
    raw = met.of(kind_of.RAW)
    times = met.count(met.of(kind_of.EVIDENCE, kind_of.REFUSED))
    yield Broken(
        raw & (times == 0), "is neither evidence nor in quarantine; `stillhouse run` reads it"
    )
    yield Broken(raw & (times > 1), "stands more than once in the evidence or in quarantine")
    stray = met.of(kind_of.REFUSED) & ~met.has(kind_of.RAW)
    yield Broken(stray, "the raw line that it refuses is not there, or has another hash")


def settled(met: Meeting, asked: Asked) -> Found:
    """1: the counts add up: each evidence record is in an export or refused there, once."""
    evidence = met.of(kind_of.EVIDENCE)
    for refusal, name, once, often in _EXPORTS:
        if refusal not in asked.exported:
            continue
        times = met.count(met.of(refusal) | _standing(met, *once))
        if often:
            times = times + np.minimum(met.count(_standing(met, *often)), 1)
        files = tuple(FILES[name].values())
        lost = f"is neither in the {name} export nor refused there"
        yield Broken(evidence & (times == 0), lost, files)
        twice = f"is in the {name} export and its refusals more than once"
        yield Broken(evidence & (times > 1), twice, files)


def _standing(met: Meeting, *kinds: int) -> Mask:
    """The facts of these kinds that are no copies in the dataset."""
    mask: Mask = met.of(*kinds) & ((met.facts["flags"] & kind_of.IN_DATASET) == 0)
    return mask


_EXPORTS: Final = (
    (kind_of.NOT_SFT, "sft", (kind_of.SFT,), ()),
    (
        kind_of.NOT_PREFERENCE,
        "preference",
        (kind_of.TRUE, kind_of.FALSE),
        (kind_of.CHOSEN, kind_of.REJECTED),
    ),
    (kind_of.NOT_RAG, "rag", (), (kind_of.CHUNK,)),
)
"""Of each export: the kind of its refusals, its name, and as what a run is in it: once, or in
several pairs or chunks."""


# ----------------------------------------------------------------------------- 2 valid


def valid(line: bytes, kind: type[R]) -> tuple[R | None, list[str]]:
    """2: every record of every file validates. Also gives the record, when its types hold."""
    try:
        record = decode(line, kind)
    except RecordError as error:
        try:
            return decode_types(line, kind), list(error.problems)
        except RecordError:
            return None, list(error.problems)
    loaded = None if encode(record) == line else read_object(line)
    # A key that stands twice is read in one way here and may be in another way elsewhere.
    twice = isinstance(loaded, Refusal) and loaded.reason == "duplicate_key"
    return record, loaded.detail if isinstance(loaded, Refusal) and twice else []


def all_valid(lines: bytes, kind: type[R]) -> list[R] | None:
    """2, of many lines at once: the records, when each is valid and what stands there is what a
    record writes. None when any may not be: they are then looked at one by one."""
    try:
        records = _decoder(kind).decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if _ENCODER.encode_lines(records) != lines or any(record.problems() for record in records):
        return None
    return records


@cache
def _decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    return msgspec.json.Decoder(kind)


_ENCODER: Final = msgspec.json.Encoder()


def receipts_valid(view: View) -> Judged:
    """2: receipts are records too."""
    paths, faults = list_receipts(view.store), []
    for path in paths:
        try:
            decode_receipt(view.store.read(path), path)
        except ReceiptError as error:
            faults.append(Fault(path, None, error.what))
    return Judged(len(paths), faults)


# -------------------------------------------------------------------------- 3 anchored


def anchored(met: Meeting, asked: Asked) -> Found:
    """3: every evidence record's `sig_hash` is that of the raw line it names."""
    lost = met.of(kind_of.EVIDENCE) & ~met.has(kind_of.RAW)
    yield Broken(lost, "the raw line that it names is not there, or has another hash")


# ----------------------------------------------------------------------- 4 scored once


def scored_once(met: Meeting, asked: Asked) -> Found:
    """4: every evidence record has exactly one scored run."""
    evidence, times = met.of(kind_of.EVIDENCE), met.count(met.scoring)
    yield Broken(evidence & (times == 0), "no scored run names this line by its hash")
    yield Broken(evidence & (times > 1), "more than one scored run names it")
    stray = met.of(kind_of.SCORED) & ~met.scoring
    yield Broken(stray, "the evidence that it scores, by hash and raw line, is not there")


# ------------------------------------------------------------------------- 5 explained


def explained(category: object, reasons: object, scorer_version: object) -> list[str]:
    """5: every scored run has a known category, a reason and a scorer version."""
    problems = []
    if category not in CATEGORIES:
        problems.append(f"its category {category!r} is none of {', '.join(CATEGORIES)}")
    if not isinstance(reasons, list) or not reasons or not all(map(_says, reasons)):
        problems.append("it gives no reason, or an empty one")
    if not _says(scorer_version):
        problems.append("it does not say which scorer gave it")
    return problems


def _says(word: object) -> bool:
    return isinstance(word, str) and bool(word.strip())


# -------------------------------------------------------------------------- 6 firewall


def firewall(met: Meeting, asked: Asked) -> Found:
    """6: no SFT sample comes from a category in `SFT_NEVER`, by the scored run of its evidence
    and by what today's rules give to it, whatever the sample says."""
    for category in sorted(SFT_NEVER):
        words = f"a sample whose evidence is {category}, and never trains"
        yield Broken(met.of(kind_of.SFT) & met.is_category(category), words)


# ------------------------------------------------------------------ 7 content firewall


def content_firewall(said: Facts, starts: Numbers) -> Numbers:
    """7: no SFT answer, chosen side or true label has a conflicting verdict elsewhere (F5).

    ``said`` are `facts.ANSWER` rows, those that say the same side by side. Gives for each of
    them the position of a verdict that speaks against it, or -1. Two conversations are not the
    same because they end in the same words.
    """
    sizes = np.diff(np.append(starts, len(said)))
    against, whole = said["against"] == 1, said["whole"] == 1

    def first(mask: Mask) -> Numbers:
        place = np.where(mask, np.arange(len(said)), len(said))
        return np.repeat(np.minimum.reduceat(place, starts), sizes)

    other = np.where(whole, first(against), first(against & whole))
    return np.where(against | (other == len(said)), -1, other)


# ---------------------------------------------------------------------------- 8 opt-in


def opt_in(met: Meeting, asked: Asked) -> Found:
    """8: no partially accepted sample without the option that the receipt names."""
    partial = met.of(kind_of.SFT) & met.is_category(*SFT_OPT_IN)
    in_dataset = (met.facts["flags"] & kind_of.IN_DATASET) != 0
    allowed = np.where(in_dataset, asked.dataset_partial, asked.partial)
    yield Broken(
        partial & ~allowed, "partially accepted, and its receipt does not say include_partial"
    )


# --------------------------------------------------------------------- 9 no extraction


def no_extraction(met: Meeting, asked: Asked) -> Found:
    """9: no SFT sample from the extraction class or an extractor role."""
    extracted = (met.evidence("flags") & kind_of.EXTRACTED) != 0
    found = met.of(kind_of.SFT) & met.has(kind_of.EVIDENCE) & extracted
    yield Broken(found, "its evidence only extracts: it is no answer to a task")


# ------------------------------------------------------------------------ 10 substance


def substance(says: Mapping[str, bool]) -> list[str]:
    """10: no empty instruction, response, chosen, rejected or chunk. ``says`` tells of each part
    of a row whether it has words or a tool call."""
    return [f"{part} is empty" for part, full in says.items() if not full]


# ---------------------------------------------------------------------------- 11 pairs


def pairs(chosen: Facts, rejected: Facts) -> Found:
    """11: chosen ≠ rejected, chosen ranks higher, same task, same prompt. ``chosen`` and
    ``rejected`` are `facts.SIDE` rows, pair by pair: what the evidence behind the sides says."""
    yield Broken(chosen["claimed"] == rejected["claimed"], "both sides say the same")
    for name in ("category", "today"):
        lower = _rank(chosen[name]) <= _rank(rejected[name])
        yield Broken(lower, "the evidence of its chosen side does not rank above that of the other")
    yield Broken(chosen["task"] != rejected["task"], "its sides are of different tasks")
    yield Broken(chosen["prompt"] != rejected["prompt"], "its sides answer different prompts")


def _rank(categories: Numbers) -> Numbers:
    table = np.full(256, -1, dtype=np.int8)
    for name, rank in RANK.items():
        table[kind_of.CODE[name]] = rank
    return table[categories]


# ------------------------------------------------------------------------ 12 traceable


def traceable(met: Meeting, asked: Asked) -> Found:
    """12: every exported row walks back to its raw line through matching hashes, under the
    category of its scored run, and says what its evidence says."""
    side, facts = met.of(*kind_of.SIDES), met.facts
    known, scored = met.has(kind_of.EVIDENCE), met.count(met.scoring) > 0
    yield Broken(
        side & ~known, "no evidence comes of the raw line, by place and hash, that it names"
    )
    yield Broken(side & known & ~scored, "no scored run names its evidence by hash")
    yield Broken(
        side & ~met.has(kind_of.RAW), "the raw line that it names is not there by that hash"
    )
    known &= side
    yield Broken(
        known & scored & (facts["category"] != met.stored), "its scored run has another category"
    )
    task = (facts["task"] != 0) & (facts["task"] != met.evidence("task"))
    yield Broken(known & task, "its evidence is of another task")
    other = ~met.of(kind_of.CHUNK) & (facts["whole"] != met.evidence("whole"))
    other |= _standing(met, kind_of.SFT) & (facts["text"] != met.evidence("text"))
    yield Broken(known & other, "its evidence says something else")


# ------------------------------------------------------------------------ 13 receipted


def receipted(view: View) -> Judged:
    """13: every file is in a receipt and has its hash."""
    report = verify_lake(view.store, view.engine)
    faults = [
        # The whole file: the line that the detail names is that of the block which parts.
        Fault(one.path, None, f"{one.detail}. {one.way_out}")
        for one in report.problems
    ]
    return Judged(report.files + report.receipts, faults)


# --------------------------------------------------------------------- 14 reproducible


def reproducible(view: View) -> Judged:
    """14: a second run in a scratch folder gives the same bytes, from the receipts alone."""
    upper = LocalStore(view.scratch / "second", create=True)
    maker = Maker(view.version, view.commit)
    try:
        again = replay(view.store, view.engine, upper, view.scratch, maker, progress=view.progress)
    except ReceiptError as error:
        return Judged(0, [Fault(error.where, None, error.what)])
    faults = [
        Fault(one.path, None, f"cannot be read again as it was: {one.detail}")
        for one in again.inputs
    ]
    for one in again.parted:
        # What only follows, or lacks its input, has its cause among these already.
        if one.why in ("version", "rule"):
            faults += _parted(one)
    return Judged(again.files, faults)


def _parted(one: FileParting) -> list[Fault]:
    """A fault a row, where all rows that part are at hand; else one of the whole file."""
    said = f"is not what a second run gives: {one.detail}"
    if not one.difference.rows or one.difference.rows > len(one.difference.examples):
        return [Fault(one.path, None, said)]
    return [
        Fault(one.path, row.line, said, lines=(_raw_line(row),) if row.source_file else ())
        for row in one.difference.examples
    ]


def _raw_line(row: RowParting) -> RawLine:
    return kind_of.log_of(row.source_file), row.line_offset or 0, 0


# ----------------------------------------------------------------------- 15 idempotent


def idempotent(view: View) -> Judged:
    """15: running again on the same lake changes nothing."""
    upper = LocalStore(view.scratch / "again", create=True)
    try:
        again = run_again(view.store, view.engine, upper, view.recorded_at, view.progress)
    except ReceiptError as error:
        return Judged(0, [Fault(error.where, None, error.what)])
    # A run mends what is wrong with a file or a log, and writes what was made of it too.
    logs = {raw_path(stem_of(path)) for path in again.changed if path.startswith(f"{EVIDENCE}/")}
    rests_on = (*again.changed, *sorted(logs))
    faults = [
        Fault(path, None, "running again would write or remove it", rests_on=rests_on)
        for path in again.changed
    ]
    return Judged(again.files, faults)


# --------------------------------------------------------------------- 16 alarms work


def alarms_work(view: View) -> Judged:
    """16: planted faults are each caught by the gate that should: on a small lake, made for this
    in memory, by the very code at hand."""
    faults = []
    for name, store in planted_faults():
        report = view.again(store)
        red = [gate.number for gate in report.gates if gate.verdict == "red"]
        if red != EXPECTED[name]:
            faults.append(Fault(store.url, None, f"{name}: red are {red}, not {EXPECTED[name]}"))
    return Judged(len(EXPECTED), faults)
