"""A small lake, and copies of it with a fault planted in each: do the gates see it?

The lake is the example lake, distilled in memory by the program itself. A fault is planted as
somebody would who edits a file of the lake, and nothing is done to hide it. What is planted,
and which gate has to find it, stands in `EXPECTED`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from stillhouse.demo import MIN_ROWS, write_demo_lake
from stillhouse.engines import InlineEngine
from stillhouse.exports import FILES, ExportOptions
from stillhouse.interfaces import Store
from stillhouse.lake import EVIDENCE, SCORED, evidence_path_for, raw_path
from stillhouse.pipeline import run_lake
from stillhouse.receipts import list_receipts
from stillhouse.records import (
    SCHEMA_VERSION,
    EvidenceRecord,
    ScoredRun,
    SftSample,
    decode,
    encode,
)
from stillhouse.sources import build_instruction
from stillhouse.storage import MemoryStore

EXPECTED: Final[dict[str, list[int]]] = {
    "nothing planted": [],
    "a rejected row relabelled": [6],
    "a swapped line": [3],
    "a truncated file": [1],
    "a forged hash": [12],
    "a forged receipt": [13],
}
"""What is planted → the gates that are red then, and no others."""

_MADE_AT: Final = "2026-04-01T00:00:00Z"
_SFT: Final = FILES["sft"]["sft"]


def planted_faults() -> Iterator[tuple[str, Store]]:
    """Each of `EXPECTED` with the lake that it is planted in."""
    lake = MemoryStore("memory://alarms")
    write_demo_lake(lake, MIN_ROWS)
    run_lake(lake, InlineEngine(), ExportOptions(), _MADE_AT)
    for name in EXPECTED:
        copy = MemoryStore(lake.url)
        for entry in lake.list(""):
            _write(copy, entry.path, lake.read(entry.path))
        _PLANT[name](copy)
        yield name, copy


def _nothing(store: Store) -> None:
    """The gates must hold where nothing is wrong."""


def _relabel(store: Store) -> None:
    """A rejected run becomes a sample that says it was accepted."""
    for entry in store.list(SCORED):
        evidence = _lines(store, evidence_path_for(entry.path))
        for run, record in zip(_lines(store, entry.path), evidence, strict=True):
            if decode(run, ScoredRun).category == "rejected":
                sample = encode(_sample(decode(record, EvidenceRecord)))
                _put(store, _SFT, [*_lines(store, _SFT), sample])
                return


def _sample(record: EvidenceRecord) -> SftSample:
    return SftSample(
        schema_version=SCHEMA_VERSION,
        id=f"sft-{record.provenance.sig_hash[:32]}",
        instruction=build_instruction(record),
        context="",
        response=record.text,
        source_run_id=record.run_id,
        category="accepted",
        created_at=record.provenance.recorded_at,
        provenance=record.provenance,
    )


def _swap(store: Store) -> None:
    """Two lines of a raw log change places."""
    path = raw_path("scrum_reviews")
    first, second, *rest = _lines(store, path)
    _put(store, path, [second, first, *rest])


def _truncate(store: Store) -> None:
    """An evidence file loses its last line."""
    path = max(store.list(EVIDENCE), key=lambda entry: entry.size).path
    _put(store, path, _lines(store, path)[:-1])


def _forge_hash(store: Store) -> None:
    """A sample names another hash as its raw line's."""
    first, *rest = _lines(store, _SFT)
    sample = decode(first, SftSample)
    forged = msgspec.structs.replace(sample.provenance, sig_hash="0" * 64)
    _put(store, _SFT, [encode(msgspec.structs.replace(sample, provenance=forged)), *rest])


def _forge_receipt(store: Store) -> None:
    """A receipt says another hash of a file."""
    path = list_receipts(store, "sft")[-1]
    before, key, after = store.read(path).partition(b'"sha256": "')
    _write(store, path, before + key + b"0" * 8 + after[8:])


_PLANT: Final[dict[str, Callable[[Store], None]]] = dict(
    zip(
        EXPECTED,
        (_nothing, _relabel, _swap, _truncate, _forge_hash, _forge_receipt),
        strict=True,
    )
)


def _lines(store: Store, path: str) -> list[bytes]:
    return store.read(path).splitlines()


def _put(store: Store, path: str, lines: Sequence[bytes]) -> None:
    _write(store, path, b"".join(line + b"\n" for line in lines))


def _write(store: Store, path: str, data: bytes) -> None:
    with store.writer(path) as sink:
        sink.write(data)
