"""Columns of metadata: they answer as looking at every row does."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.vectors.columns import Columns, GrowingColumns
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

_BIG = 2**53
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 2, -1, _BIG, _BIG + 1, -_BIG - 1, 2**63, 2**64 - 1]),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, float(_BIG), 1e300, -2.5]),
    st.sampled_from(["", "a", "ab", "b", "ä", "\U0001f600", "￿", "1"]),
)
_VALUES = st.one_of(
    _SCALARS,
    st.lists(st.one_of(_SCALARS, st.just([1]), st.just({"x": 1})), max_size=3),
    st.dictionaries(st.sampled_from("xy"), _SCALARS, max_size=2),
)
_ROWS = st.lists(
    st.one_of(st.none(), st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3)), max_size=12
)
_PATHS = st.sampled_from([("a",), ("b",), ("c",), ("a", "x"), ("b", "y"), ("nowhere",)])
_BOUNDS = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
_ORDERED = _SCALARS.filter(lambda one: one is not None and not isinstance(one, bool))
_LEAVES = st.one_of(
    st.builds(OneOf, _PATHS, st.lists(_SCALARS, max_size=3).map(tuple)),
    st.builds(Range, _PATHS, _BOUNDS, _ORDERED),
    st.builds(Exists, _PATHS),
)
_FILTERS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Any_, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


def _encoded(rows: list[Any]) -> list[bytes | None]:
    return [None if row is None else msgspec.json.encode(row) for row in rows]


def _by_looking(rows: list[Any], filter_: Filter) -> list[int]:
    return [at for at, row in enumerate(rows) if matches(filter_, row)]


@settings(max_examples=400, deadline=None)
@given(_ROWS, st.lists(_FILTERS, min_size=1, max_size=4))
def test_columns_answer_as_the_definition_does(rows: list[Any], filters: list[Filter]) -> None:
    """Whatever the metadata and the filter, the rows are those of `matches`, ascending."""
    columns = Columns(len(rows), lambda: _encoded(rows))
    for filter_ in filters:
        assert columns.select(filter_).tolist() == _by_looking(rows, filter_)


@settings(max_examples=400, deadline=None)
@given(_ROWS, st.lists(st.tuples(_FILTERS, st.integers(0, 12)), min_size=1, max_size=4))
def test_growing_columns_answer_for_any_length(
    rows: list[Any], asked: list[tuple[Filter, int]]
) -> None:
    """A filter over the first rows is right, whatever was asked before of more or fewer."""
    columns = GrowingColumns(_encoded(rows))
    for filter_, count in asked:
        count = min(count, len(rows))
        assert columns.select(filter_, count).tolist() == _by_looking(rows[:count], filter_)


def test_rows_added_later_are_found() -> None:
    """A column that was asked for already learns of rows that are appended."""
    rows = _encoded([{"a": 1}, {"a": [2, 2]}])
    columns = GrowingColumns(rows)
    two = parse_filter({"a": 2})
    assert columns.select(two, 2).tolist() == [1]
    rows += _encoded([None, {"a": 2}])
    assert columns.select(two, 4).tolist() == [1, 3]
    assert columns.select(two, 2).tolist() == [1]
    assert columns.select(Not(two), 4).tolist() == [0, 2]


def test_a_value_twice_in_a_list_gives_its_row_once() -> None:
    """An element that repeats within one item does not repeat the item."""
    columns = Columns(3, lambda: _encoded([{"a": [5, 5, 6]}, {"a": 5}, {"a": [6]}]))
    assert columns.select(parse_filter({"a": 5})).tolist() == [0, 1]
    assert columns.select(parse_filter({"a": {"$gte": 5}})).tolist() == [0, 1, 2]


def test_numbers_beyond_doubles_are_told_apart() -> None:
    """2^53 and 2^53 + 1 are two numbers, though a double cannot tell."""
    columns = Columns(3, lambda: _encoded([{"n": _BIG}, {"n": _BIG + 1}, {"n": float(_BIG)}]))
    assert columns.select(parse_filter({"n": _BIG + 1})).tolist() == [1]
    assert columns.select(parse_filter({"n": {"$gt": _BIG}})).tolist() == [1]
    assert columns.select(parse_filter({"n": _BIG})).tolist() == [0, 2]


def test_columns_of_many_paths_are_let_go() -> None:
    """More paths than are kept are all answered, those that were let go by decoding again."""
    reads = 0

    def metadata() -> list[bytes | None]:
        nonlocal reads
        reads += 1
        return _encoded([{f"p{at}": at} for at in range(50)])

    columns = Columns(50, metadata)
    for _ in range(2):
        for at in range(50):
            assert columns.select(parse_filter({f"p{at}": at})).tolist() == [at]
    assert reads == 100
    columns.select(parse_filter({"p49": 1}))
    assert reads == 100


def test_metadata_is_read_once_for_all_fields_of_a_filter() -> None:
    """However many fields are new; those that are known are not made again."""
    reads = 0

    def metadata() -> list[bytes | None]:
        nonlocal reads
        reads += 1
        return _encoded([{f"p{path}": path + at for path in range(30)} for at in range(5)])

    columns = Columns(5, metadata)
    both = parse_filter({"p1": {"$gt": 2}, "$or": [{f"p{path}": path + 3} for path in range(30)]})
    for _ in range(2):
        assert columns.select(both).tolist() == [3]
    assert reads == 1
    assert columns.select(parse_filter({"p1": 2, "other": {"$exists": False}})).tolist() == [1]
    assert reads == 2


def test_answers_are_small_integers() -> None:
    """Positions come as 32-bit integers, by whichever way a filter is answered."""
    columns = Columns(2, lambda: _encoded([{"a": 1}, {"a": [1, 1]}]))
    growing = GrowingColumns(_encoded([{"a": 1}, {"a": [1, 1]}]))
    for clause in ({"a": 1}, {"a": {"$in": [1, 2]}}, {"$not": {"a": 1}}, {"a": {"$gt": 0}}):
        assert columns.select(parse_filter(clause)).dtype == np.int32
        assert growing.select(parse_filter(clause), 2).dtype == np.int32
