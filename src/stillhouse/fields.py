"""Naming everything that is wrong with the fields of a row, for a person mending a log.

Runs only for rows that are refused, speaks of JSON's types and not of Python's, and never
changes what it is given.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

_MOST_PROBLEMS: Final = 100
"""Problems that are named of one list or object: a huge one may be wrong in every item."""

_LONGEST: Final = 60


def field_problems(
    row: Mapping[str, Any], kind: type[msgspec.Struct], at: str = ""
) -> tuple[list[str], dict[str, Any]]:
    """Convert a row field by field: all type problems, and the values that were fine.

    msgspec stops at a row's first problem; a person mending a log wants all of them.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    hints = hints_of(kind)
    for field in fields_of(kind):
        name = f"{at}{field.encode_name}"
        if field.encode_name not in row:
            if field.required:
                problems.append(f"{name}: is missing")
            continue
        value, hint = row[field.encode_name], hints[field.name]
        try:
            values[field.name] = msgspec.convert(value, hint)
        except (msgspec.ValidationError, RecursionError) as error:
            problems += _value_problems(name, value, hint, error)
    return problems, values


def _value_problems(name: str, value: Any, hint: Any, error: Exception) -> list[str]:
    """What is wrong with a value that is not of its type: of its parts, where it has parts."""
    options = _options(hint)
    for option in options:
        if isinstance(value, dict) and _is_struct(option):
            return field_problems(value, option, f"{name}.")[0]
        problems = _part_problems(_parts(name, value, option), option)
        if first := list(islice(problems, _MOST_PROBLEMS)):
            return first
    return [f"{name}: {_off(value, options) or _short(error)}"]


def _parts(name: str, value: Any, option: Any) -> Iterator[tuple[str, Any]]:
    """The named items of a value that is a list or an object where one may stand."""
    if isinstance(value, dict) and get_origin(option) is dict:
        yield from ((f"{name}.{key}", item) for key, item in value.items())
    elif isinstance(value, list) and get_origin(option) is list:
        yield from ((f"{name}[{number}]", item) for number, item in enumerate(value))


def _part_problems(parts: Iterable[tuple[str, Any]], option: Any) -> Iterator[str]:
    for name, item in parts:
        hint = get_args(option)[-1]
        try:
            msgspec.convert(item, hint)
        except (msgspec.ValidationError, RecursionError) as error:
            yield from _value_problems(name, item, hint, error)


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_struct(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


@functools.cache
def fields_of(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """A struct's fields. msgspec works them out anew at every call, which takes 2 ms."""
    return msgspec.structs.fields(kind)


@functools.cache
def hints_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The types of a struct's fields by name."""
    return get_type_hints(kind)


# ------------------------------------------------------------------------------- words


def json_type(value: object) -> str:
    """What JSON calls a value's type, with its article, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"


def shown(value: object) -> str:
    """A refused value as the log spells it, cut where it is long."""
    if isinstance(value, list | dict):
        return json_type(value)
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


_TYPE_WORDS: Final[Mapping[Any, tuple[str, ...]]] = {
    bool: ("true", "false"),
    dict: ("an object",),
    float: ("a number",),
    int: ("a whole number",),
    list: ("an array",),
    str: ("a string",),
    NoneType: ("null",),
}


def _off(value: object, options: tuple[Any, ...]) -> str:
    """What should stand where a value of none of these types stands; empty where the value's
    type is not what is wrong with it."""
    vocabulary = [str(word) for option in options if _is_words(option) for word in get_args(option)]
    if vocabulary and isinstance(value, str):
        return f"{shown(value)} is none of {', '.join(vocabulary)}"
    wanted: list[str] = []
    for option in options:
        plain = dict if _is_struct(option) else str if _is_words(option) else option
        wanted += _TYPE_WORDS.get(get_origin(plain) or plain, ())
    if "a number" in wanted and "a whole number" in wanted:
        wanted.remove("a whole number")
    got = json_type(value)
    if got in wanted or not wanted or (got == "a boolean" and "true" in wanted):
        return ""
    if isinstance(value, float):
        got = shown(value)
    *others, last = sorted(wanted, key=lambda words: words == "null")
    expected = f"{', '.join(others)} or {last}" if others else last
    return f"expected {expected}, got {got}"


def _is_words(hint: Any) -> bool:
    return get_origin(hint) is Literal


def _short(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    words = str(error)
    return words if words[:2].isupper() else words[:1].lower() + words[1:]
