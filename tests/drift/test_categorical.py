"""Categories compared: each is a bucket, whichever side knows it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stillhouse.drift import compare_counts, compute_categorical_drift
from stillhouse.errors import UsageError


def test_pinned_shares_of_categories() -> None:
    """Categories have the PSI that buckets of the same shares have (SPEC G2)."""
    drift = compare_counts({"a": 50, "b": 50}, {"a": 40, "b": 60})
    assert drift.psi == pytest.approx(0.040546510811, abs=1e-12)
    assert (drift.kind, drift.edges, drift.ks, drift.ks_basis) == ("categorical", [], None, None)
    assert drift.degrees_of_freedom == 1


def test_a_category_of_one_side_alone_is_clamped() -> None:
    """A new model, and one that is gone, each have a bucket and are marked."""
    drift = compute_categorical_drift(["old"] * 3 + ["both"], ["both", "new"])
    assert [(b.label, b.reference, b.current, b.clamped) for b in drift.buckets] == [
        ("both", 1, 1, False),
        ("old", 3, 0, True),
        ("new", 0, 1, True),
    ]
    assert drift.buckets[1].psi == pytest.approx((0.75 - 1e-4) * math.log(7500))
    assert drift.verdict == "major"


def test_counts_of_nothing_are_no_category() -> None:
    """A category that neither side has seen is left out."""
    drift = compare_counts({"a": 3, "b": 0}, {"a": 3, "c": 0})
    assert [bucket.label for bucket in drift.buckets] == ["a"]
    assert (drift.p_value, drift.warnings) == (None, [])


def test_a_common_category_is_warned_of() -> None:
    """Where one category is nearly everything, the others weigh little, and it is said."""
    drift = compare_counts({"a": 9950, "b": 50}, {"a": 9950, "c": 50})
    assert drift.warnings[0] == (
        "a holds over 90 % of both sides: changes among the rest weigh little in PSI"
    )


def test_an_empty_side() -> None:
    """Without words on a side the verdict is that."""
    drift = compute_categorical_drift([], ["a"])
    assert (drift.verdict, drift.current_size) == ("empty", 1)
    assert compute_categorical_drift([], []).buckets == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("word", "str is no list of categories"),
        (7, "int is no list of categories"),
        (["a", None], "the category None is no text"),
        ({"a": -1}, "'a' is counted -1 times"),
        ({"a": 0.5}, "'a' is counted 0.5 times"),
        ({"a": True}, "'a' is counted True times"),
    ],
)
def test_what_is_no_set_of_categories(values: Any, said: str) -> None:
    """A single word, a missing one, and counts that are none are refused, naming the side."""
    with pytest.raises(UsageError, match=said) as caught:
        compute_categorical_drift(["a"], values)
    assert str(caught.value).startswith("current: ")
