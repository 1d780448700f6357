"""What may enter the vector store (SPEC V7): every name, id, vector and piece of metadata passes
here once, whichever backend keeps it and whichever way it came.

Each check tells all problems of a request, each with the field it is about. Nothing here
touches a disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args

import msgspec
import numpy as np

from stillhouse.errors import VectorLimitError, VectorRequestError
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.values import METRICS, Batch, Floats, Include, IndexSpec, Item, Metadata

Problems = list[tuple[str, str]]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_MOST_TOLD: Final = 20
"""Problems of one request that are told; the rest is counted."""
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


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
    if problem := name_problem(name, limits):
        raise VectorRequestError([(field, problem)], code="invalid_name")
    assert isinstance(name, str)
    return name


def check_spec(spec: IndexSpec, limits: Limits) -> IndexSpec:
    """A new index's description, its metadata canonical. Raises `VectorRequestError`."""
    problems: Problems = []
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
    if problems:
        raise VectorRequestError(problems)
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
    """Why a value is no JSON that comes back as it went; empty when it is."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "has text that is no valid Unicode"
        return "has a NUL character in it" if "\x00" in value else ""
    if isinstance(value, int):
        return "" if -(2**63) <= value < 2**64 else "has a whole number beyond 64 bits"
    if isinstance(value, float):
        return "" if np.isfinite(value) else "has a number that is not finite"
    if depth <= 0:
        return "is nested too deeply"
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                return "has a key that is no string"
            if problem := _value_problem(key, 0) or _value_problem(inner, depth - 1):
                return problem
        return ""
    if isinstance(value, list):
        return next(filter(None, (_value_problem(one, depth - 1) for one in value)), "")
    return f"holds a {type(value).__name__}, which is no JSON"


# ------------------------------------------------------------------------------ vectors


def check_batch(items: Iterable[Item], spec: IndexSpec, limits: Limits) -> Batch:
    """Items as checked columns: all is in order, or nothing is taken.

    Raises `VectorRequestError` with the problems of every item, or `VectorLimitError` when there
    are too many items.
    """
    given = list(items)
    if len(given) > limits.batch_items:
        raise VectorLimitError(
            [("items", f"are {len(given):,}; at most {limits.batch_items:,} are allowed at once")]
        )
    vectors = _stacked([item.vector for item in given], spec.dimension)
    return check_columns(
        [item.id for item in given],
        vectors if vectors is not None else [item.vector for item in given],
        [item.metadata for item in given],
        spec,
        limits,
    )


def check_columns(
    ids: Sequence[object],
    vectors: Floats | Sequence[object],
    metadata: Sequence[object] | None,
    spec: IndexSpec,
    limits: Limits,
) -> Batch:
    """Columns as a checked batch; ``metadata`` None means that no item has any."""
    if len(ids) > limits.batch_items:
        raise VectorLimitError(
            [("items", f"are {len(ids):,}; at most {limits.batch_items:,} are allowed at once")]
        )
    problems: Problems = []
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
    _raise(problems)
    return Batch([str(id_) for id_ in ids], array, encoded)


def _checked_vectors(
    vectors: Floats | Sequence[object], spec: IndexSpec, problems: Problems
) -> Floats:
    if not isinstance(vectors, np.ndarray):
        rows = []
        for at, vector in enumerate(vectors):
            row, problem = _vector(vector, spec.dimension)
            if problem:
                problems.append((f"items[{at}].vector", problem))
            rows.append(row)
        vectors = np.array(rows, np.float32).reshape(len(rows), spec.dimension)
    bad = bad_rows(vectors, spec)
    for at, problem in bad:
        if not any(field == f"items[{at}].vector" for field, _ in problems):
            problems.append((f"items[{at}].vector", problem))
    return np.ascontiguousarray(vectors, np.float32)


def check_matrix(vectors: Any, spec: IndexSpec) -> Floats:
    """Vectors given as one array: of shape (n, dimension), as float32."""
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise VectorRequestError([("vectors", "must be numbers in an array of two dimensions")])
    if vectors.shape[1] != spec.dimension:
        raise VectorRequestError([("vectors", _wrong_dimension(vectors.shape[1], spec.dimension))])
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(vectors, np.float32)


def check_ids(ids: Sequence[object], limits: Limits) -> list[str]:
    """Ids to delete or to get: each once, and not too many. One that no item can have is not
    there, which is no error."""
    if isinstance(ids, str) or not all(isinstance(id_, str) for id_ in ids):
        raise VectorRequestError([("ids", "must be a list of strings")])
    if len(ids) > limits.batch_items:
        raise VectorLimitError(
            [("ids", f"are {len(ids):,}; at most {limits.batch_items:,} are allowed at once")]
        )
    return [str(id_) for id_ in dict.fromkeys(ids)]


def bad_rows(vectors: Floats, spec: IndexSpec) -> list[tuple[int, str]]:
    """Rows of an (n, dimension) array that hold what no distance can be told of: a number that is
    not finite, a length beyond float32, or a zero vector under cosine."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    bad: list[tuple[int, str]] = []
    for at in np.flatnonzero(~np.isfinite(squares)):
        finite = bool(np.isfinite(vectors[at]).all())
        bad.append(
            (int(at), "is too long for float32" if finite else "has a number that is not finite")
        )
    if spec.metric == "cosine":
        bad += [
            (int(at), "is zero, or too short to have a direction, so it has no cosine")
            for at in np.flatnonzero(squares < np.finfo(np.float32).tiny)
        ]
    return bad


def check_queries(
    vectors: object, spec: IndexSpec, limits: Limits, field: str = "vector"
) -> Floats:
    """Query vectors as an (n, dimension) array, from one vector or several."""
    if isinstance(vectors, np.ndarray):
        array = vectors
        if array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
            raise VectorRequestError([(field, "must be one vector or a list of vectors")])
    else:
        if not isinstance(vectors, list | tuple) or not vectors:
            raise VectorRequestError([(field, "must be a list of numbers")])
        several = isinstance(vectors[0], list | tuple | np.ndarray)
        rows = []
        for at, vector in enumerate(vectors if several else [vectors]):
            row, problem = _vector(vector, spec.dimension)
            if problem:
                raise VectorRequestError([(f"{field}[{at}]" if several else field, problem)])
            rows.append(row)
        array = np.array(rows, np.float32)
    array = np.ascontiguousarray(array.reshape(1, -1) if array.ndim == 1 else array, np.float32)
    if array.shape[1] != spec.dimension:
        raise VectorRequestError([(field, _wrong_dimension(array.shape[1], spec.dimension))])
    if len(array) > limits.queries:
        raise VectorLimitError(
            [(field, f"are {len(array):,}; at most {limits.queries:,} are allowed at once")]
        )
    if bad := bad_rows(array, spec):
        several = len(array) > 1
        raise VectorRequestError(
            [(f"{field}[{at}]" if several else field, problem) for at, problem in bad[:_MOST_TOLD]]
        )
    return array


def _vector(vector: object, dimension: int) -> tuple[Floats, str]:
    """One vector, or zeros and what is wrong with it."""
    nothing = np.zeros(dimension, np.float32)
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(vector)
            if array.dtype.kind not in "fiu" or array.ndim != 1:
                return nothing, "must be a list of numbers"
            array = array.astype(np.float32, copy=False)
    except (TypeError, ValueError, OverflowError):
        return nothing, "must be a list of numbers"
    if array.shape[0] != dimension:
        return nothing, _wrong_dimension(array.shape[0], dimension)
    return array, ""


def _stacked(vectors: list[Any], dimension: int) -> Floats | None:
    """All vectors as one array in one step, where they are alike; None where they are not."""
    if not all(isinstance(vector, np.ndarray) for vector in vectors):
        return None
    if any(vector.shape != (dimension,) or vector.dtype != np.float32 for vector in vectors):
        return None
    return np.array(vectors, np.float32).reshape(len(vectors), dimension)


def _wrong_dimension(found: int, dimension: int) -> str:
    return f"has {found:,} dimensions; the index has {dimension:,}"


# ----------------------------------------------------------------------------- searches


def check_count(value: object, most: int, field: str) -> int:
    """A whole number from 1 to ``most``. Raises `VectorRequestError` or `VectorLimitError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise VectorRequestError([(field, "must be a whole number of at least 1")])
    if value > most:
        raise VectorLimitError([(field, f"is {value:,}; at most {most:,} is allowed")])
    return value


def check_include(include: Iterable[object]) -> frozenset[Include]:
    """What is to come with a hit. Raises `VectorRequestError`."""
    known = get_args(Include)
    asked = list(include)
    for one in asked:
        if one not in known:
            raise VectorRequestError([("include", f"knows {' and '.join(known)}")])
    return frozenset(asked)  # type: ignore[arg-type]


def _raise(problems: Problems) -> None:
    if not problems:
        return
    told = problems[:_MOST_TOLD]
    if len(problems) > _MOST_TOLD:
        told.append(("items", f"have {len(problems) - _MOST_TOLD:,} more problems"))
    raise VectorRequestError(told)


def decoded(metadata: bytes | None) -> Metadata | None:
    """Metadata as an object again."""
    return None if metadata is None else msgspec.json.decode(metadata, type=dict[str, Any])
