"""The acceptance harness: sixteen gates over a lake (SPEC P5).

`accept` looks at a lake and changes nothing in it. What a gate asks stands in `gates`.
"""

from __future__ import annotations

from pathlib import Path

from stillhouse.acceptance.verdicts import AcceptReport, GateResult, Offence
from stillhouse.interfaces import Engine, Store
from stillhouse.work import Progress, silent

__all__ = ["AcceptReport", "GateResult", "Offence", "accept"]


def accept(
    store: Store,
    engine: Engine,
    *,
    recorded_at: str,
    version: str,
    scratch: Path,
    progress: Progress = silent,
) -> AcceptReport:
    """Put a lake through the gates."""
    raise NotImplementedError
