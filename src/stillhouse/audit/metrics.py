"""The figures of a lake that an audit compares, by the names that all versions give them.

Everything is counted from what the lake's state says of its files, so the figures are those of
`stillhouse inspect`. This module never counts rows of its own and never judges a figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from stillhouse.records import Category
from stillhouse.state import State

METRICS: Final = (
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
"""Names that older runs used: a metric keeps its name and its meaning, so that old and new
baselines compare (SPEC A5). Others stand beside them."""

_CATEGORIES: Final[Mapping[str, Category]] = {
    "p3_accepted": "accepted",
    "p3_partial": "partially_accepted",
    "p3_rejected": "rejected",
    "p3_human": "needs_human_review",
}

_EXPORTS: Final = {
    "p4_sft_rows": ("sft", "sft"),
    "p4_preference_pairs": ("preference", "preference"),
    "p4_unpaired_rows": ("preference", "unpaired"),
    "p4_rag_rows": ("rag", "rag"),
}
"""Metric → export, and the name of its rows in that export's counts."""


def collect_metrics(state: State) -> dict[str, float]:
    """Every metric of a lake as it stands. An export that was never made has none.

    ``p1_raw_rows`` are raw lines that are not blank, and each is either in
    ``p2_evidence_rows`` or in ``p2_skipped_rows``: refused by the evidence stage, whatever the
    reason, duplicates among them. ``p4_quarantined`` adds up what the exports refused: a row
    that two of them refused counts twice, as it stands in quarantine twice. ``p4_secrets``
    counts secrets that were taken out.
    """
    raw: Counter[str] = Counter()
    for log in state.raw.values():
        raw.update(log.counts)
    categories: Counter[str] = Counter()
    for part in state.partitions.values():
        categories.update(part.counts)
    evidence = sum(part.evidence.rows for part in state.partitions.values())
    skipped = sum(raw.values()) - raw["blank"] - raw["evidence"]
    found = {
        "p1_raw_rows": evidence + skipped,
        "p2_evidence_rows": evidence,
        "p2_skipped_rows": skipped,
    }
    found |= {name: categories[category] for name, category in _CATEGORIES.items()}
    found |= _export_metrics(state)
    return {name: float(value) for name, value in sorted(found.items())}


def _export_metrics(state: State) -> dict[str, int]:
    counts = {kind: export.counts for kind, export in state.exports.items()}
    found = {
        name: counts[kind].get(section, 0)
        for name, (kind, section) in _EXPORTS.items()
        if kind in counts
    }
    if "dataset" in counts:
        found["p4_dataset_rows"] = _total(counts["dataset"], "rows/")
    made = [each for kind, each in counts.items() if kind != "dataset"]
    if made:
        found["p4_quarantined"] = sum(_total(each, "refused/") for each in made)
        found["p4_secrets"] = sum(_total(each, "redacted/") for each in made)
    return found


def _total(counts: Mapping[str, int], prefix: str) -> int:
    return sum(number for name, number in counts.items() if name.startswith(prefix))
