"""The index: one fixed-size row an evidence record, all that global decisions need.

Duplicates, conflicting verdicts, preference pairs and dataset splits are questions about
*groups* of rows across the whole lake. They are answered over this index (160 bytes
a row) so that no text is held in memory. An index file is derived from an evidence file
and its scored-runs file; `join_partition` makes it from them alone, and the evidence
stage writes the same rows as it goes.

This module never decides what may train; that is `exports.firewall`.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.errors import RecordError
from stillhouse.interfaces import Refusal, Store
from stillhouse.lake import EVIDENCE, PRIVATE, SCORED, partition_path
from stillhouse.records import (
    CATEGORIES,
    EvidenceRecord,
    Message,
    ScoredRun,
    decode,
    encode,
)
from stillhouse.sources import (
    build_instruction,
    score_record,
    source_for,
    stem_from_source_file,
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

NOT_INSTRUCTABLE: Final = 1  # extraction class, or an extractor's run
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
    if data.isascii() or not (data.translate(None, _STABLE) or _UNSTABLE.search(data)):
        return data
    return unicodedata.normalize("NFC", text.strip()).encode()


def messages_key(messages: list[Message]) -> bytes:
    """SHA-256 of what messages say and call; every part stands behind its length."""
    hashed = sha256()
    for message in messages:
        content = norm(message.text())
        hashed.update(b"%s %d:" % (message.role.encode(), len(content)))
        hashed.update(content)
        if message.tool_calls:
            # Call ids are drawn anew by every run and say nothing.
            calls = [(call.function.name, call.function.arguments) for call in message.tool_calls]
            data = _KEY_ENCODER.encode(calls)
            hashed.update(b"calls %d:" % len(data))
            hashed.update(data)
        if message.has_other_media():
            data = _KEY_ENCODER.encode(message.content)
            hashed.update(b"media %d:" % len(data))
            hashed.update(data)
    return hashed.digest()


_KEY_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")


class Keys(NamedTuple):
    """What a record is grouped by, and what keeps it out of the exports."""

    task: bytes
    prompt: bytes
    answer: bytes
    flags: int


def keys_of(record: EvidenceRecord, stem: str) -> Keys:
    """The group keys and flags of one record."""
    flags = 0
    source = source_for(stem)
    if source.source_class == "extraction":
        flags = NOT_INSTRUCTABLE | EXTRACTION
    if record.model_role == "extractor":
        flags |= NOT_INSTRUCTABLE
    messages = record.messages
    prompt = messages_key(prompt_of(record))
    answer = sha256(prompt)
    text = norm(record.text)
    if not text:
        flags |= EMPTY
    if messages is not None:
        if any(message.has_other_media() for message in messages):
            flags |= OTHER_MEDIA
        if text and is_conversation(record):
            text = messages_key(answer_of(record))
    answer.update(text)
    task = sha256(record.task_id.encode())
    return Keys(task.digest()[:KEY_BYTES], prompt[:KEY_BYTES], answer.digest()[:KEY_BYTES], flags)


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


class JoinProblem(NamedTuple):
    """A line of an evidence or scored-runs file that cannot be used, and why."""

    path: str
    number: int
    line: bytes
    reason: str
    detail: list[str]


def join_partition(store: Store, day: str, stem: str) -> tuple[bytes, list[JoinProblem]]:
    """Index rows of a partition from its two files alone, in the scored file's order.

    Used when the files are not what the evidence stage left: edited by hand, replayed from
    an older run, or written by somebody else. Nothing is taken on trust: a scored run is
    joined by the hash of the evidence line, checked, and compared with today's rules. What
    does not hold gets a row that exports nothing but still speaks against the same answer
    given elsewhere (SPEC F5, F6), and is returned as a problem, so that it can be named.
    """
    scored_file = partition_path(SCORED, day, stem)
    join = _Join(store, day, stem)
    rows: list[bytes] = []
    problems: list[JoinProblem] = []
    lines = iter_lines(store, scored_file) if store.stat(scored_file) else iter(())
    for number, (start, line) in enumerate(lines):
        body = line.rstrip(b"\r\n")
        span = (start, len(line))
        key, category, refusal = _read_scored(body)
        row = join.row(key, category, span) if key else None
        if refusal is None and row is None:
            refusal = Refusal(
                "missing_evidence", [f"its evidence is not in {join.path}, or is scored twice"]
            )
        if refusal is not None:
            problems.append(JoinProblem(scored_file, number, body, *refusal))
        if row is not None:
            rows.append(row)
    rows += join.unscored()
    return b"".join(rows), problems


def _read_scored(body: bytes) -> tuple[bytes | None, int, Refusal | None]:
    """The evidence hash and category code of a scored line, and what is wrong with it."""
    try:
        scored = decode(body, ScoredRun)
        if encode(scored) != body:
            raise RecordError(["is not as Stillhouse writes it (edited, or a key twice)"])
        return bytes.fromhex(scored.sig_hash), CATEGORY_CODE[scored.category], None
    except RecordError as error:
        refusal = Refusal("invalid", list(error.problems))
    try:
        return bytes.fromhex(msgspec.json.decode(body)["sig_hash"]), UNKNOWN, refusal
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError):
        return None, UNKNOWN, refusal


class _Join:
    """The evidence lines of a partition by hash, each given out once."""

    def __init__(self, store: Store, day: str, stem: str) -> None:
        self.path = partition_path(EVIDENCE, day, stem)
        self._store = store
        self._stem = stem
        self._lines: dict[bytes, tuple[int, int]] = {}
        if store.stat(self.path):
            for start, line in iter_lines(store, self.path):
                key = sha256(line.rstrip(b"\r\n")).digest()
                self._lines.setdefault(key, (start, len(line)))

    def row(self, key: bytes, category: int, scored: tuple[int, int]) -> bytes | None:
        """The index row for a scored run; None when there is no (valid) evidence for it."""
        place = self._lines.pop(key, None)
        if place is None:
            return None
        line = self._store.read(self.path, place[0], place[0] + place[1])
        try:
            record = decode(line, EvidenceRecord)
        except RecordError:
            return None
        today = CATEGORY_CODE[score_record(record).category]
        flags = 0
        if scored == UNSCORED:
            category, flags = today, MISSING
        elif (
            today != category or stem_from_source_file(record.provenance.source_file) != self._stem
        ):
            flags = MISMATCH
        return pack_row(
            bytes.fromhex(record.provenance.sig_hash),
            key,
            keys_of(record, self._stem),
            (place[0], scored[0]),
            (place[1], scored[1]),
            record.provenance.line_offset,
            category,
            flags,
        )

    def unscored(self) -> list[bytes]:
        """Rows for the evidence that no scored run has claimed."""
        rows = [self.row(key, UNKNOWN, UNSCORED) for key in list(self._lines)]
        return [row for row in rows if row is not None]


UNSCORED: Final = (0, 0)
