"""Formats of the sources, byte for byte: raw rows, their evidence and their scored runs.

``STILLHOUSE_REGOLD=1 pytest tests/golden`` writes the files anew from ``in.jsonl``; the
difference then shows in the diff, which is the point.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from stillhouse.records import EvidenceRecord, encode
from stillhouse.rows import read_line
from stillhouse.sources import SOURCES, build_instruction, build_scored_run, source_for

HERE = Path(__file__).resolve().parent
NOW = "2026-04-01T00:00:00Z"
STEMS = sorted(path.parent.name for path in HERE.glob("*/in.jsonl"))


def made(stem: str) -> dict[str, bytes]:
    """What the raw rows of a stem become today, by file name."""
    files: dict[str, list[bytes]] = {"evidence.jsonl": [], "scored.jsonl": [], "prompts.txt": []}
    lines = (HERE / stem / "in.jsonl").read_bytes().splitlines()
    for number, line in enumerate(lines):
        file = f"_kb/{stem}.jsonl"
        hashed = sha256(line).hexdigest()
        record = read_line(line, source_for(stem), file, number, NOW, hashed)
        assert isinstance(record, EvidenceRecord), record
        written = encode(record)
        files["evidence.jsonl"].append(written)
        scored = build_scored_run(record, sha256(written).hexdigest(), NOW)
        files["scored.jsonl"].append(encode(scored))
        files["prompts.txt"].append(build_instruction(record).encode())
    return {name: b"".join(row + b"\n" for row in rows) for name, rows in files.items()}


@pytest.mark.parametrize("stem", STEMS)
def test_the_formats_have_not_changed(stem: str) -> None:
    """The golden files of a source agree with its raw rows, to the byte."""
    for name, data in made(stem).items():
        path = HERE / stem / name
        if os.environ.get("STILLHOUSE_REGOLD"):
            path.write_bytes(data)
        assert path.read_bytes() == data, f"{stem}/{name} has changed"


def test_every_source_has_golden_files() -> None:
    """A source without its folder, or a folder without a source, is an unfinished change."""
    assert set(STEMS) == set(SOURCES) | {"an_unknown_stem"}
