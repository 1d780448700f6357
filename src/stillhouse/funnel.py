"""The funnel: how many raw rows came in, what became of them, and why the rest was not accepted
or refused. Whatever the lake's size, memory holds a few reasons a source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from stillhouse.errors import LakeError
from stillhouse.exports import KINDS
from stillhouse.index import iter_lines
from stillhouse.interfaces import Store
from stillhouse.lake import QUARANTINE, SCORED, partition_of
from stillhouse.records import CATEGORIES, Category, QuarantineRow
from stillhouse.redaction import redact
from stillhouse.state import State, load_state

_WIDTH: Final = 160
_MOST_REASONS: Final = 8
"""Reasons that are told apart in one category of one source; the rest are counted as other."""

OTHER: Final = "other"

KEPT_RAW: Final = 256 << 10
"""Characters of an unparsed line that are held for an example."""

_BY_CATEGORY: Final = frozenset({"forbidden_category", "not_opted_in", "no_partner"})
"""Reasons that speak of a row's category: rows are counted by it."""

_OPTIONS: Final = {
    "partially_accepted": "--include-partial",
    "needs_human_review": "--include-review",
}
"""What lets a category into the export that refuses it as ``not_opted_in``."""

_VALUES: Final = re.compile(r"'[^']*'(?:, '[^']*')*|[0-9]+(?:\.[0-9]+)?")
"""What differs between reasons of one kind: quoted values, and numbers."""


class SourceFunnel(msgspec.Struct):
    """One stem: raw lines by outcome, evidence rows by category."""

    stem: str
    lines: int
    blank: int
    evidence: int
    quarantined: int
    categories: dict[str, int]


class NotAccepted(msgspec.Struct):
    """Rows of a source that have a category and a first reason in common, and one of them."""

    stem: str
    category: Category
    reason: str
    rows: int
    example: str


class Refused(msgspec.Struct):
    """One reason of one stage, with a few rows to look at. Where the reason is the row's
    category, ``category`` names it."""

    stage: str
    reason: str
    rows: int
    examples: list[str]
    category: str = ""


class RefusalGroup(msgspec.Struct):
    """The same with the refused rows themselves. What could not be parsed stands in a row only
    where it is short enough to be held (`KEPT_RAW`)."""

    stage: str
    reason: str
    category: str = ""
    rows: int = 0
    examples: list[QuarantineRow] = []


class Funnel(msgspec.Struct):
    """The whole lake."""

    sources: list[SourceFunnel]
    not_accepted: list[NotAccepted]
    refused: list[Refused]
    exports: dict[str, dict[str, int]]


def funnel(store: Store, examples: int = 1) -> Funnel:
    """What the lake holds, from its state, its scored runs and its quarantine files.

    ``examples`` is how many rows are named for each reason of a refusal.
    """
    store.check_readable()
    state = load_state(store) or State()
    exports: dict[str, dict[str, int]] = {
        kind: state.exports[kind].counts for kind in KINDS if kind in state.exports
    }
    refused = [_in_words(group) for group in refusal_groups(store, examples)]
    return Funnel(source_funnels(state), list(not_accepted(store)), refused, exports)


def source_funnels(state: State) -> list[SourceFunnel]:
    """Raw lines of each stem by outcome, and its evidence rows by category."""
    sources = []
    for stem, raw in sorted(state.raw.items()):
        parts = [part for part in state.partitions.values() if part.stem == stem]
        categories: Counter[str] = Counter()
        for part in parts:
            categories.update(part.counts)
        counts = dict(raw.counts)
        blank, evidence = counts.pop("blank", 0), counts.pop("evidence", 0)
        sources.append(
            SourceFunnel(
                stem,
                blank + evidence + sum(counts.values()),
                blank,
                evidence,
                sum(counts.values()),
                {name: categories[name] for name in CATEGORIES},
            )
        )
    return sources


# ------------------------------------------------------------------------- not accepted


class _Origin(msgspec.Struct):
    source_file: str
    line_offset: int


class _Run(msgspec.Struct):
    """What is looked at of a scored run."""

    category: Category
    reasons: list[str]
    provenance: _Origin


class _Reasons:
    """Rows by their first reason: as it stands, or without its values once that is too many."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}
        self._plain = False

    def add(self, reason: str, rows: int, example: str) -> None:
        if self._plain:
            reason = _VALUES.sub(_plainly, reason)
        if reason not in self.found and len(self.found) >= _MOST_REASONS:
            if not self._plain:
                self._plain, found, self.found = True, self.found, {}
                for old, (count, first) in found.items():
                    self.add(old, count, first)
                self.add(reason, rows, example)
                return
            reason = OTHER
        count, first = self.found.get(reason, (0, example))
        self.found[reason] = (count + rows, first)


def _plainly(value: re.Match[str]) -> str:
    return "'…'" if value[0].startswith("'") else "…"


def not_accepted(store: Store) -> Iterator[NotAccepted]:
    """Why scored runs are not accepted: rows by source, category and first reason.

    Raises `LakeError` for a file that does not hold scored runs.
    """
    found: dict[tuple[str, Category], _Reasons] = {}
    decoder = msgspec.json.Decoder(_Run)
    for entry in store.list(SCORED):
        place = partition_of(entry.path)
        for _, line in iter_lines(store, entry.path) if place else ():
            try:
                run = decoder.decode(line)
                reason = run.reasons[0]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
                raise _spoilt(store, entry.path, "scored run") from None
            if run.category == "accepted":
                continue
            assert place is not None
            origin = run.provenance
            reasons = found.setdefault((place[1], run.category), _Reasons())
            reasons.add(reason, 1, f"{origin.source_file}:{origin.line_offset + 1}")
    for stem, category in sorted(found, key=lambda key: (key[0], CATEGORIES.index(key[1]))):
        reasons = found[stem, category]
        for reason, (rows, example) in sorted(reasons.found.items(), key=lambda one: -one[1][0]):
            yield NotAccepted(stem, category, _cut(reason), rows, example)


def _cut(words: str) -> str:
    """Words of bounded length, without secrets: a row's writer may have had a say in them. What is
    cut is the middle: the way out stands at the end."""
    words = redact(words, {})
    if len(words) <= _WIDTH:
        return words
    half = _WIDTH // 2
    return f"{words[:half].rstrip()} … {words[-half:].lstrip()}"


def _spoilt(store: Store, path: str, what: str) -> LakeError:
    return LakeError(
        f"holds a line that is no {what}, so it is not as it was written",
        where=f"{store.url}/{path}",
        way_out="`stillhouse run` writes it anew.",
    )


# ------------------------------------------------------------------------------ refused


def refusal_groups(store: Store, examples: int) -> list[RefusalGroup]:
    """Refused rows by stage, reason and, where that is the reason, category; the first few of
    each with them. In the order of the stages, most rows first.

    Raises `LakeError` for a file that does not hold refused rows.
    """
    found: dict[tuple[str, str, str], RefusalGroup] = {}
    decoder = msgspec.json.Decoder(QuarantineRow)
    for entry in store.list(QUARANTINE):
        for _, line in iter_lines(store, entry.path):
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise _spoilt(store, entry.path, "refused row") from None
            key = (row.stage, row.reason, _category(row))
            if key not in found:
                found[key] = RefusalGroup(*key)
            known = found[key]
            known.rows += 1
            if len(known.examples) < examples:
                held = row.raw is None or len(row.raw) <= KEPT_RAW
                known.examples.append(row if held else msgspec.structs.replace(row, raw=None))
    order = {name: place for place, name in enumerate(("evidence", *KINDS))}
    return sorted(
        found.values(), key=lambda seen: (order.get(seen.stage, 9), seen.stage, -seen.rows)
    )


def _in_words(group: RefusalGroup) -> Refused:
    words = [_example(row, group.category) for row in group.examples]
    return Refused(group.stage, group.reason, group.rows, words, group.category)


def _category(row: QuarantineRow) -> str:
    """The category that a row was refused for, as its words have it."""
    if row.reason not in _BY_CATEGORY:
        return ""
    words = " ".join(row.detail).split()
    return next((name for name in CATEGORIES if name in words), "")


def _example(row: QuarantineRow, category: str) -> str:
    words = "; ".join(row.detail)
    if row.reason == "not_opted_in" and category in _OPTIONS:
        words += f": {_OPTIONS[category]}"
    if row.other and row.other not in words:
        words += f"  (see {row.other})"
    return f"{row.source_file}:{row.line_offset + 1}  {_cut(words)}"
