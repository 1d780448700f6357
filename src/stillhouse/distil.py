"""The evidence and score stages over a whole lake: what is new is read, the rest is left.

A raw file that grew is read from where it was left; one whose read part changed, or whose
derived files were edited or deleted, or that another version of the code read, is read
anew. Units of work run on any engine; here their pieces are put in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from stillhouse.index import CATEGORY_CODE, ROW, index_path
from stillhouse.ingest import (
    Assembled,
    AssembleTask,
    IngestResult,
    IngestUnit,
    Piece,
    ScoreTask,
    assemble,
    ingest,
    score_partition,
)
from stillhouse.lake import (
    QUARANTINE,
    SCORED,
    ByteRange,
    RawFile,
    Span,
    partition_path,
    raw_files,
    raw_path,
)
from stillhouse.rawscan import RawScan, past_line_end
from stillhouse.receipts import FileDigest
from stillhouse.records import SCORER_VERSION
from stillhouse.refusals import Drops, find_repeats, torn_name, write_refused
from stillhouse.sources import source_for
from stillhouse.state import Epoch, FileState, PartitionState, RawState
from stillhouse.work import Work, is_intact


class StageCounts(NamedTuple):
    """What a stage did: rows by outcome in this run, and rows by category where it scored."""

    counts: dict[str, int]
    categories: dict[str, int]


def made_by(version: str, stem: str) -> str:
    """Names the code that reads and scores a stem: when it changes, the stem is read anew."""
    source = source_for(stem)
    where = f"{source.transform.__module__}.{source.transform.__qualname__}"
    return f"stillhouse {version}, rules {SCORER_VERSION}, {source.source_class}, {where}"


# ------------------------------------------------------------------------------ planning


class _Plan(NamedTuple):
    """How one raw file is read: from ``scan``'s position on; ``old`` is what stays."""

    raw: RawFile
    scan: RawScan
    old: RawState | None
    epochs: list[Epoch]


def _plan(work: Work, raw: RawFile, with_scores: bool) -> _Plan | None:
    """Decide what of a raw file is to be read; None when nothing is."""
    old = work.state.raw.get(raw.stem)
    scan = RawScan(work.store, raw.path, raw.size)
    if old is None:
        return _Plan(raw, scan, None, [])
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
        return _Plan(raw, scan, old, epochs)
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
    return _Plan(raw, fresh, None, epochs if unchanged else [])


def _derived_intact(work: Work, stem: str, with_scores: bool) -> bool:
    for part in work.state.partitions.values():
        if part.stem != stem:
            continue
        made = (part.evidence, part.scored, part.index)
        if not all(file is None or is_intact(work.store, file) for file in made):
            return False
    refused = (work.state.quarantine.get(name) for name in (stem, torn_name(stem)))
    return all(file is None or is_intact(work.store, file) for file in refused)


def _units(work: Work, plans: list[_Plan], torn: dict[str, IngestUnit]) -> Iterator[IngestUnit]:
    """The units of all files in order; last lines without a line end go into ``torn``."""
    for plan in plans:
        stops = tuple(epoch.end for epoch in plan.epochs)
        for part in plan.scan.ranges(stops, work.unit_bytes):
            yield _unit(work, plan, part)
        if plan.scan.torn:
            end = plan.raw.size
            tail = ByteRange(plan.scan.end, end, plan.scan.lines)
            torn[plan.raw.stem] = msgspec.structs.replace(_unit(work, plan, tail), torn=True)


def _unit(work: Work, plan: _Plan, part: ByteRange) -> IngestUnit:
    recorded_at = work.recorded_at
    for epoch in plan.epochs:
        if part.start < epoch.end:
            recorded_at = epoch.recorded_at
            break
    return IngestUnit(work.store, plan.raw.path, plan.raw.stem, part, recorded_at, work.blob())


# ------------------------------------------------------------------------------- reading


def read_raw(work: Work, *, with_scores: bool = True) -> StageCounts:
    """Raw rows → evidence (and, in the same pass, scored runs). Stages all files and the
    receipts; the caller commits."""
    files, odd = raw_files(work.store)
    work.notes += odd
    for stem in sorted(set(work.state.raw) - {raw.stem for raw in files}):
        work.notes.append(
            f"{raw_path(stem)}: is gone; what was made of it stays, but cannot be traced or rebuilt"
        )
    plans = [plan for raw in files if (plan := _plan(work, raw, with_scores)) is not None]
    torn: dict[str, IngestUnit] = {}
    results: dict[str, list[IngestResult]] = {plan.raw.stem: [] for plan in plans}
    units = _units(work, plans, torn)
    stems: list[str] = []

    def remembered() -> Iterator[IngestUnit]:
        for unit in units:
            stems.append(unit.stem)
            yield unit

    for number, result in enumerate(work.map("reading", ingest, remembered())):
        results[stems[number]].append(result)
    evidence: list[FileDigest] = []
    scored: list[FileDigest] = []
    inputs: list[FileDigest] = []
    counts: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    for plan in plans:
        done = _finish_stem(
            work, plan, results[plan.raw.stem], torn.get(plan.raw.stem), with_scores
        )
        counts.update(done.counts)
        categories.update(done.categories)
        evidence += done.evidence
        scored += done.scored
        inputs.append(done.raw)
    if evidence or work.removed:
        _receipts(work, evidence, scored, inputs, dict(counts), dict(categories))
    return StageCounts(dict(counts), dict(categories) if with_scores else {})


def _receipts(
    work: Work,
    evidence: list[FileDigest],
    scored: list[FileDigest],
    inputs: list[FileDigest],
    counts: dict[str, int],
    categories: dict[str, int],
) -> None:
    if work.changed(evidence):
        work.receipt("evidence", outputs=evidence, inputs=inputs, parameters={}, counts=counts)
    if scored and work.changed(scored):
        sources = [file for file in evidence if not file.path.startswith(QUARANTINE)]
        work.receipt(
            "score",
            outputs=scored,
            inputs=sources,
            parameters={"scorer_version": SCORER_VERSION},
            counts=categories,
        )


class _Done(NamedTuple):
    evidence: list[FileDigest]
    scored: list[FileDigest]
    raw: FileDigest
    counts: dict[str, int]
    categories: dict[str, int]


def _finish_stem(
    work: Work,
    plan: _Plan,
    results: list[IngestResult],
    torn: IngestUnit | None,
    with_scores: bool,
) -> _Done:
    """Put one stem's pieces together: duplicates out, partitions joined, refusals written."""
    stem = plan.raw.stem
    unterminated = False
    tail: IngestResult | None = None
    if torn is not None:
        tail = ingest(torn)
        if tail.pieces:
            # A whole object that only lacks its line end is a row like any other.
            results.append(tail)
            plan.scan.take_torn()
            unterminated, tail = True, None
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.counts)
    pieces = [(number, piece) for number, result in enumerate(results) for piece in result.pieces]
    drops = find_repeats(work, stem, plan.old is not None, [piece for _, piece in pieces])
    before = {path: part.counts for path, part in work.state.partitions.items()} if plan.old else {}
    assembled = _assemble(work, plan, [piece for _, piece in pieces], drops, with_scores)
    categories: Counter[str] = Counter()
    for written in assembled:
        # A repeated row has a category too, but is neither evidence nor scored.
        categories.update(written.counts)
        categories.subtract(before.get(written.evidence.path, {}))
    for name in CATEGORY_CODE:
        counts.pop(name, None)
    counts["evidence"] = sum(categories.values())
    if drops:
        counts["duplicate"] = sum(map(len, drops.values()))
    kept_refusals = work.state.quarantine.get(stem) if plan.old else None
    refused = write_refused(
        work, stem, plan.raw.path, kept_refusals, plan.old is None, results, tail, pieces, drops
    )
    if tail is not None:
        counts.update(tail.counts)
    raw = plan.scan.digest()
    total = Counter(plan.old.counts) if plan.old else Counter()
    if plan.old:
        # What was said of an unfinished last line is taken back, or has just been said again.
        total.subtract(plan.old.torn_counts)
    work.state.raw[stem] = RawState(
        path=plan.raw.path,
        fingerprint=plan.raw.fingerprint,
        end=raw.bytes,
        lines=raw.rows or 0,
        sha256=raw.sha256,
        made_by=made_by(work.version, stem),
        epochs=_epochs(plan, raw.bytes, work.recorded_at),
        counts={name: n for name, n in (total + counts).items() if n},
        torn=plan.raw.size - raw.bytes,
        torn_counts=dict(tail.counts) if tail is not None else {},
        unterminated=unterminated,
    )
    scored = [part.scored for part in assembled if part.scored is not None]
    kept = {name: n for name, n in categories.items() if n}
    return _Done([part.evidence for part in assembled] + refused, scored, raw, dict(counts), kept)


def _epochs(plan: _Plan, end: int, recorded_at: str) -> list[Epoch]:
    epochs = list(plan.epochs)
    if not epochs or epochs[-1].end < end:
        epochs.append(Epoch(end, recorded_at))
    return epochs


# ------------------------------------------------------------------------------ assembly


def _assemble(
    work: Work, plan: _Plan, pieces: list[Piece], drops: Drops, with_scores: bool
) -> list[Assembled]:
    stem = plan.raw.stem
    old = {part.day: part for part in work.state.partitions.values() if part.stem == stem}
    days: dict[str, list[int]] = {}
    for number, piece in enumerate(pieces):
        if len(drops.get(number, ())) < piece.index.size // ROW.itemsize:
            days.setdefault(piece.day, []).append(number)
    if plan.old is None:
        for gone in old.values():
            _forget(work, gone)
        old = {}
    tasks = []
    for day in sorted(days):
        joined = [pieces[number] for number in days[day]]
        lost = {at: sorted(drops[n]) for at, n in enumerate(days[day]) if n in drops}
        part = old.get(day)
        if part is not None:
            joined.insert(0, _whole(part))
            lost = {at + 1: rows for at, rows in lost.items()}
        tasks.append(AssembleTask(work.store, day, stem, joined, lost, work.staging, with_scores))
    done = list(work.map("writing", assemble, tasks))
    for written in done:
        _remember(work, written)
    return done


def _whole(part: PartitionState) -> Piece:
    """An existing partition as the first piece of its longer self."""

    def span(file: FileState | None) -> Span:
        return Span(file.path, 0, file.bytes, file.rows) if file else Span("", 0, 0, 0)

    return Piece(part.day, span(part.evidence), span(part.scored), span(part.index))


def _forget(work: Work, part: PartitionState) -> None:
    # All three, whatever the state knows: scored runs wait beside evidence that has grown.
    for path in (
        part.evidence.path,
        partition_path(SCORED, part.day, part.stem),
        index_path(part.day, part.stem),
    ):
        if work.store.stat(path) is not None:
            work.remove(path)
    work.state.partitions.pop(part.evidence.path, None)


def _remember(work: Work, part: Assembled) -> None:
    files: dict[str, FileState] = {}
    for name, digest in (
        ("evidence", part.evidence),
        ("scored", part.scored),
        ("index", part.index),
    ):
        if digest is not None:
            work.staged(digest.path)
            files[name] = work.file_state(digest)
    work.state.partitions[part.evidence.path] = PartitionState(
        day=part.day,
        stem=part.stem,
        evidence=files["evidence"],
        scored=files.get("scored"),
        index=files.get("index"),
        counts=part.counts,
    )


# ------------------------------------------------------------------------------- scoring


def score_pending(work: Work, *, raw_follows: bool = False) -> StageCounts:
    """Score the partitions whose evidence is there without (intact) scored runs.

    ``raw_follows`` says that `read_raw` comes next, and mends evidence that is not intact.
    """
    pending = []
    for part in work.state.partitions.values():
        if is_intact(work.store, part.scored) and is_intact(work.store, part.index):
            continue
        if is_intact(work.store, part.evidence):
            pending.append(part)
        elif not raw_follows:
            work.notes.append(f"{part.evidence.path}: is not as written; `evidence` mends it")
    tasks = [ScoreTask(work.store, part.day, part.stem, work.staging) for part in pending]
    counts: Counter[str] = Counter()
    inputs, outputs = [], []
    for part, done in zip(pending, work.map("scoring", score_partition, tasks), strict=True):
        _remember(work, done)
        # The evidence itself is where it was: it is read, not written.
        work.outputs.discard(done.evidence.path)
        work.state.partitions[part.evidence.path] = msgspec.structs.replace(
            work.state.partitions[part.evidence.path], evidence=part.evidence
        )
        counts.update(done.counts)
        inputs.append(done.evidence)
        assert done.scored is not None
        outputs.append(done.scored)
    if work.changed(outputs):
        work.receipt(
            "score",
            outputs=outputs,
            inputs=inputs,
            parameters={"scorer_version": SCORER_VERSION},
            counts=dict(counts),
        )
    return StageCounts({}, dict(counts))
