"""Metadata filters in SQL, with exactly the meaning of `stillhouse.vectors.filters.matches`.

A filter becomes a condition on the column ``fields`` (jsonb, ``{}`` where an item has no
metadata). Keys and values only ever travel as parameters. Every condition is true or false and
never NULL, so that NOT means what it says.

jsonb keeps numbers as decimals. A float from 2**53 on is written out as the whole number that it
is (`fields_of`), because its short spelling is another number: so whole numbers of 64 bits and
floats compare as Python compares them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from psycopg import sql

from stillhouse.vectors.filters import All, Any_, Exists, Filter, Not, OneOf, Path, Range, Scalar

Condition = tuple[sql.Composable, list[object]]

_TRUE: Final = sql.SQL("TRUE")
_FALSE: Final = sql.SQL("FALSE")
_EXACT: Final = 2.0**53
"""From here on every float is a whole number."""
_LARGE: Final = re.compile(rb"[0-9]{16}|[0-9][eE]\+?[0-9]")
_BEYOND: Final = 10**400
"""More than any number in metadata; a larger one in a filter means the same."""
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")
"""Characters that no text in the database has."""
_SIGNS: Final = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def fields_of(metadata: bytes | None) -> str:
    """Metadata (canonical JSON or None) as the column ``fields`` keeps it."""
    if metadata is None:
        return "{}"
    if _LARGE.search(metadata):
        metadata = msgspec.json.encode(_exact(msgspec.json.decode(metadata)))
    return metadata.decode()


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _exact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner) for inner in value]
    return msgspec.Raw(_number(value).encode()) if isinstance(value, float) else value


def _number(value: int | float) -> str:
    if isinstance(value, int):
        return str(max(-_BEYOND, min(value, _BEYOND)))
    return str(int(value)) if abs(value) >= _EXACT else repr(value)


def condition(filter_: Filter | None) -> Condition:
    """A filter as SQL with its parameters; without one, what is always true."""
    match filter_:
        case None:
            return _TRUE, []
        case All(clauses):
            return _joined(clauses, " AND ", _TRUE)
        case Any_(clauses):
            return _joined(clauses, " OR ", _FALSE)
        case Not(clause):
            text, values = condition(clause)
            return sql.SQL("NOT ({})").format(text), values
        case Exists(path):
            return _exists(path)
        case OneOf(path, values):
            return _one_of(path, values)
        case Range():
            return _range(filter_)


def _joined(clauses: Sequence[Filter], word: Any, empty: sql.SQL) -> Condition:
    if not clauses:
        return empty, []
    texts, values = zip(*map(condition, clauses), strict=True)
    inner = sql.SQL(word).join(sql.SQL("({})").format(text) for text in texts)
    return inner, [one for some in values for one in some]


def _exists(path: Path) -> Condition:
    """``->`` with a text descends into objects and gives NULL for anything else."""
    if _unfit(path):
        return _FALSE, []
    steps = sql.SQL("").join([sql.SQL(" -> %s::text")] * len(path))
    return sql.SQL("(fields{}) IS NOT NULL").format(steps), list(path)


def _one_of(path: Path, values: Sequence[Scalar]) -> Condition:
    """By containment, which an index on ``fields`` can answer: the value itself, or a list that
    holds it. An object within a list is not descended into, and true is not 1, there as here."""
    if _unfit(path):
        return _FALSE, []
    wanted = [
        _nested(path, spelled)
        for value in values
        if not (isinstance(value, str) and _UNFIT.search(value))
        for spelled in (_json(value), f"[{_json(value)}]")
    ]
    if not wanted:
        return _FALSE, []
    return sql.SQL("fields @> ANY(%s::text[]::jsonb[])"), [wanted]


def _range(filter_: Range) -> Condition:
    """In strict mode a jsonpath descends through objects only, and what cannot be compared
    matches nothing; strings compare by code point."""
    if _unfit(filter_.path):
        return _FALSE, []
    value, sign = filter_.value, _SIGNS[filter_.bound]
    if isinstance(value, str) and (unfit := _UNFIT.search(value)):
        # No text is equal to this one. The least text above it ends in the next fit character.
        least = "\x01" if unfit.group() == "\x00" else "\ue000"
        value, sign = value[: unfit.start()] + least, ">=" if sign[0] == ">" else "<"
    steps = "".join(f".{_json(key)}" for key in filter_.path)
    path = f"strict ${steps} ? (@ {sign} $v || exists(@[*] ? (@ {sign} $v)))"
    text = "coalesce(jsonb_path_exists(fields, %s::text::jsonpath, %s::text::jsonb, true), FALSE)"
    return sql.SQL(text), [path, f'{{"v":{_json(value)}}}']


def _unfit(path: Path) -> bool:
    return any(_UNFIT.search(key) for key in path)


def _json(value: Scalar) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    return msgspec.json.encode(value).decode()


def _nested(path: Path, spelled: str) -> str:
    return "".join(f"{{{_json(key)}:" for key in path) + spelled + "}" * len(path)
