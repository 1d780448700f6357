"""The figures as a Markdown page for people: what was run on what, tables, failures, targets."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any, Final

from benchmarks.vectors.adding import BATCH, BATCHES, RATE, durable_rate, plain_rate
from benchmarks.vectors.children import python_for
from benchmarks.vectors.data import DIMENSION, FIELDS, SEED, K
from benchmarks.vectors.embedded import FILTERED, TARGETS, Figures, medians, ratio_to_bare
from benchmarks.vectors.engines import CONTENDERS, EF_CONSTRUCTION, THREADS, M
from benchmarks.vectors.serving import CEILING, TARGET
from benchmarks.vectors.serving import medians as http_medians
from benchmarks.vectors.targets import Target

MB: Final = 1_000_000
_SHARES: Final = dict(zip(FIELDS, ("10 %", "1 %", "0.1 %"), strict=True))


_ASK: Final = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = "?"
print(json.dumps(found))
"""


def versions(peer_python: str) -> dict[str, str]:
    """Versions of every engine's package where it runs; "?" for what is not installed there."""
    found = {"numpy": metadata.version("numpy")}
    for contender in CONTENDERS:
        python = python_for(contender, peer_python)
        said = subprocess.run(
            [python, "-c", _ASK, contender.package], capture_output=True, text=True, check=True
        )
        found |= json.loads(said.stdout)
    return found


def machine(peer_python: str = sys.executable) -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions(peer_python),
    }


def markdown(results: dict[str, Any]) -> str:
    """The whole page."""
    here = results["machine"]
    told = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    lines = [
        f"    {results['command']}",
        "",
        f"{here['system']} {here['machine']}, {here['cpus']} CPUs, Python {here['python']}; {told}",
        f"{DIMENSION} dimensions, cosine, k = {K}; M = {M}, efConstruction = {EF_CONSTRUCTION}; "
        f"{THREADS} threads for building and batches, one for single queries; seed {SEED}; "
        f"medians of {results['rounds']} rounds",
    ]
    for name, one in results["sets"].items():
        lines += ["", f"### {name}: {one['size']:,} vectors, {one['queries']:,} queries"]
        if "embedded" in one:
            lines += _embedded(one["embedded"])
        if "adding" in one:
            lines += _adding(one["adding"])
        if "http" in one:
            lines += _http(one["http"])
        lines += _failures(one)
    if results["targets"]:
        lines += ["", *_targets([Target(*target) for target in results["targets"]])]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return ["", *lines, *(f"| {' | '.join(row)} |" for row in rows)]


# ---------------------------------------------------------------------------- embedded


def _embedded(found: dict[str, Figures]) -> list[str]:
    plain = [str(target) for target in TARGETS]
    head = ["one query at a time"]
    for target in plain:
        head += [f"QPS at {target}", "recall", "× bare faiss", "p99 ms"]
    lines = _table(head, (_single(found, name, plain) for name in found))
    head = [f"batches of 100, {THREADS} threads"]
    for target in plain:
        head += [f"QPS at {target}", "recall", "× bare faiss"]
    lines += _table(head, (_many(found, name, plain) for name in found))
    head = [f"under a filter, QPS at {FILTERED}"]
    for share in _SHARES.values():
        head += [share, "recall", "too few"]
    lines += _table(head, (_filtered(found, name) for name in found))
    head = ["", "build s", "of it settling", "disk MB", "memory MB", "of it files", "start-up ms"]
    return lines + _table(head, (_folder(name, one) for name, one in found.items()))


def _single(found: dict[str, Figures], name: str, plain: Sequence[str]) -> list[str]:
    row = [name]
    for key in plain:
        one = medians(found[name]["rounds"], key)
        if one is None:
            row += [_not_reached(found[name], key), "", "", ""]
        else:
            row += [_count(one["qps"]), f"{one['recall']:.3f}"]
            row += [_times(ratio_to_bare(found, name, key)), f"{one['p99'] * 1000:.2f}"]
    return row


def _many(found: dict[str, Figures], name: str, plain: Sequence[str]) -> list[str]:
    row = [name]
    for key in (f"{target} many" for target in plain):
        one = medians(found[name]["rounds"], key)
        if one is None:
            row += [_not_reached(found[name], key), "", ""]
        else:
            row += [_count(one["qps"]), f"{one['recall']:.3f}"]
            row += [_times(ratio_to_bare(found, name, key))]
    return row


def _filtered(found: dict[str, Figures], name: str) -> list[str]:
    row = [name]
    for field in FIELDS:
        one = medians(found[name]["rounds"], field)
        if one is None:
            row += [_not_reached(found[name], field), "", ""]
            continue
        short = f"{one['short']:.0f}" if one["short"] else ""
        qps = _count(one["qps"])
        reached = one["recall"] >= FILTERED
        row += [qps if reached else f"not reached ({qps})", f"{one['recall']:.3f}", short]
    return row


def _not_reached(figures: Figures, key: str) -> str:
    if {"import", "build", "open"} & set(figures["failed"]):
        return "failed"
    step = f"search {key}".removesuffix(" many")
    return "failed" if step in figures["failed"] else "not reached"


def _folder(name: str, figures: Figures) -> list[str]:
    builds, rounds = figures["builds"], figures["rounds"]
    if not builds:
        return [name, "failed", "", "", "", "", ""]
    middle = statistics.median
    settling = middle(one["settling"] for one in builds)
    row = [name, f"{middle(one['adding'] + one['settling'] for one in builds):.1f}"]
    row += [f"{settling:.1f}", f"{middle(one['disk'] for one in builds) / MB:.0f}"]
    memory = [done["memory"] for done in rounds if "memory" in done]
    startup = [done["startup"] for done in rounds if "startup" in done]
    row += [f"{middle(one['bytes'] for one in memory) / MB:.0f}" if memory else ""]
    row += [f"{middle(one['files'] for one in memory) / MB:.0f}" if memory else ""]
    return [*row, f"{middle(startup) * 1000:.0f}" if startup else ""]


# ------------------------------------------------------------------------ adding, HTTP


def _adding(found: dict[str, Figures]) -> list[str]:
    claims = {one.name: one.durable for one in CONTENDERS}
    head = [
        f"adding {BATCHES} batches of 1,000",
        "items/s",
        "with its call for durability",
        "QPS alone",
        f"QPS while {RATE:,} items/s come in, by {BATCH}",
        "p99 ms",
        "items/s taken",
        "add p99 ms",
    ]
    lines = _table(head, (_added(name, one) for name, one in found.items()))
    lines += ["", "Durable when acknowledged:", ""]
    return lines + [f"- {name}: {claims[name]}" for name in found if name in claims]


def _added(name: str, figures: Figures) -> list[str]:
    plain, durable = plain_rate(figures), durable_rate(figures)
    row = [name, _count(plain) if plain else "failed"]
    row += [_count(durable) if durable and durable != plain else ""]
    if "beside" not in figures:
        return [*row, "failed", "", "", "", ""]
    one = figures["beside"]
    beside = one["beside"]
    return [
        *row,
        _count(one["alone"]["qps"]),
        _count(beside["qps"]),
        f"{beside['p99'] * 1000:.2f}",
        _count(one["rate"]),
        f"{one['add_p99'] * 1000:.1f}",
    ]


def _http(found: dict[str, Figures]) -> list[str]:
    def rows() -> Iterator[list[str]]:
        for name, figures in found.items():
            for kind, one in http_medians(figures).items():
                reached = figures.get("recall")
                yield [
                    name,
                    kind,
                    _count(one["qps"]),
                    f"{one['p50'] * 1000:.2f}",
                    f"{one['p99'] * 1000:.2f}",
                    f"{one['cores']:.2f}",
                    f"{reached:.3f}" if reached is not None else "",
                ]

    head = ["over HTTP", "requests × connections", "QPS", "p50 ms", "p99 ms"]
    lines = _table([*head, "its processors", f"recall (to reach {TARGET})"], rows())
    return [*lines, "", f'"{CEILING}" is the ceiling of the load generator.']


def _failures(one: dict[str, Any]) -> list[str]:
    told = [
        f"- {name}: {step}: {reason}"
        for part in ("embedded", "adding", "http")
        for name, figures in one.get(part, {}).items()
        for step, reason in figures["failed"].items()
    ]
    return ["", "What failed, and why:", "", *dict.fromkeys(told)] if told else []


def _targets(targets: Sequence[Target]) -> list[str]:
    def rows() -> Iterator[list[str]]:
        for target in targets:
            value = "none" if target.value is None else f"{target.value:,.2f}"
            yield [target.what, f"{target.limit:g}", value, "yes" if target.holds else "no"]

    return _table(["to reach", "limit", "measured", ""], rows())[1:]


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
