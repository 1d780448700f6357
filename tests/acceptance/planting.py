"""Faults planted in lakes, as somebody would who knows how the lake is made: files are edited,
and where it is asked for every hash that could tell is made right again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from stillhouse.acceptance import AcceptReport, accept
from stillhouse.acceptance.harness import by_files
from stillhouse.engines import InlineEngine
from stillhouse.interfaces import Store
from stillhouse.receipts import (
    BlockHasher,
    FileDigest,
    build_receipt,
    decode_receipt,
    encode_receipt,
    list_receipts,
    receipt_path,
)
from stillhouse.storage import MemoryStore
from tests.exports.lakes import NOW, digest, lines, loaded, paths, put

Row = dict[str, Any]

SFT = "distilled/sft/sft_export.jsonl"
PAIRS = "distilled/preference/preference_export.jsonl"
UNPAIRED = "distilled/preference/unpaired_export.jsonl"
RAG = "distilled/rag/rag_export.jsonl"


def judged(store: Store, scratch: Path) -> AcceptReport:
    """The lake put through the gates."""
    return accept(store, InlineEngine(), recorded_at=NOW, version="a test", scratch=scratch)


def by_files_alone(store: Store, scratch: Path) -> AcceptReport:
    """Gates 1 to 13: the others run the program, which takes long."""
    return by_files(store, recorded_at=NOW, version="a test", scratch=scratch)


def copy_of(store: Store) -> Store:
    """The same lake, to plant something in."""
    copy = MemoryStore()
    for path in paths(store, ""):
        put(copy, path, store.read(path))
    return copy


# ------------------------------------------------------------------------------- editing


def write(store: Store, path: str, rows: Sequence[bytes]) -> None:
    """A file of these lines."""
    put(store, path, b"".join(row + b"\n" for row in rows))


def change(store: Store, path: str, number: int, **fields: Any) -> Row:
    """Set fields of a line, its other bytes as they were made; the row as it was before."""
    rows = lines(store, path)
    before: Row = json.loads(rows[number])
    rows[number] = line({**before, **fields})
    write(store, path, rows)
    return before


def line(row: Mapping[str, Any]) -> bytes:
    """A row as the program writes it."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def drop(store: Store, path: str, number: int) -> bytes:
    """Take a line out of a file."""
    rows = lines(store, path)
    gone = rows.pop(number)
    write(store, path, rows)
    return gone


def append(store: Store, path: str, row: bytes) -> None:
    """One more line."""
    write(store, path, [*lines(store, path), row])


class Run:
    """A run of the lake, by its raw line: where its evidence and its scored run stand."""

    def __init__(self, store: Store, stem: str, number: int) -> None:
        for path in paths(store, "evidence"):
            for at, row in enumerate(loaded(store, path)):
                origin = row["provenance"]
                if (origin["source_file"], origin["line_offset"]) == (f"_kb/{stem}.jsonl", number):
                    self.evidence, self.at, self.record = path, at, row
        self.scored = self.evidence.replace("evidence/", "scored-runs/", 1)
        self.verdict: Row = loaded(store, self.scored)[self.at]

    def sample(self, **fields: Any) -> bytes:
        """The run as an SFT sample that says it was accepted."""
        record = self.record
        asked = [row for row in record.get("messages", []) if row["role"] == "user"]
        row = {
            "schema_version": 1,
            "id": f"sft-{record['provenance']['sig_hash'][:32]}",
            "instruction": asked[0]["content"] if asked else "-",
            "context": "",
            "response": record["text"],
            "source_run_id": record["run_id"],
            "category": "accepted",
            "created_at": NOW,
            "provenance": record["provenance"],
        }
        if asked:
            row["messages"] = record["messages"]
        return line({**row, **fields})

    def side(self) -> Row:
        """What a pair takes of the run, by the names of the chosen side."""
        record = self.record
        return {
            "answer": [{"role": "assistant", "content": record["text"]}],
            "run_id": record["run_id"],
            "category": self.verdict["category"],
            "provenance": record["provenance"],
        }


def edit_evidence(store: Store, run: Run, **fields: Any) -> None:
    """Change an evidence record, and have its scored run name the new line."""
    change(store, run.evidence, run.at, **fields)
    sig = digest(lines(store, run.evidence)[run.at])
    found = {}
    if "provenance" in fields:
        found["provenance"] = fields["provenance"]
    change(store, run.scored, run.at, sig_hash=sig, **found)


# ------------------------------------------------------------------------------ receipts


def reissue(store: Store) -> None:
    """New receipts for all files as they are now: what they say is then no proof any more."""
    receipts = [(path, decode_receipt(store.read(path), path)) for path in list_receipts(store)]
    for path, receipt in receipts:
        store.delete(path)
        version = receipt.predicate.run_details.builder.version
        new = build_receipt(
            receipt.parameters.stage,
            [_now(store, file) for file in receipt.outputs if store.stat(file.path)],
            [_now(store, file) for file in receipt.inputs if store.stat(file.path)],
            receipt.parameters.options,
            receipt.run.counts,
            receipt.parameters.recorded_at,
            version["stillhouse"],
            version.get("commit"),
            sequence=receipt.sequence,
            removed=receipt.run.removed,
        )
        home = receipt_path(
            new.parameters.stage, new.parameters.recorded_at, new.sequence, new.run_hash
        )
        put(store, home, encode_receipt(new))


def _now(store: Store, file: FileDigest) -> FileDigest:
    data = store.read(file.path)
    if file.path.startswith("_kb/") and len(data) > file.bytes:
        data = data[: file.bytes]  # the log has grown since
    hasher = BlockHasher()
    hasher.update(data)
    digested = hasher.digest(file.path, data.count(b"\n"))
    assert digested.sha256 == sha256(data).hexdigest()
    return digested


Plant = Callable[[Store], None]
