"""The index: one fixed-size row an evidence record, all that global decisions need.

Duplicates, conflicting verdicts, preference pairs and dataset splits are questions about
*groups* of rows across the whole lake. They are answered over this index (136 bytes
a row) so that no text is held in memory. An index file is derived from an evidence file
and its scored-runs file, and the stages write it as they go.

This module never decides what may train; that is `exports.firewall`.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.interfaces import Store
from stillhouse.lake import PRIVATE, partition_path
from stillhouse.records import (
    CATEGORIES,
    EvidenceRecord,
    Message,
)
from stillhouse.sources import (
    build_instruction,
    source_for,
)

# The first 16 bytes of a SHA-256 name a thing: enough that no two will ever meet.
KEY_BYTES: Final = 16

ROW: Final = np.dtype(
    [
        ("raw_sig", "V32"),  # of the raw line, whole: refusals name it
        ("evidence_sig", "V16"),  # of the evidence line: what a scored run joins to
        ("task", "V16"),
        ("prompt", "V16"),
        ("answer", "V16"),  # of prompt and answer together
        ("evidence_start", "<u8"),
        ("scored_start", "<u8"),
        ("line_offset", "<u8"),
        ("evidence_size", "<u4"),  # with the line end
        ("scored_size", "<u4"),
        ("category", "u1"),  # position in CATEGORIES, or UNKNOWN
        ("flags", "u1"),
        ("pad", "V6"),
    ]
)
_PACK: Final = struct.Struct("<32s16s16s16s16sQQQIIBB6x")
if _PACK.size != ROW.itemsize:  # the two descriptions of one row must agree
    raise AssertionError("index row layouts differ")

Rows = npt.NDArray[np.void]

UNKNOWN: Final = 255
CATEGORY_CODE: Final[dict[str, int]] = {name: code for code, name in enumerate(CATEGORIES)}

NOT_INSTRUCTABLE: Final = 1  # extraction class, an extractor's run, or a side without words
EMPTY: Final = 2  # no answer
OTHER_MEDIA: Final = 4  # messages with parts that are not text
MISMATCH: Final = 8  # the stored verdict is not what today's rules give
EXTRACTION: Final = 16  # extraction class: its needs_human_review blocks no other row
MISSING: Final = 32  # evidence that no scored run speaks for


# -------------------------------------------------------------------- prompt and answer


def first_answer(messages: list[Message]) -> int:
    """Position of the first answer: the first assistant message, or the end."""
    for position, message in enumerate(messages):
        if message.role == "assistant":
            return position
    return len(messages)


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

    A conversation of several turns is its own answer, from the first assistant message to
    the last (what the user or a tool said after that answers nothing). Otherwise the
    answer is the text, which is what the verdict is about. Empty when there is no text.
    """
    if not record.text.strip():
        return []
    if is_conversation(record):
        assert record.messages is not None
        return record.messages[first_answer(record.messages) : last_answer(record.messages)]
    return [Message(role="assistant", content=record.text)]


def is_conversation(record: EvidenceRecord) -> bool:
    """True when the messages hold several turns or a tool call, so that the answer is more
    than its text."""
    if not record.messages:
        return False
    start, end = first_answer(record.messages), last_answer(record.messages)
    return end - start > 1 or (end > start and bool(record.messages[start].tool_calls))


def is_answer(messages: list[Message]) -> bool:
    """True when the assistant says something or calls a tool: what the user says in between
    is nothing to learn."""
    return any(
        message.role == "assistant" and (message.tool_calls or message.text().strip())
        for message in messages
    )


# Bytes that lead only characters which NFC leaves as they are: ASCII, continuation bytes,
# U+0080 to U+02FF, and (but for `_UNSTABLE`) the punctuation and symbols of U+2000 to U+2FFF.
_STABLE: Final = bytes(range(0xCC)) + b"\xe2"
_UNSTABLE: Final = re.compile(
    rb"\xe2(?:\x80[\x80\x81]|\x83[\x90-\xbf]|\x84[\xa6\xaa\xab]|\x8c[\xa9\xaa]|\xab\x9c|[\xb3\xb5]|\xb7[\xa0-\xbf])"
)


def norm(text: str) -> bytes:
    """Text as it is compared: trimmed, in Unicode NFC (SPEC S9), as UTF-8.

    Nearly all text is in NFC; that is seen from its bytes, far faster than by asking
    `unicodedata`, which is asked only about characters that could change.
    """
    data = text.strip().encode()
    if text.isascii():
        return data
    if not data.translate(None, _STABLE):
        # Finding where to begin is far cheaper than letting the pattern look for it.
        first = data.find(b"\xe2")
        if first < 0 or not _UNSTABLE.search(data, first):
            return data
    return unicodedata.normalize("NFC", text.strip()).encode()


def messages_key(messages: list[Message]) -> bytes:
    """SHA-256 of what messages say and call; every part stands behind its length.

    What a trainer would not tell apart has one key: a developer's message is a system's,
    and a call's arguments are the same as an object and as its JSON text.
    """
    return _key_and_words(messages)[0]


def _key_and_words(messages: list[Message]) -> tuple[bytes, bool]:
    """`messages_key`, and `has_substance`, which the key's way over the words sees too."""
    hashed = sha256()
    substance = False
    for message in messages:
        role = "system" if message.role == "developer" else message.role
        content = norm(message.text())
        hashed.update(b"%b %d:%b" % (role.encode(), len(content), content))
        if content:
            substance = True
        if message.tool_calls:
            substance = True
            # Call ids are drawn anew by every run and say nothing.
            calls = [
                (call.function.name, _arguments(call.function.arguments))
                for call in message.tool_calls
            ]
            data = _KEY_ENCODER.encode(calls)
            hashed.update(b"calls %d:" % len(data))
            hashed.update(data)
        if message.has_other_media():
            data = _KEY_ENCODER.encode(message.content)
            hashed.update(b"media %d:" % len(data))
            hashed.update(data)
    return hashed.digest(), substance


def _arguments(given: Any) -> Any:
    if given is None or (isinstance(given, str) and not given.strip()):
        return {}
    try:
        return msgspec.json.decode(given) if isinstance(given, str) else given
    except (msgspec.DecodeError, RecursionError):
        return given


# JSON, since it has integers of any size.
_KEY_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class Keys(NamedTuple):
    """What a record is grouped by, and what keeps it out of the exports."""

    task: bytes
    prompt: bytes
    answer: bytes
    flags: int


def keys_of(record: EvidenceRecord, stem: str) -> Keys:
    """The group keys and flags of one record."""
    flags = _stem_flags(stem)
    if record.model_role == "extractor":
        flags |= NOT_INSTRUCTABLE
    messages = record.messages
    if messages:
        prompt, substance = _key_and_words(prompt_of(record))
    else:
        # The same key as one user message has, without making one.
        asked = norm(build_instruction(record))
        prompt, substance = sha256(b"user %d:%b" % (len(asked), asked)).digest(), bool(asked)
    if not substance:
        flags |= NOT_INSTRUCTABLE
    for message in messages or ():
        if message.has_other_media():
            flags |= OTHER_MEDIA
    if not record.text.strip():
        flags |= EMPTY
        said = b""
    elif messages and is_conversation(record):
        turns = answer_of(record)
        said = messages_key(turns)
        if not is_answer(turns):
            flags |= NOT_INSTRUCTABLE
    else:
        said = norm(record.text)
    task = sha256(record.task_id.encode()).digest()
    answer = sha256(prompt + said).digest()
    return Keys(task[:KEY_BYTES], prompt[:KEY_BYTES], answer[:KEY_BYTES], flags)


@lru_cache(maxsize=1024)
def _stem_flags(stem: str) -> int:
    """The flags of all rows of a stem; finding the source of each row's takes far longer."""
    return NOT_INSTRUCTABLE | EXTRACTION if source_for(stem).source_class == "extraction" else 0


def pack_row(
    raw_sig: bytes,
    evidence_sig: bytes,
    keys: Keys,
    starts: tuple[int, int],
    sizes: tuple[int, int],
    line_offset: int,
    category: int,
    extra_flags: int = 0,
) -> bytes:
    """One index row as bytes; ``starts`` and ``sizes`` are (evidence, scored) in bytes."""
    return _PACK.pack(
        raw_sig,
        evidence_sig[:KEY_BYTES],
        keys.task,
        keys.prompt,
        keys.answer,
        starts[0],
        starts[1],
        line_offset,
        sizes[0],
        sizes[1],
        category,
        keys.flags | extra_flags,
    )


# -------------------------------------------------------------------------------- files


def index_path(day: str, stem: str) -> str:
    """Where a partition's index lies."""
    return partition_path(f"{PRIVATE}/index", day, stem).removesuffix(".jsonl") + ".idx"


def read_index(data: bytes) -> Rows:
    """An index file's bytes as rows (read-only, no copy)."""
    return np.frombuffer(data, dtype=ROW)


def iter_lines(store: Store, path: str) -> Iterator[tuple[int, bytes]]:
    """``(offset, line)`` of every line of a derived file, blank lines left out."""
    with store.open(path) as handle:
        start = 0
        for line in handle:
            if line.strip():
                yield start, line
            start += len(line)
