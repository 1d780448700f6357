"""The fields of a lake: what each reads, and what it does not take for a value."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.drift.fields import (
    _PIECE,
    FIELDS,
    LONGEST_CATEGORY,
    Row,
    Value,
    field_named,
    text_tokens,
)
from stillhouse.errors import UsageError
from stillhouse.records import encode
from tests.exports.made import evidence


def value_of(name: str, **fields: Any) -> Value:
    """What a field reads from an evidence line."""
    read = field_named(name).read
    assert read is not None
    return read(msgspec.json.decode(encode(evidence(**fields)), type=Row))


@pytest.mark.parametrize(
    ("name", "fields", "value"),
    [
        ("text_chars", {"text": "naïve ☂"}, 7),
        ("text_chars", {"text": ""}, 0),
        ("text_tokens", {"text": "It's 3.2 km."}, 8),
        ("latency_ms", {"latency_ms": 5310.5}, 5310.5),
        ("latency_ms", {}, None),
        ("cost_usd", {"cost_usd": 0.0}, 0.0),
        ("attempts", {"validation_results": {"accepted_on_attempt": 3}}, 3),
        ("attempts", {"validation_results": {"accepted_on_attempt": None}}, None),
        ("attempts", {"validation_results": {"accepted_on_attempt": True}}, None),
        ("attempts", {}, None),
        ("confidence", {"observer_confidence": 0.7}, 0.7),
        ("model", {"model_name": "wren-7b"}, "wren-7b"),
        ("model", {"model_name": "  "}, None),
        ("provider", {"model_provider": "local"}, "local"),
        ("verdict", {"observer_verdict": "cycle"}, "cycle"),
        ("verdict", {"observer_verdict": None}, None),
        ("metadata.trial", {"metadata": {"trial": 2}}, 2.0),
        ("metadata.trial", {"metadata": {}}, None),
        ("metadata.a.b", {"metadata": {"a": {"b": 1.5}}}, 1.5),
        ("metadata.a.b", {"metadata": {"a.b": 2}}, 2.0),
        ("metadata.a.b", {"metadata": {"a": [1, 2]}}, None),
        ("metadata.a.b", {"metadata": {"a": None}}, None),
        ("metadata.a", {"metadata": {"a": {"b": 1}}}, None),
        ("metadata.a", {"metadata": {"a": True}}, "true"),
        ("metadata.a", {"metadata": {"a": "2.14"}}, "2.14"),
        ("metadata.a", {"metadata": {"a": 10**400}}, None),
    ],
)
def test_what_a_field_reads(name: str, fields: dict[str, Any], value: Value) -> None:
    """A number, a category, or nothing; a truth value is a category, a huge integer nothing."""
    assert value_of(name, **fields) == value


def test_a_number_beyond_floats_is_no_value() -> None:
    """JSON may hold 1e999, which no float is."""
    read = field_named("metadata.a").read
    assert read is not None
    row = msgspec.json.decode(b'{"timestamp": "", "metadata": {"a": 1e999}}', type=Row, strict=True)
    assert read(row) is None


def test_a_long_category_is_cut() -> None:
    """Free text asked for as a category takes bounded memory."""
    value = value_of("metadata.a", metadata={"a": "word " * 99})
    assert isinstance(value, str)
    assert len(value) == LONGEST_CATEGORY
    assert value.endswith("…")


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("text_char", "Did you mean text_chars?"),
        ("Latency_MS", "Did you mean latency_ms?"),
        ("metadata", "Did you mean metadata.?"),
        ("zzz", ""),
        ("metadata.", ""),
        ("metadata.a..b", ""),
    ],
)
def test_an_unknown_field_names_the_near_one_and_all(name: str, guess: str) -> None:
    """One line with the nearest field and the list."""
    with pytest.raises(UsageError) as caught:
        field_named(name)
    line = str(caught.value)
    assert line.startswith(f"there is no field {name!r}.")
    assert guess in line
    assert all(field in line for field in FIELDS)
    assert line.endswith("or metadata.PATH.")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("  \n", 0),
        ("two words", 2),
        ("a_b c1", 2),
        ("f(x)=1;", 7),
        ("naïve café", 2),
        ("東京タワー", 5),
        ("in 東京.", 4),
        ("서울 시", 3),
    ],
)
def test_words_and_signs_of_a_text(text: str, count: int) -> None:
    """Runs of letters and digits, every sign, and every letter of a script without blanks."""
    assert text_tokens(text) == count


@given(st.text(st.characters(max_codepoint=127)))
def test_the_fast_count_is_the_plain_one(text: str) -> None:
    """Text in ASCII is counted another way, with the same result."""
    assert text_tokens(text) == len(re.findall(_PIECE, text))
