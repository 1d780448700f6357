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

from stillhouse.index import CATEGORY_CODE, ROW
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
    Span,
    raw_files,
    stem_of,
)
from stillhouse.planning import (
    Plan,
    epochs_after,
    forget,
    let_go,
    made_by,
    plan_file,
    units_of,
)
from stillhouse.receipts import FileDigest
from stillhouse.records import SCORER_VERSION
from stillhouse.refusals import Drops, Refusing, find_repeats, quarantine_path, write_refused
from stillhouse.sources import undefined
from stillhouse.state import FileState, PartitionState, RawState, unknown
from stillhouse.work import Stored, Work, holds, is_intact


class StageCounts(NamedTuple):
    """What a stage did: rows by outcome in this run, and rows by category where it scored."""

    counts: dict[str, int]
    categories: dict[str, int]


# ------------------------------------------------------------------------------- reading


def read_raw(work: Work, *, with_scores: bool = True) -> StageCounts:
    """Raw rows → evidence (and, in the same pass, scored runs). Stages all files and the
    receipts; the caller commits."""
    files, odd = raw_files(work.store)
    work.notes += odd
    work.notes += [said for raw in files if (said := undefined(raw.stem))]
    orphans = let_go(work, files)
    plans = [plan for raw in files if (plan := plan_file(work, raw)) is not None]
    read = _read(work, plans)
    altered = [plan for plan in plans if plan.old and not _can_grow(work, read[plan.raw.stem])]
    if altered:
        # What was to be added to is not what was written: those logs are read from their start.
        anew = [again for plan in altered if (again := plan_file(work, plan.raw)) is not None]
        read |= _read(work, anew)
        plans = [{again.raw.stem: again for again in anew}.get(p.raw.stem, p) for p in plans]
    done = [_finish_stem(work, plan, read[plan.raw.stem], with_scores) for plan in plans]
    left = [path for path in orphans if path in work.removed]
    if left:
        said = f"no raw row stands behind it; removed ({len(left)} such files)"
        work.notes.append(f"{left[0]}: {said}")
    counts: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    for stem in done:
        counts.update(stem.counts)
        categories.update(stem.categories)
    if done or left or work.gone:
        _receipts(work, plans, done, dict(counts), dict(categories))
    return StageCounts(dict(counts), dict(categories) if with_scores else {})


class _Read(NamedTuple):
    """What the units of one stem gave, and its last line where that has no line end."""

    stem: str
    results: list[IngestResult]
    torn: IngestUnit | None


def _read(work: Work, plans: list[Plan]) -> dict[str, _Read]:
    torn: dict[str, IngestUnit] = {}
    results: dict[str, list[IngestResult]] = {plan.raw.stem: [] for plan in plans}
    units = units_of(work, plans, torn)
    stems: list[str] = []

    def remembered() -> Iterator[IngestUnit]:
        for unit in units:
            stems.append(unit.stem)
            yield unit

    for number, result in enumerate(work.map("reading", ingest, remembered())):
        results[stems[number]].append(result)
    return {stem: _Read(stem, found, torn.get(stem)) for stem, found in results.items()}


def _can_grow(work: Work, read: _Read) -> bool:
    """Whether the files that a stem's new rows are added to are as they were written; the state
    no longer vouches for those that are not. A fingerprint may lie, and a new receipt would
    vouch for what was copied."""
    results = [*read.results, ingest(read.torn)] if read.torn else read.results
    days = {piece.day for result in results for piece in result.pieces}
    sound = True
    for path, part in work.state.partitions.items():
        files = [file for file in (part.evidence, part.scored, part.index) if file is not None]
        if part.stem != read.stem or part.day not in days:
            continue
        if not all(holds(Stored(work.store, file)) for file in files):
            sound = False
            work.state.partitions[path] = unknown(part)
    refused = work.state.quarantine.get(read.stem)
    if refused is not None and not holds(Stored(work.store, refused)):
        sound = False
        work.state.quarantine[read.stem] = msgspec.structs.replace(refused, fingerprint="")
    return sound


def _receipts(
    work: Work,
    plans: list[Plan],
    done: list[_Done],
    counts: dict[str, int],
    categories: dict[str, int],
) -> None:
    evidence = [file for stem in done for file in stem.evidence]
    scored = [file for stem in done for file in stem.scored]
    if work.changed(evidence) or any(plan.rewritten for plan in plans):
        work.receipt(
            "evidence",
            outputs=evidence or _subject(work),
            inputs=[stem.raw for stem in done],
            parameters={"read_before": {plan.raw.path: plan.standing for plan in plans}},
            counts=counts,
        )
    if scored and work.changed(scored):
        work.receipt(
            "score",
            outputs=scored,
            inputs=[file for file in evidence if not file.path.startswith(QUARANTINE)],
            parameters={"scorer_version": SCORER_VERSION},
            counts=categories,
        )


def _subject(work: Work) -> list[FileDigest]:
    """What a receipt is about that only says that files are gone: an in-toto statement needs a
    subject. That is what the stage has standing, else the refused rows of the stem, none."""
    parts = [part.evidence for part in work.state.partitions.values()]
    files = [*parts, *work.state.quarantine.values()]
    if files:
        return [FileDigest(file.path, file.bytes, file.rows, file.sha256) for file in files]
    stem = stem_of(min(work.removed | work.gone))
    empty = work.write(quarantine_path(stem), [])
    work.state.quarantine[stem] = work.file_state(empty)
    return [empty]


class _Done(NamedTuple):
    evidence: list[FileDigest]
    scored: list[FileDigest]
    raw: FileDigest
    counts: dict[str, int]
    categories: dict[str, int]


def _finish_stem(work: Work, plan: Plan, read: _Read, with_scores: bool) -> _Done:
    """Put one stem's pieces together: duplicates out, partitions joined, refusals written."""
    stem, results, torn = read
    tail: IngestResult | None = None
    if torn is not None:
        tail = ingest(torn)
        if tail.pieces:
            # A whole object that only lacks its line end is a row like any other.
            results.append(tail)
            plan.scan.take_torn()
            tail = None
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.counts)
    pieces = [piece for result in results for piece in result.pieces]
    drops = find_repeats(work, stem, plan.old is not None, pieces)
    before = {path: part.counts for path, part in work.state.partitions.items()} if plan.old else {}
    assembled = _assemble(work, plan, pieces, drops, with_scores)
    categories: Counter[str] = Counter()
    for written in assembled:
        # A repeated row has a category too, but is neither evidence nor scored.
        categories.update(written.counts)
        categories.subtract(before.get(written.evidence.path, {}))
    for name in CATEGORY_CODE:
        counts.pop(name, None)
    counts["evidence"] = sum(categories.values())
    if drops.total:
        counts["duplicate"] = drops.total
    done = Refusing(stem, plan.raw.path, plan.old is None, results, tail, pieces, drops)
    refused = write_refused(work, done)
    if tail is not None:
        counts.update(tail.counts)
    raw = _remember_raw(work, plan, counts, tail)
    scored = [part.scored for part in assembled if part.scored is not None]
    kept = {name: n for name, n in categories.items() if n}
    evidence = [part.evidence for part in assembled] + refused
    return _Done(evidence, scored, raw, dict(counts), kept)


def _remember_raw(
    work: Work, plan: Plan, counts: Counter[str], tail: IngestResult | None
) -> FileDigest:
    """Note in the state how far the raw file was read; returns the digest of that part."""
    raw = plan.scan.digest()
    total = Counter(plan.old.counts) if plan.old else Counter()
    if plan.old:
        # What was said of an unfinished last line is taken back, or has just been said again.
        total.subtract(plan.old.torn_counts)
    work.state.raw[plan.raw.stem] = RawState(
        path=plan.raw.path,
        fingerprint=plan.raw.fingerprint,
        end=raw.bytes,
        lines=raw.rows or 0,
        sha256=raw.sha256,
        made_by=made_by(work.version, plan.raw.stem),
        epochs=epochs_after(plan.epochs, plan.standing, raw.bytes, work.recorded_at),
        counts={name: n for name, n in (total + counts).items() if n},
        torn=plan.raw.size - raw.bytes,
        torn_counts=dict(tail.counts) if tail is not None else {},
    )
    return raw


# ------------------------------------------------------------------------------ assembly


def _assemble(
    work: Work, plan: Plan, pieces: list[Piece], drops: Drops, with_scores: bool
) -> list[Assembled]:
    stem = plan.raw.stem
    old = {part.day: part for part in work.state.partitions.values() if part.stem == stem}
    days: dict[str, list[int]] = {}
    for number, piece in enumerate(pieces):
        if drops.count(number) < piece.index.size // ROW.itemsize:
            days.setdefault(piece.day, []).append(number)
    if plan.old is None:
        for gone in old.values():
            forget(work, gone)
        old = {}

    def tasks() -> Iterator[AssembleTask]:
        # One at a time: the rows to drop are listed one by one.
        for day in sorted(days):
            joined = [pieces[number] for number in days[day]]
            part = old.get(day)
            if part is not None:
                joined.insert(0, _whole(part))
            first = len(joined) - len(days[day])
            lost = {
                first + at: drops.of(number)["place"].tolist()
                for at, number in enumerate(days[day])
                if drops.count(number)
            }
            yield AssembleTask(work.store, day, stem, joined, lost, work.staging, with_scores)

    done = list(work.map("writing", assemble, tasks()))
    for written in done:
        _remember(work, written)
    return done


def _whole(part: PartitionState) -> Piece:
    """An existing partition as the first piece of its longer self."""

    def span(file: FileState | None) -> Span:
        return Span(file.path, 0, file.bytes, file.rows) if file else Span("", 0, 0, 0)

    return Piece(part.day, span(part.evidence), span(part.scored), span(part.index))


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
