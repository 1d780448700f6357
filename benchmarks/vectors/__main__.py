"""Measures vector search beside bare faiss and other stores.

    python -m benchmarks.vectors embedded|http|add|all --size 100000 --rounds 3

What is measured and how stands in the modules: `data` (vectors), `engines` (who), `embedded`,
`adding`, `serving`. Everything is written into a working folder, which is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.vectors.adding import RATE, run_adding
from benchmarks.vectors.data import clustered, real, write_set
from benchmarks.vectors.embedded import Options, run_embedded
from benchmarks.vectors.engines import BARE, CONTENDERS, NAMES
from benchmarks.vectors.report import machine, markdown
from benchmarks.vectors.serving import run_http
from benchmarks.vectors.targets import find_targets

DATA: Final = Path("../shared/data/text-embeddings")
PARTS: Final = ("embedded", "http", "add")
SETS: Final = ("clustered", "real")
_MORE_SECONDS: Final = 15
"""Of items to add while others search: more than are needed."""


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vectors", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("part", nargs="?", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--size", type=int, default=100_000, help="vectors of each set, at most")
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real embeddings")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--builds", type=int, default=1, help="times that each engine is built")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each figure in a round")
    parser.add_argument("--adding-seconds", type=float, default=10.0)
    parser.add_argument("--only", nargs="+", choices=NAMES, help="these and bare faiss alone")
    parser.add_argument("--timeout", type=float, default=900.0, help="of one step of an engine")
    parser.add_argument("--peer-python", default=sys.executable, help="runs the peers")
    parser.add_argument("--work", type=Path, help="where the working folder goes")
    parser.add_argument("--json", action="store_true", help="figures for programs")
    parser.add_argument("--check", action="store_true", help="exit code 1 when a target is missed")
    return parser.parse_args(given)


def measure_all(options: argparse.Namespace, folder: Path, command: str) -> dict[str, Any]:
    """Every part that was asked for, over every set that is there."""
    how = Options(
        folder,
        rounds=options.rounds,
        builds=options.builds,
        seconds=options.seconds,
        timeout=options.timeout,
        peer_python=options.peer_python,
    )
    wanted = {*BARE, *(options.only or NAMES)}
    contenders = [contender for contender in CONTENDERS if contender.name in wanted]
    parts = PARTS if options.part == "all" else (options.part,)
    sets: dict[str, Any] = {}
    for name in options.sets:
        try:
            made = _vectors(name, options)
        except FileNotFoundError as error:
            how.log(f"the set {name} is left out: {error}")
            continue
        one = write_set(folder / name, name, made)
        sets[name] = {"size": len(one.base), "queries": len(one.queries)}
        how.log(f"{name}: {len(one.base):,} vectors, {len(one.queries):,} queries")
        if "embedded" in parts:
            sets[name]["embedded"] = run_embedded(folder / name, contenders, how)
        if "http" in parts:
            sets[name]["http"] = run_http(folder / name, contenders, how)
        if "add" in parts:
            seconds = options.adding_seconds
            sets[name]["adding"] = run_adding(folder / name, contenders, how, seconds=seconds)
    return {
        "command": command,
        "machine": machine(options.peer_python),
        "rounds": options.rounds,
        "sets": sets,
        "targets": find_targets(sets),
    }


def _vectors(name: str, options: argparse.Namespace) -> Any:
    more = RATE * _MORE_SECONDS
    if name == "clustered":
        return clustered(options.size, options.queries, more)
    return real(options.data, options.size, options.queries, more)


def main() -> int:
    """Measure, print, and with ``--check`` say by the exit code whether a target is missed."""
    options = arguments(sys.argv[1:])
    command = " ".join(["python -m benchmarks.vectors", *sys.argv[1:]])
    with tempfile.TemporaryDirectory(dir=options.work, ignore_cleanup_errors=True) as folder:
        results = measure_all(options, Path(folder), command)
    print(json.dumps(results) if options.json else markdown(results))
    missed = [target for target in results["targets"] if not target.holds]
    for target in missed:
        print(f"missed: {target.what}: {target.value}, limit {target.limit}", file=sys.stderr)
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
