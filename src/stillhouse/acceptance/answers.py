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

from stillhouse.acceptance.facts import NOTHING, Said
from stillhouse.records import Message
from stillhouse.words import Words, first_answer

_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode

Turn = tuple[str, str, Any, Any]
"""Role, words, tool calls, content that is not text."""


def said(prompt: Sequence[Message], answer: Sequence[Message], text: str) -> Said:
    """The hashes of a prompt with an answer, and with the text that the answer ends in."""
    asked = _ENCODE(_turns(prompt))
    # A turn that says nothing is no part of an answer: one that is left of several is its text.
    told = [turn for turn in _turns(answer) if any(turn[1:])]
    words = _same(text)
    return Said(
        whole=_number(asked, _ENCODE(told)) if told else 0,
        text=_number(asked, _ENCODE([("assistant", words, None, None)])) if words else 0,
        prompt=_number(asked, b""),
    )


def said_by(words: Words) -> Said:
    """The hashes of what an evidence record says, without its secrets: as it may leave."""
    return said(words.prompt, words.answer, words.text)


def said_in(messages: Sequence[Message], text: str | None = None) -> Said:
    """The hashes of a whole conversation; of its last words, unless the text is given."""
    messages = list(messages)
    start = first_answer(messages)
    answer = messages[start:]
    return said(messages[:start], answer, last_words(answer) if text is None else text)


def said_to(instruction: str, response: str) -> Said:
    """The hashes of an instruction and its response."""
    words = _same(response)
    if not words:
        return NOTHING
    asked = _asked(instruction)
    number = _number(asked, _ENCODE([("assistant", words, None, None)]))
    return Said(whole=number, text=number, prompt=_number(asked, b""))


def last_words(answer: Sequence[Message]) -> str:
    """What the assistant says last."""
    for message in reversed(answer):
        if message.role == "assistant" and message.text().strip():
            return message.text()
    return ""


@lru_cache(maxsize=4096)
def _asked(instruction: str) -> bytes:
    return _ENCODE(_turns([Message(role="user", content=instruction)]))


def _turns(messages: Sequence[Message]) -> list[Turn]:
    """What messages say. A developer's word is a system's; ids of calls are drawn anew by every
    run; arguments are the same as an object and as its JSON text."""
    turns: list[Turn] = []
    for message in messages:
        words = _same(message.text())
        calls = [[c.function.name, _value(c.function.arguments)] for c in message.tool_calls or ()]
        media = message.content if message.has_other_media() else None
        role = "system" if message.role == "developer" else message.role
        turns.append((role, words, calls or None, media))
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
