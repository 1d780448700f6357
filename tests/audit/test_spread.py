"""How fields are spread at an audit, over edges that are kept, and what is compared with what."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.audit.report import AuditReport
from stillhouse.audit.spread import BUCKETS, COUNTED, READ, compare_spreads
from stillhouse.records import AuditBaseline, BaselineDistribution
from tests.audit.lakes import FIRST, SECOND, THIRD, attempts, audit
from tests.runs import add, put, row, rows


def baseline(report: AuditReport) -> AuditBaseline:
    assert report.baseline is not None
    return report.baseline


def reviews(first: int, end: int, size: int) -> bytes:
    """Review rows whose text has about so many characters."""
    return b"".join(
        row(number, review="x" * (size + number % 20), model="small", latency_ms=number % 50)
        + b"\n"
        for number in range(first, end)
    )


def test_every_field_of_an_audit_is_spread(tmp_path: Path) -> None:
    """Numbers stand in buckets that add up to the rows, words are counted each."""
    put(tmp_path, "scrum_reviews", reviews(0, 200, 100))
    put(tmp_path, "outcomes", b"".join(row(n, report=f"r{n}") + b"\n" for n in range(10)))
    spreads = baseline(audit(tmp_path)).distributions
    assert set(spreads) == {*READ, *COUNTED}
    text, latency = spreads["text_chars"], spreads["latency_ms"]
    assert (sum(text.counts), text.below, text.above, text.missing) == (210, 0, 0, 0)
    assert len(text.counts) == len(text.edges) - 1
    assert (sum(latency.counts), latency.missing, len(latency.counts)) == (200, 10, BUCKETS)
    assert spreads["cost_usd"].missing == 210
    assert (spreads["cost_usd"].edges, spreads["cost_usd"].counts) == ([], [])
    assert (spreads["model"].labels, spreads["model"].missing) == ({"small": 200}, 10)
    assert spreads["source"].labels == {"outcomes": 10, "scrum_reviews": 200}
    assert sum(spreads["category"].labels.values()) == 210


def test_edges_are_kept_so_that_figures_compare(tmp_path: Path) -> None:
    """Later audits count over the first one's edges; what lies outside is beside them."""
    log = put(tmp_path, "scrum_reviews", reviews(0, 200, 100))
    first = baseline(audit(tmp_path, FIRST)).distributions["text_chars"]
    add(log, reviews(200, 300, 5000))
    second = baseline(audit(tmp_path, SECOND)).distributions["text_chars"]
    assert second.edges == first.edges
    assert (second.counts, second.above) == (first.counts, 100)
    third = baseline(audit(tmp_path, THIRD)).distributions["text_chars"]
    assert third == second


def test_new_rows_alone_are_compared(tmp_path: Path) -> None:
    """A hundred new rows of another kind do not drown in a thousand old ones."""
    log = put(tmp_path, "scrum_reviews", reviews(0, 1000, 100))
    audit(tmp_path, FIRST)
    add(log, reviews(1000, 1100, 100))
    same = audit(tmp_path, SECOND).data["text_chars"]
    assert (same.compared, same.drift.current_size) == ("new rows", 100)
    assert same.drift.reference_size == 1000
    assert same.drift.psi <= same.drift.noise_floor_99
    add(log, reviews(1100, 1200, 130))
    other = audit(tmp_path, THIRD).data["text_chars"]
    assert (other.compared, other.drift.current_size) == ("new rows", 100)
    assert other.drift.reference_size == 1100
    assert (other.drift.verdict, other.drift.psi > other.drift.noise_floor_99) == ("major", True)


def test_where_nothing_is_new_all_is_compared(tmp_path: Path) -> None:
    """Two audits of one lake agree in every field."""
    put(tmp_path, "scrum_reviews", reviews(0, 100, 100))
    audit(tmp_path, FIRST)
    data = audit(tmp_path, SECOND).data
    assert set(data) == {"text_chars", "latency_ms", "model", "category", "source"}
    assert {(found.compared, found.drift.psi) for found in data.values()} == {("all rows", 0.0)}


def test_where_rows_went_away_all_is_compared(tmp_path: Path) -> None:
    """A log that was written anew has no new rows that could be told from the old."""
    log = put(tmp_path, "scrum_reviews", attempts(0, 100, 1))
    audit(tmp_path, FIRST)
    log.write_bytes(attempts(0, 50, 1) + attempts(50, 100, 2))
    found = audit(tmp_path, SECOND).data
    assert found["category"].compared == "all rows"
    assert found["category"].drift.current_size == 100
    assert found["category"].drift.verdict == "major"


def test_a_field_that_had_no_values_gets_its_edges_later(tmp_path: Path) -> None:
    """There is nothing to compare with at first; from the second audit with values there is."""
    log = put(tmp_path, "scrum_reviews", rows(0, 20))
    assert baseline(audit(tmp_path, FIRST)).distributions["latency_ms"].edges == []
    add(log, reviews(20, 60, 100))
    second = audit(tmp_path, SECOND)
    assert baseline(second).distributions["latency_ms"].edges
    assert "latency_ms" not in second.data
    assert "latency_ms" in audit(tmp_path, THIRD).data


def words(beyond: int = 0, **labels: int) -> dict[str, BaselineDistribution]:
    return {"model": BaselineDistribution(labels=labels, beyond=beyond)}


def numbers(*counts: int, edges: tuple[float, ...] = (0, 1, 2)) -> dict[str, BaselineDistribution]:
    return {"n": BaselineDistribution(edges=list(edges), counts=list(counts))}


@pytest.mark.parametrize(
    ("before", "now", "compared", "sizes"),
    [
        (words(a=5), words(a=7, b=1), "new rows", (5, 3)),
        (words(a=5), words(a=4, b=9), "all rows", (5, 13)),
        (words(a=5), words(b=9), "all rows", (5, 9)),
        (words(2, a=5), words(3, a=5), "new rows", (7, 1)),
        (numbers(3, 4), numbers(3, 9), "new rows", (7, 5)),
        (numbers(3, 4), numbers(2, 9), "all rows", (7, 11)),
        (numbers(3, 4), numbers(3, 4), "all rows", (7, 7)),
    ],
)
def test_what_is_compared_with_what(
    before: dict[str, BaselineDistribution],
    now: dict[str, BaselineDistribution],
    compared: str,
    sizes: tuple[int, int],
) -> None:
    """New rows where no count went down, else all; nothing is lost on either side."""
    (found,) = compare_spreads(before, now).values()
    assert found.compared == compared
    assert (found.drift.reference_size, found.drift.current_size) == sizes


def test_what_does_not_compare_is_left_out() -> None:
    """Other edges, a field of one audit alone, a side without values."""
    assert compare_spreads(numbers(3, 4), numbers(3, 4, edges=(0, 1, 3))) == {}
    assert compare_spreads({}, words(a=1)) == {}
    assert compare_spreads(words(a=1), {}) == {}
    assert compare_spreads(words(), words(a=1)) == {}
    assert compare_spreads(words(a=1), words()) == {}
