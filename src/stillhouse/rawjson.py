"""What makes a raw line acceptable JSON, and saying why one is not.

Stricter than a parser: a key that stands twice in one object makes the row ambiguous, and
nesting beyond `MAX_DEPTH` cannot be carried safely through every later stage. Both are
found without slowing down the rows that are fine.

This module knows nothing of fields and their types.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from stillhouse.fields import json_type
from stillhouse.interfaces import Refusal

MAX_DEPTH: Final = 200
"""How deep a row may nest. Far above what logs hold, and far below the interpreter's own
limit, which depends on who calls: a row must not pass on one machine and fail on another."""

NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a line that is not what it should be."""

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder().decode
_ALL_BUT_MARKS: Final = bytes(set(range(256)) - set(b'"{[\\'))
_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_NOT_NUMBERS: Final = re.compile(rb"-?(NaN|Infinity)")


def is_lossless(line: bytes, decoded: Any) -> bool:
    """True when ``decoded`` holds every string of ``line``: no key was dropped or repeated.

    Encoding again gives as many double quotes as there were, unless a string went missing:
    an unknown field, a null for a default, or the earlier of two equal keys. Only the escape
    ``\\u0022`` can add a quote and so hide a loss; a line that has it is not vouched for.
    Also False for a line with brackets enough to nest beyond `MAX_DEPTH`.
    """
    # One pass over the line finds all that is counted; what it leaves is short.
    marks = line.translate(None, _ALL_BUT_MARKS)
    quotes, slashes = marks.count(b'"'), marks.count(b"\\")
    return (
        len(marks) - quotes - slashes <= MAX_DEPTH
        and _ENCODE(decoded).count(b'"') == quotes
        and not (slashes and b"\\u0022" in line)
    )


def read_object(line: bytes) -> dict[str, Any] | Refusal:
    """The line as one JSON object without a repeated key, or why it is not."""
    try:
        loaded = _DECODE(line)
    except NOT_JSON as error:
        return _explain(line, error)
    if not isinstance(loaded, dict):
        return Refusal("not_an_object", [f"the row is {json_type(loaded)}, not an object"])
    if not is_lossless(line, loaded):
        if is_deeper_than(loaded, MAX_DEPTH):
            return _too_deep()
        if repeated := repeated_keys(line):
            return Refusal("duplicate_key", [_twice(key) for key in repeated])
    return loaded


def repeated_keys(line: bytes) -> list[str]:
    """The keys that stand more than once in one object, at any depth, sorted.

    ``line`` must be JSON. Keys are compared as they read, not as they are spelt.
    """
    repeated: set[str] = set()

    def look(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            (repeated if key in seen else seen).add(key)

    json.loads(line, object_pairs_hook=look)
    return sorted(repeated)


def is_deeper_than(value: Any, limit: int) -> bool:
    """True when objects and arrays nest more than ``limit`` deep."""
    level: list[Any] = [value]
    for _ in range(limit + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: Any) -> Iterable[Any]:
    """A container's members; a bare value has none, an empty container one level."""
    if isinstance(item, dict):
        return item.values() or (None,)
    if isinstance(item, list):
        return item or (None,)
    return ()


def _explain(line: bytes, error: Exception) -> Refusal:
    if _looks_like_utf16(line):
        return Refusal("bad_encoding", ["the line looks like UTF-16; logs must be UTF-8"])
    try:
        line.decode()
    except UnicodeDecodeError as bad:
        byte = line[bad.start]
        return Refusal("bad_encoding", [f"byte 0x{byte:02x} at offset {bad.start} is not UTF-8"])
    if isinstance(error, RecursionError):
        return _too_deep()
    return Refusal("bad_json", [_json_fault(line, str(error))])


def _json_fault(line: bytes, words: str) -> str:
    if (at := line.find(b"\0")) >= 0:
        return f"the line holds {line.count(0)} NUL bytes, the first at offset {at}"
    if "out of range" in words:
        return "a number is out of range"
    if ("truncated" in words or "surrogate" in words) and _parses_loosely(line):
        return "an escape names half a surrogate pair, which is no character"
    if "truncated" in words:
        return "the line is truncated: it ends within a value" if line else "the line is empty"
    place = _AT_BYTE.search(words)
    if place and (found := _NOT_NUMBERS.match(line, max(0, int(place[1]) - 1))):
        return f"{found[0].decode()} at offset {found.start()} is not JSON"
    if place and (found := _NOT_NUMBERS.match(line, int(place[1]))):
        return f"{found[0].decode()} at offset {found.start()} is not JSON"
    return words if words[:2].isupper() else words[:1].lower() + words[1:]


def _parses_loosely(line: bytes) -> bool:
    """True when only the surrogates are wrong: the standard library lets those through."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _looks_like_utf16(line: bytes) -> bool:
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    # ASCII in UTF-16 has a NUL in every other byte; a torn write has nothing but NULs.
    nuls = line.count(0)
    return len(line) >= 4 and 0.3 <= nuls / len(line) <= 0.7 and 0 in (line[0], line[1])


def _too_deep() -> Refusal:
    return Refusal("bad_json", [f"objects and arrays nest more than {MAX_DEPTH} deep"])


def _twice(key: str) -> str:
    return f"the key {json.dumps(key[:80])} stands more than once in one object"
