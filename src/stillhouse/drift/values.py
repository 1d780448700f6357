"""Reads numbers in blocks, whatever they came in, so that no more than a block is held.

Numbers are compared as 64-bit floats. None counts as NaN. This module never changes the array it
is given, and never guesses: text and dates are refused, not read as numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stillhouse.errors import UsageError

FloatArray = npt.NDArray[np.float64]
Numbers = npt.ArrayLike | Iterable[npt.ArrayLike | None]
"""One flat array or sequence of numbers, or an iterable of numbers or of such arrays."""

_BLOCK: Final = 1 << 16
NUMERIC: Final = "biuf"
"""NumPy's letters for booleans, integers and real numbers."""


def read_blocks(values: Numbers, name: str = "values") -> Iterator[FloatArray]:
    """The values in order, in flat blocks of at most 65,536.

    An iterator is used up by it. Raises `UsageError` (which says ``name``) for what is no flat
    set of numbers.
    """
    for chunk in _chunks(values, name):
        try:
            array = np.asarray(chunk)
        except ValueError as error:
            raise _refusal(name, str(error)) from None
        if array.ndim != 1:
            raise _refusal(name, f"{array.ndim} dimensions")
        for start in range(0, array.size, _BLOCK):
            yield _floats(array[start : start + _BLOCK], name)


def is_one_pass(values: Numbers) -> bool:
    """True for an iterator: what it gives is gone once read."""
    return isinstance(values, Iterator)


def is_array(values: Numbers) -> bool:
    """True when all values are in memory already: an array, or a sequence of plain numbers."""
    if _is_array_like(values):
        return True
    return isinstance(values, list | tuple | range) and all(map(_is_number, values[:1]))


def sorted_values(values: Numbers, name: str = "values") -> FloatArray:
    """All values in a new array, in rising order, NaN last. Takes 8 bytes a value."""
    if _is_array_like(values):
        array = np.asarray(values)
        held = np.empty(array.size, dtype=np.float64)
        start = 0
        for block in read_blocks(array, name):
            held[start : start + block.size] = block
            start += block.size
    else:
        held = np.concatenate([np.empty(0), *read_blocks(values, name)])
    held.sort()
    return held


def finite_range(values: Numbers, name: str = "values") -> tuple[float, float] | None:
    """The smallest and the largest finite value; None when there is none."""
    low, high = np.inf, -np.inf
    for block in read_blocks(values, name):
        finite = block[np.isfinite(block)]
        if finite.size:
            low, high = min(low, finite.min()), max(high, finite.max())
    return (float(low), float(high)) if low <= high else None


# ------------------------------------------------------------------------------- reading


def _is_array_like(values: object) -> bool:
    """Whether NumPy takes it whole: its own arrays, and columns of data frames."""
    return hasattr(values, "__array__")


def _chunks(values: Any, name: str) -> Iterator[Any]:
    """What is given, as array-likes of one dimension."""
    if is_array(values):
        yield values
        return
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise _refusal(name, type(values).__name__)
    for plain, items in itertools.groupby(values, key=_is_number):
        if plain:
            while group := list(itertools.islice(items, _BLOCK)):
                yield group
        else:
            yield from items


def _is_number(item: Any) -> bool:
    """Whether an item is a value itself (text too, which is refused later), and not a chunk."""
    if isinstance(item, str | bytes):
        return True
    return not isinstance(item, Sequence) and getattr(item, "ndim", 0) == 0


def _floats(array: npt.NDArray[Any], name: str) -> FloatArray:
    """The numbers as 64-bit floats: the same memory where they are that already."""
    if array.dtype.kind == "O":
        wrong = {type(item).__name__ for item in array if isinstance(item, str | bytes)}
        if wrong:
            raise _refusal(name, sorted(wrong)[0])
    elif array.dtype.kind not in NUMERIC:
        raise _refusal(name, str(array.dtype))
    try:
        with np.errstate(over="ignore"):
            return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise _refusal(name, str(error)) from None


def _refusal(name: str, found: str) -> UsageError:
    return UsageError(
        f"not a flat set of numbers: {found}",
        where=name,
        way_out="Give a flat array, a list of numbers, or an iterable of such arrays.",
    )
