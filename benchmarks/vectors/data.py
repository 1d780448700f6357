"""The vectors, queries and metadata that every engine gets, and the exact answers.

Two sets: ``clustered`` is made on the spot from a seed, ``real`` are text embeddings read from a
folder (``base-*.npy`` and ``queries-*.npy``) where there is one. All vectors have length 1, so
that cosine and inner product rank alike. Exact answers come from a blocked matrix product.

A set lies in a folder as .npy files, so that every process reads the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Items = npt.NDArray[np.int32]

DIMENSION: Final = 384
SEED: Final = 20_260
K: Final = 10
FIELDS: Final = {"tenth": 10, "hundredth": 100, "thousandth": 1000}
"""Metadata fields and how many values each takes, all equally often: what share a filter keeps."""

# Chosen so that recall over ef runs as it does on the real embeddings: with faiss (M = 16,
# efConstruction = 100, 100,000 vectors) 0.81 at ef = 10, 0.94 at 32, 0.99 at 128.
_CLUSTERS: Final = 1000
_LATENT: Final = 48
_NOISE: Final = 0.7
_BLOCK: Final = 20_000


class Set(NamedTuple):
    """Vectors of one kind. ``values`` has a column a field of `FIELDS`; ``exact`` holds, for no
    filter ("") and each field, the numbers of the nearest vectors, padded with -1. Query ``i`` is
    filtered by the value ``i`` modulo the field's number of values."""

    name: str
    base: Floats
    more: Floats
    """Vectors that come in while others search."""
    values: Items
    queries: Floats
    exact: dict[str, Numbers]


def clustered(
    size: int, queries: int, more: int, seed: int = SEED
) -> tuple[Floats, Floats, Floats]:
    """Vectors around cluster centres in a space of few dimensions, with noise in all of them:
    the base, those to add later and the held-out queries, drawn alike."""
    chance = np.random.default_rng(seed)
    plane = chance.standard_normal((_LATENT, DIMENSION), np.float32) / np.sqrt(np.float32(_LATENT))
    centres = chance.standard_normal((_CLUSTERS, _LATENT), np.float32)
    weights = 1 / np.sqrt(np.arange(1, _CLUSTERS + 1))
    total = size + queries + more
    made = np.empty((total, DIMENSION), np.float32)
    for start in range(0, total, _BLOCK):
        part = made[start : start + _BLOCK]
        near = chance.choice(_CLUSTERS, len(part), p=weights / weights.sum())
        hidden = centres[near] + chance.standard_normal((len(part), _LATENT), np.float32)
        np.matmul(hidden, plane, out=part)
        part += np.float32(_NOISE) * chance.standard_normal(part.shape, np.float32)
    made = _unit(made)
    return made[:size], made[size + queries :], made[size : size + queries]


def real(folder: Path, size: int, queries: int, more: int) -> tuple[Floats, Floats, Floats]:
    """The same from a folder of embeddings; at most what is there, ``more`` taken from the end.

    Raises `FileNotFoundError` when the folder holds none.
    """
    bases, asked = sorted(folder.glob("base-*.npy")), sorted(folder.glob("queries-*.npy"))
    if not bases or not asked:
        raise FileNotFoundError(f"{folder.name} holds no base-*.npy and queries-*.npy")
    base = _unit(np.load(bases[0]).astype(np.float32))
    kept = min(more, len(base) // 10)
    most = len(base) - kept
    questions = _unit(np.load(asked[0]).astype(np.float32))[:queries]
    return base[: min(size, most)], base[most:], questions


def _unit(vectors: Floats) -> Floats:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def nearest(base: Floats, queries: Floats, k: int = K) -> Numbers:
    """The k nearest by inner product, nearest first, padded with -1; blocked, so that the
    products of all pairs are never in memory at once."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    numbers = np.full((len(queries), k), -1, np.int64)
    rows = np.arange(len(queries))[:, None]
    for start in range(0, len(base), _BLOCK):
        near = queries @ base[start : start + _BLOCK].T
        here = np.broadcast_to(np.arange(start, start + near.shape[1]), near.shape)
        scores = np.concatenate([best, near], axis=1)
        candidates = np.concatenate([numbers, here], axis=1)
        kept = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-scores[rows, kept], axis=1, kind="stable")
        kept = kept[rows, order]
        best, numbers = scores[rows, kept], candidates[rows, kept]
    return numbers


def exact_answers(base: Floats, values: Items, queries: Floats) -> dict[str, Numbers]:
    """The nearest without a filter, and under each query's filter of each field."""
    exact = {"": nearest(base, queries)}
    for column, (field, modulus) in enumerate(FIELDS.items()):
        found = np.full((len(queries), K), -1, np.int64)
        for value in range(min(modulus, len(queries))):
            among = np.flatnonzero(values[:, column] == value)
            asked = np.arange(value, len(queries), modulus)
            near = nearest(base[among], queries[asked])
            there = near >= 0
            answers = np.full_like(near, -1)
            answers[there] = among[near[there]]
            found[asked] = answers
        exact[field] = found
    return exact


def write_set(
    folder: Path, name: str, parts: tuple[Floats, Floats, Floats], seed: int = SEED
) -> Set:
    """Draw the metadata, find the exact answers, and lay everything into a folder."""
    base, more, queries = parts
    chance = np.random.default_rng(seed + 1)
    values = np.empty((len(base) + len(more), len(FIELDS)), np.int32)
    for column, modulus in enumerate(FIELDS.values()):
        values[:, column] = chance.permutation(len(values)) % modulus
    exact = exact_answers(base, values[: len(base)], queries)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {
        "base": base,
        "more": more,
        "queries": queries,
        "values": values,
    }
    arrays |= {f"exact-{field}": found for field, found in exact.items()}
    for part, array in arrays.items():
        np.save(folder / f"{part}.npy", array)
    return Set(name, base, more, values, queries, exact)


def read_set(folder: Path) -> Set:
    """A set that `write_set` wrote. Vectors to be added are mapped, not loaded."""

    def load(part: str, mapped: bool = False) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = np.load(folder / f"{part}.npy", mmap_mode="r" if mapped else None)
        return found

    return Set(
        folder.name,
        load("base", mapped=True),
        load("more", mapped=True),
        load("values"),
        load("queries"),
        {field: load(f"exact-{field}") for field in ("", *FIELDS)},
    )


def metadata_of(values: Items) -> list[dict[str, int]]:
    """Metadata of some rows of ``Set.values``."""
    return [dict(zip(FIELDS, row, strict=True)) for row in values.tolist()]


def recall(exact: Numbers, found: list[list[int]]) -> float:
    """The share of the exact answers that were found; where fewer than k match a filter, all that
    do are to be found."""
    hits = wanted = 0
    for right, got in zip(exact, found, strict=False):
        target = {int(number) for number in right if number >= 0}
        wanted += len(target)
        hits += len(target & set(got))
    return hits / wanted if wanted else 1.0


def short_answers(exact: Numbers, found: list[list[int]]) -> int:
    """How many answers hold fewer items than match."""
    return sum(
        len(set(got)) < int((right >= 0).sum()) for right, got in zip(exact, found, strict=False)
    )
