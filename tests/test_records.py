"""Records read and write, validate wholly, and read what older and newer versions wrote."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse import errors, records
from stillhouse.errors import (
    RecordError,
    SftContaminationError,
    StillhouseError,
    UsageError,
)
from stillhouse.fields import field_problems, json_type
from stillhouse.records import (
    CATEGORIES,
    AuditBaseline,
    BaselineDistribution,
    EvidenceRecord,
    Message,
    PreferenceSample,
    Provenance,
    QuarantineRow,
    RagChunk,
    Record,
    ScoredRun,
    SftSample,
    UnpairedSample,
    check_sft,
    decode,
    encode,
    has_substance,
    is_utc_time,
    utc_text,
    validate,
)

FIXTURES = Path(__file__).resolve().parent / "fixtures" / "records"
TIME = "2026-03-01T08:00:00Z"
PROVENANCE = {
    "source_file": "_kb/audits.jsonl",
    "line_offset": 0,
    "sig_hash": "a" * 64,
    "recorded_at": TIME,
}
TALK = [{"role": "user", "content": "Why?"}]
ANSWER = [{"role": "assistant", "content": "So."}]

VALID: dict[type[Record], dict[str, Any]] = {
    Provenance: PROVENANCE,
    EvidenceRecord: {
        "run_id": "r",
        "task_id": "t",
        "timestamp": TIME,
        "provenance": PROVENANCE,
        "observer_confidence": 0.5,
        "cost_usd": 0,
        "latency_ms": 3,
    },
    ScoredRun: {
        "evidence_run_id": "r",
        "evidence_task_id": "t",
        "category": "accepted",
        "reasons": ["because"],
        "scored_at": TIME,
        "scorer_version": "v1.0.0",
        "sig_hash": "b" * 64,
        "provenance": PROVENANCE,
    },
    SftSample: {
        "id": "s",
        "instruction": "Do.",
        "context": "",
        "response": "Done.",
        "source_run_id": "r",
        "category": "accepted",
        "created_at": TIME,
        "provenance": PROVENANCE,
    },
    PreferenceSample: {
        "id": "p",
        "task_id": "t",
        "prompt": TALK,
        "chosen": ANSWER,
        "rejected": [{"role": "assistant", "content": "No."}],
        "pair_reason": "accepted over rejected",
        "chosen_run_id": "r",
        "rejected_run_id": "q",
        "chosen_category": "accepted",
        "rejected_category": "rejected",
        "created_at": TIME,
        "provenance": PROVENANCE,
        "rejected_provenance": PROVENANCE,
    },
    UnpairedSample: {
        "id": "u",
        "task_id": "t",
        "prompt": TALK,
        "completion": ANSWER,
        "label": True,
        "source_run_id": "r",
        "category": "accepted",
        "created_at": TIME,
        "provenance": PROVENANCE,
    },
    RagChunk: {
        "id": "c",
        "text": "words",
        "chunk": 0,
        "chunks": 1,
        "start": 0,
        "end": 5,
        "source_stem": "audits",
        "task_id": "t",
        "source_run_id": "r",
        "category": "accepted",
        "created_at": TIME,
        "provenance": PROVENANCE,
    },
    QuarantineRow: {
        "stage": "evidence",
        "reason": "bad_json",
        "detail": ["truncated"],
        "source_file": "_kb/audits.jsonl",
        "line_offset": 0,
        "sig_hash": "a" * 64,
    },
    BaselineDistribution: {"edges": [0, 1, 2.5], "counts": [3, 0], "below": 1, "missing": 2},
    AuditBaseline: {"recorded_at": TIME, "metrics": {"p3_accepted": 3}},
}

WRONG_VALUES: dict[type[Record], dict[str, list[Any]]] = {
    Provenance: {
        "source_file": [""],
        "line_offset": [-1],
        "sig_hash": ["", "A" * 64, "a" * 63, "a" * 64 + "\n"],
        "recorded_at": ["", "soon", "2026-03-01", "2026-03-01T08:00:00+01:00", "xTZ"],
    },
    EvidenceRecord: {
        "run_id": [" "],
        "task_id": [""],
        "timestamp": ["soon"],
        "observer_confidence": [-0.1, 1.1],
        "cost_usd": [-1],
        "latency_ms": [-1],
    },
    ScoredRun: {
        "evidence_run_id": [""],
        "evidence_task_id": [" "],
        "reasons": [[], ["a", " "]],
        "scored_at": ["soon"],
        "scorer_version": [""],
        "sig_hash": ["b"],
    },
    SftSample: {
        "id": [""],
        "instruction": [" \n"],
        "response": [""],
        "source_run_id": [""],
        "created_at": ["soon"],
    },
    PreferenceSample: {
        "id": [""],
        "task_id": [""],
        "pair_reason": [" "],
        "chosen_run_id": [""],
        "rejected_run_id": [""],
        "prompt": [[], [{"role": "user", "content": " "}]],
        "chosen": [[{"role": "assistant"}]],
        "rejected": [[], ANSWER],
        "chosen_category": ["rejected", "needs_human_review"],
        "rejected_category": ["accepted", "needs_human_review"],
        "created_at": ["soon"],
    },
    UnpairedSample: {
        "id": [""],
        "task_id": [""],
        "source_run_id": [""],
        "prompt": [[]],
        "completion": [[]],
        "label": [False],
        "created_at": ["soon"],
    },
    RagChunk: {
        "id": [""],
        "text": [" "],
        "source_stem": [""],
        "task_id": [""],
        "source_run_id": [""],
        "chunk": [1, -1],
        "start": [5, -1],
        "category": ["rejected"],
        "created_at": ["soon"],
    },
    QuarantineRow: {
        "stage": [""],
        "reason": [" "],
        "source_file": [""],
        "line_offset": [-1],
        "sig_hash": ["a"],
    },
    BaselineDistribution: {
        "edges": [[0, 1], [0, 1, 1], [2, 1, 0]],
        "counts": [[3], [-1, 0]],
        "labels": [{"a": 1}],
        "below": [-1],
        "above": [-1],
        "beyond": [-1],
        "missing": [-1],
    },
    AuditBaseline: {"recorded_at": ["soon"]},
}


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.__name__)
def test_a_valid_row_has_no_problems_and_comes_back(kind: type[Record]) -> None:
    """What validates decodes, and encodes to a line that decodes to the same record."""
    line = json.dumps(VALID[kind]).encode()
    assert validate(VALID[kind], kind) == []
    record = decode(line, kind)
    assert decode(encode(record), kind) == record
    assert b"\n" not in encode(record)


@pytest.mark.parametrize("kind", WRONG_VALUES, ids=lambda kind: kind.__name__)
def test_each_wrong_value_is_a_problem_by_name(kind: type[Record]) -> None:
    """Every rule of a record, broken alone, is named; no valid neighbour is."""
    for field, values in WRONG_VALUES[kind].items():
        for value in values:
            problems = validate({**VALID[kind], field: value}, kind)
            assert problems, (field, value)
            assert any(field in problem for problem in problems), (field, value, problems)
            with pytest.raises(RecordError) as caught:
                decode(json.dumps({**VALID[kind], field: value}).encode(), kind, where="f:1")
            assert list(caught.value.problems) == problems
            assert str(caught.value).startswith("f:1: ")


@pytest.mark.parametrize("kind", VALID, ids=lambda kind: kind.__name__)
def test_every_problem_is_returned_not_the_first(kind: type[Record]) -> None:
    """A row that lacks everything, or mistypes everything, is told so field by field."""
    required = {field.name for field in msgspec.structs.fields(kind) if field.required}
    assert {problem.split(":")[0] for problem in validate({}, kind)} == required
    mistyped = {name: object() for name in VALID[kind]}
    named = {problem.split(":")[0] for problem in validate(mistyped, kind)}
    assert named == set(VALID[kind])
    wrong = {name: values[0] for name, values in WRONG_VALUES[kind].items()}
    problems = validate({**VALID[kind], **wrong}, kind)
    assert len(problems) >= len(wrong) - 2
    if "provenance" in VALID[kind]:
        bad = {**VALID[kind], "provenance": {"source_file": 3, "line_offset": "0"}}
        places = {problem.split(":")[0] for problem in validate(bad, kind)}
        assert places == {
            f"provenance.{name}"
            for name in ("source_file", "line_offset", "sig_hash", "recorded_at")
        }
        both = {**VALID[kind], "provenance": {**PROVENANCE, "sig_hash": "x"}}
        field = next(name for name in VALID[kind] if name != "provenance")
        problems = validate({**both, field: object()}, kind)
        assert len(problems) == 2


def test_what_is_no_row_at_all_is_said_so() -> None:
    """Broken JSON, other JSON and nesting without end are problems, not tracebacks."""
    assert validate(b"{", ScoredRun)[0].startswith("is not JSON")
    assert validate(b"[]", ScoredRun) == ["is not a JSON object but an array"]
    assert validate(b"\xff", ScoredRun)
    assert validate(b"[" * 100_000, ScoredRun)
    for line in (b"{", b"[]", b'"\xff"', b"[" * 100_000):
        with pytest.raises(RecordError):
            decode(line, ScoredRun)


def test_nesting_too_deep_is_a_problem_of_its_field() -> None:
    """A value that nests too deeply to convert names the field it stands in."""
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    problems, values = field_problems({"reasons": deep}, ScoredRun)
    assert any(problem.startswith("reasons") for problem in problems)
    assert values == {}
    while isinstance(deep, list):
        deep = deep[0]


@pytest.mark.parametrize(
    "metrics", [{"a": float("nan")}, {"b": float("inf"), "a": 1.0}, {"c": float("-inf")}]
)
def test_a_baseline_holds_finite_numbers(metrics: dict[str, float]) -> None:
    """A metric that is no number is named."""
    (problem,) = AuditBaseline(recorded_at=TIME, metrics=metrics).problems()
    assert problem.startswith("metrics.")


# ---------------------------------------------------------------------------- the firewall


def test_the_forbidden_categories_are_pinned() -> None:
    """What may never train (F1), may train when asked for (F3), and the four words (R4)."""
    assert frozenset({"rejected", "needs_human_review"}) == records.SFT_NEVER
    assert frozenset({"partially_accepted"}) == records.SFT_OPT_IN
    assert CATEGORIES == ("accepted", "partially_accepted", "rejected", "needs_human_review")
    assert records.RANK == {"accepted": 2, "partially_accepted": 1, "rejected": 0}
    assert isinstance(records.SFT_NEVER, frozenset)


def sample(**fields: Any) -> SftSample:
    """An SFT sample with fields replaced, checked by nobody yet."""
    good = decode(json.dumps(VALID[SftSample]).encode(), SftSample)
    changed: SftSample = msgspec.structs.replace(good, **fields)
    return changed


@pytest.mark.parametrize("category", ["rejected", "needs_human_review", " REJECTED ", "Rejected"])
def test_a_forbidden_sample_is_an_error_of_its_own(category: str) -> None:
    """However it is spelt, and whatever else is wrong with the sample (F2, F6)."""
    with pytest.raises(SftContaminationError, match="must never train"):
        check_sft(sample(category=category))
    with pytest.raises(SftContaminationError):
        check_sft(sample(category=category, response=""))


@pytest.mark.parametrize("category", ["acepted", "ACCEPTED", " accepted", "", None])
def test_a_mistyped_category_is_an_ordinary_error(category: Any) -> None:
    """It is refused with all its problems, and is told apart from contamination (F2)."""
    with pytest.raises(RecordError) as caught:
        check_sft(sample(category=category, response=" "))
    assert caught.value.problems[0].startswith("category: ")
    assert caught.value.problems[1] == "response: is empty"
    assert not issubclass(SftContaminationError, RecordError)
    assert not issubclass(RecordError, SftContaminationError)


def test_a_sample_that_may_train_passes_the_check() -> None:
    """Accepted and, to be asked for elsewhere, partially accepted samples pass unchanged."""
    for category in ("accepted", "partially_accepted"):
        good = sample(category=category)
        assert check_sft(good) is good
    with pytest.raises(RecordError, match="id: is empty"):
        check_sft(sample(id=""))


# ------------------------------------------------------------------------ schema evolution


@pytest.mark.parametrize(
    "path", sorted(FIXTURES.glob("*/*.jsonl")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_record_of_any_version_reads_today(path: Path) -> None:
    """Kept files of older shapes, and one of a newer, read and validate (R6)."""
    kind = getattr(records, path.stem)
    lines = path.read_bytes().splitlines()
    assert lines
    for line in lines:
        record = decode(line, kind)
        assert decode(encode(record), kind) == record
        if hasattr(record, "schema_version"):
            stated = json.loads(line).get("schema_version", 0)
            assert record.schema_version == stated
            assert (stated == 0) == (path.parent.name == "v0")


def test_every_record_has_its_kept_fixtures() -> None:
    """Each on-wire type is kept as it was written first and as it is written now."""
    for version in ("v0", "v1"):
        kept = {path.stem for path in (FIXTURES / version).glob("*.jsonl")}
        assert kept == {kind.__name__ for kind in VALID}


def test_a_field_of_a_later_version_is_ignored() -> None:
    """What a reader does not know does not disturb it, and what it knows is read."""
    (line,) = (FIXTURES / "v2" / "EvidenceRecord.jsonl").read_bytes().splitlines()
    record = decode(line, EvidenceRecord)
    assert (record.schema_version, record.run_id) == (2, "future-1")
    assert b"energy_joules" in line
    assert b"energy_joules" not in encode(record)


# ------------------------------------------------------------------------- messages, words


def test_a_messages_words_are_its_text_parts() -> None:
    """A string, text parts joined by line feeds, or nothing; other media are told."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "output_text"}]
    assert Message(role="user", content="a").text() == "a"
    assert Message(role="assistant").text() == ""
    assert Message(role="user", content=[*parts, {"type": "input_text", "text": "b"}]).text() == (
        "a\nb"
    )
    assert Message(role="user", content=parts).has_other_media()
    assert Message(role="user", content=[{"type": "text"}]).has_other_media()
    assert not Message(role="user", content=parts[:1]).has_other_media()
    assert not Message(role="user", content="a").has_other_media()


def test_substance_is_words_or_a_tool_call() -> None:
    """Blank messages have none."""
    call = records.ToolCall(function=records.FunctionCall(name="f"))
    assert has_substance([Message(role="assistant", tool_calls=[call])])
    assert not has_substance([Message(role="assistant", content=" ")])
    assert not has_substance([])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ("a", "a string"),
        ([], "an array"),
        ({}, "an object"),
    ],
)
def test_types_are_called_what_json_calls_them(value: object, name: str) -> None:
    """Messages speak of JSON, not of Python."""
    assert json_type(value) == name


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_is_written_as_utc(moment: Any) -> None:
    """What this project writes is what it takes for a UTC time."""
    if 2 < moment.year < 9998:
        assert is_utc_time(utc_text(moment))


# -------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("kind", [cls for cls in vars(errors).values() if isinstance(cls, type)])
def test_an_error_is_one_line_and_survives_a_process(kind: type[Exception]) -> None:
    """What, where and the way out in one line; pickled and back it says the same."""
    if not issubclass(kind, StillhouseError):
        return
    error: StillhouseError
    if issubclass(kind, RecordError):
        error = kind(["a: is bad", "b: is\nworse"], where="f:3")
        assert str(error) == "f:3: a: is bad; b: is worse"
    elif issubclass(kind, errors.VectorRequestError):
        error = kind([("a", "is bad"), ("b", "is\nworse")], where="add")
        assert str(error) == "add: a: is bad; b: is worse"
        assert error.problems == (("a", "is bad"), ("b", "is\nworse"))
    else:
        error = kind("it is\nbroken.", where="here", way_out="Mend it.")
        assert str(error) == "here: it is broken. Mend it."
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__
    assert kind.exit_code == {UsageError: 2, errors.GateError: 1}.get(kind, 3)


def test_a_wrong_type_does_not_hide_the_other_rules() -> None:
    """Beside a field of the wrong type, the rules of all other fields are still reported."""
    row = {"id": " ", "instruction": 5, "context": "", "response": "", "source_run_id": "r"}
    problems = validate({**row, "category": "maybe", "created_at": "soon"}, SftSample)
    assert {problem.partition(":")[0] for problem in problems} == {
        "id",
        "instruction",
        "response",
        "category",
        "created_at",
        "provenance",
    }
