"""The only gate out of a lake: rulings over all rows, then rendering, then files.

    index → rulings → chunks → firewall → redaction → lines → files, card, receipt

Nothing else may import the exporters (`sft`, `preference`, `rag`, `dataset`); they take a
`Cleared` record and the firewall alone makes one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from stillhouse.exports import folder
from stillhouse.exports.chunks import Chunks, Layout
from stillhouse.exports.firewall import REASONS, ExportOptions
from stillhouse.exports.partitions import Partition, blocks, digest, find_partitions
from stillhouse.exports.render import RenderUnit
from stillhouse.exports.rulings import U8, Rulings, rule
from stillhouse.exports.sides import Place
from stillhouse.index import ROW, Rows, read_index
from stillhouse.lake import (
    DISTILLED,
    EVIDENCE,
    QUARANTINE,
    SCORED,
    UNIT_BYTES,
    Span,
    partition_path,
    raw_path,
)
from stillhouse.receipts import FileDigest
from stillhouse.records import QuarantineRow
from stillhouse.sources import code_of
from stillhouse.spill import Spill
from stillhouse.state import ExportState
from stillhouse.work import Work, is_intact

__all__ = ["FILES", "KINDS", "ExportOptions", "Exported", "export"]

KINDS: Final = ("sft", "preference", "rag", "dataset")
"""What can be exported; ``all`` is all of them, in this order."""

FILES: Final[dict[str, dict[str, str]]] = {
    "sft": {
        "sft": f"{DISTILLED}/sft/sft_export.jsonl",
        "refused": f"{QUARANTINE}/sft/sft.jsonl",
    },
    "preference": {
        "preference": f"{DISTILLED}/preference/preference_export.jsonl",
        "unpaired": f"{DISTILLED}/preference/unpaired_export.jsonl",
        "refused": f"{QUARANTINE}/preference/preference.jsonl",
    },
    "rag": {
        "rag": f"{DISTILLED}/rag/rag_export.jsonl",
        "refused": f"{QUARANTINE}/rag/rag.jsonl",
    },
}
"""Section → file of the kinds that always write the same files."""

_HELD_BYTES: Final = 32 << 20
"""Index bytes kept at hand to look up partners and clashes."""


class Exported(NamedTuple):
    """What an export did: counts by kind (see `render`), and which kinds were unchanged."""

    counts: dict[str, dict[str, int]]
    unchanged: list[str]


def export(work: Work, kinds: Iterable[str], options: ExportOptions) -> Exported:
    """Write the exports asked for; what has not changed is not written again.

    Stages files and receipts; the caller commits (or, for a dry run, does not).
    """
    wanted: list[str] = [kind for kind in KINDS if kind in set(kinds)]
    partitions = find_partitions(work)
    code = [code_of(stem) for stem in sorted({part.stem for part in partitions})]
    inputs = digest([part.identity for part in partitions] + [work.version, *code])
    chosen = msgspec.json.encode(options).decode()
    stale = [kind for kind in wanted if not _is_current(work, kind, inputs, chosen)]
    counts = {kind: dict(work.state.exports[kind].counts) for kind in wanted if kind not in stale}
    if stale:
        counts |= _export(work, stale, options, partitions, inputs, chosen)
    return Exported(counts, [kind for kind in wanted if kind not in stale])


def _is_current(work: Work, kind: str, inputs: str, options: str) -> bool:
    old = work.state.exports.get(kind)
    return (
        old is not None
        and (old.inputs, old.options) == (inputs, options)
        and all(is_intact(work.store, file) for file in old.files.values())
    )


# ------------------------------------------------------------------------------ exporting


def _export(
    work: Work,
    kinds: list[str],
    options: ExportOptions,
    partitions: list[Partition],
    inputs: str,
    chosen: str,
) -> dict[str, dict[str, int]]:
    total = sum(part.rows.size // ROW.itemsize for part in partitions)

    def every() -> Iterator[Rows]:
        for part in partitions:
            yield from blocks(work, part)

    rulings = rule(every, Spill(work.scratch, total), options)
    chunks = Chunks(work, kinds)
    chunks.render(_units(work, partitions, rulings, kinds, options))
    problems = [line for part in partitions for line in part.problems]
    # Witnesses are no rows of their own, and come last.
    own = sum(part.rows.size // ROW.itemsize for part in partitions if not part.witness)
    refused = _refused(rulings.sft[:own])
    dependencies = _dependencies(work, partitions)
    layouts = {kind: _layouts(work, kind, chunks, problems) for kind in kinds}
    joined = iter(
        work.join(
            (layout.path, layout.spans)
            for sections in layouts.values()
            for layout in sections.values()
        )
    )
    results: dict[str, dict[str, int]] = {}
    for kind, sections in layouts.items():
        counts = chunks.counts(kind)
        files = [next(joined) for _ in sections]
        if kind == "dataset":
            files += folder.write(work, sections, chunks.stats(), refused, options, counts)
        else:
            _count_problems(counts, problems)
        _settle(work, kind, files, dependencies, counts, options)
        places = {section: layout.places for section, layout in sections.items()}
        work.state.exports[kind] = ExportState(
            options=chosen,
            inputs=inputs,
            files={file.path: work.file_state(file) for file in files},
            chunks=chunks.states(kind, places),
            counts=counts,
        )
        results[kind] = counts
    return results


def _refused(rulings: U8) -> dict[str, int]:
    """Rows kept out by reason, over the whole lake."""
    counts = np.bincount(rulings, minlength=len(REASONS)).tolist()
    return {
        reason: count
        for reason, count in zip(REASONS, counts, strict=True)
        if count and reason != "export"
    }


def _count_problems(counts: dict[str, int], refused: list[bytes]) -> None:
    for line in refused:
        name = f"refused/{msgspec.json.decode(line, type=QuarantineRow).reason}"
        counts[name] = counts.get(name, 0) + 1


def _layouts(work: Work, kind: str, chunks: Chunks, problems: list[bytes]) -> dict[str, Layout]:
    """The files of a kind by section. Refused lines that belong to no row come last."""
    if kind == "dataset":
        # Sections without lines have no file: `datasets` fails on an empty one.
        paths = folder.section_paths()
        paths = {section: paths[section] for section in chunks.sections(kind)}
    else:
        paths = FILES[kind]
    layouts = {section: chunks.layout(kind, section, path) for section, path in paths.items()}
    if "refused" in layouts and problems:
        blob = work.blob()
        data = b"\n".join(problems) + b"\n"
        with work.store.writer(blob, durable=False) as sink:
            sink.write(data)
        layouts["refused"].spans.append(Span(blob, 0, len(data), len(problems)))
    return layouts


def _dependencies(work: Work, partitions: list[Partition]) -> list[FileDigest]:
    """What the exports were made of, as far as the stages before wrote it."""
    found = []
    for part in partitions:
        state = work.state.partitions.get(partition_path(EVIDENCE, part.day, part.stem))
        for file in (state.evidence, state.scored) if state else ():
            if file is not None:
                found.append(FileDigest(file.path, file.bytes, file.rows, file.sha256))
    return found


def _settle(
    work: Work,
    kind: str,
    files: list[FileDigest],
    inputs: list[FileDigest],
    counts: dict[str, int],
    options: ExportOptions,
) -> None:
    old = work.state.exports.get(kind)
    for path in old.files if old else ():
        work.remove(path)
    if kind == "dataset":
        for path in folder.standing(work.store):
            work.remove(path)
    if files:
        work.receipt(
            kind,
            outputs=files,
            inputs=inputs,
            parameters=msgspec.to_builtins(options),
            counts=counts,
        )


# --------------------------------------------------------------------------------- chunks


def _units(
    work: Work,
    partitions: list[Partition],
    rulings: Rulings,
    kinds: list[str],
    options: ExportOptions,
) -> Iterator[tuple[str, RenderUnit]]:
    """Chunks of partitions, named; their bounds do not move when a partition grows."""
    places = _Places(work, partitions, rulings)
    for part in partitions:
        if part.witness:
            continue
        base = part.first_row
        for rows in blocks(work, part):
            cells = rows["evidence_start"] // np.uint64(UNIT_BYTES)
            cuts = [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist(), len(rows)]
            for low, high in pairwise(cuts):
                if low < high:
                    first, end = base + low, base + high
                    yield (
                        f"{part.day} {part.stem} {first - part.first_row}",
                        places.unit(part, rows[low:high], first, end, kinds, options),
                    )
            base += len(rows)


class _Places:
    """Answers where another row of the lake lies, for partners and clashes."""

    def __init__(self, work: Work, partitions: list[Partition], rulings: Rulings) -> None:
        self._work = work
        self._partitions = partitions
        self._rulings = rulings
        self._first = [part.first_row for part in partitions]
        self._held: dict[int, Rows] = {}
        self._held_bytes = 0

    def _row(self, number: int) -> tuple[Partition, Any]:
        place = bisect_right(self._first, number) - 1
        part = self._partitions[place]
        at = number - part.first_row
        rows = self._held.get(place)
        if rows is not None:
            return part, rows[at]
        span = part.rows
        if span.size <= _HELD_BYTES // 8:
            if self._held_bytes + span.size > _HELD_BYTES:
                self._held, self._held_bytes = {}, 0
            rows = read_index(self._work.store.read(span.path, span.start, span.start + span.size))
            self._held[place] = rows
            self._held_bytes += span.size
            return part, rows[at]
        start = span.start + at * ROW.itemsize
        return part, read_index(self._work.store.read(span.path, start, start + ROW.itemsize))[0]

    def name(self, number: int) -> str:
        """``FILE:LINE`` of a row's raw line."""
        part, row = self._row(number)
        return f"{raw_path(part.stem)}:{int(row['line_offset']) + 1}"

    def place(self, number: int) -> Place:
        """Where a row's two lines lie."""
        part, row = self._row(number)
        return Place(
            *(
                Span(
                    partition_path(root, part.day, part.stem),
                    int(row[f"{name}_start"]),
                    int(row[f"{name}_size"]),
                    1,
                )
                for root, name in ((EVIDENCE, "evidence"), (SCORED, "scored"))
            )
        )

    def unit(
        self,
        part: Partition,
        rows: Rows,
        first: int,
        end: int,
        kinds: list[str],
        options: ExportOptions,
    ) -> RenderUnit:
        """One chunk with all that its rendering needs."""
        rulings = self._rulings
        low, high = np.searchsorted(rulings.pairs[:, 0], [first, end])
        pairs: dict[int, list[Place]] = {}
        for chosen, rejected in rulings.pairs[low:high].tolist():
            pairs.setdefault(chosen - first, []).append(self.place(rejected))
        return RenderUnit(
            store=self._work.store,
            stem=part.stem,
            code=f"{self._work.version} {code_of(part.stem)}",
            evidence_path=partition_path(EVIDENCE, part.day, part.stem),
            scored_path=partition_path(SCORED, part.day, part.stem),
            rows=rows.tobytes(),
            sft=rulings.sft[first:end].tobytes(),
            preference=rulings.preference[first:end].tobytes(),
            rag=rulings.rag[first:end].tobytes(),
            split=rulings.split[first:end].tobytes(),
            clashes={
                kind: {at: self.name(row) for at, row in clashes.within(first, end).items()}
                for kind, clashes in rulings.other.items()
            },
            pairs=pairs,
            kinds=tuple(kinds),
            options=options,
            blob="",
        )
