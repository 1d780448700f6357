"""The index: one fixed-size row an evidence record, all that global decisions need.

Duplicates, conflicting verdicts, preference pairs and dataset splits are questions about
*groups* of rows across the whole lake. They are answered over this index (160 bytes
a row) so that no text is held in memory. What is compared is what would be written: the
words of a record with its secrets taken out. An index file is derived from an evidence file
and its scored-runs file, and the stages write it as they go.

This module never decides what may train; that is `exports.firewall`.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.interfaces import Store
from stillhouse.lake import PRIVATE, partition_path
from stillhouse.records import CATEGORIES, EvidenceRecord, Message
from stillhouse.sources import build_instruction
from stillhouse.words import (
    Words,
    is_answer,
    is_asked,
    is_empty,
    is_extracted,
    is_extraction,
    may_hold_secret,
    words_of,
)

# The first 16 bytes of a SHA-256 name a thing: enough that no two will ever meet.
KEY_BYTES: Final = 16

ROW: Final = np.dtype(
    [
        ("raw_sig", "V32"),  # of the raw line, whole: refusals name it
        ("evidence_sig", "V16"),  # of the evidence line: what a scored run joins to
        ("task", "V16"),
        ("prompt", "V16"),
        ("answer", "V16"),  # of prompt and answer together; zero when nothing was said
        ("said", "V16"),  # of prompt and text: the answer, unless that is a conversation
        ("tools", "<u8"),  # of the tools that the model was given; 0 for none
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
_PACK: Final = struct.Struct("<32s16s16s16s16s16sQQQQIIBB6x")
if _PACK.size != ROW.itemsize:  # the two descriptions of one row must agree
    raise AssertionError("index row layouts differ")

Rows = npt.NDArray[np.void]
U64 = npt.NDArray[np.uint64]

UNKNOWN: Final = 255
CATEGORY_CODE: Final[dict[str, int]] = {name: code for code, name in enumerate(CATEGORIES)}

NOT_INSTRUCTABLE: Final = 1  # extraction class, an extractor's run, or a side without words
EMPTY: Final = 2  # no text
OTHER_MEDIA: Final = 4  # messages with parts that are not text
MISMATCH: Final = 8  # the stored verdict is not what today's rules give
EXTRACTION: Final = 16  # extraction class: its needs_human_review blocks no other row
MISSING: Final = 32  # evidence that no scored run speaks for
SECRET: Final = 64  # something that can leave holds a secret

_UNSAID: Final = bytes(KEY_BYTES)


# ------------------------------------------------------------------------- comparing

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
    """What a record is grouped by (see `ROW`), and what keeps it out of the exports."""

    task: bytes
    prompt: bytes
    answer: bytes
    said: bytes
    tools: int
    flags: int


def keys_of(record: EvidenceRecord, stem: str, reasons: Sequence[str]) -> Keys:
    """The group keys and flags of one record; ``reasons`` are those of its verdict."""
    instruction = build_instruction(record)
    secret = may_hold_secret(record, instruction, reasons)
    if secret or record.messages or record.tools or is_empty(record):
        words = words_of(record, reasons, instruction, secret=secret)
        return _keys_of_words(record, stem, words)
    # A text and no more: the same keys, without making a message of each.
    flags = EXTRACTION if is_extraction(stem) else 0
    prompt, substance = _instruction_key(instruction)
    if not substance or is_extracted(record, stem) or not is_asked(record, instruction):
        flags |= NOT_INSTRUCTABLE
    said = _said_key(prompt, record.text)
    return Keys(_task_key(record.task_id), prompt[:KEY_BYTES], said, said, 0, flags)


def _keys_of_words(record: EvidenceRecord, stem: str, words: Words) -> Keys:
    flags = EXTRACTION if is_extraction(stem) else 0
    prompt, substance = _key_and_words(words.prompt)
    if (
        not substance
        or is_extracted(record, stem)
        or not is_asked(record, words.instruction)
        or not is_answer(words.answer)
    ):
        flags |= NOT_INSTRUCTABLE
    if any(message.has_other_media() for message in record.messages or ()):
        flags |= OTHER_MEDIA
    if words.secrets:
        flags |= SECRET
    said = _UNSAID
    if is_empty(record):
        flags |= EMPTY
    else:
        said = _said_key(prompt, words.text)
    answer = said if _is_text(words) else _answer_key(prompt, words.answer)
    tools = sha256(_KEY_ENCODER.encode(words.tools)).digest() if words.tools else _UNSAID
    return Keys(
        _task_key(words.task_id),
        prompt[:KEY_BYTES],
        answer,
        said,
        int.from_bytes(tools[:8], "little"),
        flags,
    )


def _answer_key(prompt: bytes, answer: list[Message]) -> bytes:
    """Turns that say nothing do not count: one that is left of several is its text."""
    turns = [m for m in answer if m.tool_calls or m.has_other_media() or m.text().strip()]
    if not turns:
        return _UNSAID
    first = turns[0]
    plain = first.role == "assistant" and not first.tool_calls and not first.has_other_media()
    if len(turns) == 1 and plain:
        return _said_key(prompt, first.text())
    return sha256(prompt + messages_key(turns)).digest()[:KEY_BYTES]


def _said_key(prompt: bytes, text: str) -> bytes:
    hashed = sha256(prompt)
    hashed.update(norm(text))
    return hashed.digest()[:KEY_BYTES]


def _is_text(words: Words) -> bool:
    """Whether the answer is the text and no more."""
    if len(words.answer) != 1:
        return False
    (turn,) = words.answer
    return turn.content == words.text and not turn.tool_calls and bool(words.text.strip())


@lru_cache(maxsize=8192)
def _task_key(task_id: str) -> bytes:
    return sha256(task_id.encode()).digest()[:KEY_BYTES]


@lru_cache(maxsize=8192)
def _instruction_key(instruction: str) -> tuple[bytes, bool]:
    """`_key_and_words` of an instruction as one user message; a task's rows share it."""
    asked = norm(instruction)
    return sha256(b"user %d:%b" % (len(asked), asked)).digest(), bool(asked)


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
        keys.said,
        keys.tools,
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


Blocks = Callable[[], Iterable[Rows]]
"""Gives a lake's index rows in order, block by block, as often as asked."""


def numbered(blocks: Blocks) -> Iterator[tuple[int, Rows]]:
    """The blocks, each with the number of its first row in the lake."""
    base = 0
    for rows in blocks():
        yield base, rows
        base += len(rows)


def halves(rows: Rows, name: str) -> tuple[U64, U64]:
    """A key of 16 bytes as two numbers, which sort and compare fast."""
    both = np.ascontiguousarray(rows[name]).view("<u8").reshape(-1, 2)
    return both[:, 0], both[:, 1]


def iter_lines(store: Store, path: str) -> Iterator[tuple[int, bytes]]:
    """``(offset, line)`` of every line of a derived file, blank lines left out."""
    with store.open(path) as handle:
        start = 0
        for line in handle:
            if line.strip():
                yield start, line
            start += len(line)
