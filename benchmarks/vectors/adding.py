"""Adding: how fast batches are acknowledged, and how fast one searches while items come in.

Acknowledged batches go into a new, empty index each round: `BATCHES` of 1,000 items, once as the
engine adds by itself, and once with its own call for durability after each batch, where it has
one. Searching while adding takes the folder that was built and the setting that reached a recall
of 0.95 in the sweep; a thread of the same process adds new items on a schedule, so what Python's
lock costs is in it. The folder has more items afterwards.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.vectors.children import EngineFailedError
from benchmarks.vectors.embedded import (
    TARGETS,
    Figures,
    Options,
    Session,
    chosen_of,
    ensure_built,
    failed_step,
    look,
)
from benchmarks.vectors.engines import Contender

BATCHES: Final = 20
RATE: Final = 1000
"""Items a second that come in while others search."""
BATCH: Final = 100
SECONDS: Final = 10.0


def run_adding(
    vectors: Path,
    contenders: Sequence[Contender],
    options: Options,
    *,
    batches: int = BATCHES,
    seconds: float = SECONDS,
) -> dict[str, Figures]:
    """Both figures of one set, by contender; bare libraries are left out, since they neither
    acknowledge nor may be searched while they take items in."""
    found: dict[str, Figures] = {}
    databases = [contender for contender in contenders if contender.database]
    for contender in databases:
        found[contender.name] = {"durable": [], "failed": {}}
        try:
            ensure_built(contender, vectors, options)
        except EngineFailedError as error:
            found[contender.name]["failed"][failed_step(error)] = str(error)
    alive = [contender for contender in databases if not found[contender.name]["failed"]]
    for turn in range(options.rounds):
        for contender in alive:
            session = Session(contender, vectors, options)
            try:
                with session.start() as child:
                    took = session.asked(child, "durable", batches=batches, turn=turn)
                found[contender.name]["durable"].append(took)
            except EngineFailedError as error:
                found[contender.name]["failed"]["add"] = str(error)
            options.log(f"{vectors.name}: adding, round {turn + 1}: {contender.name}")
    for contender in alive:
        figures = found[contender.name]
        session = Session(contender, vectors, options)
        try:
            figures["beside"] = _beside(session, seconds)
        except EngineFailedError as error:
            figures["failed"]["search while adding"] = str(error)
        session.end()
        options.log(f"{vectors.name}: searching while adding: {contender.name}")
    return found


def _beside(session: Session, seconds: float) -> Figures:
    points: list[dict[str, Any]] = []
    for setting in session.open().settings:
        points.append(look(session, setting, ""))
        if points[-1]["recall"] >= TARGETS[0]:
            break
    setting = chosen_of("", points).get(str(TARGETS[0]), points[-1]["setting"])
    return session.ask("while_adding", setting=setting, rate=RATE, batch=BATCH, seconds=seconds)


def durable_rate(figures: Figures) -> float | None:
    """Items a second, acknowledged as durably as the engine offers: the median."""
    rates = [one["items"] / one.get("flushed", one["added"]) for one in figures["durable"]]
    return statistics.median(rates) if rates else None


def plain_rate(figures: Figures) -> float | None:
    """Items a second without the extra call: the median."""
    rates = [one["items"] / one["added"] for one in figures["durable"]]
    return statistics.median(rates) if rates else None
