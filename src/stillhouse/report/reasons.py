"""What the codes on the page mean, in a few words; docs/firewall.md has the ways out."""

from __future__ import annotations

from typing import Final

RAW: Final = {
    "bad_encoding": "the line is not UTF-8",
    "bad_json": "the line is not JSON: torn, or not well formed",
    "not_an_object": "JSON, but not an object",
    "duplicate_key": "a key stands twice in one object",
    "too_large": "a line of more than 16 MiB",
    "missing_time": "no time that can be read",
    "invalid": "a field has the wrong type or an impossible value",
    "duplicate": "the line repeats an earlier one, byte for byte",
}
"""Why a raw row is no evidence."""

EXPORT: Final = {
    "not_instructable": "no answer to a task, in words",
    "forbidden_category": "its verdict keeps it out",
    "not_opted_in": "only on request: --include-partial, --include-review",
    "conflicting_verdict": "the same answer got another verdict elsewhere",
    "duplicate": "the same answer to the same prompt is kept once",
    "verdict_mismatch": "the stored verdict is not what the rules give",
    "invalid": "the stored line does not validate",
    "not_scored": "no scored run speaks for it",
    "no_partner": "no other verdict on the same task and prompt",
    "over_max_pairs": "the task has its pairs already",
    "secret": "it holds a secret, and --on-secret is drop",
    "altered_evidence": "the evidence is not what its raw line gives",
}
"""Why a scored run is not in an export."""

SHORT: Final = {
    "accepted": "accepted",
    "partially_accepted": "partial",
    "rejected": "rejected",
    "needs_human_review": "review",
}
"""Categories as headings of narrow columns."""

METRICS: Final = {
    "p1_raw_rows": "raw rows",
    "p2_evidence_rows": "evidence rows",
    "p2_skipped_rows": "refused raw rows",
    "p3_accepted": "accepted rows",
    "p3_partial": "partially accepted rows",
    "p3_rejected": "rejected rows",
    "p3_human": "rows for a person",
    "p4_sft_rows": "SFT samples",
    "p4_preference_pairs": "preference pairs",
    "p4_unpaired_rows": "unpaired answers",
    "p4_rag_rows": "RAG chunks",
    "p4_dataset_rows": "dataset rows",
    "p4_quarantined": "rows kept out of exports",
    "p4_secrets": "secrets taken out",
}
"""Metrics of audits by their names (SPEC A5); names are free, and others stand for themselves."""


def metric(name: str) -> str:
    """A metric in words, with its name."""
    return f"{METRICS[name]} ({name})" if name in METRICS else name
