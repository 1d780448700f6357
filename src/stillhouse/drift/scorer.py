"""Scorer drift (SPEC G4): stored evidence scored again with today's rules.

    stored (evidence, scored run) → today's verdict → matrix, agreement, κ, examples

A rule that changed, or a scored run that was edited, shows as a row whose category today is
another than the stored one. `compute_scorer_drift` is the pure core; `scorer_drift` asks it of
every partition of a lake. Nothing is changed: `stillhouse run` is what scores anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from stillhouse.drift.agreement import (
    HARMFUL,
    HARMFUL_PARTIAL,
    Matrix,
    agreement,
    cohens_kappa,
    count,
    empty_matrix,
)
from stillhouse.drift.pairs import Pair, Partition, pair_up, partitions
from stillhouse.errors import RecordError
from stillhouse.interfaces import Engine, Scorer, Store, Verdict
from stillhouse.lake import EVIDENCE, SCORED
from stillhouse.records import (
    CATEGORIES,
    SCHEMA_VERSION,
    Category,
    EvidenceRecord,
    Record,
    ScoredRun,
    decode,
)
from stillhouse.redaction import redact
from stillhouse.sources import score_record, stem_from_source_file

EXAMPLES: Final = 3
"""Examples of each kind of change, if nobody says otherwise."""

_LONGEST: Final = 500
_MOST_REASONS: Final = 5
_MOST_NAMED: Final = 10
"""Rows that are named of those that cannot be compared."""


# ------------------------------------------------------------------------------ results


class ChangedVerdict(Record, frozen=True, kw_only=True):
    """A row whose category today is not the stored one, with the reasons of both.

    ``where`` is its raw line, ``FILE:LINE`` from 1. Reasons are cut, and without secrets.
    """

    where: str
    run_id: str
    source: str
    stored: Category
    today: Category
    harmful: bool
    stored_reasons: list[str]
    today_reasons: list[str]


class Agreement(Record, frozen=True, kw_only=True):
    """Stored against today's categories.

    ``matrix`` counts ``rows`` by the stored category and then by today's. ``harmful`` are those
    that went from `rejected` or `needs_human_review` to `accepted`, ``harmful_partial`` those
    that went from there to `partially_accepted`; a row is in one of the two at most.
    """

    rows: int
    changed: int
    agreement: float
    kappa: float
    harmful: int
    harmful_partial: int
    matrix: Matrix


class ScorerDrift(Record, frozen=True, kw_only=True):
    """What today's rules say of a lake's stored verdicts.

    The first fields are those of `Agreement` over all rows; ``by_source`` has them by stem.
    ``reworded`` counts rows of the same category with other reasons. ``examples`` are a few of
    each kind of change, the harmful ones first. ``missing`` are scored runs that cannot be
    compared, by reason: ``invalid_run`` (the scored run does not validate), ``no_evidence`` (no
    evidence has the hash that it names), ``invalid_evidence``. ``unscored`` are evidence rows
    that no scored run names. ``missing_rows`` names some of both.
    """

    schema_version: int = 0
    rows: int
    changed: int
    agreement: float
    kappa: float
    harmful: int
    harmful_partial: int
    matrix: Matrix
    reworded: int
    by_source: dict[str, Agreement]
    examples: list[ChangedVerdict]
    missing: dict[str, int]
    unscored: int
    missing_rows: list[str]


# ------------------------------------------------------------------------------ counting


class ScorerTally(msgspec.Struct):
    """Counts of compared rows, which merge: units count alone and are added up.

    It holds a few examples of each kind of change and no other row.
    """

    examples: int = EXAMPLES
    sources: dict[str, Matrix] = {}
    reworded: int = 0
    changed: dict[tuple[str, str], list[ChangedVerdict]] = {}
    missing: dict[str, int] = {}
    unscored: int = 0
    missing_rows: list[str] = []

    def add(self, source: str, record: EvidenceRecord, stored: ScoredRun, today: Verdict) -> None:
        """Count one row: its stored and today's verdict."""
        matrix = self.sources.setdefault(source, empty_matrix())
        matrix[stored.category][today.category] += 1
        if stored.category == today.category:
            self.reworded += stored.reasons != today.reasons
            return
        known = self.changed.setdefault((stored.category, today.category), [])
        if len(known) < self.examples:
            known.append(_example(source, record, stored, today))

    def miss(self, reason: str, where: str, words: str) -> None:
        """Count a scored run that cannot be compared."""
        self.missing[reason] = self.missing.get(reason, 0) + 1
        self._name(f"{where}: {words}")

    def leave(self, where: str) -> None:
        """Count evidence that no scored run names."""
        self.unscored += 1
        self._name(f"{where}: no scored run names it")

    def merge(self, other: ScorerTally) -> None:
        """Add what another counted of rows that come later."""
        for source, matrix in other.sources.items():
            ours = self.sources.setdefault(source, empty_matrix())
            _add(ours, matrix)
        self.reworded += other.reworded
        for change, found in other.changed.items():
            known = self.changed.setdefault(change, [])
            known += found[: self.examples - len(known)]
        for reason, rows in other.missing.items():
            self.missing[reason] = self.missing.get(reason, 0) + rows
        self.unscored += other.unscored
        for words in other.missing_rows:
            self._name(words)

    def _name(self, words: str) -> None:
        if len(self.missing_rows) < _MOST_NAMED:
            self.missing_rows.append(words)

    def result(self) -> ScorerDrift:
        """The counts as they are told."""
        total = empty_matrix()
        for matrix in self.sources.values():
            _add(total, matrix)
        order = sorted(self.changed, key=_harmful_first)
        return ScorerDrift(
            schema_version=SCHEMA_VERSION,
            **msgspec.structs.asdict(_agreement(total)),
            reworded=self.reworded,
            by_source={stem: _agreement(self.sources[stem]) for stem in sorted(self.sources)},
            examples=[found for change in order for found in self.changed[change]],
            missing=dict(sorted(self.missing.items())),
            unscored=self.unscored,
            missing_rows=self.missing_rows,
        )


def compute_scorer_drift(
    pairs: Iterable[tuple[EvidenceRecord, ScoredRun]],
    *,
    score: Scorer = score_record,
    examples: int = EXAMPLES,
) -> ScorerDrift:
    """Compare stored verdicts with those that ``score`` gives to the same evidence.

    ``examples`` is how many rows are told in full of each kind of change. Pure: the order of the
    pairs decides only which rows are the examples.
    """
    tally = ScorerTally(examples)
    for record, stored in pairs:
        source = stem_from_source_file(record.provenance.source_file)
        tally.add(source, record, stored, score(record))
    return tally.result()


def _agreement(matrix: Matrix) -> Agreement:
    rows = count(matrix)
    return Agreement(
        rows=rows,
        changed=rows - sum(matrix[name][name] for name in CATEGORIES),
        agreement=agreement(matrix),
        kappa=cohens_kappa(matrix),
        harmful=count(matrix, HARMFUL),
        harmful_partial=count(matrix, HARMFUL_PARTIAL),
        matrix=matrix,
    )


def _add(matrix: Matrix, more: Matrix) -> None:
    for was, row in more.items():
        for now, rows in row.items():
            matrix[was][now] += rows


def _harmful_first(change: tuple[str, str]) -> tuple[int, int, int]:
    was, now = change
    kind = 0 if change in HARMFUL else 1 if change in HARMFUL_PARTIAL else 2
    return kind, CATEGORIES.index(was), CATEGORIES.index(now)


def _example(
    source: str, record: EvidenceRecord, stored: ScoredRun, today: Verdict
) -> ChangedVerdict:
    origin = record.provenance
    change = (stored.category, today.category)
    return ChangedVerdict(
        where=f"{origin.source_file}:{origin.line_offset + 1}",
        run_id=record.run_id,
        source=source,
        stored=stored.category,
        today=today.category,
        harmful=change in HARMFUL or change in HARMFUL_PARTIAL,
        stored_reasons=list(_told(stored.reasons)),
        today_reasons=list(_told(today.reasons)),
    )


def _told(reasons: list[str]) -> Iterator[str]:
    """Reasons as they may be shown: a person's words in them can hold a secret."""
    for reason in reasons[:_MOST_REASONS]:
        yield _cut(redact(reason, {}))


def _cut(words: str) -> str:
    return words if len(words) <= _LONGEST else words[:_LONGEST] + " …"


# ------------------------------------------------------------------------------ the lake


class RescoreTask(msgspec.Struct, frozen=True):
    """One partition to score again."""

    store: Store
    partition: Partition
    examples: int


def rescore(task: RescoreTask) -> ScorerTally:
    """Score the evidence of a partition again, beside its stored scored runs. A unit of work."""
    tally = ScorerTally(task.examples)
    for pair in pair_up(task.store, task.partition):
        _compare(tally, task.partition.stem, pair)
    return tally


def _compare(tally: ScorerTally, stem: str, pair: Pair) -> None:
    if pair.scored is None:
        if pair.evidence is None:
            tally.miss("invalid_run", pair.where, "is no valid scored run")
        else:
            tally.leave(pair.where)
        return
    if pair.evidence is None:
        tally.miss("no_evidence", pair.where, "no evidence has the hash that it names")
        return
    try:
        record = decode(pair.evidence, EvidenceRecord)
    except RecordError as error:
        tally.miss("invalid_evidence", pair.where, _cut(str(error)))
        return
    tally.add(stem, record, pair.scored, score_record(record))


def scorer_drift(store: Store, engine: Engine, *, examples: int = EXAMPLES) -> ScorerDrift:
    """`compute_scorer_drift` over a lake, partition by partition, on any engine.

    Rows that cannot be compared are counted and named, never fatal. Raises `LakeError` or
    `StorageError` for a lake that cannot be read, and `SourceError` for an installed package
    whose rules cannot be used.
    """
    store.check_readable()
    tally = ScorerTally(examples)
    found = partitions(store, EVIDENCE, SCORED)
    tasks = [RescoreTask(store, partition, examples) for partition in found]
    for counted in engine.map(rescore, tasks):
        tally.merge(counted)
    return tally.result()
