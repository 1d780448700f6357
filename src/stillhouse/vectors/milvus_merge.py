"""Bringing one index into another (SPEC V4) in Milvus, which has no transactions.

Some items at a time: copy them, read back what the destination now holds, and only then delete
from the source what was read back the same. Cut off anywhere, every id is in one of the two, and
running it again finishes: what was copied already is skipped.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stillhouse.vectors.milvus_calls import IDS, Calls, Row, chunk_rows, same_row
from stillhouse.vectors.milvus_registry import Index
from stillhouse.vectors.values import FailedItem, MergeResult, OnConflict

_FIELDS: Final = ("id", "vector", "metadata")


class _Part(NamedTuple):
    """What became of some items, and the keys of those that the destination holds the same."""

    merged: int
    skipped: int
    conflicts: list[str]
    failed: list[FailedItem]
    held: list[str]


def merge(
    calls: Calls, source: Index, target: Index, *, clear_source: bool, on_conflict: OnConflict
) -> MergeResult:
    """Both indexes are locked by the caller."""
    keys = [row["pk"] for rows in calls.scan(source.collection, [], IDS) for row in rows]
    size = chunk_rows(source.spec.dimension)
    parts = []
    for at in range(0, len(keys), size):
        rows = calls.rows(source.collection, keys[at : at + size], _FIELDS)
        parts.append(_copied(calls, target.collection, rows, on_conflict))
        if clear_source:
            calls.remove(source.collection, parts[-1].held)
    return MergeResult(
        src=source.spec.name,
        dest=target.spec.name,
        merged=sum(part.merged for part in parts),
        skipped=sum(part.skipped for part in parts),
        conflicts=sorted(id_ for part in parts for id_ in part.conflicts),
        failed=sorted((one for part in parts for one in part.failed), key=lambda one: one.id),
        cleared=sum(len(part.held) for part in parts) if clear_source else 0,
        remaining=calls.count(source.collection),
    )


def _copied(calls: Calls, target: str, rows: dict[str, Row], on_conflict: OnConflict) -> _Part:
    there = calls.rows(target, list(rows), _FIELDS)
    same = [pk for pk, row in rows.items() if pk in there and same_row(row, there[pk])]
    other = [pk for pk in rows if pk in there and pk not in set(same)]
    wanted = [pk for pk in rows if pk not in there]
    if on_conflict == "replace":
        wanted += other
        other = []
    if wanted:
        calls.put(target, [rows[pk] for pk in wanted])
    back = calls.rows(target, wanted, _FIELDS)
    taken = [pk for pk in wanted if pk in back and same_row(rows[pk], back[pk])]
    return _Part(
        merged=len(taken),
        skipped=len(same),
        conflicts=[rows[pk]["id"] for pk in other],
        failed=[
            FailedItem(rows[pk]["id"], "was copied, and is not in the destination as it was sent")
            for pk in wanted
            if pk not in set(taken)
        ],
        held=same + taken,
    )
