"""Units of rendering: chunks of partitions, each with all that it needs to know of the lake."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np

from stillhouse.exports.firewall import ExportOptions
from stillhouse.exports.pairing import partners
from stillhouse.exports.partitions import Partition, blocks
from stillhouse.exports.refused import Clash
from stillhouse.exports.render import RenderUnit
from stillhouse.exports.rulings import Rulings
from stillhouse.exports.sides import Place
from stillhouse.index import ROW, SECRET, Rows, read_index
from stillhouse.lake import EVIDENCE, SCORED, UNIT_BYTES, Span, partition_path, raw_path
from stillhouse.sources import code_of, text_of
from stillhouse.work import Work

OWN_CODE: Final = "exports/*.py"
"""What decides how a row looks in an export: when its text changes, all are written anew."""

_HELD_BYTES: Final = 32 << 20
"""Index bytes kept at hand to look up partners and clashes."""


def units(
    work: Work,
    partitions: list[Partition],
    rulings: Rulings,
    kinds: list[str],
    options: ExportOptions,
) -> Iterator[tuple[str, RenderUnit]]:
    """Chunks of partitions, named; their bounds do not move when a partition grows."""
    places = Places(work, partitions, rulings)
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


class Places:
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

    def clash(self, number: int) -> Clash:
        """A row as the other one of a conflict or a repetition."""
        part, row = self._row(number)
        place = f"{raw_path(part.stem)}:{int(row['line_offset']) + 1}"
        return Clash(place, int(row["category"]))

    def place(self, number: int) -> Place:
        """Where a row's two lines lie."""
        part, row = self._row(number)
        evidence, scored = (
            Span(
                partition_path(root, part.day, part.stem),
                int(row[f"{name}_start"]),
                int(row[f"{name}_size"]),
                1,
            )
            for root, name in ((EVIDENCE, "evidence"), (SCORED, "scored"))
        )
        return Place(
            evidence,
            scored,
            sig=row["evidence_sig"].tobytes().hex(),
            code=code_of(part.stem),
            secret=bool(row["flags"] & SECRET),
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
        pairs: dict[int, list[Place]] = {}
        for chosen, rejected in partners(rulings.pairs, first, end):
            pairs.setdefault(chosen - first, []).append(self.place(rejected))
        return RenderUnit(
            store=self._work.store,
            stem=part.stem,
            code=f"{self._work.version} {text_of(OWN_CODE)} {code_of(part.stem)}",
            evidence_path=partition_path(EVIDENCE, part.day, part.stem),
            scored_path=partition_path(SCORED, part.day, part.stem),
            rows=rows.tobytes(),
            sft=rulings.sft[first:end].tobytes(),
            preference=rulings.preference[first:end].tobytes(),
            rag=rulings.rag[first:end].tobytes(),
            split=rulings.split[first:end].tobytes(),
            clashes={
                kind: {at: self.clash(row) for at, row in clashes.within(first, end).items()}
                for kind, clashes in rulings.other.items()
            },
            pairs=pairs,
            kinds=tuple(kinds),
            options=options,
            blob="",
        )
