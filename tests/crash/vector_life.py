"""A process that works on a data folder of vectors until it is done or killed, and what it leaves.

It writes down each operation before it begins and again when it was acknowledged. From that a
model, the backend in memory, tells what must be there: everything acknowledged, and of the one
operation that was under way in each thread all or nothing (of a merge: whole batches).

Starting an interpreter for each life would take most of the time: one process has everything
imported and forks. It reads one JSON life a line on stdin and answers with a wait status.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stillhouse.vectors.backend import Backend
from stillhouse.vectors.filters import OneOf
from stillhouse.vectors.local import LocalBackend, LocalOptions
from stillhouse.vectors.memory import MemoryBackend
from stillhouse.vectors.search_index import SearchOptions
from stillhouse.vectors.values import Batch, IndexSpec
from stillhouse.vectors.writer import WriterLimits
from tests.crash import forking

DONE, BROKEN = 0, 4
DIMENSION = 8
MERGE_BATCH = 25

Operation = list[Any]
Content = tuple[bytes, bytes | None]
State = dict[str, dict[str, Content]]


class Life(NamedTuple):
    """One process: on which folder it works, where it writes down what it does, and how it ends.

    It dies at the ``nth`` passing of a named ``point``, or ``delay`` seconds after ``after``
    operations were acknowledged, or not at all.
    """

    folder: str
    log: str
    seed: int
    steps: int = 60
    threads: int = 2
    point: str = ""
    nth: int = 1
    after: int | None = None
    delay: float = 0.0


def options(faults: Callable[[str], None]) -> LocalOptions:
    """Everything small, so that a short life sees merges of several batches, segments and folds."""
    return LocalOptions(
        search=SearchOptions(seal_rows=64, faults=faults),
        writer=WriterLimits(fold_bytes=256 << 10),
        merge_batch=MERGE_BATCH,
        faults=faults,
    )


# ----------------------------------------------------------------------------- operations


def content(id_: str, version: int) -> tuple[list[float], bytes | None]:
    """What an item has in a version: a vector, and no, empty or some metadata."""
    word = zlib.crc32(f"{id_}/{version}".encode())
    vector = np.random.default_rng(word).standard_normal(DIMENSION).astype(np.float32).tolist()
    return vector, (None, b"{}", b'{"n":%d}' % version, b'{"n":%d,"t":"x"}' % version)[word % 4]


def batch(items: list[list[Any]]) -> Batch:
    """Items ``[id, version]`` by columns."""
    made = [content(id_, version) for id_, version in items]
    vectors = np.array([vector for vector, _ in made], np.float32).reshape(-1, DIMENSION)
    return Batch([id_ for id_, _ in items], vectors, [metadata for _, metadata in made])


def apply(backend: Backend, operation: Operation) -> Any:
    """Do one operation; what it gives, as JSON has it."""
    kind, name, *rest = operation
    if kind == "create":
        return backend.create(IndexSpec(name, DIMENSION))
    if kind == "add":
        return backend.add(name, batch(rest[0]))
    if kind == "delete":
        return backend.delete(name, rest[0])
    if kind == "delete_matching":
        return backend.delete_matching(name, OneOf(("n",), (rest[0],)))
    if kind == "load":
        pieces = [rest[0][at : at + 30] for at in range(0, len(rest[0]), 30)]
        return backend.load(IndexSpec(name, DIMENSION), map(batch, pieces), replace=True)
    if kind == "drop":
        return backend.drop(name)
    assert kind == "merge"
    done = backend.merge(name, rest[0], clear_source=rest[1], on_conflict=rest[2])
    return [done.merged, done.skipped, done.conflicts, done.cleared, done.remaining]


def next_operation(chance: random.Random, thread: int, there: list[str]) -> Operation:
    """Something to do on the indexes of a thread."""
    main, fresh, bulk = (f"t{thread}-{kind}" for kind in ("main", "fresh", "bulk"))
    for name in (main, fresh):
        if name not in there:
            return ["create", name]

    def ids(most: int) -> list[str]:
        numbers = chance.sample(range(120), chance.randint(1, most))
        return [f"t{thread}-{number:03d}" for number in numbers]

    def items(most: int) -> list[list[Any]]:
        return [[id_, chance.randrange(4)] for id_ in ids(most)]

    clear, conflict = chance.random() < 0.8, chance.choice(["skip", "replace"])
    choices: list[tuple[int, Operation]] = [
        (4, ["add", main, items(40)]),
        (6, ["add", fresh, items(80)]),
        (3, ["delete", chance.choice([main, fresh]), ids(30)]),
        (1, ["delete_matching", chance.choice([main, fresh]), chance.randrange(4)]),
        (4, ["merge", fresh, main, clear, conflict]),
        (1, ["merge", main, fresh, clear, conflict]),
        (2, ["load", bulk, items(110)]),
    ]
    if bulk in there:
        choices += [(1, ["drop", bulk]), (1, ["merge", bulk, main, clear, conflict])]
    weights = [weight for weight, _ in choices]
    return chance.choices([operation for _, operation in choices], weights)[0]


# -------------------------------------------------------------------------- in the child


class Journal:
    """What was begun and what was acknowledged, one JSON line each, as soon as it is so."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._file = os.open(life.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lock = threading.Lock()
        self._acknowledged = 0
        self._passed = 0

    def write(self, thread: int, what: str, value: Any) -> None:
        """One line; dies when it is time."""
        os.write(self._file, (json.dumps([thread, what, value]) + "\n").encode())
        if what != "done" or self._life.after is None:
            return
        with self._lock:
            self._acknowledged += 1
            due = self._acknowledged == self._life.after
        if due:
            threading.Thread(target=self._die_later, daemon=True).start()

    def _die_later(self) -> None:
        time.sleep(self._life.delay)
        os.kill(os.getpid(), signal.SIGKILL)

    def pass_point(self, point: str) -> None:
        """A named point of the backend; dies when it is this life's."""
        if point != self._life.point:
            return
        with self._lock:
            self._passed += 1
            due = self._passed == self._life.nth
        if due:
            os.kill(os.getpid(), signal.SIGKILL)


def live(life: Life) -> int:
    """In the child: the whole life."""
    journal = Journal(life)
    backend = LocalBackend(life.folder, options=options(journal.pass_point))
    codes = [BROKEN] * life.threads

    def work(thread: int) -> None:
        chance = random.Random(f"{life.seed}/{thread}")
        for _ in range(life.steps):
            there = [name for name in backend.names() if name.startswith(f"t{thread}-")]
            operation = next_operation(chance, thread, there)
            journal.write(thread, "begun", operation)
            journal.write(thread, "done", apply(backend, operation))
        codes[thread] = DONE

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(life.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in backend.names():
        backend.settle(name)
    backend.close()
    return max(codes)


def serve() -> None:
    """Lives in, wait statuses out, until stdin ends."""
    forking.serve(_status)


def _status(**fields: Any) -> int:
    life = Life(**fields)
    return forking.fork(lambda: live(life), BROKEN)


# --------------------------------------------------------------------- what may be there


def state_of(backend: Backend) -> State:
    """Everything that a backend has, and its other answers agree with that."""
    state: State = {}
    for name in backend.names():
        with backend.export(name) as export:
            items: dict[str, Content] = {}
            for ids, vectors, metadata in export.batches:
                assert not set(ids) & set(items), "an id came twice"
                for id_, vector, one in zip(ids, vectors, metadata, strict=True):
                    items[id_] = (vector.tobytes(), one)
        assert export.total == len(items)
        assert backend.ids(name) == sorted(items)
        assert backend.count(name, None) == len(items)
        if items:
            query = np.ones((1, DIMENSION), np.float32)
            (found,) = backend.search(name, query, len(items), None, None, frozenset())
            assert sorted(found.ids) == sorted(items), "search and truth have parted"
        state[name] = items
    return state


def model_of(state: State) -> MemoryBackend:
    """The same in memory."""
    model = MemoryBackend()
    for name, items in state.items():
        vectors = np.frombuffer(b"".join(vector for vector, _ in items.values()), np.float32)
        columns = Batch(
            list(items), vectors.reshape(-1, DIMENSION), [one for _, one in items.values()]
        )
        model.load(IndexSpec(name, DIMENSION), [columns], replace=False)
    return model


def replay(log: Path, model: MemoryBackend) -> dict[int, Operation]:
    """Do in a model what was acknowledged, with the same answers; what was under way in each
    thread."""
    under_way: dict[int, Operation] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        thread, what, value = json.loads(line)
        if what == "begun":
            under_way[thread] = value
        else:
            assert apply(model, under_way.pop(thread)) == value
    return under_way


def part(state: State, thread: int) -> State:
    """The indexes of a thread."""
    return {name: items for name, items in state.items() if name.startswith(f"t{thread}-")}


def check(found: State, model: MemoryBackend, under_way: dict[int, Operation]) -> None:
    """Assert that nothing acknowledged is missing and nothing else is there."""
    before = state_of(model)
    for thread in sorted({int(name[1 : name.index("-")]) for name in (*found, *before)}):
        seen, left = part(found, thread), part(before, thread)
        operation = under_way.get(thread)
        if operation is None:
            assert seen == left
            continue
        after_all = model_of(left)
        apply(after_all, operation)
        after = state_of(after_all)
        if operation[0] == "merge":
            check_merge(seen, left, after, operation[1], operation[2])
        else:
            assert seen in (left, after), operation[:2]


def check_merge(seen: State, before: State, after: State, src: str, dest: str) -> None:
    """Assert that some first batches of a merge are done, and nothing of the rest."""
    assert {name: seen[name] for name in seen if name not in (src, dest)} == {
        name: before[name] for name in before if name not in (src, dest)
    }

    def pair(state: State, id_: str) -> tuple[Content | None, Content | None]:
        return state[src].get(id_), state[dest].get(id_)

    ids = sorted({*before[src], *before[dest], *seen[src], *seen[dest]})
    moving = [id_ for id_ in ids if pair(before, id_) != pair(after, id_)]
    still = [id_ for id_ in moving if pair(seen, id_) == pair(before, id_)]
    assert still == moving[len(moving) - len(still) :], "the first are not those that moved"
    for id_ in ids:
        wanted = before if id_ in still else after
        assert pair(seen, id_) == pair(wanted, id_), id_
