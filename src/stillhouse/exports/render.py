"""Rendering: one chunk of a partition becomes lines of every export asked for.

A unit reads its evidence and scored lines, lets the firewall clear each row for each
purpose, redacts, validates, and writes all lines into one scratch file with a table of
what lies where. Units are independent: any engine may run them, and a chunk whose key has
not changed since the last run is not rendered again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from hashlib import sha256
from typing import Final

import msgspec

from stillhouse.errors import RecordError
from stillhouse.exports import dataset_rows
from stillhouse.exports.dataset import SPLITS, Split
from stillhouse.exports.firewall import (
    CODE,
    EXPORT,
    Cleared,
    ExportOptions,
    Joined,
    Purpose,
    clear,
    same_prompt,
)
from stillhouse.exports.preference import pair_of, unpaired_of
from stillhouse.exports.rag import chunk_record
from stillhouse.exports.redacted import count_marks, out_of
from stillhouse.exports.refused import Clash, Refusals
from stillhouse.exports.sft import sample_of
from stillhouse.exports.sides import Place, Runs, changed
from stillhouse.exports.stats import DatasetStats
from stillhouse.index import read_index
from stillhouse.interfaces import Refusal, Store
from stillhouse.lake import Span
from stillhouse.records import Record, check_sft, encode
from stillhouse.state import Head

UNPAIRED: Final = CODE["unpaired"]


class RenderUnit(msgspec.Struct, frozen=True):
    """One chunk: index rows ``rows`` of a partition and the rulings on each of them.

    ``clashes`` names, for each export, the other row by position in the chunk; ``pairs``
    gives, by position of the chosen row, where the rejected ones lie.
    """

    store: Store
    stem: str
    code: str
    evidence_path: str
    scored_path: str
    rows: bytes
    sft: bytes
    preference: bytes
    rag: bytes
    split: bytes
    clashes: dict[str, dict[int, Clash]]
    pairs: dict[int, list[Place]]
    kinds: tuple[str, ...]
    options: ExportOptions
    blob: str


class Rendered(msgspec.Struct, frozen=True):
    """A unit's lines by kind and section, with counts by kind and dataset statistics."""

    spans: dict[str, dict[str, Span]]
    heads: dict[str, list[Head]]
    counts: dict[str, dict[str, int]]
    stats: DatasetStats


def render(unit: RenderUnit) -> Rendered:
    """Write the chunk's lines of every export asked for."""
    return _Chunk(unit).run()


def chunk_key(unit: RenderUnit, kind: str) -> str:
    """Hash of all that a chunk's lines of one kind depend on, text included: index rows
    carry the hashes of raw and evidence lines."""
    hashed = sha256()
    for part in (kind.encode(), unit.rows, unit.sft, unit.preference, unit.rag, unit.split):
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part)
    rest = (unit.code, unit.clashes, unit.pairs, unit.options, unit.evidence_path, unit.scored_path)
    hashed.update(msgspec.json.encode(rest))
    return hashed.hexdigest()


class _Chunk:
    """The rendering of one unit: reads, clears, and collects lines by kind and section."""

    def __init__(self, unit: RenderUnit) -> None:
        self.unit = unit
        self.options = unit.options
        self.categories: list[int] = read_index(unit.rows)["category"].tolist()
        self.lines: dict[str, dict[str, list[bytes]]] = {kind: {} for kind in unit.kinds}
        self.counts: dict[str, Counter[str]] = {kind: Counter() for kind in unit.kinds}
        self.refusals = {
            kind: Refusals(kind, unit.stem, read_index(unit.rows), unit.clashes.get(kind, {}))
            for kind in unit.kinds
            if kind != "dataset"
        }
        self.dataset = (
            dataset_rows.Collector(unit.options, unit.stem) if "dataset" in unit.kinds else None
        )
        self._wanted = {
            kind: kind in unit.kinds or self.dataset is not None
            for kind in ("sft", "preference", "rag")
        }
        self._runs = Runs(unit.store, unit.evidence_path, unit.scored_path, unit.rows)

    def run(self) -> Rendered:
        """Every row, for every export."""
        unit, wanted = self.unit, self._wanted
        rulings = zip(unit.sft, unit.preference, unit.rag, strict=True)
        with self._runs:
            for position, (sft, preference, rag) in enumerate(rulings):
                run: Joined | None = None
                if self._is_needed(position, sft, preference, rag):
                    run = self._runs.own(position)
                if wanted["sft"]:
                    self._sft(position, sft, run)
                if wanted["preference"]:
                    self._preference(position, preference, run)
                if wanted["rag"]:
                    self._rag(position, rag, run)
        return self._finish()

    def _is_needed(self, position: int, sft: int, preference: int, rag: int) -> bool:
        """Whether any export wants the row's text; most refusals need only its index row."""
        wanted = self._wanted
        return (
            (sft == EXPORT and wanted["sft"])
            or (rag == EXPORT and wanted["rag"])
            or (wanted["preference"] and (preference == UNPAIRED or position in self.unit.pairs))
        )

    # --------------------------------------------------------------------- each export

    def _sft(self, position: int, ruling: int, run: Joined | None) -> None:
        cleared = self._clear("sft", "sft", position, ruling, run)
        if cleared is None:
            return
        made = sample_of(cleared)
        if made is None:
            self._refuse_code("sft", position, CODE["not_instructable"])
            return
        sample = check_sft(out_of(made, cleared.words.secrets))
        self._put("sft", "sft", sample, cleared.words.secrets, sample.category)
        if self.dataset is not None:
            self.dataset.sft(self._split(position), sample, cleared.joined)

    def _preference(self, position: int, ruling: int, run: Joined | None) -> None:
        if ruling == UNPAIRED:
            cleared = self._clear("preference", "unpaired", position, EXPORT, run)
            if cleared is not None:
                secrets = cleared.words.secrets
                sample = out_of(unpaired_of(cleared), secrets)
                self._check(sample)
                self._put("preference", "unpaired", sample, secrets, sample.category)
                if self.dataset is not None:
                    self.dataset.unpaired(self._split(position), sample, cleared.joined)
        elif ruling != EXPORT:
            self._refuse_code("preference", position, ruling)
        else:
            # Once a row: a row in several pairs, or the rejected side of one, counts once.
            self._count("preference", "paired")
            for place in self.unit.pairs.get(position, ()):
                assert run is not None
                self._pair(position, place, run)

    def _pair(self, position: int, place: Place, run: Joined) -> None:
        theirs = self._runs.partner(place)
        chosen = clear(run, "chosen", EXPORT, self.options)
        rejected = clear(theirs, "rejected", EXPORT, self.options)
        if isinstance(chosen, Refusal):
            raise changed(self.unit.evidence_path, chosen)
        if isinstance(rejected, Refusal):
            raise changed(place.evidence.path, rejected)
        if not same_prompt(run, theirs):
            raise changed(place.evidence.path, Refusal("no_partner", ["another prompt"]))
        secrets = run.words.secrets | theirs.words.secrets
        pair = out_of(pair_of(chosen, rejected), secrets)
        self._check(pair)
        self._put("preference", "preference", pair, secrets, pair.chosen_category)
        if self.dataset is not None:
            self.dataset.preference(self._split(position), pair, run, secrets)

    def _rag(self, position: int, ruling: int, run: Joined | None) -> None:
        cleared = self._clear("rag", "rag", position, ruling, run)
        if cleared is None:
            return
        made_at = cleared.evidence.provenance.recorded_at
        size, overlap = self.options.chunk_size, self.options.chunk_overlap
        category, secrets = cleared.scored.category, cleared.words.secrets
        self._count("rag", "records")
        for made in chunk_record(cleared, made_at, size, overlap):
            chunk = out_of(made, secrets)
            self._check(chunk)
            self._put("rag", "rag", chunk, secrets, category)
            if self.dataset is not None:
                self.dataset.rag(self._split(position), chunk, cleared.joined)

    # ------------------------------------------------------------------- in and out

    def _clear(
        self, kind: str, purpose: Purpose, position: int, ruling: int, run: Joined | None
    ) -> Cleared | None:
        if run is None or ruling != EXPORT:
            self._refuse_code(kind, position, ruling)
            return None
        cleared = clear(run, purpose, ruling, self.options)
        if isinstance(cleared, Refusal):
            self._refuse(kind, position, cleared)
            return None
        return cleared

    def _check(self, record: Record) -> None:
        problems = record.problems()
        if problems:
            raise RecordError(problems, where=self.unit.evidence_path)

    def _put(
        self, kind: str, section: str, record: Record, secrets: Set[str], category: str
    ) -> None:
        lines = self.lines.get(kind)
        if lines is None:
            return
        line = encode(record)
        lines.setdefault(section, []).append(line)
        counts = self.counts[kind]
        counts[section] += 1
        counts[f"{section}/{category}"] += 1
        if secrets:
            for name, times in count_marks(line, secrets).items():
                counts[f"redacted/{name}"] += times

    def _split(self, position: int) -> Split:
        return SPLITS[self.unit.split[position]]

    def _refuse_code(self, kind: str, position: int, ruling: int) -> None:
        if kind in self.refusals:
            self.refusals[kind].add_code(position, ruling, self.categories[position])

    def _refuse(self, kind: str, position: int, refusal: Refusal) -> None:
        if kind in self.refusals:
            self.refusals[kind].add(position, refusal)
            self.counts[kind][f"refused/{refusal.reason}"] += 1

    def _count(self, kind: str, name: str) -> None:
        if kind in self.counts:
            self.counts[kind][name] += 1

    def _finish(self) -> Rendered:
        heads: dict[str, list[Head]] = {}
        stats = DatasetStats()
        for kind, refusals in self.refusals.items():
            self.counts[kind].update(refusals.counts())
            if refusals.lines:
                self.lines[kind]["refused"] = refusals.lines
        if self.dataset is not None:
            self.lines["dataset"] = self.dataset.lines
            self.counts["dataset"] = self.dataset.counts
            heads, stats = self.dataset.heads, self.dataset.stats
        spans: dict[str, dict[str, Span]] = {}
        at = 0
        with self.unit.store.writer(self.unit.blob, durable=False) as sink:
            for kind, sections in self.lines.items():
                spans[kind] = {}
                for section, lines in sections.items():
                    lines.append(b"")  # for the last line's end
                    data = b"\n".join(lines)
                    sink.write(data)
                    spans[kind][section] = Span(self.unit.blob, at, len(data), len(lines) - 1)
                    at += len(data)
        counts = {kind: dict(count) for kind, count in self.counts.items()}
        return Rendered(spans, heads, counts, stats)
