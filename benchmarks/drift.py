"""Measures drift of numbers beside `numpy.histogram` and its peers, on one core.

    python -m benchmarks.drift --values 10000000 --rounds 5

Each side gets half of the values. Every round runs every contender once, each in a fresh process
held to one processor and one thread, so that a noisy minute hits all of them; figures are
medians. Time is that of the comparison alone: neither starting, nor importing, nor reading the
values into memory is in it. Wall seconds, and beside them the seconds of the processor, of which
the ratio is made: they do not grow when others work too. Memory is what the process's resident peak
(`VmHWM`) grows during the comparison, beyond the imports and the values themselves.

It writes only into a working folder, which it removes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.measure import CommandFailedError, measure

Array = npt.NDArray[np.float64]

MB: Final = 1_000_000
SECONDS_LIMIT: Final = 2.0
MEMORY_LIMIT: Final = 200 * MB
_CHUNK: Final = 1 << 16
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


class Chunks:
    """A file of 64-bit floats, read anew block by block."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[Array]:
        with self.path.open("rb") as file:
            while block := file.read(_CHUNK * 8):
                yield np.frombuffer(block)


class Figure(NamedTuple):
    """What one contender took in one round, and the PSI that it gave, if it gives one."""

    seconds: float
    processor: float
    growth: int
    psi: float | None


# --------------------------------------------------------------------------- contenders
# Each reads the two files, imports what it needs, and gives the call that is measured.


def prepare_histogram(reference: Path, current: Path) -> Callable[[], None]:
    """The range of both sides and one count of each: what no comparison can do without."""
    sides = np.fromfile(reference), np.fromfile(current)

    def call() -> None:
        limits = min(side.min() for side in sides), max(side.max() for side in sides)
        for side in sides:
            np.histogram(side, 10, limits)

    return call


def prepare_arrays(
    reference: Path, current: Path, rule: Any = "equal_width"
) -> Callable[[], float]:
    """Ours with the values in memory: PSI and its companions, KS exact."""
    from stillhouse.drift import compute_distribution_drift

    sides = np.fromfile(reference), np.fromfile(current)
    return lambda: compute_distribution_drift(sides[0], sides[1], edges=rule).psi


def prepare_quantile(reference: Path, current: Path) -> Callable[[], float]:
    """The same with quantile edges."""
    return prepare_arrays(reference, current, "quantile")


def prepare_chunks(reference: Path, current: Path) -> Callable[[], float]:
    """Ours from files read in blocks, twice: KS from the buckets."""
    from stillhouse.drift import compute_distribution_drift

    return lambda: compute_distribution_drift(Chunks(reference), Chunks(current)).psi


def prepare_evidently(reference: Path, current: Path) -> Callable[[], float]:
    """Evidently's PSI over Sturges' buckets, without its report around it."""
    import pandas
    from evidently.legacy.calculations.stattests import psi_stat_test
    from evidently.legacy.core import ColumnType

    sides = [pandas.Series(np.fromfile(path)) for path in (reference, current)]
    return lambda: float(psi_stat_test(sides[0], sides[1], ColumnType.Numerical, 0.1).drift_score)


def prepare_feature_engine(reference: Path, current: Path) -> Callable[[], float]:
    """feature-engine's PSI over ten buckets of equal width."""
    import pandas
    from feature_engine.selection import DropHighPSIFeatures

    sides = np.fromfile(reference), np.fromfile(current)
    table = pandas.DataFrame(
        {"x": np.concatenate(sides), "side": np.repeat([1.0, 2.0], [side.size for side in sides])}
    )
    del sides
    dropper = DropHighPSIFeatures(
        variables=["x"], split_col="side", cut_off=1.0, bins=10, strategy="equal_width"
    )
    return lambda: float(dropper.fit(table).psi_values_["x"])


CONTENDERS: Final[dict[str, Callable[[Path, Path], Callable[[], float | None]]]] = {
    "numpy.histogram, both sides": prepare_histogram,
    "stillhouse: arrays": prepare_arrays,
    "stillhouse: arrays, quantile edges": prepare_quantile,
    "stillhouse: in chunks": prepare_chunks,
    "peer: evidently": prepare_evidently,
    "peer: feature-engine": prepare_feature_engine,
}
FLOOR, ARRAYS, QUANTILE, IN_CHUNKS, *PEERS = CONTENDERS


def run_contender(name: str, reference: Path, current: Path) -> Figure:
    """One contender in this very process, which is held to one processor first."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    call = CONTENDERS[name](reference, current)
    before = _forget_peak()
    began, worked = time.perf_counter(), time.process_time()
    psi = call()
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    return Figure(seconds, processor, max(_status("VmHWM") - before, 0), psi)


def _forget_peak() -> int:
    """Lower the kernel's high-water mark to what is resident now, and say how much that is."""
    # Elsewhere than on Linux, or where it is forbidden, growth is a lower bound.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmHWM")


def _status(name: str) -> int:
    """A figure of this process in bytes; 0 where the kernel does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


# ------------------------------------------------------------------------------ rounds


def write_sides(folder: Path, values: int, seed: int = 1) -> tuple[Path, Path]:
    """Two files of skewed values, the second a little larger, as latencies are."""
    chance = np.random.RandomState(seed)
    paths = folder / "reference.f8", folder / "current.f8"
    for path, shift in zip(paths, (0.0, 0.02), strict=True):
        with path.open("wb") as file:
            for start in range(0, values // 2, _CHUNK):
                size = min(_CHUNK, values // 2 - start)
                file.write(chance.lognormal(shift, size=size).tobytes())
    return paths


def run_rounds(
    sides: tuple[Path, Path], rounds: int, python: str, names: Sequence[str]
) -> dict[str, list[Figure]]:
    """All figures by contender; one whose package cannot be imported has none."""
    found: dict[str, list[Figure]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in list(names):
            if turn and not found[name]:
                continue
            chosen = python if name in PEERS else sys.executable
            command = [chosen, "-m", "benchmarks.drift", "--contender", name, *map(str, sides)]
            try:
                said = measure(command, environment=_ONE_THREAD).output
            except CommandFailedError as error:
                last = str(error).splitlines()[-1]
                if name not in PEERS or not last.startswith(("ImportError", "ModuleNotFound")):
                    raise
                print(f"{name}: left out, {last}", file=sys.stderr)
                continue
            found[name].append(Figure(*json.loads(said)))
            print(f"round {turn + 1}: {name}: {found[name][-1].seconds:.2f} s", file=sys.stderr)
    return found


def summarise(found: dict[str, list[Figure]]) -> list[dict[str, Any]]:
    """One row a contender: medians, extremes, and its processor time over the floor's."""
    floor = statistics.median(figure.processor for figure in found[FLOOR])
    rows = []
    for name, figures in found.items():
        if figures:
            seconds = [figure.seconds for figure in figures]
            processor = statistics.median(figure.processor for figure in figures)
            rows.append(
                {
                    "name": name,
                    "seconds": statistics.median(seconds),
                    "fastest": min(seconds),
                    "slowest": max(seconds),
                    "processor": processor,
                    "ratio": processor / floor,
                    "growth": max(figure.growth for figure in figures),
                    "psi": figures[0].psi,
                }
            )
    return rows


def missed_targets(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What of our lines takes longer or more memory than the limits, in words."""
    missed = []
    for row in rows:
        if row["name"] in (ARRAYS, QUANTILE, IN_CHUNKS):
            if row["seconds"] > SECONDS_LIMIT:
                missed.append(f"{row['name']}: {row['seconds']:.2f} s, limit {SECONDS_LIMIT} s")
            if row["growth"] > MEMORY_LIMIT:
                missed.append(f"{row['name']}: {row['growth'] / MB:.0f} MB, limit 200 MB")
    return missed


def markdown(rows: Sequence[dict[str, Any]], values: int, rounds: int) -> str:
    """The table, for `docs/performance.md`."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy"))
    lines = [
        f"{platform.system()} {platform.machine()}, one processor, Python "
        f"{platform.python_version()}; {versions}",
        f"{values:,} values, half a side; medians of {rounds} rounds",
        "",
        "| what | seconds | min to max | of processor | × histogram | memory growth, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['seconds']:.2f} | {row['fastest']:.2f} to "
            f"{row['slowest']:.2f} | {row['processor']:.2f} | {row['ratio']:.1f} | "
            f"{row['growth'] / MB:.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and with ``--check`` say by the exit code whether a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--values", type=int, default=10_000_000, help="of both sides together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="figures for programs")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--peer-python", default=sys.executable, help="runs the peers")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, help="these and the floor alone")
    parser.add_argument("--contender", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        name, *paths = options.contender
        print(json.dumps(run_contender(name, Path(paths[0]), Path(paths[1]))))
        return 0
    names = [name for name in CONTENDERS if name in {FLOOR, *(options.only or CONTENDERS)}]
    with tempfile.TemporaryDirectory() as folder:
        sides = write_sides(Path(folder), options.values)
        rows = summarise(run_rounds(sides, options.rounds, options.peer_python, names))
    missed = missed_targets(rows)
    if options.json:
        print(json.dumps({"values": options.values, "rows": rows, "missed": missed}))
    else:
        print(markdown(rows, options.values, options.rounds))
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
