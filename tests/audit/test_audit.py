"""The audit: phases, figures counted right, what becomes a baseline, and how it ends."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from stillhouse.audit import load_last_baseline, read_baselines
from stillhouse.audit.metrics import METRICS
from stillhouse.audit.phases import PHASES
from stillhouse.audit.report import REPORT, AuditReport, read_report_head
from stillhouse.audit.standing import standing_options
from stillhouse.audit.table import rows_that_warn
from stillhouse.engines import InlineEngine
from stillhouse.errors import BaselineError, LakeError, ReceiptError, UsageError
from stillhouse.exports import ExportOptions
from stillhouse.lake import BASELINES
from stillhouse.pipeline import export_lake, make_evidence, score_evidence
from stillhouse.records import AuditBaseline
from stillhouse.storage import LocalStore, MemoryStore
from tests.audit.lakes import FIRST, SECOND, THIRD, attempts, audit, gates, relabel
from tests.runs import add, demo, files, lines, put, raw_lines, row, rows, run, stamps


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake with a log of 40 reviews, never distilled."""
    put(tmp_path, "scrum_reviews", attempts(0, 30, 1) + attempts(30, 40, 2))
    return tmp_path


def outcomes(report: AuditReport) -> dict[str, str]:
    return {phase.name: phase.outcome for phase in report.phases}


def baselines(lake: Path) -> list[AuditBaseline]:
    return read_baselines(LocalStore(lake))


# ------------------------------------------------------------------------- from end to end


def test_a_lake_that_grew_between_two_audits(lake: Path) -> None:
    """The first audit shows first_run; the second ok where little moved and warn where much
    did; the third compares with the second."""
    first = audit(lake, FIRST)
    assert {row.flag for row in first.table} == {"first_run"}
    assert (first.verdict, first.prior, first.appended) == ("ok", None, True)

    add(lake / "_kb" / "scrum_reviews.jsonl", attempts(40, 42, 1) + attempts(42, 45, 2))
    second = audit(lake, SECOND)
    assert (second.verdict, second.prior, second.appended) == ("warned", FIRST, True)
    told = {row.metric: (row.prior, row.current, row.flag) for row in second.table}
    assert (
        told.items()
        >= {
            "p2_evidence_rows": (40, 45, "ok"),
            "p3_accepted": (30, 32, "ok"),
            "p3_partial": (10, 13, "warn"),
            "p3_rejected": (0, 0, "ok"),
            "p4_sft_rows": (30, 32, "ok"),
        }.items()
    )
    assert {row.flag for row in second.table} == {"ok", "warn"}

    third = audit(lake, THIRD)
    assert (third.verdict, third.prior) == ("ok", SECOND)
    assert [one.recorded_at for one in baselines(lake)] == [FIRST, SECOND, THIRD]
    assert load_last_baseline(lake / BASELINES) == third.baseline


def test_phases_stand_in_order_with_their_times(lake: Path) -> None:
    """Each phase is told once, with its seconds and a line about it."""
    audit(lake)
    report = audit(lake, SECOND)
    assert [phase.name for phase in report.phases] == list(PHASES)
    assert [phase.seconds for phase in report.phases] == [1.0] * len(PHASES)
    assert all(phase.detail for phase in report.phases)
    assert set(outcomes(report).values()) == {"ok"}


def test_figures_are_those_of_the_files(tmp_path: Path) -> None:
    """Each metric is counted again from the lake's files alone."""
    lake = demo(tmp_path)
    logs = [log for log in (lake / "_kb").glob("*.jsonl") if log.name != Path(BASELINES).name]
    raw = sum(len(raw_lines(log)) for log in logs)
    baseline = audit(lake).baseline
    assert baseline is not None
    scored = Counter(line["category"] for _, line in lines(lake, "scored-runs"))
    refused = Counter(line["stage"] for _, line in lines(lake, "quarantine"))
    skipped = refused.pop("evidence")
    made = files(lake, "distilled")
    rows = {path.removeprefix("distilled/"): data.count(b"\n") for path, data in made.items()}
    exports = [data for path, data in made.items() if path.endswith("_export.jsonl")]
    assert baseline.metrics == {
        "p1_raw_rows": raw,
        "p2_evidence_rows": sum(1 for _ in lines(lake, "evidence")),
        "p2_skipped_rows": skipped,
        "p3_accepted": scored["accepted"],
        "p3_partial": scored["partially_accepted"],
        "p3_rejected": scored["rejected"],
        "p3_human": scored["needs_human_review"],
        "p4_sft_rows": rows["sft/sft_export.jsonl"],
        "p4_preference_pairs": rows["preference/preference_export.jsonl"],
        "p4_unpaired_rows": rows["preference/unpaired_export.jsonl"],
        "p4_rag_rows": rows["rag/rag_export.jsonl"],
        "p4_dataset_rows": sum(
            count
            for path, count in rows.items()
            if re.fullmatch(r"dataset/\w+/\w+-00000-of-00001\.jsonl", path)
        ),
        "p4_quarantined": sum(refused.values()),
        "p4_secrets": sum(data.count(b"[REDACTED:") for data in exports),
    }
    assert min(baseline.metrics.values()) > 0
    assert raw == baseline.metrics["p2_evidence_rows"] + skipped
    assert set(METRICS) <= baseline.metrics.keys()


def test_slow_creep_is_told_after_five_audits(tmp_path: Path) -> None:
    """Steps of 15 % that never warn are told against the median."""
    log = put(tmp_path, "scrum_reviews", attempts(0, 100, 1))
    sizes = [100, 115, 132, 151, 173, 198]
    for day, (have, want) in enumerate(zip([100, *sizes], sizes, strict=False), 1):
        add(log, attempts(have, want, 1))
        report = audit(tmp_path, f"2026-04-{day:02d}T08:00:00Z")
    told = {row.metric: row for row in report.table}
    assert not rows_that_warn(report.table)
    assert told["p2_evidence_rows"].creep == ["+50.0% from the median"]
    assert told["p3_rejected"].creep == []


# ----------------------------------------------------------------- what is no new baseline


def test_a_red_gate_leaves_the_old_baseline(lake: Path) -> None:
    """A lake that is broken is no measure for the next: it is told, and exit code 1."""
    audit(lake, FIRST)
    report = audit(lake, SECOND, gates=gates(6, 13))
    assert (report.verdict, report.exit_code(fail_on_warn=True)) == ("failed", 1)
    assert outcomes(report)["p6 gates"] == "failed"
    assert not report.appended
    assert report.baseline is not None
    assert (report.baseline.gates, report.baseline.gates_passed) == (16, 14)
    assert report.baseline.red_gates == ["6 gate6", "13 gate13"]
    assert [one.recorded_at for one in baselines(lake)] == [FIRST]
    assert audit(lake, THIRD).prior == FIRST


def test_damage_is_told_beside_all_the_rest(lake: Path) -> None:
    """A receipt that does not hold fails the audit; gates and figures are told all the same."""
    audit(lake, FIRST)
    (lake / "distilled/sft/sft_export.jsonl").write_bytes(b"{}\n")
    report = audit(lake, SECOND, as_is=True)
    assert outcomes(report) == {
        "p0 files": "ok",
        "as found": "skipped",
        "scores": "ok",
        "p1-p4 run": "skipped",
        "p5 receipts": "failed",
        "p6 gates": "ok",
        "figures": "ok",
    }
    assert (report.verdict, report.appended, report.exit_code(False)) == ("failed", False, 1)
    assert report.verify is not None
    assert [found.path for found in report.verify.problems] == ["distilled/sft/sft_export.jsonl"]
    assert report.table


def test_what_a_run_mends_is_a_warning(lake: Path) -> None:
    """An export that was edited is written anew, and a log that was rewritten is taken as it now
    is: both are told before anything is changed, and once."""
    audit(lake, FIRST)
    export, log = lake / "distilled/sft/sft_export.jsonl", lake / "_kb/scrum_reviews.jsonl"
    export.write_bytes(b"{}\n")
    log.write_bytes(log.read_bytes().replace(b"contract", b"contrast", 1))
    report = audit(lake, SECOND)
    assert report.verdict == "warned"
    assert report.exit_code(fail_on_warn=True) == 2
    told = [line for line in report.warnings if line.startswith("before this audit, ")]
    assert [line.split()[3] for line in told] == [
        "_kb/scrum_reviews.jsonl",
        "distilled/sft/sft_export.jsonl",
    ]
    assert not [line for line in audit(lake, THIRD).warnings if line.startswith("before")]


def test_a_field_that_drifts_is_a_warning_where_there_are_values_enough(tmp_path: Path) -> None:
    """Long answers in place of short ones warn; two of them do not, which chance could give."""
    log = put(tmp_path, "scrum_reviews", attempts(0, 200, 1))
    audit(tmp_path, FIRST)
    add(
        log,
        b"".join(
            row(number, accepted_on_attempt=1, review="word " * 900) + b"\n"
            for number in range(200, 202)
        ),
    )
    assert not audit(tmp_path, SECOND).warnings
    add(
        log,
        b"".join(
            row(number, accepted_on_attempt=1, review="word " * 900) + b"\n"
            for number in range(300, 400)
        ),
    )
    warned = audit(tmp_path, THIRD, threshold=9).warnings
    assert [line.split()[0] for line in warned if "PSI" in line][:1] == ["text_chars"]


def test_a_phase_that_breaks_does_not_hide_the_others(lake: Path) -> None:
    """The lake is held by another writer: the run cannot be, and the rest is told; exit 3."""
    audit(lake, FIRST)
    with LocalStore(lake).lock("somebody else"):
        report = audit(lake, SECOND, gates=gates(2))
    assert outcomes(report)["p1-p4 run"] == "error"
    assert outcomes(report)["p6 gates"] == "failed"
    assert outcomes(report)["figures"] == "ok"
    detail = {phase.name: phase.detail for phase in report.phases}["p1-p4 run"]
    assert "is being written by somebody else" in detail
    assert (report.verdict, report.appended, report.exit_code(True)) == ("error", False, 3)


def test_a_lake_that_was_never_distilled_has_no_figures(lake: Path) -> None:
    """Taken as it is, there is nothing to measure, and it is said what to do."""
    report = audit(lake, as_is=True)
    assert report.verdict == "error"
    assert "`stillhouse run` it first" in report.phases[-1].detail
    assert (report.baseline, report.table, report.appended) == (None, [], False)
    assert files(lake, "evidence", "distilled") == {}


def test_a_lake_without_logs_fails(tmp_path: Path) -> None:
    """An audit of nothing is no audit."""
    (tmp_path / "_kb").mkdir()
    report = audit(tmp_path)
    assert outcomes(report)["p0 files"] == "failed"
    assert (report.appended, report.exit_code(False)) == (False, 3)


def test_what_cannot_be_audited_is_left_alone(lake: Path, tmp_path: Path) -> None:
    """No lake, a threshold that is none, baselines that cannot be read: nothing is changed."""
    audit(lake)
    add(lake / "_kb" / "scrum_reviews.jsonl", rows(50, 60))
    before = stamps(lake)
    with pytest.raises(UsageError, match="threshold"):
        audit(lake, threshold=-0.1)
    with pytest.raises(LakeError, match="no such lake"):
        audit(tmp_path / "nowhere")
    assert stamps(lake) == before
    add(lake / BASELINES, b'{"torn')
    before = stamps(lake)
    with pytest.raises(BaselineError, match="baselines repair"):
        audit(lake)
    assert stamps(lake) == before


def test_taken_as_it_is_nothing_is_distilled(lake: Path) -> None:
    """New rows stay unread; only the baseline and the report are written."""
    audit(lake, FIRST)
    add(lake / "_kb" / "scrum_reviews.jsonl", rows(50, 60))
    before = stamps(lake)
    report = audit(lake, SECOND, as_is=True)
    after = stamps(lake)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {str(lake / BASELINES), str(lake / REPORT)}
    assert {row.flag for row in report.table} == {"ok"}
    assert report.appended


# --------------------------------------------------------------------- what the user chose


def test_an_audit_keeps_to_the_options_of_the_last_exports(lake: Path) -> None:
    """Partial answers that were let in stay in, and the baseline names the options."""
    chosen = ExportOptions(include_partial=True, max_pairs=2)
    run(lake, FIRST, options=chosen)
    before = files(lake, "distilled")
    report = audit(lake, SECOND)
    assert files(lake, "distilled") == before
    assert {row.metric: row.current for row in report.table}["p4_sft_rows"] == 40
    assert report.baseline is not None
    assert report.baseline.options["sft"]["include_partial"] is True
    assert set(standing_options(LocalStore(lake)).values()) == {chosen}


def test_exports_of_differing_options_keep_each_its_own(lake: Path) -> None:
    """An export made anew by other options than the dataset's is made by these again, and
    an audit of an unchanged lake writes nothing."""
    run(lake, FIRST)
    store, partial = LocalStore(lake), ExportOptions(include_partial=True)
    export_lake(store, InlineEngine(), ["sft"], partial, SECOND)
    add(lake / "_kb" / "scrum_reviews.jsonl", attempts(50, 60, 2))
    report = audit(lake, THIRD)
    assert {row.metric: row.current for row in report.table}["p4_sft_rows"] == 50
    assert standing_options(store)["sft"] == partial
    assert standing_options(store)["dataset"] == ExportOptions()
    before = stamps(lake / "distilled") | stamps(lake / "receipts")
    audit(lake, THIRD)
    assert stamps(lake / "distilled") | stamps(lake / "receipts") == before


def test_no_export_is_made_that_never_was(lake: Path) -> None:
    """Who exported SFT alone has SFT alone after an audit, and no figures of the rest."""
    store, engine = LocalStore(lake), InlineEngine()
    make_evidence(store, engine, FIRST)
    score_evidence(store, engine, FIRST)
    export_lake(store, engine, ["sft"], ExportOptions(), FIRST)
    add(lake / "_kb" / "scrum_reviews.jsonl", attempts(50, 60, 1))
    report = audit(lake, SECOND)
    told = {row.metric: row.current for row in report.table}
    assert told["p4_sft_rows"] == 40
    assert not {"p4_rag_rows", "p4_dataset_rows", "p4_preference_pairs"} & told.keys()
    assert list(files(lake, "distilled")) == ["distilled/sft/sft_export.jsonl"]


def test_options_that_cannot_be_read_are_not_guessed(lake: Path) -> None:
    """A damaged receipt might be the newest: the run is not done by other options."""
    run(lake, FIRST, options=ExportOptions(include_partial=True))
    (receipt,) = (lake / "receipts" / "sft").iterdir()
    receipt.write_bytes(b"{")
    with pytest.raises(ReceiptError):
        standing_options(LocalStore(lake))
    report = audit(lake, SECOND)
    assert outcomes(report)["p1-p4 run"] == "error"
    assert report.exit_code(False) == 3


# ---------------------------------------------------------------------------- scorer drift


def test_harm_is_measured_before_the_run_mends_it(lake: Path) -> None:
    """A stored rejection that today's rules accept warns once: the run then scored it anew."""
    audit(lake, FIRST)
    relabel(lake, "accepted", "rejected")
    report = audit(lake, SECOND)
    assert report.scorer is not None
    assert report.scorer.harmful == 1
    assert report.baseline is not None
    assert report.baseline.harmful == 1
    assert (report.verdict, report.exit_code(False), report.exit_code(True)) == ("warned", 0, 2)
    assert any("drift scores" in line for line in report.warnings)
    again = audit(lake, THIRD)
    assert again.scorer is not None
    assert (again.scorer.harmful, again.verdict) == (0, "ok")


def test_taken_as_it_is_harm_stays_until_somebody_runs(lake: Path) -> None:
    """Without a run nothing is scored anew, so every audit tells of it."""
    audit(lake, FIRST)
    relabel(lake, "accepted", "needs_human_review")
    for time in (SECOND, THIRD):
        found = audit(lake, time, as_is=True)
        assert found.scorer is not None
        assert found.scorer.harmful == 1
    run(lake, THIRD)
    found = audit(lake, THIRD, as_is=True)
    assert found.scorer is not None
    assert found.scorer.harmful == 0


# ------------------------------------------------------------------------------ the report


@pytest.mark.parametrize(
    ("options", "fail_on_warn", "code"),
    [
        ({}, True, 0),
        ({"threshold": 0.01}, False, 0),
        ({"threshold": 0.01}, True, 2),
        ({"threshold": 0.01, "gates": gates(1)}, True, 1),
    ],
)
def test_exit_codes(lake: Path, options: dict[str, object], fail_on_warn: bool, code: int) -> None:
    """0 ok, 2 a warning that is to fail; a gate that failed is worse than a warning."""
    audit(lake, FIRST)
    add(lake / "_kb" / "scrum_reviews.jsonl", attempts(50, 52, 1))
    assert audit(lake, SECOND, **options).exit_code(fail_on_warn) == code


def test_the_report_lies_in_the_lake(lake: Path) -> None:
    """It is what the audit returned, whole, and the next audit replaces it."""
    store = LocalStore(lake)
    assert read_report_head(store) is None
    for time, options in ((FIRST, {}), (SECOND, {"gates": gates(3)})):
        report = audit(lake, time, **options)
        written = json.loads((lake / REPORT).read_bytes())
        assert written["schema_version"] == 1
        assert (written["recorded_at"], written["verdict"]) == (time, report.verdict)
        assert [row["metric"] for row in written["table"]] == [row.metric for row in report.table]
        assert list(written) == list(AuditReport.__struct_fields__)
        head = read_report_head(store)
        assert head is not None
        assert (head.recorded_at, head.appended) == (time, report.appended)
    (lake / REPORT).write_bytes(b"{")
    with pytest.raises(LakeError, match=r"audit\.json: is no report of an audit"):
        read_report_head(store)


def test_a_lake_in_another_store_is_audited_alike(lake: Path) -> None:
    """Nothing in an audit needs a disk."""
    store = MemoryStore("memory://audited")
    with store.writer("_kb/scrum_reviews.jsonl") as sink:
        sink.write((lake / "_kb" / "scrum_reviews.jsonl").read_bytes())
    here, there = audit(lake), audit(store)
    assert there.verdict == "ok"
    assert here.baseline is not None
    assert there.baseline is not None
    assert there.baseline.metrics == here.baseline.metrics
    assert len(read_baselines(store)) == 1
