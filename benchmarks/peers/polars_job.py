"""polars: native line reader, JSON decode, expressions and JSON encode, two threads.

polars stops at the first malformed line and at the first value of another type than its
schema's (0.1 % and 0.5 % of these rows), so such lines are filtered out before: malformed
ones by `json_path_match`, wrong numbers by a regular expression. SHA-256 comes from the
`polars-hash` plugin where it is installed, else from hashlib. Left out against stillhouse:
fields that the schema does not name (the metadata bag and messages get a closed schema and
nulls for what a row lacks), all but one spelling of the time a log, type checks of all other
fields, quarantine, atomic files, receipts.

    python -m benchmarks.peers.polars_job LAKE OUT
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import polars as pl
from polars import col

from benchmarks.peers.output import stems
from benchmarks.peers.rules import RECORDED_AT

try:
    import polars_hash
except ImportError:
    polars_hash = None

S, F, B = pl.String, pl.Float64, pl.Boolean
COMMON: Final = {
    "run_id": S,
    "task_id": S,
    "model": S,
    "provider": S,
    "role": S,
    "cost_usd": F,
    "latency_ms": F,
    "metadata": pl.Struct(
        {"branch": S, "commit": S, "attempts": pl.Int64, "labels": pl.List(S), "contractor": S}
    ),
    "human_override": pl.Struct({"decision": S, "reviewer": S, "reason": S}),
}
MESSAGE: Final = pl.Struct(
    {
        "role": S,
        "content": S,
        "tool_calls": pl.List(
            pl.Struct({"id": S, "type": S, "function": pl.Struct({"name": S, "arguments": S})})
        ),
        "tool_call_id": S,
    }
)
VALIDATORS: Final = ("compiles", "tests_pass", "lint", "schema")
OWN: Final[dict[str, dict[str, object]]] = {
    "scrum_reviews": {
        "reviewed_at": S,
        "file": S,
        "accepted_on_attempt": pl.Int64,
        "review": S,
    },
    "observer_reviews": {
        "ts": pl.Int64,
        "file": S,
        "verdict": S,
        "confidence": F,
        "notes": pl.List(S),
        "review": S,
    },
    "audits": {
        "timestamp": S,
        "phase": S,
        "overall": S,
        "findings": pl.List(pl.Struct({"severity": S, "message": S})),
        "summary": S,
    },
    "contract_analyses": {
        "at": pl.Int64,
        "permit_id": S,
        "contractor": S,
        "observer_verdict": S,
        "failure_markers": pl.List(S),
        "analysis": S,
    },
    "auto_apply": {"ts": S, "file": S, "action": S, "patch": S},
    "outcomes": {
        "created_at": S,
        "scenario": S,
        "events": pl.List(pl.Struct({"name": S, "ok": B, "note": S})),
        "messages": pl.List(MESSAGE),
    },
    "mode_experiments": {
        "timestamp": S,
        "task_class": S,
        "file": S,
        "mode": S,
        "prompt": S,
        "validators": pl.Struct(dict.fromkeys(VALIDATORS, B)),
        "response": S,
    },
    "distilled_facts": {"timestamp": S, "fact": S},
}
ACCEPTED, PARTIAL, REJECTED, REVIEW = (
    pl.lit(name) for name in ("accepted", "partially_accepted", "rejected", "needs_human_review")
)


def _sha256(expression: pl.Expr) -> pl.Expr:
    if polars_hash is not None:
        return polars_hash.col("line").chash.sha2_256()
    return expression.map_elements(
        lambda text: hashlib.sha256(text.encode()).hexdigest(), return_dtype=S
    )


def _words(expression: pl.Expr, accept: str, partial: str, reject: str) -> pl.Expr:
    names = {accept: "accepted", partial: "partially_accepted", reject: "rejected"}
    return expression.replace_strict(names, default="needs_human_review")


def _share(good: pl.Expr, ran: pl.Expr) -> pl.Expr:
    return (
        pl.when(ran == 0)
        .then(REVIEW)
        .when(good == ran)
        .then(ACCEPTED)
        .when(good > 0)
        .then(PARTIAL)
        .otherwise(REJECTED)
    )


def _audit_category() -> pl.Expr:
    order = {"info": 0, "low": 1, "medium": 2, "high": 3, "critical": 4}
    worst = (
        col("findings")
        .list.eval(pl.element().struct.field("severity").replace_strict(order, default=2))
        .list.max()
        .fill_null(0)
    )
    found = (
        pl.when(worst >= 3).then(REJECTED).when(worst == 2).then(REVIEW)
        .when(worst == 1).then(PARTIAL).otherwise(ACCEPTED)
    )  # fmt: skip
    legacy = _words(col("overall"), "approve", "request_changes", "block")
    return pl.when(col("overall").is_not_null()).then(legacy).otherwise(found)


def _apply_category() -> pl.Expr:
    action = col("action")
    return (
        pl.when(action == "committed")
        .then(ACCEPTED)
        .when(action == "build_red_reverted")
        .then(REJECTED)
        .when((action == "no_patch") | action.str.ends_with("_reverted"))
        .then(PARTIAL)
        .otherwise(REVIEW)
    )


def _event_category() -> pl.Expr:
    good = col("events").list.eval(pl.element().struct.field("ok")).list.sum()
    return _share(good.fill_null(0), col("events").list.len().fill_null(0))


def _validator_category() -> pl.Expr:
    values = [col("validators").struct.field(name) for name in VALIDATORS]
    good = pl.sum_horizontal([value.fill_null(False).cast(pl.Int32) for value in values])
    return _share(good, pl.sum_horizontal([value.is_not_null().cast(pl.Int32) for value in values]))


def _contract_category() -> pl.Expr:
    words = _words(col("observer_verdict"), "accept", "cycle", "reject")
    return pl.when(col("failure_markers").list.len() > 0).then(REJECTED).otherwise(words)


def _scrum_category() -> pl.Expr:
    attempt = col("accepted_on_attempt")
    return (
        pl.when(attempt == 1)
        .then(ACCEPTED)
        .when(attempt.is_in([2, 3]))
        .then(PARTIAL)
        .otherwise(REVIEW)
    )


def _last_words() -> pl.Expr:
    last = col("messages").list.last()
    said = last.struct.field("role") == "assistant"
    return pl.when(said).then(last.struct.field("content")).otherwise(pl.lit(""))


Rule = tuple[Callable[[], pl.Expr], pl.Expr, pl.Expr, str, pl.Expr]
RULES: Final[dict[str, Rule]] = {
    # stem: category, task id, text, the signal's name, the signal
    "scrum_reviews": (
        _scrum_category,
        "scrum:" + col("file"),
        col("review"),
        "accepted_on_attempt",
        col("accepted_on_attempt"),
    ),
    "observer_reviews": (
        lambda: _words(col("verdict"), "accept", "cycle", "reject"),
        "observer:" + col("file"),
        col("review"),
        "verdict",
        col("verdict"),
    ),
    "audits": (
        _audit_category,
        "phase:" + col("phase"),
        col("summary"),
        "overall",
        col("overall"),
    ),
    "contract_analyses": (
        _contract_category,
        "permit:" + col("permit_id"),
        col("analysis"),
        "observer_verdict",
        col("observer_verdict"),
    ),
    "auto_apply": (
        _apply_category,
        "auto_apply:" + col("file"),
        col("patch"),
        "action",
        col("action"),
    ),
    "outcomes": (
        _event_category,
        "scenario:" + col("scenario"),
        _last_words(),
        "events",
        col("events").list.len(),
    ),
    "mode_experiments": (
        _validator_category,
        col("task_class") + ":" + col("file"),
        col("response"),
        "validators",
        col("validators").struct.json_encode(),
    ),
    "distilled_facts": (
        lambda: REVIEW,
        pl.lit("extract:distilled_facts"),
        col("fact"),
        "extraction",
        pl.lit(True),
    ),
}


def _time(stem: str) -> pl.Expr:
    if stem == "observer_reviews":
        return pl.from_epoch(col("ts"), "s").cast(pl.Datetime("ms"))
    if stem == "contract_analyses":
        return pl.from_epoch(col("at"), "ms")
    name = next(iter(OWN[stem]))
    return (
        col(name)
        .str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False)
        .dt.replace_time_zone(None)
    )


def _messages(stem: str) -> pl.Expr:
    if stem == "outcomes":
        return col("messages")
    if stem == "mode_experiments":
        return pl.concat_list(pl.struct(role=pl.lit("user"), content=col("prompt")))
    return pl.lit(None)


def _evidence(stem: str) -> pl.Expr:
    _, task, text, name, signal = RULES[stem]
    own = OWN[stem]
    parts = {
        "schema_version": pl.lit(1),
        "run_id": col("run_id"),
        "task_id": pl.coalesce(col("task_id"), task),
        "timestamp": col("when").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"),
        "provenance": col("provenance"),
        "model_name": col("model"),
        "model_provider": col("provider"),
        "model_role": col("role"),
        "source_files": pl.concat_list("file") if "file" in own else pl.lit(None),
        "observer_notes": col("notes") if "notes" in own else pl.lit(None),
        "observer_verdict": next(
            (col(word) for word in ("verdict", "observer_verdict") if word in own), pl.lit(None)
        ),
        "observer_confidence": col("confidence") if "confidence" in own else pl.lit(None),
        "failure_markers": col("failure_markers") if "failure_markers" in own else pl.lit(None),
        "validation_results": pl.struct(signal.alias(name)),
        "human_override": col("human_override"),
        "cost_usd": col("cost_usd"),
        "latency_ms": col("latency_ms"),
        "text": text,
        "metadata": col("metadata").struct.with_fields(contractor=col("contractor"))
        if "contractor" in own
        else col("metadata"),
        "messages": _messages(stem),
    }
    return pl.struct(**parts).struct.json_encode()


def _scored(stem: str) -> pl.Expr:
    category, task, _, name, signal = RULES[stem]
    decision = col("human_override").struct.field("decision")
    decided = decision.replace_strict(
        {"accept": "accepted", "reject": "rejected", "needs_review": "needs_human_review"},
        default=None,
        return_dtype=S,
    )
    reason = pl.when(decision.is_not_null()).then(
        pl.concat_str(
            col("human_override").struct.field("reviewer"), pl.lit(" decided: "), decision
        )
    ).otherwise(
        pl.concat_str(pl.lit(f"{name} is "), signal.cast(S).fill_null("missing"))
    )  # fmt: skip
    return pl.struct(
        schema_version=pl.lit(1),
        evidence_run_id=col("run_id"),
        evidence_task_id=pl.coalesce(col("task_id"), task),
        category=pl.coalesce(decided, category()),
        reasons=pl.concat_list(reason),
        scored_at=pl.lit(RECORDED_AT),
        scorer_version=pl.lit("v1.0.0"),
        sig_hash=col("sig"),
        provenance=col("provenance"),
    ).struct.json_encode()


def convert(stem: str, path: Path) -> pl.DataFrame:
    """The stem's output lines: day, evidence, scored; in raw order, repeated lines once."""
    schema = pl.Struct({**COMMON, **OWN[stem]})
    line = col("line")
    good = (
        line.str.json_path_match("$.metadata").is_not_null()
        & line.str.contains(r'"cost_usd":-?[0-9]')
        & line.str.contains(r'"latency_ms":-?[0-9]')
    )
    return (
        pl.scan_lines(path)
        .with_row_index("line_offset")
        .filter(good)
        .with_columns(sig=_sha256(line), row=line.str.json_decode(schema))
        .drop("line")
        .unnest("row")
        .with_columns(when=_time(stem))
        .filter(col("when").is_not_null())
        .with_columns(day=col("when").dt.strftime("%Y/%m/%d"))
        .unique(["day", "sig"], keep="first", maintain_order=True)
        .with_columns(
            provenance=pl.struct(
                source_file=pl.lit(f"_kb/{stem}.jsonl"),
                line_offset=col("line_offset"),
                sig_hash=col("sig"),
                recorded_at=pl.lit(RECORDED_AT),
            )
        )
        .with_columns(line=_evidence(stem))
        .with_columns(sig=_sha256(line))
        .select("day", evidence=line, scored=_scored(stem))
        .collect()
    )


def run(lake: Path, out: Path) -> None:
    """Convert every stem and write its partitions."""
    for stem, path in stems(lake):
        for (day,), rows in convert(stem, path).partition_by("day", as_dict=True).items():
            for root, name in (("evidence", "evidence"), ("scored-runs", "scored")):
                target = out / root / str(day) / f"{stem}.jsonl"
                target.parent.mkdir(parents=True, exist_ok=True)
                # Its lines are JSON already: one column, as it is.
                rows.select(name).write_csv(target, include_header=False, quote_style="never")


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
