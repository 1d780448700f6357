"""Records made for the tests of the exports: evidence, its line, its scored run."""

from __future__ import annotations

from typing import Any

from stillhouse.exports.firewall import EXPORT, Cleared, ExportOptions, Joined, Purpose, clear, join
from stillhouse.records import EvidenceRecord, Message, Provenance, ScoredRun, encode
from stillhouse.sources import build_scored_run
from tests.exports.lakes import NOW, digest


def evidence(stem: str = "observer_reviews", **fields: Any) -> EvidenceRecord:
    """An accepted observer's review, unless the fields say otherwise."""
    plain: dict[str, Any] = {
        "run_id": "run-1",
        "task_id": "observer:a.py",
        "timestamp": NOW,
        "provenance": Provenance(
            source_file=f"_kb/{stem}.jsonl",
            line_offset=0,
            sig_hash="ab" * 32,
            recorded_at=NOW,
        ),
        "source_files": ["a.py"],
        "observer_verdict": "accept",
        "text": "All is well.",
    }
    return EvidenceRecord(**(plain | fields))


def user(text: str) -> Message:
    """A user's turn."""
    return Message(role="user", content=text)


def said(text: str) -> Message:
    """An assistant's turn."""
    return Message(role="assistant", content=text)


def both_lines(record: EvidenceRecord, **changes: Any) -> tuple[bytes, bytes]:
    """The scored line (with fields changed) and the evidence line of a record."""
    line = encode(record)
    run = build_scored_run(record, digest(line), NOW)
    fields = {name: getattr(run, name) for name in run.__struct_fields__}
    return encode(ScoredRun(**(fields | changes))), line


def joined(record: EvidenceRecord) -> Joined:
    """A record joined with its scored run."""
    found = join(*both_lines(record))
    assert isinstance(found, Joined), found
    return found


def cleared(record: EvidenceRecord, purpose: Purpose, **options: Any) -> Cleared:
    """A record that the firewall let out."""
    found = clear(joined(record), purpose, EXPORT, ExportOptions(**options))
    assert isinstance(found, Cleared), found
    return found
