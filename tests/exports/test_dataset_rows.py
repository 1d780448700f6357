"""Collecting dataset lines: what lies in which section, what heads it, what is counted."""

from __future__ import annotations

import json
from hashlib import sha256

from stillhouse.exports.dataset import Split
from stillhouse.exports.dataset_rows import Collector
from stillhouse.exports.firewall import ExportOptions, Joined, join
from stillhouse.records import (
    EvidenceRecord,
    FunctionCall,
    Message,
    Provenance,
    ScoredRun,
    ToolCall,
    UnpairedSample,
    encode,
)
from stillhouse.sources import score_record

TIME = "2026-01-31T12:00:00Z"
AT = Provenance(
    source_file="_kb/observer_reviews.jsonl", line_offset=7, sig_hash="ab" * 32, recorded_at=TIME
)
ASK = [Message(role="user", content="Which way?")]
SAY = [Message(role="assistant", content="Left.")]
CALL = [
    Message(
        role="assistant",
        tool_calls=[ToolCall(id="c", function=FunctionCall(name="turn", arguments="{}"))],
    )
]


def _joined(text: str = "Left.") -> Joined:
    evidence = EvidenceRecord(
        run_id="run-1",
        task_id="observer:a.py",
        timestamp=TIME,
        provenance=AT,
        observer_verdict="accept",
        text=text,
    )
    line, verdict = encode(evidence), score_record(evidence)
    scored = ScoredRun(
        evidence_run_id="run-1",
        evidence_task_id="observer:a.py",
        category=verdict.category,
        reasons=verdict.reasons,
        scored_at=TIME,
        scorer_version="v1.0.0",
        sig_hash=sha256(line).hexdigest(),
        provenance=AT,
    )
    joined = join(encode(scored), line)
    assert not isinstance(joined, tuple)
    return joined


def _sample(number: int, completion: list[Message]) -> UnpairedSample:
    return UnpairedSample(
        id=f"answer-{number}",
        task_id="t",
        prompt=ASK,
        completion=completion,
        label=True,
        source_run_id="run-1",
        category="accepted",
        created_at=TIME,
        provenance=AT,
    )


def test_lines_lie_in_their_section_with_their_lineage_beside() -> None:
    """Line for line, and each split by itself."""
    collector, words = Collector(ExportOptions(llama_factory=True), "observer_reviews"), _joined()
    splits: tuple[Split, ...] = ("train", "test", "train")
    for number, split in enumerate(splits):
        collector.unpaired(split, _sample(number, SAY), words)
    assert {name: len(lines) for name, lines in collector.lines.items()} == {
        "unpaired/train": 2,
        "unpaired/train-lineage": 2,
        "llama_factory/unpaired/train": 2,
        "unpaired/test": 1,
        "unpaired/test-lineage": 1,
        "llama_factory/unpaired/test": 1,
    }
    ids = [json.loads(line)["id"] for line in collector.lines["unpaired/train-lineage"]]
    assert ids == ["answer-0", "answer-2"]
    assert collector.counts == {"rows/unpaired/train": 2, "rows/unpaired/test": 1}
    counted = collector.stats.split("unpaired", "train")
    assert (counted.rows, counted.tool_rows, counted.sources) == (2, 0, {"observer_reviews": 2})
    assert counted.size == sum(len(line) + 1 for line in collector.lines["unpaired/train"])


def test_a_head_is_the_place_of_the_first_line_that_shows_a_key() -> None:
    """In the section's bytes, line ends included, and in those of its lineage."""
    collector, words = Collector(ExportOptions(), "observer_reviews"), _joined()
    for number, answer in enumerate((SAY, SAY, CALL, CALL)):
        collector.unpaired("train", _sample(number, answer), words)
    assert set(collector.heads) == {"unpaired/train", "unpaired/train-lineage"}
    for section, heads in collector.heads.items():
        lines = collector.lines[section]
        data = b"".join(line + b"\n" for line in lines)
        (head,) = heads
        assert data[head.start : head.start + head.size] == lines[2] + b"\n"
    counted = collector.stats.split("unpaired", "train")
    assert (counted.tool_rows, counted.undeclared_rows) == (2, 2)


def test_secrets_are_counted_by_kind_over_all_sections() -> None:
    """As many as stand in the rows, whatever the section."""
    joined = _joined("Use ghp_" + "Zk3vQ9xL2mT7rW5pY8nB4cD6fG1hJ0sAqEuI")
    collector = Collector(ExportOptions(), "observer_reviews")
    collector.unpaired("train", _sample(0, joined.words.answer), joined)
    collector.unpaired("test", _sample(1, joined.words.answer), joined)
    collector.unpaired("test", _sample(2, SAY), joined)
    assert collector.counts["redacted/github"] == 2
