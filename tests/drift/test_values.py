"""Numbers in all the forms that they may come in, and what is no set of numbers."""

from __future__ import annotations

import array
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from stillhouse.drift.values import (
    finite_range,
    is_array,
    is_one_pass,
    read_blocks,
    sorted_values,
)
from stillhouse.errors import UsageError

FORMS: list[Any] = [
    [1, 2.0, True],
    (1, 2, 1),
    np.array([1.0, 2.0, 1.0]),
    np.array([1, 2, 1], dtype=np.int8),
    np.array([1, 2, 1], dtype=np.float16),
    np.array([1, 2, 1], dtype=">f8"),
    np.array([1, 0, 2, 0, 1, 0])[::2],
    array.array("d", [1, 2, 1]),
    [np.array([1.0, 2.0]), np.array([]), [1]],
    [[1, 2], (1,)],
    [Decimal(1), Decimal(2), Decimal(1)],
]


@pytest.mark.parametrize("values", FORMS, ids=range(len(FORMS)))
def test_every_form_gives_the_same_numbers(values: Any) -> None:
    """Arrays of any numeric type, sequences, chunks and mixtures read alike."""
    assert np.concatenate(list(read_blocks(values))).tolist() == [1, 2, 1]
    assert sorted_values(values).tolist() == [1, 1, 2]
    assert finite_range(values) == (1, 2)


def test_iterators_are_used_up() -> None:
    """A generator is read once, block by block, and known for what it is."""
    once = (float(number) for number in range(150_000))
    assert is_one_pass(once)
    assert [block.size for block in read_blocks(once)] == [65_536, 65_536, 18_928]
    assert not list(read_blocks(once))


def test_blocks_are_views_of_the_array() -> None:
    """A large array of floats is not copied."""
    values = np.zeros(200_000)
    assert all(np.shares_memory(block, values) for block in read_blocks(values))


def test_sorting_leaves_the_given_array_alone() -> None:
    """The caller's array keeps its order; NaN comes last in the copy."""
    values = np.array([3.0, math.nan, 1.0])
    assert sorted_values(values)[:2].tolist() == [1, 3]
    assert values[0] == 3


def test_what_is_in_memory() -> None:
    """Arrays and sequences of numbers are; chunks and iterators are not."""
    assert all(is_array(values) for values in ([], [1], (1.0,), np.zeros(3), range(3)))
    assert not any(is_array(values) for values in ([[1]], [np.zeros(3)], iter([1])))


def test_none_is_nan_and_nothing_has_no_range() -> None:
    """None reads as NaN; a range is of finite values."""
    assert math.isnan(sorted_values([None, 1])[1])
    assert math.isnan(next(read_blocks(iter([None])))[0])
    assert finite_range([None, math.nan, math.inf]) is None
    assert finite_range([]) is None


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ("12", "str"),
        (b"12", "bytes"),
        ({"a": 1}, "dict"),
        (7, "int"),
        (None, "NoneType"),
        (["1", "2"], "<U1"),
        ([None, "2"], "str"),
        (iter([1, "2"]), "<U"),
        ([1, np.array([2, 1])], "inhomogeneous"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "datetime64[D]"),
        ([1j], "complex128"),
        (np.zeros((2, 2)), "2 dimensions"),
        (np.array(1.0), "0 dimensions"),
        ([np.zeros((2, 2))], "2 dimensions"),
        ([[1, [2, 3]]], "inhomogeneous"),
        ([object()], "object"),
        ([10**400], "too large"),
    ],
)
def test_what_is_no_set_of_numbers_is_refused(values: Any, found: str) -> None:
    """Text, dates, tables and single values are refused in one line that names the side."""
    with pytest.raises(UsageError, match="not a flat set of numbers") as caught:
        list(read_blocks(values, "reference"))
    said = str(caught.value)
    assert said.startswith("reference: ")
    assert found in said
    assert len(said.splitlines()) == 1
