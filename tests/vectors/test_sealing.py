"""What is to be sealed and joined, and when: by sizes alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from stillhouse.vectors.sealing import Work, next_work
from stillhouse.vectors.view import Part, View


def _view(sizes: list[int], tail: int, dead: dict[int, int] | None = None, gone: int = 0) -> View:
    rows = cast(Any, SimpleNamespace())
    parts = [Part(rows, size, None, (dead or {}).get(at, 0)) for at, size in enumerate(sizes)]
    return View(tuple(parts), Part(rows, tail, None, gone))


def test_a_tail_is_sealed_when_it_is_long_enough() -> None:
    """At the threshold while somebody writes, at an eighth of it when it is quiet."""
    assert next_work(_view([], 99), 100, quiet=False) is None
    assert next_work(_view([], 100), 100, quiet=False) == Work((), True)
    assert next_work(_view([], 11), 100, quiet=True) is None
    assert next_work(_view([], 12), 100, quiet=True) == Work((), True)
    assert next_work(_view([], 0), 1, quiet=True) is None


def test_while_rows_come_the_tail_is_sealed_alone() -> None:
    """Joining waits: the tail is what makes searches slow."""
    assert next_work(_view([100, 100], 100), 100, quiet=False) == Work((), True)
    assert next_work(_view([100, 100], 50), 100, quiet=False) == Work((0, 1), False)
    assert next_work(_view([100, 100], 50), 100, quiet=True) == Work((0, 1), True)


def test_segments_of_like_size_become_one() -> None:
    """One that is small beside those smaller still is joined to them; a great one stays."""
    assert next_work(_view([1000, 100, 100], 0), 100, quiet=False) == Work((1, 2), False)
    assert next_work(_view([300, 100, 100, 100], 0), 100, quiet=False) == Work((0, 1, 2, 3), False)
    assert next_work(_view([1000, 101, 100], 0), 100, quiet=False) is None
    assert next_work(_view([1000, 100], 0), 100, quiet=False) is None
    assert next_work(_view([1000, 100], 0), 100, quiet=True) == Work((0, 1), False)
    assert next_work(_view([10_000, 100], 0), 100, quiet=True) is None
    assert next_work(_view([70], 0), 100, quiet=True) is None


def test_many_dead_are_left_out() -> None:
    """A segment of which more than a fifth is dead is written anew; at a fifth it is not."""
    assert next_work(_view([1000], 0, {0: 200}), 100, quiet=False) is None
    assert next_work(_view([1000], 0, {0: 201}), 100, quiet=False) == Work((0,), False)
    assert next_work(_view([10_000, 100], 0, {1: 100}), 100, quiet=False) is not None


def test_a_tail_of_the_dead_is_let_go() -> None:
    """A tail counts by its length, dead or not, so that it does not grow for ever."""
    assert next_work(_view([], 100, gone=100), 100, quiet=False) == Work((), True)


def test_a_load_builds_each_row_few_times() -> None:
    """Adding without end gives few segments, and each row is built into a graph a few times."""
    sizes: list[int] = []
    built = 0
    for _ in range(1_000):
        work = next_work(_view(sizes, 100), 100, quiet=False)
        assert work == Work((), True)
        sizes.append(100)
        built += 100
        while (work := next_work(_view(sizes, 0), 100, quiet=False)) is not None:
            joined = sum(sizes[at] for at in work.segments)
            sizes = [size for at, size in enumerate(sizes) if at not in work.segments] + [joined]
            built += joined
        assert len(sizes) <= 9
    assert built / 100_000 < 6
