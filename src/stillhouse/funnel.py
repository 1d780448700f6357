"""The funnel: how many raw rows came in, what became of them, and why the rest was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from stillhouse.errors import LakeError
from stillhouse.index import iter_lines
from stillhouse.interfaces import Store
from stillhouse.lake import QUARANTINE
from stillhouse.records import CATEGORIES, QuarantineRow
from stillhouse.state import State, load_state

_EXAMPLES = 3
_WIDTH = 160


class SourceFunnel(msgspec.Struct):
    """One stem: raw lines by outcome, evidence rows by category."""

    stem: str
    lines: int
    blank: int
    evidence: int
    quarantined: int
    categories: dict[str, int]


class Refused(msgspec.Struct):
    """One reason of one stage, with a few rows to look at."""

    stage: str
    reason: str
    rows: int
    examples: list[str]


class Funnel(msgspec.Struct):
    """The whole lake."""

    sources: list[SourceFunnel]
    refused: list[Refused]
    exports: dict[str, dict[str, int]]


def funnel(store: Store) -> Funnel:
    """What the lake holds, from its state and its quarantine files."""
    store.check_readable()
    state = load_state(store) or State()
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
    exports = {kind: export.counts for kind, export in sorted(state.exports.items())}
    return Funnel(sources, list(_refusals(store)), exports)


def _refusals(store: Store) -> Iterator[Refused]:
    found: dict[tuple[str, str], Refused] = {}
    decoder = msgspec.json.Decoder(QuarantineRow)
    for entry in store.list(QUARANTINE):
        for _, line in iter_lines(store, entry.path):
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise LakeError(
                    "holds a line that is no refused row, so it is not as it was written",
                    where=f"{store.url}/{entry.path}",
                    way_out="`stillhouse run` writes it anew.",
                ) from None
            key = (row.stage, row.reason)
            if key not in found:
                found[key] = Refused(row.stage, row.reason, 0, [])
            known = found[key]
            known.rows += 1
            if len(known.examples) < _EXAMPLES:
                words = "; ".join(row.detail)
                known.examples.append(
                    f"{row.source_file}:{row.line_offset + 1}  {words[:_WIDTH]}"
                    + (f"  (see {row.other})" if row.other else "")
                )
    order = {name: place for place, name in enumerate(("evidence", "export", "sft"))}
    yield from sorted(
        found.values(), key=lambda seen: (order.get(seen.stage, 9), seen.stage, -seen.rows)
    )
