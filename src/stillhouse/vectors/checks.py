"""What may enter the vector store (SPEC V7): every name, id, vector and piece of metadata passes
here once, whichever backend keeps it and whichever way it came.

Each check tells all problems of a request, each with the field it is about. Nothing here
touches a disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, Final, get_args

import msgspec
import numpy as np

from stillhouse.errors import VectorLimitError, VectorRequestError
from stillhouse.vectors.arrays import (
    FLOAT32,
    MOST_SQUARE,
    as_float32,
    least_square,
    rows_of,
    wrong_dimension,
)
from stillhouse.vectors.arrays import bad_rows as bad_rows
from stillhouse.vectors.arrays import check_matrix as check_matrix
from stillhouse.vectors.filters import LEAST_INT, MOST_INT, text_problem
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.values import METRICS, Batch, Floats, Include, IndexSpec, Item, Metadata

Problems = list[tuple[str, str]]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MOST_TOLD: Final = 20
"""Problems of one request that are told; the rest is counted."""
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")
_METADATA: Final = msgspec.json.Decoder(dict[str, Any])
_INCLUDES: Final[tuple[Include, ...]] = get_args(Include)


# ------------------------------------------------------------------------ names and ids


def name_problem(name: object, limits: Limits) -> str:
    """Why this cannot be an index's name; empty when it can. A name is one segment of a URL's
    path: no slash, no backslash, no control character, not ``.`` or ``..``."""
    return _text_problem(name, limits.name_bytes)


def id_problem(id_: object, limits: Limits) -> str:
    """Why this cannot be an item's id; empty when it can. The same holds as for names."""
    return _text_problem(id_, limits.id_bytes)


def _text_problem(text: object, most: int) -> str:
    if not isinstance(text, str):
        return "must be a string"
    if not text:
        return "is empty"
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return "is no valid Unicode"
    if size > most:
        return f"is {size:,} bytes long; at most {most:,} are allowed"
    if _CONTROL.search(text):
        return "has a control character in it"
    if text in (".", "..") or "/" in text or "\\" in text:
        return "has a path in it"
    return "begins or ends with a blank" if text != text.strip() else ""


def check_name(name: object, limits: Limits, field: str = "name") -> str:
    """An index's name as it is. Raises `VectorRequestError`."""
    if type(name) is str and len(name) <= limits.name_bytes:
        problem = _name_problem(name, limits.name_bytes)
    else:
        problem = name_problem(name, limits)
    if problem:
        raise VectorRequestError([(field, problem)], code="invalid_name")
    assert isinstance(name, str)
    return name


@lru_cache(maxsize=1024)
def _name_problem(name: str, most: int) -> str:
    """Remembered, since a name comes with every call."""
    return _text_problem(name, most)


def check_spec(spec: IndexSpec, limits: Limits) -> IndexSpec:
    """A new index's description, its metadata canonical. Raises `VectorRequestError`."""
    problems: Problems = []
    over = 0
    if problem := name_problem(spec.name, limits):
        problems.append(("name", problem))
    if isinstance(spec.dimension, bool) or not isinstance(spec.dimension, int):
        problems.append(("dimension", "must be a whole number"))
    elif not 1 <= spec.dimension <= limits.dimension:
        problems.append(("dimension", f"must be from 1 to {limits.dimension:,}"))
    if spec.metric not in METRICS:
        problems.append(("metric", f"must be one of {', '.join(METRICS)}"))
    try:
        metadata = canonical_metadata(spec.metadata, limits, "metadata")
    except VectorRequestError as error:
        problems += error.problems
        over += isinstance(error, VectorLimitError)
    _raise(problems, over)
    return msgspec.structs.replace(
        spec, metadata=None if metadata is None else msgspec.json.decode(metadata)
    )


# ----------------------------------------------------------------------------- metadata


def canonical_metadata(metadata: object, limits: Limits, field: str) -> bytes | None:
    """Metadata as compact JSON with sorted keys, so that equal metadata has equal bytes; None
    stays None. Raises `VectorRequestError` or `VectorLimitError`."""
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise VectorRequestError([(field, "must be an object or null")])
    if problem := _value_problem(metadata, limits.metadata_depth):
        raise VectorRequestError([(field, problem)])
    data = _CANONICAL.encode(metadata)
    if len(data) > limits.metadata_bytes:
        raise VectorLimitError(
            [(field, f"is {len(data):,} bytes long; at most {limits.metadata_bytes:,} are allowed")]
        )
    return data


def _value_problem(value: Any, depth: int) -> str:
    """Why a value is no JSON that comes back as it went; empty when it is. What only derives from
    a type of JSON (numpy's numbers, enumerations) is none."""
    kind = type(value)
    if kind is str:
        return text_problem(value)
    if kind is bool or value is None:
        return ""
    if kind is int:
        return "" if LEAST_INT <= value <= MOST_INT else "has a whole number beyond 64 bits"
    if kind is float:
        return "" if isfinite(value) else "has a number that is not finite"
    if not isinstance(value, dict | list):
        return f"holds a {kind.__name__}, which is no JSON"
    if depth <= 0:
        return "is nested too deeply"
    if isinstance(value, list):
        return next(filter(None, (_value_problem(one, depth - 1) for one in value)), "")
    for key, inner in value.items():
        if type(key) is not str:
            return "has a key that is no string"
        if problem := text_problem(key) or _value_problem(inner, depth - 1):
            return problem
    return ""


# ------------------------------------------------------------------------------ vectors


def check_batch(items: Iterable[Item], spec: IndexSpec, limits: Limits) -> Batch:
    """Items as checked columns: all is in order, or nothing is taken.

    Raises `VectorRequestError` with the problems of every item, or `VectorLimitError` when there
    are too many items.
    """
    given = list(items)
    _count_items(len(given), limits)
    if not all(isinstance(item, Item) for item in given):
        raise VectorRequestError([("items", "must be items")])
    return check_columns(
        [item.id for item in given],
        [item.vector for item in given],
        [item.metadata for item in given],
        spec,
        limits,
    )


def _count_items(count: int, limits: Limits, field: str = "items") -> None:
    if count > limits.batch_items:
        raise VectorLimitError(
            [(field, f"are {count:,}; at most {limits.batch_items:,} are allowed at once")]
        )


def check_columns(
    ids: Sequence[object],
    vectors: Floats | Sequence[object],
    metadata: Sequence[object] | None,
    spec: IndexSpec,
    limits: Limits,
) -> Batch:
    """Columns as a checked batch; ``metadata`` None means that no item has any."""
    _count_items(len(ids), limits)
    problems: Problems = []
    over = 0
    seen: dict[object, int] = {}
    for at, id_ in enumerate(ids):
        if problem := id_problem(id_, limits):
            problems.append((f"items[{at}].id", problem))
        elif (first := seen.setdefault(id_, at)) != at:
            problems.append((f"items[{at}].id", f"repeats that of items[{first}]"))
    array = _checked_vectors(vectors, spec, problems)
    encoded: list[bytes | None] = [None] * len(ids)
    for at, one in enumerate(metadata or ()):
        if one is None:
            continue
        try:
            encoded[at] = canonical_metadata(one, limits, f"items[{at}].metadata")
        except VectorRequestError as error:
            problems += error.problems
            over += isinstance(error, VectorLimitError)
    _raise(problems, over)
    return Batch([str(id_) for id_ in ids], array, encoded)


def _checked_vectors(
    vectors: Floats | Sequence[object], spec: IndexSpec, problems: Problems
) -> Floats:
    wrong: dict[int, str] = {}
    if not isinstance(vectors, np.ndarray):
        vectors, wrong = rows_of(vectors, spec.dimension)
    for at, problem in bad_rows(vectors, spec):
        wrong.setdefault(at, problem)
    problems += [(f"items[{at}].vector", problem) for at, problem in sorted(wrong.items())]
    return np.ascontiguousarray(vectors, np.float32)


def check_ids(ids: Sequence[object], limits: Limits) -> list[str]:
    """Ids to delete or to get: each once, and not too many. One that no item can have is not
    there, which is no error."""
    if isinstance(ids, str) or not all(isinstance(id_, str) for id_ in ids):
        raise VectorRequestError([("ids", "must be a list of strings")])
    _count_items(len(ids), limits, "ids")
    return [str(id_) for id_ in dict.fromkeys(ids)]


def check_queries(
    vectors: object, spec: IndexSpec, limits: Limits, field: str = "vector"
) -> Floats:
    """Query vectors as an (n, dimension) array, from one vector or several."""
    if (
        type(vectors) is np.ndarray
        and vectors.dtype == FLOAT32
        and vectors.shape == (spec.dimension,)
        and vectors.flags.c_contiguous
    ):
        # Most searches are this, and a search takes little longer than the other checks.
        with np.errstate(over="ignore", invalid="ignore"):
            square = vectors.dot(vectors)
        if least_square(spec.metric) <= square <= MOST_SQUARE:
            return vectors.reshape(1, -1)
    if isinstance(vectors, np.ndarray):
        array = vectors
        if array.ndim not in (1, 2) or array.dtype.kind not in "fiu" or not len(array):
            raise VectorRequestError([(field, "must be one vector or a list of vectors")])
        several = array.ndim == 2
        array = array if several else array.reshape(1, -1)
        if array.shape[1] != spec.dimension:
            raise VectorRequestError([(field, wrong_dimension(array.shape[1], spec.dimension))])
        _count_queries(len(array), limits, field)
        array = as_float32(array)
        wrong: dict[int, str] = {}
    else:
        if not isinstance(vectors, list | tuple) or not vectors:
            raise VectorRequestError([(field, "must be a list of numbers")])
        several = isinstance(vectors[0], list | tuple | np.ndarray)
        rows = vectors if several else [vectors]
        _count_queries(len(rows), limits, field)
        array, wrong = rows_of(rows, spec.dimension)
    for at, problem in bad_rows(array, spec):
        wrong.setdefault(at, problem)
    problems = [(f"{field}[{at}]" if several else field, wrong[at]) for at in sorted(wrong)]
    _raise(problems, field=field)
    return array


def _count_queries(count: int, limits: Limits, field: str) -> None:
    if count > limits.queries:
        raise VectorLimitError(
            [(field, f"are {count:,}; at most {limits.queries:,} are allowed at once")]
        )


# ----------------------------------------------------------------------------- searches


def check_count(value: object, most: int, field: str) -> int:
    """A whole number from 1 to ``most``. Raises `VectorRequestError` or `VectorLimitError`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise VectorRequestError([(field, "must be a whole number of at least 1")])
    if value > most:
        raise VectorLimitError([(field, f"is more than the {most:,} that are allowed")])
    return int(value)


def check_include(include: Iterable[object]) -> frozenset[Include]:
    """What is to come with a hit. Raises `VectorRequestError`."""
    asked = tuple(include)
    for one in asked:
        if one not in _INCLUDES:
            raise VectorRequestError([("include", f"knows {' and '.join(_INCLUDES)}")])
    return frozenset(asked)  # type: ignore[arg-type]


def check_hits(queries: Floats, k: int, include: frozenset[Include], limits: Limits) -> None:
    """Raises `VectorLimitError` when all hits of a search together would be too many, or the
    vectors that come with them too large."""
    hits = len(queries) * k
    if hits > limits.hits:
        raise VectorLimitError(
            [("k", f"asks for {hits:,} hits in all; at most {limits.hits:,} are allowed at once")]
        )
    numbers = hits * queries.shape[1] if "vector" in include else 0
    if numbers > limits.hit_numbers:
        most = limits.hit_numbers
        raise VectorLimitError(
            [("include", f"asks for vectors of {numbers:,} numbers; at most {most:,} are allowed")]
        )


def _raise(problems: Problems, over: int = 0, field: str = "items") -> None:
    """Refuse when there are problems, of which ``over`` are that a limit is passed."""
    if not problems:
        return
    told = problems[:_MOST_TOLD]
    if len(problems) > _MOST_TOLD:
        told.append((field, f"have {len(problems) - _MOST_TOLD:,} more problems"))
    raise VectorLimitError(told) if over == len(problems) else VectorRequestError(told)


def decoded(metadata: bytes | None) -> Metadata | None:
    """Metadata as an object again."""
    return None if metadata is None else _METADATA.decode(metadata)
