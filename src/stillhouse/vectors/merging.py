"""A merge between two indexes of a data folder (SPEC V4), batch by batch.

Each batch is one transaction over both indexes: what is brought over and what is cleared from the
source are on disk together or not at all. Between batches other writes go on. Items that come
into the source after the merge has begun are left for the next one, so that it ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeVar

import msgspec

from stillhouse.errors import (
    VectorBusyError,
    VectorError,
    VectorFailedError,
    VectorNotFoundError,
    VectorRequestError,
)
from stillhouse.vectors import truth
from stillhouse.vectors.refusals import refuse_unlike, registry_failed
from stillhouse.vectors.registry import Entry, Registry
from stillhouse.vectors.values import FailedItem, MergeResult, OnConflict
from stillhouse.vectors.writer import Transaction, Writer

T = TypeVar("T")

_log = logging.getLogger(__name__)

_PATIENCE: Final = 10.0
"""Seconds that a merge which has moved something waits for a busy writer."""
_AGAIN: Final = 0.05


class _Plan(NamedTuple):
    """What becomes of one batch of the source."""

    bring: list[tuple[int, truth.Row]]
    over: list[tuple[int, int]]
    clear: list[tuple[int, int]]


class _Job(NamedTuple):
    """A merge as it was asked for, between the two indexes that had those names then. Versions
    from ``until`` on came after it began."""

    registry: Registry
    source: Entry
    target: Entry
    clear_source: bool
    on_conflict: OnConflict
    faults: Callable[[str], None]
    batch: int
    until: int = 0


class _Told(msgspec.Struct):
    """What became of the items so far."""

    merged: int = 0
    skipped: int = 0
    cleared: int = 0
    remaining: int = 0
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
    batch: int,
) -> MergeResult:
    """Bring the items of ``src`` into ``dest``, ``batch`` of them in one transaction.

    Raises `VectorNotFoundError` when one of them is dropped or replaced meanwhile; the batches
    before it stay. Any other failure of the registry is logged and goes on as it is, and nothing
    is touched after it.
    """
    job = _Job(
        registry,
        _find(registry, src),
        _find(registry, dest),
        clear_source,
        on_conflict,
        faults,
        batch,
    )
    # The facade looked already; an index may have been replaced by another since.
    refuse_unlike(job.source.spec, job.target.spec)
    if job.source.number == job.target.number:
        raise VectorRequestError([("dest", "is the source itself")], code="merge_into_itself")
    job = job._replace(until=writer.do(lambda within: within.next_seq))
    so_far = _Told()
    place: str | None = ""
    while place is not None:
        told, place = _do(writer, partial(_move, job=job, place=place), so_far)
        faults("merge:batch")
        so_far = _Told(
            so_far.merged + told.merged,
            so_far.skipped + told.skipped,
            so_far.cleared + told.cleared,
            told.remaining,
            so_far.conflicts + told.conflicts,
            so_far.failed + told.failed,
        )
    return MergeResult(src=src, dest=dest, **msgspec.structs.asdict(so_far))


def _do(writer: Writer, move: Callable[[Transaction], T], so_far: _Told) -> T:
    """One batch. "Busy" says that nothing was done, so once something was it is waited for."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return writer.do(move)
        except VectorBusyError as error:
            if not (so_far.merged or so_far.cleared):
                raise
            if time.monotonic() > until:
                raise VectorFailedError(
                    f"the merge stopped after {so_far.merged:,} items: {error.what}",
                    where=error.where,
                    way_out="Run it again: it goes on where it stopped.",
                ) from error
            time.sleep(_AGAIN)


def _move(transaction: Transaction, job: _Job, place: str) -> tuple[_Told, str | None]:
    """Bring over the next batch after an id; what became of it, and its last id unless it was
    the last batch."""
    for entry in (job.source, job.target):
        name = entry.spec.name
        if _find(job.registry, name).number != entry.number:
            raise VectorNotFoundError(
                f"the index {name!r} was replaced while it was being merged",
                code="index_not_found",
            )
    told = _Told()
    rows = truth.after(transaction.connection, job.source.number, place, job.batch, job.until)
    plan = _decide(transaction, job.target, rows, job.on_conflict, told)
    job.faults("merge:planned")
    _carry_out(transaction, job, plan, told)
    job.faults("merge:carried")
    return told, rows[-1][1].id if len(rows) == job.batch else None


def _find(registry: Registry, name: str) -> Entry:
    try:
        return registry.find(name)
    except VectorNotFoundError:
        raise
    except (VectorError, OSError) as error:
        _log.exception("merge: looking up index %r failed; nothing is touched after it", name)
        raise registry_failed(name, error) from error


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
        elif old.get(holds[0]) == row:
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


def _carry_out(transaction: Transaction, job: _Job, plan: _Plan, told: _Told) -> None:
    source, target = job.source, job.target
    connection = transaction.connection
    truth.remove(connection, [seq for seq, _ in plan.over])
    added = transaction.insert(target.number, [row for _, row in plan.bring])
    # The destination's view first: at no time is an item in neither.
    transaction.change(target, added, plan.over)
    if job.clear_source:
        truth.remove(connection, [seq for seq, _ in plan.clear])
        transaction.change(source, [], plan.clear)
        told.cleared = len(plan.clear)
    told.remaining = truth.get_index(connection, source.number, transaction.path).items
