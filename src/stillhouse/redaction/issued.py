"""Finds tokens that carry their issuer's mark, and where what is glued to them ends.

A mark counts where no letter or digit stands before it, or a token right behind another. What
follows the mark is judged by itself; what follows the token directly goes with it, unread.
"""

from __future__ import annotations

import re
from typing import Final

from stillhouse.redaction.formats import ISSUED, expand
from stillhouse.redaction.judge import looks_issued
from stillhouse.redaction.spans import Span


def _any_of(marks: list[bytes]) -> bytes:
    """A pattern for the longest of the marks, branching at the first byte: a third faster."""
    by_first: dict[bytes, list[bytes]] = {}
    for mark in sorted(marks, key=len, reverse=True):
        by_first.setdefault(mark[:1], []).append(re.escape(mark[1:]))
    branches = (first + b"(?:" + b"|".join(rest) + b")" for first, rest in by_first.items())
    return b"|".join(branches)


_ANY_MARK: Final = _any_of([mark.encode() for row in ISSUED for mark in row[1].split()])
_FORMATS: Final = [
    (
        marks.split(),
        kind,
        re.compile(
            f"(?:{'|'.join(map(re.escape, marks.split()))})".encode()
            + expand(body, glued=_ANY_MARK.decode()).encode()
        ),
    )
    for kind, marks, body, _, _ in ISSUED
]
_BY_MARK: Final = {
    mark.encode(): [
        (kind, pattern)
        for length in range(len(mark), 0, -1)
        for marks, kind, pattern in _FORMATS
        if mark[:length] in marks
    ]
    for marks, _, _ in _FORMATS
    for mark in marks
}
_MARK_HERE: Final = re.compile(b"(" + _ANY_MARK + b")")
# What may stand before a token: no letter or digit, unless it ends an escape or a colour code.
_MARK: Final = re.compile(
    rb"[^A-Za-z0-9](?:(?<=\\)(?:[nrtbfv0]|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})|(?<=%)[0-9A-Fa-f]{2}|"
    rb"(?<=\[)[0-9;]{1,5}m)?(" + _ANY_MARK + b")"
)


first_mark: Final = _MARK.search
"""The first mark between two places of a text, or nothing."""


def add_issued(
    spans: list[Span],
    found: re.Match[bytes] | None,
    data: bytes,
    at: int,
    end: int,
    lenient: bool,
) -> None:
    """Add tokens that reach into the run from ``at`` to ``end``, from the first mark on."""
    while found:
        start = place = found.start(1)
        for kind, pattern in _BY_MARK[found[1]]:
            match = pattern.match(data, start)
            if match is None or match.end() <= at:
                continue
            left, right = match.span(match.lastindex or 0)
            token = data[left:right].rstrip(b".")
            place = match.end()
            if lenient or looks_issued(token[max(0, found.end() - left) :]):
                glued = glued_end(data, found.end(), place)
                spans.append(Span(left, max(left + len(token), glued), 1, kind))
                place = max(place, glued)
            break
        # What follows a token directly is seen too: nothing new may show after replacement.
        after = _MARK_HERE.match(data, place, end) if place > start else None
        found = after or _MARK.search(data, place, end)


# The rest of another token; bounded where it could be read again from the runs it crosses.
_GLUED: Final = re.compile(rb"[A-Za-z0-9_-]++[A-Za-z0-9_./+=~-]{0,4096}")
_GLUED_SIGNS: Final = re.compile(rb"[./+=~]{1,3}" + _GLUED.pattern)
_LONG_MARK: Final = re.compile(rb"(?!SK)(?:" + _ANY_MARK + rb")")


def glued_end(data: bytes, left: int, right: int) -> int:
    """Where what is glued to a token ends that was found up to ``right``; 0 if nothing is.

    A pattern takes in the beginning of a token right behind, or its mark: its rest would stay.
    """
    glued = _GLUED.match(data, right)
    if glued is None and (glued := _GLUED_SIGNS.match(data, right)):
        # Of a sign that parts, only a mark before it says that it belongs to a token.
        left = max(left + 8, data.rfind(b".", left, right) + 1)
        mark = _LONG_MARK.search(data, left, right + 24)
        if mark is None or mark.start() >= right:
            return 0
    return right + len(glued[0].rstrip(b".")) if glued else 0
