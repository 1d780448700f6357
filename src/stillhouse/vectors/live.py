"""Where the truth of a folder and its search meet.

The truth (`truth`) numbers each version of an item with a ``seq`` that only grows and is never
used again: replacing an item is a new version and the end of the old one. Search (`search_index`)
knows items by that number, so a segment that was built stays right for ever; what died since is
a set of numbers.

    writer: commit to the truth ──▶ SearchIndex.apply ──▶ acknowledge
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stillhouse.vectors.values import Floats

Seqs = npt.NDArray[np.int64]
Checks = npt.NDArray[np.uint32]


def row_check(id_: str, vector: bytes, metadata: bytes | None) -> int:
    """The CRC-32 of an item: its id, a zero byte, its vector (little-endian float32), and its
    metadata after a one, or a zero where there is none."""
    check = zlib.crc32(vector, zlib.crc32(id_.encode() + b"\0"))
    return zlib.crc32(b"\0", check) if metadata is None else zlib.crc32(b"\1" + metadata, check)


class Rows(NamedTuple):
    """Versions of items by columns, by ascending ``seqs``. ``checks`` are the CRC-32 that the
    truth keeps of each row; ``vectors`` are as the user gave them, float32 of shape (n, d)."""

    seqs: Seqs
    checks: Checks
    ids: list[str]
    vectors: Floats
    metadata: list[bytes | None]

    def changed(self) -> list[int]:
        """Positions of those that are not as they were written, by their checksums."""
        found = []
        vectors = self.vectors.astype("<f4", copy=False)
        for at, (id_, check) in enumerate(zip(self.ids, self.checks.tolist(), strict=True)):
            if row_check(id_, vectors[at].tobytes(), self.metadata[at]) != check:
                found.append(at)
        return found

    def without(self, positions: Sequence[int]) -> Rows:
        """The rows but those at these positions."""
        left = np.delete(np.arange(len(self.ids)), positions)
        return Rows(
            self.seqs[left],
            self.checks[left],
            [self.ids[at] for at in left],
            self.vectors[left],
            [self.metadata[at] for at in left],
        )


def joined(pieces: Sequence[Rows]) -> Rows:
    """Rows of one or several pieces as one, by ascending number."""
    if len(pieces) == 1:
        return pieces[0]
    seqs = np.concatenate([piece.seqs for piece in pieces])
    order = np.argsort(seqs, kind="stable")
    ids = [id_ for piece in pieces for id_ in piece.ids]
    metadata = [one for piece in pieces for one in piece.metadata]
    return Rows(
        seqs[order],
        np.concatenate([piece.checks for piece in pieces])[order],
        [ids[at] for at in order],
        np.concatenate([piece.vectors for piece in pieces])[order],
        [metadata[at] for at in order],
    )


class TruthReader(Protocol):
    """What an index reads of the truth when it opens, rebuilds or is checked: one state."""

    def versions(self) -> tuple[Seqs, Checks]:
        """Every live version of the index by ascending number, with its checksum."""
        ...

    def rows(self, seqs: Seqs) -> Iterator[Rows]:
        """The content of those live versions, in batches, by ascending number."""
        ...
