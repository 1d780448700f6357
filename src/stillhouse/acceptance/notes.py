"""What a range of a file gives: its records one after the other, and what is noted of them.

This module knows how lines are read and kept, not what they mean.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from stillhouse.acceptance import gates
from stillhouse.acceptance.facts import (
    NO_HASH,
    NOTHING,
    NOWHERE,
    PACK,
    UNKNOWN,
    Said,
    half,
    log_of,
)
from stillhouse.acceptance.verdicts import MOST, Fault, RawLine
from stillhouse.interfaces import Store
from stillhouse.lake import MAX_LINE_BYTES, UNIT_BYTES, ByteRange, read_lines
from stillhouse.records import Record

R = TypeVar("R", bound=Record)

_AT_ONCE: Final = UNIT_BYTES + MAX_LINE_BYTES
"""Bytes that are read into memory at once. A range is longer only for a line that is."""

_PIECE: Final = 64 << 10

_ANY_LENGTH: Final = 1 << 62
"""Raw lines alone have a limit: what was made of one may be longer than it."""

_NAMED: Final = re.compile(
    rb'"source_file": ?"([^"\\]*)", ?"line_offset": ?([0-9]{1,18}), ?"sig_hash": ?"([0-9a-f]{64})"'
)
"""The raw line that a line names which cannot be read as a whole."""


class Named(Protocol):
    """What names a raw line: a provenance, a row in quarantine, an origin in a lineage."""

    @property
    def source_file(self) -> str:
        """Its log."""

    @property
    def line_offset(self) -> int:
        """Its number, from 0."""

    @property
    def sig_hash(self) -> str:
        """Its SHA-256 in hex."""


class Place(NamedTuple):
    """A raw line, named."""

    source_file: str
    line_offset: int
    sig_hash: str


class Unit(msgspec.Struct, frozen=True):
    """A range of one file; ``kind`` says what it holds, and ``number`` which file it is.

    ``stem`` is the log's, or of a dataset file its config. ``beside_path`` is the file that goes
    with it: a lineage, of which ``beside`` are the same lines (None when there are none left), or
    of evidence and scored runs the other of the two.
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


class Notes:
    """Collects what a unit gives."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.checked: Counter[int] = Counter()
        self._facts: list[bytes] = []
        self._faults: dict[str, list[Fault]] = {}
        self._failures: Counter[str] = Counter()

    def put(
        self,
        kind: int,
        at: Named,
        row: int,
        category: int = UNKNOWN,
        told: Said = NOTHING,
        task: int = 0,
        own: bytes = NO_HASH,
        today: int = UNKNOWN,
        flags: int = 0,
    ) -> None:
        """Note a fact of a line: the raw line that it names, its number, what it claims and says.

        This is called for every line of a lake, so it does all by itself.
        """
        try:
            sig = bytes.fromhex(at.sig_hash)  # 16 bytes of it are kept
        except ValueError:
            sig = NO_HASH
        line = at.line_offset
        if not 0 <= line < NOWHERE:
            line = NOWHERE
        self._facts.append(
            PACK.pack(
                sig, log_of(at.source_file), line, own, *told, task,
                self.unit.number, kind, category, today, flags, row,
            )
        )  # fmt: skip

    def fault(
        self, check: str, row: int, problems: Sequence[str], at: Named | None, path: str = ""
    ) -> None:
        """Note what a check has found in a line."""
        self._failures[check] += 1
        held = self._faults.setdefault(check, [])
        if len(held) < MOST:
            words = "; ".join(problems)
            unit, lines = self.unit, (_numbers(at),) if at else ()
            beside = tuple(other for other in (unit.path, unit.beside_path) if other)
            held.append(Fault(path or unit.path, row + 1, words, lines, beside))

    def records(
        self,
        kind: type[R],
        origin: Callable[[R], Named | None],
        path: str = "",
        part: ByteRange | None = None,
    ) -> Iterator[tuple[int, bytes, R | None]]:
        """The lines of the range, with number and record, put through gate 2; None for one that
        cannot be read as a record. Blank lines are left out."""
        path = path or self.unit.path
        for first, lines in _pieces(self.unit.store, path, part or self.unit.part):
            found = gates.all_valid(lines, kind)
            if found is not None:
                self.checked[2] += len(found)
                yield from zip(count(first), lines.split(b"\n"), found, strict=False)
                continue
            for number, line in enumerate(lines.split(b"\n"), first):
                if line and not line.isspace():
                    yield number, line, self._record(number, line, kind, origin, path)

    def _record(
        self,
        number: int,
        line: bytes,
        kind: type[R],
        origin: Callable[[R], Named | None],
        path: str,
    ) -> R | None:
        record, problems = gates.valid(line, kind)
        self.checked[2] += 1
        if problems:
            at = origin(record) if record is not None else named(line)
            self.fault("valid", number, problems, at, path)
        return record

    def substance(self, row: int, says: dict[str, bool], at: Named) -> None:
        """Put the parts of an exported row through gate 10."""
        self.checked[10] += 1
        if problems := gates.substance(says):
            self.fault("substance", row, problems, at)

    def done(self) -> Noted:
        """All of it."""
        facts = b"".join(self._facts)
        return Noted(facts, self._faults, dict(self._failures), dict(self.checked))


def _pieces(store: Store, path: str, part: ByteRange) -> Iterator[tuple[int, bytes]]:
    """Some whole lines after the other, with the number of the first: few enough for their
    records to stay in a processor's cache, which makes reading them twice as fast."""
    if part.end - part.start > _AT_ONCE:
        for line in read_lines(store, path, part, _ANY_LENGTH):
            yield line.number, (line.data or b"") + b"\n"
        return
    data = store.read(path, part.start, part.end)
    at, first = 0, part.first_line
    while at < len(data):
        end = data.find(b"\n", at + _PIECE) + 1 or len(data)
        yield first, data[at:end]
        first += data.count(b"\n", at, end)
        at = end


def named(line: bytes) -> Named | None:
    """The raw line that a line names which is no whole record."""
    found = _NAMED.search(line)
    if found is None:
        return None
    return Place(found[1].decode(errors="replace"), int(found[2]), found[3].decode())


def _numbers(at: Named) -> RawLine:
    """A raw line as a fault has it."""
    sig = int.from_bytes(half(at.sig_hash)[:8], "little")
    return log_of(at.source_file), at.line_offset, sig
