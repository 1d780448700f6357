"""What of a record may leave the lake: prompt, answer and labels, with the secrets taken out.

    record → instruction, prompt, answer → secrets out → Words

The index compares these words and the exports write them: two rows that differ in a secret
alone are the same row for both (SPEC F5, S9, S10). This module never decides whether a
record may leave, and never reads or writes anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from stillhouse.records import EvidenceRecord, Message, Provenance, has_substance
from stillhouse.redaction import redact, redact_value, suspicious
from stillhouse.sources import build_instruction, source_for, stem_from_source_file

_ENCODER: Final = msgspec.json.Encoder()
_NOTHING: Final[frozenset[str]] = frozenset()


class Words(msgspec.Struct, frozen=True):
    """A record's words. ``secrets`` names the kinds of what was taken out: none, for nearly
    all records, and then the words are the record's own objects."""

    instruction: str
    prompt: list[Message]
    answer: list[Message]
    text: str
    task_id: str
    tools: list[Any] | None
    secrets: frozenset[str] = _NOTHING


# -------------------------------------------------------------------- prompt and answer


def first_answer(messages: list[Message]) -> int:
    """Position of the first answer: the first assistant message behind a user's (a greeting
    before it answers nothing), or behind none where there is no user's; else the end."""
    asked, greeting = False, len(messages)
    for position, message in enumerate(messages):
        if message.role == "user":
            asked = True
        elif message.role == "assistant":
            if asked:
                return position
            greeting = min(greeting, position)
    return len(messages) if asked else greeting


def last_answer(messages: list[Message]) -> int:
    """One past the last assistant message; 0 when there is none."""
    for position in range(len(messages), 0, -1):
        if messages[position - 1].role == "assistant":
            return position
    return 0


def prompt_of(record: EvidenceRecord, instruction: str | None = None) -> list[Message]:
    """The record's prompt (SPEC section 4): its messages up to the first answer; without
    messages, its instruction (worked out unless given) as one user message."""
    if record.messages:
        prompt = record.messages[: first_answer(record.messages)]
        if prompt:
            return prompt
    return [Message(role="user", content=instruction or build_instruction(record))]


def answer_of(record: EvidenceRecord) -> list[Message]:
    """The record's answer: what a model would be trained to say to its prompt.

    Where the messages hold several turns or a tool call, the answer is the conversation, from
    the first assistant message on. It ends with the text, which is what the verdict is about:
    with the turn that says it, or with the text itself where the messages are what the model
    was sent, or end in other words. What anybody says after that answers nothing. A record
    without text is never exported, but what its messages answer still has a verdict.
    """
    messages = record.messages
    if not messages:
        return [] if is_empty(record) else [Message(role="assistant", content=record.text)]
    turns = messages[first_answer(messages) : last_answer(messages)]
    if is_empty(record):
        return turns
    told = _up_to_text(turns, record.text.strip())
    if told is not None:
        if is_conversation(told):
            return told
        turns = []
    elif turns and messages[-1].role != "assistant":
        # What was sent, with an earlier answer in it, and the new answer beside it.
        turns = messages[first_answer(messages) :]
    elif turns and not turns[-1].tool_calls:
        turns = turns[:-1]
    return [*turns, Message(role="assistant", content=record.text)]


def _up_to_text(turns: list[Message], text: str) -> list[Message] | None:
    """The turns up to the one that says the text, with calls that follow it without a word;
    None when none of them says it."""
    end = len(turns)
    for position in range(len(turns) - 1, -1, -1):
        turn = turns[position]
        if turn.role != "assistant":
            continue
        words = turn.text().strip()
        if words == text:
            return turns[:end]
        if words:
            end = position
            while end and turns[end - 1].role != "assistant":
                end -= 1
    return None


def is_empty(record: EvidenceRecord) -> bool:
    """True for a record without text: nothing of it leaves (SPEC F4)."""
    return not record.text or record.text.isspace()


def is_conversation(turns: list[Message]) -> bool:
    """True for several turns or a tool call: the answer is then more than its text."""
    return len(turns) > 1 or (len(turns) == 1 and bool(turns[0].tool_calls))


def is_answer(messages: list[Message]) -> bool:
    """True when each of the assistant's turns says something or calls a tool: what the user
    says in between is nothing to learn, and silence is no answer."""
    answered = False
    for message in messages:
        if message.role == "assistant":
            if not message.tool_calls and not message.text().strip():
                return False
            answered = True
    return answered


def is_instructable(record: EvidenceRecord, words: Words) -> bool:
    """Whether the record is an answer to a task at all, in words (SPEC F4)."""
    stem = stem_from_source_file(record.provenance.source_file)
    return (
        not is_extracted(record, stem)
        and is_asked(record, words.instruction)
        and has_substance(words.prompt)
        and is_answer(words.answer)
        and not (record.messages and any(map(Message.has_other_media, record.messages)))
    )


def is_extracted(record: EvidenceRecord, stem: str) -> bool:
    """True for the extraction class and for an extractor's run."""
    return record.model_role == "extractor" or is_extraction(stem)


@lru_cache(maxsize=1024)
def is_extraction(stem: str) -> bool:
    """True for a stem of the extraction class; finding the source for each row takes long."""
    return source_for(stem).source_class == "extraction"


def is_asked(record: EvidenceRecord, instruction: str) -> bool:
    """Whether the log says what was asked: in messages, or by an instruction in which
    something is particular.

    A row that names neither gets the instruction of a record without any facts. All such
    rows would be answers to one empty question.
    """
    if record.messages and first_answer(record.messages) > 0:
        return True
    prefix, _, name = record.task_id.partition(":")
    if name != record.run_id:
        return True
    return instruction != _blank_instruction(record.provenance.source_file, prefix)


@lru_cache(maxsize=1024)
def _blank_instruction(source_file: str, prefix: str) -> str:
    nowhere = Provenance(source_file=source_file, line_offset=0, sig_hash="", recorded_at="")
    blank = EvidenceRecord(run_id="-", task_id=f"{prefix}:-", timestamp="", provenance=nowhere)
    return build_instruction(blank)


# ------------------------------------------------------------------------------ secrets


def words_of(
    record: EvidenceRecord,
    reasons: Sequence[str],
    instruction: str | None = None,
    *,
    secret: bool | None = None,
) -> Words:
    """The record's words, with the secrets taken out of them.

    ``secret`` says what is known already: False that there is none to look for. ``reasons``
    are those of its verdict, which reach the exports too.
    """
    if instruction is None:
        instruction = build_instruction(record)
    prompt, answer = prompt_of(record, instruction), answer_of(record)
    plain = Words(instruction, prompt, answer, record.text, record.task_id, record.tools)
    if secret is None:
        secret = may_hold_secret(record, instruction, reasons)
    return _cleaned(plain, record, reasons) if secret else plain


def may_hold_secret(record: EvidenceRecord, instruction: str, reasons: Sequence[str]) -> bool:
    """Whether any string that can reach an export may hold a secret.

    Never wrong when it says no. Rows of one task share most of what is not their text.
    """
    messages = record.messages
    # Where the text is a message's, it is looked at with the messages.
    if not (messages and messages[-1].content is record.text) and suspicious(record.text.encode()):
        return True
    labels = [instruction, record.task_id, *record.source_files, *reasons]
    if not record.run_id.endswith(record.provenance.sig_hash[:16]):
        labels.append(record.run_id)
    if record.model_name:
        labels.append(record.model_name)
    if record.model_provider:
        labels.append(record.model_provider)
    for label in labels:
        if _is_suspicious_label(label):
            return True
    if messages or record.tools or record.retrieved_context:
        more = (messages, record.tools, record.retrieved_context)
        return suspicious(_ENCODER.encode(more))
    return False


@lru_cache(maxsize=8192)
def _is_suspicious_label(text: str) -> bool:
    return suspicious(text.encode())


def _cleaned(words: Words, record: EvidenceRecord, reasons: Sequence[str]) -> Words:
    found: Counter[str] = Counter()
    # Of what else can leave, it is enough to know that there is something.
    labels = (record.run_id, record.model_name, record.model_provider, record.source_files)
    redact_value(msgspec.to_builtins((labels, record.retrieved_context, reasons)), found)
    clean = Words(
        redact(words.instruction, found),
        _clean(words.prompt, found),
        _clean(words.answer, found),
        redact(words.text, found),
        redact(words.task_id, found),
        redact_value(words.tools, found),
        secrets=frozenset(found),
    )
    return clean if found else words


def _clean(messages: list[Message], found: Counter[str]) -> list[Message]:
    return msgspec.convert(redact_value(msgspec.to_builtins(messages), found), list[Message])
