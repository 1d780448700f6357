"""The index: the same rows whoever makes them, and what they say of a record."""

from __future__ import annotations

import io
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from stillhouse import pipeline
from stillhouse.engines import InlineEngine
from stillhouse.exports.distrusted import read_raw_log, rejoin
from stillhouse.index import (
    CATEGORY_CODE,
    EMPTY,
    EXTRACTION,
    NOT_INSTRUCTABLE,
    index_path,
    iter_lines,
    keys_of,
    read_index,
)
from stillhouse.lake import EVIDENCE, SCORED, partition_of, partition_path
from stillhouse.records import EvidenceRecord, ScoredRun, decode
from stillhouse.storage import LocalStore, MemoryStore
from tests.runs import FIRST, add, demo, files, put, row, rows, run


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An example lake that was run, then grew and was run again; to be read only."""
    root = demo(tmp_path_factory.mktemp("index"), 150)
    run(root, unit_bytes=3000)
    add(root / "_kb" / "scrum_reviews.jsonl", rows(900, 930) + row(901) + b"\n")
    run(root, unit_bytes=3000)
    return root


def _partitions(root: Path) -> list[tuple[str, str]]:
    places = [partition_of(path) for path in files(root, EVIDENCE)]
    return [place for place in places if place is not None]


def test_rows_of_the_run_are_those_made_of_the_files_alone(lake: Path) -> None:
    """What the evidence stage wrote as it went equals, to the byte, what distrust makes of the
    evidence, the scored runs and the raw log."""
    store = LocalStore(lake)
    for day, stem in _partitions(lake):
        raw = read_raw_log(store, stem, io.BytesIO())
        assert raw is not None
        found = rejoin(store, day, stem, raw.gives)
        assert found.problems == []
        assert found.witnesses == b""
        assert found.rows == store.read(index_path(day, stem)), (day, stem)


def test_rows_of_the_score_stage_are_those_of_the_run(lake: Path, tmp_path: Path) -> None:
    """Scoring evidence that is on disk writes the index that reading raw rows writes."""
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy)
    before = files(copy, ".stillhouse/index")
    for folder in ("scored-runs", ".stillhouse/index"):
        shutil.rmtree(copy / folder)
    pipeline.score_evidence(LocalStore(copy), InlineEngine(), FIRST)
    assert files(copy, ".stillhouse/index") == before
    assert files(copy, "scored-runs") == files(lake, "scored-runs")


def test_a_row_tells_where_its_lines_are(lake: Path) -> None:
    """Offsets, sizes, hashes and category of each row are those of the two lines it names."""
    store = LocalStore(lake)
    for day, stem in _partitions(lake):
        index = read_index(store.read(index_path(day, stem)))
        evidence = store.read(partition_path(EVIDENCE, day, stem))
        scored = store.read(partition_path(SCORED, day, stem))
        ends = np.cumsum(index["evidence_size"])
        assert ends[-1] == len(evidence)
        assert (np.diff(index["line_offset"].astype(np.int64)) > 0).all()
        for one in index:
            line = evidence[one["evidence_start"] :][: one["evidence_size"]]
            record = decode(line, EvidenceRecord)
            start, size = one["scored_start"], one["scored_size"]
            ruling = decode(scored[start : start + size], ScoredRun)
            assert sha256(line.rstrip(b"\n")).hexdigest() == ruling.sig_hash
            assert bytes(one["evidence_sig"]).hex() == ruling.sig_hash[:32]
            assert bytes(one["raw_sig"]).hex() == record.provenance.sig_hash
            assert one["line_offset"] == record.provenance.line_offset
            assert one["category"] == CATEGORY_CODE[ruling.category]
            assert bytes(one["task"]) == sha256(record.task_id.encode()).digest()[:16]
            assert one["flags"] == keys_of(record, stem, ruling.reasons).flags


def test_flags_say_what_keeps_a_record_out(tmp_path: Path) -> None:
    """Extraction logs, an extractor's runs and runs without an answer are marked."""
    put(tmp_path, "distilled_facts", row(0, fact="The kerb is high.") + b"\n")
    put(tmp_path, "scrum_reviews", row(0, role="extractor") + b"\n" + row(3, review=" ") + b"\n")
    run(tmp_path)
    store = LocalStore(tmp_path)
    day = "2026-02-01"
    facts, reviews = (
        read_index(store.read(index_path(day, stem)))["flags"].tolist()
        for stem in ("distilled_facts", "scrum_reviews")
    )
    assert facts == [NOT_INSTRUCTABLE | EXTRACTION]
    assert reviews == [NOT_INSTRUCTABLE, NOT_INSTRUCTABLE | EMPTY]


def test_lines_come_with_their_offsets() -> None:
    """Blank lines are passed over, offsets are those in the file, the last line needs no end."""
    store = MemoryStore()
    store.create("x", b"a\n\n  \nbc\nd")
    assert list(iter_lines(store, "x")) == [(0, b"a\n"), (6, b"bc\n"), (9, b"d")]
