"""Audit: what a lake's figures are, and whether they moved since the last time (SPEC section 8).

    phases → metrics → drift table → baseline, appended

`audit_lake` runs it all; the parts stand by themselves.
"""

from stillhouse.audit.baselines import (
    append_baseline,
    load_last_baseline,
    read_baselines,
    repair_baselines,
)
from stillhouse.audit.gate import check_drift_gate
from stillhouse.audit.history import summarise_history
from stillhouse.audit.phases import audit_lake
from stillhouse.audit.report import AuditReport
from stillhouse.audit.table import build_audit_drift_table, format_audit_drift_table

__all__ = [
    "AuditReport",
    "append_baseline",
    "audit_lake",
    "build_audit_drift_table",
    "check_drift_gate",
    "format_audit_drift_table",
    "load_last_baseline",
    "read_baselines",
    "repair_baselines",
    "summarise_history",
]
