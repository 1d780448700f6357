"""What of the raw logs is to be read: what is new, or what has to be read anew, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from stillhouse.ingest import IngestUnit
from stillhouse.lake import ByteRange, RawFile
from stillhouse.rawscan import RawScan, past_line_end
from stillhouse.records import SCORER_VERSION
from stillhouse.refusals import torn_name
from stillhouse.sources import code_of
from stillhouse.state import Epoch, RawState
from stillhouse.work import Work, is_intact


def made_by(version: str, stem: str) -> str:
    """Names the code that reads and scores a stem: when it changes, the stem is read anew."""
    return f"stillhouse {version}, rules {SCORER_VERSION}, {code_of(stem)}"


class Plan(NamedTuple):
    """How one raw file is read: from ``scan``'s position on; ``old`` is what stays."""

    raw: RawFile
    scan: RawScan
    old: RawState | None
    epochs: list[Epoch]


def plan_file(work: Work, raw: RawFile, with_scores: bool) -> Plan | None:
    """Decide what of a raw file is to be read; None when nothing is."""
    old = work.state.raw.get(raw.stem)
    scan = RawScan(work.store, raw.path, raw.size)
    if old is None:
        return Plan(raw, scan, None, [])
    same_code = old.made_by == made_by(work.version, raw.stem)
    whole = _derived_intact(work, raw.stem, with_scores)
    if same_code and whole and old.fingerprint == raw.fingerprint:
        return None
    unchanged = scan.skip(old.end, old.lines, old.sha256)
    epochs = old.epochs
    if unchanged and old.unterminated and raw.size > old.end:
        # The last line was whole without its line end; more of it would make it another.
        end = past_line_end(work.store, raw.path, old.end)
        unchanged = end is not None
        if end is not None:
            scan.pass_over(end)
            epochs = [*epochs[:-1], msgspec.structs.replace(epochs[-1], end=end)]
    if unchanged and same_code and whole:
        if raw.size == old.end + old.torn:
            work.moved.add(raw.stem)
        if raw.size == old.end and not old.torn:
            # The same bytes under another fingerprint: a copy, a backup, a touch.
            work.state.raw[raw.stem] = msgspec.structs.replace(old, fingerprint=raw.fingerprint)
            return None
        return Plan(raw, scan, old, epochs)
    if not unchanged:
        work.notes.append(f"{raw.path}: changed where it had been read; read anew from its start")
    elif not old.made_by:
        work.notes.append(f"{raw.path}: what was made of it is known from receipts only; read anew")
    elif not same_code:
        work.notes.append(f"{raw.path}: was read by other code ({old.made_by}); read anew")
    else:
        work.notes.append(f"{raw.path}: its evidence or scored runs are not as written; rebuilt")
    # Rows that were there before keep the time of their first run (SPEC L2).
    fresh = RawScan(work.store, raw.path, raw.size)
    return Plan(raw, fresh, None, epochs if unchanged else [])


def _derived_intact(work: Work, stem: str, with_scores: bool) -> bool:
    for part in work.state.partitions.values():
        if part.stem != stem:
            continue
        made = (part.evidence, part.scored, part.index)
        if not all(file is None or is_intact(work.store, file) for file in made):
            return False
    refused = (work.state.quarantine.get(name) for name in (stem, torn_name(stem)))
    return all(file is None or is_intact(work.store, file) for file in refused)


def units_of(work: Work, plans: list[Plan], torn: dict[str, IngestUnit]) -> Iterator[IngestUnit]:
    """The units of all files in order; last lines without a line end go into ``torn``."""
    for plan in plans:
        stops = tuple(epoch.end for epoch in plan.epochs)
        for part in plan.scan.ranges(stops, work.unit_bytes):
            yield _unit(work, plan, part)
        if plan.scan.torn:
            end = plan.raw.size
            tail = ByteRange(plan.scan.end, end, plan.scan.lines)
            torn[plan.raw.stem] = msgspec.structs.replace(_unit(work, plan, tail), torn=True)


def _unit(work: Work, plan: Plan, part: ByteRange) -> IngestUnit:
    recorded_at = work.recorded_at
    for epoch in plan.epochs:
        if part.start < epoch.end:
            recorded_at = epoch.recorded_at
            break
    return IngestUnit(work.store, plan.raw.path, plan.raw.stem, part, recorded_at, work.blob())
