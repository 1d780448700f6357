"""The fields of a lake whose drift can be asked, and where each stands in the evidence.

A field is a name, what kind of values it has, and how one is read from an evidence line. Only
what a field needs of a line is decoded. This module never compares anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Final, Literal, NamedTuple

import msgspec

from stillhouse.errors import UsageError

Kind = Literal["numeric", "categorical"]

Value = float | str | None
"""A number, a category, or None where the record has no such value."""

METADATA: Final = "metadata."
"""How the name of a field of the free-form bag begins."""

LONGEST_CATEGORY: Final = 80
"""Characters of a category; longer ones are cut and may become one."""


class Row(msgspec.Struct):
    """What is looked at of an evidence record."""

    timestamp: str
    text: str = ""
    model_name: str | None = None
    model_provider: str | None = None
    observer_verdict: str | None = None
    observer_confidence: float | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    validation_results: dict[str, Any] = {}
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


Read = Callable[[Row], Value]


class Field(NamedTuple):
    """One field. ``kind`` is None where only the values can tell (a metadata path); ``origin``
    says in words where it stands. ``read`` is None where the record does not hold it: a
    category is its scored run's, a source its file's."""

    kind: Kind | None
    origin: str
    read: Read | None


# ----------------------------------------------------------------------------- the table

# A letter of Chinese, Japanese or Korean stands for itself: it says about as much as a word.
_PIECE: Final = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
    r"|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|[^\w\s]"
)


# What an ASCII character is: part of a word, a blank, or a sign.
_SHAPE: Final = bytes(
    ord("a")
    if chr(code).isalnum() or code == ord("_")
    else ord(" " if chr(code).isspace() else ".")
    for code in range(128)
) + bytes(128)


def text_tokens(text: str) -> int:
    """Words and signs of a text: runs of letters and digits, every other sign by itself.

    No tokenizer is loaded. A model's tokens are more for long words and fewer for runs of
    signs; what is compared here is one text with another.
    """
    if not text.isascii():
        return len(_PIECE.findall(text))
    # The same, fifty times as fast: signs, and the places where a word begins.
    shape = b" " + text.encode().translate(_SHAPE)
    return shape.count(b".") + shape.count(b" a") + shape.count(b".a")


def _attempts(row: Row) -> Value:
    return number(row.validation_results.get("accepted_on_attempt"))


FIELDS: Final[dict[str, Field]] = {
    "text_chars": Field("numeric", "characters of `text`", lambda row: len(row.text)),
    "text_tokens": Field(
        "numeric", "words and signs of `text`, an estimate", lambda row: text_tokens(row.text)
    ),
    "latency_ms": Field("numeric", "`latency_ms`", lambda row: number(row.latency_ms)),
    "cost_usd": Field("numeric", "`cost_usd`", lambda row: number(row.cost_usd)),
    "attempts": Field(
        "numeric", "`validation_results.accepted_on_attempt` (scrum_reviews)", _attempts
    ),
    "confidence": Field(
        "numeric", "`observer_confidence`", lambda row: number(row.observer_confidence)
    ),
    "category": Field("categorical", "`category` of the scored run", None),
    "model": Field("categorical", "`model_name`", lambda row: word(row.model_name)),
    "provider": Field("categorical", "`model_provider`", lambda row: word(row.model_provider)),
    "verdict": Field("categorical", "`observer_verdict`", lambda row: word(row.observer_verdict)),
    "source": Field("categorical", "the raw log's stem", None),
}
"""Every named field. A path into the metadata (`field_named`) is one too."""


def field_named(name: str) -> Field:
    """The field of that name; ``metadata.a.b`` is a path into the free-form bag.

    Raises `UsageError`, with the nearest name and the list, for one that is none.
    """
    if name in FIELDS:
        return FIELDS[name]
    if name.startswith(METADATA) and all(name.split(".")):
        return Field(None, f"`{name}`", _metadata_reader(name.removeprefix(METADATA)))
    near = get_close_matches(name.casefold(), [*FIELDS, METADATA], n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(
        f"there is no field {name!r}",
        way_out=f"{guess} Use one of {', '.join(FIELDS)}, or metadata.PATH".strip() + ".",
    )


def _metadata_reader(path: str) -> Read:
    def read(row: Row) -> Value:
        try:
            found = _at(msgspec.json.decode(row.metadata), path)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return word(found) if isinstance(found, str | bool) else number(found)

    return read


def _at(value: Any, path: str) -> Any:
    """What stands at a path; a key that has dots in it is found whole."""
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    first, _, rest = path.partition(".")
    return _at(value.get(first), rest) if rest else None


# ------------------------------------------------------------------------------- values


def number(value: Any) -> float | None:
    """The value as a number; None for what is none, and for an integer that no float reaches.
    Infinity and NaN do not occur: JSON has none, and a number beyond floats is not decoded."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def word(value: Any) -> str | None:
    """The value as a category; None for what says nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str) or not (words := " ".join(value.split())):
        return None
    return words if len(words) <= LONGEST_CATEGORY else words[: LONGEST_CATEGORY - 1] + "…"
