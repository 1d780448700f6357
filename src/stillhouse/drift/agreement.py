"""Agreement of two verdicts on the same rows: a matrix, its diagonal, and Cohen's κ.

It knows the four categories and counts; it never sees a record.
"""

from __future__ import annotations

from typing import Final

from stillhouse.records import CATEGORIES, SFT_NEVER, SFT_OPT_IN

Matrix = dict[str, dict[str, int]]
"""Rows by the stored category, then by today's: all four of each, zeros too."""

HARMFUL: Final = frozenset((was, "accepted") for was in SFT_NEVER)
"""Changes that let a row train which never could (SPEC G4)."""

HARMFUL_PARTIAL: Final = frozenset((was, now) for was in SFT_NEVER for now in SFT_OPT_IN)
"""The same for rows that train only with ``--include-partial`` (SPEC F3)."""


def empty_matrix() -> Matrix:
    """A matrix of zeros, in the order of `CATEGORIES`."""
    return {was: dict.fromkeys(CATEGORIES, 0) for was in CATEGORIES}


def count(matrix: Matrix, changes: frozenset[tuple[str, str]] | None = None) -> int:
    """Rows of some changes ``(from, to)``; of all cells when none are named."""
    if changes is None:
        return sum(sum(row.values()) for row in matrix.values())
    return sum(matrix[was][now] for was, now in changes)


def agreement(matrix: Matrix) -> float:
    """The share of rows with the same category on both sides; 1.0 without rows."""
    rows = count(matrix)
    return _same(matrix) / rows if rows else 1.0


def cohens_kappa(matrix: Matrix) -> float:
    """Cohen's κ: agreement beyond that of two raters who guess with these frequencies.

    κ = (pₒ - pₑ) / (1 - pₑ), after J. Cohen, "A coefficient of agreement for nominal scales",
    Educational and Psychological Measurement 20 (1960). 1 is full agreement, 0 what chance
    gives, below 0 less than that. Where both sides put all rows into one and the same category
    pₑ is 1 and the formula is 0/0; no row differs then, and κ is defined as 1.0. So it is
    without rows.
    """
    rows = count(matrix)
    # In whole numbers up to the last step: whether pₑ is 1 is not a question of rounding.
    chance = sum(
        sum(matrix[name].values()) * sum(matrix[was][name] for was in CATEGORIES)
        for name in CATEGORIES
    )
    if chance == rows * rows:
        return 1.0
    return (rows * _same(matrix) - chance) / (rows * rows - chance)


def _same(matrix: Matrix) -> int:
    return sum(matrix[name][name] for name in CATEGORIES)
