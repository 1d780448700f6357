"""A backend beside the one in memory: the same calls, seeded, must get the same answers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from stillhouse.errors import VectorError
from stillhouse.vectors import VectorStore
from stillhouse.vectors.backend import Backend
from stillhouse.vectors.memory import MemoryBackend
from stillhouse.vectors.values import Hit, Item, Metric

NAMES = ("docs", "Main Böx", "a'b\"c;%s")
METADATA: tuple[dict[str, Any] | None, ...] = (
    None,
    {},
    {"lang": "en", "year": 2020},
    {"lang": ["en", "de"], "year": 2021.5},
    {"lang": "de", "at": {"deep": [1, None, True]}},
    {"year": 2**64 - 1, "x": -0.0, "big": 1e300},
    {"year": True, "a.b": 'it\'s "q" \\ %s'},
)
FILTERS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"lang": "en"},
    {"year": {"$gte": 2021}},
    {"$not": {"lang": "de"}},
    {"at.deep": {"$in": [1, "x"]}},
    {"year": {"$exists": True}},
    {"a\\.b": 'it\'s "q" \\ %s'},
    {"$or": [{"x": 0}, {"lang": {"$gt": "d", "$lt": "e"}}]},
)


def compare(backend: Backend, seed: int, steps: int, metric: Metric, dimension: int = 5) -> None:
    """Make the same calls of both; the first answer that differs fails."""
    chance = random.Random(seed)
    ours, theirs = VectorStore(MemoryBackend()), VectorStore(backend)
    for name in NAMES[:2]:
        assert theirs.create(name, dimension, metric) == ours.create(name, dimension, metric)
    for step in range(steps):
        call, arguments, options = _step(chance, dimension, metric)
        answers = [_called(store, call, arguments, options) for store in (ours, theirs)]
        where = f"step {step}: {call}{arguments!r} {options!r}"
        if call == "search":
            _same_hits(answers[0], answers[1], metric, where)
        else:
            assert answers[1] == answers[0], where
    for name in ours.backend.names():
        same_items(ours.backend, backend, name)


def same_items(ours: Backend, theirs: Backend, name: str) -> None:
    """Both hold the same items, bit for bit."""
    found = []
    for backend in (ours, theirs):
        with backend.export(name) as state:
            rows = [row for batch in state.batches for row in zip(*batch, strict=True)]
            assert state.total == len(rows)
            found.append([(id_, vector.tobytes(), metadata) for id_, vector, metadata in rows])
    assert found[1] == found[0]


def _step(
    chance: random.Random, dimension: int, metric: Metric
) -> tuple[str, list[Any], dict[str, Any]]:
    name, other = chance.choice(NAMES), chance.choice(NAMES)

    def vector() -> list[float]:
        numbers = [float(chance.randint(-3, 3)) for _ in range(dimension)]
        return [*numbers[:-1], numbers[-1] or -0.0] if any(numbers) else [1.0] * dimension

    def id_() -> str:
        return f"i{chance.randint(0, 30)}" + chance.choice(["", "é", "'😀"])

    call = chance.choice(
        ["add"] * 4 + ["search"] * 4 + ["delete", "delete", "merge", "merge", "ids", "count"]
        + ["get", "indexes", "create", "create", "drop"]
    )  # fmt: skip
    if call == "add":
        rows = {id_(): (vector(), chance.choice(METADATA)) for _ in range(chance.randint(0, 12))}
        return call, [name, [Item(one, *row) for one, row in rows.items()]], {}
    if call == "search":
        options: dict[str, Any] = {
            "filter": chance.choice(FILTERS),
            "include": ["metadata", "vector"],
        }
        return call, [name, vector(), chance.choice([1, 3, 100])], options
    if call == "delete" and chance.random() < 0.3:
        return call, [name], {"filter": chance.choice(FILTERS[1:])}
    if call == "delete":
        return call, [name, [id_() for _ in range(4)] + ["none\0\ud800"]], {}
    if call == "merge":
        options = {
            "clear_source": chance.random() < 0.5,
            "on_conflict": chance.choice(["skip", "replace"]),
        }
        return call, [name, other], options
    if call == "count":
        return call, [name], {"filter": chance.choice(FILTERS)}
    if call == "get":
        return call, [name, id_()], {}
    if call == "create":
        made = {"metadata": chance.choice([None, None, {"of": "us"}])}
        return call, [name, chance.choice([dimension, dimension, 3]), metric], made
    return call, [] if call == "indexes" else [name], {}


def _called(store: VectorStore, call: str, arguments: list[Any], options: dict[str, Any]) -> Any:
    try:
        answer = getattr(store, call)(*arguments, **options)
    except VectorError as error:
        return type(error), error.code, str(error)
    if call == "get":
        return answer.id, np.asarray(answer.vector).tobytes(), answer.metadata
    if call == "indexes":
        return [(one.name, one.dimension, one.metric, one.metadata, one.count) for one in answer]
    return answer


def _same_hits(ours: Any, theirs: Any, metric: Metric, where: str) -> None:
    if not isinstance(ours, list) or not isinstance(theirs, list):
        assert theirs == ours, where
        return
    assert [_content(hit) for hit in theirs] == [_content(hit) for hit in ours], where
    for our, their in zip(ours, theirs, strict=True):
        assert abs(our.score - their.score) <= 1e-6 * max(1.0, abs(our.score)), where


def _content(hit: Hit) -> tuple[object, ...]:
    return hit.id, hit.metadata, np.asarray(hit.vector, np.float32).tobytes()
