"""Every on-wire record, its version, and its validator.

The records are frozen structs. Writing goes through `encode`; reading through `decode`
(fast, raises `RecordError` with *every* problem) or `validate` (returns the problems).
Fields that a reader does not know are ignored and new fields have defaults, so that a
record written by an older version reads today (SPEC R6).

This module never touches a disk, a clock or the network.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from math import isfinite
from typing import (
    Any,
    Final,
    Literal,
    TypeVar,
    get_args,
    get_origin,
)

import msgspec

from stillhouse.errors import RecordError, SftContaminationError
from stillhouse.fields import field_problems, fields_of, hints_of, json_type

# --------------------------------------------------------------------------- vocabulary

Category = Literal["accepted", "partially_accepted", "rejected", "needs_human_review"]
CATEGORIES: Final[tuple[Category, ...]] = (
    "accepted",
    "partially_accepted",
    "rejected",
    "needs_human_review",
)
"""The four verdicts (SPEC R4), in the order every table prints them."""

SFT_NEVER: Final[frozenset[str]] = frozenset({"rejected", "needs_human_review"})
"""Categories that never reach SFT, whatever the options (SPEC F1)."""

SFT_OPT_IN: Final[frozenset[str]] = frozenset({"partially_accepted"})
"""Categories that reach SFT only when asked for (SPEC F3)."""

RANK: Final[Mapping[str, int]] = {"accepted": 2, "partially_accepted": 1, "rejected": 0}
"""Preference order of the categories that may stand in a pair (SPEC P1)."""

ModelRole = Literal[
    "executor",
    "reviewer",
    "extractor",
    "verifier",
    "categorizer",
    "tiebreaker",
    "applier",
    "embedder",
    "other",
]
ObserverVerdict = Literal["accept", "reject", "cycle"]
OverrideDecision = Literal["accept", "reject", "needs_review"]
ChatRole = Literal["system", "developer", "user", "assistant", "tool"]
SourceClass = Literal["verdict", "telemetry", "extraction"]

SCORER_VERSION: Final = "v1.0.0"
SCHEMA_VERSION: Final = 1
"""Version of every record's shape as written today. A record without one reads as 0."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


# ------------------------------------------------------------------------------ records


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all records: frozen, keyword-only, defaults left out on the wire."""

    def problems(self) -> list[str]:
        """Everything wrong with the record beyond its types; empty when it is valid."""
        return []


class Provenance(Record, frozen=True, kw_only=True, gc=False):
    """Where a record comes from (SPEC R1).

    ``line_offset`` is the 0-based line number in ``source_file``; ``sig_hash`` the
    SHA-256 of that line's bytes without its line end; ``recorded_at`` the run's time.
    """

    source_file: str
    line_offset: int
    sig_hash: str
    recorded_at: str

    def problems(self) -> list[str]:
        out = []
        if not self.source_file:
            out.append("provenance.source_file: is empty")
        if self.line_offset < 0:
            out.append("provenance.line_offset: is negative")
        if not _SHA256.match(self.sig_hash):
            out.append("provenance.sig_hash: is not 64 hex digits")
        if not is_utc_time(self.recorded_at):
            out.append("provenance.recorded_at: is not an ISO 8601 UTC time")
        return out


class FunctionCall(Record, frozen=True, kw_only=True):
    """The function a tool call names; ``arguments`` is a JSON string or an object."""

    name: str
    arguments: Any = ""


class ToolCall(Record, frozen=True, kw_only=True):
    """One tool call of an assistant's message, in the providers' shape."""

    function: FunctionCall
    id: str | None = None
    type: str = msgspec.field(default="")


class Message(Record, frozen=True, kw_only=True):
    """One chat message (SPEC R2). ``content`` is a string, a list of parts, or null."""

    role: ChatRole
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    def text(self) -> str:
        """The message's words: its string, or its text parts joined by line feeds."""
        if isinstance(self.content, str):
            return self.content
        if self.content is None:
            return ""
        parts = (part.get("text") for part in self.content if part.get("type") in TEXT_PARTS)
        return "\n".join(part for part in parts if isinstance(part, str))

    def has_other_media(self) -> bool:
        """True when a content part is not text (an image, audio, a file)."""
        return isinstance(self.content, list) and any(
            part.get("type") not in TEXT_PARTS or not isinstance(part.get("text"), str)
            for part in self.content
        )


TEXT_PARTS: Final[frozenset[str]] = frozenset({"text", "input_text", "output_text"})


class RetrievedContext(Record, frozen=True, kw_only=True):
    """What retrieval put before the model."""

    matrix_corpora: list[str] = []
    matrix_hits: int | None = None
    matrix_chunks_kept: int | None = None
    matrix_chunks_dropped: int | None = None
    pathway_fingerprints_seen: list[str] = []


class HumanOverride(Record, frozen=True, kw_only=True):
    """A person's decision, which beats every rule (SPEC C4)."""

    decision: OverrideDecision
    reviewer: str | None = None
    reason: str | None = None
    overridden_at: str | None = None


Signal = bool | int | float | str | None


class EvidenceRecord(Record, frozen=True, kw_only=True):
    """One run of one task, normalised from one raw line (SPEC R2).

    ``timestamp`` is ISO 8601 UTC; ``cost_usd`` US dollars; ``latency_ms`` milliseconds;
    ``observer_confidence`` 0 to 1. ``validation_results`` holds the source's own signals
    by name: all that a scorer needs is in the record.
    """

    schema_version: int = 0
    run_id: str
    task_id: str
    timestamp: str
    provenance: Provenance
    model_name: str | None = None
    model_provider: str | None = None
    model_role: ModelRole | None = None
    source_files: list[str] = []
    command_run: str | None = None
    input_hash: str | None = None
    output_hash: str | None = None
    retrieved_context: RetrievedContext | None = None
    observer_notes: list[str] = []
    observer_verdict: ObserverVerdict | None = None
    observer_confidence: float | None = None
    success_markers: list[str] = []
    failure_markers: list[str] = []
    validation_results: dict[str, Signal] = {}
    human_override: HumanOverride | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    text: str = ""
    metadata: dict[str, Any] = {}
    messages: list[Message] | None = None
    tools: list[Any] | None = None

    def problems(self) -> list[str]:
        out = [*self.provenance.problems()]
        if not self.run_id.strip():
            out.append("run_id: is empty")
        if not self.task_id.strip():
            out.append("task_id: is empty")
        if not is_utc_time(self.timestamp):
            out.append("timestamp: is not an ISO 8601 UTC time")
        if self.observer_confidence is not None and not 0 <= self.observer_confidence <= 1:
            out.append("observer_confidence: is not within 0 and 1")
        if self.cost_usd is not None and self.cost_usd < 0:
            out.append("cost_usd: is negative")
        if self.latency_ms is not None and self.latency_ms < 0:
            out.append("latency_ms: is negative")
        return out


class ScoredRun(Record, frozen=True, kw_only=True):
    """The verdict on one evidence record (SPEC R3).

    ``sig_hash`` is the SHA-256 of the evidence *line*; ``provenance`` names the raw line.
    """

    schema_version: int = 0
    evidence_run_id: str
    evidence_task_id: str
    category: Category
    reasons: list[str]
    sub_scores: dict[str, Signal] = {}
    scored_at: str
    scorer_version: str
    sig_hash: str
    provenance: Provenance

    def problems(self) -> list[str]:
        out = [*self.provenance.problems()]
        if not self.evidence_run_id.strip():
            out.append("evidence_run_id: is empty")
        if not self.evidence_task_id.strip():
            out.append("evidence_task_id: is empty")
        if not self.reasons or not all(reason.strip() for reason in self.reasons):
            out.append("reasons: need at least one, none of them empty")
        if not self.scorer_version:
            out.append("scorer_version: is empty")
        if not is_utc_time(self.scored_at):
            out.append("scored_at: is not an ISO 8601 UTC time")
        if not _SHA256.match(self.sig_hash):
            out.append("sig_hash: is not 64 hex digits")
        return out


class SftSample(Record, frozen=True, kw_only=True):
    """One supervised sample (SPEC R5). ``messages`` is the whole conversation, answer included."""

    schema_version: int = 0
    id: str
    instruction: str
    context: str
    response: str
    source_run_id: str
    category: Category
    created_at: str
    provenance: Provenance
    messages: list[Message] | None = None
    tools: list[Any] | None = None

    def problems(self) -> list[str]:
        out = [*self.provenance.problems()]
        for name in ("id", "instruction", "response", "source_run_id"):
            if not getattr(self, name).strip():
                out.append(f"{name}: is empty")
        if not is_utc_time(self.created_at):
            out.append("created_at: is not an ISO 8601 UTC time")
        return out


class PreferenceSample(Record, frozen=True, kw_only=True):
    """Two answers to one prompt, the better one named (SPEC P1).

    ``prompt``, ``chosen`` and ``rejected`` are message lists; both sides keep the run,
    the category and the raw line they come from.
    """

    schema_version: int = 0
    id: str
    task_id: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    pair_reason: str
    chosen_run_id: str
    rejected_run_id: str
    chosen_category: Category
    rejected_category: Category
    created_at: str
    provenance: Provenance
    rejected_provenance: Provenance
    tools: list[Any] | None = None

    def problems(self) -> list[str]:
        out = [*self.provenance.problems()]
        out += [f"rejected_{problem}" for problem in self.rejected_provenance.problems()]
        for name in ("id", "task_id", "pair_reason", "chosen_run_id", "rejected_run_id"):
            if not getattr(self, name).strip():
                out.append(f"{name}: is empty")
        for name in ("prompt", "chosen", "rejected"):
            if not has_substance(getattr(self, name)):
                out.append(f"{name}: has no words and no tool call")
        if self.chosen == self.rejected:
            out.append("chosen, rejected: are the same")
        if RANK.get(self.chosen_category, -1) <= RANK.get(self.rejected_category, 99):
            out.append(
                "chosen_category, rejected_category: "
                f"{self.chosen_category} does not rank above {self.rejected_category}"
            )
        if not is_utc_time(self.created_at):
            out.append("created_at: is not an ISO 8601 UTC time")
        return out


class UnpairedSample(Record, frozen=True, kw_only=True):
    """One answer with a true or false label, for what cannot be paired (SPEC P1)."""

    schema_version: int = 0
    id: str
    task_id: str
    prompt: list[Message]
    completion: list[Message]
    label: bool
    source_run_id: str
    category: Category
    created_at: str
    provenance: Provenance
    tools: list[Any] | None = None

    def problems(self) -> list[str]:
        out = [*self.provenance.problems()]
        for name in ("id", "task_id", "source_run_id"):
            if not getattr(self, name).strip():
                out.append(f"{name}: is empty")
        for name in ("prompt", "completion"):
            if not has_substance(getattr(self, name)):
                out.append(f"{name}: has no words and no tool call")
        if self.category != ("accepted" if self.label else "rejected"):
            out.append(f"label: {self.label} does not follow from category {self.category}")
        if not is_utc_time(self.created_at):
            out.append("created_at: is not an ISO 8601 UTC time")
        return out


class RagChunk(Record, frozen=True, kw_only=True):
    """One piece of trusted text for retrieval (SPEC P2).

    ``start`` and ``end`` are character offsets of the piece in the (redacted) text it
    was cut from; ``chunk`` of ``chunks`` says which piece it is, from 0.
    """

    schema_version: int = 0
    id: str
    text: str
    chunk: int
    chunks: int
    start: int
    end: int
    source_stem: str
    task_id: str
    source_run_id: str
    category: Category
    created_at: str
    provenance: Provenance
    source_files: list[str] = []
    model_name: str | None = None
    model_role: ModelRole | None = None

    def problems(self) -> list[str]:
        out = [*self.provenance.problems()]
        for name in ("id", "text", "source_stem", "task_id", "source_run_id"):
            if not getattr(self, name).strip():
                out.append(f"{name}: is empty")
        if not 0 <= self.chunk < self.chunks:
            out.append("chunk, chunks: do not count from 0 within chunks")
        if not 0 <= self.start < self.end:
            out.append("start, end: do not span any text")
        if self.category == "rejected":
            out.append("category: rejected text is never a chunk")
        if not is_utc_time(self.created_at):
            out.append("created_at: is not an ISO 8601 UTC time")
        return out


class QuarantineRow(Record, frozen=True, kw_only=True):
    """One refused row (SPEC L3): at which stage, why, and where it came from.

    ``reason`` is a stable code, ``detail`` every problem in words, ``other`` the row it
    clashes with (``FILE:LINE``) where there is one. ``raw`` is there only when the row
    could not be parsed: its text, or base64 when ``raw_encoding`` says so.
    """

    schema_version: int = 0
    stage: str
    reason: str
    detail: list[str]
    source_file: str
    line_offset: int
    sig_hash: str
    other: str | None = None
    raw: str | None = None
    raw_encoding: Literal["base64"] | None = None
    raw_bytes: int | None = None

    def problems(self) -> list[str]:
        out = []
        for name in ("stage", "reason", "source_file"):
            if not getattr(self, name).strip():
                out.append(f"{name}: is empty")
        if self.line_offset < 0:
            out.append("line_offset: is negative")
        if not _SHA256.match(self.sig_hash):
            out.append("sig_hash: is not 64 hex digits")
        return out


class BaselineDistribution(Record, frozen=True, kw_only=True):
    """How one field's values were spread at an audit, to compare the next ones with.

    Numbers: bucket ``i`` counts ``edges[i] <= value < edges[i + 1]``, the last one its right
    edge too; ``below`` and ``above`` what lies outside. Words: ``labels`` counts each of the
    first 1,000, ``beyond`` the rest. ``missing`` counts rows without a value.
    """

    edges: list[float] = []
    counts: list[int] = []
    below: int = 0
    above: int = 0
    labels: dict[str, int] = {}
    beyond: int = 0
    missing: int = 0

    def problems(self) -> list[str]:
        out = []
        if self.edges and self.labels:
            out.append("edges, labels: a field holds numbers or words, not both")
        if len(self.counts) != max(0, len(self.edges) - 1):
            out.append("counts: are not one fewer than the edges")
        if not all(low < high for low, high in pairwise(self.edges)) or not all(
            isfinite(edge) for edge in self.edges
        ):
            out.append("edges: do not rise from number to number")
        for name in ("below", "above", "beyond", "missing"):
            if getattr(self, name) < 0:
                out.append(f"{name}: is negative")
        if any(count < 0 for count in (*self.counts, *self.labels.values())):
            out.append("counts, labels: one of them is negative")
        return out


class AuditBaseline(Record, frozen=True, kw_only=True):
    """One set of audit metrics (SPEC section 8); names are free, values finite numbers.

    ``gates`` and ``gates_passed`` count the gates of the acceptance harness, ``red_gates`` names
    those that did not hold. ``harmful`` counts the rows that today's rules let train and the
    stored scores did not (SPEC G4), as it was before the audit scored anything anew.
    """

    schema_version: int = 0
    recorded_at: str
    metrics: dict[str, float]
    git_commit: str | None = None
    version: str | None = None
    options: dict[str, Any] = {}
    gates: int | None = None
    gates_passed: int | None = None
    red_gates: list[str] = []
    harmful: int | None = None
    distributions: dict[str, BaselineDistribution] = {}

    def problems(self) -> list[str]:
        out = []
        if not is_utc_time(self.recorded_at):
            out.append("recorded_at: is not an ISO 8601 UTC time")
        for name, spread in self.distributions.items():
            out += [f"distributions.{name}.{problem}" for problem in spread.problems()]
        for name, value in self.metrics.items():
            if value != value or value in (float("inf"), float("-inf")):
                out.append(f"metrics.{name}: is not a finite number")
        return out


# ---------------------------------------------------------------- encoding and decoding

_ENCODER: Final = msgspec.json.Encoder()
_DECODERS: dict[type[Record], msgspec.json.Decoder[Any]] = {}

R = TypeVar("R", bound=Record)


def encode(record: Record) -> bytes:
    """The record as one JSON line without its line end. Field order is the struct's."""
    return _ENCODER.encode(record)


def decode(line: bytes, kind: type[R], *, where: str = "") -> R:
    """Read one record and check it wholly.

    Raises `RecordError` with every problem when the line is not a valid ``kind``.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        record: R = decoder.decode(line)
        problems = record.problems()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problems = validate(line, kind) or ["cannot be decoded"]
    if problems:
        raise RecordError(problems, where=where)
    return record


def decode_types(line: bytes, kind: type[R]) -> R:
    """Read one record and check its types alone: for lines whose hash vouches for the rest.

    Raises `RecordError` with every problem when the types are off.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        record: R = decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RecordError(validate(line, kind) or ["cannot be decoded"]) from None
    return record


def validate(row: bytes | Mapping[str, Any], kind: type[Record]) -> list[str]:
    """Every problem of a row as a record of this kind, not the first; empty when valid."""
    if isinstance(row, bytes):
        try:
            loaded = msgspec.json.decode(row)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return [f"is not JSON: {error}"]
        if not isinstance(loaded, dict):
            return [f"is not a JSON object but {json_type(loaded)}"]
        row = loaded
    problems, values = field_problems(row, kind)
    if not problems:
        return kind(**values).problems()
    # The other fields have rules beyond their types, which only a whole record can be asked.
    bad = {re.split(r"[:.\[]", problem, maxsplit=1)[0] for problem in problems}
    hints = hints_of(kind)
    for field in fields_of(kind):
        if field.name not in values and field.required:
            values[field.name] = _stand_in(hints[field.name])
    for problem in kind(**values).problems():
        named = problem.partition(":")[0].replace(",", ".")
        if bad.isdisjoint(name.strip() for name in named.split(".")):
            problems.append(problem)
    return problems


def _stand_in(hint: Any) -> Any:
    """A value of a field's type, for a field that has none of its own."""
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = hints_of(hint)
        needed = (field.name for field in fields_of(hint) if field.required)
        return hint(**{name: _stand_in(hints[name]) for name in needed})
    return (get_origin(hint) or hint)()


def check_sft(sample: SftSample) -> SftSample:
    """The sample validator, the firewall's second layer (SPEC F2).

    Raises `SftContaminationError` for a category in `SFT_NEVER` and `RecordError` for
    anything else that is wrong, an unknown category among it.
    """
    category = str(sample.category)
    if category.strip().casefold() in SFT_NEVER:
        raise SftContaminationError(
            f"a sample of category {category!r} must never train",
            where=f"{sample.provenance.source_file}:{sample.provenance.line_offset + 1}",
        )
    problems = sample.problems()
    if category not in CATEGORIES:
        problems.insert(0, f"category: {category!r} is none of {', '.join(CATEGORIES)}")
    if problems:
        raise RecordError(problems)
    return sample


# ------------------------------------------------------------------------------- words


def has_substance(messages: list[Message]) -> bool:
    """True when some message says something or calls a tool."""
    return any(message.text().strip() or message.tool_calls for message in messages)


@functools.lru_cache(maxsize=4096)
def is_utc_time(value: str) -> bool:
    """True for an ISO 8601 time in UTC, such as ``2026-01-31T12:00:00Z``."""
    if not value.endswith(("Z", "+00:00")) or "T" not in value:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def utc_text(moment: datetime) -> str:
    """A time as this project writes it: ``2026-01-31T12:00:00Z``, microseconds if any."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
