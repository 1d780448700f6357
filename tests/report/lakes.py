"""Lakes for the tests of the report: hostile ones, and what other commands leave in a lake."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from stillhouse.records import AuditBaseline, QuarantineRow, encode
from stillhouse.report import Facts, gather_facts
from stillhouse.storage import LocalStore
from tests.runs import add, demo, put, row, run

NOW = "2026-05-01T12:00:00Z"
VERSION = "0.1.0"

ATTACK = '"\'><img src=x onerror="window.harmed=1"><script>window.harmed=1</script>&lt;{{7*7}}'
"""Ends an attribute, opens elements, runs a script, is an entity and a template."""


def facts_of(root: Path) -> Facts:
    """The facts of a lake in a folder, at a fixed time."""
    facts = gather_facts(LocalStore(root), NOW, VERSION)
    assert facts is not None
    return facts


class Marks:
    """Attacks that can be told apart: each has a number, and a word about where it was put."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}

    def __call__(self, where: str) -> str:
        mark = f"mark{len(self.made)}x"
        self.made[mark] = where
        return f"{mark} {ATTACK}"


def poisoned(value: Any, mark: Marks, where: str) -> Any:
    """The value with an attack for each string that is no time."""
    if isinstance(value, str):
        return mark(where) if not value[:4].isdigit() else value
    if isinstance(value, list):
        return [poisoned(item, mark, where) for item in value]
    if isinstance(value, dict):
        return {name: poisoned(item, mark, f"{where}.{name}") for name, item in value.items()}
    return value


_FREE = ("task_id", "run_id", "model", "provider", "prompt", "text", "metadata", "source_files",
         "command_run", "file", "review", "summary", "analysis", "contractor", "permit_id", "patch",
         "scenario", "report", "response", "task_class", "mode", "fact", "notes", "phase", "events",
         "validators", "findings", "messages", "failure_markers")  # fmt: skip
"""Fields whose words are the writer's own: an attack in them leaves the row acceptable."""


def hostile_lake(root: Path) -> Marks:
    """A lake with an attack in every field of every kind of raw row, in metadata and its keys, in
    unparsable lines and in a log's name; run once."""
    mark = Marks()
    demo(root)
    for log in sorted((root / "_kb").glob("*.jsonl")):
        lines = log.read_bytes().split(b"\n")
        new = []
        for number, line in enumerate(lines):
            try:
                body = json.loads(line)
            except ValueError:
                body = None
            if not isinstance(body, dict) or number % 3 == 0:
                new.append(line)
                continue
            # Of three rows one is as it was, one hostile in every field, one in its free words.
            body = {
                name: poisoned(value, mark, f"{log.stem}.{name}")
                if name in _FREE or number % 3 == 1
                else value
                for name, value in body.items()
            }
            body["metadata"] = {mark(f"{log.stem} key"): mark(f"{log.stem} value")}
            new.append(json.dumps(body).encode())
        log.write_bytes(b"\n".join(new))
    bad = [
        b'{"torn ' + mark("torn line").encode(),
        b'{"latin": "\xe9\xff ' + mark("not UTF-8").encode() + b'"}',
        b'["\x00\x07' + mark("control characters").encode() + b'"]',
        f'{{"turned": "\u202e\u2066 \U000e0041 {mark("turned")}"'.encode(),
        row(1),
    ]
    # A slash is all that a file's name cannot hold. This log is the first of all, so that its
    # lines are the examples of their reasons.
    put(root, ATTACK.replace("/", "|")[:200], b"\n".join(bad) + b"\n")
    add(
        root / "_kb" / "scrum_reviews.jsonl",
        b"\n".join(
            [
                row(2, review=f"{mark('a long word')} {'w' * (1 << 20)}", file="\u202eabc"),
                row(3, human_override={"decision": "reject", "reason": mark("override")}),
            ]
        )
        + b"\n",
    )
    run(root)
    return mark


def leave_checks(root: Path, mark: Marks) -> None:
    """What audit and acceptance leave, with an attack in each of its strings."""
    reports = root / "reports"
    reports.mkdir(exist_ok=True)
    accept = {
        "recorded_at": NOW,
        "sequence": 10_000,
        "gates": [
            gate(number, verdict=verdict, mark=mark)
            for number, verdict in enumerate(["ok"] * 14 + ["red", "blocked"], 1)
        ],
    }
    (reports / "acceptance.json").write_text(json.dumps(accept))
    (reports / "audit.json").write_text(json.dumps(audit(mark)))
    lines = [
        encode(AuditBaseline(recorded_at=f"2026-04-{day:02d}T00:00:00Z", metrics=metrics))
        for day, metrics in enumerate(
            [{"p3_accepted": 10.0, mark("metric"): 1.0}, {"p3_accepted": 20.0}], 1
        )
    ]
    (root / "_kb" / "audit_baselines.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def gate(number: int, verdict: str = "ok", mark: Marks | None = None) -> dict[str, Any]:
    """One gate as acceptance writes it."""
    said = mark or (lambda where: where)
    return {
        "number": number,
        "name": said("gate name"),
        "claim": said("gate claim"),
        "verdict": verdict,
        "checked": 12,
        "failures": int(verdict == "red"),
        "detail": said("gate detail") if verdict != "ok" else "",
        "offences": [{"path": said("path"), "line": 3, "detail": said("offence")}]
        if verdict == "red"
        else [],
    }


def audit(mark: Marks | None = None, **more: Any) -> dict[str, Any]:
    """An audit's report, with what a page reads of it."""
    said = mark or (lambda where: where)
    buckets = [
        {"label": said("label"), "reference_share": 0.5, "current_share": share, "psi": 0.1}
        for share in (0.3, 0.7)
    ]
    return {
        "recorded_at": NOW,
        "threshold": 0.2,
        "prior": "2026-04-01T00:00:00Z",
        "phases": [{"name": said("phase"), "outcome": "ok", "seconds": 1, "detail": said("told")}],
        "scorer": {"harmful": 0},
        "verify": {"ok": True, "problems": []},
        "gates": None,
        "table": [
            {"metric": said("metric"), "prior": 10, "current": 13, "change": 0.3, "flag": "warn"},
            {
                "metric": said("creeping"),
                "prior": 10,
                "current": 11,
                "change": 0.1,
                "flag": "ok",
                "creep": [said("creep")],
            },
        ],
        "data": {
            said("field"): {
                "compared": "new rows",
                "drift": {
                    "psi": 0.3,
                    "verdict": "major",
                    "reference_size": 100,
                    "current_size": 90,
                    "buckets": buckets,
                    "noise_floor_99": 0.05,
                    "p_value": 0.001,
                    "low_sample": False,
                    "warnings": [said("warning")],
                },
            }
        },
        **more,
    }


def leave_refusals(root: Path, mark: Marks) -> None:
    """Rows in quarantine that no run has written: an attack in every string."""
    rows = [
        QuarantineRow(
            stage=mark("stage"),
            reason=mark("reason"),
            detail=[mark("detail")],
            source_file=mark("source file"),
            line_offset=1,
            sig_hash="0" * 64,
            other=mark("other"),
        ),
        QuarantineRow(
            stage="evidence",
            reason="bad_encoding",
            detail=["x"],
            source_file="_kb/../../../etc/passwd.jsonl",
            line_offset=1,
            sig_hash="0" * 64,
            raw=base64.b64encode(b"\xff\xfe" + mark("bytes").encode()).decode(),
            raw_encoding="base64",
        ),
    ]
    path = root / "quarantine" / "evidence" / "forged.jsonl"
    path.write_bytes(b"".join(encode(one) + b"\n" for one in rows))
