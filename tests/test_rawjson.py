"""What a line must be before its fields matter, and how a refusal says what is wrong."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stillhouse.interfaces import Refusal
from stillhouse.rawjson import (
    MAX_DEPTH,
    is_deeper_than,
    is_lossless,
    read_object,
    repeated_keys,
)

BAD_LINES = {
    "cut in a string": (b'{"a": "b', "bad_json", "truncated"),
    "cut after a value": (b'{"a": 1', "bad_json", "truncated"),
    "nothing": (b"", "bad_json", "empty"),
    "NUL in a string": (b'{"a": "b\0c"}', "bad_json", "1 NUL bytes, the first at offset 8"),
    "torn write": (b"\0" * 64, "bad_json", "64 NUL bytes"),
    "NaN": (b'{"a": NaN}', "bad_json", "NaN at offset 6"),
    "Infinity": (b'{"a": Infinity}', "bad_json", "Infinity at offset 6"),
    "-Infinity": (b'{"a": -Infinity}', "bad_json", "-Infinity at offset 6"),
    "too large a number": (b'{"a": 1e999}', "bad_json", "out of range"),
    "5000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "bad_json", "out of range"),
    "high surrogate": (b'{"a": "\\ud800"}', "bad_json", "surrogate"),
    "high surrogate, then a letter": (b'{"a": "\\ud800\\u0041"}', "bad_json", "surrogate"),
    "low surrogate": (b'{"a": "\\udc00"}', "bad_json", "surrogate"),
    "10,000 deep, closed": (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "bad_json", "deep"),
    "10,000 deep, open": (b"[" * 10_000, "bad_json", "deep"),
    "just too deep": (b'{"a":' * 201 + b"1" + b"}" * 201, "bad_json", "more than 200 deep"),
    "two objects": (b'{"a": 1} {"b": 2}', "bad_json", "trailing"),
    "single quotes": (b"{'a': 1}", "bad_json", "malformed"),
    "raw tab in a string": (b'{"a": "b\tc"}', "bad_json", "invalid character"),
    "a list": (b"[1, 2]", "not_an_object", "an array"),
    "a number": (b"42", "not_an_object", "a number"),
    "a string": (b'"row"', "not_an_object", "a string"),
    "null": (b"null", "not_an_object", "null"),
    "a boolean": (b"true", "not_an_object", "a boolean"),
    "Latin-1": (b'{"a": "caf\xe9"}', "bad_encoding", "0xe9 at offset 10"),
    "Latin-1 in a key": (b'{"caf\xe9": 1}', "bad_encoding", "0xe9 at offset 5"),
    "surrogate in UTF-8": (b'{"a": "\xed\xa0\x80"}', "bad_encoding", "0xed"),
    "UTF-16 with a mark": ('{"a": 1}'.encode("utf-16"), "bad_encoding", "UTF-16"),
    "UTF-16, little-endian": ('{"a": 1}'.encode("utf-16-le"), "bad_encoding", "UTF-16"),
    "UTF-16, big-endian": ('{"a": 1}'.encode("utf-16-be"), "bad_encoding", "UTF-16"),
    "a key twice": (b'{"a": 1, "a": 2}', "duplicate_key", '"a" stands more than once'),
    "a key twice below": (b'{"a": [{"b": {"c": 1, "c": 1}}]}', "duplicate_key", '"c"'),
    "a key twice, escaped": (b'{"ab": 1, "a\\u0062": 2}', "duplicate_key", '"ab"'),
    "a key twice, blank before": (b'{"a" \t: 1, "a": 2}', "duplicate_key", '"a"'),
    "a key twice, hidden": (b'{"a":1,"a":"\\u0022","b":"\\u0022"}', "duplicate_key", '"a"'),
}


@pytest.mark.parametrize(("line", "reason", "words"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_refused_in_words(line: bytes, reason: str, words: str) -> None:
    """Each fault has its stable code, and says what is wrong and where."""
    refusal = read_object(line)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert words in "; ".join(refusal.detail)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b'{"a": {"a": {"a": [{"a": 1}, {"a": 2}]}}}',
        b'{"a": "\\\\", "\\\\": "a"}',
        b'{"a": "\\"a\\": 1, \\"a\\": 2"}',
        b'{"a": "\\u0022a\\u0022: 1"}',
        b'{"a": 123456789012345678901234567890}',
        b'{"a": "\\ud83d\\ude00"}',
        b'{"a": "NaN \xc3\xa9"}',
        b'{"a":' * 200 + b"1" + b"}" * 200,
    ],
)
def test_a_good_line_is_read(line: bytes) -> None:
    """Odd but sound JSON, integers past 64 bits among it, reads as the parser reads it."""
    assert read_object(line) == json.loads(line)


def test_depth_is_counted_not_guessed() -> None:
    """Many brackets side by side are not deep; an empty container is a level of its own."""
    assert not isinstance(read_object(b'{"a": [' + b"{}, " * 500 + b"[]]}"), Refusal)
    assert not is_deeper_than([[]], 2)
    assert is_deeper_than([[]], 1)
    assert is_deeper_than({"a": {}}, 1)
    assert not is_deeper_than("text", 0)


def test_a_line_with_brackets_enough_to_be_deep_is_not_vouched_for() -> None:
    """The quick check leaves such a line to the close look, which counts the depth."""
    line = b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1)
    assert not is_lossless(line, msgspec.json.decode(line))


def test_escapes_do_not_count_as_brackets() -> None:
    """A line with many escaped characters, as code has them, is vouched for at a glance."""
    line = b'{"a": "' + b'\\n\\"' * MAX_DEPTH + b'"}'
    assert is_lossless(line, msgspec.json.decode(line))


KEYS = st.text(st.sampled_from('ab:"\\{ ,é'), max_size=3)


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    """JSON in odd spellings: keys that repeat, escapes anywhere, blanks wherever they may be."""

    def blank() -> str:
        return draw(st.sampled_from(["", "", " ", "\t", " \r "]))

    def string(text: str) -> str:
        spelt = []
        for character in text:
            plain = json.dumps(character, ensure_ascii=draw(st.booleans()))[1:-1]
            spelt.append(f"\\u{ord(character):04x}" if draw(st.booleans()) else plain)
        return '"' + "".join(spelt) + '"'

    def value(depth: int) -> str:
        kind = draw(st.integers(0, 5 if depth else 3))
        if kind == 0:
            return draw(st.sampled_from(["1", "2.50", "1e5", "true", "null", "-0.0"]))
        if kind <= 3:
            return string(draw(KEYS))
        size = draw(st.integers(0, 3))
        if kind == 4:
            return "[" + f"{blank()},{blank()}".join(value(depth - 1) for _ in range(size)) + "]"
        return made(depth, size)

    def made(depth: int, size: int) -> str:
        pairs = (
            f"{blank()}{string(draw(KEYS))}{blank()}:{blank()}{value(depth - 1)}{blank()}"
            for _ in range(size)
        )
        return "{" + ",".join(pairs) + "}"

    return made(draw(st.integers(1, 3)), draw(st.integers(0, 4))).encode()


def exactly_repeats(line: bytes) -> bool:
    """The slow truth: does any object of the line hold a key twice?"""
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in pairs}) < len(pairs)

    json.loads(line, object_pairs_hook=look)
    return found


@given(json_lines())
@example(b'{"a":1,"a":"\\u0022","b":"\\u0022"}')
@example(b'{"v": ":", ":": 1, ":": 2}')
def test_no_repeated_key_slips_by(line: bytes) -> None:
    """The cheap check never vouches for an object with a key twice, however it is spelt."""
    repeats = exactly_repeats(line)
    assert bool(repeated_keys(line)) == repeats
    assert isinstance(read_object(line), Refusal) == repeats
    if repeats:
        assert not is_lossless(line, msgspec.json.decode(line))
