"""What the audit's tests share: an audit with the gates' word given, and a lake to audit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from stillhouse.acceptance import AcceptReport, GateResult, Offence
from stillhouse.audit import AuditReport, audit_lake
from stillhouse.audit.phases import Gates
from stillhouse.engines import InlineEngine
from stillhouse.interfaces import Engine, Store
from stillhouse.storage import LocalStore
from tests.runs import row

FIRST = "2026-04-01T08:00:00Z"
SECOND = "2026-04-02T08:00:00Z"
THIRD = "2026-04-03T08:00:00Z"


def gates(*red: int) -> Gates:
    """Sixteen gates of which these do not hold, whatever the lake."""

    def verdicts(store: Store, engine: Engine, recorded_at: str, /) -> AcceptReport:
        results = [
            GateResult(
                number=number,
                name=f"gate{number}",
                claim="",
                verdict="red" if number in red else "ok",
                checked=1,
                failures=1 if number in red else 0,
                offences=[Offence(path="evidence/x", line=3, detail="is off")] * (number in red),
                detail="",
            )
            for number in range(1, 17)
        ]
        return AcceptReport(
            lake=store.url,
            recorded_at=recorded_at,
            version="0",
            sequence=1,
            gates=results,
            passed=16 - len(red),
            ok=not red,
        )

    return verdicts


def audit(lake: Path | Store, recorded_at: str = FIRST, **options: Any) -> AuditReport:
    """An audit in this process, of which every phase takes a second."""
    store = LocalStore(lake) if isinstance(lake, Path) else lake
    options = {"gates": gates(), "clock": _ticking(), **options}
    return audit_lake(store, InlineEngine(), recorded_at, **options)


def _ticking() -> Callable[[], float]:
    ticks: Iterator[int] = count()
    return lambda: float(next(ticks))


def attempts(first: int, end: int, attempt: int) -> bytes:
    """Review rows, all accepted at the same attempt: at the first one, or partial at the second."""
    return b"".join(
        row(number, accepted_on_attempt=attempt, latency_ms=10 + number % 7) + b"\n"
        for number in range(first, end)
    )


def relabel(lake: Path, was: str, now: str) -> None:
    """Make one stored verdict another, as a rule that changed since would have it."""
    for path in sorted((lake / "scored-runs").rglob("*.jsonl")):
        lines = path.read_bytes().split(b"\n")
        for at, line in enumerate(lines):
            if line and json.loads(line)["category"] == was:
                lines[at] = json.dumps({**json.loads(line), "category": now}).encode()
                path.write_bytes(b"\n".join(lines))
                return
    raise AssertionError(f"no scored run is {was}")
