"""Filters in SQL mean what `filters.matches` says (SPEC V8)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.vectors.filters import (
    All,
    Any_,
    Exists,
    Filter,
    Not,
    OneOf,
    Range,
    matches,
    parse_filter,
)

psycopg = pytest.importorskip("psycopg", reason="psycopg (extra pgvector) is not installed")

from psycopg import sql  # noqa: E402

from stillhouse.vectors.pg_filters import condition, fields_of  # noqa: E402

KEYS = ["a", "b", "a.b", "0", "-1", "it's", 'q"q', "\\", "%s", "$v", "é😀", "*", "a\x01", "last"]
EDGES = [0, -0.0, 1, 1.0, True, False, None, "", "1", "true", 2**53, 2**53 + 1, float(2**53)]
EDGES += [2**63 - 1, float(2**63), 2**63, 2**64 - 1, float(2**64), -(2**63), float(-(2**63))]
EDGES += [1e22, 1e23, 1e300, 5e-324, 0.1, 0.3, 1e-7, 1.5, "a", "a\x01", "é", "\uffff", "😀", "aé"]
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=3)
SCALARS = st.one_of(
    st.sampled_from(EDGES),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    WORDS,
)
ASKED = st.one_of(
    SCALARS,
    st.sampled_from(["a\x00", "\x00", "a\ud800b", "\udfff", 2**70, -(10**500), 10**400]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, ""]), inner, max_size=3)
    ),
    max_leaves=6,
)
METADATA = st.none() | st.dictionaries(st.sampled_from([*KEYS, ""]), VALUES, max_size=4)
PATHS = st.lists(st.sampled_from([*KEYS[:6], *KEYS, "x\x00", "\ud800"]), min_size=1, max_size=3)


def _leaves() -> st.SearchStrategy[Filter]:
    paths = PATHS.map(tuple)
    bounds = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
    ordered = ASKED.filter(lambda one: one is not None and not isinstance(one, bool))
    return st.one_of(
        st.builds(OneOf, paths, st.lists(ASKED, max_size=3).map(tuple)),
        st.builds(Range, paths, bounds, ordered),
        st.builds(Exists, paths),
    )


FILTERS: st.SearchStrategy[Filter] = st.recursive(
    _leaves(),
    lambda inner: st.one_of(
        st.builds(All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Any_, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=5,
)
_ASK = sql.SQL(
    "SELECT at FROM (SELECT at, one::jsonb AS fields FROM unnest(%s::text[])"
    " WITH ORDINALITY AS u(one, at)) AS items WHERE {} ORDER BY at"
)


@pytest.fixture(scope="module")
def connection(postgres: Any) -> Iterator[Any]:
    """A database of a real server."""
    with psycopg.connect(postgres.database(), autocommit=True) as connection:
        yield connection


def _found(connection: Any, filter_: Filter, items: list[dict[str, Any] | None]) -> list[bool]:
    where, values = condition(filter_)
    encode = msgspec.json.Encoder(order="sorted").encode
    fields = [fields_of(None if one is None else encode(one)) for one in items]
    hits = {at for (at,) in connection.execute(_ASK.format(where), [fields, *values])}
    return [at in hits for at in range(1, len(items) + 1)]


def _law(connection: Any, filter_: Filter, items: list[dict[str, Any] | None]) -> None:
    assert _found(connection, filter_, items) == [matches(filter_, one) for one in items]


@settings(max_examples=400, deadline=None)
@given(filter_=FILTERS, items=st.lists(METADATA, min_size=1, max_size=6))
def test_sql_agrees_with_the_definition(
    connection: Any, filter_: Filter, items: list[dict[str, Any] | None]
) -> None:
    """Whatever filter and metadata: the database picks what `matches` picks."""
    _law(connection, filter_, items)


@pytest.mark.soak
@settings(max_examples=5_000, deadline=None)
@given(filter_=FILTERS, items=st.lists(METADATA, min_size=1, max_size=6))
def test_sql_agrees_with_the_definition_at_length(
    connection: Any, filter_: Filter, items: list[dict[str, Any] | None]
) -> None:
    """The same law with many more examples."""
    _law(connection, filter_, items)


@pytest.mark.parametrize("bound", ["$gt", "$gte", "$lt", "$lte"])
def test_every_edge_compares_with_every_edge(connection: Any, bound: Any) -> None:
    """Ranges agree for each pair of edge values: whole numbers beyond floats, signs of zero,
    booleans, null, strings by code point, texts that no database has."""
    items: list[dict[str, Any] | None] = [{"k": one} for one in EDGES]
    items += [{"k": [one, [one], {"k": one}]} for one in EDGES]
    asked = [one for one in EDGES if one is not None and not isinstance(one, bool)]
    for value in [*asked, "a\x00", "a\ud800", "\ud800", 10**5000, -(10**5000)]:
        _law(connection, Range(("k",), bound, value), items)


def test_every_edge_equals_only_itself(connection: Any) -> None:
    """Equality agrees for each pair of edge values, in a list or not."""
    items: list[dict[str, Any] | None] = [{"k": one} for one in EDGES]
    items += [{"k": [one, [1]]} for one in EDGES] + [{"k": {"k": one}} for one in EDGES]
    for value in EDGES:
        _law(connection, OneOf(("k",), (value,)), items)


def test_a_path_descends_through_objects_only_and_a_list_spreads_once(connection: Any) -> None:
    """Objects within lists are not descended into, nor lists within lists, nor by a position."""
    items: list[dict[str, Any] | None] = [
        {"k": {"b": 5}},
        {"k": [{"b": 5}]},
        {"k": {"b": [5]}},
        {"k": {"b": [[5]]}},
        {"k": {"b": [{"b": 5}, None, "5", 5]}},
        {"k": [5]},
        {"k": [[5]]},
        {"k": {"0": 5}},
        {"k": 5},
    ]
    for path in (("k", "b"), ("k",), ("k", "0"), ("k", "b", "b"), ("k", "0", "b")):
        _law(connection, Range(path, "$gte", 5), items)
        _law(connection, OneOf(path, (5,)), items)
        _law(connection, Exists(path), items)


@pytest.mark.parametrize("hostile", ["x'; DROP TABLE t; --", '"] ? (1==1)', "%(x)s", "$$", "\\'"])
def test_hostile_keys_and_values_are_data(connection: Any, hostile: str) -> None:
    """Nothing of a filter is ever read as SQL or as a path expression."""
    items: list[dict[str, Any] | None] = [{hostile: {hostile: hostile}}, {"a": 1}, None]
    for filter_ in (
        OneOf((hostile, hostile), (hostile,)),
        Range((hostile, hostile), "$gte", hostile),
        Exists((hostile, hostile)),
    ):
        assert _found(connection, filter_, items) == [True, False, False]


def test_a_filter_at_its_limits_is_answered(connection: Any) -> None:
    """A thousand clauses, and nesting as deep as the limits allow."""
    wide = parse_filter({"$or": [{"a": at} for at in range(999)]})
    deep: dict[str, Any] = {"a": 1}
    for _ in range(31):
        deep = {"$not": deep}
    items: list[dict[str, Any] | None] = [{"a": 998}, {"a": 999}, {"a": 1}, None]
    _law(connection, wide, items)
    _law(connection, parse_filter(deep), items)


def test_fields_are_the_metadata_but_for_the_spelling_of_large_floats() -> None:
    """Only a float that is a whole number beyond 2**53 is written out."""
    assert fields_of(None) == "{}"
    assert fields_of(b'{"a":1.5,"b":"1e9"}') == '{"a":1.5,"b":"1e9"}'
    assert json.loads(fields_of(b'{"a":[1e23],"b":9007199254740993}')) == {
        "a": [99999999999999991611392],
        "b": 9007199254740993,
    }
