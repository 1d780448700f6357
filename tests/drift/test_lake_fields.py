"""A field of a lake in two windows: what is read, what is compared, what is said beside it."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stillhouse.drift import compute_categorical_drift, compute_distribution_drift
from stillhouse.drift.data import (
    DataDrift,
    DriftQuery,
    Edges,
    compare,
    data_drift,
    lake_days,
    outcome,
)
from stillhouse.drift.reading import MOST, By, Reading, Values
from stillhouse.drift.windows import read_window
from stillhouse.engines import InlineEngine, LocalEngine
from stillhouse.errors import UsageError
from stillhouse.interfaces import Engine, Store
from stillhouse.records import encode
from stillhouse.storage import LocalStore, MemoryStore
from tests.exports.lakes import Row, distilled, edit, files, lake, scored_files
from tests.runs import CountingStore, demo, run, stamps

JANUARY = ("2026-01-01..2026-01-31", "2026-02-01..2026-02-28")


def query(
    field: str,
    windows: tuple[str, str] = JANUARY,
    *,
    by: By | None = None,
    buckets: int = 10,
    edges: Edges = "equal_width",
) -> DriftQuery:
    """A question."""
    return DriftQuery(
        field=field,
        reference=read_window(windows[0], "--reference"),
        current=read_window(windows[1], "--current"),
        by=by,
        buckets=buckets,
        edges=edges,
    )


def ask(
    store: Store,
    field: str,
    windows: tuple[str, str] = JANUARY,
    engine: Engine | None = None,
    **options: Any,
) -> DataDrift:
    """The answer."""
    return data_drift(store, engine or InlineEngine(), query(field, windows, **options))


def review(day: str, number: int, **fields: Any) -> Row:
    """A raw row of an observer's review."""
    return {
        "ts": f"{day}T10:{number // 60 % 60:02}:{number % 60:02}Z",
        "file": f"{number}.py",
        "verdict": "accept",
        "review": "x" * (1 + number % 9),
    } | fields


def reviews(**fields: Any) -> Store:
    """A lake of ten reviews in January and ten in February with these fields in each."""
    days = ("2026-01-31", "2026-02-01")
    return distilled(
        {"observer_reviews": [review(d, n, **fields) for d in days for n in range(10)]}
    )


# --------------------------------------------------------------------------- by hand


def _rows_by_hand(root: Path) -> list[tuple[str, dict[str, Any], str]]:
    """(stem, evidence, category) of every row of a lake, from its files alone."""
    scored = {}
    for path in (root / "scored-runs").rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            one = json.loads(line)
            origin = one["provenance"]
            scored[origin["source_file"], origin["line_offset"]] = one["category"]
    found = []
    for path in (root / "evidence").rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            one = json.loads(line)
            origin = one["provenance"]
            category = scored[origin["source_file"], origin["line_offset"]]
            found.append((path.stem, one, category))
    return found


def _psi_by_hand(reference: list[float], current: list[float], buckets: int) -> float:
    """Σ (c - r) · ln(c / r) over buckets of one width, written out."""
    low, high = min(reference + current), max(reference + current)
    shares = []
    for side in (reference, current):
        counts = Counter(
            min(int((value - low) / (high - low) * buckets), buckets - 1) for value in side
        )
        shares.append([max(counts[at] / len(side), 1e-4) for at in range(buckets)])
    return math.fsum((c - r) * math.log(c / r) for r, c in zip(*shares, strict=True))


@pytest.fixture(scope="module")
def demo_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An example lake that was run; tests only look."""
    root = demo(tmp_path_factory.mktemp("drift") / "lake", 300)
    run(root)
    return root


SPLIT = ("..2026-03-04", "2026-03-05..")


@pytest.mark.parametrize("buckets", [5, 10])
def test_numbers_of_the_demo_lake_by_hand(demo_lake: Path, buckets: int) -> None:
    """Latency before and after a day: rows, missing values and PSI are those of a plain count."""
    before = stamps(demo_lake)
    sides: tuple[list[float], list[float]] = ([], [])
    rows = [0, 0]
    for _, one, _ in _rows_by_hand(demo_lake):
        late = one["timestamp"] >= "2026-03-05"
        rows[late] += 1
        if "latency_ms" in one:
            sides[late].append(one["latency_ms"])
    found = ask(LocalStore(demo_lake), "latency_ms", SPLIT, buckets=buckets)
    assert (found.reference.rows, found.current.rows) == tuple(rows)
    assert (found.reference.values, found.current.values) == (len(sides[0]), len(sides[1]))
    assert found.reference.missing == rows[0] - len(sides[0]) > 0
    assert found.drift.psi == pytest.approx(_psi_by_hand(*sides, buckets), abs=1e-12)
    assert stamps(demo_lake) == before


def test_categories_of_the_demo_lake_by_hand(demo_lake: Path) -> None:
    """The category of scored runs, by source, on both engines."""
    store = LocalStore(demo_lake)
    found = ask(store, "category", SPLIT, by="source")
    with LocalEngine(2) as engine:
        assert encode(ask(store, "category", SPLIT, engine, by="source")) == encode(found)
        numbers = ask(store, "latency_ms", SPLIT, engine, by="source")
        assert encode(numbers) == encode(ask(store, "latency_ms", SPLIT, by="source"))
    counts: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for stem, one, category in _rows_by_hand(demo_lake):
        late = one["timestamp"] >= "2026-03-05"
        counts.setdefault(stem, (Counter(), Counter()))[late][category] += 1
    both = {stem: sides for stem, sides in counts.items() if all(sides)}
    assert both.keys() == found.groups.keys()
    for stem, sides in both.items():
        buckets = {one.label: (one.reference, one.current) for one in found.groups[stem].buckets}
        assert buckets == {
            name: (sides[0][name], sides[1][name]) for name in {*sides[0], *sides[1]}
        }
    assert found.drift.reference_size == sum(s[0].total() for s in counts.values())


# ------------------------------------------------------------------------- what is read


def test_only_partitions_of_the_windows_are_read() -> None:
    """A day that is in no window is listed and not opened; scored runs only where needed."""
    days = ["2026-01-30", "2026-01-31", "2026-02-01", "2026-02-02"]
    store = CountingStore(distilled({"audits": [{"ts": day, "summary": "x"} for day in days]}))
    windows = ("2026-01-31..2026-01-31", "2026-02-02T00:00:00Z..2026-02-02T12:00:00Z")
    ask(store, "text_chars", windows)
    assert store.paths["open"] == {
        "evidence/2026/01/31/audits.jsonl",
        "evidence/2026/02/02/audits.jsonl",
    }
    ask(store, "text_chars", windows, by="category")
    assert "scored-runs/2026/01/31/audits.jsonl" in store.paths["open"]
    assert not store.calls["begin", "evidence"]


def test_rows_are_placed_by_their_time() -> None:
    """Within a day that a window cuts, each row's own time decides; the end is not in it."""
    times = ["09:59:59.999999Z", "10:00:00Z", "10:30:00Z", "11:00:00Z", "12:00:00Z"]
    rows: list[Row | bytes] = [
        review("2026-01-31", n, ts=f"2026-01-31T{time}") for n, time in enumerate(times)
    ]
    store = distilled({"observer_reviews": rows})
    windows = ("2026-01-31T10:00:00Z..2026-01-31T11:00:00Z", "2026-01-31T11:00:00Z..")
    found = ask(store, "text_chars", windows)
    assert (found.reference.rows, found.current.rows) == (2, 2)


def test_lines_that_cannot_be_read_are_counted_and_named() -> None:
    """A spoilt line of evidence ends no command, and neither does a time that is none."""
    store = reviews()
    path = "evidence/2026/01/31/observer_reviews.jsonl"
    edit(
        store,
        path,
        {
            1: b"{",
            2: b'{"timestamp":"soon","text":"x"}',
            3: b'{"timestamp":"2026-01-31T10:00:00"}',
            4: b'{"text":"\xff"}',
        },
    )
    found = ask(store, "text_chars")
    assert (found.reference.rows, found.unreadable) == (6, 4)
    assert found.unreadable_rows == [f"{path}:{number}" for number in (2, 3, 4, 5)]


def test_the_days_of_a_lake() -> None:
    """In order, once each."""
    assert lake_days(reviews()) == ["2026-01-31", "2026-02-01"]
    assert lake_days(MemoryStore()) == []


# ----------------------------------------------------------------------------- windows


def test_a_window_without_rows_names_the_days() -> None:
    """One line with the days that there are, runs of days together, ready to be asked for."""
    days = ["2025-12-30", "2025-12-31", "2026-01-01", "2026-03-05"]
    store = distilled({"audits": [{"ts": day, "summary": day} for day in days]})
    for windows, name in (
        (("2024-01-01..2024-12-31", "2026-01-01.."), "--reference 2024-01-01..2024-12-31"),
        (("2026-01-01..", "2026-01-02..2026-03-04"), "--current 2026-01-02..2026-03-04"),
        (("2026-01-01T01:00Z..2026-01-01T02:00Z", ".."), "--reference 2026-01-01T01:00Z"),
    ):
        with pytest.raises(UsageError) as caught:
            ask(store, "text_chars", windows)
        line = str(caught.value)
        assert line.startswith(f"{name}")
        assert line.endswith(
            "has no rows. The lake has rows in 2025-12-30..2026-01-01, 2026-03-05..2026-03-05."
        )


def test_many_runs_of_days_are_cut() -> None:
    """A lake with many gaps does not fill the screen."""
    days = [f"2026-01-{day:02}" for day in range(1, 30, 2)]
    store = distilled({"audits": [{"ts": day, "summary": day} for day in days]})
    with pytest.raises(UsageError, match=r"05\.\.2026-01-05, .* and 10 more up to 2026-01-29\.$"):
        ask(store, "text_chars", ("2020-01-01..2020-01-02", ".."))


def test_a_lake_without_evidence_says_so() -> None:
    """No day can be named where nothing was read."""
    with pytest.raises(UsageError, match="The lake has no evidence yet: `stillhouse run`"):
        ask(lake({"audits": [{"ts": "2026-01-01", "summary": "x"}]}), "text_chars")


def test_windows_that_overlap_are_told() -> None:
    """Rows in both hide drift, which the reader must know."""
    store = reviews()
    overlap = ask(store, "text_chars", ("..2026-02-01", "2026-02-01.."))
    assert [note for note in overlap.notes if "overlap" in note]
    assert not ask(store, "text_chars").notes


# ------------------------------------------------------------------------------ values


def test_rows_without_a_value_are_counted() -> None:
    """Missing is said, a window without any value is no comparison, and the share of missing
    values is a change of its own."""
    rows: list[Row | bytes] = [review("2026-01-31", n, cost_usd=0.1) for n in range(10)]
    rows += [review("2026-02-01", n) for n in range(10)]
    found = ask(distilled({"observer_reviews": rows}), "cost_usd")
    assert (found.reference.values, found.reference.missing) == (10, 0)
    assert (found.current.values, found.current.missing) == (0, 10)
    assert found.drift.verdict == outcome(found.drift) == "empty"
    assert not found.has_values()
    assert found.notes == [
        "cost_usd is missing in 0% of the reference and 100% of the current rows: that is a change "
        "of its own, which the figures leave out"
    ]
    assert ask(reviews(cost_usd=0.1), "cost_usd").has_values()


@pytest.mark.parametrize("confidence", [0.5, None])
def test_values_that_are_all_alike_or_missing(confidence: float | None) -> None:
    """Nothing divides by zero, and nothing has drifted."""
    found = ask(reviews(confidence=confidence), "confidence")
    assert found.drift.psi == 0.0
    assert found.has_values() is (confidence is not None)


def test_one_value_in_each_window() -> None:
    """Too few to tell anything, and said so."""
    rows: list[Row | bytes] = [review("2026-01-31", 1), review("2026-02-01", 5)]
    found = ask(distilled({"observer_reviews": rows}), "text_chars")
    assert found.drift.psi > 1
    assert outcome(found.drift) == "too few values"


@pytest.mark.parametrize("buckets", [0, -1, 10**9])
def test_a_number_of_buckets_out_of_bounds_is_bounded(buckets: int) -> None:
    """The nearest sane number is taken, and said."""
    found = ask(reviews(), "text_chars", buckets=buckets)
    assert any(f"{buckets} buckets were asked for" in line for line in found.drift.warnings)


def test_edges_by_quantiles_of_the_reference() -> None:
    """The same values in buckets that hold an equal share of the reference."""
    rows: list[Row | bytes] = [
        review(day, n, latency_ms=float(n * n + late * 100))
        for late, day in enumerate(("2026-01-31", "2026-02-01"))
        for n in range(50)
    ]
    store = distilled({"observer_reviews": rows})
    found = ask(store, "latency_ms", edges="quantile", buckets=5)
    reference = [float(n * n) for n in range(50)]
    current = [value + 100 for value in reference]
    wanted = compute_distribution_drift(reference, current, 5, edges="quantile")
    assert found.drift == wanted
    assert wanted != compute_distribution_drift(reference, current, 5)
    assert [bucket.reference for bucket in wanted.buckets] == [10] * 5


# ---------------------------------------------------------------------------- metadata


def test_a_metadata_path_of_numbers() -> None:
    """Words among numbers count as missing, and are said."""
    rows: list[Row | bytes] = [
        review(day, n, metadata={"run": {"steps": n if n < 8 else "many"}})
        for day in ("2026-01-31", "2026-02-01")
        for n in range(10)
    ]
    found = ask(distilled({"observer_reviews": rows}), "metadata.run.steps")
    assert (found.kind, found.reference.values, found.reference.missing) == ("numeric", 8, 2)
    assert found.notes == ["metadata.run.steps: 4 values are no numbers and count as missing"]


def test_a_metadata_path_of_words() -> None:
    """Text is compared as categories; a number among words counts as missing."""
    rows: list[Row | bytes] = [
        review(day, n, metadata={"release": 3 if n == 0 else f"2.{n % 3 + late}"})
        for late, day in enumerate(("2026-01-31", "2026-02-01"))
        for n in range(10)
    ]
    found = ask(distilled({"observer_reviews": rows}), "metadata.release")
    assert (found.kind, found.reference.values, found.reference.missing) == ("categorical", 9, 1)
    assert found.drift == compute_categorical_drift(
        {"2.0": 3, "2.1": 3, "2.2": 3}, {"2.1": 3, "2.2": 3, "2.3": 3}
    )
    assert found.notes == [
        "metadata.release: 2 values are numbers among words and count as missing"
    ]


def test_categories_hold_no_secret() -> None:
    """A free field can hold a key; what is shown does not."""
    key = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
    found = ask(reviews(metadata={"auth": key}), "metadata.auth")
    (bucket,) = found.drift.buckets
    assert bucket.label.startswith("[REDACTED:")
    assert (bucket.reference, bucket.current) == (10, 10)


def test_a_path_that_nothing_has() -> None:
    """No value anywhere is an answer, not an error."""
    found = ask(reviews(), "metadata.nowhere")
    assert (found.kind, found.reference.missing, found.has_values()) == ("numeric", 10, False)


def test_text_that_never_repeats_is_no_category() -> None:
    """An id asked for as a category is refused before it fills the memory."""
    reading = Reading({"": Values()}, {"": Values()})
    for number in range(5 * MOST):
        reading.reference[""].add(f"id-{number}")
    assert len(reading.reference[""].words) == MOST + 1
    assert reading.reference[""].rows == 5 * MOST
    reading.current[""].add("id-1")
    with pytest.raises(UsageError, match=r"^metadata.id has more than 1,000 different values"):
        compare(reading, query("metadata.id"))
    # Numbers with many odd words among them are still numbers.
    for number in range(6 * MOST):
        reading.current[""].add(float(number))
    assert compare(reading, query("metadata.id")).kind == "numeric"


# ------------------------------------------------------------------------------ groups


def test_groups_are_compared_by_themselves() -> None:
    """A value of the group that only one window has is listed, and the whole is all rows."""
    rows: list[Row | bytes] = [
        review("2026-01-31", n, model=["old", "both", None][n % 3]) for n in range(30)
    ]
    rows += [review("2026-02-01", n, model=["new", "both", None][n % 3]) for n in range(30)]
    found = ask(distilled({"observer_reviews": rows}), "text_chars", by="model")
    assert [*found.groups] == ["(none)", "both"]
    assert (found.only_in_reference, found.only_in_current) == (["old"], ["new"])
    assert found.drift.reference_size == 30
    assert found.groups["both"].reference_size == 10
    assert found.drift == ask(distilled({"observer_reviews": rows}), "text_chars").drift


def test_groups_without_values_are_left_out() -> None:
    """A source that never logs a cost is in no list of costs."""
    logs: dict[str, list[Row | bytes]] = {
        "observer_reviews": [review(d, 1, cost_usd=1.0) for d in ("2026-01-31", "2026-02-01")],
        "audits": [{"ts": d, "summary": d} for d in ("2026-01-31", "2026-02-01")],
    }
    found = ask(distilled(logs), "cost_usd", by="source")
    assert [*found.groups] == ["observer_reviews"]
    assert (found.only_in_reference, found.only_in_current) == ([], [])
    assert found.reference.missing == 1


def test_rows_without_a_scored_run_have_no_category() -> None:
    """Evidence that was never scored is missing a category, and a group of its own."""
    store = reviews()
    store.delete(scored_files(store)[0])
    found = ask(store, "category")
    assert (found.reference.values, found.reference.missing) == (0, 10)
    grouped = ask(store, "text_chars", by="category")
    assert (grouped.only_in_reference, grouped.only_in_current) == (["(none)"], ["accepted"])


def test_too_many_groups_are_refused() -> None:
    """Memory is bounded: a model a row is no group."""
    reading = Reading()
    reading.merge(Reading({f"m{n}": Values() for n in range(MOST)}))
    said = r"^there are more than 1,000 groups\. Leave --by out\.$"
    with pytest.raises(UsageError, match=said):
        reading.merge(Reading({"one more": Values()}))
    rows: list[Row | bytes] = [review("2026-01-31", n, model=f"m{n}") for n in range(MOST + 1)]
    with pytest.raises(UsageError, match=said):
        ask(distilled({"observer_reviews": rows}), "text_chars", by="model")


@pytest.mark.parametrize("field", ["source", "model", "provider", "verdict"])
def test_categorical_fields(field: str) -> None:
    """Each is read from where it stands."""
    wanted = {"source": "observer_reviews", "model": "m", "provider": "p", "verdict": "accept"}
    found = ask(reviews(model="m", provider="p"), field)
    assert (found.kind, [bucket.label for bucket in found.drift.buckets]) == (
        "categorical",
        [wanted[field]],
    )


# ------------------------------------------------------------------------------ results


@pytest.mark.parametrize(
    ("sides", "called"),
    [
        (({"a": 50, "b": 50}, {"a": 50, "b": 50}), "within noise"),
        (({"a": 50, "b": 50}, {"a": 45, "b": 55}), "within noise"),
        (({"a": 5000, "b": 5000}, {"a": 4500, "b": 5500}), "stable"),
        (({"a": 50, "b": 50}, {"a": 30, "b": 70}), "minor"),
        (({"a": 50, "b": 50}, {"a": 10, "b": 90}), "major"),
        (({"a": 9, "b": 0}, {"a": 0, "b": 9}), "too few values"),
        (({"a": 5, "b": 5}, {"a": 0, "b": 10}), "major"),
        (({"a": 5}, {}), "empty"),
    ],
)
def test_what_a_drift_is_called(sides: tuple[dict[str, int], dict[str, int]], called: str) -> None:
    """Its verdict counts only beyond its noise, and noise is only told of enough values."""
    assert outcome(compute_categorical_drift(*sides)) == called


def test_the_shape_names_every_field() -> None:
    """The document has all its keys, its version, and the windows as they were asked for."""
    made = json.loads(encode(ask(reviews(), "text_chars")))
    assert made["schema_version"] == 1
    assert set(made) == set(DataDrift.__struct_fields__)
    assert made["reference"] == {"window": JANUARY[0], "rows": 10, "values": 10, "missing": 0}
    assert made["drift"]["reference_size"] == 10


def test_nothing_is_written() -> None:
    """Looking changes no file."""
    store = reviews()
    before = files(store, "")
    ask(store, "category", by="model")
    assert files(store, "") == before
