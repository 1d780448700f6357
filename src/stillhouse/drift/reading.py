"""Reading one field out of a lake's evidence: partitions in, numbers and counts out.

A unit of work reads one partition and returns, for each window and group, the field's values:
8 bytes a number, one count a category. No text leaves it. This module never compares anything.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec

from stillhouse.drift.fields import Row, Value, field_named, word
from stillhouse.drift.pairs import Partition, numbered_lines, pair_up
from stillhouse.drift.windows import Window
from stillhouse.errors import UsageError
from stillhouse.interfaces import Engine, Store

By = Literal["source", "model", "category"]

EVERYTHING: Final = ""
"""The one group where none are asked for."""

NONE: Final = "(none)"
"""The group of rows that do not say the thing they are grouped by."""

MOST: Final = 1_000
"""Different categories of a field, and groups, that are told apart."""

_MOST_NAMED: Final = 10
"""Lines that are named of those that cannot be read."""


class Values(msgspec.Struct):
    """What a field holds in one window and group: numbers, categories with their rows, and how
    many rows have neither. One category more than `MOST` is told apart, which shows that there
    are too many; ``beyond`` counts the values of all others."""

    numbers: array[float] = msgspec.field(default_factory=lambda: array("d"))
    words: dict[str, int] = {}
    missing: int = 0
    beyond: int = 0

    @property
    def rows(self) -> int:
        """Rows that were read."""
        return len(self.numbers) + sum(self.words.values()) + self.beyond + self.missing

    def add(self, value: Value) -> None:
        """Count one row's value."""
        if value is None:
            self.missing += 1
        elif isinstance(value, str):
            self._count(value, 1)
        else:
            self.numbers.append(value)

    def merge(self, other: Values) -> None:
        """Add what another counted."""
        self.numbers.extend(other.numbers)
        for value, rows in other.words.items():
            self._count(value, rows)
        self.missing += other.missing
        self.beyond += other.beyond

    def _count(self, value: str, rows: int) -> None:
        if value in self.words or len(self.words) <= MOST:
            self.words[value] = self.words.get(value, 0) + rows
        else:
            self.beyond += rows


Groups = dict[str, Values]


def values_of(groups: Groups, group: str) -> Values:
    """The values of a group, made when it is first asked for.

    Raises `UsageError` where there would be more than `MOST` groups.
    """
    if group not in groups:
        if len(groups) >= MOST:
            raise UsageError(f"there are more than {MOST:,} groups", way_out="Leave --by out.")
        groups[group] = Values()
    return groups[group]


class Reading(msgspec.Struct):
    """A field's values by window and group, and the lines that are no evidence."""

    reference: Groups = {}
    current: Groups = {}
    unreadable: int = 0
    unreadable_rows: list[str] = []

    def merge(self, other: Reading) -> None:
        """Add what another unit read. Raises `UsageError` for more than `MOST` groups."""
        for mine, theirs in ((self.reference, other.reference), (self.current, other.current)):
            for group, values in theirs.items():
                values_of(mine, group).merge(values)
        self.unreadable += other.unreadable
        self.unreadable_rows += other.unreadable_rows
        del self.unreadable_rows[_MOST_NAMED:]


class ReadTask(msgspec.Struct, frozen=True):
    """One partition, the field to read of it, the two windows, and what to group by."""

    store: Store
    partition: Partition
    field: str
    reference: Window
    current: Window
    by: By | None


def read_partition(task: ReadTask) -> Reading:
    """The field's values in one partition. A unit of work."""
    read = field_named(task.field).read
    out = Reading()
    for line in _rows(task, out):
        if read is not None:
            value = read(line.row)
        else:
            value = line.category if task.field == "category" else word(task.partition.stem)
        for window, groups in ((task.reference, out.reference), (task.current, out.current)):
            if window.holds(line.moment):
                values_of(groups, _group(task, line)).add(value)
    return out


def read_field(
    store: Store,
    engine: Engine,
    found: Iterable[Partition],
    field: str,
    reference: Window,
    current: Window,
    by: By | None = None,
) -> Reading:
    """The field's values in those of the partitions whose day can be in a window."""
    tasks = [
        ReadTask(store, partition, field, reference, current, by)
        for partition in found
        if reference.may_hold(partition.day) or current.may_hold(partition.day)
    ]
    out = Reading()
    for read in engine.map(read_partition, tasks):
        out.merge(read)
    return out


class _Line(NamedTuple):
    row: Row
    moment: datetime
    category: str | None


_DECODER: Final = msgspec.json.Decoder(Row)


def _rows(task: ReadTask, out: Reading) -> Iterator[_Line]:
    """The evidence of a partition, with its category where that is asked for."""
    for where, line, category in _evidence(task):
        try:
            row = _DECODER.decode(line)
            moment = datetime.fromisoformat(row.timestamp)
            if moment.tzinfo is None:
                raise ValueError("no time zone")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            out.unreadable += 1
            if len(out.unreadable_rows) < _MOST_NAMED:
                out.unreadable_rows.append(where)
            continue
        yield _Line(row, moment, category)


def _evidence(task: ReadTask) -> Iterator[tuple[str, bytes, str | None]]:
    partition = task.partition
    if task.field != "category" and task.by != "category":
        for number, line in numbered_lines(task.store, partition.evidence):
            yield f"{partition.evidence}:{number}", line, None
        return
    for pair in pair_up(task.store, partition):
        # A scored run without evidence has no time of its own: `drift scores` tells of it.
        if pair.evidence is not None:
            yield pair.where, pair.evidence, pair.scored.category if pair.scored else None


def _group(task: ReadTask, line: _Line) -> str:
    if task.by is None:
        return EVERYTHING
    if task.by == "source":
        return task.partition.stem
    return (line.category if task.by == "category" else word(line.row.model_name)) or NONE
