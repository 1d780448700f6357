"""SFT synthesis, requirement by requirement (S1 to S10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import pytest

from stillhouse.errors import RecordError
from stillhouse.exports.sft import (
    EvidenceCache,
    build_context,
    content_id,
    load_evidence_by_run_id,
    sample_of,
    synthesize_sft,
)
from stillhouse.lake import evidence_path_for
from stillhouse.records import (
    FunctionCall,
    Message,
    RetrievedContext,
    SftSample,
    ToolCall,
    decode,
)
from stillhouse.sources import SOURCES, build_instruction, stem_from_source_file
from stillhouse.storage import LocalStore, MemoryStore
from stillhouse.words import answer_of, prompt_of
from tests.exports import lakes
from tests.exports.lakes import NOW, REFUSED, SFT
from tests.exports.made import cleared, evidence, joined, said, user

AT = "2026-03-02T09:00:00Z"
GOOD = {"ts": AT, "verdict": "accept", "review": "A", "prompt": "Q"}


def made(record: Any, category: str | None = None) -> SftSample | None:
    """The sample of a record, its scored run as the rules have it."""
    scored = joined(record).scored
    assert category is None or scored.category == category
    return synthesize_sft(scored, record, NOW, "sft-1")


# ---------------------------------------------------------------------------- S1, R5


def test_a_sample_is_made_of_a_run_and_its_evidence() -> None:
    """Instruction, context, response, and where they come from (S1)."""
    record = evidence(model_name="m", model_provider="p")
    sample = made(record)
    assert sample is not None
    assert sample.problems() == []
    assert sample.instruction == build_instruction(record)
    assert (sample.response, sample.context) == ("All is well.", "model: m (p)")
    assert (sample.id, sample.created_at, sample.category) == ("sft-1", NOW, "accepted")
    assert (sample.source_run_id, sample.provenance) == ("run-1", record.provenance)
    assert (sample.messages, sample.tools) == (None, None)


@pytest.mark.parametrize(
    ("fields", "stem"),
    [
        ({"observer_verdict": "reject"}, "observer_reviews"),
        ({"observer_verdict": None}, "observer_reviews"),
        ({"text": ""}, "observer_reviews"),
        ({"text": "\u2003\n"}, "observer_reviews"),
        ({"model_role": "extractor"}, "observer_reviews"),
        ({}, "audit_facts"),
        ({}, "a_stem_of_nobody"),
    ],
)
def test_what_may_not_train_gives_no_sample(fields: dict[str, Any], stem: str) -> None:
    """Forbidden categories, no text, extractors and extraction (S1, F1, F4)."""
    assert made(evidence(stem, **fields)) is None


def test_a_partial_run_can_be_made_into_a_sample() -> None:
    """Whether it was asked for is the firewall's question, not synthesis' (F3)."""
    sample = made(evidence(observer_verdict="cycle"))
    assert sample is not None
    assert sample.category == "partially_accepted"


def test_a_sample_has_the_conversation_where_the_evidence_has_it() -> None:
    """Up to the last answer, and the tools beside (R5)."""
    talk = [user("Q"), said("A"), user("More"), said("B"), user("thanks")]
    sample = made(evidence(messages=talk, text="B", tools=[{"name": "f"}]))
    assert sample is not None
    assert sample.messages == talk[:-1]
    assert sample.tools == [{"name": "f"}]


def test_of_one_turn_the_text_is_the_answer() -> None:
    """The verdict is on the text, whatever the one message said."""
    sample = made(evidence(messages=[user("Q"), said("draft")], text="final"))
    assert sample is not None
    assert sample.messages == [user("Q"), said("final")]
    unanswered = made(evidence(messages=[user("Q")], text="final"))
    assert unanswered is not None
    assert unanswered.messages == sample.messages


def test_a_greeting_is_no_answer() -> None:
    """What the assistant says before the user asks belongs to the prompt."""
    record = evidence(messages=[said("Hello."), user("Q"), said("A")], text="A")
    assert prompt_of(record) == [said("Hello."), user("Q")]
    assert answer_of(record) == [said("A")]
    sample = made(record)
    assert sample is not None
    assert sample.messages == record.messages


CALLING = Message(
    role="assistant",
    tool_calls=[ToolCall(id="c", function=FunctionCall(name="count", arguments="{}"))],
)
RESULT = Message(role="tool", content="42", tool_call_id="c")


@pytest.mark.parametrize(
    ("messages", "text", "learnt"),
    [
        # What was sent, and the answer beside it.
        ([user("q")], "T", ["T"]),
        ([user("q"), said("a"), user("r")], "T", ["a", "r", "T"]),
        ([user("q"), CALLING, RESULT], "T", ["call", "42", "T"]),
        ([user("q"), CALLING], "T", ["call", "T"]),
        # The whole conversation, with its last words as the text.
        ([user("q"), said("T")], "T", ["T"]),
        ([user("q"), said("a"), user("r"), said("T"), user("Bye.")], "T", ["a", "r", "T"]),
        ([user("q"), said("T"), user("r"), CALLING], "T", ["T", "r", "call"]),
        ([user("q"), said("T"), user("r"), CALLING, RESULT], "T", ["T", "r", "call"]),
        # Other last words than the text, which is what the verdict is about.
        ([user("q"), said("draft")], "T", ["T"]),
        ([user("q"), CALLING, RESULT, said("draft")], "T", ["call", "42", "T"]),
        ([user("q"), said("T"), user("r"), said("never judged")], "T", ["T"]),
    ],
)
def test_a_sample_ends_with_the_answer_that_was_judged(
    messages: list[Message], text: str, learnt: list[str]
) -> None:
    """Whatever the log holds beside it: the words that the verdict is about are the last."""
    sample = made(evidence(messages=messages, text=text))
    assert sample is not None
    assert sample.messages is not None
    assert sample.messages[0] == user("q")
    assert [turn.text() or "call" for turn in sample.messages[1:]] == learnt
    assert sample.response == text


def test_without_a_prompt_in_the_messages_the_instruction_is_the_prompt() -> None:
    """A conversation of the assistant's alone is asked for by the template."""
    record = evidence(messages=[said("Hello."), said("A")], text="A")
    sample = made(record)
    assert sample is not None
    assert sample.messages == [user(build_instruction(record)), *(record.messages or [])]


def test_an_answer_to_nothing_in_particular_is_no_sample() -> None:
    """A row that names neither a prompt nor a task nor a file asks nothing (F4)."""
    nameless = {"timestamp": lakes.NOW, "response": "42", "validators": {"v": True}}
    rows = [
        nameless,
        nameless | {"response": "43", "prompt": "Six times seven?"},
        nameless | {"response": "44", "task_id": "sums"},
        nameless | {"response": "45", "task_class": "sums"},
        nameless | {"response": "46", "file": "a"},
    ]
    store = lakes.distilled({"mode_experiments": rows})
    assert lakes.answers(store) == ["43", "44", "45", "46"]
    assert lakes.reasons(store) == {"mode_experiments:0": "not_instructable"}


def test_a_refusal_names_what_is_missing() -> None:
    """Not all that could be: a person mends the log by it."""
    rows: lakes.Rows = {
        "observer_reviews": [GOOD | {"review": ""}],
        "mode_experiments": [{"timestamp": lakes.NOW, "response": "42", "validators": {"v": True}}],
        "distilled_facts": [{"timestamp": lakes.NOW, "fact": "Oats float."}],
    }
    store = lakes.lake(rows)
    lakes.run(store)
    told = {row["source_file"][4:-6]: row["detail"] for row in lakes.loaded(store, REFUSED["sft"])}
    assert told["observer_reviews"][0].startswith("no answer: neither a text")
    assert told["mode_experiments"][0].startswith("nothing says what was asked")
    assert told["distilled_facts"][0].startswith("a log of extracted facts")


def test_ids_are_hashes_of_content() -> None:
    """The same run has the same id anywhere; parts cannot run into one another (R5)."""
    assert content_id("sft", "a", "bc") == content_id("sft", "a", "bc")
    assert content_id("sft", "a", "bc") != content_id("sft", "ab", "c")
    sample = sample_of(cleared(evidence(), "sft"))
    assert sample is not None
    assert sample.id == content_id("sft", "observer_reviews", "ab" * 32)
    assert sample.created_at == NOW


# --------------------------------------------------------------------------------- S2


class Counting(MemoryStore):
    """A store that counts how often each file is opened or read."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: dict[str, int] = {}

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        self.opened[path] = self.opened.get(path, 0) + 1
        return super().open(path, random=random)

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        self.opened[path] = self.opened.get(path, 0) + 1
        return super().read(path, start, end)


def test_evidence_is_loaded_by_run_id_and_read_once() -> None:
    """The cache is the caller's own; through it no evidence file is read twice (S2)."""
    store = Counting()
    twice = [GOOD | {"run_id": "r", "review": text} for text in "AB"]
    lakes.pour(store, {"observer_reviews": [*twice, GOOD]})
    lakes.run(store)
    (scored,) = lakes.scored_files(store)
    store.opened.clear()
    cache = EvidenceCache(store)
    runs = load_evidence_by_run_id(scored, cache)
    assert load_evidence_by_run_id(scored, cache) is runs
    assert [record.text for record in runs["r"]] == ["A", "B"]
    assert sum(map(len, runs.values())) == 3
    assert store.opened == {evidence_path_for(scored): 1}
    load_evidence_by_run_id(scored, EvidenceCache(store))
    assert store.opened == {evidence_path_for(scored): 2}


def test_an_export_reads_no_evidence_file_twice() -> None:
    """However many exports a run writes (S2)."""
    store = Counting()
    lakes.pour(store, {"observer_reviews": [GOOD, GOOD | {"review": "B", "task_id": "t"}]})
    lakes.run(store)
    store.opened.clear()
    lakes.export(store, include_partial=True, max_pairs=1)
    evidence_reads = [n for path, n in store.opened.items() if path.startswith("evidence/")]
    assert evidence_reads == [1]


def test_missing_evidence_is_no_runs_and_broken_evidence_an_error() -> None:
    """A missing file is an empty mapping; a bad line names its file."""
    store = MemoryStore()
    path = "scored-runs/2026/03/02/audits.jsonl"
    assert load_evidence_by_run_id(path, EvidenceCache(store)) == {}
    lakes.put(store, evidence_path_for(path), b"{}\n")
    with pytest.raises(RecordError, match=r"evidence/2026/03/02/audits\.jsonl"):
        load_evidence_by_run_id(path, EvidenceCache(store))


# ----------------------------------------------------------------------------- S3 to S7


@pytest.mark.parametrize(
    "path", ["_kb/audits.jsonl", "data/_kb/audits.jsonl", "audits.jsonl", "audits"]
)
def test_the_stem_of_a_source_file(path: str) -> None:
    """Both prefixes and the suffix go (S3)."""
    assert stem_from_source_file(path) == "audits"


BEGINNINGS = {
    "scrum_reviews": "Review the file 'a.py' against the PRD",
    "mode_experiments": "Run task_class='c' for file 'a.py'",
    "auto_apply": "Auto-apply: emit a 6-line surgical patch",
    "observer_reviews": "Observer-review the latest attempt",
    "outcomes": "Run scenario; report per-event outcome",
    "audit_facts": "Source 'audit_facts' run; produce the appropriate output",
    "nobody": "Source 'nobody' run; produce the appropriate output",
}


@pytest.mark.parametrize("stem", sorted(BEGINNINGS))
def test_templates_begin_as_the_specification_says(stem: str) -> None:
    """One for each source, and one for all others (S5)."""
    text = build_instruction(evidence(stem, metadata={"task_class": "c"}))
    assert text.startswith(BEGINNINGS[stem])


def test_prefixes_of_task_ids_are_stripped() -> None:
    """``phase:`` and ``permit:`` are not part of the name (S5)."""
    audit = build_instruction(evidence("audits", task_id="phase:P2"))
    assert audit.startswith("Audit phase 'P2':")
    assert "phase:P2" not in audit
    permit = build_instruction(evidence("contract_analyses", task_id="permit:77"))
    assert permit.startswith("Analyze permit '77'")
    assert "permit:77" not in permit


def test_the_contractor_reaches_the_instruction() -> None:
    """With one, and without (S6)."""
    named = evidence("contract_analyses", task_id="permit:7", metadata={"contractor": "Acme"})
    assert build_instruction(named).startswith("Analyze contractor 'Acme' for permit '7'")


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({}, ""),
        ({"retrieved_context": RetrievedContext()}, ""),
        ({"model_provider": "p"}, ""),
        ({"model_name": "m"}, "model: m"),
        ({"model_name": "m", "model_provider": "p"}, "model: m (p)"),
        (
            {"retrieved_context": RetrievedContext(matrix_corpora=["a", "b"])},
            "matrix corpora: a, b",
        ),
        (
            {
                "retrieved_context": RetrievedContext(
                    matrix_corpora=["a"], pathway_fingerprints_seen=["f", "g"], matrix_hits=2
                ),
                "model_name": "m",
            },
            "matrix corpora: a · pathways: f, g · model: m",
        ),
    ],
)
def test_the_context_joins_what_is_known(fields: dict[str, Any], context: str) -> None:
    """In a fixed order, and empty when nothing is known (S7)."""
    assert build_context(evidence(**fields)) == context


# --------------------------------------------------------------------------- S8 and S9


def test_the_export_holds_valid_samples_that_name_their_row() -> None:
    """One line a sample, in the order of the lake (S8)."""
    store = lakes.distilled({"observer_reviews": [GOOD, GOOD | {"review": "B"}]})
    lines = lakes.lines(store, SFT)
    samples = [decode(line, SftSample) for line in lines]
    assert [sample.response for sample in samples] == ["A", "B"]
    raw = lakes.lines(store, "_kb/observer_reviews.jsonl")
    for sample in samples:
        at = sample.provenance
        assert at.sig_hash == lakes.digest(raw[at.line_offset])


@pytest.mark.parametrize("where", ["memory", "local"])
def test_a_dry_run_writes_nothing(where: str, tmp_path: Path) -> None:
    """It says what would come of it, and leaves every file as it was (S8)."""
    store = MemoryStore() if where == "memory" else LocalStore(tmp_path / "lake", create=True)
    lakes.pour(store, {"observer_reviews": [GOOD, GOOD | {"verdict": "cycle", "review": "B"}]})
    lakes.run(store)
    before = lakes.files(store, "")
    report = lakes.export(store, "sft", dry_run=True, include_partial=True)
    assert report.dry_run
    assert report.exports["sft"]["sft"] == 2
    after = {path: data for path, data in lakes.files(store, "").items() if "lock" not in path}
    assert after == {path: data for path, data in before.items() if "lock" not in path}
    assert lakes.export(store, "sft", include_partial=True).exports == report.exports


@pytest.mark.parametrize(
    "spellings",
    [
        ("Caf\u00e9", "Cafe\u0301"),
        ("A", " A\n"),
        ("A", "A\u00a0"),
        ("\u212b", "\u00c5"),
    ],
)
def test_one_answer_is_kept_once_however_it_is_spelt(spellings: tuple[str, str]) -> None:
    """The rest is refused as a duplicate that names the one kept (S9)."""
    rows = [GOOD | {"review": text, "run_id": str(n)} for n, text in enumerate(spellings)]
    store = lakes.distilled({"observer_reviews": rows})
    assert lakes.answers(store) == [spellings[0]]
    (refused,) = lakes.loaded(store, lakes.REFUSED["sft"])
    assert (refused["reason"], refused["line_offset"]) == ("duplicate", 1)
    assert refused["other"] == "_kb/observer_reviews.jsonl:1"


def test_other_words_are_other_answers() -> None:
    """Case, inner blanks and punctuation count; so does the prompt (S9)."""
    texts = ["A b", "a b", "A  b", "A b."]
    rows = [GOOD | {"review": text} for text in texts] + [GOOD | {"review": "A b", "prompt": "P"}]
    store = lakes.distilled({"observer_reviews": rows})
    assert sorted(lakes.answers(store)) == sorted([*texts, "A b"])


def test_the_best_verdict_is_kept_of_equal_answers() -> None:
    """A partial answer that was accepted elsewhere gives way, wherever it stands."""
    half = GOOD | {"verdict": "cycle"}
    store = lakes.distilled({"audits": [], "observer_reviews": [half, GOOD]}, include_partial=True)
    (row,) = lakes.loaded(store, SFT)
    assert row["category"] == "accepted"


@pytest.mark.parametrize("other", [{"role": "extractor"}, {"verdict": "cycle"}])
def test_what_may_not_train_keeps_no_place_that_an_equal_could_have(other: dict[str, Any]) -> None:
    """Of equal answers the first that may be a sample is one, and a pair's side too (S9, P1)."""
    good = GOOD | {"task_id": "t"}
    bad = good | {"verdict": "reject", "review": "B"}
    store = lakes.distilled({"observer_reviews": [good | other, good, bad]})
    assert lakes.answers(store) == ["A"]
    assert len(lakes.lines(store, lakes.PAIRS)) == 1


# --------------------------------------------------- the content firewall, case by case

BAD = {"ts": AT, "overall": "block", "summary": "A", "prompt": "Q"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
OTHER_CALL = {"id": "2", "function": {"name": "f", "arguments": {"a": 1}}}


def talk(call: Any) -> dict[str, Any]:
    """A conversation with one tool call."""
    return {
        "messages": [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "r", "tool_call_id": call["id"]},
            {"role": "assistant", "content": "A"},
        ]
    }


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({}, {}),
        ({}, {"prompt": None, "messages": [{"role": "user", "content": " Q "}]}),
        ({}, {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}]}),
        (
            {"messages": [{"role": "system", "content": "S"}]},
            {
                "messages": [
                    {"role": "developer", "content": "S"},
                    {"role": "user", "content": "Q"},
                ]
            },
        ),
        (
            {},
            {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "x"}]},
        ),
        ({"prompt": "Re\u0301"}, {"prompt": "R\u00e9"}),
        ({"review": "Caf\u00e9 "}, {"summary": "Cafe\u0301"}),
        ({}, {"task_id": "another task"}),
        (talk(CALL), talk(OTHER_CALL)),
        ({}, {"overall": "approve", "human_override": "reject"}),
        ({}, {"overall": "no such word"}),
        ({}, {"role": "extractor"}),
    ],
)
def test_an_answer_refused_anywhere_does_not_train_through_another_row(
    good: dict[str, Any], bad: dict[str, Any]
) -> None:
    """Whatever source, task or spelling it comes in (F5); both rows are named."""
    rows = {"observer_reviews": [GOOD | good], "audits": [BAD | bad]}
    store = lakes.distilled(rows)
    assert lakes.answers(store) == []
    (refused,) = [
        row
        for row in lakes.loaded(store, lakes.REFUSED["sft"])
        if row["source_file"] == "_kb/observer_reviews.jsonl"
    ]
    assert refused["reason"] == "conflicting_verdict"
    assert refused["other"] == "_kb/audits.jsonl:1"
    assert not any(row["label"] for row in lakes.loaded(store, lakes.UNPAIRED))


@pytest.mark.parametrize(
    ("stem", "other"),
    [
        ("audits", {"prompt": "Another"}),
        ("audits", {"summary": "Another"}),
        ("audits", {"messages": [{"role": "system", "content": "S"}]}),
        ("distilled_facts", {"fact": "A"}),
        ("distilled_facts", {"fact": "A", "human_override": "needs_review"}),
    ],
)
def test_what_is_another_answer_or_no_verdict_speaks_against_nothing(
    stem: str, other: dict[str, Any]
) -> None:
    """Another prompt or answer; extraction that merely awaits a person (F5)."""
    store = lakes.distilled({"observer_reviews": [GOOD], stem: [BAD | other]})
    assert lakes.answers(store) == ["A"]


def test_extraction_that_a_person_rejected_does_speak() -> None:
    """`rejected` anywhere in the lake, the extraction class among it (F5)."""
    bad = {"ts": AT, "fact": "A", "prompt": "Q", "human_override": "reject"}
    store = lakes.distilled({"observer_reviews": [GOOD], "distilled_facts": [bad]})
    assert lakes.answers(store) == []


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": ""}, {"role": "assistant", "content": "A"}],
        [{"role": "user"}, {"role": "assistant", "content": "A"}],
        [{"role": "user", "content": []}, {"role": "assistant", "content": "A"}],
        [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": " "},
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": ""},
        ],
    ],
)
def test_a_side_without_words_is_refused_and_no_crash(messages: list[Any]) -> None:
    """A conversation of which one side is empty is no answer to a task (R5, gate 10)."""
    row = {"ts": AT, "verdict": "accept", "messages": messages, "review": "A"}
    store = lakes.distilled({"observer_reviews": [row]})
    for kind in ("sft", "preference"):
        assert lakes.reasons(store, kind) == {"observer_reviews:0": "not_instructable"}


@pytest.mark.parametrize(
    "arguments", [{"n": 10**30}, "not JSON", "", None, "[" * 5000, '{"n": 1e400}', "\u00e9"]
)
def test_arguments_may_be_anything(arguments: Any) -> None:
    """Integers of any size, text that is no JSON, nothing: no crash, and one sample."""
    call = {"id": "1", "function": {"name": "f", "arguments": arguments}}
    store = lakes.distilled({"observer_reviews": [GOOD | talk(call) | {"prompt": None}]})
    assert len(lakes.answers(store)) == 1


def test_no_arguments_are_empty_ones() -> None:
    """Nothing, null, blanks and ``{}`` are one call, as they are one row to a trainer."""
    rows = [
        GOOD | talk({"id": "1", "function": {"name": "f", "arguments": given}}) | {"n": n}
        for n, given in enumerate[Any]([None, "", " ", "{}", {}])
    ]
    store = lakes.distilled({"observer_reviews": rows})
    assert len(lakes.answers(store)) == 1


def test_images_are_part_of_the_prompt_and_keep_a_row_out() -> None:
    """Text alone trains; another picture is another prompt."""
    rows = [
        GOOD
        | {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": u}}]}
            ]
        }
        for u in "ab"
    ]
    store = lakes.distilled({"observer_reviews": rows})
    assert set(lakes.reasons(store).values()) == {"not_instructable"}
    assert len(lakes.loaded(store, lakes.RAG)) == 2


def test_a_system_prompt_alone_is_a_prompt() -> None:
    """Of messages without a user's turn what comes before the answer is the prompt."""
    messages = [{"role": "system", "content": "S"}, {"role": "assistant", "content": "A"}]
    row = {"ts": AT, "verdict": "accept", "messages": messages}
    store = lakes.distilled({"observer_reviews": [row]})
    assert lakes.loaded(store, SFT)[0]["messages"] == messages


def test_every_source_has_a_template_that_says_something() -> None:
    """An instruction is never empty, whatever the row lacks (R5)."""
    for stem in SOURCES:
        assert build_instruction(evidence(stem, source_files=[], metadata={})).strip()
    assert Message(role="user").text() == ""


@pytest.mark.parametrize(
    "category", ["REJECTED", " rejected ", "Needs_Human_Review", "splendid", ""]
)
def test_no_spelling_of_a_category_makes_a_sample(category: str) -> None:
    """Only what is exactly accepted or partially accepted becomes a sample (SPEC F6)."""
    run = joined(evidence())
    odd = msgspec.structs.replace(run.scored, category=cast(Any, category))
    assert synthesize_sft(run.scored, run.evidence, NOW, "sft-1") is not None
    assert synthesize_sft(odd, run.evidence, NOW, "sft-1") is None
