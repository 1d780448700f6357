"""Rows of an index that never change any more, with the graph to search them.

A segment knows nothing of deletions: what is dead in it is a mask that a view keeps beside it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.columns import Columns, Positions
from stillhouse.vectors.distances import lengths_inverted
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.graph import Codes, Graph
from stillhouse.vectors.live import Checks, Rows, Seqs
from stillhouse.vectors.segment_file import Header, SegmentFile, read_segment, write_segment
from stillhouse.vectors.values import Floats, IndexSpec, Metric

_CHOSEN: Final = 16
"""Filters whose living rows are kept."""


class Chosen:
    """Rows of a segment that a filter matches and that live, ascending."""

    def __init__(self, rows: int, matching: Positions, dead: npt.NDArray[np.bool_] | None) -> None:
        self.matching = matching
        self.dead = dead
        self.positions = matching if dead is None else matching[~dead[matching]]
        self._rows = rows
        self._bitmap: npt.NDArray[np.uint8] | None = None

    @property
    def bitmap(self) -> npt.NDArray[np.uint8]:
        """The same as bits, least first, for a graph."""
        if self._bitmap is None:
            mask = np.zeros(self._rows, np.bool_)
            mask[self.positions] = True
            self._bitmap = np.packbits(mask, bitorder="little")
        return self._bitmap


class Segment:
    """A segment as it lies in its file: arrays are mapped, the graph is in memory.

    ``seqs`` (n), ``checks`` (n), ``vectors`` (n, d) and ``inverted`` (n under cosine, else empty)
    are by position.
    """

    def __init__(self, path: Path, file: SegmentFile, graph: Graph) -> None:
        self.path = path
        self.header: Header = file.header
        self.count = file.header.rows
        self.bytes = len(file.data)
        self.graph = graph
        self.seqs: Seqs = file.section("seqs").view("<i8")
        self.checks: Checks = file.section("checks").view("<u4")
        self.inverted: Floats = file.section("inverted").view("<f4")
        self.vectors: Floats = (
            file.section("vectors").view("<f4").reshape(self.count, file.header.dimension)
        )
        self._id_ends: npt.NDArray[np.uint64] = file.section("id_ends").view("<u8")
        self._ids = file.section("ids")
        self._metadata_ends: Seqs = file.section("metadata_ends").view("<i8")
        self._metadata = file.section("metadata")
        self._columns = Columns(self.count, self._all_metadata)
        self._chosen: OrderedDict[int, Chosen] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, spec: IndexSpec) -> Segment:
        """A segment from its file. Raises `VectorDamagedError` when a byte of it is wrong, or it
        is one of another index; `OSError` when the system refuses."""
        file = read_segment(path)
        header = file.header
        if (header.dimension, header.metric) != (spec.dimension, spec.metric):
            raise VectorDamagedError("it belongs to another index", where=str(path))
        graph = Graph.from_bytes(file.section("graph"))
        if graph.rows != header.rows:
            raise VectorDamagedError("its graph has other rows", where=str(path))
        return cls(path, file, graph)

    def ids_at(self, positions: Sequence[int]) -> list[str]:
        """The ids at positions."""
        ends, ids = self._id_ends, self._ids
        return [
            ids[int(ends[at - 1]) if at else 0 : int(ends[at])].tobytes().decode()
            for at in positions
        ]

    def metadata_at(self, positions: Sequence[int]) -> list[bytes | None]:
        """The metadata at positions."""
        return [self._one_metadata(at) for at in positions]

    def _one_metadata(self, at: int) -> bytes | None:
        end = int(self._metadata_ends[at])
        if end < 0:
            return None
        before = int(self._metadata_ends[at - 1]) if at else 0
        return self._metadata[before if before >= 0 else ~before : end].tobytes()

    def _all_metadata(self) -> Iterator[bytes | None]:
        data = memoryview(self._metadata.data)
        start = 0
        for end in self._metadata_ends.tolist():
            yield None if end < 0 else bytes(data[start:end])
            start = end if end >= 0 else ~end

    def select(self, filter_: Filter) -> Positions:
        """The rows that match, ascending, dead ones too. The array is shared."""
        return self._columns.select(filter_)

    def choose(self, filter_: Filter, dead: npt.NDArray[np.bool_] | None) -> Chosen:
        """The rows that match and live; remembered while the same filter is asked."""
        matching = self.select(filter_)
        with self._lock:
            known = self._chosen.get(id(matching))
            if known is not None and known.matching is matching and known.dead is dead:
                self._chosen.move_to_end(id(matching))
                return known
        chosen = Chosen(self.count, matching, dead)
        with self._lock:
            self._chosen[id(matching)] = chosen
            while len(self._chosen) > _CHOSEN:
                self._chosen.popitem(last=False)
        return chosen

    def rows(self, positions: npt.NDArray[np.int64]) -> Rows:
        """Rows at positions."""
        at = positions.tolist()
        return Rows(
            self.seqs[positions],
            self.checks[positions],
            self.ids_at(at),
            self.vectors[positions],
            self.metadata_at(at),
        )


def write_rows(
    path: Path,
    spec: IndexSpec,
    codes: Codes,
    batches: Callable[[], Iterable[Rows]],
    *,
    stopped: Callable[[], bool],
    faults: Callable[[str], None],
    threads: int = 1,
) -> Segment | None:
    """A new segment of rows, by ascending number, which ``batches`` gives anew each time it is
    called; None when ``stopped`` says so meanwhile.

    Memory: the graph and the rows' ids and numbers, and one batch of vectors at a time. Raises
    `OSError`; nothing is left then.
    """
    graph = Graph.build(
        spec.metric, codes, lambda: (rows.vectors for rows in batches()), stopped, threads
    )
    if graph is None:
        return None
    sections = _sections(spec.metric, batches)
    sections["graph"] = lambda: [graph.to_bytes().data]
    header = Header(graph.rows, spec.dimension, spec.metric, codes)
    write_segment(path, header, sections, faults)
    return Segment.open(path, spec)


def _sections(
    metric: Metric, batches: Callable[[], Iterable[Rows]]
) -> dict[str, Callable[[], Iterable[bytes | memoryview]]]:
    def id_ends() -> Iterator[bytes]:
        total = 0
        for rows in batches():
            ends = total + np.cumsum([len(id_.encode()) for id_ in rows.ids], dtype=np.uint64)
            total = int(ends[-1]) if len(ends) else total
            yield ends.astype("<u8").tobytes()

    def metadata_ends() -> Iterator[bytes]:
        total = 0
        for rows in batches():
            ends = np.empty(len(rows.metadata), "<i8")
            for at, one in enumerate(rows.metadata):
                total += len(one or b"")
                ends[at] = total if one is not None else ~total
            yield ends.tobytes()

    return {
        "seqs": lambda: (rows.seqs.astype("<i8").tobytes() for rows in batches()),
        "checks": lambda: (rows.checks.astype("<u4").tobytes() for rows in batches()),
        "inverted": lambda: (
            lengths_inverted(metric, rows.vectors).astype("<f4").tobytes()
            for rows in (batches() if metric == "cosine" else ())
        ),
        "id_ends": id_ends,
        "ids": lambda: ("".join(rows.ids).encode() for rows in batches()),
        "metadata_ends": metadata_ends,
        "metadata": lambda: (
            b"".join(one for one in rows.metadata if one is not None) for rows in batches()
        ),
        "vectors": lambda: (rows.vectors.astype("<f4").tobytes() for rows in batches()),
    }
