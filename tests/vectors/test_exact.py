"""Exact keys: they stand for the scores that `distances` defines."""

from __future__ import annotations

import numpy as np
import pytest

from stillhouse.vectors.distances import better_first, lengths_inverted, scores
from stillhouse.vectors.exact import keys_at, keys_of_all, nearest_first, scores_of
from stillhouse.vectors.values import METRICS, Floats, Metric


def _made(metric: Metric, queries: int) -> tuple[Floats, Floats, Floats]:
    made = np.random.default_rng(3)
    vectors = (made.normal(size=(300, 33)) * made.lognormal(size=(300, 1))).astype(np.float32)
    vectors.flags.writeable = False
    asked = made.normal(size=(queries, 33)).astype(np.float32)
    if metric == "cosine":
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    return vectors, asked, lengths_inverted(metric, vectors)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("queries", [1, 2, 20])
def test_keys_give_the_scores_of_the_definition(metric: Metric, queries: int) -> None:
    """Keys of all rows and of chosen rows come to the same scores as `distances.scores`."""
    vectors, asked, inverted = _made(metric, queries)
    right = np.stack([scores(metric, query, vectors) for query in asked])
    every = scores_of(metric, keys_of_all(metric, asked, vectors, inverted))
    np.testing.assert_allclose(every, right, rtol=1e-5, atol=2e-5)
    labels = np.random.default_rng(4).integers(0, 300, (queries, 40))
    some = scores_of(metric, keys_at(metric, asked, vectors, inverted, labels))
    np.testing.assert_allclose(some, np.take_along_axis(right, labels, 1), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_no_row_is_farthest_of_all(metric: Metric) -> None:
    """A label of -1 has an infinite key, and leaves the others as they are."""
    vectors, asked, inverted = _made(metric, 2)
    labels = np.array([[5, -1, 7], [-1, -1, 0]])
    keys = keys_at(metric, asked, vectors, inverted, labels)
    assert (np.isinf(keys) & (keys > 0)).tolist() == (labels < 0).tolist()
    whole = keys_of_all(metric, asked, vectors, inverted)
    np.testing.assert_allclose(keys[0, [0, 2]], whole[0, [5, 7]], rtol=1e-5)


@pytest.mark.parametrize("count", [10, 60, 500])
def test_the_nearest_come_first_and_equals_in_their_order(count: int) -> None:
    """The smallest keys by size, equal ones by place, as a stable sort has it."""
    keys = np.random.default_rng(count).integers(0, 9, (6, count)).astype(np.float32)
    for k in (1, 3, 10):
        order = nearest_first(keys, k)
        assert order.tolist() == [better_first("l2", row)[:k].tolist() for row in keys]


def test_a_cosine_is_never_beyond_one() -> None:
    """Rounding does not make a similarity greater than 1."""
    keys = np.array([[-1.0000002, 1.0000002, 0.5]], np.float32)
    assert scores_of("cosine", keys).tolist() == [[1.0, -1.0, -0.5]]
