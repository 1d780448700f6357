"""What of the raw logs is to be read: what is new, or what has to be read anew, and why; and
what is to go because its log is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from stillhouse.index import index_path
from stillhouse.ingest import IngestUnit
from stillhouse.interfaces import Store
from stillhouse.lake import (
    EVIDENCE,
    QUARANTINE,
    SCORED,
    ByteRange,
    RawFile,
    partition_of,
    partition_path,
    raw_path,
    stem_of,
)
from stillhouse.rawscan import RawScan
from stillhouse.records import SCORER_VERSION
from stillhouse.refusals import torn_name
from stillhouse.sources import code_of
from stillhouse.state import Epoch, FileState, PartitionState, RawState
from stillhouse.work import Work, found_as


def made_by(version: str, stem: str) -> str:
    """Names the code that reads and scores a stem: when it changes, the stem is read anew."""
    return f"stillhouse {version}, rules {SCORER_VERSION}, {code_of(stem)}"


class Plan(NamedTuple):
    """How one raw file is read: from ``scan``'s position on; ``old`` is what stays.

    Lines up to ``standing`` are as earlier runs read them, at the times in ``epochs``, whether
    they are read again or not. ``rewritten`` says that receipts tell of bytes that are gone.
    """

    raw: RawFile
    scan: RawScan
    old: RawState | None
    epochs: list[Epoch]
    standing: int = 0
    rewritten: bool = False


def epochs_after(epochs: list[Epoch], standing: int, end: int, recorded_at: str) -> list[Epoch]:
    """The epochs of a log that was read up to ``end`` at ``recorded_at``, when lines up to
    ``standing`` still were as ``epochs`` tell of them.

    The one rule of a row's time: lines that stand keep theirs, all others are new. What
    stands reaches past the last epoch where a line got the line end that it lacked, and less
    far where it was continued.
    """
    kept: list[Epoch] = []
    if epochs and standing:
        kept = [epoch for epoch in epochs[:-1] if epoch.end < standing]
        kept.append(Epoch(standing, epochs[len(kept)].recorded_at))
    if not kept or kept[-1].end < end:
        kept.append(Epoch(end, recorded_at))
    return kept


def plan_file(work: Work, raw: RawFile) -> Plan | None:
    """Decide what of a raw file is to be read; None when nothing is."""
    old = work.state.raw.get(raw.stem)
    scan = RawScan(work.store, raw.path, raw.size)
    if old is None:
        return Plan(raw, scan, None, [])
    same_code = old.made_by == made_by(work.version, raw.stem)
    derived = _derived(work, raw.stem)
    prints = [found_as(work.store, file) for file in derived]
    whole = None not in prints
    if same_code and whole and old.fingerprint == raw.fingerprint:
        if prints != [file.fingerprint for file in derived]:
            work.moved.add(raw.stem)
        return None
    standing = _standing(scan, old)
    epochs = epochs_after(old.epochs, standing, standing, work.recorded_at)
    unchanged = standing >= old.end
    if unchanged and same_code and whole:
        if raw.size == old.end + old.torn:
            work.moved.add(raw.stem)
        if raw.size == old.end and not old.torn:
            # The same bytes under another fingerprint: a copy, a backup, a touch.
            work.state.raw[raw.stem] = msgspec.structs.replace(old, fingerprint=raw.fingerprint)
            return None
        return Plan(raw, scan, old, epochs, standing)
    work.notes.append(f"{raw.path}: {_why(old, standing, same_code)}")
    # Rows that were there before keep the time of their first run (SPEC L2).
    fresh = RawScan(work.store, raw.path, raw.size)
    return Plan(raw, fresh, None, epochs, standing, not unchanged)


def let_go(work: Work, files: list[RawFile]) -> list[str]:
    """Let files go that no raw row stands behind: of a stem that is gone with all that was made
    of it, and files that the state does not know though their raw log is there. Where the
    raw log is not there, nobody can tell what they are: a note says what helps.

    Returns the files of the second kind. What a stage writes stays (`Work.remove`).
    """
    here = {raw.stem for raw in files}
    found = _derived_files(work.store)
    for stem in sorted(set(work.state.raw) - here):
        if found.get(stem):
            work.notes.append(
                f"{raw_path(stem)}: is gone; what was made of it stays, but cannot be traced or "
                f"rebuilt. {_if_on_purpose(stem)}"
            )
        else:
            _forget_stem(work, stem)
    known = {file.path for file in work.state.quarantine.values()}
    for part in work.state.partitions.values():
        known |= {part.evidence.path, partition_path(SCORED, part.day, part.stem)}
    orphans: list[str] = []
    for stem, paths in sorted(found.items()):
        unknown = [path for path in paths if path not in known]
        if stem in here:
            orphans += unknown
        elif unknown:
            work.notes.append(
                f"{unknown[0]}: is of a log that is not there, and of no run that is known "
                f"({len(unknown)} such files of {stem!r}). {_if_on_purpose(stem)}"
            )
    for path in orphans:
        work.remove(path)
    return orphans


def forget(work: Work, part: PartitionState) -> None:
    """Let a partition's files go."""
    # All three, whatever the state knows: scored runs wait beside evidence that has grown. Also
    # where a file is not there: receipts that name it should hear that it is gone.
    for path in (
        part.evidence.path,
        partition_path(SCORED, part.day, part.stem),
        index_path(part.day, part.stem),
    ):
        work.remove(path)
    work.state.partitions.pop(part.evidence.path, None)


def _forget_stem(work: Work, stem: str) -> None:
    for part in [part for part in work.state.partitions.values() if part.stem == stem]:
        forget(work, part)
    for name in (stem, torn_name(stem)):
        refused = work.state.quarantine.pop(name, None)
        if refused is not None:
            work.remove(refused.path)
    # Not to be removed, whatever comes back meanwhile: it is the user's.
    work.gone.add(work.state.raw.pop(stem).path)
    work.notes.append(f"{raw_path(stem)}: is gone with all that was made of it, and forgotten")


def _if_on_purpose(stem: str) -> str:
    return (
        f"If it went on purpose, delete evidence/**/{stem}.jsonl, scored-runs/**/{stem}.jsonl "
        f"and quarantine/evidence/{stem}.jsonl, and run again"
    )


def _derived_files(store: Store) -> dict[str, list[str]]:
    """What stands in the lake of each stem. An empty file of refused rows is as good as none."""
    found: dict[str, list[str]] = {}
    for root in (EVIDENCE, SCORED):
        for entry in store.list(root):
            place = partition_of(entry.path)
            if place is not None:
                found.setdefault(place[1], []).append(entry.path)
    for folder in ("evidence", "torn"):
        for entry in store.list(f"{QUARANTINE}/{folder}"):
            if entry.size:
                found.setdefault(stem_of(entry.path), []).append(entry.path)
    return found


def _standing(scan: RawScan, old: RawState) -> int:
    """Pass over what was read; up to where its lines are the same."""
    if not scan.skip(old.end, old.lines, old.sha256):
        return 0
    # The last line may have been whole without its line end; more of it makes it another.
    return scan.end if scan.skip_line_end() else scan.last_line_start()


def _why(old: RawState, standing: int, same_code: bool) -> str:
    """Why a log is read anew from its start, for a note."""
    if not standing and old.end:
        return "changed where it had been read; read anew from its start"
    if standing < old.end:
        return "its last line, read before it had a line end, was continued; read anew"
    if not old.made_by:
        return "what was made of it is known from receipts only; read anew"
    if not same_code:
        return f"was read by other code ({old.made_by}); read anew"
    return "its evidence or scored runs are not as written; rebuilt"


def _derived(work: Work, stem: str) -> list[FileState]:
    """The files that were made of a log, as the state has them."""
    files = [work.state.quarantine.get(name) for name in (stem, torn_name(stem))]
    for part in work.state.partitions.values():
        if part.stem == stem:
            files += (part.evidence, part.scored, part.index)
    return [file for file in files if file is not None]


def units_of(work: Work, plans: list[Plan], torn: dict[str, IngestUnit]) -> Iterator[IngestUnit]:
    """The units of all files in order; last lines without a line end go into ``torn``."""
    for plan in plans:
        stops = tuple(epoch.end for epoch in plan.epochs)
        for part in plan.scan.ranges(stops, work.unit_bytes):
            yield _unit(work, plan, part)
        if plan.scan.torn:
            tail = _unit(work, plan, plan.scan.tail)
            torn[plan.raw.stem] = msgspec.structs.replace(tail, torn=True)


def _unit(work: Work, plan: Plan, part: ByteRange) -> IngestUnit:
    recorded_at = work.recorded_at
    for epoch in plan.epochs:
        if part.start < epoch.end:
            recorded_at = epoch.recorded_at
            break
    return IngestUnit(work.store, plan.raw.path, plan.raw.stem, part, recorded_at, work.blob())
