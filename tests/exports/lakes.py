"""Lakes in memory for tests: raw rows in, the program's own functions over them, files out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from stillhouse.engines import InlineEngine
from stillhouse.exports import KINDS, ExportOptions
from stillhouse.interfaces import Store
from stillhouse.pipeline import RunReport, export_lake, run_lake
from stillhouse.storage import MemoryStore

NOW = "2026-04-01T00:00:00Z"
LATER = "2026-04-02T00:00:00Z"

SFT = "distilled/sft/sft_export.jsonl"
PAIRS = "distilled/preference/preference_export.jsonl"
UNPAIRED = "distilled/preference/unpaired_export.jsonl"
RAG = "distilled/rag/rag_export.jsonl"
REFUSED = {kind: f"quarantine/{kind}/{kind}.jsonl" for kind in ("sft", "preference", "rag")}

Row = dict[str, Any]
Rows = Mapping[str, Sequence[Row | bytes]]
"""Stem → raw rows; bytes stand for a line as it is."""


def line_of(row: Row | bytes) -> bytes:
    """A raw row as its line, without the line end."""
    return row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode()


def put(store: Store, path: str, data: bytes) -> None:
    """Write a file whole."""
    with store.writer(path) as sink:
        sink.write(data)


def pour(store: Store, rows: Rows) -> Store:
    """Write the raw logs; the same store."""
    for stem, logged in rows.items():
        put(store, f"_kb/{stem}.jsonl", b"".join(line_of(row) + b"\n" for row in logged))
    return store


def lake(rows: Rows) -> Store:
    """A new lake of these raw rows."""
    return pour(MemoryStore(), rows)


def run(store: Store, at: str = NOW, **options: Any) -> RunReport:
    """``stillhouse run``."""
    return run_lake(store, InlineEngine(), ExportOptions(**options), at)


def export(
    store: Store, *kinds: str, at: str = LATER, dry_run: bool = False, **options: Any
) -> RunReport:
    """``stillhouse export``; all kinds when none is named."""
    chosen = ExportOptions(**options)
    return export_lake(store, InlineEngine(), kinds or KINDS, chosen, at, dry_run=dry_run)


def distilled(rows: Rows, **options: Any) -> Store:
    """A new lake of these raw rows, run once."""
    store = lake(rows)
    run(store, **options)
    return store


def lines(store: Store, path: str) -> list[bytes]:
    """The lines of a file; none when it is not there."""
    if store.stat(path) is None:
        return []
    return [line for line in store.read(path).splitlines() if line.strip()]


def loaded(store: Store, path: str) -> list[Any]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in lines(store, path)]


def paths(store: Store, *folders: str) -> list[str]:
    """The files below some folders."""
    return [entry.path for folder in folders for entry in store.list(folder)]


def files(store: Store, *folders: str) -> dict[str, bytes]:
    """Path → bytes of the files below some folders."""
    return {path: store.read(path) for path in paths(store, *folders)}


def answers(store: Store, path: str = SFT) -> list[str]:
    """The responses of the SFT export."""
    return [row["response"] for row in loaded(store, path)]


def reasons(store: Store, kind: str = "sft") -> dict[str, str]:
    """``STEM:LINE`` → reason of the rows that an export refused."""
    return {
        f"{row['source_file'][4:-6]}:{row['line_offset']}": row["reason"]
        for row in loaded(store, REFUSED[kind])
    }


def scored_files(store: Store) -> list[str]:
    """The scored-runs files of a lake."""
    return paths(store, "scored-runs")


def edit(store: Store, path: str, change: Mapping[int, bytes | None] | None = None) -> None:
    """Replace lines of a file by number; None removes one."""
    old = store.read(path).splitlines()
    new = [(change or {}).get(number, line) for number, line in enumerate(old)]
    put(store, path, b"".join(line + b"\n" for line in new if line is not None))


def digest(line: bytes) -> str:
    """The ``sig_hash`` of a line."""
    return sha256(line).hexdigest()


def join_lines(parts: Iterable[bytes]) -> bytes:
    """Lines as a file's bytes."""
    return b"".join(part + b"\n" for part in parts)
