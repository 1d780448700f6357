"""A merge between two indexes of a data folder (SPEC V4), batch by batch.

Each batch is one transaction over both indexes: what is brought over and what is cleared from the
source are on disk together or not at all. Between batches other writes go on. Items that come
into the source behind the merge's place, by id, are left for the next merge.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from stillhouse.errors import VectorNotFoundError
from stillhouse.vectors import truth
from stillhouse.vectors.memory import refuse_unlike
from stillhouse.vectors.registry import Entry, Registry
from stillhouse.vectors.values import FailedItem, MergeResult, OnConflict
from stillhouse.vectors.writer import Transaction, Writer

_log = logging.getLogger(__name__)

_BATCH: Final = 1_000


class _Plan(NamedTuple):
    """What becomes of one batch of the source."""

    bring: list[tuple[int, truth.Row]]
    over: list[tuple[int, int]]
    clear: list[tuple[int, int]]


class _Told(msgspec.Struct):
    """What became of the items so far."""

    merged: int = 0
    skipped: int = 0
    cleared: int = 0
    conflicts: list[str] = []
    failed: list[FailedItem] = []


def merge(
    writer: Writer,
    registry: Registry,
    src: str,
    dest: str,
    *,
    clear_source: bool,
    on_conflict: OnConflict,
    faults: Callable[[str], None],
) -> MergeResult:
    """Bring the items of ``src`` into ``dest``.

    Raises `VectorNotFoundError` when one of them is dropped meanwhile; the batches before it
    stay. Any other failure of the registry goes on as it is, and nothing is touched after it.
    """
    so_far = _Told()
    source, target = registry.find(src), registry.find(dest)
    refuse_unlike(source.spec, target.spec)
    place: str | None = ""
    while place is not None:
        from_ = place

        def step(transaction: Transaction, from_: str = from_) -> tuple[_Told, str | None]:
            _still_there(registry, source, target)
            told = _Told()
            rows = truth.after(transaction.connection, source.number, from_, _BATCH)
            plan = _decide(transaction, target, rows, on_conflict, told)
            _carry_out(transaction, source, target, plan, clear_source, told)
            faults("merge:batch")
            return told, rows[-1][1].id if len(rows) == _BATCH else None

        told, place = writer.do(step)
        so_far.merged += told.merged
        so_far.skipped += told.skipped
        so_far.cleared += told.cleared
        so_far.conflicts += told.conflicts
        so_far.failed += told.failed
    return MergeResult(
        src=src,
        dest=dest,
        merged=so_far.merged,
        skipped=so_far.skipped,
        conflicts=so_far.conflicts,
        failed=so_far.failed,
        cleared=so_far.cleared,
        remaining=source.search.count(None),
    )


def _still_there(registry: Registry, *entries: Entry) -> None:
    """Both indexes are the ones that the merge began with."""
    for entry in entries:
        name = entry.spec.name
        try:
            now = registry.find(name)
        except VectorNotFoundError:
            raise
        except BaseException:
            _log.exception("merge: looking up index %r failed; nothing is touched after it", name)
            raise
        if now.number != entry.number:
            raise VectorNotFoundError(
                f"the index {name!r} was replaced while it was being merged",
                code="index_not_found",
            )


def _decide(
    transaction: Transaction,
    target: Entry,
    rows: list[tuple[int, truth.Row]],
    on_conflict: OnConflict,
    told: _Told,
) -> _Plan:
    there = truth.find(transaction.connection, target.number, [row.id for _, row in rows])
    old = dict(truth.read(transaction.connection, [seq for seq, _ in there.values()]))
    plan = _Plan([], [], [])
    for seq, row in rows:
        if not truth.is_sound(row):
            told.failed.append(FailedItem(row.id, "it is not as it was written"))
            continue
        holds = there.get(row.id)
        if holds is None:
            plan.bring.append((seq, row))
        elif old[holds[0]] == row:
            told.skipped += 1
        elif on_conflict == "replace":
            plan.bring.append((seq, row))
            plan.over.append(holds)
        else:
            told.conflicts.append(row.id)
            continue
        plan.clear.append((seq, row.check))
    told.merged = len(plan.bring)
    return plan


def _carry_out(
    transaction: Transaction,
    source: Entry,
    target: Entry,
    plan: _Plan,
    clear_source: bool,
    told: _Told,
) -> None:
    connection = transaction.connection
    truth.remove(connection, [seq for seq, _ in plan.over])
    added = truth.insert(connection, target.number, [row for _, row in plan.bring])
    # The destination's view first: at no time is an item in neither.
    transaction.change(target, added, plan.over)
    if clear_source:
        truth.remove(connection, [seq for seq, _ in plan.clear])
        transaction.change(source, [], plan.clear)
        told.cleared = len(plan.clear)
