"""Patches that were applied by themselves, and what became of them.

A row::

    {"at": "2026-03-02T12:00:00.250Z", "file": "src/cart/totals.py", "action": "committed",
     "model": "applier-small", "role": "applier", "latency_ms": 2210,
     "patch": "@@ -41 +41 @@\\n-    return sum(prices)\\n+    return round(sum(prices), 2)"}
"""

from __future__ import annotations

from stillhouse.interfaces import Anchor, Source, Verdict
from stillhouse.records import EvidenceRecord
from stillhouse.rows import RawRow, evidence, file_name
from stillhouse.scoring import quoted
from stillhouse.spelling import said, word

STEM = "auto_apply"


class Raw(RawRow, frozen=True, kw_only=True):
    """Own fields of a row."""

    file: str | None = None
    action: str | None = None
    patch: str | None = None


def transform(raw: Raw, anchor: Anchor) -> EvidenceRecord:
    """The action is the signal, the patch the text."""
    action = said(raw.action)
    return evidence(
        raw,
        anchor,
        task=("auto_apply", raw.file),
        text=raw.patch,
        file=raw.file,
        validation_results={"action": action} if action else {},
        about={"action": action},
    )


def score(record: EvidenceRecord) -> Verdict:
    """What the build made of the patch decides."""
    said_action = record.validation_results.get("action")
    action = word(said_action)
    if not action:
        reason = "no action was recorded: a person must decide"
        return Verdict("needs_human_review", [reason], {})
    named = f"action is {quoted(said_action)}"
    if action == "committed":
        return Verdict("accepted", [f"{named}: the build stayed green"], {"action": action})
    if action == "build_red_reverted":
        return Verdict("rejected", [f"{named}: the patch broke the build"], {"action": action})
    if action == "reverted" or action.endswith("_reverted"):
        reason = f"{named}: taken back for another reason than a red build"
        return Verdict("partially_accepted", [reason], {"action": action})
    if action == "no_patch":
        return Verdict("partially_accepted", [f"{named}: nothing to apply"], {"action": action})
    reason = f"{named}, which is no known one: a person must decide"
    return Verdict("needs_human_review", [reason], {"action": action})


def template(record: EvidenceRecord) -> str:
    """The instruction (SPEC S5)."""
    file = file_name(record, "auto_apply")
    named = f" for the file '{file}'" if file else ""
    return (
        f"Auto-apply: emit a 6-line surgical patch{named} as a unified diff that applies as it is, "
        "changes nothing beyond the fault at hand, and keeps the build green."
    )


SOURCE = Source(
    stem=STEM,
    source_class="telemetry",
    raw=Raw,
    transform=transform,
    score=score,
    template=template,
    summary="patches applied by themselves; commit, revert or red build decides",
)
