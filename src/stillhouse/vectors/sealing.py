"""When rows of the tail become a segment, and which segments become one: the rules, pure.

Sizes fall by a factor from one segment to the next, so there are few, and each row is built into
a new graph a bounded number of times. The factor is small while somebody writes, and larger once
it is quiet: then the time is there to make searching cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from stillhouse.vectors.view import View

_FACTOR: Final = 1
"""Rows of a segment are joined into one at least twice as large: with it each row of a load of a
million is built into a graph 4.6 times, into some four segments; with 4 it would be 9.4 times."""
_QUIET_FACTOR: Final = 10
_QUIET_SHARE: Final = 8
"""A quiet tail is sealed from this part of ``seal_rows`` on."""
_DEAD: Final = 0.2


class Work(NamedTuple):
    """Build one segment of the live rows of ``segments`` (places in the view) and, with ``tail``,
    of the tail as far as the view has it."""

    segments: tuple[int, ...]
    tail: bool


def next_work(view: View, seal_rows: int, *, quiet: bool) -> Work | None:
    """What is most worth doing now; None when nothing is."""
    least = max(1, seal_rows // _QUIET_SHARE) if quiet else seal_rows
    tail = view.tail.length >= least
    sizes = [part.live_count for part in view.segments]
    together = _to_join(sizes, view.tail.live_count if tail else 0, quiet=quiet)
    if tail:
        # While rows keep coming, the tail must get short soon: joining comes after.
        return Work(together if quiet else (), True)
    if together:
        return Work(together, False)
    for at, part in enumerate(view.segments):
        if part.dead_count > _DEAD * part.length:
            return Work((at,), False)
    return None


def _to_join(sizes: Sequence[int], more: int, *, quiet: bool) -> tuple[int, ...]:
    """Places of the segments that are too small beside those that are smaller still, which with
    them become one; ``more`` rows will be a segment as well."""
    factor = _QUIET_FACTOR if quiet else _FACTOR
    order = sorted(range(len(sizes)), key=lambda at: sizes[at])
    total, joined = more, 0
    for count, at in enumerate(order):
        if (count or more) and sizes[at] <= factor * total:
            joined = count + 1
        total += sizes[at]
    if joined == 1 and not more:
        return ()
    return tuple(sorted(order[:joined]))
