"""The acceptance harness: sixteen gates over a lake (SPEC P5).

    files → walk (every line once) → meetings → gates ─┐
    receipts, runs of the program ─────────────→ gates ┴→ docket → verdicts → report

What each gate asks stands in `gates`. `accept` changes nothing in the lake; it holds its lock.
"""

from stillhouse.acceptance.harness import REPORT_PATH, accept, save
from stillhouse.acceptance.verdicts import AcceptReport, GateResult, Offence

__all__ = ["REPORT_PATH", "AcceptReport", "GateResult", "Offence", "accept", "save"]
