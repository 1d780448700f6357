"""What gates are handed beside the facts, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from stillhouse.acceptance.facts import Mask
from stillhouse.acceptance.verdicts import AcceptReport, Fault
from stillhouse.interfaces import Engine, Store
from stillhouse.work import Progress


class Asked(NamedTuple):
    """What meetings are judged by beside their facts: which exports the lake holds, by the kind
    of fact that their refusals are, and whether the newest receipt of the SFT export, and that
    of the dataset, say that partially accepted answers were asked for."""

    exported: frozenset[int]
    partial: bool
    dataset_partial: bool


class View(NamedTuple):
    """A lake as the gates see it that look at it as a whole.

    ``again`` puts another lake through gates 1 to 13.
    """

    store: Store
    engine: Engine
    recorded_at: str
    version: str
    commit: str | None
    scratch: Path
    progress: Progress
    again: Callable[[Store], AcceptReport]


class Judged(NamedTuple):
    """What such a gate found, and among how many files or trials."""

    checked: int
    faults: list[Fault]


class Broken(NamedTuple):
    """Facts that break a gate, in which way, and the files that lack what they should hold."""

    facts: Mask
    how: str
    lacking: tuple[str, ...] = ()


Found = Iterator[Broken]
