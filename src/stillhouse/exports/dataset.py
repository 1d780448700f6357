"""Rows of the dataset folder: what trainers read, and the lineage beside it (SPEC T1, T2).

A row's columns are fixed by its config, a message's keys by what the message holds. Why
they are what they are, with what each trainer does to them, is in
``docs/decisions/0002-dataset-columns.md``. This module never decides what may be trained
on (the firewall did) and never touches a disk. The columns' types are in `columns`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from stillhouse.records import (
    Category,
    Message,
    PreferenceSample,
    Provenance,
    RagChunk,
    SftSample,
    UnpairedSample,
)

Config = Literal["sft", "preference", "unpaired", "rag"]
Split = Literal["train", "validation", "test"]
CONFIGS: Final[tuple[Config, ...]] = ("sft", "preference", "unpaired", "rag")
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

Form = Literal["strings", "objects", "openai"]
"""How a tool call's ``arguments`` and the ``tools`` stand in a JSONL row.

``strings``: both are JSON strings (the default: no loader can fill gaps in a string).
``objects``: both are JSON values, for trainers that read the file itself.
``openai``: ``arguments`` a string and ``tools`` a list, left out where there are none, as
the fine-tuning services want it. In the other forms ``tools`` is null where there are none.
"""

# What the JSON reader inside `datasets` (pandas' ujson) takes: 64 bits, 1,023 levels. Far
# fewer levels are taken here, so that Python's own limit on recursion never decides.
_LARGEST_INTEGER: Final = 2**63
_DEEPEST: Final = 100

# -------------------------------------------------------------------------------- rows


class _Function(Struct, frozen=True, gc=False):
    name: str
    arguments: str | Raw


class _Call(Struct, frozen=True):
    id: str
    type: str
    function: _Function


class Turn(Struct, frozen=True, omit_defaults=True):
    """One message of a row."""

    role: str
    content: str
    tool_calls: list[_Call] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class _SftRow(Struct, frozen=True):
    messages: list[Turn | Message]
    tools: str | Raw | UnsetType


class _PreferenceRow(Struct, frozen=True):
    prompt: list[Turn | Message]
    chosen: list[Turn | Message]
    rejected: list[Turn | Message]
    tools: str | Raw | UnsetType


class _UnpairedRow(Struct, frozen=True):
    prompt: list[Turn | Message]
    completion: list[Turn | Message]
    label: bool
    tools: str | Raw | UnsetType


class _RagRow(Struct, frozen=True, gc=False):
    id: str
    text: str
    source: str
    task_id: str
    category: Category


_ENCODE: Final = msgspec.json.Encoder().encode
_NULL: Final = Raw(b"null")


def sft_row(
    prompt: list[Message],
    answer: list[Message],
    tools: list[Any] | None,
    form: Form = "strings",
) -> bytes:
    """One conversation, answer included, as a JSON line without its line end."""
    messages = [*turns(prompt, form), *turns(answer, form)]
    return _ENCODE(_SftRow(messages, tools_value(tools, form)))


def preference_row(
    prompt: list[Message],
    chosen: list[Message],
    rejected: list[Message],
    tools: list[Any] | None,
    form: Form = "strings",
) -> bytes:
    """One prompt with a better and a worse answer."""
    return _ENCODE(
        _PreferenceRow(
            turns(prompt, form),
            turns(chosen, form),
            turns(rejected, form),
            tools_value(tools, form),
        )
    )


def unpaired_row(
    prompt: list[Message],
    completion: list[Message],
    label: bool,
    tools: list[Any] | None,
    form: Form = "strings",
) -> bytes:
    """One prompt with one answer, and whether the answer is good."""
    return _ENCODE(
        _UnpairedRow(turns(prompt, form), turns(completion, form), label, tools_value(tools, form))
    )


def rag_row(chunk: RagChunk) -> bytes:
    """One chunk, with what an index needs to name and to filter it."""
    return _ENCODE(_RagRow(chunk.id, chunk.text, chunk.source_stem, chunk.task_id, chunk.category))


def flat(messages: list[Message]) -> bytes:
    """Messages as the bytes that stand in a row: equal when a trainer sees the same."""
    return _ENCODE(turns(messages))


def characters(messages: list[Message]) -> int:
    """How much a model reads or writes: the words, and its calls' names and arguments."""
    total = 0
    for message in messages:
        content = message.content
        total += len(content if isinstance(content, str) else message.text())
        if message.tool_calls:
            for call in message.tool_calls:
                function = call.function
                total += len(function.name) + len(arguments_text(function.arguments))
    return total


def shape(*columns: list[Message], tools: list[Any] | None) -> int:
    """Which optional keys a row shows: a bit for each key of each message column, and one
    for its tools.

    A loader that does without the card's types infers them from a file's first bytes, and
    fails on a key that comes later. A row whose shape has a bit that no earlier row had
    belongs to the head of its file; there are at most three for each column, and one more.
    """
    bits = 1 if tools else 0
    calls = 2
    for messages in columns:
        for message in messages:
            if message.tool_calls:
                bits |= calls
            if message.tool_call_id:
                bits |= calls << 1
            if message.name:
                bits |= calls << 2
        calls <<= 3
    return bits


def turns(messages: list[Message], form: Form = "strings") -> list[Turn | Message]:
    """Messages with the keys that a row has: role and content always, the rest where it
    has a value. Content that is not text has no place in a row and is left out.

    Nearly all messages are a role and a string, and stand in a row as they are.
    """
    return [
        message
        if isinstance(message.content, str)
        and message.tool_calls is None
        and message.tool_call_id is None
        and message.name is None
        and message.role != "developer"
        else _turn(message, form)
        for message in messages
    ]


def _turn(message: Message, form: Form) -> Turn:
    return Turn(
        # Few chat templates know the newer word, and some drop what they do not know.
        "system" if message.role == "developer" else message.role,
        message.text(),
        _calls(message, form) if message.tool_calls else UNSET,
        message.tool_call_id or UNSET,
        message.name or UNSET,
    )


def _calls(message: Message, form: Form) -> list[_Call]:
    out = []
    for call in message.tool_calls or ():
        text = arguments_text(call.function.arguments)
        arguments = Raw(_compact(text)) if form == "objects" else text
        out.append(
            _Call(call.id or "", call.type or "function", _Function(call.function.name, arguments))
        )
    return out


def tools_value(tools: list[Any] | None, form: Form) -> str | Raw | UnsetType:
    """The ``tools`` column of a row; null when there are none, which every trainer reads as
    none. An empty list is not that: Llama's templates announce functions and list none."""
    if not tools:
        return UNSET if form == "openai" else _NULL
    return arguments_text(tools) if form == "strings" else Raw(_ENCODE(tools))


def arguments_text(arguments: Any) -> str:
    """A tool call's arguments as JSON text that every loader can parse.

    Valid JSON is kept as the model wrote it, nothing becomes ``{}``. What is not JSON, or
    holds what `datasets` cannot (an integer past 64 bits, very deep nesting), becomes a
    JSON string that holds the text.
    """
    if not isinstance(arguments, str):
        text = "{}" if arguments is None else _ENCODE(arguments).decode()
    else:
        text = arguments if arguments.strip() else "{}"
    try:
        readable = _readable(msgspec.json.decode(text), _DEEPEST)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        readable = False
    return text if readable else _ENCODE(text).decode()


def _readable(value: Any, depth: int) -> bool:
    if isinstance(value, int):
        return -_LARGEST_INTEGER <= value < _LARGEST_INTEGER
    if not isinstance(value, dict | list):
        return True
    if depth == 0:
        return False
    for item in value.values() if isinstance(value, dict) else value:
        if not isinstance(item, str) and not _readable(item, depth - 1):  # strings are many
            return False
    return True


def _compact(text: str) -> bytes:
    """Without line feeds: a line of JSON must stay one line."""
    return msgspec.json.format(text.encode(), indent=-1)


# ----------------------------------------------------------------------------- lineage


class Origin(Struct, frozen=True):
    """Where one side of a row comes from; ``line_offset`` counts from 0."""

    source: str
    run_id: str
    category: Category
    source_file: str
    line_offset: int
    sig_hash: str


class Lineage(Struct, frozen=True):
    """What a dataset row is made of; of a pair, the chosen side comes first."""

    id: str
    task_id: str
    origins: list[Origin]
    context: str
    reason: str


def lineage_row(
    sample: SftSample | PreferenceSample | UnpairedSample | RagChunk,
    task_id: str,
    context: str = "",
) -> bytes:
    """The sidecar line of a sample, without its line end; the same keys for every kind.

    Task and context are given, since not every kind of sample holds them.
    """
    at, reason = sample.provenance, ""
    if isinstance(sample, PreferenceSample):
        reason = sample.pair_reason
        origins = [
            _origin(at, sample.chosen_run_id, sample.chosen_category),
            _origin(sample.rejected_provenance, sample.rejected_run_id, sample.rejected_category),
        ]
    else:
        origins = [_origin(at, sample.source_run_id, sample.category)]
    return _ENCODE(Lineage(sample.id, task_id, origins, context, reason))


def _origin(at: Provenance, run_id: str, category: Category) -> Origin:
    stem = at.source_file.rpartition("/")[2].removesuffix(".jsonl")
    return Origin(stem, run_id, category, at.source_file, at.line_offset, at.sig_hash)
