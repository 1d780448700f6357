"""The run ids of the rows that a report names: read from their lines at the end, so that the
walk need not carry them. This module judges nothing."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

import msgspec
from msgspec.structs import replace

from stillhouse.acceptance.verdicts import GateResult, Offence
from stillhouse.interfaces import Store
from stillhouse.redaction import redact

_RUN: Final = re.compile(
    rb'"(?:evidence_run_id|source_run_id|chosen_run_id|run_id)":\s*("(?:[^"\\]|\\.)*")'
)
_LONGEST: Final = 400
"""Characters of a detail at most: it may quote what stands in a row."""


def name_runs(store: Store, results: list[GateResult]) -> list[GateResult]:
    """The results, with the run id at the head of each offence whose line gives one, and without
    secrets: a report may be shown where the lake is not."""
    wanted: dict[str, set[int]] = {}
    for result in results:
        for one in result.offences:
            if one.line is not None:
                wanted.setdefault(one.path, set()).add(one.line)
    runs = {path: _runs(store, path, lines) for path, lines in sorted(wanted.items())}

    def named(one: Offence) -> Offence:
        run = runs.get(one.path, {}).get(one.line or 0)
        detail = redact(f"run {run}: {one.detail}" if run else one.detail, {})
        cut = detail if len(detail) <= _LONGEST else f"{detail[:_LONGEST]} …"
        return replace(one, detail=cut)

    return [replace(result, offences=[named(one) for one in result.offences]) for result in results]


def _runs(store: Store, path: str, lines: set[int]) -> dict[int, str]:
    """Run ids by line, from 1."""
    found: dict[int, str] = {}
    if not path.endswith(".jsonl") or store.stat(path) is None:
        return found
    last = max(lines)
    with store.open(path) as handle:
        for number, line in enumerate(handle, 1):
            run = _RUN.search(line) if number in lines else None
            if run is not None:
                # What stands in a broken line may be broken itself; then it names nothing.
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    found[number] = msgspec.json.decode(run[1], type=str)
            if number >= last:
                break
    return found
