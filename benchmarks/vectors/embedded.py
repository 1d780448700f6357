"""Engines as a program has them in itself: building, opening, searching, one after the other.

Each engine is built once a `builds`, then swept once: every setting from fast to exact, with no
filter and under each filter, until some are exact enough. The fastest setting that reaches a
recall is what is measured. Then come the rounds: in each, every engine in turn gets a fresh
process that opens the folder, answers a first query, and is measured in everything; so a noisy
minute hits all, and ratios are taken within a round.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.vectors.children import Child, EngineFailedError, NotInstalledError, python_for
from benchmarks.vectors.data import FIELDS
from benchmarks.vectors.engines import BARE, Contender

TARGETS: Final = (0.95, 0.99)
FILTERED: Final = 0.95
"""Recall that is wanted under a filter."""
_SWEEP_SECONDS: Final = 0.4
_ENOUGH: Final = 3
"""Settings of a sweep that reach the highest recall, after which it ends."""

Figures = dict[str, Any]


class Options(NamedTuple):
    """How a run is done. ``work`` holds the sets and the folders of the engines, ``seconds`` is how
    long a figure of a round takes; ``least`` how many queries, however slow an engine is."""

    work: Path
    rounds: int = 3
    builds: int = 1
    seconds: float = 1.0
    least: int = 300
    timeout: float = 900.0
    peer_python: str = sys.executable
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)


class Session:
    """An engine over a set. After a failure the next question goes to a new process."""

    def __init__(self, contender: Contender, vectors: Path, options: Options) -> None:
        self.contender = contender
        self.vectors = vectors
        self.options = options
        self.folder = engine_folder(contender, vectors, options)
        self.child: Child | None = None
        self.opened: Figures = {}

    def start(self) -> Child:
        """A process that has not opened the folder."""
        self.end()
        python = python_for(self.contender, self.options.peer_python)
        self.child = Child(self.contender, self.folder, self.vectors, python)
        return self.child

    def open(self) -> Child:
        """A process that has."""
        child = self.child
        if child is None:
            child = self.start()
            self.opened = self.asked(child, "open")
        return child

    def ask(self, do: str, **arguments: Any) -> Figures:
        """Have a command done by a process that has opened the folder."""
        return self.asked(self.open(), do, **arguments)

    def asked(self, child: Child, do: str, **arguments: Any) -> Figures:
        """Have a command done by a process, whether it has opened the folder or not."""
        try:
            return child.ask(do, self.options.timeout, **arguments)
        except EngineFailedError as error:
            self.child = None
            self.options.log(f"{self.contender.name}: {do}: {error}")
            raise

    def end(self) -> None:
        """Close the folder and end the process."""
        if self.child:
            try:
                self.asked(self.child, "end")
            except EngineFailedError:
                return
            self.child.close()
            self.child = None


def engine_folder(contender: Contender, vectors: Path, options: Options) -> Path:
    """Where an engine keeps a set."""
    name = "".join(sign if sign.isalnum() else "-" for sign in contender.name)
    return options.work / f"{vectors.name}-engines" / name


def build(contender: Contender, vectors: Path, options: Options) -> Figures:
    """Build an engine's folder anew. Raises `EngineFailedError`."""
    session = Session(contender, vectors, options)
    shutil.rmtree(session.folder, ignore_errors=True)
    session.folder.parent.mkdir(parents=True, exist_ok=True)
    with session.start() as child:
        try:
            return session.asked(child, "build")
        except EngineFailedError:
            shutil.rmtree(session.folder, ignore_errors=True)
            raise


def ensure_built(contender: Contender, vectors: Path, options: Options) -> None:
    """Build an engine's folder where there is none. Raises `EngineFailedError`."""
    if not engine_folder(contender, vectors, options).is_dir():
        build(contender, vectors, options)


def failed_step(error: EngineFailedError) -> str:
    """Which step a failure to build is told under."""
    return "import" if isinstance(error, NotInstalledError) else "build"


def run_embedded(
    vectors: Path, contenders: Sequence[Contender], options: Options
) -> dict[str, Figures]:
    """Everything of one set, by contender. What failed stands under ``failed``, by step."""
    found: dict[str, Figures] = {
        contender.name: {"builds": [], "rounds": [], "failed": {}} for contender in contenders
    }
    alive = list(contenders)
    for _ in range(options.builds):
        for contender in list(alive):
            figures = found[contender.name]
            try:
                figures["builds"].append(build(contender, vectors, options))
            except EngineFailedError as error:
                figures["failed"][failed_step(error)] = str(error)
                alive.remove(contender)
                continue
            took = figures["builds"][-1]
            seconds = took["adding"] + took["settling"]
            options.log(f"{vectors.name}: {contender.name}: built in {seconds:.1f} s")
    for contender in alive:
        _sweep_all(Session(contender, vectors, options), found[contender.name])
    for turn in range(options.rounds):
        for contender in alive:
            session = Session(contender, vectors, options)
            figures = found[contender.name]
            figures["rounds"].append(_round(session, figures))
            options.log(f"{vectors.name}: round {turn + 1}: {contender.name}")
    return found


def _sweep_all(session: Session, figures: Figures) -> None:
    """Find the settings to measure, with no filter and under each."""
    figures["sweeps"], figures["chosen"] = {}, {}
    for field in ("", *FIELDS):
        target = FILTERED if field else TARGETS[-1]
        points: list[Figures] = []
        figures["sweeps"][field] = points
        try:
            for setting in session.open().settings:
                points.append(look(session, setting, field))
                if sum(point["recall"] >= target for point in points) >= _ENOUGH:
                    break
        except EngineFailedError as error:
            figures["failed"][f"search {field}".strip()] = str(error)
        figures["chosen"] |= chosen_of(field, points)
    session.end()
    session.options.log(f"{session.vectors.name}: {session.contender.name}: swept")


def look(session: Session, setting: dict[str, Any], field: str) -> Figures:
    """One short look at a setting: a point of a sweep. Raises `EngineFailedError`."""
    options = session.options
    point = session.ask(
        "measure",
        setting=setting,
        field=field,
        many=False,
        seconds=min(_SWEEP_SECONDS, options.seconds),
        least=options.least,
    )
    return {"setting": setting, **point}


def chosen_of(field: str, points: Sequence[Figures]) -> dict[str, dict[str, Any]]:
    """The setting of each figure: the fastest that reaches its recall; of those within a tenth of
    it, the first of the sweep, since one look at each is noisy. Where none reaches it under a
    filter, the most exact one stands in, so that the report can say how far it comes."""
    chosen = {}
    for target in (FILTERED,) if field else TARGETS:
        reach = [point for point in points if point["recall"] >= target]
        key = field or f"{target}"
        if reach:
            fastest = max(point["qps"] for point in reach)
            chosen[key] = next(point["setting"] for point in reach if point["qps"] >= 0.9 * fastest)
        elif field and points:
            chosen[key] = max(points, key=lambda point: point["recall"])["setting"]
    return chosen


def _round(session: Session, figures: Figures) -> Figures:
    """One engine's turn: open, first answer, everything that was chosen, memory."""
    done: Figures = {}
    options = session.options

    def measured(key: str, field: str, many: bool) -> None:
        try:
            done[f"{key} many" if many else key] = session.ask(
                "measure",
                setting=figures["chosen"][key],
                field=field,
                many=many,
                seconds=options.seconds,
                least=options.least,
            )
        except EngineFailedError as error:
            figures["failed"][f"search {key}"] = str(error)

    try:
        session.open()
        done["startup"] = session.opened["seconds"]
        plain = [key for key in map(str, TARGETS) if key in figures["chosen"]]
        for key in plain:
            measured(key, "", False)
        done["memory"] = session.ask("memory")
        for key in plain:
            measured(key, "", True)
        for field in FIELDS:
            if field in figures["chosen"]:
                measured(field, field, False)
    except EngineFailedError as error:
        figures["failed"]["open"] = str(error)
    session.end()
    return done


# --------------------------------------------------------------------------- summaries


def medians(rounds: Sequence[Figures], key: str) -> Figures | None:
    """The medians of a figure's parts over the rounds that have it."""
    there = [done[key] for done in rounds if key in done]
    if not there:
        return None
    return {
        part: statistics.median(one[part] for one in there)
        for part in ("qps", "p50", "p99", "cores", "recall", "short")
    }


def ratio_to_bare(found: dict[str, Figures], name: str, key: str) -> float | None:
    """QPS over that of bare faiss, the faster of its two in each round: the median."""
    ratios = []
    for turn, done in enumerate(found[name]["rounds"]):
        bare = [
            found[other]["rounds"][turn][key]["qps"]
            for other in BARE
            if other in found
            and len(found[other]["rounds"]) > turn
            and key in found[other]["rounds"][turn]
        ]
        if key in done and bare:
            ratios.append(done[key]["qps"] / max(bare))
    return statistics.median(ratios) if ratios else None
