"""Rows that repeat an earlier line: found among more rows than memory holds."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest

from stillhouse.engines import InlineEngine
from stillhouse.index import ROW
from stillhouse.ingest import Piece
from stillhouse.lake import Span
from stillhouse.refusals import find_repeats
from stillhouse.state import FileState, PartitionState, State
from stillhouse.storage import LocalStore, MemoryStore
from stillhouse.work import Work
from tests.runs import FIRST, check_accounted, put, row, run

NONE = Span("", 0, 0, 0)


def _index(texts: list[tuple[int, str]]) -> bytes:
    rows = np.zeros(len(texts), dtype=ROW)
    for at, (line, text) in enumerate(texts):
        rows["raw_sig"][at] = np.void(hashlib.sha256(text.encode()).digest())
        rows["line_offset"][at] = line
    return rows.tobytes()


@pytest.mark.parametrize("rows_per_bucket", [1 << 19, 40, 7])
@pytest.mark.parametrize("seed", range(4))
def test_repeats_are_those_of_a_naive_search(
    seed: int, rows_per_bucket: int, tmp_path: Path
) -> None:
    """Whatever is spilled and however often a line comes: a row goes exactly when an earlier
    one has its bytes, and the first such is named; what stands already never goes."""
    dice = random.Random(seed)
    store = MemoryStore()
    texts = [str(int(dice.paretovariate(0.6))) for _ in range(300)]
    first: dict[str, int] = {}
    before = [(n, t) for n, t in enumerate(texts[:60]) if first.setdefault(t, n) == n]
    path = ".stillhouse/index/2026/01/01/log.idx"
    data = _index(before)
    store.create(path, data)
    evidence = "evidence/2026/01/01/log.jsonl"
    index = FileState(path, len(data), len(before), "")
    part = PartitionState("2026-01-01", "log", FileState(evidence, 0, 0, ""), None, index)
    pieces: list[Piece] = []
    wanted: list[list[tuple[int, int]]] = []
    at = 60
    while at < len(texts):
        end = min(len(texts), at + dice.randint(1, 50))
        numbered = list(enumerate(texts))[at:end]
        wanted.append(
            [
                (number - at, first[text])
                for number, text in numbered
                if first.setdefault(text, number) != number
            ]
        )
        blob = f"blob-{at}"
        store.create(blob, _index(numbered))
        span = Span(blob, 0, (end - at) * ROW.itemsize, end - at)
        pieces.append(Piece("2026-01-01", NONE, NONE, span))
        at = end
    work = Work(
        store,
        State(partitions={evidence: part}),
        InlineEngine(),
        recorded_at=FIRST,
        version="1",
        scratch=tmp_path,
    )
    drops = find_repeats(work, "log", True, pieces, rows_per_bucket)
    assert [drops.of(number).tolist() for number in range(len(pieces))] == wanted
    assert [drops.count(number) for number in range(len(pieces))] == list(map(len, wanted))
    assert drops.total == sum(map(len, wanted))


def test_a_log_with_the_longest_name(tmp_path: Path) -> None:
    """A stem may be as long as the file system takes a log's name."""
    stem = "x" * (255 - len(".jsonl"))
    put(tmp_path, stem, row(1) + b"\n" + row(1) + b"\n")
    work = Work(
        LocalStore(tmp_path),
        State(),
        InlineEngine(),
        recorded_at=FIRST,
        version="1",
        scratch=tmp_path,
    )
    blob = _index([(number, str(number % 5)) for number in range(9)])
    (tmp_path / "blob").write_bytes(blob)
    piece = Piece("2026-01-01", NONE, NONE, Span("blob", 0, len(blob), 9))
    assert find_repeats(work, stem, False, [piece], 2).total == 4
    (tmp_path / "blob").unlink()
    run(tmp_path)
    check_accounted(tmp_path)
