"""How a query is asked of codes that are whole numbers, and whether they can tell its answer.

Under an inner product the order of rows depends on no scale: the rows have one of their own, and
each query is put on the one that spends all of -127 to 127 on it. Where a few dimensions of a
query are very much larger than the others, next to nothing of the others is left. So what rounding
may do to the order is set beside what makes the order, for each query:

    what makes it   Σ z² · v          z: the query on its scale, v: how codes vary by dimension
    what blurs it   Σ (v + z²) / 12   the mean square of what rounding takes, of either, is 1/12
"""

from __future__ import annotations

from functools import cache
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from stillhouse.vectors.values import Floats

Told = npt.NDArray[np.bool_] | bool

_MOST: Final = np.float32(127)
_NOTHING: Final = 1e-30
"""A query whose numbers are all smaller is taken for one of zeros, as it is to the codes."""
_BLUR: Final = 0.01
"""How much of what makes the order may be blurred. Text embeddings have 0.0002."""
_ROUNDED: Final = 1 / 12


class Wholes:
    """The codes of a segment, by a sample of them (m, d)."""

    def __init__(self, sample: Floats) -> None:
        varies: Floats = sample.var(axis=0) if len(sample) else sample.sum(axis=0)
        # Both sums as one: the query is told where Σ z² · spare is at least `least`. Rows that are
        # all alike have no order that could be blurred.
        self._least = float(varies.sum()) * _ROUNDED
        self._spare: Floats = (_BLUR * varies - _ROUNDED).astype(np.float32)
        if not self._least:
            self._spare = np.zeros_like(self._spare)

    def asked(self, queries: Floats) -> tuple[Floats, Told]:
        """Queries (n, d) as they are asked, and of which the answer is to be trusted: True for all,
        or a mask (n,)."""
        if len(queries) > 1:
            return self._several(queries)
        dimension = queries.shape[1]
        # numpy takes ten times as long for one row.
        greatest = faiss.fvec_Linf(
            faiss.swig_ptr(queries), faiss.swig_ptr(_zeros(dimension)), dimension
        )
        scaled = queries * np.float32(127.0 / greatest if greatest > _NOTHING else 0.0)
        np.rint(scaled, out=scaled)  # faiss would cut off the fractions
        row = scaled[0]
        if (row * row).dot(self._spare) >= self._least:
            return scaled, True
        return scaled, np.zeros(1, np.bool_)

    def _several(self, queries: Floats) -> tuple[Floats, Told]:
        greatest = np.abs(queries).max(axis=1, keepdims=True)
        scale = np.where(greatest > _NOTHING, _MOST / np.maximum(greatest, _NOTHING), 0)
        scaled = np.rint(queries * scale.astype(np.float32))
        told = (scaled * scaled) @ self._spare >= self._least
        return scaled, True if told.all() else told


@cache
def _zeros(dimension: int) -> Floats:
    return np.zeros(dimension, np.float32)
