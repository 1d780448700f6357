"""The same arrays through other people's PSI: Evidently and feature-engine.

They are compared on equal buckets, which each cuts by rules of its own: Evidently by Sturges' rule
over both sides (and by value up to 20 different ones), feature-engine by the reference alone,
with the outermost buckets open. All three put 1e-4 into empty buckets where samples are of the
size used here. `FIGURES` holds what they said (Evidently 0.7.23, feature-engine 1.9.4), so that
we are held to it where they are not installed.
"""

from __future__ import annotations

import importlib
import json
import warnings
from typing import Any

import numpy as np
import pytest

from stillhouse.drift import (
    compute_categorical_drift,
    compute_distribution_drift,
    equal_width_edges,
)
from stillhouse.drift.edges import widen_edges

Array = np.ndarray[tuple[int], np.dtype[np.float64]]


def make_pairs() -> dict[str, tuple[Array, Array]]:
    """Pairs of sides by name: shifted, skewed, far apart, of different sizes."""
    chance = np.random.RandomState(7)  # whose stream NumPy never changes: figures are pinned
    return {
        "steps": (np.arange(100.0), np.arange(20.0, 120.0)),
        "skewed": (chance.lognormal(size=2000), chance.lognormal(0.2, 1.1, size=3000)),
        "apart": (chance.normal(size=500), chance.normal(3, 0.5, size=700)),
        "same": (chance.random_sample(5000), chance.random_sample(4000)),
    }


PAIRS = make_pairs()
FIGURES = {
    "evidently": {
        "steps": 2.1012195638745648,
        "skewed": 0.04362978826160299,
        "apart": 12.327547232926761,
        "same": 0.003544716432290252,
    },
    "widths": {
        "steps": 1.599891962474253,
        "skewed": 0.04349374248102631,
        "apart": 11.169293738448193,
        "same": 0.0026069881318035795,
    },
    "quantiles": {
        "steps": 1.599891962474253,
        "skewed": 0.06812068010502022,
        "apart": 8.283089355027482,
        "same": 0.0024567672008055453,
    },
}


def sturges(reference: Array, current: Array) -> float:
    """Ours over Evidently's edges, which it takes from NumPy."""
    edges = np.histogram_bin_edges(np.concatenate([reference, current]), "sturges")
    return compute_distribution_drift(reference, current, edges=edges.tolist()).psi


def widths(reference: Array, current: Array) -> float:
    """Ours over feature-engine's edges of equal width: those of the reference, ends open."""
    edges = equal_width_edges(reference.min(), reference.max(), 10)
    edges = widen_edges(edges, float(current.min()), float(current.max()))
    return compute_distribution_drift(reference, current, edges=edges).psi


def quantiles(reference: Array, current: Array) -> float:
    """Ours as it comes: quantiles of the reference, ends reaching out."""
    return compute_distribution_drift(reference, current, edges="quantile").psi


OURS = {"evidently": sturges, "widths": widths, "quantiles": quantiles}


def oracle(name: str) -> Any:
    """A module of the extra; the test is skipped, with the reason, where it cannot be used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"{error}: `pip install 'stillhouse[oracle]'`")


def evidently_psi(reference: Any, current: Any, **columns: list[str]) -> float:
    """The drift of one column that Evidently reports with its method "psi"."""
    evidently, metrics = oracle("evidently"), oracle("evidently.metrics")
    pandas = oracle("pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape = evidently.DataDefinition(**columns)
        sides = [
            evidently.Dataset.from_pandas(pandas.DataFrame({"x": side}), shape)
            for side in (current, reference)
        ]
        report = evidently.Report([metrics.ValueDrift(column="x", method="psi")]).run(*sides)
    return float(json.loads(report.json())["metrics"][0]["value"])


def feature_engine_psi(reference: Array, current: Array, strategy: str) -> float:
    """The PSI that feature-engine finds between the two halves of a table."""
    selection, pandas = oracle("feature_engine.selection"), oracle("pandas")
    table = pandas.DataFrame(
        {
            "x": np.concatenate([reference, current]),
            "side": [1.0] * len(reference) + [2.0] * len(current),
        }
    )
    dropper = selection.DropHighPSIFeatures(
        variables=["x"], split_col="side", cut_off=1.0, bins=10, strategy=strategy
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dropper.fit(table)
    return float(dropper.psi_values_["x"])


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("whose", OURS)
def test_ours_is_what_they_said(whose: str, name: str) -> None:
    """Our PSI over their buckets is the figure that they were seen to give."""
    assert OURS[whose](*PAIRS[name]) == pytest.approx(FIGURES[whose][name], abs=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_evidently_agrees(name: str) -> None:
    """Evidently, asked now, gives our figure over its buckets."""
    theirs = evidently_psi(*PAIRS[name], numerical_columns=["x"])
    assert sturges(*PAIRS[name]) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    ("strategy", "whose"), [("equal_width", "widths"), ("equal_frequency", "quantiles")]
)
def test_feature_engine_agrees(name: str, strategy: str, whose: str) -> None:
    """feature-engine, asked now, gives our figure over its buckets."""
    theirs = feature_engine_psi(*PAIRS[name], strategy)
    assert OURS[whose](*PAIRS[name]) == pytest.approx(theirs, abs=1e-12)


WORDS = (["a"] * 50 + ["b"] * 30 + ["c"] * 20, ["a"] * 45 + ["b"] * 35 + ["d"] * 40)
WORDS_PSI = 4.258713606321351


def test_ours_is_what_evidently_said_of_categories() -> None:
    """Our PSI of categories is the figure that Evidently was seen to give."""
    assert compute_categorical_drift(*WORDS).psi == pytest.approx(WORDS_PSI, abs=1e-12)


def test_evidently_agrees_on_categories() -> None:
    """Evidently, asked now, gives our figure for categories, new and lost ones among them."""
    theirs = evidently_psi(*WORDS, categorical_columns=["x"])
    assert theirs == pytest.approx(WORDS_PSI, abs=1e-12)
