"""What is to be reached, and whether it is (issue "vector service", part 10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from benchmarks.vectors.adding import durable_rate
from benchmarks.vectors.data import FIELDS
from benchmarks.vectors.embedded import FILTERED, TARGETS, Figures, medians, ratio_to_bare
from benchmarks.vectors.engines import BARE, CONTENDERS, STILLHOUSE
from benchmarks.vectors.serving import medians as http_medians

OF_BARE: Final = 0.8
DURABLE: Final = 10_000
START_SECONDS: Final = 2.0
DATABASES: Final = tuple(one.name for one in CONTENDERS if one.database and one.name != STILLHOUSE)


class Target(NamedTuple):
    """A figure with its limit; ``least`` says that the limit is the lower one. No figure is a
    target missed."""

    what: str
    limit: float
    value: float | None
    least: bool = True

    @property
    def holds(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.least else self.value <= self.limit


def find_targets(sets: dict[str, Any]) -> list[Target]:
    """Every target that the figures at hand are about."""
    found: list[Target] = []
    for name, one in sets.items():
        if STILLHOUSE in one.get("embedded", {}):
            found += _embedded(name, one["embedded"])
        if STILLHOUSE in one.get("adding", {}):
            rate = durable_rate(one["adding"][STILLHOUSE])
            found.append(Target(f"{name}: durable adds a second, at least", DURABLE, rate))
        if {STILLHOUSE, "chromadb"} <= set(one.get("http", {})):
            found += _http(name, one["http"])
    return found


def _embedded(name: str, found: dict[str, Figures]) -> Iterator[Target]:
    plain = [str(target) for target in TARGETS]
    if any(bare in found for bare in BARE):
        for key in plain:
            ratio = ratio_to_bare(found, STILLHOUSE, key)
            yield Target(f"{name}: QPS at {key}, × bare faiss, at least", OF_BARE, ratio)
    ours = found[STILLHOUSE]["rounds"]
    for key in (*plain, *(f"{target} many" for target in plain), *FIELDS):
        if fastest := _fastest(found, key):
            one = medians(ours, key)
            what = f"{name}: QPS {_named(key)}, × the fastest database, at least"
            yield Target(what, 1.0, one["qps"] / fastest if one else None)
    for field in FIELDS:
        one = medians(ours, field)
        value = one["recall"] if one else None
        yield Target(f"{name}: recall {_named(field)}, at least", FILTERED, value)
    started = sorted(done["startup"] for done in ours if "startup" in done)
    middle = started[len(started) // 2] if started else None
    yield Target(f"{name}: seconds to open and answer, at most", START_SECONDS, middle, False)


def _named(key: str) -> str:
    if key in FIELDS:
        return f"under a filter of {100 / FIELDS[key]:g} %"
    return f"at {key.removesuffix(' many')}, in batches" if key.endswith("many") else f"at {key}"


def _fastest(found: dict[str, Figures], key: str) -> float:
    """QPS of the fastest other database that reaches the recall; 0 when none does."""
    wanted = FILTERED if key in FIELDS else 0.0
    rates: list[float] = [
        one["qps"]
        for name in DATABASES
        if name in found
        and (one := medians(found[name]["rounds"], key)) is not None
        and one["recall"] >= wanted
    ]
    return max(rates, default=0.0)


def _http(name: str, found: dict[str, Figures]) -> Iterator[Target]:
    ours, theirs = http_medians(found[STILLHOUSE]), http_medians(found["chromadb"])
    for kind, peer in theirs.items():
        mine = ours.get(kind)
        value = mine["qps"] / peer["qps"] if mine else None
        yield Target(f"{name}: QPS over HTTP, {kind}, × chroma, at least", 1.0, value)
        if "at once" not in kind:
            value = mine["p99"] / peer["p99"] if mine else None
            yield Target(f"{name}: p99 over HTTP, {kind}, × chroma, at most", 1.0, value, False)
    for kind, json in ours.items():
        if kind.startswith("base64"):
            plain = ours[kind.replace("base64", "JSON")]
            value = json["qps"] / plain["qps"]
            yield Target(f"{name}: QPS over HTTP, {kind}, × JSON, at least", 1.0, value)
