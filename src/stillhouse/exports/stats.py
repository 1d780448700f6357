"""Counters of the dataset folder, which merge: workers count alone and are added up.

They hold numbers, never a row's words. This module never touches a disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, Final

import msgspec

from stillhouse.exports.dataset import CONFIGS, SPLITS, Config, Split, characters
from stillhouse.records import Message

_STEPS: Final = 8
"""Buckets for each doubling: a quantile is at most an eighth too high."""

_TOOL_CALLS: Final = attrgetter("tool_calls")


class Lengths(msgspec.Struct):
    """A histogram of lengths in characters, with fixed buckets, so that two add up.

    Lengths below 16 have a bucket each; above, every doubling is cut into eight.
    """

    buckets: dict[int, int] = {}
    rows: int = 0
    total: int = 0
    longest: int = 0

    def add(self, length: int) -> None:
        """Count one length."""
        bucket = _bucket(length)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.rows += 1
        self.total += length
        if length > self.longest:
            self.longest = length

    def merge(self, other: Lengths) -> None:
        """Add what another counted."""
        _add(self.buckets, other.buckets)
        self.rows += other.rows
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    def quantile(self, share: float) -> int:
        """The upper edge of the bucket that holds the length at this share (0 to 1) of the
        rows, at most the longest length; 0 without rows."""
        wanted, seen = share * self.rows, 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(_upper_edge(bucket), self.longest)
        return 0


class SplitStats(msgspec.Struct):
    """Counts of one file of rows; ``size`` is its bytes, ``tool_rows`` those that call tools,
    ``undeclared_rows`` those of them that do not say which tools there were."""

    rows: int = 0
    size: int = 0
    tool_rows: int = 0
    undeclared_rows: int = 0
    sources: dict[str, int] = {}
    categories: dict[str, int] = {}
    prompt: Lengths = msgspec.field(default_factory=Lengths)
    answer: Lengths = msgspec.field(default_factory=Lengths)

    def add(
        self,
        source: str,
        category: str,
        row: bytes,
        prompt: list[Message],
        answer: list[Message] | str,
        declared: bool = False,
    ) -> None:
        """Count one row: its line, and what it is made of. A chunk has no prompt and its
        text as answer; a pair is counted by its chosen side. ``declared`` says that the row
        names its tools."""
        self.rows += 1
        self.size += len(row) + 1
        self.sources[source] = self.sources.get(source, 0) + 1
        self.categories[category] = self.categories.get(category, 0) + 1
        self.prompt.add(characters(prompt))
        if isinstance(answer, str):
            self.answer.add(len(answer))
        else:
            self.answer.add(characters(answer))
            if any(map(_TOOL_CALLS, prompt)) or any(map(_TOOL_CALLS, answer)):
                self.tool_rows += 1
                self.undeclared_rows += not declared

    def merge(self, other: SplitStats) -> None:
        """Add what another counted."""
        self.rows += other.rows
        self.size += other.size
        self.tool_rows += other.tool_rows
        self.undeclared_rows += other.undeclared_rows
        _add(self.sources, other.sources)
        _add(self.categories, other.categories)
        self.prompt.merge(other.prompt)
        self.answer.merge(other.answer)


class DatasetStats(msgspec.Struct):
    """Everything the card tells: counts by config and split, and who was kept out.

    ``refused`` counts rows by the firewall's reason, ``redacted`` secrets by kind.
    """

    configs: dict[Config, dict[Split, SplitStats]] = {}
    refused: dict[str, int] = {}
    redacted: dict[str, int] = {}

    def add(
        self,
        config: Config,
        split: Split,
        source: str,
        category: str,
        row: bytes,
        prompt: list[Message],
        answer: list[Message] | str,
        declared: bool = False,
    ) -> None:
        """Count one row of a file (see `SplitStats.add`)."""
        self.split(config, split).add(source, category, row, prompt, answer, declared)

    def split(self, config: Config, split: Split) -> SplitStats:
        """The counters of one file, made when they are first asked for."""
        return self.configs.setdefault(config, {}).setdefault(split, SplitStats())

    def merge(self, other: DatasetStats) -> None:
        """Add what another counted."""
        for config, splits in other.configs.items():
            for split, counted in splits.items():
                self.split(config, split).merge(counted)
        _add(self.refused, other.refused)
        _add(self.redacted, other.redacted)

    def files(self) -> Iterator[tuple[Config, Split, SplitStats]]:
        """The files that hold rows, in a fixed order. Others do not exist: an empty file
        makes `datasets` fail."""
        for config in CONFIGS:
            for split in SPLITS:
                counted = self.configs.get(config, {}).get(split)
                if counted is not None and counted.rows:
                    yield config, split, counted


def _bucket(length: int) -> int:
    if length < 2 * _STEPS:
        return length
    octave = length.bit_length() - _STEPS.bit_length()
    return octave * _STEPS + (length >> octave)


def _upper_edge(bucket: int) -> int:
    if bucket < 2 * _STEPS:
        return bucket
    octave = bucket // _STEPS - 1
    return ((bucket - octave * _STEPS + 1) << octave) - 1


def _add(counts: dict[Any, int], more: Mapping[Any, int]) -> None:
    for key, count in more.items():
        counts[key] = counts.get(key, 0) + count
