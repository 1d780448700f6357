"""Finds private keys that are blocks of lines: PEM, OpenSSH, PGP, PuTTY.

From a block's first line to its last, whatever stands before its lines (quotes, comment
signs, line numbers, log prefixes) and however short they are. A block that lost its last line ends
with what still looks like lines of base64.
"""

from __future__ import annotations

import re
from typing import Final

from stillhouse.redaction.formats import KINDS
from stillhouse.redaction.spans import Span

_LONGEST: Final = (
    65_536  # A key of 16,384 bits takes 13 kB, escaped twice and prefixed less than 40.
)
_BEGIN: Final = re.compile(KINDS["private-key"].pattern.encode(), re.DOTALL)
_END: Final = re.compile(rb"-----END [A-Z0-9 ]{0,40}-----")
_PIECE: Final = re.compile(rb"[A-Za-z0-9+/=]{10,}")
_MIXED: Final = re.compile(rb"(?=[^A-Z]*[A-Z])(?=[^0-9+]*[0-9+])")
_SIGN: Final = rb"[A-Za-z0-9+/=]"
# Of a line in a block without an end; not the path and not the long word that follow it.
_LINE: Final = rb"(?=[a-z/]{0,24}+[A-Z0-9+=])"
_NUMBER: Final = rb"(?:[0-9]{1,6}[^A-Za-z0-9+/=\\\r\n]{1,8})?"
_BETWEEN: Final = rb"(?:\\++[nrt]?|[^A-Za-z0-9+=\\]){1,24}" + _NUMBER
_REST: Final = rb"(?:\\++[nr]|[\r\n])(?:\\++[nrt]?|[^A-Za-z0-9+=\\]){0,24}" + _NUMBER
_CUT: Final = re.compile(
    rb"(?s:(?:(?!-----).){0,300}?)(?:"
    + (_LINE + _SIGN + rb"{32,}+|")
    + (_LINE + _SIGN + rb"{16,31}+" + _BETWEEN + _LINE + _SIGN + rb"{16,}+)")
    + (rb"(?:(?s:(?:(?!-----).){0,40}?)" + _LINE + _SIGN + rb"{16,}+)*+")
    # What is left of the last line: no word, unless it is odd or the text ends with it.
    + (rb"(?:" + _REST + rb"(?:(?=[A-Za-z+/]{0,62}[0-9+/])(?=[0-9+/]{0,62}[A-Za-z])|")
    + rb"(?=[A-Z]{0,62}[a-z]{1,62}[A-Z]))[A-Za-z0-9+/]{2,63}={0,2}|"
    + (_REST + rb"(?![A-Z]?[a-z]*\s?\Z)" + _SIGN + rb"{1,63}(?=\s?\Z))?")
    + rb"(?:(?s:.{0,40}?)Private-MAC: [0-9a-f]{1,64})?"
)


def block_spans(data: bytes) -> list[Span]:
    """The blocks that hold a key; the words "BEGIN PRIVATE KEY" alone are none."""
    spans: list[Span] = []
    begins = list(_BEGIN.finditer(data))
    nexts = [begin.start() for begin in begins[1:]] + [len(data)]
    for begin, limit in zip(begins, nexts, strict=False):
        at = begin.end()
        last = _END.search(data, at, min(limit, at + _LONGEST))
        if last:
            if _holds_key(data[at : last.start()]):
                spans.append(Span(begin.start(), last.end(), 0, "private-key"))
        elif cut := _CUT.match(data, at, limit):
            spans.append(Span(begin.start(), cut.end(), 0, "private-key"))
    return spans


def _holds_key(body: bytes) -> bool:
    """Whether a fifth of what stands between the markers, or more, is base64."""
    pieces = [len(piece) for piece in _PIECE.findall(body) if _MIXED.match(piece)]
    return sum(pieces) >= max(32, len(body) // 5)
