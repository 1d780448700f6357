"""Where in a text a secret stands. Nothing here looks for one."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """A secret found: bytes ``start`` to ``end``; of overlapping ones the lowest rank names it."""

    start: int
    end: int
    rank: int
    kind: str


def merged(spans: list[Span]) -> list[Span]:
    """The spans in order; overlapping ones are one, named by the more telling of them."""
    whole: list[Span] = []
    for span in sorted(spans):
        last = whole[-1] if whole else None
        if last is None or span.start >= last.end:
            whole.append(span)
        else:
            name = min(last, span, key=lambda one: one.rank)
            whole[-1] = name._replace(start=last.start, end=max(last.end, span.end))
    return whole
