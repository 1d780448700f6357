"""Plans: through the graph where it pays, else by looking at what counts."""

from __future__ import annotations

import pytest

from stillhouse.vectors.planner import plan, spare


def test_few_rows_are_looked_at() -> None:
    """A part, or what matches in it, that is small is scanned."""
    assert plan(200, 200, 10, 64).beam == 0
    assert plan(1_000_000, 200, 10, 64).beam == 0
    assert plan(1_000_000, 0, 10, 64).beam == 0


def test_many_rows_are_searched_through_the_graph() -> None:
    """Without a filter the beam is what was asked for, at least enough for k."""
    assert plan(100_000, 100_000, 10, 64) == (64, spare(10))
    assert plan(100_000, 100_000, 10, 300).beam == 300
    assert plan(100_000, 100_000, 100, 10).beam == spare(100)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_the_beam_holds_enough_of_what_matches(share: float) -> None:
    """Under a filter the beam grows with one over the share that matches."""
    way = plan(1_000_000, int(share * 1_000_000), 10, 20)
    assert way.beam * share > 1.3 * spare(10)


def test_narrow_filters_are_scanned() -> None:
    """Where the matches are few beside the beam it would take, they are scanned."""
    assert plan(100_000, 1_000, 10, 64).beam == 0
    assert plan(1_000_000, 500_000, 10, 64).beam > 0


def test_so_many_neighbours_that_the_graph_is_dearer_are_scanned() -> None:
    """With k near the number of rows, every row is looked at."""
    assert plan(10_000, 10_000, 9_000, 64).beam == 0
    assert plan(10_000, 10_000, 10_000, 64).beam == 0
    assert plan(100_000, 100_000, 10, 10_000).beam == 0
