"""The benchmark's input must be what its page says, or its figures mean nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.drift import ARRAYS, FLOOR, IN_CHUNKS, missed_targets
from benchmarks.floor import lines, pass_over
from benchmarks.lake import INVALID_RUN, SHARES, append_rows, write_lake
from benchmarks.main_job import Line, count_categories, find_targets
from benchmarks.measure import CommandFailedError, Cost, measure

ROWS = 4000


def _bytes(lake: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((lake / "_kb").iterdir())}


def _cost(wall: float, peak: int = 0) -> Cost:
    return Cost(wall, wall, peak, (), "")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench") / "lake"
    write_lake(root, ROWS)
    return root


def test_equal_arguments_give_equal_bytes(lake: Path, tmp_path: Path) -> None:
    """The same rows and seed give the same files, another seed gives others."""
    write_lake(tmp_path / "same", ROWS)
    write_lake(tmp_path / "other", ROWS, seed=2)
    assert _bytes(tmp_path / "same") == _bytes(lake)
    assert _bytes(tmp_path / "other")["audits.jsonl"] != _bytes(lake)["audits.jsonl"]


def test_rows_are_as_many_and_as_large_as_promised(lake: Path) -> None:
    """Eight logs hold exactly the rows asked for, of about 2 kB."""
    found = [line for data in _bytes(lake).values() for line in data.splitlines()]
    assert len(_bytes(lake)) == len(SHARES) == 8
    assert len(found) == ROWS
    assert 1800 < sum(map(len, found)) / ROWS < 2400


def test_shares_of_bad_rows(tmp_path: Path) -> None:
    """One row in a thousand does not parse and one in a hundred breaks a rule, as accounted."""
    expected = write_lake(tmp_path, 20_000)
    malformed = invalid = 0
    for data in _bytes(tmp_path).values():
        for line in data.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                malformed += 1
            else:
                invalid += row["run_id"].startswith(INVALID_RUN)
    assert malformed == expected.malformed == 20
    assert invalid == expected.invalid == 200
    assert expected.valid == 20_000 - 220 - expected.repeated == sum(expected.totals().values())


def test_answers_repeat_and_contradict_each_other(tmp_path: Path) -> None:
    """Some answers to a task are given twice, and some of those are judged otherwise."""
    write_lake(tmp_path, 20_000)
    seen: dict[tuple[str, str], bool | None] = {}
    again = conflicts = rows = 0
    for line in _bytes(tmp_path)["mode_experiments.jsonl"].splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows += 1
        key = row["prompt"], row["response"]
        passed = all(row["validators"].values()) if row["validators"] else None
        if key in seen:
            again += 1
            conflicts += seen[key] != passed
        seen[key] = passed
    assert 0.01 < again / rows < 0.03
    assert 0.001 < conflicts / rows < 0.01


def test_appending_adds_new_rows_only(tmp_path: Path) -> None:
    """Appended rows follow the old bytes and repeat none of their run ids."""
    write_lake(tmp_path, ROWS)
    before = _bytes(tmp_path)
    assert append_rows(tmp_path, ROWS, 400).rows == 400
    after = _bytes(tmp_path)
    assert all(
        after[name].startswith(data) and after[name] != data for name, data in before.items()
    )
    tail = after["audits.jsonl"][len(before["audits.jsonl"]) :]
    assert json.loads(tail.splitlines()[0])["run_id"] == f"audits-{ROWS * 6 // 100}"


def test_the_floor_reads_every_well_typed_row_once(lake: Path) -> None:
    """One process and two parts see the same rows, whatever byte the cut falls on."""
    whole = pass_over(lake, 0, 1)
    assert ROWS * 0.98 < whole < ROWS
    assert sum(pass_over(lake, part, 3) for part in range(3)) == whole


def test_no_cut_loses_a_line_or_reads_it_twice(tmp_path: Path) -> None:
    """Wherever a file is cut, each line belongs to exactly one part."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"one\ntwo\n\nthree\n")
    whole = path.read_bytes().splitlines(keepends=True)
    for cut in range(path.stat().st_size + 1):
        assert [*lines(path, 0, cut), *lines(path, cut, path.stat().st_size)] == whole


def test_counting_categories_leaves_out_rows_that_break_a_rule(tmp_path: Path) -> None:
    """Verdicts are compared on valid rows, since peers let some invalid ones pass."""
    day = tmp_path / "scored-runs" / "2026" / "01" / "05"
    day.mkdir(parents=True)
    runs = [("a", "accepted"), ("b", "rejected"), (f"{INVALID_RUN}c", "accepted")]
    (day / "audits.jsonl").write_text(
        "".join(json.dumps({"evidence_run_id": i, "category": c}) + "\n" for i, c in runs)
    )
    assert count_categories(tmp_path) == {"accepted": 1, "rejected": 1}


def test_memory_of_a_worker_is_seen() -> None:
    """The peak of a child process is reported beside its parent's."""
    child = "x = bytearray(60_000_000); import time; time.sleep(0.3)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    cost = measure([sys.executable, "-c", parent])
    assert cost.peak > 60_000_000
    if sys.platform == "linux":
        assert max(cost.worker_peaks) > 60_000_000 > cost.parent_peak
    assert cost.wall >= 0.3


def test_a_failing_command_is_no_figure() -> None:
    """A contender that ends with an error raises with its last words."""
    with pytest.raises(CommandFailedError, match="out of order"):
        measure([sys.executable, "-c", "raise SystemExit('out of order')"])


def test_targets_compare_medians() -> None:
    """A target is met by the median of the rounds, and peers are compared by the fastest."""
    table = {
        "floor, 1 process": Line("floor, 1 process", 10, 10, [_cost(1.0)]),
        "stillhouse: evidence and scores": Line(
            "stillhouse: evidence and scores", 10, 10, [_cost(9.0), _cost(1.4), _cost(1.3)]
        ),
        "peer: polars": Line("peer: polars", 10, 10, [_cost(3.0)]),
        "peer: duckdb": Line("peer: duckdb", 10, 10, [_cost(7.0)]),
    }
    found = {target.what: target for target in find_targets(table)}
    assert found["evidence and scores, × floor, at most"].holds
    assert found["times as fast as the fastest peer, at least"].value == pytest.approx(3.0 / 1.4)
    assert not found["times as fast as the fastest peer, at least"].holds


def test_drift_is_measured_on_what_it_says() -> None:
    """Each of our ways gives the same PSI over equal buckets, and a missed target is named."""
    command = [sys.executable, "-m", "benchmarks.drift", "--values", "20000", "--rounds", "1"]
    done = measure([*command, "--json", "--only", ARRAYS, IN_CHUNKS, "--check"])
    shown = json.loads(done.output)
    rows = {row["name"]: row for row in shown["rows"]}
    assert list(rows) == [FLOOR, ARRAYS, IN_CHUNKS]
    assert rows[ARRAYS]["psi"] == rows[IN_CHUNKS]["psi"] > 0
    assert rows[FLOOR]["ratio"] == 1
    assert shown["missed"] == missed_targets(shown["rows"]) == []
    slow = {**rows[ARRAYS], "seconds": 2.5, "growth": 300_000_000}
    assert len(missed_targets([slow])) == 2
