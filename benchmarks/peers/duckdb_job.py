"""DuckDB: one SQL statement a log, its own JSON functions and SHA-256, two threads.

Lines come in as one CSV column, because the hash needs the raw line and because DuckDB's
JSON reader counts no lines. DuckDB's CSV writer puts a date's rows into
``day=…/<stem>.jsonl`` (hive style), not ``YYYY/MM/DD``. Left out against stillhouse: type
checks (`from_json` reads a value of a wrong type as NULL; wrong cost and latency are
refused by a test of their own), fields that the schema does not name except in metadata,
all but one spelling of the time a log, quarantine, atomic files, receipts.

    python -m benchmarks.peers.duckdb_job LAKE OUT
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import duckdb

from benchmarks.peers.output import stems
from benchmarks.peers.rules import RECORDED_AT

THREADS: Final = 2
COMMON: Final = (
    '"run_id":"VARCHAR","task_id":"VARCHAR","model":"VARCHAR","provider":"VARCHAR",'
    '"role":"VARCHAR","cost_usd":"DOUBLE","latency_ms":"DOUBLE","metadata":"JSON",'
    '"human_override":{"decision":"VARCHAR","reviewer":"VARCHAR"}'
)
ISO: Final = "TRY_CAST({0} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"


class Log(NamedTuple):
    """How one log is read and scored, in SQL over its columns."""

    schema: str
    time: str
    task: str
    text: str
    category: str
    signal: str
    extra: str = ""


def _words(name: str, accept: str, partial: str, reject: str) -> str:
    return (
        f"CASE {name} WHEN '{accept}' THEN 'accepted' WHEN '{partial}' THEN 'partially_accepted'"
        f" WHEN '{reject}' THEN 'rejected' ELSE 'needs_human_review' END"
    )


def _share(good: str, ran: str) -> str:
    return (
        f"CASE WHEN coalesce({ran}, 0) = 0 THEN 'needs_human_review' WHEN {good} = {ran}"
        f" THEN 'accepted' WHEN {good} > 0 THEN 'partially_accepted' ELSE 'rejected' END"
    )


_WORST = (
    "list_max(list_transform(findings, lambda f: coalesce(list_position("
    "['info', 'low', 'medium', 'high', 'critical'], f.severity), 3)))"
)
_PASSED = "len(list_filter(map_values(validators), lambda ok: ok))"
LOGS: Final = {
    "scrum_reviews": Log(
        '"reviewed_at":"VARCHAR","file":"VARCHAR","accepted_on_attempt":"BIGINT","review":"VARCHAR"',
        ISO.format("reviewed_at"),
        "'scrum:' || file",
        "review",
        "CASE WHEN accepted_on_attempt = 1 THEN 'accepted' WHEN accepted_on_attempt IN (2, 3)"
        " THEN 'partially_accepted' ELSE 'needs_human_review' END",
        "accepted_on_attempt",
        "source_files := [file]",
    ),
    "observer_reviews": Log(
        '"ts":"BIGINT","file":"VARCHAR","verdict":"VARCHAR","confidence":"DOUBLE",'
        '"notes":["VARCHAR"],"review":"VARCHAR"',
        "make_timestamp(ts * 1000000)",
        "'observer:' || file",
        "review",
        _words("verdict", "accept", "cycle", "reject"),
        "verdict",
        "source_files := [file], observer_notes := notes, observer_verdict := verdict,"
        " observer_confidence := confidence",
    ),
    "audits": Log(
        '"timestamp":"VARCHAR","phase":"VARCHAR","overall":"VARCHAR",'
        '"findings":[{"severity":"VARCHAR","message":"VARCHAR"}],"summary":"VARCHAR"',
        ISO.format('"timestamp"'),
        "'phase:' || phase",
        "summary",
        "CASE WHEN overall IS NOT NULL THEN "
        + _words("overall", "approve", "request_changes", "block")
        + f" WHEN {_WORST} >= 4 THEN 'rejected' WHEN {_WORST} = 3 THEN 'needs_human_review'"
        f" WHEN {_WORST} = 2 THEN 'partially_accepted' ELSE 'accepted' END",
        "overall",
    ),
    "contract_analyses": Log(
        '"at":"BIGINT","permit_id":"VARCHAR","contractor":"VARCHAR","observer_verdict":"VARCHAR",'
        '"failure_markers":["VARCHAR"],"analysis":"VARCHAR"',
        'make_timestamp("at" * 1000)',
        "'permit:' || permit_id",
        "analysis",
        "CASE WHEN len(failure_markers) > 0 THEN 'rejected' ELSE "
        + _words("observer_verdict", "accept", "cycle", "reject")
        + " END",
        "observer_verdict",
        "observer_verdict := observer_verdict, failure_markers := failure_markers,"
        " contractor := contractor",
    ),
    "auto_apply": Log(
        '"ts":"VARCHAR","file":"VARCHAR","action":"VARCHAR","patch":"VARCHAR"',
        ISO.format("ts"),
        "'auto_apply:' || file",
        "patch",
        "CASE WHEN action = 'committed' THEN 'accepted' WHEN action = 'build_red_reverted'"
        " THEN 'rejected' WHEN action = 'no_patch' OR suffix(action, '_reverted')"
        " THEN 'partially_accepted' ELSE 'needs_human_review' END",
        "action",
        "source_files := [file]",
    ),
    "outcomes": Log(
        '"created_at":"VARCHAR","scenario":"VARCHAR",'
        '"events":[{"name":"VARCHAR","ok":"BOOLEAN","note":"VARCHAR"}],"messages":"JSON"',
        ISO.format("created_at"),
        "'scenario:' || scenario",
        "messages->>'$[#-1].content'",
        _share("len(list_filter(events, lambda e: e.ok))", "len(events)"),
        "len(events)",
        "messages := messages",
    ),
    "mode_experiments": Log(
        '"timestamp":"VARCHAR","task_class":"VARCHAR","file":"VARCHAR","mode":"VARCHAR",'
        '"prompt":"VARCHAR","validators":"MAP(VARCHAR, BOOLEAN)","response":"VARCHAR"',
        ISO.format('"timestamp"'),
        "task_class || ':' || file",
        "response",
        _share(_PASSED, "cardinality(validators)"),
        "validators",
        "source_files := [file], messages := [{'role': 'user', 'content': prompt}]",
    ),
    "distilled_facts": Log(
        '"timestamp":"VARCHAR","fact":"VARCHAR"',
        ISO.format('"timestamp"'),
        "'extract:distilled_facts'",
        "fact",
        "'needs_human_review'",
        "'extraction'",
    ),
}

STATEMENT: Final = """
CREATE OR REPLACE TEMP TABLE done AS
WITH raw AS (
    SELECT line, row_number() OVER () - 1 AS line_offset
    FROM read_csv('{path}', columns = {{'line': 'VARCHAR'}}, delim = '\x01', quote = '',
                  escape = '', header = false, auto_detect = false, max_line_size = 2097152)
), parsed AS (
    SELECT line_offset, sha256(line) AS sig, unnest(from_json(line, '{{{schema}}}'))
    FROM raw
    WHERE CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT'
        AND json_type(line, '$.cost_usd') IN ('DOUBLE', 'UBIGINT', 'BIGINT')
        AND json_type(line, '$.latency_ms') IN ('DOUBLE', 'UBIGINT', 'BIGINT') ELSE false END
), timed AS (
    SELECT *, {time} AS moment,
        {{'source_file': '_kb/{stem}.jsonl', 'line_offset': line_offset, 'sig_hash': sig,
          'recorded_at': '{recorded_at}'}} AS provenance
    FROM parsed
    WHERE moment IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY moment::DATE, sig ORDER BY line_offset) = 1
), evident AS (
    SELECT *, coalesce(task_id, {task}) AS task, to_json(struct_pack(
        schema_version := 1, run_id := run_id, task_id := coalesce(task_id, {task}),
        "timestamp" := strftime(moment, '%Y-%m-%dT%H:%M:%S.%gZ'), provenance := provenance,
        model_name := model, model_provider := provider, model_role := role,
        validation_results := {{'signal': {signal}}}, human_override := human_override,
        cost_usd := cost_usd, latency_ms := latency_ms, text := {text},
        metadata := metadata {extra})) AS evidence
    FROM timed
)
SELECT strftime(moment, '%Y-%m-%d') AS day, line_offset, evidence, to_json(struct_pack(
    schema_version := 1, evidence_run_id := run_id, evidence_task_id := task,
    category := CASE human_override.decision WHEN 'accept' THEN 'accepted'
        WHEN 'reject' THEN 'rejected' WHEN 'needs_review' THEN 'needs_human_review'
        ELSE {category} END,
    reasons := [CASE WHEN human_override.decision IS NOT NULL
        THEN human_override.reviewer || ' decided: ' || human_override.decision
        ELSE 'signal is ' || coalesce({signal}::VARCHAR, 'missing') END],
    scored_at := '{recorded_at}', scorer_version := 'v1.0.0',
    sig_hash := sha256(evidence), provenance := provenance)) AS scored
FROM evident
ORDER BY line_offset
"""
WRITE: Final = """
COPY (SELECT day, {column} FROM done) TO '{folder}'
(FORMAT csv, HEADER false, DELIMITER '\x01', QUOTE '', ESCAPE '', PARTITION_BY (day),
 FILENAME_PATTERN '{stem}_{{i}}', FILE_EXTENSION 'jsonl', OVERWRITE_OR_IGNORE)
"""


def run(lake: Path, out: Path) -> None:
    """Convert every log."""
    out.mkdir(parents=True, exist_ok=True)
    spill = tempfile.mkdtemp(dir=out)
    base = duckdb.connect(config={"threads": THREADS, "temp_directory": spill})
    base.execute("SET TimeZone = 'UTC'")
    for stem, path in stems(lake):
        log = LOGS[stem]
        base.execute(
            STATEMENT.format(
                path=path,
                stem=stem,
                recorded_at=RECORDED_AT,
                schema=f"{COMMON},{log.schema}",
                time=log.time,
                task=log.task,
                text=log.text,
                category=log.category,
                signal=log.signal,
                extra=f", {log.extra}" if log.extra else "",
            )
        )
        for column, root in (("evidence", "evidence"), ("scored", "scored-runs")):
            base.execute(WRITE.format(column=column, folder=out / root, stem=stem))
    base.close()
    shutil.rmtree(spill)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
