"""Vectors as arrays of float32 (SPEC V7): what is a vector, and what is wrong with what is none.

Nothing here knows of ids, limits or what an array is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from stillhouse.errors import VectorRequestError
from stillhouse.vectors.values import Floats, IndexSpec, Metric

FLOAT32: Final = np.dtype(np.float32)
LONGEST: Final = 2.0**62
"""Longer vectors (4.6e18) are refused: the distance of two such would not fit into float32."""
SHORTEST: Final = 2.0**-50
"""Shorter ones (8.9e-16) are refused under cosine: float32 sums lose their direction."""
LEAST_SQUARE: Final = SHORTEST**2
MOST_SQUARE: Final = LONGEST**2


def rows_of(vectors: Sequence[object], dimension: int) -> tuple[Floats, dict[int, str]]:
    """Vectors as one array, with what is wrong with which; those are zeros."""
    wrong: dict[int, str] = {}
    array = _stacked(vectors, dimension)
    if array is None:
        array = np.zeros((len(vectors), dimension), np.float32)
        for at, vector in enumerate(vectors):
            row, problem = _vector(vector, dimension)
            if problem:
                wrong[at] = problem
            else:
                array[at] = row
    # Among numbers, true and false become 1 and 0.
    for at in np.flatnonzero(((array == 0) | (array == 1)).any(axis=1)).tolist():
        vector = vectors[at]
        if at not in wrong and _has_bool(vector):
            wrong[at] = "must be a list of numbers"
    return array, wrong


def _has_bool(vector: Any) -> bool:
    if isinstance(vector, np.ndarray):
        return bool(vector.dtype.kind == "b")
    kinds = set(map(type, vector))
    return bool in kinds or np.bool_ in kinds


def bad_rows(vectors: Floats, spec: IndexSpec) -> list[tuple[int, str]]:
    """Rows of an (n, dimension) array that hold what no distance can be told of: a number that is
    not finite, or a length beyond `LONGEST`, or under cosine below `SHORTEST`."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    least, most = least_square(spec.metric), MOST_SQUARE
    if not len(squares) or (squares.min() >= least and squares.max() <= most):
        return []
    bad: list[tuple[int, str]] = []
    for at in np.flatnonzero(~((squares >= least) & (squares <= most))).tolist():
        if not np.isfinite(vectors[at]).all():
            bad.append((at, "has a number that is not finite in float32"))
        elif squares[at] < least:
            bad.append((at, "is zero, or too short to have a direction, so it has no cosine"))
        else:
            bad.append((at, f"is too long: at most {LONGEST:.1e} is allowed"))
    return bad


def least_square(metric: Metric) -> float:
    """The least square of a vector's length that is taken."""
    return LEAST_SQUARE if metric == "cosine" else 0.0


def as_float32(array: Any) -> Floats:
    """Numbers as C-contiguous float32; what is too large becomes infinite, to be refused."""
    if array.dtype == FLOAT32 and array.flags.c_contiguous:
        return array  # type: ignore[no-any-return]
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)


def _vector(vector: object, dimension: int) -> tuple[Any, str]:
    """One vector as an array, or what is wrong with it."""
    try:
        array = np.asarray(vector)
    except (TypeError, ValueError, OverflowError):
        return None, "must be a list of numbers"
    if array.dtype.kind not in "fiu" or array.ndim != 1:
        return None, "must be a list of numbers"
    if array.shape[0] != dimension:
        return None, wrong_dimension(array.shape[0], dimension)
    return as_float32(array), ""


def _stacked(vectors: Sequence[object], dimension: int) -> Floats | None:
    """All vectors as one array in one step, where they are alike; None where they are not."""
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError, OverflowError):
        return None
    if array.dtype.kind not in "fiu" or array.shape != (len(vectors), dimension):
        return None
    return as_float32(array)


def wrong_dimension(found: int, dimension: int) -> str:
    """What to say of a vector of another dimension."""
    return f"has {found:,} dimensions; the index has {dimension:,}"


def check_matrix(vectors: Any, spec: IndexSpec) -> Floats:
    """Vectors given as one array: of shape (n, dimension), as float32."""
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise VectorRequestError([("vectors", "must be numbers in an array of two dimensions")])
    if vectors.shape[1] != spec.dimension:
        raise VectorRequestError([("vectors", wrong_dimension(vectors.shape[1], spec.dimension))])
    return as_float32(vectors)
