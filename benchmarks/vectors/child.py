"""One engine in a process of its own: takes commands, answers with figures.

Started by `children`. Each command is a line of JSON on standard input, each answer one on what
was standard output; whatever a library prints goes to standard error. An error ends the process:
the parent tells its last words.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.vectors.data import FIELDS, Set, metadata_of, read_set, recall, short_answers
from benchmarks.vectors.engines import THREADS, Engine

BATCH: Final = 1000
"""Items at once when loading."""
MANY: Final = 100
"""Queries at once in a batch."""
_WARM_UP: Final = 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident() -> tuple[int, int]:
    """Bytes of this process in memory, and how many of them are pages of files; zeros where the
    kernel does not tell."""
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0, 0
    return int(fields[1]) * _PAGE, int(fields[2]) * _PAGE


def _give_back() -> None:
    """Have glibc return what importing left free: what fits in there would weigh nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class Bench:
    """An engine with the set it is measured on. Its public methods are the commands."""

    def __init__(self, engine: Engine, vectors: Set) -> None:
        self.engine = engine
        self.set = vectors
        self.queries = [engine.query(vector) for vector in vectors.queries]
        self.conditions: dict[str, list[Any]] = {}
        _give_back()
        self.before = resident()

    def build(self) -> dict[str, Any]:
        """Load the base in batches and settle; seconds of both."""
        engine = self.engine
        engine.folder.mkdir(parents=True)
        engine.threads(THREADS)
        engine.create()
        adding = self._load(engine, len(self.set.base), flush=False)
        began = time.perf_counter()
        engine.settle()
        settling = time.perf_counter() - began
        engine.close()
        return {"adding": adding, "settling": settling, "disk": _disk(engine.folder)}

    def _load(self, engine: Engine, count: int, *, flush: bool) -> float:
        seconds = 0.0
        for start in range(0, count, BATCH):
            stop = min(start + BATCH, count)
            vectors = np.array(self.set.base[start:stop])
            metadata = metadata_of(self.set.values[start:stop])
            began = time.perf_counter()
            engine.add(start, vectors, metadata)
            if flush:
                engine.flush()
            seconds += time.perf_counter() - began
        return seconds

    def open(self) -> dict[str, Any]:
        """Open the folder and answer one query; the seconds of both."""
        began = time.perf_counter()
        self.engine.open()
        self.engine.search(self.queries[0], None)
        seconds = time.perf_counter() - began
        return {"seconds": seconds}

    def memory(self) -> dict[str, Any]:
        """What this process has grown by since it had imported the engine and read the queries."""
        now = resident()
        return {"bytes": now[0] - self.before[0], "files": now[1] - self.before[1]}

    def measure(
        self, setting: dict[str, Any], field: str, many: bool, seconds: float, least: int
    ) -> dict[str, Any]:
        """Search with a setting, under the filter of a field (or none), one by one or in batches,
        for some seconds and at least ``least`` queries; recall is that of the queries asked."""
        engine = self.engine
        engine.threads(THREADS if many else 1)
        engine.use(setting)
        conditions = self._conditions(field)
        warming = self.queries[: min(_WARM_UP, least)]
        for query, condition in zip(warming, conditions, strict=False):
            engine.search(query, condition)
        cost = (
            _run_many(engine, self.queries, seconds)
            if many
            else _run(engine, self.queries, conditions, seconds, least)
        )
        answers = [engine.numbers(answer) for answer in cost.pop("answers")]
        exact = self.set.exact[field]
        return {
            **cost,
            "recall": recall(exact, answers),
            "short": short_answers(exact, answers),
            "answers": len(answers),
        }

    def _conditions(self, field: str) -> list[Any]:
        if not field:
            return [None] * len(self.queries)
        if field not in self.conditions:
            engine, values = self.engine, FIELDS[field]
            self.conditions = {
                field: [engine.condition(field, at % values) for at in range(len(self.queries))]
            }
        return self.conditions[field]

    def durable(self, batches: int, turn: int) -> dict[str, Any]:
        """Add batches to an empty index beside this one, which is removed again: seconds."""
        count = min(batches * BATCH, len(self.set.base))
        result: dict[str, Any] = {"items": count}
        for flush in (False, True):
            folder = self.engine.folder.with_name(f"{self.engine.folder.name}-add-{turn}-{flush}")
            folder.mkdir()
            engine = type(self.engine)(folder)
            engine.create()
            if not flush or engine.flush():
                result["flushed" if flush else "added"] = self._load(engine, count, flush=flush)
            engine.close()
            shutil.rmtree(folder)
        return result

    def while_adding(
        self, setting: dict[str, Any], rate: int, batch: int, seconds: float
    ) -> dict[str, Any]:
        """Search one by one while a thread adds new items at a steady rate, first without."""
        engine = self.engine
        engine.threads(1)
        engine.use(setting)
        nothing = [None] * len(self.queries)
        alone = _run(engine, self.queries, nothing, seconds / 2, 1)
        adder = _Adder(engine, self.set, rate, batch)
        adder.start()
        beside = _run(engine, self.queries, nothing, seconds, 1)
        adder.stop()
        for figures in (alone, beside):
            del figures["answers"]
        return {"alone": alone, "beside": beside, **adder.figures()}

    def end(self) -> dict[str, Any]:
        """Close what is open."""
        self.engine.close()
        return {}


class _Adder(threading.Thread):
    """Adds batches of new items on a schedule, until told to stop or there are no more."""

    def __init__(self, engine: Engine, vectors: Set, rate: int, batch: int) -> None:
        super().__init__(daemon=True)
        self._engine, self._set = engine, vectors
        self._every = batch / rate
        self._batch = batch
        self._done = threading.Event()
        self._took: list[float] = []
        self._seconds = 0.0
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._add()
        except Exception as error:
            self._error = error
            raise

    def _add(self) -> None:
        first, more = len(self._set.base), self._set.more
        began = time.perf_counter()
        for at in range(0, len(more) - self._batch + 1, self._batch):
            wait = began + len(self._took) * self._every - time.perf_counter()
            if self._done.wait(max(wait, 0)):
                break
            rows = slice(first + at, first + at + self._batch)
            start = time.perf_counter()
            self._engine.add(
                first + at,
                np.array(more[at : at + self._batch]),
                metadata_of(self._set.values[rows]),
            )
            self._took.append(time.perf_counter() - start)
            self._seconds = time.perf_counter() - began

    def stop(self) -> None:
        self._done.set()
        self.join()
        if self._error:
            raise self._error

    def figures(self) -> dict[str, Any]:
        took = sorted(self._took) or [0.0]
        added = len(self._took) * self._batch
        # The last batch stands for one interval too, or a few batches would look like more.
        seconds = max(self._seconds, len(self._took) * self._every)
        return {
            "added": added,
            "rate": added / seconds if seconds else 0.0,
            "add_p50": took[len(took) // 2],
            "add_p99": took[min(len(took) - 1, int(len(took) * 0.99))],
        }


def _run(
    engine: Engine, queries: list[Any], conditions: list[Any], seconds: float, least: int
) -> dict[str, Any]:
    """Search one by one, round and round."""
    clock, search = time.perf_counter, engine.search
    answers: list[Any] = []
    took: list[float] = []
    worked = time.process_time()
    began = clock()
    until = began + seconds
    last = began
    while last < until or len(took) < least:
        at = len(took) % len(queries)
        answer = search(queries[at], conditions[at])
        now = clock()
        took.append(now - last)
        if len(answers) < len(queries):
            answers.append(answer)
            now = clock()
        last = now
    return {"answers": answers, **_cost(took, len(took), last - began, worked)}


def _run_many(engine: Engine, queries: list[Any], seconds: float) -> dict[str, Any]:
    """Search in batches, round and round."""
    parts = [queries[at : at + MANY] for at in range(0, len(queries), MANY)]
    answers: list[Any] = []
    took: list[float] = []
    asked = 0
    worked = time.process_time()
    began = time.perf_counter()
    until = began + seconds
    last = began
    while last < until or not took:
        part = parts[len(took) % len(parts)]
        found = engine.search_many(part)
        now = time.perf_counter()
        took.append(now - last)
        asked += len(part)
        if len(answers) < len(queries):
            answers += found
        last = time.perf_counter()
    return {"answers": answers, **_cost(took, asked, last - began, worked)}


def _cost(took: list[float], asked: int, seconds: float, worked: float) -> dict[str, Any]:
    ordered = sorted(took)
    return {
        "qps": asked / seconds,
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "cores": (time.process_time() - worked) / seconds,
    }


def _disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def load_engine(target: str) -> type[Engine]:
    """The class behind ``module:class``."""
    module, _, name = target.partition(":")
    found: type[Engine] = getattr(importlib.import_module(module), name)
    return found


def main() -> int:
    """Answer commands until there are no more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--set", type=Path, required=True)
    options = parser.parse_args()
    with os.fdopen(os.dup(1), "w", buffering=1) as out:
        os.dup2(2, 1)
        try:
            kind = load_engine(options.target)
        except ImportError as error:
            print(json.dumps({"missing": str(error)}), file=out)
            return 0
        bench = Bench(kind(options.folder), read_set(options.set))
        print(json.dumps({"settings": list(kind.settings)}), file=out)
        for line in sys.stdin:
            command = json.loads(line)
            do: Callable[..., dict[str, Any]] = getattr(bench, command.pop("do"))
            print(json.dumps(do(**command)), file=out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
