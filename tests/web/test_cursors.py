"""Id sets in memory: pages, bounds, expiry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.errors import VectorNotFoundError
from stillhouse.web.cursors import Cursors
from tests.web.live import BASE, Live


class Clock:
    """Tells the time it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def cursors(clock: Clock, *, memory: int = 10_000, most: int = 3) -> Cursors:
    return Cursors(seconds=10, memory=memory, most=most, clock=clock)


def walk(kept: Cursors, ids: list[str], limit: int) -> list[str]:
    """All ids, page by page."""
    page = kept.first("docs", ids, limit)
    found = list(page.ids)
    while page.cursor is not None:
        page = kept.next("docs", page.cursor, limit)
        assert 0 < len(page.ids) <= limit
        assert page.total == len(ids)
        found += page.ids
    return found


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 7))
def test_pages_hold_every_id_once(ids: list[str], limit: int) -> None:
    """In their order, whatever the size of a page and the ids' letters."""
    ids = [id_ for id_ in ids if not any("\ud800" <= sign <= "\udfff" for sign in id_)]
    assert walk(cursors(Clock()), ids, limit) == ids


def test_one_page_keeps_nothing() -> None:
    """What fits on a page needs no cursor, and no memory."""
    kept = cursors(Clock())
    assert kept.first("docs", ["a", "b"], 2).cursor is None
    assert kept.first("docs", [], 2).ids == []
    assert kept._held == 0


def expired(kept: Cursors, index: str, cursor: str) -> bool:
    try:
        kept.next(index, cursor, 1)
    except VectorNotFoundError as error:
        return error.code == "cursor_expired"
    return False


def test_a_cursor_expires_unless_it_is_used() -> None:
    """Each use starts its time anew."""
    clock = Clock()
    kept = cursors(clock)
    cursor = kept.first("docs", ["a", "b", "c"], 1).cursor
    assert cursor is not None
    for clock.now in (9.0, 18.0, 27.0):
        assert not expired(kept, "docs", cursor)
    clock.now = 37.0
    assert expired(kept, "docs", cursor)
    assert kept._held == 0


def test_beyond_the_bounds_the_one_unused_longest_goes() -> None:
    """By number and by memory; what is used stays."""
    kept = cursors(Clock())
    first, second, third = (kept.first("docs", ["a", "b"], 1).cursor for _ in range(3))
    assert first
    assert second
    assert third
    assert not expired(kept, "docs", first)
    assert kept.first("docs", ["a", "b"], 1).cursor
    assert expired(kept, "docs", second)
    assert not expired(kept, "docs", first)
    assert not expired(kept, "docs", third)
    small = cursors(Clock(), memory=100)
    one = small.first("docs", ["x" * 40, "y"], 1).cursor
    two = small.first("docs", ["x" * 40, "y"], 1).cursor
    assert one
    assert two
    assert expired(small, "docs", one)
    assert not expired(small, "docs", two)


@pytest.mark.parametrize("cursor", ["", "x", ".1", "A" * 22 + ".1", "A" * 22, "A" * 22 + ".\u0661"])
def test_a_cursor_that_was_never_given_has_expired(cursor: str) -> None:
    """Whatever it is."""
    assert expired(cursors(Clock()), "docs", cursor)


def test_a_cursor_is_of_its_index() -> None:
    """It shows nothing under another name; a place beyond the end shows an empty last page."""
    kept = cursors(Clock())
    cursor = kept.first("docs", ["a", "b"], 1).cursor
    assert cursor is not None
    assert expired(kept, "other", cursor)
    token = cursor.partition(".")[0]
    page = kept.next("docs", f"{token}.99", 1)
    assert (page.ids, page.cursor, page.total) == ([], None, 2)


def test_cursors_cannot_be_guessed() -> None:
    """Two of the same have nothing in common; 128 bits each."""
    kept = cursors(Clock())
    tokens = {str(kept.first("docs", ["a", "b"], 1).cursor).partition(".")[0] for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 22 for token in tokens)


def test_pages_of_an_index_that_is_gone_are_404(live: Live) -> None:
    """The index is asked for first."""
    cursor = live.ask("GET", f"{BASE}/docs/ids?limit=1").json["cursor"]
    live.ask("DELETE", f"{BASE}/docs")
    answer = live.ask("GET", f"{BASE}/docs/ids?cursor={cursor}")
    assert answer.code == "index_not_found"
