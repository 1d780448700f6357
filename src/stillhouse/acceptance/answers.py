"""What a line says to what, as hashes: for telling whether two lines say the same.

The definition is SPEC's: a prompt is the messages up to the first answer, else the instruction;
words are compared after trimming and Unicode NFC. What a prompt and an answer are is asked of
`stillhouse.words`, which is that definition. How they are hashed and compared is written here
anew: the exports have an index of their own for it, and a gate that asked that index would
prove nothing.

This module never decides what may be exported.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import msgspec

from stillhouse.acceptance.facts import Said
from stillhouse.records import EvidenceRecord, Message
from stillhouse.words import Words, first_answer, is_empty

_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode

Turn = tuple[str, str, Any, Any]
"""Role, words, tool calls, content that is not text."""


def said(prompt: Sequence[Message], answer: Sequence[Message], text: str) -> Said:
    """The hashes of a prompt with an answer, and with the text that the answer ends in."""
    return _said(_ENCODE(_turns(prompt)), answer, text)


def said_by(record: EvidenceRecord, words: Words) -> Said:
    """The hashes of what an evidence record says, without its secrets: as it may leave."""
    text = "" if is_empty(record) else words.text
    if not record.messages:
        return said_to(words.instruction, text)
    return said(words.prompt, words.answer, text)


def said_in(messages: Sequence[Message], text: str | None = None) -> Said:
    """The hashes of a whole conversation; of its last words, unless the text is given."""
    messages = list(messages)
    start = first_answer(messages)
    answer = messages[start:]
    return said(messages[:start], answer, last_words(answer) if text is None else text)


def said_to(instruction: str, response: str) -> Said:
    """The hashes of an instruction and its response."""
    asked, prompt = _asked(instruction)
    words = _same(response)
    number = _number(asked, _told(words)) if words else 0
    return Said(number, number, prompt)


def _said(asked: bytes, answer: Sequence[Message], text: str) -> Said:
    # A turn that says nothing is no part of an answer: one that is left of several is its text.
    told = _ENCODE([turn for turn in _turns(answer) if any(turn[1:])])
    words = _same(text)
    ending = _told(words) if words else b""
    whole = _number(asked, told) if told != b"[]" else 0
    number = whole if ending == told else _number(asked, ending) if words else 0
    return Said(whole, number, _number(asked, b""))


def last_words(answer: Sequence[Message]) -> str:
    """What the assistant says last."""
    for message in reversed(answer):
        if message.role == "assistant" and message.text().strip():
            return message.text()
    return ""


def _told(words: str) -> bytes:
    return _ENCODE([("assistant", words, None, None)])


@lru_cache(maxsize=8192)
def _asked(instruction: str) -> tuple[bytes, int]:
    asked = _ENCODE([("user", _same(instruction), None, None)])
    return asked, _number(asked, b"")


def _turns(messages: Sequence[Message]) -> list[Turn]:
    """What messages say. A developer's word is a system's; ids of calls are drawn anew by every
    run; arguments are the same as an object and as its JSON text."""
    turns: list[Turn] = []
    for message in messages:
        role = "system" if message.role == "developer" else message.role
        if isinstance(message.content, str) and not message.tool_calls:
            turns.append((role, _same(message.content), None, None))
            continue
        calls = [[c.function.name, _value(c.function.arguments)] for c in message.tool_calls or ()]
        media = message.content if message.has_other_media() else None
        turns.append((role, _same(message.text()), calls or None, media))
    return turns


def _value(arguments: Any) -> Any:
    """The arguments of a call, out of as many layers of JSON text as they are wrapped in."""
    while isinstance(arguments, str):
        if not arguments.strip():
            return {}
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            break
    return {} if arguments is None else arguments


def _same(text: str) -> str:
    text = text.strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _number(asked: bytes, told: bytes) -> int:
    """8 bytes of a SHA-256: two different answers of ten million share one with a probability
    of 3 in a million, and then a gate is red that should not be, never the other way."""
    digest = sha256(b"%d:%b%b" % (len(asked), asked, told)).digest()
    return int.from_bytes(digest[:8], "little") or 1
