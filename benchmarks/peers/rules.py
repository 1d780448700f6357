"""The sources' rules in plain Python, for peers whose work unit is a Python function.

JSON by `orjson`, which datatrove's own reader uses and which is the quickest that users of
these tools have at hand. Left out against stillhouse: the check of every field's type (only
a number where money and time must be one), quarantine files, and most spellings of a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

RECORDED_AT: Final = "2026-03-01T00:00:00Z"
TIMES: Final = ("timestamp", "ts", "at", "created_at", "reviewed_at")
_WORDS: Final = {"accept": "accepted", "cycle": "partially_accepted", "reject": "rejected"}
_OVERALL: Final = {
    "approve": "accepted",
    "request_changes": "partially_accepted",
    "block": "rejected",
}
_SEVERITIES: Final = ("info", "low", "medium", "high", "critical")
_WORST: Final = (
    "accepted",
    "partially_accepted",
    "needs_human_review",
    "rejected",
    "rejected",
)
_DECIDED: Final = {
    "accept": "accepted",
    "reject": "rejected",
    "needs_review": "needs_human_review",
}

Row = dict[str, Any]


class Scored(NamedTuple):
    """What a source's rule gives: task, text, signals, category and reason."""

    task: str
    text: str | None
    signals: Row
    category: str
    reason: str


class Lines(NamedTuple):
    """The two output lines of one row, and where they go."""

    day: str
    sig_hash: str
    evidence: bytes
    scored: bytes


def convert(stem: str, number: int, line: bytes) -> Lines | None:
    """One raw line to its two output lines; ``None`` when it is refused."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict):
        return None
    moment = read_time(row)
    if moment is None or not _numbers(row, "cost_usd", "latency_ms"):
        return None
    digest = hashlib.sha256(line).hexdigest()
    provenance = {
        "source_file": f"_kb/{stem}.jsonl",
        "line_offset": number,
        "sig_hash": digest,
        "recorded_at": RECORDED_AT,
    }
    scored = RULES.get(stem, _extraction)(row, stem)
    record = _evidence(row, digest, moment, provenance, scored)
    evidence = orjson.dumps(record)
    return Lines(moment[:10], digest, evidence, orjson.dumps(_run(row, record, evidence, scored)))


def read_time(row: Row) -> str | None:
    """The row's time in UTC as ISO 8601, from any of its names."""
    for name in TIMES:
        value = row.get(name)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        elif isinstance(value, int):
            moment = datetime.fromtimestamp(value / 1000 if value > 10**11 else value, UTC)
        else:
            continue
        return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z"
    return None


def _numbers(row: Row, *names: str) -> bool:
    return all(isinstance(row.get(name), int | float | None) for name in names)


def _evidence(row: Row, digest: str, moment: str, provenance: Row, scored: Scored) -> Row:
    messages = row.get("messages")
    prompt = row.get("prompt")
    if messages is None and prompt is not None:
        messages = [{"role": "user", "content": prompt}]
    text = scored.text
    if text is None and messages and messages[-1]["role"] == "assistant":
        text = messages[-1]["content"]
    record = {
        "schema_version": 1,
        "run_id": row.get("run_id") or f"run-{digest[:16]}",
        "task_id": row.get("task_id") or scored.task,
        "timestamp": moment,
        "provenance": provenance,
        "model_name": row.get("model"),
        "model_provider": row.get("provider"),
        "model_role": row.get("role"),
        "source_files": [row["file"]] if "file" in row else [],
        "observer_notes": row.get("notes"),
        "observer_verdict": row.get("verdict") or row.get("observer_verdict"),
        "observer_confidence": row.get("confidence"),
        "failure_markers": row.get("failure_markers"),
        "validation_results": scored.signals,
        "human_override": row.get("human_override"),
        "cost_usd": row.get("cost_usd"),
        "latency_ms": row.get("latency_ms"),
        "text": text or "",
        "metadata": row.get("metadata"),
        "messages": messages,
        "tools": row.get("tools"),
    }
    return {name: value for name, value in record.items() if value is not None}


def _run(row: Row, record: Row, evidence: bytes, scored: Scored) -> Row:
    category, reason = scored.category, scored.reason
    override = row.get("human_override")
    if override:
        category = _DECIDED[override["decision"]]
        reason = f"{override.get('reviewer', 'a person')} decided: {override['decision']}"
    return {
        "schema_version": 1,
        "evidence_run_id": record["run_id"],
        "evidence_task_id": record["task_id"],
        "category": category,
        "reasons": [reason],
        "scored_at": RECORDED_AT,
        "scorer_version": "v1.0.0",
        "sig_hash": hashlib.sha256(evidence).hexdigest(),
        "provenance": record["provenance"],
    }


# --------------------------------------------------------------------------------- rules


def _scrum(row: Row, stem: str) -> Scored:
    attempt = row.get("accepted_on_attempt")
    if attempt == 1:
        category = "accepted"
    elif attempt in (2, 3):
        category = "partially_accepted"
    else:
        category = "needs_human_review"
    signals = {"accepted_on_attempt": attempt}
    reason = f"accepted on attempt {attempt}"
    return Scored(f"scrum:{row.get('file')}", row.get("review"), signals, category, reason)


def _observer(row: Row, stem: str) -> Scored:
    word = row.get("verdict")
    category = _WORDS.get(word or "", "needs_human_review")
    task = f"observer:{row.get('file')}"
    return Scored(task, row.get("review"), {"verdict": word}, category, f"observer said {word}")


def _audit(row: Row, stem: str) -> Scored:
    task, text = f"phase:{row.get('phase')}", row.get("summary")
    overall = row.get("overall")
    if overall is not None:
        category = _OVERALL.get(overall, "needs_human_review")
        return Scored(task, text, {"overall": overall}, category, f"overall is {overall}")
    findings = row.get("findings") or []
    worst = max((_SEVERITIES.index(finding["severity"]) for finding in findings), default=0)
    word = _SEVERITIES[worst]
    signals = {"worst_severity": word, "findings": len(findings)}
    return Scored(task, text, signals, _WORST[worst], f"worst finding is {word}")


def _contract(row: Row, stem: str) -> Scored:
    word, markers = row.get("observer_verdict"), row.get("failure_markers")
    category = "rejected" if markers else _WORDS.get(word or "", "needs_human_review")
    row["metadata"] = {**(row.get("metadata") or {}), "contractor": row.get("contractor")}
    reason = f"observer said {word}, failure markers {markers}"
    task = f"permit:{row.get('permit_id')}"
    return Scored(task, row.get("analysis"), {"observer_verdict": word}, category, reason)


def _apply(row: Row, stem: str) -> Scored:
    action = row.get("action") or ""
    if action == "committed":
        category = "accepted"
    elif action == "build_red_reverted":
        category = "rejected"
    elif action == "no_patch" or action.endswith("_reverted"):
        category = "partially_accepted"
    else:
        category = "needs_human_review"
    signals = {"action": action}
    task = f"auto_apply:{row.get('file')}"
    return Scored(task, row.get("patch"), signals, category, f"action is {action}")


def _outcome(row: Row, stem: str) -> Scored:
    results = {event["name"]: event["ok"] for event in row.get("events") or []}
    return Scored(
        f"scenario:{row.get('scenario')}", row.get("report"), results, *_share(results, "events")
    )


def _mode(row: Row, stem: str) -> Scored:
    results = row.get("validators") or {}
    task = f"{row.get('task_class')}:{row.get('file')}"
    return Scored(task, row.get("response"), results, *_share(results, "validators"))


def _share(results: dict[str, bool], what: str) -> tuple[str, str]:
    good = sum(results.values())
    reason = f"{good} of {len(results)} {what} passed"
    if not results:
        return "needs_human_review", f"no {what}"
    if good == len(results):
        return "accepted", reason
    return ("partially_accepted" if good else "rejected"), reason


def _extraction(row: Row, stem: str) -> Scored:
    text = row.get("fact") or row.get("text")
    return Scored(f"extract:{stem}", text, {}, "needs_human_review", "extraction: no verdict")


RULES: Final[dict[str, Callable[[Row, str], Scored]]] = {
    "scrum_reviews": _scrum,
    "observer_reviews": _observer,
    "audits": _audit,
    "contract_analyses": _contract,
    "auto_apply": _apply,
    "outcomes": _outcome,
    "mode_experiments": _mode,
}
