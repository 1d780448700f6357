"""The whole job on one screen: read → score → clear → export → receipt.

Each function here is one command. They take a store, an engine and options, hold the lake
as its one writer, and make their outputs visible at once, when all is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec

from stillhouse import config
from stillhouse.distil import read_raw, score_pending
from stillhouse.errors import LakeError
from stillhouse.exports import KINDS, ExportOptions, export
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import EVIDENCE, UNIT_BYTES, check_lake, raw_files
from stillhouse.recall import recall, reissue
from stillhouse.state import clear_staging, load_state, recover
from stillhouse.work import Progress, Work, silent

_ROWS = frozenset({"sft", "preference", "unpaired", "rag"})
"""Counts of an export that are rows of its files."""

_NOT_REFUSED = frozenset({"blank", "evidence"})
"""Counts of a raw log that are no refusals."""


class RunReport(msgspec.Struct):
    """What a command did. ``read`` counts this run's raw rows by outcome, ``scored`` its
    rows by category; ``exports`` the counts of each export as it now stands; ``notes`` are
    for people, ``rows`` the evidence rows of the whole lake and ``refused`` its refused raw rows
    by reason. ``unchanged`` names the exports that needed no work; ``written`` counts the files,
    receipts and the index among them, that were written or removed.
    """

    recorded_at: str
    read: dict[str, int] = {}
    scored: dict[str, int] = {}
    exports: dict[str, dict[str, int]] = {}
    unchanged: list[str] = []
    written: int = 0
    notes: list[str] = []
    dry_run: bool = False
    rows: int = 0
    refused: dict[str, int] = {}

    def is_news(self) -> bool:
        """False when the command left everything as it found it, and has nothing to say."""
        done = self.written or any(self.read.values()) or any(self.scored.values())
        return bool(done or self.notes or set(self.unchanged) != set(self.exports))

    def has_data(self) -> bool:
        """False when the lake held nothing that the command could make into anything."""
        if not self.exports:
            return self.rows > 0
        return any(
            number and (name.startswith("rows/") if kind == "dataset" else name in _ROWS)
            for kind, counts in self.exports.items()
            for name, number in counts.items()
        )


def run_lake(
    store: Store,
    engine: Engine,
    options: ExportOptions,
    recorded_at: str,
    progress: Progress = silent,
    *,
    unit_bytes: int = UNIT_BYTES,
) -> RunReport:
    """Everything, in one pass: raw rows to exports, doing only what is new.

    ``unit_bytes`` is how much one unit of work covers; it changes no output.
    """
    with open_work(store, engine, recorded_at, progress, unit_bytes) as work:
        report = RunReport(recorded_at)
        scored = Counter(score_pending(work, raw_follows=True).categories)
        _commit(work, report)
        read = read_raw(work)
        _commit(work, report)
        reissue(work)
        report.read, report.scored = read.counts, dict(scored + Counter(read.categories))
        _export(work, report, KINDS, options)
        _commit(work, report)
        work.vouch(report.unchanged)
        return _noted(work, report)


def make_evidence(
    store: Store, engine: Engine, recorded_at: str, progress: Progress = silent
) -> RunReport:
    """Raw rows → evidence; what is already there and unchanged is left."""
    with open_work(store, engine, recorded_at, progress) as work:
        report = RunReport(recorded_at, read=read_raw(work, with_scores=False).counts)
        _commit(work, report)
        reissue(work)
        return _noted(work, report)


def score_evidence(
    store: Store, engine: Engine, recorded_at: str, progress: Progress = silent
) -> RunReport:
    """Evidence → scored runs, for every partition that has none."""
    with open_work(store, engine, recorded_at, progress) as work:
        report = RunReport(recorded_at, scored=score_pending(work).categories)
        _commit(work, report)
        reissue(work)
        return _noted(work, report)


def export_lake(
    store: Store,
    engine: Engine,
    kinds: Iterable[str],
    options: ExportOptions,
    recorded_at: str,
    progress: Progress = silent,
    *,
    dry_run: bool = False,
) -> RunReport:
    """Scored runs → exports. A dry run does everything but make the files visible (S8)."""
    with open_work(store, engine, recorded_at, progress) as work:
        if not work.state.raw and raw_files(store)[0] and not any(store.list(EVIDENCE)):
            raise LakeError(
                "nothing has been read here yet, so there is nothing to export",
                where=store.url,
                way_out="Start with `stillhouse run`.",
            )
        report = RunReport(recorded_at, dry_run=dry_run)
        if not dry_run:
            reissue(work)
        _export(work, report, kinds, options)
        if not dry_run:
            _commit(work, report)
        return _noted(work, report)


def export_sft(
    store: Store,
    engine: Engine,
    options: ExportOptions,
    recorded_at: str,
    *,
    dry_run: bool = False,
) -> RunReport:
    """Write ``distilled/sft/sft_export.jsonl`` alone (SPEC S8)."""
    return export_lake(store, engine, ["sft"], options, recorded_at, dry_run=dry_run)


def export_preference(
    store: Store,
    engine: Engine,
    options: ExportOptions,
    recorded_at: str,
    *,
    dry_run: bool = False,
) -> RunReport:
    """Write the pairs and the unpaired answers alone (SPEC P1)."""
    return export_lake(store, engine, ["preference"], options, recorded_at, dry_run=dry_run)


def export_rag(
    store: Store,
    engine: Engine,
    options: ExportOptions,
    recorded_at: str,
    *,
    dry_run: bool = False,
) -> RunReport:
    """Write ``distilled/rag/rag_export.jsonl`` alone (SPEC P2)."""
    return export_lake(store, engine, ["rag"], options, recorded_at, dry_run=dry_run)


@contextmanager
def open_work(
    store: Store,
    engine: Engine,
    recorded_at: str,
    progress: Progress = silent,
    unit_bytes: int = UNIT_BYTES,
) -> Iterator[Work]:
    """Hold the lake, finish what a crash left, and clear up afterwards."""
    check_lake(store)
    with store.lock(f"stillhouse {config.version()}"), config.scratch_folder() as scratch:
        known = load_state(store)
        state = known or recall(store)
        recovered = recover(store, state)
        work = Work(
            store,
            state,
            engine,
            recorded_at=recorded_at,
            version=config.version(),
            git_commit=config.git_commit(),
            scratch=scratch,
            progress=progress,
            unit_bytes=unit_bytes,
            recalled=known is None and state.generation > 0,
        )
        if recovered:
            work.notes.append("finished the commit of a run that was interrupted")
        try:
            yield work
        finally:
            # What a commit still owes is not rubbish: the next run publishes it.
            if not state.owes():
                clear_staging(store)


def _export(work: Work, report: RunReport, kinds: Iterable[str], options: ExportOptions) -> None:
    done = export(work, kinds, options)
    report.exports = done.counts
    report.unchanged = done.unchanged


def _commit(work: Work, report: RunReport) -> None:
    report.written += len(work.outputs | work.removed)
    work.commit()


def _noted(work: Work, report: RunReport) -> RunReport:
    report.notes = work.notes
    report.rows = sum(part.evidence.rows for part in work.state.partitions.values())
    refused: Counter[str] = Counter()
    for raw in work.state.raw.values():
        refused.update(raw.counts)
    report.refused = {name: refused[name] for name in sorted(refused) if name not in _NOT_REFUSED}
    return report
