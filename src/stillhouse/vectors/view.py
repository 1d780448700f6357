"""What a search looks at: segments with what is dead in them, and the tail up to a length.

A view never changes. A commit, a sealing and a compaction each make a new one and put it in the
place of the old; a search that holds the old one goes on with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.vectors.live import Rows, Seqs
from stillhouse.vectors.segment import Segment
from stillhouse.vectors.tail import Tail

Dead = npt.NDArray[np.bool_]


class Part(NamedTuple):
    """A segment, or the tail, as one view has it. ``dead`` is a mask over its first ``length``
    rows, None while all live; ``dead_count`` is how many are dead."""

    rows: Segment | Tail
    length: int
    dead: Dead | None = None
    dead_count: int = 0

    @property
    def live_count(self) -> int:
        """How many rows live."""
        return self.length - self.dead_count

    def live(self) -> npt.NDArray[np.int64]:
        """Positions of the rows that live, ascending."""
        if self.dead is None:
            return np.arange(self.length)
        return np.flatnonzero(~self.dead)

    def without(self, seqs: Seqs) -> Part:
        """The part with the rows of these numbers (ascending) dead; others do not concern it."""
        mine = self.rows.seqs[: self.length]
        at = np.searchsorted(mine, seqs)
        there = at < self.length
        at = at[there]
        return self.killing(at[mine[at] == seqs[there]])

    def killing(self, positions: npt.NDArray[np.intp]) -> Part:
        """The part with the rows at these positions dead."""
        if not len(positions):
            return self
        dead = np.zeros(self.length, np.bool_) if self.dead is None else self.dead.copy()
        dead[positions] = True
        return self._replace(dead=dead, dead_count=int(np.count_nonzero(dead)))


class View(NamedTuple):
    """A consistent state of an index, for searching."""

    segments: tuple[Part, ...]
    tail: Part

    @property
    def files(self) -> list[Segment]:
        """The segments as such."""
        return [part.rows for part in self.segments if isinstance(part.rows, Segment)]

    @property
    def parts(self) -> tuple[Part, ...]:
        """All that is to be searched."""
        return (*self.segments, self.tail) if self.tail.length else self.segments

    @property
    def total(self) -> int:
        """How many items there are."""
        return sum(part.live_count for part in self.segments) + self.tail.live_count

    def changed(self, removed: Sequence[int], added: Rows | None) -> View:
        """The view after a commit. Appends to the tail, so only one thread may call it."""
        segments, tail = self.segments, self.tail
        if len(removed):
            seqs = np.unique(np.asarray(removed, np.int64))
            segments = tuple(part.without(seqs) for part in segments)
            tail = tail.without(seqs)
        if added is not None and added.ids:
            assert isinstance(tail.rows, Tail)
            tail.rows.append(added)
            tail = longer(tail, tail.rows.count)
        return View(segments, tail)


def longer(tail: Part, length: int) -> Part:
    """The tail up to a greater length; the new rows live."""
    dead = tail.dead
    if dead is not None:
        dead = np.zeros(length, np.bool_)
        dead[: tail.length] = tail.dead
    return tail._replace(length=length, dead=dead)
