"""The quarantine lines of one chunk for one export.

Most rows are refused by a code for a reason that many share: their lines differ only in
line number and hash, and are put together from a line made once.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from stillhouse.exports.firewall import CODE, REASONS, explain
from stillhouse.index import EMPTY, EXTRACTION, OTHER_MEDIA, Rows
from stillhouse.interfaces import Refusal
from stillhouse.lake import raw_path
from stillhouse.records import CATEGORIES, SCHEMA_VERSION, QuarantineRow, encode

_NO_HASH = "0" * 64
_GAP = b'"line_offset":0,"sig_hash":"' + _NO_HASH.encode() + b'"'


class Clash(msgspec.Struct, frozen=True, array_like=True):
    """The other row of a conflict or a repetition: its raw line, and its category's code."""

    place: str
    category: int


class Refusals:
    """Lines and counts of what one export refuses, in the order in which rows are added."""

    def __init__(self, kind: str, stem: str, rows: Rows, clashes: dict[int, Clash]) -> None:
        self.lines: list[bytes] = []
        self._kind = kind
        self._file = raw_path(stem)
        self._offsets: list[int] = rows["line_offset"].tolist()
        self._sigs = [sig.tobytes().hex() for sig in rows["raw_sig"]]
        self._flags: list[int] = rows["flags"].tolist()
        self._clashes = clashes
        self._forms: dict[tuple[int, int, str], tuple[bytes, bytes]] = {}
        self._codes: Counter[int] = Counter()

    def add(self, position: int, refusal: Refusal) -> None:
        """Refuse the row at a position of the chunk."""
        clash = self._clashes.get(position)
        if clash is not None:
            refusal = refusal._replace(detail=[_told(refusal.reason, clash)])
        at = (self._offsets[position], self._sigs[position])
        self.lines.append(encode(self._row(refusal, *at, clash.place if clash else None)))

    def add_code(self, position: int, ruling: int, category: int) -> None:
        """Refuse the row for a reason of `firewall.REASONS`; counted by `counts`."""
        self._codes[ruling] += 1
        if position in self._clashes:
            self.add(position, Refusal(REASONS[ruling], []))
            return
        why = _cause(self._flags[position]) if ruling == _NOT_INSTRUCTABLE else ""
        key = (ruling, category, why)
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = self._form(ruling, category, why)
        offset, sig = self._offsets[position], self._sigs[position].encode()
        self.lines.append(b'%s"line_offset":%d,"sig_hash":"%s"%s' % (form[0], offset, sig, form[1]))

    def counts(self) -> Counter[str]:
        """Rows refused by code, by reason."""
        return Counter({f"refused/{REASONS[code]}": rows for code, rows in self._codes.items()})

    def _form(self, ruling: int, category: int, why: str) -> tuple[bytes, bytes]:
        name = CATEGORIES[category] if category < len(CATEGORIES) else "unknown"
        reason = REASONS[ruling]
        detail = [why or explain(reason, name)]
        line = encode(self._row(Refusal(reason, detail), 0, _NO_HASH, None))
        before, _, after = line.partition(_GAP)
        return before, after

    def _row(self, refusal: Refusal, offset: int, sig: str, other: str | None) -> QuarantineRow:
        return QuarantineRow(
            schema_version=SCHEMA_VERSION,
            stage=self._kind,
            reason=refusal.reason,
            detail=refusal.detail,
            source_file=self._file,
            line_offset=offset,
            sig_hash=sig,
            other=other,
        )


_NOT_INSTRUCTABLE: Final = CODE["not_instructable"]


def _cause(flags: int) -> str:
    """What makes a row no answer to a task, as far as its flags tell."""
    if flags & EXTRACTION:
        return "a log of extracted facts, or one that no source is defined for, answers no task"
    if flags & EMPTY:
        return "no answer: neither a text nor messages that the assistant ends"
    if flags & OTHER_MEDIA:
        return "messages hold parts that are not text"
    return (
        "nothing says what was asked (no prompt, messages, task or file), nothing is answered, or "
        "the run is an extractor's"
    )


def _told(reason: str, clash: Clash) -> str:
    if reason == "duplicate":
        return f"the same answer to the same prompt is kept once: {clash.place}"
    known = clash.category < len(CATEGORIES)
    verdict = CATEGORIES[clash.category] if known else "without a sound verdict"
    return f"the same answer to the same prompt is {verdict} in {clash.place}"
