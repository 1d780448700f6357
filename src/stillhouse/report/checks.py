"""What audit and acceptance left in the lake: gates, drift, baselines.

    reports/acceptance.json, reports/audit.json, _kb/audit_baselines.jsonl → facts

They are written by other commands, and read here with tolerance: what cannot be read becomes a
note on the page, never an error. Nothing is judged here.
"""

from __future__ import annotations

from stillhouse.interfaces import Store
from stillhouse.report.facts import Acceptance, Audit, MetricHistory, ReceiptRow


def read_checks(
    store: Store, receipts: list[ReceiptRow]
) -> tuple[Acceptance | None, Audit | None, list[MetricHistory], list[str]]:
    """The newest gates and audit, the metrics' history, and notes on what could not be read."""
    return None, None, [], []
