"""Running again from raw: the same bytes, or exactly where not and why (SPEC P4).

Receipts tell which bytes of which raw logs were read, when, and with which options. A second
run over just these, in a folder of its own, must give the files that the receipts name.
However many runs made a lake, one pass repeats them: rows take the times of their first
reading from the receipts (`recall.tell`), and no other byte depends on how often a lake ran.

    receipts → told (state, claims) → raw bytes checked → second run → compared, row by row

The second run writes into a store that is given; the lake is only read. Replay compares the
second run with what receipts say; that the lake's files are as receipted is for `verify_lake`.
"""

from __future__ import annotations

import functools
from pathlib import Path

from stillhouse.interfaces import Engine, Store
from stillhouse.receipts import check_claim
from stillhouse.records import Record
from stillhouse.replay.again import Rerun, run_again
from stillhouse.replay.partings import FileParting, Seen
from stillhouse.replay.rows import Difference, RowParting
from stillhouse.replay.second import Maker, is_torn_lost, second_run
from stillhouse.replay.told import Told, read_told, unchained
from stillhouse.work import Progress, silent

__all__ = [
    "Difference",
    "FileParting",
    "LostInput",
    "Maker",
    "ReplayReport",
    "Rerun",
    "RowParting",
    "replay",
    "run_again",
]


class LostInput(Record, frozen=True, kw_only=True):
    """What cannot be read again as it was: a raw log that is gone or changed, from ``byte`` on at
    the earliest, or of which receipts do not tell when it was read, or a file of an earlier
    stage of which no receipt tells."""

    path: str
    receipt: str
    detail: str
    byte: int | None = None


class ReplayReport(Record, frozen=True, kw_only=True):
    """What a replay found. ``files`` were compared, of ``bytes`` in all; ``same`` of them agree.

    ``receipt`` is the one that was replayed, None for the lake as it stands; ``sequence`` is
    the generation it was taken from. ``ok`` when every file agrees and every input is there.
    """

    schema_version: int = 1
    ok: bool
    receipt: str | None
    sequence: int
    replayed_by: str
    files: int
    bytes: int
    same: int
    parted: list[FileParting]
    inputs: list[LostInput]
    notes: list[str]


def replay(
    store: Store,
    engine: Engine,
    upper: Store,
    scratch: Path,
    maker: Maker,
    *,
    receipt: str | None = None,
    progress: Progress = silent,
) -> ReplayReport:
    """Run again from raw into the store ``upper``, which must be empty, and compare.

    ``scratch`` is a local folder for what does not fit in memory. With ``receipt``, a path or
    a part of one, the lake is taken as it was when that receipt was written, and its own
    files are compared. Raises `ReceiptError` when there is no (such) receipt, or one does
    not hold: a replay of other words than were written proves nothing.
    """
    store.check_readable()
    told = read_told(store, receipt)
    lost = _check_inputs(store, engine, told, progress)
    found, notes = second_run(store, engine, upper, scratch, maker, told, progress)
    torn = sorted(path for path in told.claims if is_torn_lost(store, told, path))
    notes += [f"{path}: that unfinished line went on since; not compared" for path in torn]
    left_out = told.stale.union(torn)
    wanted = {path: one for path, one in told.claims.items() if path not in left_out}
    if told.replayed is not None:
        named = {file.path for file in told.receipts[told.replayed].outputs}
        wanted = {path: one for path, one in wanted.items() if path in named}
        found = {path: file for path, file in found.items() if path in named}
    found = {path: file for path, file in found.items() if path not in left_out}
    seen = Seen(store, upper, told, maker, {one.path: one.detail for one in lost})
    parted = list(seen.partings(wanted, found))
    return ReplayReport(
        ok=not parted and not lost,
        receipt=told.replayed,
        sequence=told.state.generation,
        replayed_by=maker.words(),
        files=len(wanted),
        bytes=sum(claim.file.bytes for claim in wanted.values()),
        same=sum(path not in {one.path for one in parted} for path in wanted),
        parted=parted,
        inputs=lost,
        notes=[*told.notes(), *notes],
    )


def _check_inputs(store: Store, engine: Engine, told: Told, progress: Progress) -> list[LostInput]:
    """The raw logs of which the bytes that were read, or the words on them, are gone."""
    claims = sorted(told.raw.values(), key=lambda claim: claim.file.path)
    progress("inputs", 0, len(claims))
    lost: list[LostInput] = []
    results = engine.map(functools.partial(check_claim, store), claims)
    for done, (claim, finding) in enumerate(zip(claims, results, strict=True), 1):
        progress("inputs", done, len(claims))
        if finding is not None:
            lost.append(
                LostInput(
                    path=claim.file.path,
                    receipt=claim.receipt,
                    detail=finding.detail,
                    byte=finding.start,
                )
            )
        elif (known := told.gaps.get(claim.file.path)) is not None:
            said = "by runs whose receipts are gone, so that nobody knows at what time"
            detail = f"was read up to byte {known:,} {said}"
            lost.append(LostInput(path=claim.file.path, receipt=claim.receipt, detail=detail))
    for path, receipt in unchained(told):
        detail = "was read by a stage, and no receipt here tells of what made it"
        lost.append(LostInput(path=path, receipt=receipt, detail=detail))
    return lost
