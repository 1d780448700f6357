"""The gate before an export: closed while the last audit has something to say against it.

A gate without evidence is no gate, so it is closed where there was no audit. It is the *last*
audit that counts, also one that failed and left no baseline. This module never audits.
"""

from __future__ import annotations

import shlex

from stillhouse.audit.baselines import last_baseline
from stillhouse.audit.report import read_report_head
from stillhouse.errors import GateError
from stillhouse.interfaces import Store


def check_drift_gate(store: Store) -> None:
    """Raise `GateError` unless the last audit held and found no row that today's rules accept
    against the stored score (the harmful direction of SPEC G4)."""
    lake = shlex.quote(store.url)
    audit = f"stillhouse audit {lake}"
    baseline = last_baseline(store)
    if baseline is None:
        raise GateError(
            "--gate drift is closed: this lake was never audited",
            where=store.url,
            way_out=f"Run `{audit}` first.",
        )
    head = read_report_head(store)
    if head and not head.appended:
        raise GateError(
            f"--gate drift is closed: the audit of {head.recorded_at} ended as {head.verdict}",
            where=store.url,
            way_out=f"Mend what it names, and run `{audit}` again.",
        )
    if baseline.harmful is None:
        raise GateError(
            "--gate drift is closed: the last audit did not look at scorer drift",
            where=store.url,
            way_out=f"Run `{audit}` with this version.",
        )
    if baseline.harmful:
        raise GateError(
            f"--gate drift is closed: rows that stood as rejected or for review and that the rules "
            f"accepted at the audit of {baseline.recorded_at}: {baseline.harmful:,}",
            where=store.url,
            way_out=f"Look at `stillhouse drift scores {lake}`, and when they are right run "
            f"`{audit}` again.",
        )
