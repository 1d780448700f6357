"""Scores of vectors for a query, exactly: the definition that approximate searches re-rank by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stillhouse.vectors.values import Floats, Metric


def scores(metric: Metric, query: Floats, vectors: Floats) -> Floats:
    """The score of each row of ``vectors`` (n, d) for ``query`` (d): cosine similarity, inner
    product, or Euclidean distance, as float32 of shape (n,)."""
    if metric == "l2":
        apart = vectors - query
        distances: Floats = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        return distances
    products: Floats = vectors @ query
    if metric == "cosine":
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        products = np.clip(products / lengths, -1.0, 1.0).astype(np.float32)
    return products


def better_first(metric: Metric, found: Floats) -> npt.NDArray[np.intp]:
    """Positions from the nearest to the farthest; what is equally near stays in its order."""
    return np.argsort(found if metric == "l2" else -found, kind="stable")


def lengths_inverted(metric: Metric, vectors: Floats) -> Floats:
    """One over each row's length, float32 of shape (n,); empty where the metric does not ask for
    lengths."""
    if metric != "cosine":
        return np.zeros(0, np.float32)
    inverted: Floats = (1.0 / np.linalg.norm(vectors, axis=1)).astype(np.float32)
    return inverted
