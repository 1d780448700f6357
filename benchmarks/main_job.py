"""Measures the main job beside its floor and its peers, in one run, in fresh processes.

    python -m benchmarks.main_job --rows 100000 --rounds 3

Every round runs every contender once, so that a noisy minute hits all of them; the figures
are medians over the rounds. What each line means stands in `README.md` beside this file.
It writes only into a working folder, which it removes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.lake import INVALID_RUN, Expected, append_rows, write_lake
from benchmarks.measure import CommandFailedError, Cost, measure

ROOT: Final = Path(__file__).resolve().parent.parent
RECORDED_AT: Final = "2026-03-01T00:00:00Z"
PEERS: Final = ("polars", "duckdb", "datasets", "datatrove")
ENVIRONMENT: Final = {
    "POLARS_MAX_THREADS": "2",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
MB: Final = 1_000_000

FLOOR, FLOOR2 = "floor, 1 process", "floor, 2 processes"
SCORES, WHOLE = "stillhouse: evidence and scores", "stillhouse: whole run"
AGAIN, APPENDED = "stillhouse: again, nothing new", "stillhouse: after 1 % more rows"
TWICE = "stillhouse: whole run, twice the rows"


@dataclass(frozen=True)
class Setup:
    """What all contenders share."""

    work: Path
    rows: int
    workers: int
    python: str
    peer_python: str
    expected: Expected
    twice: Expected

    @property
    def lake(self) -> Path:
        """The raw logs; nobody writes here."""
        return self.work / "lake"


@dataclass
class Line:
    """One line of the table: all its rounds."""

    name: str
    rows: int | None
    size: int | None
    costs: list[Cost] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Median seconds."""
        return statistics.median(cost.wall for cost in self.costs)

    def as_dict(self, floor: float | None) -> dict[str, object]:
        """All figures, for JSON and the table."""
        walls = [cost.wall for cost in self.costs]
        workers = [max(cost.worker_peaks, default=0) for cost in self.costs]
        return {
            "name": self.name,
            "wall_s": self.wall,
            "wall_min_s": min(walls),
            "wall_max_s": max(walls),
            "rows_per_s": self.rows / self.wall if self.rows else None,
            "mb_per_s": self.size / MB / self.wall if self.size else None,
            "times_floor": self.wall / floor if floor and self.rows else None,
            "parent_peak_mb": max(cost.parent_peak for cost in self.costs) / MB,
            "worker_peak_mb": max(workers) / MB,
            "processes": max(1 + len(cost.worker_peaks) for cost in self.costs),
        }


class Target(NamedTuple):
    """One figure to reach, and whether it was."""

    what: str
    limit: float
    value: float
    holds: bool


Table = dict[str, Line]


def main() -> int:
    """Measure and print; 1 when ``--check`` is given and a target is missed, 3 when we fail."""
    options = _options()
    work = Path(tempfile.mkdtemp(prefix="stillhouse-bench-", dir=options.work))
    try:
        _say(f"writing {options.rows:,} and {options.rows * 2:,} rows")
        setup = Setup(
            work,
            options.rows,
            options.workers,
            options.python,
            options.peer_python or options.python,
            write_lake(work / "lake", options.rows),
            write_lake(work / "twice", options.rows * 2),
        )
        contenders = _contenders(setup, options.only)
        table: Table = {}
        for number in range(options.rounds):
            for contender in contenders:
                contender(setup, table, number == 0)
                shutil.rmtree(work / "out", ignore_errors=True)
        targets = find_targets(table)
        result = {
            "machine": _machine(),
            "input": {**setup.expected.as_dict(), "rounds": options.rounds},
            "versions": _versions(setup),
            "lines": [line.as_dict(_floor(table)) for line in table.values()],
            "targets": [target._asdict() for target in targets],
        }
        print(json.dumps(result, indent=2) if options.json else markdown(result))
        return int(options.check and not all(target.holds for target in targets))
    except CommandFailedError as error:
        _say(str(error))
        return 3
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=(), help="floor, stillhouse, polars, …")
    parser.add_argument("--python", default=sys.executable, help="interpreter with stillhouse")
    parser.add_argument("--peer-python", help="interpreter with the peers; default: the same")
    parser.add_argument("--work", type=Path, help="where to put the working folder")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser.parse_args()


# --------------------------------------------------------------------------- contenders

Contender = Callable[[Setup, Table, bool], None]


def _contenders(setup: Setup, only: Sequence[str]) -> list[Contender]:
    found: list[Contender] = []
    if not only or "floor" in only:
        found.append(_run_floor)
    if (not only or "stillhouse" in only) and _has(setup.python, "stillhouse.cli"):
        found += [_run_scores, _run_whole, _run_twice]
    elif not only or "stillhouse" in only:
        _say("stillhouse: skipped, its command line is not installed here")
    for peer in PEERS:
        if only and peer not in only:
            continue
        if _has(setup.peer_python, peer):
            found.append(_peer(peer))
        else:
            _say(f"{peer}: skipped, not installed here (uv sync --extra bench)")
    return found


def _run_floor(setup: Setup, table: Table, first: bool) -> None:
    for processes, name in ((1, FLOOR), (2, FLOOR2)):
        command = ["-m", "benchmarks.floor", str(setup.lake), "--processes", str(processes)]
        _record(table, name, setup.expected, _measure(setup.python, command))


def _run_scores(setup: Setup, table: Table, first: bool) -> None:
    lake = _fresh(setup.lake, setup.work / "out")
    cost = _measure(setup.python, ["-m", "benchmarks.scores_only", str(lake), *_how(setup)])
    _record(table, SCORES, setup.expected, cost)
    if first:
        _verify("stillhouse", lake, setup.expected)


def _run_whole(setup: Setup, table: Table, first: bool) -> None:
    lake = _fresh(setup.lake, setup.work / "out")
    command = _ours(setup, lake)
    _record(table, WHOLE, setup.expected, _measure(setup.python, command))
    if first:
        _verify("stillhouse", lake, setup.expected)
    _record(table, AGAIN, None, _measure(setup.python, command))
    append_rows(lake, setup.rows, max(setup.rows // 100, 1))
    _record(table, APPENDED, None, _measure(setup.python, command))


def _run_twice(setup: Setup, table: Table, first: bool) -> None:
    lake = _fresh(setup.work / "twice", setup.work / "out")
    _record(table, TWICE, setup.twice, _measure(setup.python, _ours(setup, lake)))
    if first:
        _verify("stillhouse, twice the rows", lake, setup.twice)


def _peer(name: str) -> Contender:
    def run(setup: Setup, table: Table, first: bool) -> None:
        out = setup.work / "out" / "result"
        out.parent.mkdir()
        command = ["-m", f"benchmarks.peers.{name}_job", str(setup.lake), str(out)]
        try:
            cost = _measure(setup.peer_python, command)
        except CommandFailedError as error:
            _say(f"{name}: failed and is left out\n{error}")
            return
        _record(table, f"peer: {name}", setup.expected, cost)
        if first:
            _verify(name, out, setup.expected)

    return run


def _ours(setup: Setup, lake: Path) -> list[str]:
    return ["-m", "stillhouse", "run", str(lake), "--engine", "local", "--json", *_how(setup)]


def _how(setup: Setup) -> list[str]:
    return ["--workers", str(setup.workers), "--recorded-at", RECORDED_AT]


def _fresh(raw: Path, lake: Path) -> Path:
    """A copy of the raw logs as a lake of its own: appending must not touch the original."""
    shutil.rmtree(lake, ignore_errors=True)
    shutil.copytree(raw / "_kb", lake / "_kb")
    return lake


def _measure(python: str, arguments: Sequence[str]) -> Cost:
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    return measure([python, *arguments], environment={**ENVIRONMENT, "PYTHONPATH": path})


def _record(table: Table, name: str, expected: Expected | None, cost: Cost) -> None:
    rows, size = (expected.rows, expected.bytes) if expected else (None, None)
    table.setdefault(name, Line(name, rows, size)).costs.append(cost)
    _say(f"{name}: {cost.wall:.2f} s, {cost.peak / MB:.0f} MB")


# ------------------------------------------------------------------------- verification


def count_categories(out: Path) -> dict[str, int]:
    """Scored runs by category; rows that a strict reader refuses are left out."""
    counts: Counter[str] = Counter()
    for path in (out / "scored-runs").rglob("*.jsonl"):
        with path.open("rb") as lines:
            for line in lines:
                run = json.loads(line)
                if not run["evidence_run_id"].startswith(INVALID_RUN):
                    counts[run["category"]] += 1
    return dict(sorted(counts.items()))


def _verify(name: str, out: Path, expected: Expected) -> None:
    counts = count_categories(out)
    if counts != expected.totals():
        raise SystemExit(f"{name} gives other verdicts: {counts}, not {expected.totals()}")
    _say(f"{name}: verdicts agree with the generator's")


# ------------------------------------------------------------------------------ results


def _floor(table: Table) -> float | None:
    return table[FLOOR].wall if FLOOR in table else None


def find_targets(table: Table) -> list[Target]:
    """The figures to reach, as far as what they need was measured."""
    return list(_targets(table))


def _targets(table: Table) -> Iterator[Target]:
    def at_most(what: str, limit: float, value: float) -> Target:
        return Target(what, limit, value, value <= limit)

    floor = _floor(table)
    scores, whole, again = (table.get(name) for name in (SCORES, WHOLE, AGAIN))
    if floor and scores:
        yield at_most("evidence and scores, × floor, at most", 1.5, scores.wall / floor)
    if floor and whole:
        yield at_most("whole run, × floor, at most", 3.0, whole.wall / floor)
    peers = [line.wall for name, line in table.items() if name.startswith("peer: ")]
    if peers and scores:
        ratio = min(peers) / scores.wall
        yield Target("times as fast as the fastest peer, at least", 2.5, ratio, ratio >= 2.5)
    ours = [cost for line in table.values() if "stillhouse" in line.name for cost in line.costs]
    if ours:
        peak = max(cost.peak for cost in ours) / MB
        yield at_most("peak MB of any process, at most", 150, peak)
    if whole and TWICE in table:
        ratio = table[TWICE].wall / whole.wall
        yield at_most("twice the rows, × the time, at most", 2.1, ratio)
    if again:
        yield at_most("a re-run with nothing new, seconds, at most", 1.0, again.wall)


def markdown(result: Mapping[str, Any]) -> str:
    """The result as a page: machine, input, table, targets."""
    machine, source = result["machine"], result["input"]
    versions, lines, targets = (result[name] for name in ("versions", "lines", "targets"))
    out = [
        f"{machine['system']}, {machine['cpus']} CPUs, {machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"{source['rows']:,} raw rows, {source['bytes'] / MB:.0f} MB, "
        f"{source['valid']:,} valid; medians of {source['rounds']} rounds",
        "",
        "| what | seconds | min to max | rows/s | MB/s | × floor | parent MB | worker MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for line in lines:
        out.append(
            f"| {line['name']} | {line['wall_s']:.2f} "
            f"| {line['wall_min_s']:.2f} to {line['wall_max_s']:.2f} "
            f"| {_number(line['rows_per_s'], ',.0f')} | {_number(line['mb_per_s'], '.0f')} "
            f"| {_number(line['times_floor'], '.2f')} | {line['parent_peak_mb']:.0f} "
            f"| {_number(line['worker_peak_mb'] or None, '.0f')} |"
        )
    if targets:
        out += ["", "| to reach | limit | measured | |", "| --- | ---: | ---: | --- |"]
    for target in targets:
        verdict = "yes" if target["holds"] else "no"
        out.append(f"| {target['what']} | {target['limit']} | {target['value']:.2f} | {verdict} |")
    return "\n".join(out)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


# -------------------------------------------------------------------------- environment


def _machine() -> dict[str, object]:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": cpus,
        "python": f"Python {platform.python_version()}",
    }


def _versions(setup: Setup) -> dict[str, str]:
    code = (
        "import json, sys; from importlib.metadata import version, PackageNotFoundError\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = version(name)\n"
        "    except PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    found: dict[str, str] = {}
    for python, names in ((setup.python, ("msgspec",)), (setup.peer_python, (*PEERS, "orjson"))):
        said = subprocess.run(
            [python, "-c", code, *names], capture_output=True, text=True, check=True
        )
        found |= json.loads(said.stdout)
    return found


def _has(python: str, module: str) -> bool:
    code = (
        "import importlib.util, sys\n"
        "try: sys.exit(importlib.util.find_spec(sys.argv[1]) is None)\n"
        "except ModuleNotFoundError: sys.exit(1)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([python, "-c", code, module], env=environment).returncode == 0


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
