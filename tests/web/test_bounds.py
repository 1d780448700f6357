"""Bodies that hold too much: they are refused before anything is made of what they hold."""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import Any

import msgspec
import pytest

from stillhouse.errors import VectorLimitError
from stillhouse.vectors import Limits
from stillhouse.web import counting, wire
from stillhouse.web.bounds import check_body
from tests.web.live import Live

MANY = 400_000
HUGE = {
    "numbers for items": ("docs/add", b'{"items":[' + b"0," * MANY + b"0]}", "items"),
    "empty items": ("docs/add", b'{"items":[' + b"{}," * MANY + b"{}]}", "items"),
    "an endless vector": (
        "docs/add",
        b'{"items":[{"id":"x","vector":[' + b"0," * MANY + b"0]}]}",
        "items[0]",
    ),
    "empty vectors": ("docs/search", b'{"vectors":[' + b"[]," * MANY + b"[]]}", "vectors"),
    "a long vector": ("docs/search", b'{"vector":[' + b"0," * MANY + b"0]}", "vector"),
    "a long one of several": (
        "docs/search",
        b'{"vectors":[[1,0,0],[' + b"0," * MANY + b"0]]}",
        "vectors[1]",
    ),
    "empty filters": (
        "docs/search",
        b'{"vector":[1,0,0],"filter":{"a":[' + b"{}," * MANY + b"{}]}}",
        "filter",
    ),
    "a filter to count by": (
        "docs/count",
        b'{"filter":{"a":[' + b"{}," * MANY + b"{}]}}",
        "filter",
    ),
    "ids": ("docs/delete", b'{"ids":[' + b'"",' * MANY + b'""]}', "ids"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body", "field"), HUGE.values(), ids=HUGE)
def test_too_much_is_refused_before_it_is_made(
    shared: Live, path: str, body: bytes, field: str
) -> None:
    """With the field, and with little more memory than the body takes."""
    tracemalloc.start()
    try:
        answer = shared.post(path, body, **{"content-type": "application/json"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (answer.status, answer.code, answer.fields) == (422, "limit_exceeded", [field])
    assert peak < 10 * len(body) + 8_000_000


def test_too_many_vectors_of_a_wide_index_are_counted() -> None:
    """No matrix is made of what is refused."""
    raw = msgspec.Raw(b"[" + b"[]," * 2_000_000 + b"[]]")
    with pytest.raises(VectorLimitError, match="2,000,001"):
        wire.many_vectors(raw, 16_384, Limits())


def _random(rng: random.Random, depth: int) -> Any:
    """Any JSON, with signs in its strings that look like structure."""
    kind = rng.randrange(5 if depth else 3)
    if kind == 0:
        return rng.choice([0, 1.5, None, True, -7])
    if kind in (1, 2):
        return "".join(rng.choice(',[]{}"\\abü\n') for _ in range(rng.randrange(8)))
    inner = [_random(rng, depth - 1) for _ in range(rng.randrange(5))]
    if kind == 3:
        return inner
    return {f'{at}"\\,[': one for at, one in enumerate(inner)}


def _values(value: Any) -> int:
    """Lists, objects and commas outside strings."""
    if not isinstance(value, list | dict):
        return 0
    inner = value if isinstance(value, list) else list(value.values())
    return 1 + max(0, len(inner) - 1) + sum(map(_values, inner))


@pytest.mark.parametrize("block", [1, 2, 3, 64])
def test_counts_are_those_of_the_decoded_value(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Whatever stands in strings, and wherever a piece ends."""
    monkeypatch.setattr(counting, "_BLOCK", block)
    rng = random.Random(5)
    for _ in range(300):
        value = _random(rng, 4)
        raw = msgspec.Raw(json.dumps(value, ensure_ascii=rng.random() < 0.5).encode())
        count = _values(value)
        assert not counting.more_values(raw, count)
        assert count == 0 or counting.more_values(raw, count - 1)
        if isinstance(value, list) and value:
            assert not counting.more_entries(raw, len(value))
            assert len(value) < 2 or counting.more_entries(raw, len(value) - 1)


def test_what_is_allowed_passes() -> None:
    """As much as the limits allow of everything."""
    limits = Limits(batch_items=100_000, filter_clauses=20_000)
    clauses = [{"$not": {"a": {"$in": [","]}}}] * 5_000
    for body in (
        {"items": [{"id": "x"}] * 100_000},
        {"vectors": [[0.5] * 100] * 1_000},
        {"vector": [1.25] * 16_384, "filter": {"$and": clauses}, "include": ["vector"]},
        {"ids": [",[]{}"] * 100_000},
        {"vectors": {"base64": "A" * 100_000}},
        {"metadata": {"a": [0] * 32_000}, "x": "y" * 100_000},
    ):
        check_body(json.dumps(body).encode(), limits)
