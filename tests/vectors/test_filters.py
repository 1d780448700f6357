"""Filters (SPEC V8): their JSON form means one thing; what is none is refused by its field."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.errors import VectorLimitError, VectorRequestError
from stillhouse.vectors.filters import (
    All,
    Any_,
    Exists,
    Not,
    OneOf,
    Range,
    matches,
    parse_filter,
    parse_path,
)
from stillhouse.vectors.limits import Limits
from tests.vectors import model

# ---------------------------------------------------------------------------- any filter

keys = st.sampled_from(["a", "b", "a.b", "$a", "a\\b", "é", "😀"])
numbers = (
    st.sampled_from(
        [0, 1, -1, 2**53, 2**53 + 1, 2**64 - 1, -(2**63), 1.0, -0.0, 0.5, 1e300, 5e-324]
    )
    | st.integers(-3, 3)
    | st.floats(-3, 3)
)
texts = st.sampled_from(["", "a", "b", "1", "true", "é", "e\u0301", "\uffee", "😀"])
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
rows = st.none() | st.dictionaries(keys, values, max_size=3)


def written(path: list[str]) -> str:
    """A path as a filter names it."""
    parts = [key.replace("\\", "\\\\").replace(".", "\\.") for key in path]
    text = ".".join(parts)
    return "\\" + text if text.startswith("$") else text


paths = st.lists(keys, min_size=1, max_size=2).map(written)
bounds = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
conditions = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), scalars),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(bounds, numbers | texts),
).map(lambda pair: {pair[0]: pair[1]})
fields = st.dictionaries(paths, scalars | conditions, max_size=2)
filters = st.recursive(
    fields,
    lambda inner: st.one_of(
        st.builds(lambda one: {"$not": one}, inner),
        st.builds(lambda many: {"$and": many}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda many: {"$or": many}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)
always = settings(max_examples=150, derandomize=True, database=None, deadline=None)


@always
@given(filters, st.lists(rows, min_size=1, max_size=6))
def test_a_filter_means_what_its_json_form_says(filter_: dict[str, Any], rows: list[Any]) -> None:
    """What is parsed holds exactly where a plain reading of the JSON holds."""
    parsed = parse_filter(filter_)
    for row in rows:
        assert matches(parsed, row) is model.holds(filter_, row)


@always
@given(filters, filters, rows)
def test_not_and_or_are_those_of_logic(one: Any, other: Any, row: Any) -> None:
    """A filter or its opposite holds, never both; De Morgan's laws hold."""

    def holds(filter_: Any) -> bool:
        return matches(parse_filter(filter_), row)

    assert holds({"$not": one}) is not holds(one)
    assert holds({"$not": {"$not": one}}) is holds(one)
    both, either = {"$and": [one, other]}, {"$or": [one, other]}
    assert holds({"$not": both}) is holds({"$or": [{"$not": one}, {"$not": other}]})
    assert holds({"$not": either}) is holds({"$and": [{"$not": one}, {"$not": other}]})
    assert holds(both) is (holds(one) and holds(other))
    assert holds(either) is (holds(one) or holds(other))


@always
@given(paths, scalars, rows)
def test_ne_and_nin_are_the_opposites_of_eq_and_in(path: str, value: Any, row: Any) -> None:
    """Also where the field is missing; $in of one value is $eq; of none it holds nowhere."""

    def holds(condition: Any) -> bool:
        return matches(parse_filter({path: condition}), row)

    assert holds({"$ne": value}) is not holds({"$eq": value})
    assert holds({"$nin": [value]}) is not holds({"$in": [value]})
    assert holds({"$in": [value]}) is holds({"$eq": value})
    assert not holds({"$in": []})
    assert holds({"$nin": []})
    assert holds({"$exists": True}) is not holds({"$exists": False})


# ---------------------------------------------------------------------------- one by one

EQUAL: tuple[tuple[Any, Any, bool], ...] = (
    (1, 1, True),
    (1, 1.0, True),
    (1, True, False),
    (0, False, False),
    (True, 1, False),
    (True, True, True),
    (True, False, False),
    (None, None, True),
    (None, False, False),
    (None, 0, False),
    (0.0, -0.0, True),
    (0, -0.0, True),
    (2**53 + 1, float(2**53), False),
    (2**53, float(2**53), True),
    (2**64 - 1, 1.8446744073709552e19, False),
    ("1", 1, False),
    ("é", "e\u0301", False),
    ("A", "a", False),
    ("", "", True),
    ([], None, False),
    ([1, "b"], 1, True),
    ([1, "b"], "b", True),
    ([True], 1, False),
    ([[1]], 1, False),
    ({"b": 1}, 1, False),
)


@pytest.mark.parametrize(("found", "wanted", "equal"), EQUAL)
def test_values_are_equal_by_type_and_number(found: Any, wanted: Any, equal: bool) -> None:
    """Numbers by number, booleans and null only to themselves, text by code point, a list where
    an element is, as $eq, in $in, and without an operator."""
    for condition in (wanted, {"$eq": wanted}, {"$in": ["none", wanted]}):
        assert matches(parse_filter({"a": condition}), {"a": found}) is equal
    assert matches(parse_filter({"a": {"$ne": wanted}}), {"a": found}) is not equal


RANGES: tuple[tuple[Any, str, Any, bool], ...] = (
    (2, "$gt", 1, True),
    (1, "$gt", 1, False),
    (1, "$gte", 1.0, True),
    (1, "$lt", 1.5, True),
    (1, "$lt", 1, False),
    (1, "$lte", 1, True),
    (2**53 + 1, "$gt", float(2**53), True),
    (True, "$gte", 0, False),
    (None, "$gte", 0, False),
    ("1", "$gte", 0, False),
    (1, "$gte", "", False),
    ("b", "$gt", "a", True),
    ("😀", "$gt", "\uffee", True),
    ([1, 9], "$gt", 5, True),
    ([1, 9], "$lt", 0, False),
    ([[9]], "$gt", 5, False),
    ({"b": 9}, "$gt", 5, False),
    ([], "$gte", 0, False),
)


@pytest.mark.parametrize(("found", "bound", "wanted", "holds"), RANGES)
def test_ranges_compare_like_with_like(found: Any, bound: str, wanted: Any, holds: bool) -> None:
    """Numbers with numbers, text with text by code point (not by UTF-16), and nothing else."""
    assert matches(parse_filter({"a": {bound: wanted}}), {"a": found}) is holds
    assert not matches(parse_filter({"a": {bound: wanted}}), None)


def test_what_is_parsed_is_told_by_structs() -> None:
    """The forms that backends meet: several fields and operators are clauses of one All."""
    assert parse_filter({}) == All(())
    assert parse_filter({"a": 1}) == OneOf(("a",), (1,))
    assert parse_filter({"a.b": {"$gt": 1, "$exists": True}}) == All(
        (Range(("a", "b"), "$gt", 1), Exists(("a", "b")))
    )
    assert parse_filter({"$or": [{"a": 1}, {"$not": {"b": {"$in": [2, 3]}}}]}) == Any_(
        (OneOf(("a",), (1,)), Not(OneOf(("b",), (2, 3))))
    )


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a\\.b", ("a.b",)),
        ("a\\\\.b", ("a\\", "b")),
        ("a\\b", ("a\\b",)),
        ("a\\", ("a\\",)),
        ("\\$a", ("$a",)),
        ("\\\\$a", ("\\$a",)),
        ("a.$b", ("a", "$b")),
        ("a\\$b", ("a\\$b",)),
        (" ", (" ",)),
    ],
)
def test_a_path_reaches_every_key(key: str, path: tuple[str, ...]) -> None:
    """Dots descend; a backslash makes a dot, a backslash or the first dollar part of the key."""
    assert parse_path(key, "filter") == path
    row: Any = "here"
    for part in reversed(path):
        row = {part: row}
    assert matches(parse_filter({key: "here"}), row)


def test_a_long_path_is_read_in_one_pass() -> None:
    """A key of a megabyte is a path like others."""
    assert parse_path("a" * 1_000_000 + ".b", "filter") == ("a" * 1_000_000, "b")


class Level(enum.IntEnum):
    """A number of somebody's own."""

    HIGH = 2


class Colour(str):
    """A text of somebody's own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "the colour red"


def test_values_of_other_types_become_plain_ones() -> None:
    """A backend meets exact str, int and float only, whatever derives from them."""
    given: list[Any] = [Level.HIGH, Colour("red"), np.float64(0.5), np.str_("x")]
    parsed = parse_filter({"a": {"$in": given}})
    assert isinstance(parsed, OneOf)
    assert parsed.values == (2, "red", 0.5, "x")
    assert [type(value) for value in parsed.values] == [int, str, float, str]


# ------------------------------------------------------------------------------ refusals

REFUSED: tuple[tuple[Any, str, str], ...] = (
    (None, "filter", "must be an object"),
    ([], "filter", "must be an object"),
    ("a", "filter", "must be an object"),
    ({1: 2}, "filter", "no string"),
    ({"$xor": []}, "filter.$xor", "is no operator here"),
    ({"$a": 1}, "filter.$a", "is no operator here"),
    ({"$and": []}, "filter.$and", "at least one"),
    ({"$or": {}}, "filter.$or", "must be a list"),
    ({"$or": [1]}, "filter.$or[0]", "must be an object"),
    ({"$not": [{}]}, "filter.$not", "must be an object"),
    ({"$or": [{}, {"a": {"$like": "x"}}]}, "filter.$or[1].a.$like", "known are $eq"),
    ({"a": {}}, "filter.a", "names no operator"),
    ({"a": {"b": 1}}, "filter.a.b", "is no operator"),
    ({"a": {1: 1}}, "filter.a.1", "is no operator"),
    ({"a": {"$eq": [1]}}, "filter.a.$eq", "must be a string"),
    ({"a": [1]}, "filter.a", "must be a string"),
    ({"a": {"$in": 1}}, "filter.a.$in", "must be a list"),
    ({"a": {"$in": [1, {}]}}, "filter.a.$in[1]", "must be a string"),
    ({"a": {"$exists": 1}}, "filter.a.$exists", "true or false"),
    ({"a": {"$exists": None}}, "filter.a.$exists", "true or false"),
    ({"a": {"$gt": True}}, "filter.a.$gt", "a number or a string"),
    ({"a": {"$gt": None}}, "filter.a.$gt", "a number or a string"),
    ({"a": {"$lt": [1]}}, "filter.a.$lt", "a number or a string"),
    ({"a": float("nan")}, "filter.a", "finite"),
    ({"a": {"$gt": float("inf")}}, "filter.a.$gt", "finite"),
    ({"a": 2**64}, "filter.a", "64 bits"),
    ({"a": {"$lt": -(2**63) - 1}}, "filter.a.$lt", "64 bits"),
    ({"a": 10**5_000}, "filter.a", "64 bits"),
    ({"a": "\ud800"}, "filter.a", "no valid Unicode"),
    ({"a": {"$in": ["x", "\0"]}}, "filter.a.$in[1]", "NUL"),
    ({"\ud800": 1}, "filter", "no valid Unicode"),
    ({"a\0": 1}, "filter", "NUL"),
    ({"": 1}, "filter.", "empty part"),
    ({"a..b": 1}, "filter.a..b", "empty part"),
    ({"a.": 1}, "filter.a.", "empty part"),
    ({"a": object()}, "filter.a", "must be a string"),
    ({"a": b"x"}, "filter.a", "must be a string"),
)


@pytest.mark.parametrize(("filter_", "field", "words"), REFUSED)
def test_what_is_no_filter_is_refused_by_its_field(filter_: Any, field: str, words: str) -> None:
    """The code is invalid_filter, and the error is text that can be sent."""
    with pytest.raises(VectorRequestError) as refused:
        parse_filter(filter_)
    ((told, detail),) = refused.value.problems
    assert (told, refused.value.code) == (field, "invalid_filter")
    assert words in detail
    str(refused.value).encode()


def test_a_strange_operator_or_long_key_is_told_in_short() -> None:
    """Whatever stands in a key does not come back whole, nor as text that cannot be sent."""
    for filter_ in ({"a": {"\ud800": 1}}, {"a": {"$" + "x" * 10_000: 1}}, {"$" + "x" * 10_000: 1}):
        with pytest.raises(VectorRequestError) as refused:
            parse_filter(filter_)
        assert len(str(refused.value).encode()) < 500


def _nested(levels: int) -> Any:
    filter_: Any = {"a": 1}
    for _ in range(levels):
        filter_ = {"$not": filter_}
    return filter_


def test_fields_are_limited() -> None:
    """The first filter on a field reads all metadata, so one filter has not too many; the same
    field again is none more."""
    limits = Limits(filter_fields=3)
    parse_filter({"a": 1, "$or": [{"b": 1}, {"c.d": {"$gt": 1, "$lt": 2}}, {"a": 2}]}, limits)
    with pytest.raises(VectorLimitError, match="more than 3 fields") as refused:
        parse_filter({"a": 1, "$or": [{"b": 1}, {"c": 1}, {"c.d": 1}]}, limits)
    assert refused.value.problems[0][0] == "filter.$or[2].c.d"


def test_too_deep_and_too_many_are_limits() -> None:
    """10,000 levels or clauses end in a refusal that names the limit; what is just within the
    limits is taken."""
    limits = Limits(filter_depth=5, filter_clauses=10)
    parse_filter(_nested(4), limits)
    deep = [_nested(5), _nested(10_000), {"$and": [{"$or": [_nested(3)]}]}]
    for filter_ in deep:
        with pytest.raises(VectorLimitError, match="more than 5 levels deep") as refused:
            parse_filter(filter_, limits)
        assert refused.value.code == "limit_exceeded"
    parse_filter({"a": {"$in": list(range(8))}}, limits)
    parse_filter({"$or": [{}] * 9}, limits)
    many: list[Any] = [
        {"a": {"$in": list(range(9))}},
        {"a": {"$in": list(range(10_000))}},
        {"$or": [{"a": 1}] * 10},
        {"$or": [{}] * 10},
        {"$and": [{}] * 1_000_000},
        {f"a{at}": 1 for at in range(11)},
        {"a": {"$gt": 1, "$lt": 2}, "b": {"$in": list(range(7))}},
    ]
    for filter_ in many:
        with pytest.raises(VectorLimitError, match="more than 10 clauses"):
            parse_filter(filter_, limits)
