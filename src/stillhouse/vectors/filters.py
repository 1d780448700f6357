"""Metadata filters (SPEC V8): their JSON form, what it means, and a plain way to evaluate it.

    {"lang": "en"}                                  equality
    {"year": {"$gte": 2020, "$lt": 2024}}           range
    {"lang": {"$in": ["en", "de"]}}                 one of
    {"source.url": {"$exists": true}}               presence; a dot descends into objects
    {"$or": [{"lang": "en"}, {"$not": {"draft": true}}]}

Several fields in one object, and several operators on one field, must all hold. `$ne` and
`$nin` are `$not` of `$eq` and `$in`, so they hold where the field is missing. A list matches
where one of its elements does. Numbers compare as numbers (1 equals 1.0), booleans and null
equal only themselves; a range compares numbers with numbers, strings with strings by code point,
and holds for nothing else. A dot that belongs to a key is written ``\\.``, a dollar that a key
begins with ``\\$``.

Text and whole numbers in a filter are such as metadata may hold: valid Unicode without NUL, and
64 bits.

Every backend gives the answer that `matches` gives; `matches` is the definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any, Final, Literal, TypeAlias

import msgspec

from stillhouse.errors import VectorLimitError, VectorRequestError
from stillhouse.vectors.limits import Limits

Scalar: TypeAlias = str | int | float | bool | None
Path: TypeAlias = tuple[str, ...]
Bound = Literal["$gt", "$gte", "$lt", "$lte"]


class OneOf(msgspec.Struct, frozen=True):
    """The value at ``path`` equals one of ``values``."""

    path: Path
    values: tuple[Scalar, ...]


class Range(msgspec.Struct, frozen=True):
    """The value at ``path`` lies on the right side of a number or a string."""

    path: Path
    bound: Bound
    value: str | int | float


class Exists(msgspec.Struct, frozen=True):
    """There is a value at ``path``; null is one."""

    path: Path


class All(msgspec.Struct, frozen=True):
    """Every clause holds; with no clauses it always does."""

    clauses: tuple[Filter, ...]


class Any_(msgspec.Struct, frozen=True):
    """At least one clause holds."""

    clauses: tuple[Filter, ...]


class Not(msgspec.Struct, frozen=True):
    """The clause does not hold."""

    clause: Filter


Filter: TypeAlias = OneOf | Range | Exists | All | Any_ | Not

LEAST_INT: Final = -(2**63)
MOST_INT: Final = 2**64 - 1
"""Whole numbers of metadata lie between these, whatever keeps them."""

_TOLD: Final = 100
"""Characters of a key that an error tells."""
_BOUNDS: Final[tuple[Bound, ...]] = ("$gt", "$gte", "$lt", "$lte")
COMPARE: Final[dict[Bound, Callable[[Any, Any], bool]]] = {
    "$gt": lambda left, right: left > right,
    "$gte": lambda left, right: left >= right,
    "$lt": lambda left, right: left < right,
    "$lte": lambda left, right: left <= right,
}


# ------------------------------------------------------------------------------- parsing


def parse_filter(value: object, limits: Limits | None = None, field: str = "filter") -> Filter:
    """The filter that a JSON value means.

    Raises `VectorRequestError` naming the field, or `VectorLimitError` when it has too many
    clauses or fields, or is nested too deeply.
    """
    return _Parser(limits or Limits()).filter(value, field, 1)


class _Parser:
    """Counts clauses and fields over a whole filter, however they are nested."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._clauses = 0
        self._fields: set[Path] = set()

    def filter(self, value: object, field: str, depth: int) -> Filter:
        if depth > self._limits.filter_depth:
            raise VectorLimitError(
                [(field, f"is nested more than {self._limits.filter_depth} levels deep")]
            )
        if not isinstance(value, dict):
            raise _refused(field, "must be an object")
        if not value:
            self._count(field)
        clauses = [
            clause
            for key, inner in value.items()
            for clause in self._entry(key, inner, field, depth)
        ]
        return clauses[0] if len(clauses) == 1 else All(tuple(clauses))

    def _entry(self, key: object, value: object, field: str, depth: int) -> Iterator[Filter]:
        if not isinstance(key, str):
            raise _refused(field, "has a key that is no string")
        if problem := text_problem(key):
            raise _refused(field, f"has a key that {problem}")
        here = f"{field}.{key[:_TOLD]}"
        self._count(here)
        if key in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                raise _refused(here, "must be a list of at least one filter")
            within = tuple(
                self.filter(one, f"{here}[{at}]", depth + 1) for at, one in enumerate(value)
            )
            yield All(within) if key == "$and" else Any_(within)
        elif key == "$not":
            yield Not(self.filter(value, here, depth + 1))
        elif key.startswith("$"):
            raise _refused(here, "is no operator here; known are $and, $or, $not")
        else:
            path = parse_path(key, here)
            self._fields.add(path)
            if len(self._fields) > self._limits.filter_fields:
                most = self._limits.filter_fields
                raise VectorLimitError([(here, f"is one of more than {most} fields")])
            if isinstance(value, dict):
                if not value:
                    raise _refused(here, "names no operator")
                for operator, operand in value.items():
                    self._count(here)
                    yield self._condition(path, operator, operand, _under(here, operator))
            else:
                yield OneOf(path, (_scalar(value, here),))

    def _condition(self, path: Path, operator: object, operand: object, field: str) -> Filter:
        if operator in ("$eq", "$ne"):
            equal = OneOf(path, (_scalar(operand, field),))
            return equal if operator == "$eq" else Not(equal)
        if operator in ("$in", "$nin"):
            if not isinstance(operand, list):
                raise _refused(field, "must be a list")
            self._count(field, len(operand))
            among = OneOf(
                path, tuple(_scalar(one, f"{field}[{at}]") for at, one in enumerate(operand))
            )
            return among if operator == "$in" else Not(among)
        if operator == "$exists":
            if not isinstance(operand, bool):
                raise _refused(field, "must be true or false")
            return Exists(path) if operand else Not(Exists(path))
        for bound in _BOUNDS:
            if operator == bound:
                if isinstance(operand, bool) or not isinstance(operand, str | int | float):
                    raise _refused(field, "must be a number or a string")
                limit = _scalar(operand, field)
                assert isinstance(limit, str | int | float)
                return Range(path, bound, limit)
        known = "$eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, $exists"
        raise _refused(field, f"is no operator; known are {known}")

    def _count(self, field: str, more: int = 1) -> None:
        self._clauses += more
        if self._clauses > self._limits.filter_clauses:
            raise VectorLimitError(
                [(field, f"makes more than {self._limits.filter_clauses} clauses")]
            )


def parse_path(key: str, field: str) -> Path:
    """The keys that a dotted path descends through."""
    parts: list[list[str]] = [[]]
    signs = iter(key[1:] if key.startswith("\\$") else key)
    for sign in signs:
        if sign == ".":
            parts.append([])
        elif sign == "\\":
            after = next(signs, "")
            parts[-1].append(after if after and after in ".\\" else sign + after)
        else:
            parts[-1].append(sign)
    if not all(parts):
        raise _refused(field, "is a path with an empty part")
    return tuple("".join(part) for part in parts)


def _under(field: str, operator: object) -> str:
    """The field of an operator, in text that can be told whatever it is."""
    known = isinstance(operator, str) and not text_problem(operator)
    return f"{field}.{operator if known else repr(operator)}"[: len(field) + _TOLD]


def _scalar(value: object, field: str) -> Scalar:
    """A value as a plain one: what numpy and enumerations make of str, int and float is not."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if problem := text_problem(value):
            raise _refused(field, problem)
        return str.__str__(value)
    if isinstance(value, int):
        if not LEAST_INT <= value <= MOST_INT:
            raise _refused(field, "is a whole number beyond 64 bits")
        return int(value)
    if isinstance(value, float) and isfinite(value):
        return float(value)
    raise _refused(field, "must be a string, a finite number, true, false or null")


def text_problem(text: str) -> str:
    """Why metadata cannot hold this text; empty when it can."""
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return "has text that is no valid Unicode"
    return "has a NUL character in it" if "\x00" in text else ""


def _refused(field: str, detail: str) -> VectorRequestError:
    return VectorRequestError([(field, detail)], code="invalid_filter")


# ---------------------------------------------------------------------------- evaluating


def matches(filter_: Filter, metadata: dict[str, Any] | None) -> bool:
    """Whether an item with this metadata passes. An item without metadata has no fields."""
    match filter_:
        case All(clauses):
            return all(matches(clause, metadata) for clause in clauses)
        case Any_(clauses):
            return any(matches(clause, metadata) for clause in clauses)
        case Not(clause):
            return not matches(clause, metadata)
        case Exists(path):
            return bool(values_at(metadata, path, spread=False))
        case OneOf(path, values):
            wanted = {value_key(value) for value in values}
            return any(value_key(value) in wanted for value in values_at(metadata, path))
        case Range(path, bound, value):
            kind = order_kind(value)
            compare = COMPARE[bound]
            return any(
                order_kind(found) == kind and compare(found, value)
                for found in values_at(metadata, path)
            )


def values_at(metadata: dict[str, Any] | None, path: Path, *, spread: bool = True) -> list[Any]:
    """What stands at a path: nothing, a value, or with ``spread`` the elements of a list. A path
    descends through objects only."""
    found: Any = metadata
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return []
        found = found[key]
    return found if spread and isinstance(found, list) else [found]


def value_key(value: object) -> object:
    """What two values have in common exactly when they are equal to a filter; an object or a
    list within a list equals nothing."""
    if isinstance(value, bool) or value is None:
        return (type(value), value)
    return value if isinstance(value, str | int | float) else object()


def order_kind(value: object) -> str:
    """With what a value compares in a range: numbers, strings, or nothing ("")."""
    if isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else ""
