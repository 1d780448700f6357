"""The sixteen gates: a lake on which they hold, and for each gate faults that turn it red,
and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillhouse.acceptance import AcceptReport
from stillhouse.acceptance.table import GATES
from stillhouse.interfaces import Store
from tests.acceptance.planting import (
    PAIRS,
    RAG,
    SFT,
    UNPAIRED,
    Plant,
    Row,
    Run,
    append,
    by_files_alone,
    change,
    copy_of,
    drop,
    edit_evidence,
    judged,
    line,
    reissue,
    write,
)
from tests.exports.lakes import distilled, lines, loaded, paths, put

DAY = "2026-03-02"
TRAIN = "distilled/dataset/sft/train-00000-of-00001.jsonl"


def scrum(number: int, attempt: int, **fields: Any) -> Row:
    """A review of a file of its own."""
    return {
        "timestamp": f"{DAY}T10:00:{number:02d}Z",
        "file": f"src/part_{number}.py",
        "accepted_on_attempt": attempt,
        "review": f"Part {number} keeps the contract, and its tests cover it.",
        **fields,
    }


def told(number: int, asked: str, answer: str, good: bool, **fields: Any) -> Row:
    """An answer that validators passed, or not, to a question."""
    return {
        "timestamp": f"{DAY}T11:00:{number:02d}Z",
        "run_id": f"told-{number}",
        "task_id": f"ask:{asked}",
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answer},
        ],
        "validators": {"checked": good},
        **fields,
    }


CALL = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"at": "H"}'}}
CHAT: Row = {
    "timestamp": f"{DAY}T12:00:00Z",
    "scenario": "tide",
    "events": [{"name": "looked up", "ok": True}],
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "When is high water in H?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "04:12"},
        {"role": "assistant", "content": "At 04:12."},
    ],
    "tools": [{"type": "function", "function": {"name": "tide", "parameters": {}}}],
    "report": "At 04:12.",
}

ANOTHER_CALL = {**CALL, "function": {"name": "tide", "arguments": '{"at": "K"}'}}
SAME_END: Row = {
    **CHAT,
    "timestamp": f"{DAY}T12:00:01Z",
    "events": [{"name": "looked up", "ok": False}],
    "messages": [
        *CHAT["messages"][:2],
        {"role": "assistant", "content": None, "tool_calls": [ANOTHER_CALL]},
        *CHAT["messages"][3:],
    ],
}
"""Rejected, and another conversation, though it ends in the same words."""

TOLD: Row = {
    **CHAT,
    "timestamp": f"{DAY}T12:00:02Z",
    "messages": [CHAT["messages"][0], {"role": "user", "content": "And low water?"}],
    "report": "At 10:20.",
    "events": [{"name": "looked up", "ok": False}],
}
LOOKED_UP: Row = {
    **CHAT,
    "timestamp": f"{DAY}T12:00:03Z",
    "messages": [
        *TOLD["messages"],
        *CHAT["messages"][2:4],
        {"role": "assistant", "content": "At 10:20."},
    ],
    "report": "At 10:20.",
}
"""Accepted, and it ends in the words of a plain answer to the same prompt that was rejected."""

ROWS: dict[str, list[Row | bytes]] = {
    "scrum_reviews": [
        scrum(0, 1),
        scrum(1, 1),
        scrum(2, 2),  # partially accepted
        scrum(3, 4),  # needs human review
        scrum(4, 1, role="extractor"),
        b"no JSON at all",
        scrum(5, 1, review="Ein Schlüssel: AKIA" + "KERBSIDEDEMO" + "2026 liegt offen."),
    ],
    "mode_experiments": [
        told(0, "How many metres are 3.2 km?", "3200 m", True),
        told(1, "How many metres are 3.2 km?", "320 m", False),
        told(2, "How many feet are 2 m?", "6.56 ft", True),
        told(3, "How many feet are 2 m?", "6.1 ft", False),
        told(4, "Is 91 prime?", "No, 7 · 13.", True),
        told(5, "Is 91 prime?", "No, 7 · 13.", False),  # the same answer, rejected
        told(6, "Is 97 prime?", "No.", False),
        told(7, "Is 97 prime?", "Yes.", True, task_id="ask:somebody else"),
        told(8, "Is 2 even?", "It is.", True),
        told(9, "Is 2 even?", "It is.", False, validators={}),  # the same answer, not judged
        told(10, "Where do we meet?", "In the Caf\u00e9.", True),
        told(11, "Where do we meet?", " In the Cafe\u0301.\n", False),  # the same, decomposed
    ],
    "distilled_facts": [
        {"timestamp": f"{DAY}T13:00:00Z", "fact": "High water is at 04:12."},
        {
            "timestamp": f"{DAY}T13:00:01Z",
            "fact": "Low water is at 10:20.",
            "human_override": "accept",
        },
        # What is only extracted has no verdict that could speak against an answer.
        {**told(12, "How many feet are 2 m?", "6.56 ft", True), "fact": "6.56 ft"},
    ],
    "outcomes": [CHAT, SAME_END, TOLD, LOOKED_UP],
}
"""A lake that has something of everything, small enough to be read here."""


@pytest.fixture(scope="module")
def clean() -> Store:
    """That lake, run once. Nobody writes into it: what is planted goes into copies."""
    return distilled(ROWS)


def red(report: AcceptReport) -> list[int]:
    """The gates that are red, among 1 to 13."""
    return [gate.number for gate in report.gates if gate.verdict == "red"]


def offences(report: AcceptReport, number: int) -> list[str]:
    """What a gate has found: where, and what."""
    (gate,) = (gate for gate in report.gates if gate.number == number)
    return [f"{one.path}:{one.line} {one.detail}" for one in gate.offences]


# ------------------------------------------------------------------------------ planting

FAULTS: dict[str, tuple[int, Plant, str]] = {}
"""Name → the gate that must be red, how it is planted, and a part of what is said of it."""


def fault(gate: int, said: str) -> Any:
    """Register a planted fault under its function's name."""

    def register(plant: Plant) -> Plant:
        FAULTS[plant.__name__] = (gate, plant, said)
        return plant

    return register


@fault(1, "_kb/scrum_reviews.jsonl:8 is neither evidence nor in quarantine; `stillhouse run`")
def a_row_that_nobody_read(store: Store) -> None:
    put(store, "_kb/scrum_reviews.jsonl", store.read("_kb/scrum_reviews.jsonl") + line(scrum(9, 1)))


@fault(1, "_kb/scrum_reviews.jsonl:6 is neither evidence nor in quarantine")
def a_refusal_that_is_gone(store: Store) -> None:
    drop(store, "quarantine/evidence/scrum_reviews.jsonl", 0)


@fault(1, "the raw line that it refuses is not there")
def a_refusal_of_no_line(store: Store) -> None:
    path = "quarantine/evidence/scrum_reviews.jsonl"
    append(store, path, line({**loaded(store, path)[0], "line_offset": 40}))


@fault(1, "is neither evidence nor in quarantine")
def an_evidence_file_cut_short(store: Store) -> None:
    run = Run(store, "scrum_reviews", 6)
    drop(store, run.evidence, run.at)


@fault(1, "stands more than once in the evidence or in quarantine")
def evidence_that_stands_twice(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    append(store, run.evidence, lines(store, run.evidence)[run.at])


@fault(1, "is neither in the sft export nor refused there")
def a_sample_that_is_gone(store: Store) -> None:
    drop(store, SFT, 0)


@fault(1, "is in the sft export and its refusals more than once")
def a_sample_that_stands_twice(store: Store) -> None:
    append(store, SFT, lines(store, SFT)[0])


@fault(1, "is neither in the rag export nor refused there")
def a_chunk_that_is_gone(store: Store) -> None:
    drop(store, RAG, 0)


@fault(1, "is neither in the preference export nor refused there")
def a_pair_that_is_gone(store: Store) -> None:
    drop(store, PAIRS, 0)


@fault(2, "cost_usd: is negative")
def evidence_with_a_negative_cost(store: Store) -> None:
    edit_evidence(store, Run(store, "scrum_reviews", 0), cost_usd=-1.5)


@fault(2, "line_offset: ")
def a_refusal_before_the_first_line(store: Store) -> None:
    path = "quarantine/sft/sft.jsonl"
    append(store, path, line({**loaded(store, path)[0], "line_offset": -1}))


@fault(2, "stands more than once in one object")
def a_key_that_stands_twice(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    rows = lines(store, run.scored)
    rows[run.at] = rows[run.at].replace(b'{"schema', b'{"category":"rejected","schema', 1)
    write(store, run.scored, rows)


@fault(2, "content: is not always a string")
def dataset_content_that_is_null(store: Store) -> None:
    row = loaded(store, TRAIN)[0]
    row["messages"][0]["content"] = None
    write(store, TRAIN, [line(row), *lines(store, TRAIN)[1:]])


@fault(2, "has no line in the lineage")
def a_dataset_row_without_lineage(store: Store) -> None:
    drop(store, "distilled/dataset/sft/train-lineage.jsonl", -1)


@fault(2, "metrics")
def a_baseline_that_is_no_number(store: Store) -> None:
    put(
        store,
        "_kb/audit_baselines.jsonl",
        b'{"recorded_at":"2026-04-01T00:00:00Z","metrics":"x"}\n',
    )


@fault(2, "is not JSON")
def a_torn_line(store: Store) -> None:
    put(store, RAG, store.read(RAG)[:-40])


@fault(3, "the raw line that it names is not there, or has another hash")
def raw_lines_that_were_swapped(store: Store) -> None:
    first, second, *rest = lines(store, "_kb/mode_experiments.jsonl")
    write(store, "_kb/mode_experiments.jsonl", [second, first, *rest])


@fault(3, "the raw line that it names is not there, or has another hash")
def evidence_with_a_forged_hash(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    origin = {**run.record["provenance"], "sig_hash": "ab" * 32}
    edit_evidence(store, run, provenance=origin)


@fault(3, "the raw line that it names is not there, or has another hash")
def evidence_of_another_line(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    edit_evidence(store, run, provenance={**run.record["provenance"], "line_offset": 3})


@fault(4, "no scored run names this line by its hash")
def a_scored_run_that_is_gone(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    drop(store, run.scored, run.at)


@fault(4, "more than one scored run names it")
def two_verdicts_on_one_record(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    append(store, run.scored, lines(store, run.scored)[run.at])


@fault(4, "the evidence that it scores, by hash and raw line, is not there")
def a_verdict_on_no_record(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    change(store, run.scored, run.at, sig_hash="cd" * 32)


@fault(5, "its category 'Accepted' is none of accepted")
def an_unknown_category(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    change(store, run.scored, run.at, category="Accepted")


@fault(5, "it gives no reason")
def a_verdict_without_reasons(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    change(store, run.scored, run.at, reasons=[])


@fault(5, "it does not say which scorer gave it")
def a_verdict_of_no_scorer(store: Store) -> None:
    run = Run(store, "scrum_reviews", 0)
    change(store, run.scored, run.at, scorer_version=" ")


@fault(6, "a sample whose evidence is rejected, and never trains")
def a_rejected_row_relabelled(store: Store) -> None:
    append(store, SFT, Run(store, "mode_experiments", 6).sample())


@fault(6, "a sample whose evidence is rejected, and never trains")
def a_rejected_row_relabelled_in_its_scored_run(store: Store) -> None:
    run = Run(store, "mode_experiments", 6)
    change(store, run.scored, run.at, category="accepted")
    append(store, SFT, run.sample())


@fault(6, "a sample whose evidence is rejected, and never trains")
def a_verdict_that_was_turned(store: Store) -> None:
    run = Run(store, "mode_experiments", 0)
    change(store, run.scored, run.at, category="rejected")


@fault(6, "a sample whose evidence is needs_human_review, and never trains")
def a_row_that_awaits_review(store: Store) -> None:
    append(store, SFT, Run(store, "scrum_reviews", 3).sample())


@fault(6, "a sample whose evidence is rejected, and never trains")
def a_rejected_row_in_the_dataset(store: Store) -> None:
    run = Run(store, "mode_experiments", 6)
    append(store, TRAIN, line({"messages": run.record["messages"], "tools": None}))
    origin = {
        "source": "mode_experiments",
        "run_id": "told-6",
        "category": "accepted",
        **{
            name: run.record["provenance"][name]
            for name in ("source_file", "line_offset", "sig_hash")
        },
    }
    row = {
        "id": "sft-1",
        "task_id": run.record["task_id"],
        "origins": [origin],
        "context": "",
        "reason": "",
    }
    append(store, "distilled/dataset/sft/train-lineage.jsonl", line(row))


@fault(7, "the same answer to the same prompt is rejected in _kb/mode_experiments.jsonl:6")
def an_answer_that_is_rejected_elsewhere(store: Store) -> None:
    append(store, SFT, Run(store, "mode_experiments", 4).sample())


@fault(7, "the same answer to the same prompt is needs_human_review in _kb/mode_experiments.jsonl")
def an_answer_that_awaits_review_elsewhere(store: Store) -> None:
    append(store, SFT, Run(store, "mode_experiments", 8).sample())


@fault(7, "the same answer to the same prompt is rejected in _kb/mode_experiments.jsonl:12")
def an_answer_that_is_rejected_in_other_bytes_elsewhere(store: Store) -> None:
    append(store, SFT, Run(store, "mode_experiments", 10).sample())


@fault(7, "the same answer to the same prompt is rejected in _kb/outcomes.jsonl:3")
def a_conversation_that_ends_in_words_rejected_elsewhere(store: Store) -> None:
    append(store, SFT, Run(store, "outcomes", 3).sample())


@fault(7, "the same answer to the same prompt is rejected in _kb/mode_experiments.jsonl:6")
def a_true_label_that_is_false_elsewhere(store: Store) -> None:
    run = Run(store, "mode_experiments", 4)
    row = {
        "schema_version": 1,
        "id": "answer-1",
        "task_id": run.record["task_id"],
        "prompt": run.record["messages"][:1],
        "completion": run.record["messages"][1:],
        "label": True,
        "source_run_id": "told-4",
        "category": "accepted",
        "created_at": "2026-04-01T00:00:00Z",
        "provenance": run.record["provenance"],
    }
    append(store, UNPAIRED, line(row))


@fault(8, "partially accepted, and its receipt does not say include_partial")
def a_partial_sample_that_nobody_asked_for(store: Store) -> None:
    append(store, SFT, _instructed(store, Run(store, "scrum_reviews", 2), "partially_accepted"))


@fault(9, "its evidence only extracts")
def a_sample_of_an_extractor(store: Store) -> None:
    append(store, SFT, _instructed(store, Run(store, "scrum_reviews", 4), "accepted"))


@fault(9, "its evidence only extracts")
def a_sample_of_extracted_facts(store: Store) -> None:
    append(store, SFT, Run(store, "distilled_facts", 1).sample())


@fault(10, "response is empty")
def a_response_of_blanks(store: Store) -> None:
    change(store, SFT, 0, response=" \n")


@fault(10, "instruction is empty")
def an_instruction_of_blanks(store: Store) -> None:
    change(store, SFT, 0, instruction="")


@fault(10, "rejected is empty")
def a_rejected_side_without_words(store: Store) -> None:
    change(store, PAIRS, 0, rejected=[{"role": "assistant", "content": ""}])


@fault(10, "chunk is empty")
def a_chunk_without_words(store: Store) -> None:
    change(store, RAG, 0, text=" ")


@fault(10, "answer is empty")
def a_dataset_row_without_an_answer(store: Store) -> None:
    row = loaded(store, TRAIN)[0]
    row["messages"][-1]["content"] = ""
    rows = lines(store, TRAIN)
    write(store, TRAIN, [line(row), *rows[1:]])


@fault(11, "both sides say the same")
def a_pair_of_one_answer(store: Store) -> None:
    row = loaded(store, PAIRS)[0]
    change(store, PAIRS, 0, rejected=row["chosen"])


@fault(11, "the evidence of its chosen side does not rank above that of the other")
def a_pair_the_wrong_way_round(store: Store) -> None:
    row = loaded(store, PAIRS)[0]
    other = {"chosen": "rejected", "rejected": "chosen"}
    turned = {f"{other[side]}{name}": row[f"{side}{name}"]
              for side in other for name in ("", "_run_id")}  # fmt: skip
    origins = {"provenance": row["rejected_provenance"], "rejected_provenance": row["provenance"]}
    change(store, PAIRS, 0, **turned, **origins)


@fault(11, "its sides answer different prompts")
def a_pair_of_two_prompts(store: Store) -> None:
    row, side = loaded(store, PAIRS)[0], Run(store, "mode_experiments", 6).side()
    other = {
        "id": "pair-1",
        "rejected": side["answer"],
        "rejected_run_id": side["run_id"],
        "rejected_provenance": side["provenance"],
    }
    append(store, PAIRS, line({**row, **other}))


@fault(11, "its sides are of different tasks")
def a_pair_of_two_tasks(store: Store) -> None:
    one, other = Run(store, "mode_experiments", 7), Run(store, "mode_experiments", 6)
    sides = {
        "id": "pair-1",
        "task_id": one.record["task_id"],
        "prompt": one.record["messages"][:1],
        "chosen": one.side()["answer"],
        "rejected": other.side()["answer"],
        "chosen_run_id": one.record["run_id"],
        "rejected_run_id": other.record["run_id"],
        "provenance": one.record["provenance"],
        "rejected_provenance": other.record["provenance"],
    }
    append(store, PAIRS, line({**loaded(store, PAIRS)[0], **sides}))


@fault(12, "no evidence comes of the raw line, by place and hash, that it names")
def a_sample_with_a_forged_hash(store: Store) -> None:
    row = loaded(store, SFT)[0]
    change(store, SFT, 0, provenance={**row["provenance"], "sig_hash": "ef" * 32})


@fault(12, "its evidence says something else")
def a_poisoned_response(store: Store) -> None:
    change(store, SFT, 0, response="Send the keys to the address below.")


@fault(12, "its evidence says something else")
def a_poisoned_dataset_row(store: Store) -> None:
    row = loaded(store, TRAIN)[0]
    row["messages"][-1]["content"] = "Send the keys to the address below."
    write(store, TRAIN, [line(row), *lines(store, TRAIN)[1:]])


@fault(12, "its scored run has another category")
def a_chunk_of_another_category(store: Store) -> None:
    row = loaded(store, RAG)[0]
    other = "partially_accepted" if row["category"] == "accepted" else "accepted"
    change(store, RAG, 0, category=other)


@fault(12, "its evidence is of another task")
def a_chunk_of_another_task(store: Store) -> None:
    change(store, RAG, 0, task_id="ask:something")


def _instructed(store: Store, run: Run, category: str) -> bytes:
    """A sample of a review, whose prompt is the instruction of its source."""
    known = next(row["instruction"] for row in loaded(store, SFT) if "part_0" in row["instruction"])
    number = run.record["provenance"]["line_offset"]
    return run.sample(instruction=known.replace("part_0", f"part_{number}"), category=category)


# -------------------------------------------------------------------------------- tests


def test_all_hold_on_a_sound_lake(clean: Store, tmp_path: Path) -> None:
    """Every gate says ok, has looked at something, and has nothing to say."""
    report = judged(copy_of(clean), tmp_path)
    assert [(gate.number, gate.verdict) for gate in report.gates] == [
        (gate.number, "ok") for gate in GATES
    ]
    assert all(gate.checked and not gate.failures and not gate.detail for gate in report.gates)
    assert report.ok
    assert report.passed == len(GATES)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_turns_its_gate_red(clean: Store, tmp_path: Path, name: str) -> None:
    """That gate, and no other, though every receipt was made to fit the forged files."""
    gate, plant, said = FAULTS[name]
    store = copy_of(clean)
    plant(store)
    if name not in UNRECEIPTED:
        reissue(store)
    report = judged(store, tmp_path)
    found = offences(report, gate)
    assert red(report) == [gate], {one: offences(report, one) for one in red(report)}
    assert any(said in one for one in found), found
    assert not report.ok


# ----------------------------------------------------------------------- plain tampering


def _flip(store: Store, path: str) -> None:
    data = bytearray(store.read(path))
    data[len(data) // 2] ^= 1
    put(store, path, bytes(data))


RECEIPT = "receipts/sft"

TAMPERED: dict[str, Plant] = {
    "a byte of the card": lambda store: _flip(store, "distilled/dataset/README.md"),
    "a file that nobody wrote": lambda store: put(store, "distilled/new.md", b"here"),
    "a card that is gone": lambda store: store.delete("distilled/dataset/README.md"),
    "a receipt": lambda store: _flip(store, paths(store, RECEIPT)[0]),
    "a receipt that is gone": lambda store: store.delete(paths(store, RECEIPT)[0]),
}

UNRECEIPTED = {"a_row_that_nobody_read", "a_baseline_that_is_no_number"}
"""Faults in files that are not receipted, or not so far."""

ELSEWHERE_TOO = {"a_rejected_row_relabelled_in_its_scored_run", "a_verdict_that_was_turned"}
"""Faults that show in the rows of another file than was edited."""


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_file_turns_the_gate_of_receipts_red(
    clean: Store, tmp_path: Path, name: str
) -> None:
    """Where no row tells what is wrong, the receipts do."""
    store = copy_of(clean)
    TAMPERED[name](store)
    report = by_files_alone(store, tmp_path)
    assert red(report) == [13], {one: offences(report, one) for one in red(report)}


@pytest.mark.parametrize("name", FAULTS)
def test_of_a_tampered_row_its_own_gate_tells(clean: Store, tmp_path: Path, name: str) -> None:
    """Without new receipts the gate of the rows is red all the same, and that of the receipts is
    blocked: it names the file, and does not hold."""
    gate, plant, _ = FAULTS[name]
    store = copy_of(clean)
    plant(store)
    report = by_files_alone(store, tmp_path)
    tells = [gate, 13] if name in ELSEWHERE_TOO else [gate]
    assert red(report) == tells, {one: offences(report, one) for one in red(report)}
    receipted = next(one for one in report.gates if one.number == 13)
    if name not in UNRECEIPTED | ELSEWHERE_TOO:
        assert receipted.verdict == "blocked"
        assert f"it rests on what gate {gate} found" in receipted.detail
        assert receipted.offences


def test_two_faults_turn_two_gates_red(clean: Store, tmp_path: Path) -> None:
    """What is charged to one gate hides no other fault, not even in the same file."""
    store = copy_of(clean)
    a_rejected_row_relabelled(store)
    a_poisoned_response(store)
    _flip(store, "distilled/dataset/README.md")
    reported = by_files_alone(store, tmp_path)
    assert red(reported) == [6, 12, 13]


def test_a_lake_without_its_raw_log_does_not_hold(clean: Store, tmp_path: Path) -> None:
    """Nothing is anchored then, and what rests on it is blocked, not ok."""
    store = copy_of(clean)
    store.delete("_kb/mode_experiments.jsonl")
    report = by_files_alone(store, tmp_path)
    verdicts = {gate.number: gate.verdict for gate in report.gates}
    assert (verdicts[3], verdicts[12]) == ("red", "blocked")
    assert not report.ok
