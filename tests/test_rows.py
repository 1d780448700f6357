"""One raw line becomes one evidence record or one refusal that names every problem."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.errors import RecordError
from stillhouse.interfaces import Anchor, Refusal, Source
from stillhouse.records import (
    EvidenceRecord,
    HumanOverride,
    Message,
    Provenance,
    Record,
    RetrievedContext,
    decode,
    encode,
)
from stillhouse.rows import TIME_FIELDS, RawRow, count_problems, read_line
from stillhouse.sources import SOURCES

NOW = "2026-04-01T00:00:00Z"
TIME = "2026-03-01T08:00:00Z"


def read(row: dict[str, Any] | bytes, stem: str = "scrum_reviews") -> EvidenceRecord | Refusal:
    """Read a row as the pipeline does."""
    line = row if isinstance(row, bytes) else json.dumps(row).encode()
    hashed = hashlib.sha256(line).hexdigest()
    return read_line(line, SOURCES[stem], f"_kb/{stem}.jsonl", 7, NOW, hashed)


def accepted(row: dict[str, Any] | bytes, stem: str = "scrum_reviews") -> EvidenceRecord:
    """The record of a row that must be read."""
    record = read(row, stem)
    assert isinstance(record, EvidenceRecord), record
    assert record.problems() == []
    assert decode(encode(record), EvidenceRecord) == record
    return record


def refused(row: dict[str, Any] | bytes, stem: str = "scrum_reviews") -> Refusal:
    """The refusal of a row that must not be read."""
    refusal = read(row, stem)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.detail
    return refusal


FULL = {
    "timestamp": TIME,
    "run_id": "r-1",
    "task_id": "t-1",
    "model": "m",
    "provider": "p",
    "role": "Reviewer",
    "cost_usd": 0,
    "latency_ms": 12,
    "metadata": {"team": "blue", "nested": {"a": [1, None]}},
    "human_override": {
        "decision": "Needs-Review",
        "reviewer": "Ana",
        "reason": "odd",
        "overridden_at": 1772352000,
    },
    "matrix_corpora": ["docs", "code"],
    "matrix_hits": 4.0,
    "matrix_chunks_kept": 3,
    "matrix_chunks_dropped": 1,
    "pathway_fingerprints": "f1",
    "source_files": ["b.py", "a.py"],
    "command_run": "make check",
    "input_hash": "i",
    "output_hash": "o",
    "messages": [{"role": "user", "content": "Review."}],
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "file": "a.py",
    "accepted_on_attempt": 2.0,
    "review": "Fine now.",
}


def test_every_common_field_reaches_the_evidence() -> None:
    """What any source may carry is in the record, typed and unchanged in meaning."""
    line = json.dumps(FULL).encode()
    assert accepted(line) == EvidenceRecord(
        schema_version=1,
        run_id="r-1",
        task_id="t-1",
        timestamp=TIME,
        provenance=Provenance(
            source_file="_kb/scrum_reviews.jsonl",
            line_offset=7,
            sig_hash=hashlib.sha256(line).hexdigest(),
            recorded_at=NOW,
        ),
        model_name="m",
        model_provider="p",
        model_role="reviewer",
        source_files=["a.py", "b.py"],
        command_run="make check",
        input_hash="i",
        output_hash="o",
        retrieved_context=RetrievedContext(
            matrix_corpora=["docs", "code"],
            matrix_hits=4,
            matrix_chunks_kept=3,
            matrix_chunks_dropped=1,
            pathway_fingerprints_seen=["f1"],
        ),
        validation_results={"accepted_on_attempt": 2},
        human_override=HumanOverride(
            decision="needs_review",
            reviewer="Ana",
            reason="odd",
            overridden_at="2026-03-01T08:00:00Z",
        ),
        cost_usd=0.0,
        latency_ms=12.0,
        text="Fine now.",
        metadata={"team": "blue", "nested": {"a": [1, None]}},
        messages=[Message(role="user", content="Review.")],
        tools=[{"type": "function", "function": {"name": "f"}}],
    )


@pytest.mark.parametrize("stem", SOURCES)
def test_null_and_blank_are_the_same_as_absent(stem: str) -> None:
    """A row whose fields are all null, or blank where they are text, reads like a bare one."""
    bare = accepted({"ts": TIME}, stem)
    fields = [name for name in SOURCES[stem].raw.__struct_fields__ if name != "ts"]
    nulls = accepted({"ts": TIME, **dict.fromkeys(fields)}, stem)
    texts = ["run_id", "task_id", "model", "provider", "role", "prompt", "human_override"]
    own = {"file", "review", "verdict", "phase", "summary", "permit_id", "contractor", "action"}
    blanks = accepted({"ts": TIME, **dict.fromkeys([*texts, *own & {*fields}], " ")}, stem)
    for other in (nulls, blanks):
        assert other.run_id == f"run-{other.provenance.sig_hash[:16]}"
        assert other.task_id.removesuffix(other.run_id) == bare.task_id.removesuffix(bare.run_id)
        for name in ("metadata", "messages", "validation_results", "model_role", "source_files"):
            assert getattr(other, name) == getattr(bare, name)


@pytest.mark.parametrize("field", TIME_FIELDS)
def test_the_time_may_stand_in_any_of_its_fields(field: str) -> None:
    """Each of the five names is a time."""
    assert accepted({field: TIME}).timestamp == TIME


def test_the_first_time_that_can_be_read_is_the_rows() -> None:
    """In the order of the specification; a field that holds no time is passed over."""
    later = "2026-03-02T00:00:00Z"
    assert accepted({"reviewed_at": later, "at": TIME}).timestamp == TIME
    assert accepted({"reviewed_at": later, "timestamp": "soon"}).timestamp == later


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "none of timestamp, ts, at, created_at, reviewed_at"),
        ({"timestamp": None}, "none of timestamp"),
        ({"timestamp": "soon"}, 'timestamp: "soon" is not a time from 1990 to 2099'),
        ({"timestamp": ""}, 'timestamp: ""'),
        ({"at": -5}, "at: -5"),
        ({"ts": 1e300}, "ts: 1e300"),
        ({"ts": True}, "ts: true"),
        ({"ts": [TIME]}, "ts: an array"),
        ({"ts": "x" * 500}, "…"),
    ],
)
def test_a_row_without_a_time_says_so(row: dict[str, Any], words: str) -> None:
    """The refusal names the field and the value that could not be read."""
    reason, detail = refused(row)
    assert reason == "missing_time"
    assert words in "; ".join(detail)


def test_a_missing_time_does_not_hide_other_problems() -> None:
    """With something else wrong the row is invalid, and the time is among the problems."""
    assert refused({"ts": "soon", "cost_usd": -1}) == Refusal(
        "invalid",
        [
            'ts: "soon" is not a time from 1990 to 2099 in ISO 8601, or Unix seconds or '
            "milliseconds",
            "cost_usd: is negative",
        ],
    )
    assert refused({"ts": True, "file": 3}).reason == "invalid"
    assert len(refused({"ts": True, "file": 3}).detail) == 2
    assert refused({"ts": True, "at": TIME}).reason == "invalid"


WRONG: dict[str, list[Any]] = {
    "timestamp": [[], {}],
    "run_id": [7, ["a"], True],
    "task_id": [7, {}],
    "model": [7],
    "provider": [False],
    "role": [7, []],
    "cost_usd": ["0.5", True, -0.01, []],
    "latency_ms": ["12", False, -1],
    "metadata": [[], "a", 7],
    "human_override": [7, True, [], {}, "perhaps", {"decision": "maybe"}, {"decision": None}],
    "matrix_corpora": [7, [7], {}],
    "matrix_hits": ["4", 1.5, -1, True],
    "matrix_chunks_kept": [0.5, "1"],
    "matrix_chunks_dropped": [-2, []],
    "pathway_fingerprints": [{}, [None]],
    "source_files": [7],
    "command_run": [["make"]],
    "input_hash": [1],
    "output_hash": [1],
    "messages": ["hi", {}, ["hi"], [{"content": "no role"}], [{"role": "boss"}]],
    "tools": [{}, "f"],
    "prompt": [7, ["a"]],
    "text": [7],
    "response": [{}],
}
OWN_WRONG: dict[str, dict[str, list[Any]]] = {
    "scrum_reviews": {
        "file": [7],
        "accepted_on_attempt": ["1", True, 0, -1, 1.5],
        "review": [7],
    },
    "observer_reviews": {
        "file": [[]],
        "verdict": [7, True],
        "confidence": ["0.5", True],
        "notes": [7, [7], {}],
        "review": [[]],
    },
    "audits": {
        "phase": [3],
        "overall": [True],
        "findings": ["none", {}, ["high"], [{}], [{"severity": 3}], [{"severity": None}]],
        "summary": [7],
    },
    "contract_analyses": {
        "permit_id": [3],
        "contractor": [{}],
        "observer_verdict": [True],
        "failure_markers": [True, [1]],
        "success_markers": [7],
        "analysis": [7],
    },
    "auto_apply": {"file": [7], "action": [True, []], "patch": [[]]},
    "outcomes": {
        "scenario": [7],
        "events": [
            {},
            "ok",
            [True],
            [{"name": "a"}],
            [{"ok": True}],
            [{"name": "a", "ok": "yes"}],
            [{"name": "a", "ok": True, "note": 7}],
        ],
        "report": [7],
    },
    "mode_experiments": {
        "task_class": [7],
        "file": [7],
        "mode": [[]],
        "validators": [[], {"a": "yes"}, {"a": 1}],
    },
    "distilled_facts": {"fact": [7, []]},
}


@pytest.mark.parametrize("stem", OWN_WRONG)
def test_wrong_types_in_every_field_are_refused_by_name(stem: str) -> None:
    """Each wrong value of each field, alone, refuses the row and names the field."""
    for field, values in {**WRONG, **OWN_WRONG[stem]}.items():
        for value in values:
            reason, detail = refused({"at": TIME, field: value}, stem)
            assert reason == "invalid", (field, value)
            assert len(detail) == 1, (field, value, detail)
            assert detail[0].startswith(field), (field, value, detail)


@pytest.mark.parametrize("stem", OWN_WRONG)
def test_all_problems_of_a_row_are_named_at_once(stem: str) -> None:
    """A row that is wrong in every field is refused with a problem for each."""
    wrong = {**WRONG, **OWN_WRONG[stem]}
    reason, detail = refused({field: values[0] for field, values in wrong.items()}, stem)
    assert reason == "invalid"
    assert {problem.split(":")[0] for problem in detail} == set(wrong)


def test_every_bad_item_of_a_list_is_named() -> None:
    """Messages, their tool calls and events are each named by their number."""
    messages = [
        {"role": "user", "content": 7},
        "hi",
        {"role": "boss", "tool_calls": [{"id": "1"}, {"function": {"name": 3}}]},
    ]
    detail = refused({"ts": TIME, "messages": messages}).detail
    assert sorted(problem.split(":")[0] for problem in detail) == [
        "messages[0].content",
        "messages[1]",
        "messages[2].role",
        "messages[2].tool_calls[0].function",
        "messages[2].tool_calls[1].function.name",
    ]
    events = [{"name": "a"}, {"name": "b", "ok": True}, {"ok": 1}]
    detail = refused({"ts": TIME, "events": events, "scenario": 7}, "outcomes").detail
    assert [problem.split(":")[0] for problem in detail] == [
        "scenario",
        "events[0].ok",
        "events[2].name",
        "events[2].ok",
    ]


@pytest.mark.parametrize(
    ("stem", "fields", "words"),
    [
        ("mode_experiments", {"validators": {"unit": True, "thumb": "up"}},
         "validators.thumb: expected true, false or null, got a string"),
        ("mode_experiments", {"validators": "good"},
         "validators: expected an object or null, got a string"),
        ("mode_experiments", {"messages": [{"role": "boss"}]},
         'messages[0].role: "boss" is none of system, developer, user, assistant, tool'),
        ("mode_experiments", {"messages": ["hi"]}, "messages[0]: expected an object, got a string"),
        ("mode_experiments", {"model": 7}, "model: expected a string or null, got a number"),
        ("observer_reviews", {"notes": ["a", 7]}, "notes[1]: expected a string, got a number"),
        ("observer_reviews", {"notes": 7},
         "notes: expected a string, an array or null, got a number"),
        ("scrum_reviews", {"cost_usd": "0.5"}, "cost_usd: expected a number or null, got a string"),
        ("scrum_reviews", {"human_override": {}}, "human_override.decision: is missing"),
    ],
)  # fmt: skip
def test_a_wrong_type_is_told_in_the_words_of_json(
    stem: str, fields: dict[str, Any], words: str
) -> None:
    """The problem names the innermost place, what may stand there, and what stands there."""
    assert refused({"ts": TIME, **fields}, stem) == Refusal("invalid", [words])


def test_a_huge_list_of_wrong_items_is_told_in_bounds() -> None:
    """Of a list that is wrong in every item the first hundred are named."""
    assert len(refused({"ts": TIME, "source_files": [7] * 5000}).detail) == 100


@pytest.mark.parametrize("field", ["time", "date", "datetime", "created", "createdAt", "Timestamp"])
def test_a_time_under_another_name_is_pointed_at(field: str) -> None:
    """Where a field that is not read holds a time, the refusal says how to rename it."""
    wanted = (
        f"the row has `{field}`, which is not read: rename it to one of timestamp, ts, at, "
        "created_at, reviewed_at"
    )
    assert refused({field: TIME}) == Refusal("missing_time", [wanted])
    assert wanted in refused({field: TIME, "file": 7}).detail
    assert refused({field: "Monday"}).detail == [
        "no time: none of timestamp, ts, at, created_at, reviewed_at is given"
    ]
    assert refused({field: TIME, "ts": "soon"}).detail[0].startswith("ts:")


@pytest.mark.parametrize(
    ("spelt", "role"),
    [
        ("User", "user"),
        (" USER ", "user"),
        ("human", "user"),
        ("Human", "user"),
        ("Assistant", "assistant"),
        ("ai", "assistant"),
        ("AI", "assistant"),
        ("bot", "assistant"),
        ("gpt", "assistant"),
        ("model", "assistant"),
        ("System", "system"),
        ("TOOL", "tool"),
    ],
)
def test_a_chat_role_may_be_spelt_as_logs_spell_it(spelt: str, role: str) -> None:
    """Any case, and the words that other programs use for the two who speak."""
    messages = accepted({"ts": TIME, "messages": [{"role": spelt, "content": "Hi."}]}).messages
    assert messages == [Message(role=role, content="Hi.")]  # type: ignore[arg-type]


def test_what_lies_beyond_types_is_checked_beside_them() -> None:
    """A wrong type in one field does not hide a value out of bounds in another."""
    detail = refused({"ts": TIME, "model": 7, "accepted_on_attempt": 0}).detail
    assert [problem.split(":")[0] for problem in detail] == ["model", "accepted_on_attempt"]
    bad = {"decision": "maybe", "overridden_at": "soon"}
    detail = refused({"ts": TIME, "human_override": bad}).detail
    assert [problem.split(":")[0] for problem in detail] == [
        "human_override.decision",
        "human_override.overridden_at",
    ]


@pytest.mark.parametrize(
    ("spelt", "decision"),
    [
        ("accept", "accept"),
        (" REJECT ", "reject"),
        ("needs review", "needs_review"),
        ({"decision": "Accept"}, "accept"),
    ],
)
def test_an_override_may_be_a_bare_word(spelt: Any, decision: str) -> None:
    """A string is short for the decision, in any case and with blanks around."""
    override = accepted({"ts": TIME, "human_override": spelt}).human_override
    assert override == HumanOverride(decision=decision)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spelt", "role"),
    [
        ("executor", "executor"),
        (" Tie-Breaker", "other"),
        ("TIEBREAKER", "tiebreaker"),
        ("boss", "other"),
        (" ", None),
    ],
)
def test_a_role_outside_the_known_ones_is_other(spelt: str, role: str | None) -> None:
    """Known roles are read in any case; a blank one is none."""
    assert accepted({"ts": TIME, "role": spelt}).model_role == role


def test_a_byte_order_mark_is_passed_over() -> None:
    """The mark is no part of the JSON, but stays part of the line that is hashed."""
    line = b"\xef\xbb\xbf" + json.dumps({"ts": TIME}).encode()
    assert accepted(line).provenance.sig_hash == hashlib.sha256(line).hexdigest()
    assert refused(b"\xef\xbb\xbf").reason == "bad_json"


def test_unknown_fields_are_ignored_and_still_checked() -> None:
    """A field no source knows changes nothing, but must be sound and stand once."""
    assert accepted({"ts": TIME, "colour": {"a": [1]}}).metadata == {}
    stamp = f'{{"ts": "{TIME}", '.encode()
    assert refused(stamp + b'"x": {"a": 1, "a": 1}}').reason == "duplicate_key"
    assert refused(stamp + b'"x": "\xff"}').reason == "bad_encoding"
    assert refused(stamp + b'"x": 1e999}').reason == "bad_json"
    assert refused(stamp + b'"x": "\\ud800"}').reason == "bad_json"
    assert refused(stamp + b'"model": "a", "model": "a"}').reason == "duplicate_key"
    assert refused(stamp + b'"x": ' + b"[" * 300 + b"]" * 300 + b"}").reason == "bad_json"


def test_integers_past_64_bits_are_kept() -> None:
    """A huge integer is a number like any other where a number may stand."""
    record = accepted({"ts": TIME, "metadata": {"n": 2**80}, "accepted_on_attempt": 2**70})
    assert record.metadata == {"n": 2**80}
    assert record.validation_results == {"accepted_on_attempt": 2**70}


def test_text_comes_from_the_first_field_that_has_words() -> None:
    """The source's own, then ``text``, then ``response``, then the assistant's last words."""
    talk = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "Said."}]
    row = {"ts": TIME, "review": "own", "text": "t", "response": "r", "messages": talk}
    for field, text in (("review", "own"), ("text", "t"), ("response", "r"), ("", "Said.")):
        assert accepted(row).text == text
        row[field] = " "
    row["messages"] = [*talk, {"role": "user", "content": "More?"}]
    assert accepted(row).text == ""


def test_the_prompt_is_short_for_a_user_message() -> None:
    """It becomes the conversation where there is none."""
    record = accepted({"ts": TIME, "prompt": "Why?", "text": "So."})
    assert record.messages == [Message(role="user", content="Why?")]


@pytest.mark.parametrize("extra", [{}, {"colour": 1}])
def test_old_function_calls_are_read_as_tool_calls(extra: dict[str, Any]) -> None:
    """The shape before tool calls is rewritten, never dropped."""
    talk = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "content": "Done."},
    ]
    record = accepted({"ts": TIME, "messages": talk, **extra})
    assert record.messages is not None
    (call,) = record.messages[1].tool_calls or []
    assert (call.id, call.type, call.function.name) == ("call_1", "function", "f")
    assert (record.messages[2].role, record.messages[2].tool_call_id) == ("tool", "call_1")
    without_answer = accepted({"ts": TIME, "messages": talk[:2], **extra})
    assert without_answer.messages is not None
    assert without_answer.messages[1].tool_calls
    wrong = [*talk, {"role": "boss"}]
    assert refused({"ts": TIME, "messages": wrong}).detail[0].startswith("messages[4].role")


@pytest.mark.parametrize(
    ("stem", "own", "task"),
    [
        ("scrum_reviews", {"file": "a.py"}, "scrum:a.py"),
        ("observer_reviews", {"file": "a.py"}, "observer:a.py"),
        ("audits", {"phase": "P1"}, "phase:P1"),
        ("contract_analyses", {"permit_id": "9"}, "permit:9"),
        ("auto_apply", {"file": "a.py"}, "auto_apply:a.py"),
        ("outcomes", {"scenario": "s"}, "scenario:s"),
        ("mode_experiments", {"task_class": "c", "file": "a"}, "c:a"),
        ("mode_experiments", {"task_class": "c"}, "mode_experiments:r"),
        ("mode_experiments", {"file": "a"}, "mode_experiments:r"),
        ("scrum_reviews", {}, "scrum:r"),
        ("outcomes", {"scenario": " "}, "scenario:r"),
        ("distilled_facts", {}, "extract:distilled_facts"),
        ("audits", {"phase": "P1", "task_id": "mine"}, "mine"),
    ],
)
def test_the_task_id_is_the_rows_or_made_of_its_own_field(
    stem: str, own: dict[str, Any], task: str
) -> None:
    """Without the field that forms it, the run stands alone rather than share a task."""
    assert accepted({"ts": TIME, "run_id": "r", **own}, stem).task_id == task


def test_counts_are_whole_and_not_below_their_least() -> None:
    """An integral float counts, a fraction does not."""
    assert count_problems("n", 2.0) == []
    assert count_problems("n", 2.5) == ["n: 2.5 is not a whole number"]
    assert count_problems("n", 0, least=1) == ["n: 0 is below 1"]
    assert count_problems("n", 2**70) == []
    for huge in (1e300, -1e300, 2.0**63):
        (said,) = count_problems("n", huge)
        assert said.startswith(f"n: {huge} is too large")


@pytest.mark.parametrize(
    ("confidence", "kept"), [(0, 0.0), (0.5, 0.5), (1, 1.0), (1.5, None), (-0.1, None)]
)
def test_a_confidence_off_its_scale_is_kept_as_it_stood(
    confidence: float, kept: float | None
) -> None:
    """It is no confidence, but the row still says what the observer thought of the run."""
    row = {"ts": TIME, "verdict": "accept", "confidence": confidence}
    record = accepted(row, "observer_reviews")
    assert record.observer_confidence == kept
    assert record.validation_results == ({"confidence": confidence} if kept is None else {})


def test_an_observers_notes_may_be_one_string() -> None:
    """Notes are a list or one string; blank ones say nothing."""
    for notes, read_as in (("clean", ["clean"]), (["a", " ", "b"], ["a", "b"]), (" ", [])):
        row = {"ts": TIME, "notes": notes}
        assert accepted(row, "observer_reviews").observer_notes == read_as


class Strict(RawRow, frozen=True, kw_only=True):
    """A user's row with a field that must be there."""

    ticket: str


class Item(Record, frozen=True, kw_only=True):
    """Part of a user's row."""

    name: str


class WithItems(RawRow, frozen=True, kw_only=True):
    """A user's row with a list that must be there."""

    items: list[Item]


def source_of(raw: type[RawRow]) -> Source:
    """A user's source that refuses what it cannot make sense of."""

    def transform(row: RawRow, anchor: Anchor) -> EvidenceRecord:
        raise RecordError(["ticket: is closed", "ticket: is old"])

    ours = SOURCES["distilled_facts"]
    return Source(
        stem="own",
        source_class="extraction",
        raw=raw,
        transform=transform,
        score=ours.score,
        template=ours.template,
        summary="a user's own",
    )


def test_a_transform_may_refuse_with_its_problems() -> None:
    """A `RecordError` of a user's transform is a refusal of the row, not of the run."""
    line = f'{{"ts": "{TIME}", "ticket": "7"}}'.encode()
    got = read_line(line, source_of(Strict), "_kb/own.jsonl", 0, NOW, "0" * 64)
    assert got == Refusal("invalid", ["ticket: is closed", "ticket: is old"])


def test_a_required_field_of_a_users_row_is_named_when_missing() -> None:
    """A row type may demand a field, a list of structs among them."""
    line = f'{{"ts": "{TIME}", "model": 3}}'.encode()
    got = read_line(line, source_of(Strict), "_kb/own.jsonl", 0, NOW, "0" * 64)
    assert isinstance(got, Refusal)
    assert sorted(problem.split(":")[0] for problem in got.detail) == ["model", "ticket"]
    line = f'{{"ts": "{TIME}", "items": [{{"name": 3}}]}}'.encode()
    got = read_line(line, source_of(WithItems), "_kb/own.jsonl", 0, NOW, "0" * 64)
    assert isinstance(got, Refusal)
    assert got.detail[0].startswith("items")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(sorted(SOURCES)),
    st.dictionaries(
        st.sampled_from(sorted({*WRONG, *(f for own in OWN_WRONG.values() for f in own), "at"}))
        | st.text(),
        JSON,
        max_size=6,
    ),
)
def test_any_object_is_read_or_refused(stem: str, row: dict[str, Any]) -> None:
    """No row, however wrong, raises; what is read validates; what is refused says why."""
    got = read(json.dumps(row).encode(), stem)
    if isinstance(got, Refusal):
        assert got.detail
        assert all(problem.strip() for problem in got.detail)
    else:
        assert got.problems() == []


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(line: bytes) -> None:
    """No line, however broken, raises."""
    got = read(line)
    assert isinstance(got, EvidenceRecord) or got.detail
