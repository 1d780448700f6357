"""Measures what it costs to trust a lake, beside the run that made it.

    python -m benchmarks.trust --rows 100000 --rounds 3

Every round writes the same lake, runs it, and puts it through each command, each in a fresh
process: a noisy minute hits all of them. Figures are medians, with the fastest and the slowest
beside them; the ratio is to the run of the same round. Time is wall time from starting the
process to its end. Memory is the largest resident size of a process over its life.

It writes only into a working folder, which it removes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.lake import write_lake
from benchmarks.measure import Cost, measure

RUN: Final = "run"
GATES: Final = "accept"
COMMANDS: Final[dict[str, Sequence[str]]] = {
    RUN: ("--recorded-at", "2026-03-01T00:00:00Z"),
    "verify": (),
    "replay": (),
    GATES: (),
    "drift scores": (),
    "audit": ("--as-is", "--recorded-at", "2026-03-02T00:00:00Z"),
    "report": (),
}
"""What is run, in this order, with its options."""

GATES_LIMIT: Final = 2.0
"""Times the run that the gates may take."""

MB: Final = 1_000_000


def run_round(root: Path, rows: int, workers: int) -> dict[str, Cost]:
    """One lake through all commands."""
    write_lake(root, rows)
    costs = {}
    for name, options in COMMANDS.items():
        command = [sys.executable, "-m", "stillhouse", *name.split(), str(root), *options]
        if name != "report":
            command += ["--workers", str(workers)]
        costs[name] = measure(command)
    return costs


def summarise(rounds: Sequence[dict[str, Cost]]) -> list[dict[str, Any]]:
    """A row a command: seconds, ratio to the run, peak memory."""
    rows = []
    for name in COMMANDS:
        walls = [costs[name].wall for costs in rounds]
        rows.append(
            {
                "command": name,
                "seconds": statistics.median(walls),
                "fastest": min(walls),
                "slowest": max(walls),
                "processor": statistics.median(costs[name].cpu for costs in rounds),
                "ratio": statistics.median(costs[name].wall / costs[RUN].wall for costs in rounds),
                "peak": max(costs[name].peak for costs in rounds),
            }
        )
    return rows


def markdown(rows: Sequence[dict[str, Any]], count: int, rounds: int) -> str:
    """The rows as a table of a page."""
    lines = [
        f"{count:,} rows, medians of {rounds} (fastest to slowest):",
        "",
        "| command | seconds | processor s | × run | peak MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| `stillhouse {row['command']}` | {row['seconds']:.2f} "
        f"({row['fastest']:.2f} to {row['slowest']:.2f}) | {row['processor']:.2f} "
        f"| {row['ratio']:.2f} | {row['peak'] / MB:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def missed_targets(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is wanted and was not reached."""
    gates = next(row for row in rows if row["command"] == GATES)
    if gates["ratio"] <= GATES_LIMIT:
        return []
    return [f"the gates take {gates['ratio']:.2f} times the run, {GATES_LIMIT} are wanted"]


def main() -> int:
    """Measure, print, and with ``--check`` judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, help="where the working folder goes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit code 1 when a target is missed")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            rounds.append(run_round(Path(folder), options.rows, options.workers))
    rows = summarise(rounds)
    missed = missed_targets(rows)
    if options.json:
        print(json.dumps({"rows": options.rows, "commands": rows, "missed": missed}))
    else:
        print(markdown(rows, options.rows, options.rounds))
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
