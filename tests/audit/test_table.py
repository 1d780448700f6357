"""The drift table: what is told of a metric, exactly at the threshold too, and its history."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.audit.change import exceeds, share_of_change
from stillhouse.audit.history import BETTER, LEAST_AUDITS, creep_of, summarise_history
from stillhouse.audit.metrics import METRICS
from stillhouse.audit.table import (
    DriftRow,
    build_audit_drift_table,
    format_audit_drift_table,
    rows_that_warn,
)
from stillhouse.errors import UsageError
from stillhouse.records import AuditBaseline

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "audit"


def baseline(**metrics: float) -> AuditBaseline:
    return AuditBaseline(schema_version=1, recorded_at="2026-04-01T08:00:00Z", metrics={**metrics})


def one(before: float, after: float, threshold: float = 0.2) -> DriftRow:
    """The row of a metric that went from one value to another."""
    (row,) = build_audit_drift_table(baseline(a=before), baseline(a=after), threshold)
    return row


def test_the_names_of_older_runs_are_pinned() -> None:
    """Old and new baselines compare by these names (A5)."""
    assert METRICS == (
        "p2_evidence_rows",
        "p2_skipped_rows",
        "p3_accepted",
        "p3_partial",
        "p3_rejected",
        "p3_human",
        "p4_sft_rows",
        "p4_preference_pairs",
        "p4_rag_rows",
        "p4_quarantined",
    )
    assert set(METRICS) - set(BETTER) == {"p3_partial"}


def test_rows_are_sorted_by_name_with_every_flag() -> None:
    """Metrics of either side stand in one table: new ones and those that are gone as well."""
    prior, current = baseline(d=5, b=100, a=100, z=0), baseline(c=7, b=150, a=110, z=0)
    rows = build_audit_drift_table(prior, current)
    assert [(row.metric, row.prior, row.current, row.change, row.flag) for row in rows] == [
        ("a", 100, 110, 0.1, "ok"),
        ("b", 100, 150, 0.5, "warn"),
        ("c", None, 7, None, "first_run"),
        ("d", 5, None, None, "removed"),
        ("z", 0, 0, None, "ok"),
    ]
    assert rows_that_warn(rows)
    assert not rows_that_warn(build_audit_drift_table(current, current))


@pytest.mark.parametrize("prior", [None, baseline()])
def test_without_a_prior_every_metric_is_a_first_run(prior: AuditBaseline | None) -> None:
    """There is nothing to compare with, and nothing to warn of."""
    rows = build_audit_drift_table(prior, baseline(a=1, b=0))
    assert [(row.metric, row.flag, row.change) for row in rows] == [
        ("a", "first_run", None),
        ("b", "first_run", None),
    ]


@pytest.mark.parametrize(
    ("before", "after", "threshold", "flag"),
    [
        (100, 120, 0.2, "ok"),
        (100, 121, 0.2, "warn"),
        (100, 80, 0.2, "ok"),
        (100, 79, 0.2, "warn"),
        (100, 100, 0, "ok"),
        (100, 101, 0, "warn"),
        # As binary fractions each of these is a hair above its threshold, or below it.
        (10, 11, 0.1, "ok"),
        (110, 121, 0.1, "ok"),
        (0.1, 0.11, 0.1, "ok"),
        (0.3, 0.36, 0.2, "ok"),
        (0.7, 0.77, 0.1, "ok"),
        (3, 3.9, 0.3, "ok"),
        (49, 63.7, 0.3, "ok"),
        (0.1, 0.1100000000000001, 0.1, "warn"),
        (1e308, -1e308, 1.9, "warn"),
        (5e-324, 1e308, 0.2, "warn"),
        (9007199254740992, 10808639105689190.4, 0.2, "ok"),
    ],
)
def test_a_change_of_exactly_the_threshold_is_ok(
    before: float, after: float, threshold: float, flag: str
) -> None:
    """And one above it warns, whatever binary fractions make of the numbers."""
    assert one(before, after, threshold).flag == flag


@pytest.mark.parametrize(
    ("before", "after", "change", "flag"),
    [
        (0, 0, None, "ok"),
        (0, 1, None, "warn"),
        (0, 1e-9, None, "warn"),
        (0, -1, None, "warn"),
        (-0.0, 0.0, None, "ok"),
        (1, 0, -1.0, "warn"),
        (-100, -121, -0.21, "warn"),
        (-100, -80, 0.2, "ok"),
        (-100, 100, 2.0, "warn"),
        (5e-324, 1e308, None, "warn"),
    ],
)
def test_zero_and_negative_values(
    before: float, after: float, change: float | None, flag: str
) -> None:
    """Of zero there is no percentage; a negative value is measured by its size, so that a rise
    is positive."""
    row = one(before, after)
    assert (row.change, row.flag) == (change, flag)


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf, -0.1])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    """With NaN nothing would ever warn; the error says how a share is written."""
    with pytest.raises(UsageError, match=r"is not a share of 0 or more.*0\.2"):
        build_audit_drift_table(baseline(a=1), baseline(a=2), threshold)


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers, st.floats(0, 10))
def test_a_change_and_its_flag_agree(before: float, after: float, threshold: float) -> None:
    """Nothing moved is never too much, and twice the threshold is what once is, or less."""
    assert not exceeds(before, before, threshold)
    if exceeds(before, after, threshold * 2):
        assert exceeds(before, after, threshold)
    change = share_of_change(before, after)
    assert change is None or math.isfinite(change)
    assert (one(before, after, threshold).flag == "warn") == exceeds(before, after, threshold)


# -------------------------------------------------------------------------------- history


def history_of(*values: float, name: str = "a") -> list[AuditBaseline]:
    return [baseline(**{name: value}) for value in values]


def test_a_history_is_the_best_the_median_and_the_spread() -> None:
    """Of the last k alone; which end is best depends on the metric, and may be unknown."""
    past = [
        baseline(p4_sft_rows=999, p3_human=0, a=-999),
        *(baseline(p4_sft_rows=value, p3_human=value, a=value) for value in (10, 14, 11, 12, 30)),
    ]
    found = summarise_history(past)
    assert list(found) == ["a", "p3_human", "p4_sft_rows"]
    for one in found.values():
        assert (one.audits, one.low, one.high, one.median, one.mad) == (5, 10, 30, 12, 2)
    assert [found[name].best for name in found] == [None, 10, 30]
    assert summarise_history(past, 6)["p4_sft_rows"].best == 999
    assert summarise_history([]) == {}


def test_a_history_of_fewer_than_five_is_refused() -> None:
    """Creep cannot be told from chance by them."""
    with pytest.raises(UsageError, match="4 audits is too short"):
        summarise_history(history_of(1, 2, 3, 4, 5), 4)


def creep(*values: float, name: str = "a", threshold: float = 0.2) -> list[str]:
    """What is told of the last value beside those before it."""
    *past, current = values
    (row,) = build_audit_drift_table(
        baseline(**{name: past[-1]}),
        baseline(**{name: current}),
        threshold,
        summarise_history(history_of(*past, name=name)),
    )
    return [row.flag, *row.creep]


def test_slow_creep_shows() -> None:
    """Steps of 15 % never warn, and are told against the median; a level metric is not."""
    values = [100 * 1.15**step for step in range(6)]
    assert creep(*values) == ["ok", "+52.1% from the median"]
    assert creep(100, 102, 99, 101, 100, 101) == ["ok"]


def test_a_metric_that_leaves_its_spread_shows() -> None:
    """Within the threshold of the last audit, and yet far from what chance would give."""
    assert creep(100, 101, 100, 99, 100, 110) == ["ok"], "MAD 0: the threshold alone decides"
    assert creep(100, 102, 98, 101, 99, 104.4) == ["ok"]
    assert creep(100, 102, 98, 101, 99, 104.5) == ["ok", "outside median ± 3 sigma"]


def test_a_spread_of_nothing_leaves_it_to_the_threshold() -> None:
    """Where all values were the same, a small step is no creep and a large one warns anyway."""
    assert creep(100, 100, 100, 100, 100, 120) == ["ok"]
    assert creep(100, 100, 100, 100, 120, 121) == ["ok", "+21.0% from the median"]
    assert creep(0, 0, 0, 0, 0, 0) == ["ok"]
    assert creep(0, 0, 0, 0, 10, 11) == ["ok", "off the median 0"]


def test_worse_than_the_best_is_told_and_better_is_not() -> None:
    """A fall from the best by steps; a rise above it is what one hopes for."""
    falling = (150, 125, 120, 116, 114, 115)
    assert creep(*falling, name="p4_sft_rows") == ["ok", "-23.3% from the best"]
    assert creep(*falling, name="a") == ["ok"]
    assert creep(*falling, name="p3_human") == ["ok"]
    rising = (60, 95, 96, 97, 98, 100)
    assert creep(*rising, name="p3_human") == ["ok", "+66.7% from the best"]
    assert creep(95, 96, 97, 98, 100, 119, name="p4_sft_rows") == [
        "ok",
        "outside median ± 3 sigma",
        "+22.7% from the median",
    ]


def test_creep_is_told_only_of_what_does_not_warn() -> None:
    """A step that warns is in plain sight; a history of four tells nothing."""
    assert creep(100, 100, 100, 100, 100, 200) == ["warn"]
    assert creep(100, 115, 132, 152, 175) == ["ok"]
    past = summarise_history(history_of(100, 100, 100, 100, 100, name="p3_human"))["p3_human"]
    assert creep_of(50, past, 0.2) == ["-50.0% from the median"]
    assert creep_of(150, past, 0.2) == ["+50.0% from the median", "+50.0% from the best"]
    past = summarise_history(history_of(100, 115, 132, 152))["a"]
    assert past.audits < LEAST_AUDITS
    assert creep_of(175, past, 0.2) == []


# ----------------------------------------------------------------------------------- text


def golden(name: str) -> str:
    return (GOLDEN / name).read_text(encoding="utf-8")


def test_the_grid_without_a_history() -> None:
    """Numbers stand to the right, words to the left, all lines are as long as the first."""
    prior = baseline(p2_evidence_rows=1_234_567, p3_accepted=100, p3_human=0, gone=3, ratio=0.25)
    current = baseline(
        p2_evidence_rows=1_234_568, p3_accepted=121, p3_human=4, ratio=1 / 3, new=1e20
    )
    text = format_audit_drift_table(build_audit_drift_table(prior, current))
    assert text + "\n" == golden("table.txt")


def test_the_grid_with_a_history() -> None:
    """Best or range, median, MAD and creep stand behind the flag."""
    past = [baseline(p4_sft_rows=round(100 * 1.1**step), other=50 + step) for step in range(6)]
    *before, last = past
    rows = build_audit_drift_table(before[-1], last, history=summarise_history(before))
    assert format_audit_drift_table(rows) + "\n" == golden("table-with-history.txt")


def test_a_grid_of_nothing_is_its_headings() -> None:
    """No metrics, no rows, and no error."""
    assert format_audit_drift_table([]) == golden("table-empty.txt").rstrip("\n")


@given(st.lists(st.text(max_size=12), max_size=5), numbers, numbers)
def test_a_grid_stays_a_grid(names: list[str], before: float, after: float) -> None:
    """Whatever a metric is called, a row is one line and its bars stand under the others'."""
    prior = AuditBaseline(recorded_at="", metrics=dict.fromkeys(names, before))
    current = AuditBaseline(recorded_at="", metrics=dict.fromkeys(names, after))
    lines = format_audit_drift_table(build_audit_drift_table(prior, current)).split("\n")
    assert len(lines) == 3 + len(set(names)) + bool(names)
    ascii_lines = [line for line in lines if line.isascii()]
    assert len({len(line) for line in ascii_lines}) == 1
