"""The raw row: what any source may carry, and reading one line of a log.

A raw row is tolerant in spelling and strict in meaning (SPEC "Raw rows"). What is absent,
null or blank counts as not said; what is said in the wrong type refuses the row, with all
its problems at once. Every line becomes an evidence record or a `Refusal`, never both and
never an exception.

This module never touches a disk or a clock, and knows no source by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack, get_args

import msgspec
from msgspec.structs import force_setattr as put

from stillhouse.errors import RecordError
from stillhouse.fields import field_problems, fields_of, shown
from stillhouse.interfaces import Anchor, Refusal, Source
from stillhouse.rawchat import conversation, is_old_chat, modern_chat
from stillhouse.rawjson import NOT_JSON, is_lossless, read_object
from stillhouse.records import (
    SCHEMA_VERSION,
    EvidenceRecord,
    HumanOverride,
    Message,
    ModelRole,
    ObserverVerdict,
    OverrideDecision,
    Provenance,
    Record,
    RetrievedContext,
    Signal,
)
from stillhouse.spelling import Words, said, word, words
from stillhouse.times import TIME_FORMS, read_time, unread_time

Time = str | int | float | None

TIME_FIELDS: Final = ("timestamp", "ts", "at", "created_at", "reviewed_at")
"""Where a row may carry its time; the first that can be read is the row's."""

_INEXACT: Final = 2.0**63
_BOM: Final = b"\xef\xbb\xbf"
_ROLES: Final[Mapping[str, ModelRole]] = {role: role for role in get_args(ModelRole)}
_DECISIONS: Final[Mapping[str, OverrideDecision]] = {
    decision: decision for decision in get_args(OverrideDecision)
}
_OBSERVER_WORDS: Final[Mapping[str, ObserverVerdict]] = {
    **{verdict: verdict for verdict in get_args(ObserverVerdict)},
    **dict.fromkeys(("accepted", "approve", "approved"), "accept"),
    "rejected": "reject",
}


class RawOverride(Record, frozen=True, kw_only=True):
    """A person's decision as the log spells it; a bare string is short for the decision."""

    decision: str
    reviewer: str | None = None
    reason: str | None = None
    overridden_at: Time = None


class RawRow(Record, frozen=True, kw_only=True, gc=False):
    """What a row of any source may carry. A source adds its own fields in a subclass.

    ``prompt`` is short for one user message. ``role`` outside the known roles reads as
    ``other``. Counts may be spelt as integral floats.
    """

    timestamp: Time = None
    ts: Time = None
    at: Time = None
    created_at: Time = None
    reviewed_at: Time = None
    run_id: str | None = None
    task_id: str | None = None
    model: str | None = None
    provider: str | None = None
    role: str | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    metadata: dict[str, Any] | None = None
    human_override: RawOverride | str | None = None
    matrix_corpora: Words = None
    matrix_hits: int | float | None = None
    matrix_chunks_kept: int | float | None = None
    matrix_chunks_dropped: int | float | None = None
    pathway_fingerprints: Words = None
    source_files: Words = None
    command_run: str | None = None
    input_hash: str | None = None
    output_hash: str | None = None
    messages: list[Message] | None = None
    tools: list[Any] | None = None
    prompt: str | None = None
    text: str | None = None
    response: str | None = None

    def problems(self) -> list[str]:
        """What is wrong beyond types; a source with rules of its own adds to these."""
        out = []
        if self.cost_usd is not None and self.cost_usd < 0:
            out.append("cost_usd: is negative")
        if self.latency_ms is not None and self.latency_ms < 0:
            out.append("latency_ms: is negative")
        if self.matrix_hits is not None:
            out += count_problems("matrix_hits", self.matrix_hits)
        if self.matrix_chunks_kept is not None:
            out += count_problems("matrix_chunks_kept", self.matrix_chunks_kept)
        if self.matrix_chunks_dropped is not None:
            out += count_problems("matrix_chunks_dropped", self.matrix_chunks_dropped)
        if self.human_override is not None:
            out += _override_problems(self.human_override)
        return out


# ------------------------------------------------------------------------ reading a line

_DECODERS: dict[type[msgspec.Struct], msgspec.json.Decoder[Any]] = {}


def read_line(
    line: bytes,
    source: Source,
    source_file: str,
    line_offset: int,
    recorded_at: str,
    sig_hash: str,
) -> EvidenceRecord | Refusal:
    """Read one raw line, given without its line end and neither blank nor too large.

    A UTF-8 byte order mark at its start is passed over. A row that is refused is refused
    for the first of: its encoding, its JSON, a repeated key, its fields (all of them).
    """
    body = line[3:] if line.startswith(_BOM) else line
    kind: Any = source.raw
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        raw = decoder.decode(body)
        lossless = is_lossless(body, raw)
    except NOT_JSON:
        raw, lossless = None, False
    if not lossless:
        # Unknown fields, nulls, an old message shape, or something wrong: look closely.
        raw = _second_look(body, kind, raw)
        if isinstance(raw, Refusal):
            return raw
    timestamp = _time_of(raw)
    problems = raw.problems()
    if timestamp is None or problems:
        return _refuse(body, timestamp, problems)
    anchor = Anchor(source.stem, source_file, line_offset, sig_hash, recorded_at, timestamp)
    try:
        return source.transform(raw, anchor)
    except RecordError as error:
        return Refusal("invalid", list(error.problems))


def _second_look(body: bytes, kind: type[RawRow], raw: RawRow | None) -> RawRow | Refusal:
    """The raw row, or the refusal of a line that the quick look could not vouch for."""
    loaded = read_object(body)
    if isinstance(loaded, Refusal):
        return loaded
    if raw is not None and not is_old_chat(loaded.get("messages")):
        return raw
    if isinstance(loaded.get("messages"), list):
        loaded["messages"] = modern_chat(loaded["messages"])
    try:
        return msgspec.convert(loaded, kind)
    except msgspec.ValidationError as error:
        return _refuse_types(loaded, kind, str(error))


def _refuse_types(row: Mapping[str, Any], kind: type[RawRow], first: str) -> Refusal:
    """Refuse a row whose types are off, with what else is wrong with it."""
    problems, values = field_problems(row, kind)
    if not any(field.required for field in fields_of(kind)):
        # What lies beyond types is checked on the fields that could be read.
        problems += kind(**values).problems()
    if not any(read_time(values.get(name)) for name in TIME_FIELDS):
        other = [each for each in problems if each.partition(":")[0] not in TIME_FIELDS]
        reason = "invalid" if other else "missing_time"
        return Refusal(reason, _time_problems(row) + other)
    return Refusal("invalid", problems or [first])


def _refuse(body: bytes, timestamp: str | None, problems: list[str]) -> Refusal:
    if timestamp is not None:
        return Refusal("invalid", problems)
    row = read_object(body)
    if isinstance(row, Refusal):
        return row
    reason = "invalid" if problems else "missing_time"
    return Refusal(reason, _time_problems(row) + problems)


def _time_of(raw: RawRow) -> str | None:
    # `TIME_FIELDS` one by one: looking them up by name would take as long as reading one.
    for value in (raw.timestamp, raw.ts, raw.at, raw.created_at, raw.reviewed_at):
        if value is not None and (time := read_time(value)):
            return time
    return None


def _time_problems(row: Mapping[str, Any]) -> list[str]:
    given = {name: row[name] for name in TIME_FIELDS if row.get(name) is not None}
    if not given:
        names = ", ".join(TIME_FIELDS)
        if (other := unread_time(row)) is not None:
            return [f"the row has `{other}`, which is not read: rename it to one of {names}"]
        return [f"no time: none of {names} is given"]
    return [f"{name}: {shown(value)} is not {TIME_FORMS}" for name, value in given.items()]


# -------------------------------------------------------------------- raw row → evidence


class Own(TypedDict, total=False):
    """Evidence fields that only some sources fill; ``validation_results`` holds the signals
    that the source's scorer reads."""

    observer_notes: list[str]
    observer_verdict: ObserverVerdict | None
    observer_confidence: float | None
    success_markers: list[str]
    failure_markers: list[str]
    validation_results: dict[str, Signal]


def evidence(
    raw: RawRow,
    anchor: Anchor,
    *,
    task: tuple[str, str | None],
    text: str | None,
    file: str | None = None,
    about: Mapping[str, str | None] | None = None,
    **own: Unpack[Own],
) -> EvidenceRecord:
    """Assemble the evidence record from the common fields and a source's own.

    ``task`` is the prefix and the name of the task id, used where the row carries none.
    Without a name either, the run's id stands in, so that unrelated rows are never taken
    for answers to one task. ``about`` holds the row's own descriptive fields, which go to
    the metadata, and ``own`` those evidence fields that only some sources know.
    """
    run_id = said(raw.run_id) or f"run-{anchor.sig_hash[:16]}"
    prefix, name = task
    messages = conversation(raw.messages, raw.prompt)
    record = EvidenceRecord(
        schema_version=SCHEMA_VERSION,
        run_id=run_id,
        task_id=said(raw.task_id) or f"{prefix}:{said(name) or run_id}",
        timestamp=anchor.timestamp,
        provenance=Provenance(
            source_file=anchor.source_file,
            line_offset=anchor.line_offset,
            sig_hash=anchor.sig_hash,
            recorded_at=anchor.recorded_at,
        ),
        model_name=said(raw.model),
        model_provider=said(raw.provider),
        model_role=_role(raw.role) if raw.role else None,
        text=said(text) or said(raw.text) or said(raw.response) or _last_words(messages),
    )
    # What most rows lack is set only where it is there: handing the constructor every field
    # of a record this wide takes three times as long. Nobody else has seen the record yet.
    if file or raw.source_files:
        put(record, "source_files", _files(file, raw.source_files))
    if raw.metadata or about:
        put(record, "metadata", _metadata(raw.metadata, about))
    if messages is not None:
        put(record, "messages", messages)
    for field, value in own.items():
        if value is not None:
            put(record, field, value)
    _put_common(record, raw)
    return record


def _put_common(record: EvidenceRecord, raw: RawRow) -> None:
    """The common fields that a row may well lack."""
    if (context := _retrieved(raw)) is not None:
        put(record, "retrieved_context", context)
    if raw.human_override is not None:
        put(record, "human_override", _override(raw.human_override))
    if raw.cost_usd is not None:
        put(record, "cost_usd", raw.cost_usd)
    if raw.latency_ms is not None:
        put(record, "latency_ms", raw.latency_ms)
    if raw.tools:
        put(record, "tools", raw.tools)
    if raw.command_run:
        put(record, "command_run", raw.command_run)
    if raw.input_hash:
        put(record, "input_hash", raw.input_hash)
    if raw.output_hash:
        put(record, "output_hash", raw.output_hash)


def task_name(record: EvidenceRecord, prefix: str) -> str | None:
    """What the task id names behind its prefix; ``None`` without one or when it names the run."""
    name = record.task_id.removeprefix(f"{prefix}:")
    return None if name in (record.task_id, record.run_id) else name


def file_name(record: EvidenceRecord, prefix: str) -> str | None:
    """The file the run was about, for its instruction; ``None`` when the log does not say."""
    return record.source_files[0] if record.source_files else task_name(record, prefix)


def observer_word(verdict: str | None) -> ObserverVerdict | None:
    """The observer's verdict, or ``None`` where it is missing or no word we know."""
    if not verdict:
        return None
    return _OBSERVER_WORDS.get(verdict) or _OBSERVER_WORDS.get(word(verdict))


def count_problems(name: str, value: float, least: int = 0) -> list[str]:
    """What is wrong with a count: it must be whole, and at least ``least``."""
    if not isinstance(value, int) and abs(value) >= _INEXACT:
        return [f"{name}: {value} is too large for a number with a point to be a count"]
    if value != int(value):
        return [f"{name}: {value} is not a whole number"]
    return [f"{name}: {value} is below {least}"] if value < least else []


def _metadata(own: dict[str, Any] | None, about: Mapping[str, str | None] | None) -> dict[str, Any]:
    if not about:
        return own or {}
    metadata = {**own} if own else {}
    for name, text in about.items():
        if said(text):
            metadata[name] = text
    return metadata


def _files(file: str | None, others: Words) -> list[str]:
    files = words(others)
    if file and said(file):
        return [file, *(other for other in files if other != file)] if files else [file]
    return files


def _role(role: str) -> ModelRole | None:
    if role.isspace():
        return None
    return _ROLES.get(role) or _ROLES.get(word(role), "other")


def _retrieved(raw: RawRow) -> RetrievedContext | None:
    hits, kept, dropped = raw.matrix_hits, raw.matrix_chunks_kept, raw.matrix_chunks_dropped
    corpora, prints = raw.matrix_corpora, raw.pathway_fingerprints
    if not corpora and not prints and hits is None and kept is None and dropped is None:
        return None
    return RetrievedContext(
        matrix_corpora=words(corpora),
        matrix_hits=None if hits is None else int(hits),
        matrix_chunks_kept=None if kept is None else int(kept),
        matrix_chunks_dropped=None if dropped is None else int(dropped),
        pathway_fingerprints_seen=words(prints),
    )


def _last_words(messages: list[Message] | None) -> str:
    return messages[-1].text() if messages and messages[-1].role == "assistant" else ""


def _override(override: RawOverride | str) -> HumanOverride | None:
    if isinstance(override, str):
        return HumanOverride(decision=_DECISIONS[word(override)]) if said(override) else None
    at = override.overridden_at
    return HumanOverride(
        decision=_DECISIONS[word(override.decision)],
        reviewer=said(override.reviewer),
        reason=said(override.reason),
        overridden_at=None if at is None else read_time(at),
    )


def _override_problems(override: RawOverride | str) -> list[str]:
    if isinstance(override, str) and not said(override):
        return []
    out = []
    decision = override if isinstance(override, str) else override.decision
    if word(decision) not in _DECISIONS:
        wanted = ", ".join(_DECISIONS)
        out.append(f"human_override.decision: {shown(decision)} is none of {wanted}")
    at = None if isinstance(override, str) else override.overridden_at
    if at is not None and not read_time(at):
        out.append(f"human_override.overridden_at: {shown(at)} is not {TIME_FORMS}")
    return out
