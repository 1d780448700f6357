"""The tail: what a view has of it never changes."""

from __future__ import annotations

import numpy as np

from stillhouse.vectors.filters import parse_filter
from stillhouse.vectors.tail import Tail
from tests.vectors.shelf import Shelf, clustered


def _shelf(count: int) -> Shelf:
    shelf = Shelf("cosine")
    shelf.put(
        [f"i{at}" for at in range(count)],
        clustered(count, 8, 1),
        [{"at": at % 7} for at in range(count)],
    )
    return shelf


def test_rows_are_as_they_were_appended() -> None:
    """Over all growing, every row is where it was put."""
    shelf = _shelf(500)
    tail = Tail("cosine", 8)
    for rows in shelf.rows(shelf.versions()[0], 37):
        tail.append(rows)
    assert tail.count == 500
    right = next(shelf.rows(shelf.versions()[0], 500))
    found = tail.rows(np.arange(500))
    assert found.seqs.tolist() == right.seqs.tolist()
    assert found.checks.tolist() == right.checks.tolist()
    assert (found.ids, found.metadata) == (right.ids, right.metadata)
    assert found.vectors.tobytes() == right.vectors.tobytes()
    np.testing.assert_allclose(
        tail.inverted[:500] * np.linalg.norm(right.vectors, axis=1), 1.0, rtol=1e-5
    )


def test_what_a_reader_holds_stays() -> None:
    """Arrays that were taken before the tail grew keep their rows."""
    shelf = _shelf(300)
    batches = list(shelf.rows(shelf.versions()[0], 50))
    tail = Tail("cosine", 8)
    tail.append(batches[0])
    vectors, seqs = tail.vectors[:50], tail.seqs[:50]
    before = vectors.tobytes(), seqs.tobytes()
    for rows in batches[1:]:
        tail.append(rows)
    assert (vectors.tobytes(), seqs.tobytes()) == before


def test_filters_see_no_further_than_a_length() -> None:
    """What was appended since does not match for those who do not see it."""
    shelf = _shelf(300)
    tail = Tail("cosine", 8)
    for rows in shelf.rows(shelf.versions()[0], 60):
        tail.append(rows)
    three = parse_filter({"at": 3})
    for length in (300, 10, 0, 150):
        assert tail.select(three, length).tolist() == list(range(3, length, 7))


def test_the_rest_is_a_tail_of_its_own() -> None:
    """The rest begins where it should, and growing it leaves the old tail alone."""
    shelf = _shelf(120)
    one, two = shelf.rows(shelf.versions()[0], 60)
    tail = Tail("cosine", 8)
    tail.append(one)
    rest = tail.rest(40)
    rest.append(two)
    assert (tail.count, rest.count) == (60, 80)
    assert rest.seqs[:80].tolist() == list(range(41, 121))
    assert rest.select(parse_filter({"at": 40 % 7}), 80).tolist()[0] == 0
    assert tail.rest(60).count == 0


def test_growing_copies_each_row_few_times() -> None:
    """Room is made ahead: a thousand small appends make few new arrays."""
    shelf = _shelf(1_000)
    tail = Tail("cosine", 8)
    arrays = set()
    for rows in shelf.rows(shelf.versions()[0], 1):
        tail.append(rows)
        arrays.add(len(tail.vectors))
    assert len(arrays) <= 10
