"""The walk over a lake: every file is read once, and what names the same raw line meets.

    files → ranges → `lines.note` (on any engine) → facts, dealt by raw line → meetings → gates
                                                            └→ answers, pairs → gates 7, 11

Memory holds a range of lines a worker and a bucket of facts here, whatever the size of the lake.
What is compared is read from the files alone: not from the state, nor the index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from stillhouse.acceptance import facts as kind_of
from stillhouse.acceptance import gates, table
from stillhouse.acceptance.asked import Asked, Broken
from stillhouse.acceptance.facts import (
    ANSWER,
    FACT,
    SIDE,
    UNKNOWN,
    Deal,
    Facts,
    Mask,
    Meeting,
    Numbers,
    log_key,
)
from stillhouse.acceptance.lines import note
from stillhouse.acceptance.notes import Noted, Unit
from stillhouse.acceptance.verdicts import MOST, Docket, Fault
from stillhouse.exports import FILES
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import (
    DISTILLED,
    EVIDENCE,
    QUARANTINE,
    SCORED,
    UNIT_BYTES,
    ByteRange,
    evidence_path_for,
    partition_of,
    raw_files,
    raw_path,
    stem_of,
)
from stillhouse.records import CATEGORIES
from stillhouse.refusals import quarantine_path
from stillhouse.spill import Spill
from stillhouse.work import Progress

_DATASET: Final = re.compile(
    rf"{DISTILLED}/dataset/(?P<config>sft|preference|unpaired|rag)/(?P<split>\w+)"
    r"(?:-00000-of-00001|(?P<lineage>-lineage))\.jsonl"
)
_LINES: Final = 4096
"""Lines of a range at most."""

_BLOCK: Final = 1 << 20

_BYTES_A_FACT: Final = 400
"""Bytes of a lake for which a fact may come: fewer than a line has."""


class File(NamedTuple):
    """A file to read: what it holds (see `lines`), of which stem or dataset config, its size.
    ``beside`` goes with it: the lineage of a dataset file, which is read with it; of evidence
    and scored runs the other of the two."""

    kind: str
    path: str
    stem: str
    size: int
    beside: str = ""
    beside_size: int = 0


class Walk:
    """One walk over a lake. `run` fills the docket."""

    def __init__(self, store: Store, asked: Asked, docket: Docket, scratch: Path) -> None:
        self._store = store
        self._asked = asked
        self._docket = docket
        self.files = list(files_of(store))
        self._logs = {log_key(one.stem): one.path for one in self.files if one.kind == "raw"}
        expected = sum(one.size for one in self.files) // _BYTES_A_FACT
        spill = Spill(scratch, expected)
        self._facts = Deal(spill, "facts", FACT, *Meeting.KEYS)
        self._answers = Deal(spill, "answers", ANSWER, "key")
        self._sides = Deal(spill, "sides", SIDE, "file", "row")

    def run(self, engine: Engine, progress: Progress) -> None:
        """Read every file, and judge all that is judged line by line."""
        progress("reading", 0, None)
        for done, noted in enumerate(engine.map(note, self._units()), 1):
            self._take(noted)
            progress("reading", done, None)
        for facts, starts in self._facts.groups():
            self._meet(Meeting(facts, starts))
        for facts, starts in self._answers.groups():
            self._compare(facts, starts)
        for facts, starts in self._sides.groups():
            self._pair(facts, starts)

    # ------------------------------------------------------------------------- reading

    def _units(self) -> Iterator[Unit]:
        for number, file in enumerate(self.files):
            ranges = cut(self._store, file.path, file.size)
            if file.kind != "dataset":
                for part in ranges:
                    yield Unit(self._store, file.kind, file.path, number, file.stem, part,
                               file.beside)  # fmt: skip
                continue
            lineages = cut(self._store, file.beside, file.beside_size, bytes_=None)
            for part in cut(self._store, file.path, file.size, bytes_=None):
                beside = next(lineages, None)
                yield Unit(self._store, file.kind, file.path, number, file.stem, part,
                           file.beside, beside)  # fmt: skip
            for beside in lineages:
                nothing = ByteRange(file.size, file.size, beside.first_line)
                yield Unit(self._store, file.kind, file.path, number, file.stem, nothing,
                           file.beside, beside)  # fmt: skip

    def _take(self, noted: Noted) -> None:
        for check, faults in noted.faults.items():
            self._docket.add(check, faults, noted.failures[check])
        self._docket.checked.update(noted.checked)
        self._facts.add(np.frombuffer(noted.facts, dtype=FACT))

    # ------------------------------------------------------------------------- judging

    def _meet(self, met: Meeting) -> None:
        """Judge what names the same raw lines, and note what is compared further."""
        for check, number, counted in table.OF_MEETINGS:
            if counted:
                self._docket.checked[number] += int(met.of(*counted).sum())
            for broken in check(met, self._asked):
                self._accuse(check.__name__, met, broken)
        self._answers.add(_answers(met))
        self._sides.add(_sides(met))

    def _accuse(self, check: str, met: Meeting, broken: Broken) -> None:
        places = np.flatnonzero(broken.facts)
        faults = []
        for place in places[:MOST].tolist():
            row = met.facts[place]
            beside = [*broken.lacking, *self._beside(met, place)]
            faults.append(self._fault(row, broken.how, beside))
        self._docket.add(check, faults, len(places))

    def _beside(self, met: Meeting, place: int) -> Iterator[str]:
        """The files that are not as they were when a fact is at fault: the raw log, and of a raw
        line those in which it should be."""
        row = met.facts[place]
        log = self._logs.get(int(row["log"]), "")
        yield log
        if row["kind"] == kind_of.RAW:
            yield quarantine_path(stem_of(log))
            fellows = met.facts[met.fellows(place)]
            for scored in fellows[fellows["kind"] == kind_of.SCORED]:
                yield self.files[int(scored["file"])].beside

    def _fault(
        self, row: Any, words: str, beside: Iterable[str] = (), partner: Any = None
    ) -> Fault:
        """A fault of the row that a fact is about; of a pair, ``partner`` is its other side."""
        file = self.files[int(row["file"])]
        at = "" if file.kind == "raw" else f"{self._place(row)}: "
        made_of = [row] if partner is None else [row, partner]
        lines = [(int(one["log"]), int(one["line"]), int(one["sig_hi"])) for one in made_of]
        others = tuple(path for path in (*beside, file.beside) if path)
        return Fault(file.path, int(row["row"]) + 1, at + words, tuple(lines), others)

    def _place(self, row: Any) -> str:
        """The raw line that a fact names."""
        path = self._logs.get(int(row["log"]), "a log that is not there")
        return f"{path}:{int(row['line']) + 1}"

    def _compare(self, said: Facts, starts: Numbers) -> None:
        """Gate 7."""
        self._docket.checked[7] += int(((said["against"] == 0) & (said["whole"] == 1)).sum())
        other = gates.content_firewall(said, starts)
        hits = np.flatnonzero(other >= 0)
        faults = []
        for hit in hits[:MOST].tolist():
            against = said[other[hit]]
            verdict = CATEGORIES[int(against["category"])]
            words = f"the same answer to the same prompt is {verdict} in {self._place(against)}"
            faults.append(self._fault(said[hit], words))
        self._docket.add("content_firewall", faults, len(hits))

    def _pair(self, sides: Facts, starts: Numbers) -> None:
        """Gate 11."""
        sizes = np.diff(np.append(starts, len(sides)))
        first = starts[sizes == 2]
        one, other = sides[first], sides[first + 1]
        is_chosen = one["kind"] == kind_of.CHOSEN
        chosen, rejected = np.where(is_chosen, one, other), np.where(is_chosen, other, one)
        self._docket.checked[11] += len(chosen)
        for broken in gates.pairs(chosen, rejected):
            hits = np.flatnonzero(broken.facts)
            faults = [
                self._fault(chosen[hit], broken.how, partner=rejected[hit])
                for hit in hits[:MOST].tolist()
            ]
            self._docket.add("pairs", faults, len(hits))


def _answers(met: Meeting) -> Facts:
    """What is taught, and the verdicts that may speak against it."""
    known = met.has(kind_of.EVIDENCE)
    review = met.is_category("needs_human_review")
    review &= (met.evidence("flags") & kind_of.NO_VERDICT) == 0
    rejected = met.is_category("rejected")
    against = met.of(kind_of.EVIDENCE) & (rejected | review)
    # What has such a verdict itself is for gates 6, 11 and 12.
    taught = met.of(*kind_of.TAUGHT) & ~(rejected | review)
    text = np.where(taught & known, met.evidence("text"), met.facts["text"])
    whole = met.facts["whole"]
    parts = []
    for form, key in ((1, whole), (0, text)):
        mask = (against | taught) & (key != 0)
        if not form:
            mask &= text != whole
        rows = _placed(met, mask, ANSWER)
        rows["key"], rows["whole"], rows["against"] = key[mask], form, against[mask]
        given = np.where(rejected, kind_of.CODE["rejected"], kind_of.CODE["needs_human_review"])
        rows["category"] = given[mask]
        parts.append(rows)
    return np.concatenate(parts)


def _sides(met: Meeting) -> Facts:
    """The sides of pairs, as the evidence behind them has them."""
    mask = met.of(kind_of.CHOSEN, kind_of.REJECTED) & met.has(kind_of.EVIDENCE)
    rows = _placed(met, mask, SIDE)
    rows["kind"], rows["claimed"] = met.facts["kind"][mask], met.facts["whole"][mask]
    stored = np.where(met.stored == UNKNOWN, met.evidence("today"), met.stored)
    rows["category"] = stored[mask]
    for name in ("today", "task", "prompt"):
        rows[name] = met.evidence(name)[mask]
    return rows


def _placed(met: Meeting, mask: Mask, dtype: np.dtype[Any]) -> Facts:
    rows = np.empty(int(mask.sum()), dtype=dtype)
    for name in ("sig_hi", "log", "line", "file", "row"):
        rows[name] = met.facts[name][mask]
    return rows


# --------------------------------------------------------------------------------- files


def files_of(store: Store) -> Iterator[File]:
    """Every file of a lake that holds records, and is no receipt."""
    for raw in raw_files(store)[0]:
        yield File("raw", raw.path, raw.stem, raw.size)
    for kind, folder in (("evidence", EVIDENCE), ("scored", SCORED), ("quarantine", QUARANTINE)):
        for entry in store.list(folder):
            if entry.path.endswith(".jsonl"):
                place = partition_of(entry.path)
                stem = place[1] if place else stem_of(entry.path)
                yield File(kind, entry.path, stem, entry.size, _other(kind, entry.path))
    for sections in FILES.values():
        for section, path in sections.items():
            found = store.stat(path)
            if section != "refused" and found is not None:
                yield File(section, path, "", found.size)
    yield from _dataset_files(store)
    baselines = store.stat(raw_path("audit_baselines"))
    if baselines is not None:
        yield File("baseline", baselines.path, "", baselines.size)


def _other(kind: str, path: str) -> str:
    """The scored runs of an evidence file, or the evidence of scored runs."""
    if kind == "evidence":
        return SCORED + path.removeprefix(EVIDENCE)
    return evidence_path_for(path) if kind == "scored" else ""


def _dataset_files(store: Store) -> Iterator[File]:
    """The rows of each config and split, with their lineage; either may be missing."""
    sizes: dict[str, int] = {}
    for entry in store.list(f"{DISTILLED}/dataset"):
        sizes[entry.path] = entry.size
    for path in sorted(sizes):
        found = _DATASET.fullmatch(path)
        if found is None:
            continue
        folder, _, _ = path.rpartition("/")
        rows = f"{folder}/{found['split']}-00000-of-00001.jsonl"
        beside = f"{folder}/{found['split']}-lineage.jsonl"
        if not found["lineage"] or rows not in sizes:
            yield File("dataset", rows, found["config"], sizes.get(rows, 0),
                       beside, sizes.get(beside, 0))  # fmt: skip


def cut(
    store: Store, path: str, size: int, lines: int = _LINES, bytes_: int | None = UNIT_BYTES // 2
) -> Iterator[ByteRange]:
    """A file in ranges of whole lines: so many lines, or the first line end behind so many bytes
    (None for lines alone). The last range may lack its line end; a file of no bytes has none."""
    if not size:
        return
    start = at = first = number = 0
    with store.open(path) as handle:
        while at < size and (block := handle.read(min(_BLOCK, size - at))):
            ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 0x0A) + (at + 1)
            at += len(block)
            while True:
                take = lines - (number - first)
                if bytes_ is not None:
                    take = min(take, int(np.searchsorted(ends, start + bytes_)) + 1)
                if take > len(ends):
                    number += len(ends)
                    break
                number, stop, ends = number + take, int(ends[take - 1]), ends[take:]
                yield ByteRange(start, stop, first)
                start, first = stop, number
    if at > start:
        yield ByteRange(start, at, first)
