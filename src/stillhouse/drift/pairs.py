"""Evidence lines beside the scored runs that name them, over the files of one partition.

A scored run names its evidence by the SHA-256 of the line. Files as the stages write them
are in step, line for line, and are read so, two lines at a time. What is out of step (files
that were edited, or cut) waits for its partner as a hash and a place: text is never held.

This module never says what a verdict means, and never changes a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import zip_longest
from typing import NamedTuple

from stillhouse.errors import RecordError
from stillhouse.interfaces import Store
from stillhouse.lake import EVIDENCE, SCORED, partition_of, partition_path
from stillhouse.records import ScoredRun, decode


class Partition(NamedTuple):
    """One day of one source, as its files are named."""

    day: str
    stem: str

    @property
    def evidence(self) -> str:
        """Path of its evidence file."""
        return partition_path(EVIDENCE, self.day, self.stem)

    @property
    def scored(self) -> str:
        """Path of its scored-runs file."""
        return partition_path(SCORED, self.day, self.stem)


def partitions(store: Store, *roots: str) -> list[Partition]:
    """The partitions that have a file below any of these roots, by day and stem."""
    found = {partition_of(entry.path) for root in roots for entry in store.list(root)}
    return sorted(Partition(*place) for place in found if place is not None)


class Pair(NamedTuple):
    """An evidence line (without its line end) and the scored run that names it.

    ``scored`` is None for evidence that no scored run names; ``evidence`` is None for a scored
    run whose evidence is not there, and both are for a scored line that does not validate.
    ``where`` is the file and line, from 1, of the one that stands alone, else of the evidence.
    """

    evidence: bytes | None
    scored: ScoredRun | None
    where: str


class _Line(NamedTuple):
    path: str
    number: int
    start: int
    data: bytes

    @property
    def place(self) -> _Place:
        return _Place(self.path, self.number, self.start, len(self.data))


class _Place(NamedTuple):
    """Where a line lies: enough to read it again."""

    path: str
    number: int
    start: int
    size: int

    @property
    def where(self) -> str:
        return f"{self.path}:{self.number}"


def pair_up(store: Store, partition: Partition) -> Iterator[Pair]:
    """Every evidence line and every scored run of a partition, each exactly once.

    A file that is missing has no lines. A scored run that repeats another, or whose evidence
    was edited since, stands alone.
    """
    lines = _lines(store, partition.evidence)
    runs = _lines(store, partition.scored)
    alone_lines: dict[str, _Place] = {}
    alone_runs: dict[str, _Place] = {}
    for line, run_line in zip_longest(lines, runs):
        key = sha256(line.data).hexdigest() if line else ""
        run = _run_of(run_line.data) if run_line else None
        if line and run and run.sig_hash == key:
            yield Pair(line.data, run, line.place.where)
            continue
        if run_line is not None:
            if run is None:
                yield Pair(None, None, run_line.place.where)
            elif place := alone_lines.pop(run.sig_hash, None):
                yield Pair(_again(store, place), run, place.where)
            elif run.sig_hash in alone_runs:
                yield Pair(None, run, run_line.place.where)
            else:
                alone_runs[run.sig_hash] = run_line.place
        if line is not None:
            if place := alone_runs.pop(key, None):
                yield Pair(line.data, _run_of(_again(store, place)), line.place.where)
            else:
                alone_lines[key] = line.place
    for place in alone_runs.values():
        yield Pair(None, _run_of(_again(store, place)), place.where)
    for place in alone_lines.values():
        yield Pair(_again(store, place), None, place.where)


def numbered_lines(store: Store, path: str) -> Iterator[tuple[int, bytes]]:
    """``(number, line)`` of every line of a file that is not blank, from 1, without line ends;
    nothing when the file is missing."""
    for line in _lines(store, path):
        yield line.number, line.data


def _lines(store: Store, path: str) -> Iterator[_Line]:
    if store.stat(path) is None:
        return
    with store.open(path) as handle:
        start = 0
        for number, line in enumerate(handle, 1):
            if data := line.rstrip(b"\r\n"):
                yield _Line(path, number, start, data)
            start += len(line)


def _again(store: Store, place: _Place) -> bytes:
    return store.read(place.path, place.start, place.start + place.size)


def _run_of(line: bytes) -> ScoredRun | None:
    try:
        return decode(line, ScoredRun)
    except RecordError:
        return None
