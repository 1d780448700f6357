"""Rows of an index that never change any more, with the graph to search them.

A segment knows nothing of deletions: what is dead in it is a mask that a view keeps beside it.
"""

from __future__ import annotations

import mmap
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.columns import Columns, Positions
from stillhouse.vectors.distances import lengths_inverted
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.graph import Codes, Graph, Scan, build
from stillhouse.vectors.live import Checks, Rows, Seqs
from stillhouse.vectors.segment_file import Header, SegmentFile, SegmentWriter, read_segment
from stillhouse.vectors.values import Floats, IndexSpec, Metric

Dead = npt.NDArray[np.bool_]

_SCANNED: Final = 96
"""So few rows are looked at by their vectors; of more, codes are laid end to end."""
_KEPT_LEAST: Final = 1 << 20
_KEPT_MOST: Final = 1_024
_PIECE: Final = 1 << 20


class Chosen:
    """Rows of a segment that a filter matches and that live: ``positions``, ascending int64."""

    def __init__(self, matching: Positions, dead: Dead | None, graph: Graph) -> None:
        self.matching = matching
        self.dead = dead
        living = matching if dead is None else matching[~dead[matching]]
        self.positions: npt.NDArray[np.int64] = living.astype(np.int64)
        self._graph = graph
        self._allowed: Dead | None = None
        self._scan: Scan | None = None

    @property
    def bytes(self) -> int:
        """What it takes in memory, or will."""
        each = self._graph.code_bytes if len(self.positions) > _SCANNED else 0
        return (each + 12) * len(self.positions) + 1_000

    def allowed(self) -> Dead:
        """The same as a mask over all rows."""
        if self._allowed is None:
            mask = np.zeros(self._graph.rows, np.bool_)
            mask[self.positions] = True
            self._allowed = mask
        return self._allowed

    def nearest(self, queries: Floats, take: int) -> npt.NDArray[np.int64]:
        """About the ``take`` nearest of these rows for each query (n, d), as (n, c): all of them
        where they are few; -1 where codes do not tell."""
        count = len(self.positions)
        if count <= max(_SCANNED, take):
            return np.tile(self.positions, (len(queries), 1))
        if self._scan is None:
            self._scan = self._graph.scan_of(self.positions)
        places = self._scan.nearest(queries, take)
        found = self.positions.take(places)
        if places[0, -1] < 0 or (len(places) > 1 and places[:, -1].min() < 0):
            found[places < 0] = -1
        return found


class _Kept:
    """Answers of filters, the last asked for, as many as go into ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._chosen: OrderedDict[str, Chosen] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, dead: Dead | None) -> Chosen | None:
        with self._lock:
            found = self._chosen.get(key)
            if found is None or found.dead is not dead:
                return None
            self._chosen.move_to_end(key)
            return found

    def matching(self, key: str) -> Positions | None:
        """What matches, whatever has died since."""
        with self._lock:
            found = self._chosen.get(key)
        return None if found is None else found.matching

    def put(self, key: str, chosen: Chosen) -> None:
        with self._lock:
            old = self._chosen.pop(key, None)
            self._size += chosen.bytes - (old.bytes if old is not None else 0)
            self._chosen[key] = chosen
            while self._size > self._most or len(self._chosen) > _KEPT_MOST:
                _, gone = self._chosen.popitem(last=False)
                self._size -= gone.bytes


class Segment:
    """A segment as it lies in its file: arrays are mapped, the graph is in memory.

    ``seqs`` (n), ``checks`` (n), ``vectors`` (n, d) and ``inverted`` (n under cosine, else empty)
    are by position; ``beam`` is how wide a search of the graph is by default.
    """

    def __init__(self, path: Path, file: SegmentFile, graph: Graph) -> None:
        self.path = path
        self.header: Header = file.header
        self.count = file.header.rows
        self.beam = file.header.beam
        self.bytes = len(file.data)
        self.graph = graph
        self.seqs: Seqs = file.section("seqs").view("<i8")
        self.checks: Checks = file.section("checks").view("<u4")
        self.inverted: Floats = file.section("inverted").view("<f4")
        self.vectors: Floats = (
            file.section("vectors").view("<f4").reshape(self.count, file.header.dimension)
        )
        self._mapped: mmap.mmap = file.mapped
        self._id_starts: Seqs = file.section("id_starts").view("<i8")
        self._ids_offset = file.header.sections["ids"][0]
        self._metadata_starts: Seqs = file.section("metadata_starts").view("<i8")
        self._metadata_offset = file.header.sections["metadata"][0]
        self._known_ids: list[str | None] = [None] * self.count
        self._columns = Columns(self.count, self._all_metadata)
        # As much as the codes of all rows once, so that the values of one field can all be kept.
        self._kept = _Kept(_KEPT_LEAST + self.count * (graph.code_bytes + 16))

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
        """The ids at positions. Each is decoded once."""
        known = self._known_ids
        return [known[at] or self._id(at) for at in positions]

    def _id(self, at: int) -> str:
        start, stop = self._id_starts[at : at + 2].tolist()
        id_ = self._known_ids[at] = self._text(self._ids_offset, start, stop).decode()
        return id_

    def _text(self, offset: int, start: int, stop: int) -> bytes:
        return self._mapped[offset + start : offset + stop]

    def metadata_at(self, positions: Sequence[int]) -> list[bytes | None]:
        """The metadata at positions."""
        where = np.asarray(positions, np.int64)
        starts = self._metadata_starts.take(where).tolist()
        stops = self._metadata_starts.take(where + 1).tolist()
        offset = self._metadata_offset
        return [
            self._text(offset, start, stop) if start < stop else None
            for start, stop in zip(starts, stops, strict=True)
        ]

    def _all_metadata(self) -> Iterator[bytes | None]:
        for start in range(0, self.count, 4_096):
            yield from self.metadata_at(range(start, min(start + 4_096, self.count)))

    def choose(self, filter_: Filter | None, dead: Dead | None) -> Chosen:
        """The rows that match and live; remembered while they are asked for. All that live when
        there is no filter."""
        # Equal structs are not equal filters: OneOf(path, (1,)) == OneOf(path, (True,)).
        key = repr(filter_)
        chosen = self._kept.get(key, dead)
        if chosen is None:
            matching = self._kept.matching(key)
            if matching is None and filter_ is not None:
                matching = self._columns.select(filter_)
            elif matching is None:
                matching = np.arange(self.count, dtype=np.int32)
            chosen = Chosen(matching, dead, self.graph)
            self._kept.put(key, chosen)
        return chosen

    def rows(self, positions: npt.NDArray[np.int64]) -> Rows:
        """Rows at positions, as the file has them now: `Rows.changed` tells what rotted since it
        was opened."""
        starts = self._id_starts.take(positions).tolist()
        stops = self._id_starts.take(positions + 1).tolist()
        return Rows(
            self.seqs[positions],
            self.checks[positions],
            [
                self._text(self._ids_offset, start, stop).decode(errors="replace")
                for start, stop in zip(starts, stops, strict=True)
            ],
            self.vectors[positions],
            self.metadata_at(positions.tolist()),
        )


class Building(NamedTuple):
    """How a segment is built: what codes it is to have, how many threads may work on it, when to
    stop, and what is told of named points."""

    spec: IndexSpec
    codes: Codes
    threads: int
    stopped: Callable[[], bool]
    faults: Callable[[str], None]


def write_rows(path: Path, batches: Iterable[Rows], how: Building) -> Segment | None:
    """A new segment of rows, by ascending number; None when there are none, or when it was stopped
    meanwhile.

    Memory: the graph, the rows' ids and numbers, and one batch; vectors go to the file first and
    are read from there. Raises `OSError`; nothing is left then.
    """
    writer = SegmentWriter(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent) as spool:
            rows = _Columns(how.spec, spool)
            writer.section("vectors", rows.vectors(batches, how.stopped))
            if how.stopped() or not rows.count:
                writer.abandon()
                return None
            vectors = writer.written("vectors").view("<f4").reshape(-1, how.spec.dimension)
            inverted = np.concatenate([np.zeros(0, np.float32), *rows.inverted])
            built = build(how.spec.metric, how.codes, vectors, inverted, how.stopped, how.threads)
            if built is None:
                writer.abandon()
                return None
            rows.write(writer)
        writer.section("graph", [built.graph.to_bytes().data])
        header = Header(len(vectors), how.spec.dimension, how.spec.metric, built.codes, built.beam)
        del built, vectors
        writer.finish(header, how.faults)
    except BaseException:
        writer.abandon()
        raise
    # Read again: what a graph takes while it grows is more than what it takes in the end.
    return Segment.open(path, how.spec)


class _Columns:
    """What of rows comes after their vectors, as it is collected on the way."""

    def __init__(self, spec: IndexSpec, spool: IO[bytes]) -> None:
        self._metric: Metric = spec.metric
        self._spool = spool
        self.count = 0
        self.inverted: list[Floats] = []
        self._seqs: list[Seqs] = []
        self._checks: list[Checks] = []
        self._ids: list[bytes] = []
        self._id_sizes: list[npt.NDArray[np.int64]] = []
        self._metadata_sizes: list[npt.NDArray[np.int64]] = []

    def vectors(self, batches: Iterable[Rows], stopped: Callable[[], bool]) -> Iterator[memoryview]:
        for rows in batches:
            if stopped():
                return
            vectors = np.ascontiguousarray(rows.vectors, "<f4")
            yield vectors.reshape(-1).view(np.uint8).data
            self.count += len(vectors)
            if self._metric == "cosine":
                self.inverted.append(lengths_inverted("cosine", vectors))
            self._seqs.append(rows.seqs)
            self._checks.append(rows.checks)
            ids = [id_.encode() for id_ in rows.ids]
            self._ids.append(b"".join(ids))
            self._id_sizes.append(np.fromiter(map(len, ids), np.int64, len(ids)))
            sizes = [len(one) if one else 0 for one in rows.metadata]
            self._metadata_sizes.append(np.array(sizes, np.int64))
            self._spool.write(b"".join(one for one in rows.metadata if one))

    def write(self, writer: SegmentWriter) -> None:
        """The sections between the vectors and the graph."""
        writer.section("inverted", (one.astype("<f4").data for one in self.inverted))
        writer.section("seqs", (one.astype("<i8").data for one in self._seqs))
        writer.section("checks", (one.astype("<u4").data for one in self._checks))
        writer.section("id_starts", [_starts(self._id_sizes)])
        writer.section("ids", self._ids)
        writer.section("metadata_starts", [_starts(self._metadata_sizes)])
        self._spool.seek(0)
        writer.section("metadata", iter(lambda: self._spool.read(_PIECE), b""))


def _starts(sizes: list[npt.NDArray[np.int64]]) -> bytes:
    every = np.concatenate([np.zeros(1, np.int64), *sizes])
    return np.cumsum(every).astype("<i8").tobytes()
