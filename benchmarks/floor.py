"""The floor: typed decode of each raw line and encode of the same data, nothing else.

No hash, no rule, no file written: what no program that reads and writes these rows with
msgspec can beat in as many processes.

    python -m benchmarks.floor LAKE --processes 1
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

BLOCK: Final = 1 << 20


class Row(msgspec.Struct, omit_defaults=True):
    """What any raw row may carry (SPEC section 2)."""

    run_id: str = ""
    timestamp: str | float | None = None
    ts: str | float | None = None
    at: str | float | None = None
    created_at: str | float | None = None
    reviewed_at: str | float | None = None
    task_id: str | None = None
    model: str | None = None
    provider: str | None = None
    role: str | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    metadata: dict[str, Any] = {}
    human_override: dict[str, Any] | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[Any] | None = None
    prompt: str | None = None


class Scrum(Row):
    file: str = ""
    accepted_on_attempt: int | None = None
    review: str = ""


class Observer(Row):
    file: str = ""
    verdict: str | None = None
    confidence: float | None = None
    notes: list[str] = []
    review: str = ""


class Audit(Row):
    phase: str = ""
    overall: str | None = None
    findings: list[dict[str, str]] | None = None
    summary: str = ""


class Contract(Row):
    permit_id: str = ""
    contractor: str | None = None
    observer_verdict: str | None = None
    failure_markers: list[str] = []
    analysis: str = ""


class Apply(Row):
    file: str = ""
    action: str | None = None
    patch: str = ""


class Event(msgspec.Struct):
    name: str
    ok: bool
    note: str = ""


class Outcome(Row):
    scenario: str = ""
    events: list[Event] = []
    report: str = ""


class Mode(Row):
    task_class: str = ""
    file: str = ""
    mode: str = ""
    validators: dict[str, bool] = {}
    response: str = ""


class Fact(Row):
    fact: str = ""


KINDS: Final[dict[str, type[Row]]] = {
    "scrum_reviews": Scrum,
    "observer_reviews": Observer,
    "audits": Audit,
    "contract_analyses": Contract,
    "auto_apply": Apply,
    "outcomes": Outcome,
    "mode_experiments": Mode,
    "distilled_facts": Fact,
}


def lines(path: Path, start: int, end: int) -> Iterator[bytes]:
    """The lines that begin within the byte range, read in large blocks."""
    with path.open("rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()
        while end - file.tell() > BLOCK:
            yield from file.readlines(BLOCK)
        position = file.tell()
        while position < end:
            line = file.readline()
            position += len(line)
            yield line


def pass_over(lake: Path, part: int, parts: int) -> int:
    """Decode and encode one part of every file; how many rows were well typed."""
    encode = msgspec.json.Encoder().encode_into
    buffer = bytearray()
    good = 0
    for stem, kind in KINDS.items():
        path = lake / "_kb" / f"{stem}.jsonl"
        size = path.stat().st_size
        decode = msgspec.json.Decoder(kind).decode
        for line in lines(path, size * part // parts, size * (part + 1) // parts):
            try:
                encode(decode(line), buffer)
            except msgspec.DecodeError:
                continue
            good += 1
    return good


def main() -> None:
    """Pass over a lake in one process or several."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lake", type=Path)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    if options.processes == 1:
        print(pass_over(options.lake, 0, 1))
        return
    jobs = [(options.lake, part, options.processes) for part in range(options.processes)]
    with multiprocessing.Pool(options.processes) as pool:
        print(sum(pool.starmap(pass_over, jobs, chunksize=1)))


if __name__ == "__main__":
    main()
