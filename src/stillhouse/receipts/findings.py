"""What verification can find: its kinds, what helps, and the report of them all.

These shapes are what `stillhouse verify --json` prints; `docs/receipts.md` tells of each. This
module never looks for anything itself.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Kind = Literal[
    "unreadable_receipt",
    "newer_receipt",
    "wrong_run_hash",
    "altered_receipt",
    "misplaced_receipt",
    "unreadable_signature",
    "wrong_payload",
    "orphan_signature",
    "unsigned",
    "bad_signature",
    "wrong_key",
    "conflict",
    "unchained",
    "missing",
    "unreadable",
    "wrong_size",
    "wrong_hash",
    "unreceipted",
    "stale",
]

_REPLACE: Final = (
    "`stillhouse run` keeps it aside and writes a new one; if it stays, move it out of receipts/"
)
_ANEW: Final = "`stillhouse run` writes it anew"

WAYS_OUT: Final[dict[Kind, str]] = {
    "unreadable_receipt": _REPLACE,
    "newer_receipt": "Upgrade stillhouse, and verify with that; leave the receipt as it is",
    "wrong_run_hash": _REPLACE,
    "altered_receipt": _REPLACE,
    "misplaced_receipt": "Move it to its place, or delete it if it is a copy",
    "unreadable_signature": "Delete it, then `stillhouse sign` again",
    "wrong_payload": (
        "Put back the receipt that was signed (the payload is its bytes), or, if you trust the "
        "one that is there, delete the signature and `stillhouse sign` again"
    ),
    "orphan_signature": (
        "Put its receipt back (the payload is its bytes), or delete the signature if the receipt "
        "went on purpose"
    ),
    "unsigned": "`stillhouse sign`, if the receipt is yours",
    "bad_signature": (
        "Do not trust the receipt before you know who changed it; if it is yours, delete the "
        "signature and `stillhouse sign` again"
    ),
    "wrong_key": (
        "Give the public key of who signed it (--key may be repeated), or `stillhouse sign` with "
        "your own"
    ),
    "conflict": "Delete the one that is of another lake, then `stillhouse run`",
    "unchained": "Delete .stillhouse, then `stillhouse run`: all receipts are made anew",
    "missing": _ANEW,
    "unreadable": "Check the disk, and the owner and mode of the file",
    "wrong_size": _ANEW,
    "wrong_hash": _ANEW,
    "unreceipted": "`stillhouse run` receipts or removes what it knows; delete it otherwise",
    "stale": "`stillhouse run` brings it up to date",
}
"""What helps, by kind of finding."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one file: ``path``, according to ``receipt`` (empty when none), and
    what helps (``way_out``).

    The first byte that parts is ``start`` or later and before ``end``; ``line`` (from 1)
    is the line of ``start``. They are None where no place can be named.
    """

    kind: Kind
    path: str
    receipt: str = ""
    detail: str
    start: int | None = None
    end: int | None = None
    line: int | None = None
    way_out: str = ""


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What verification found. ``ok`` means no problems; notes are no problems.

    ``files`` and ``bytes`` is what was compared; ``superseded`` counts the words of older
    receipts on files that newer ones have rewritten or removed. ``keys`` are the ids of the
    keys that signatures were checked with, and ``signed`` counts the receipts that one of them
    has signed; without keys, those that have a signature, which was not checked.
    """

    schema_version: int = 1
    ok: bool
    receipts: int
    files: int
    bytes: int
    superseded: int
    signed: int = 0
    keys: list[str] = []
    problems: list[Finding]
    notes: list[Finding]
