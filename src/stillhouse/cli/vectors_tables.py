"""What the vector commands print for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from stillhouse.cli import output

if TYPE_CHECKING:
    from stillhouse.vectors import Hit, IndexInfo, MergeResult

_TOLD: Final = 5
_WIDE: Final = 60


def compact(value: object) -> str:
    """A value as JSON on one line."""
    return msgspec.json.encode(value).decode()


def _short(value: object) -> str:
    text = "" if value is None or value is msgspec.UNSET else compact(value)
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


def indexes(found: list[IndexInfo]) -> None:
    """Indexes with their sizes."""
    columns = ["index", "metric", "dimension", "items", "segments", "tombstones", "tail", "bytes"]
    rows = [
        (one.name, one.metric, one.dimension, one.count, one.segments, one.tombstones, one.tail,
         one.bytes)
        for one in found
    ]  # fmt: skip
    output.table("Indexes", columns, rows, 6)


def hits(name: str, found: list[list[Hit]], vectors: bool) -> None:
    """What one or several searches found."""
    if not any(found):
        output.say(f"nothing found in {name}")
        return
    several = len(found) > 1
    columns = ["query"] * several + ["id", "metadata"] + ["vector"] * vectors + ["score"]
    rows = [
        (
            *([number] if several else []),
            hit.id,
            _short(hit.metadata),
            *([_short(hit.vector)] if vectors else []),
            f"{hit.score:.4f}",
        )
        for number, hits in enumerate(found, 1)
        for hit in hits
    ]
    output.table(f"Nearest in {name}", columns, rows, 1)


def merged(done: MergeResult) -> None:
    """What a merge did, and the first of what stayed behind."""
    counts = {
        "merged": done.merged,
        "skipped": done.skipped,
        "conflicts": len(done.conflicts),
        "failed": len(done.failed),
        "cleared": done.cleared,
        f"left in {done.src}": done.remaining,
    }
    output.table(f"{done.src} into {done.dest}", ["outcome", "items"], list(counts.items()), 1)
    left = [f"{id_}: {done.dest} holds it with other content" for id_ in done.conflicts]
    left += [f"{one.id}: {one.error}" for one in done.failed]
    for line in left[:_TOLD]:
        output.say(line)
    if len(left) > _TOLD:
        output.say(f"and {len(left) - _TOLD:,} more (all of them with --json)")
