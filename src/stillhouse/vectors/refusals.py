"""What every backend refuses, and every way to one, in the same words."""

from __future__ import annotations

import msgspec
import numpy as np

from stillhouse.errors import (
    VectorConflictError,
    VectorNotFoundError,
    VectorRegistryError,
    VectorRequestError,
)
from stillhouse.vectors.arrays import least_square
from stillhouse.vectors.values import Batch, Floats, IndexSpec


def index_not_found(name: str) -> VectorNotFoundError:
    """There is no such index."""
    return VectorNotFoundError(f"there is no index {name!r}", code="index_not_found")


def item_not_found(name: str, id_: object) -> VectorNotFoundError:
    """There is no such item."""
    return VectorNotFoundError(
        f"there is no item {id_!r} in the index {name!r}", code="item_not_found"
    )


def snapshot_not_found(name: str, snapshot: object) -> VectorNotFoundError:
    """There is no such snapshot."""
    return VectorNotFoundError(
        f"there is no snapshot {snapshot!r} of the index {name!r}", code="snapshot_not_found"
    )


def registry_failed(name: str, error: Exception) -> VectorRegistryError:
    """Whether there is such an index cannot be said."""
    return VectorRegistryError(f"the index {name!r} could not be looked up: {error}")


def index_exists(name: str) -> VectorConflictError:
    """There is an index of that name."""
    return VectorConflictError(f"there is an index {name!r} already", code="index_exists")


def id_twice(id_: str) -> VectorRequestError:
    """What is to be loaded has an id twice."""
    return VectorRequestError([("items", f"have the id {id_!r} twice")])


def refuse_dimension(spec: IndexSpec, vectors: Floats) -> None:
    """Raise `VectorConflictError` when an index does not have the dimension of vectors that were
    checked against one of its name."""
    if vectors.shape[1] != spec.dimension:
        raise VectorConflictError(
            f"the index {spec.name!r} has {spec.dimension:,} dimensions, not {vectors.shape[1]:,}",
            code="dimension_mismatch",
        )


def refuse_batch(spec: IndexSpec, batch: Batch) -> None:
    """Raise `VectorConflictError` when an index cannot take a batch that was checked for one of its
    name: another may have got the name since."""
    refuse_dimension(spec, batch.vectors)
    if spec.metric == "cosine" and len(batch.vectors):
        squares = np.einsum("ij,ij->i", batch.vectors, batch.vectors)
        # Half of it: what was taken for cosine may come out less in the last digits here.
        if squares.min() < least_square(spec.metric) / 2:
            raise VectorConflictError(
                f"the index {spec.name!r} has metric cosine, and a vector has no direction",
                code="metric_mismatch",
            )


def refuse_unlike(src: IndexSpec, dest: IndexSpec) -> None:
    """Raise `VectorConflictError` when two indexes cannot be merged."""
    for field in ("dimension", "metric"):
        ours, theirs = getattr(src, field), getattr(dest, field)
        if ours != theirs:
            raise VectorConflictError(
                f"{src.name!r} has {field} {ours}, {dest.name!r} has {theirs}",
                code=f"{field}_mismatch",
            )


def refuse_other(there: IndexSpec, wanted: IndexSpec) -> None:
    """Raise `VectorConflictError` when an index is not what somebody wants to create."""
    for field in ("dimension", "metric", "metadata"):
        # As JSON: to Python 1 and true are the same.
        old, new = _json(getattr(there, field)), _json(getattr(wanted, field))
        if old != new:
            raise VectorConflictError(
                f"the index {there.name!r} has {field} {old}, not {new}",
                code="index_exists",
            )


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
