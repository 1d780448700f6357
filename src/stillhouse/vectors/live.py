"""Where the truth of a folder and its search meet.

The truth (`truth`) numbers each version of an item with a ``seq`` that only grows and is never
used again: replacing an item is a new version and the end of the old one. Search (`search_index`)
knows items by that number, so a segment that was built stays right for ever; what died since is
a set of numbers.

    writer: commit to the truth ──▶ SearchIndex.apply ──▶ acknowledge
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stillhouse.vectors.values import Floats

Seqs = npt.NDArray[np.int64]
Checks = npt.NDArray[np.uint32]


class Rows(NamedTuple):
    """Versions of items by columns, by ascending ``seqs``. ``checks`` are the CRC-32 that the
    truth keeps of each row; ``vectors`` are as the user gave them, float32 of shape (n, d)."""

    seqs: Seqs
    checks: Checks
    ids: list[str]
    vectors: Floats
    metadata: list[bytes | None]


class TruthReader(Protocol):
    """What an index reads of the truth when it opens, rebuilds or is checked: one state."""

    def versions(self) -> tuple[Seqs, Checks]:
        """Every live version of the index by ascending number, with its checksum."""
        ...

    def rows(self, seqs: Seqs) -> Iterator[Rows]:
        """The content of those live versions, in batches, by ascending number."""
        ...
