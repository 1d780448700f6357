"""What the report knows of a lake: the structs, which are the shape of its JSON too.

Text that comes from the lake's rows is kept as it is, but for secrets, which are taken out, and
length: an `Excerpt` holds the beginning and says how much is left out. Making text safe to show is
for `page`. Nothing here reads or computes.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from stillhouse.funnel import NotAccepted, SourceFunnel

SCHEMA_VERSION: Final = 1

Level = Literal["no", "unproven", "look", "yes"]
"""Whether to train: not at all; nobody has checked; after a look at something; yes."""

Weight = Literal["stop", "look", "todo"]
"""What a finding does to the verdict: forbids training, wants a look first, or nothing."""

Unit = Literal["day", "week", "month", "quarter", "year"]
Flag = Literal["ok", "warn", "first_run", "removed"]


class _Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all facts."""


# ----------------------------------------------------------------------------- in short


class Verdict(_Fact, frozen=True, kw_only=True):
    """The answer to "may I train on this?", in one line, with what speaks for and against it."""

    level: Level
    words: str
    reasons: list[str]


class Attention(_Fact, frozen=True, kw_only=True):
    """One thing that needs a human: what it is, and what to do about it (``do`` is a command where
    ``command`` says so)."""

    weight: Weight
    what: str
    do: str = ""
    command: str = ""


class Change(_Fact, frozen=True, kw_only=True):
    """A figure before and now. ``percent`` is None where there is nothing to take it of; ``creep``
    says how far a figure has gone over several audits that each found it ok."""

    what: str
    before: float | None
    now: float | None
    percent: float | None
    flag: Flag
    creep: list[str] = []


class Changes(_Fact, frozen=True, kw_only=True):
    """What changed since ``since``, as ``source`` tells: the last audit's drift table, or else the
    newest two receipts of each export. ``words`` say it in a sentence."""

    source: Literal["audit", "receipts", "nothing"]
    words: str
    since: str = ""
    now: str = ""
    threshold: float | None = None
    rows: list[Change] = []


# ------------------------------------------------------------------------------- figures


class Totals(_Fact, frozen=True, kw_only=True):
    """Rows of the whole lake. ``exports`` are rows by kind: sft, preference, unpaired, rag."""

    lines: int
    blank: int
    refused: int
    evidence: int
    categories: dict[str, int]
    exports: dict[str, int]


class Series(_Fact, frozen=True, kw_only=True):
    """One source over the dates of its rows (UTC): rows by category, one number a bucket.
    ``starts`` are the first days of the buckets, all of one ``unit``."""

    stem: str
    rows: int
    unit: Unit
    first_day: str
    last_day: str
    starts: list[str]
    counts: dict[str, list[int]]


# --------------------------------------------------------------------------- rows to read


class Excerpt(_Fact, frozen=True, kw_only=True):
    """The beginning of a text without its secrets; ``left_out`` counts the characters behind."""

    text: str
    left_out: int = 0
    redacted: bool = False


class RefusedRow(_Fact, frozen=True, kw_only=True):
    """A refused row: its place (line from 1), why, the row it clashes with, and the raw line, or
    else in ``missing`` why it cannot be shown."""

    source_file: str
    line: int
    detail: str
    other: str = ""
    raw: Excerpt | None = None
    missing: str = ""


class RefusedRows(_Fact, frozen=True, kw_only=True):
    """Rows of a stage that were refused for one reason."""

    stage: str
    reason: str
    category: str
    rows: int
    examples: list[RefusedRow]


class Part(_Fact, frozen=True, kw_only=True):
    """One piece of a sample: a message, a side, a text."""

    label: str
    text: Excerpt


class Sample(_Fact, frozen=True, kw_only=True):
    """An exported row to read. ``at`` says how far into its file it stands, in percent."""

    kind: str
    id: str
    path: str
    at: int
    about: list[str]
    parts: list[Part]
    parts_left_out: int = 0


# --------------------------------------------------------------------- checks and history


class Offence(_Fact, frozen=True, kw_only=True):
    """A row or file that a gate found at fault; ``line`` counts from 1."""

    path: str
    line: int | None = None
    detail: str


class Gate(_Fact, frozen=True, kw_only=True):
    """One of the sixteen gates (SPEC P5), what it claims, and its verdict: ``ok``, ``red``, or
    ``blocked`` where it could not look."""

    number: int
    name: str
    claim: str
    verdict: str
    checked: int
    failures: int
    detail: str
    offences: list[Offence]


class Acceptance(_Fact, frozen=True, kw_only=True):
    """The newest result of the gates, by whichever command ran them (``source`` is its file).
    ``stale`` when the lake was written to since."""

    source: str
    recorded_at: str
    passed: int
    gates: list[Gate]
    stale: bool


class Bucket(_Fact, frozen=True, kw_only=True):
    """Shares of reference and current in one bucket, and its part of the PSI."""

    label: str
    reference: float
    current: float
    psi: float


class FieldDrift(_Fact, frozen=True, kw_only=True):
    """How one field's distribution moved. ``noise_floor`` is the PSI that 1 % of pairs without
    any drift pass at these sample sizes; ``compared`` says which rows are the current side."""

    field: str
    psi: float
    verdict: str
    noise_floor: float | None
    p_value: float | None
    reference_rows: int
    current_rows: int
    compared: str
    low_sample: bool
    warnings: list[str]
    buckets: list[Bucket]
    buckets_left_out: int = 0


class Point(_Fact, frozen=True, kw_only=True):
    """A metric in one baseline: its value (None where the baseline lacks it) and whether it
    left the band around the one before."""

    recorded_at: str
    value: float | None
    warned: bool


class MetricHistory(_Fact, frozen=True, kw_only=True):
    """A metric over the baselines, oldest first."""

    name: str
    points: list[Point]


class Phase(_Fact, frozen=True, kw_only=True):
    """One phase of an audit and how it ended: ok, failed, error or skipped."""

    name: str
    outcome: str
    detail: str


class Audit(_Fact, frozen=True, kw_only=True):
    """The newest audit. ``harmful`` counts rows that today's rules let train and the stored
    scores do not, ``unverified`` files that are not as receipted (None: not looked at)."""

    recorded_at: str
    stale: bool
    threshold: float
    drift_rows: list[Change]
    prior_at: str = ""
    harmful: int | None = None
    unverified: int | None = None
    phases: list[Phase] = []
    fields: list[FieldDrift] = []


class ReceiptRow(_Fact, frozen=True, kw_only=True):
    """A receipt; where it cannot be read, ``problem`` says why and the rest is empty."""

    path: str
    stage: str = ""
    recorded_at: str = ""
    files: int = 0
    rows: int = 0
    bytes: int = 0
    run_hash: str = ""
    signed: bool = False
    options: dict[str, Any] = {}
    version: str = ""
    commit: str = ""
    counts: dict[str, int] = {}
    problem: str = ""


class Versions(_Fact, frozen=True, kw_only=True):
    """What made the lake: programs by version and commit (newest receipts), rules by source."""

    report: str
    scorer: str
    builders: list[str]
    rules: dict[str, str]


class Facts(_Fact, frozen=True, kw_only=True):
    """Everything on the page."""

    schema_version: int = SCHEMA_VERSION
    lake: str
    made_at: str
    verdict: Verdict
    changes: Changes
    attention: list[Attention]
    totals: Totals
    sources: list[SourceFunnel]
    not_accepted: list[NotAccepted]
    exports: dict[str, dict[str, int]]
    over_time: list[Series]
    refused: list[RefusedRows]
    samples: list[Sample]
    acceptance: Acceptance | None
    audit: Audit | None
    history: list[MetricHistory]
    receipts: list[ReceiptRow]
    receipts_in_all: int
    versions: Versions
    notes: list[str] = []
