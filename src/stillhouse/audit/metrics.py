"""The figures of a lake that an audit compares, by the names that all versions give them.

Each is counted from what the lake's state says of its files; this module never counts rows of
its own and never judges a figure.
"""

from __future__ import annotations

from typing import Final

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
baselines compare (SPEC A5). Others may stand beside them in a baseline."""
