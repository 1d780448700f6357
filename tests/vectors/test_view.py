"""Views: a change makes a new one, and the old one stays what it was."""

from __future__ import annotations

import numpy as np

from stillhouse.vectors.live import Rows
from stillhouse.vectors.tail import Tail
from stillhouse.vectors.view import Part, View
from tests.vectors.shelf import Shelf, clustered


def _view(count: int) -> tuple[View, Shelf]:
    shelf = Shelf("l2")
    shelf.put([f"i{at}" for at in range(count)], clustered(count, 8, 1))
    tail = Tail("l2", 8)
    tail.append(_rows(shelf))
    return View((), Part(tail, count)), shelf


def _rows(shelf: Shelf, after: int = 0) -> Rows:
    seqs = shelf.versions()[0]
    return next(shelf.rows(seqs[seqs > after], 1_000))


def test_a_change_leaves_the_old_view_as_it_was() -> None:
    """Rows that come and go do so in the new view alone."""
    old, shelf = _view(10)
    shelf.put(["new"], clustered(1, 8, 2))
    new = old.changed([2, 5], _rows(shelf, 10))
    assert (old.total, new.total) == (10, 9)
    assert old.tail.dead is None
    assert new.tail.live().tolist() == [0, 2, 3, 5, 6, 7, 8, 9, 10]
    newest = new.changed([11], None)
    assert (new.total, newest.total) == (9, 8)
    assert new.tail.live().tolist() == [0, 2, 3, 5, 6, 7, 8, 9, 10]
    assert newest.tail.live().tolist() == [0, 2, 3, 5, 6, 7, 8, 9]


def test_numbers_of_other_parts_do_not_concern_a_part() -> None:
    """Only rows of exactly these numbers die, be the numbers before, between or after its own."""
    view, _ = _view(5)
    part = view.tail
    part = part.without(np.array([2, 4]))
    assert part.live().tolist() == [0, 2, 4]
    assert part.without(np.array([0, 6, 99])) == part
    gone = Part(part.rows, 3).without(np.array([4, 5]))
    assert gone.dead_count == 0


def test_the_dead_are_counted_once() -> None:
    """Killing what is dead does not kill it again."""
    view, _ = _view(6)
    part = view.tail.without(np.array([1, 2])).without(np.array([2, 3]))
    assert (part.dead_count, part.live_count) == (3, 3)


def test_an_empty_tail_is_no_part() -> None:
    """There is nothing to search where nothing was ever put."""
    assert View((), Part(Tail("l2", 8), 0)).parts == ()
