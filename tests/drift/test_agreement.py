"""The matrix, Cohen's κ against worked examples, and which changes are harmful."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.drift.agreement import (
    HARMFUL,
    HARMFUL_PARTIAL,
    Matrix,
    agreement,
    cohens_kappa,
    count,
    empty_matrix,
)
from stillhouse.records import CATEGORIES


def matrix(**cells: int) -> Matrix:
    """A matrix with some cells: ``accepted__rejected=3``."""
    out = empty_matrix()
    for name, rows in cells.items():
        was, now = name.split("__")
        out[was][now] = rows
    return out


def test_kappa_of_a_worked_example() -> None:
    """Two raters on 50 rows, 20 and 15 alike: pₒ is 0.70, pₑ 0.50, κ 0.40."""
    worked = matrix(
        accepted__accepted=20,
        accepted__rejected=5,
        rejected__accepted=10,
        rejected__rejected=15,
    )
    assert agreement(worked) == 0.70
    assert cohens_kappa(worked) == pytest.approx(0.40, abs=1e-15)


def test_kappa_of_four_categories() -> None:
    """All four: 40 of 50 alike, Σ of the margins' products 750, κ (2000 - 750) / (2500 - 750)."""
    worked = matrix(
        accepted__accepted=20,
        accepted__partially_accepted=5,
        partially_accepted__partially_accepted=10,
        rejected__rejected=5,
        rejected__needs_human_review=5,
        needs_human_review__needs_human_review=5,
    )
    # Margins: stored 25, 10, 10, 5; today 20, 15, 5, 10.
    assert cohens_kappa(worked) == pytest.approx((50 * 40 - 750) / (50 * 50 - 750), abs=1e-15)


def test_kappa_of_less_than_chance() -> None:
    """Raters who always say the opposite are below chance."""
    assert cohens_kappa(matrix(accepted__rejected=5, rejected__accepted=5)) == -1.0


@pytest.mark.parametrize("name", CATEGORIES)
def test_kappa_where_all_is_one_category(name: str) -> None:
    """0/0 by the formula: nothing differs, so it is full agreement."""
    one = matrix(**{f"{name}__{name}": 7})
    assert (agreement(one), cohens_kappa(one)) == (1.0, 1.0)


def test_kappa_without_rows() -> None:
    """Where nothing was compared nothing differs."""
    assert (agreement(empty_matrix()), cohens_kappa(empty_matrix())) == (1.0, 1.0)


def test_kappa_where_one_side_is_one_category() -> None:
    """A rater who says the same of every row agrees no more than by chance."""
    assert cohens_kappa(matrix(accepted__accepted=9, rejected__accepted=1)) == 0.0


@given(st.lists(st.integers(0, 10**9), min_size=16, max_size=16))
def test_kappa_is_one_only_where_nothing_differs(cells: list[int]) -> None:
    """κ is at most 1, and 1 exactly when the matrix is its diagonal."""
    filled = empty_matrix()
    for place, rows in enumerate(cells):
        filled[CATEGORIES[place // 4]][CATEGORIES[place % 4]] = rows
    kappa = cohens_kappa(filled)
    assert -1.0 <= kappa <= 1.0
    differs = any(filled[was][now] for was in CATEGORIES for now in CATEGORIES if was != now)
    assert differs or kappa == 1.0
    assert not differs or kappa < 1.0 or agreement(filled) > 1 - 1e-9


# Spelt out, cell by cell: which change lets a row train that never could.
TRUTH = {
    ("accepted", "accepted"): "",
    ("accepted", "partially_accepted"): "",
    ("accepted", "rejected"): "",
    ("accepted", "needs_human_review"): "",
    ("partially_accepted", "accepted"): "",
    ("partially_accepted", "partially_accepted"): "",
    ("partially_accepted", "rejected"): "",
    ("partially_accepted", "needs_human_review"): "",
    ("rejected", "accepted"): "harmful",
    ("rejected", "partially_accepted"): "partial",
    ("rejected", "rejected"): "",
    ("rejected", "needs_human_review"): "",
    ("needs_human_review", "accepted"): "harmful",
    ("needs_human_review", "partially_accepted"): "partial",
    ("needs_human_review", "rejected"): "",
    ("needs_human_review", "needs_human_review"): "",
}


@pytest.mark.parametrize("change", TRUTH)
def test_which_changes_are_harmful(change: tuple[str, str]) -> None:
    """Only what leaves `SFT_NEVER` is, and what needs an option is counted by itself."""
    one = empty_matrix()
    one[change[0]][change[1]] = 1
    assert count(one) == 1
    assert count(one, HARMFUL) == (TRUTH[change] == "harmful")
    assert count(one, HARMFUL_PARTIAL) == (TRUTH[change] == "partial")
