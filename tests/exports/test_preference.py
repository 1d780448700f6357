"""Preference pairs and single labelled answers (P1)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from stillhouse.exports.preference import pair_of, unpaired_of
from stillhouse.records import PreferenceSample, UnpairedSample, decode
from tests.exports import lakes
from tests.exports.lakes import NOW, PAIRS, UNPAIRED, Row
from tests.exports.made import cleared, evidence, said, user

AT = "2026-03-02T09:00:00Z"
VERDICT = {"+": "accept", "o": "cycle", "-": "reject", "?": "who knows"}


def answered(*runs: str, **fields: Any) -> list[Row]:
    """Rows of one prompt and task; ``"+yes"`` is the accepted answer "yes"."""
    return [
        {"ts": AT, "task_id": "t", "prompt": "Q", "verdict": VERDICT[run[0]], "review": run[1:]}
        | fields
        for run in runs
    ]


def pairs(*runs: Row, **options: Any) -> list[tuple[str, str]]:
    """The (chosen, rejected) texts of a lake of these rows."""
    store = lakes.distilled({"observer_reviews": list(runs)}, **options)
    return [
        (row["chosen"][-1]["content"], row["rejected"][-1]["content"])
        for row in lakes.loaded(store, PAIRS)
    ]


def singles(*runs: Row, **options: Any) -> list[tuple[str, bool]]:
    """The (text, label) of the unpaired export."""
    store = lakes.distilled({"observer_reviews": list(runs)}, **options)
    return [
        (row["completion"][-1]["content"], row["label"]) for row in lakes.loaded(store, UNPAIRED)
    ]


# --------------------------------------------------------------------------- the records


def test_a_pair_names_both_its_sides_and_says_why() -> None:
    """Ids, categories, provenance, and the reason of each verdict."""
    good = evidence(text="yes", run_id="g", tools=[{"name": "f"}])
    bad = evidence(text="no", run_id="b", observer_verdict="reject", tools=[{"name": "f"}])
    pair = pair_of(cleared(good, "chosen"), cleared(bad, "rejected"))
    assert pair.problems() == []
    assert (pair.chosen, pair.rejected) == ([said("yes")], [said("no")])
    assert (pair.chosen_run_id, pair.rejected_run_id) == ("g", "b")
    assert (pair.chosen_category, pair.rejected_category) == ("accepted", "rejected")
    assert pair.pair_reason == (
        "accepted over rejected: observer verdict is 'accept'; "
        "against: observer verdict is 'reject'"
    )
    assert (pair.provenance, pair.rejected_provenance) == (good.provenance, bad.provenance)
    assert (pair.created_at, pair.tools) == (NOW, [{"name": "f"}])


def test_runs_that_were_given_other_tools_are_no_pair() -> None:
    """The tools are part of what was asked: a call of one that was not there is no fair match."""
    tools = [{"type": "function", "function": {"name": "look"}}]
    rows = [*answered("+a", tools=tools), *answered("-b")]
    store = lakes.distilled({"observer_reviews": rows})
    assert lakes.lines(store, PAIRS) == []
    assert len(lakes.lines(store, UNPAIRED)) == 2
    rows = [*answered("+a", tools=tools), *answered("-b", tools=tools)]
    store = lakes.distilled({"observer_reviews": rows})
    assert len(lakes.lines(store, PAIRS)) == 1


def test_the_same_answer_stands_once_among_the_unpaired() -> None:
    """Also when two tasks ask the same; the refusal names the one that is kept (S9)."""
    rows = [*answered("+a", task_id="s"), *answered("+a", task_id="t")]
    store = lakes.distilled({"observer_reviews": rows})
    assert len(lakes.lines(store, UNPAIRED)) == 1
    (row,) = lakes.loaded(store, lakes.REFUSED["preference"])
    assert (row["reason"], row["line_offset"]) == ("duplicate", 1)
    assert row["other"] == "_kb/observer_reviews.jsonl:1"


def test_a_repeated_side_names_the_one_that_is_kept() -> None:
    """An answer given twice to one task stands in its pairs once."""
    store = lakes.distilled({"observer_reviews": answered("+a", "+a ", "-b")})
    (row,) = lakes.loaded(store, lakes.REFUSED["preference"])
    assert (row["reason"], row["line_offset"]) == ("duplicate", 1)
    assert row["other"] == "_kb/observer_reviews.jsonl:1"


def test_a_single_answer_is_true_when_accepted_and_false_when_rejected() -> None:
    """The label follows the category."""
    for verdict, label in (("accept", True), ("reject", False)):
        record = evidence(observer_verdict=verdict, messages=[user("Q")])
        sample = unpaired_of(cleared(record, "unpaired"))
        assert sample.problems() == []
        assert (sample.label, sample.prompt) == (label, [user("Q")])
        assert sample.completion == [said("All is well.")]


# ----------------------------------------------------------------------------- the export


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (["+a", "-b"], [("a", "b")]),
        (["+a", "ob"], [("a", "b")]),
        (["oa", "-b"], [("a", "b")]),
        (["+a", "+b"], []),
        (["oa", "ob"], []),
        (["-a", "-b"], []),
        (["?a", "-b"], []),
        (["+a", "?b"], []),
        (["+a"], []),
        (["+a", "-a"], []),
        (["+a", "-a "], []),
        (["+a", "oa"], []),
        (["+a", "ob", "-c"], [("a", "c"), ("a", "b"), ("b", "c")]),
        (["+a", "+b", "-c"], [("a", "c"), ("b", "c")]),
    ],
)
def test_pairs_are_of_differing_rank(runs: list[str], expected: list[tuple[str, str]]) -> None:
    """A tie is none, what awaits a person takes no part, text is never made up."""
    assert sorted(pairs(*answered(*runs))) == sorted(expected)


@pytest.mark.parametrize(
    "other",
    [
        {"task_id": "u"},
        {"prompt": "P"},
        {"prompt": None, "messages": [{"role": "system", "content": "S"}]},
        {"role": "extractor"},
    ],
)
def test_a_pair_is_of_one_task_and_one_prompt(other: Row) -> None:
    """What differs in either, or answers no task, is no partner."""
    assert pairs(*answered("+a"), *answered("-b", **other)) == []


def test_the_same_prompt_in_another_spelling_is_a_partner() -> None:
    """Messages or prompt, blanks, Unicode forms, and another source."""
    bad = {
        "ts": AT,
        "task_id": "t",
        "overall": "block",
        "summary": "b",
        "messages": [{"role": "user", "content": [{"type": "text", "text": " Que\u0301 "}]}],
    }
    good = answered("+a", prompt="Qu\u00e9")
    store = lakes.distilled({"observer_reviews": good, "audits": [bad]})
    (row,) = lakes.loaded(store, PAIRS)
    assert row["rejected_provenance"]["source_file"] == "_kb/audits.jsonl"


@pytest.mark.parametrize("most", [0, 1, 2, 4, 9])
def test_a_task_has_at_most_so_many_pairs(most: int) -> None:
    """Over all its prompts; the clearest contrast first (--max-pairs)."""
    rows = [row for prompt in "PQ" for row in answered("+a", "+b", "oc", "-d", "-e", prompt=prompt)]
    made = pairs(*rows, max_pairs=most)
    assert len(made) == most
    if most <= 4:
        assert all(one in "ab" and two in "de" for one, two in made)


def test_what_is_over_the_limit_is_refused_and_not_called_unpaired() -> None:
    """It had a partner."""
    store = lakes.distilled({"observer_reviews": answered("+a", "+b", "-c")}, max_pairs=1)
    assert lakes.reasons(store, "preference") == {"observer_reviews:1": "over_max_pairs"}
    assert lakes.lines(store, UNPAIRED) == []


def test_what_has_a_verdict_and_no_partner_is_labelled() -> None:
    """True or false; a partial answer has no label and is refused."""
    rows = [*answered("+a", "+b"), *answered("-c", prompt="P"), *answered("od", prompt="O")]
    assert singles(*rows) == [("a", True), ("b", True), ("c", False)]
    store = lakes.distilled({"observer_reviews": rows})
    assert lakes.reasons(store, "preference") == {"observer_reviews:3": "no_partner"}


def test_a_disputed_answer_is_on_no_side() -> None:
    """Accepted here and refused there, in whatever task: neither label holds (F5)."""
    rows = [*answered("+a", "-b"), *answered("-a", task_id="u"), *answered("?c", task_id="u")]
    assert pairs(*rows) == []
    assert singles(*rows) == [("b", False)]
    half = [*answered("oa", "-b"), *answered("?a", task_id="u")]
    assert pairs(*half) == []


def test_an_answer_in_one_task_is_used_once() -> None:
    """The best verdict of equal answers, then the earliest row."""
    store = lakes.distilled({"observer_reviews": answered("oa", "+a ", "-b", "-b\n")})
    (row,) = lakes.loaded(store, PAIRS)
    assert row["chosen"][0]["content"] == "a "
    assert lakes.reasons(store, "preference") == {
        "observer_reviews:0": "duplicate",
        "observer_reviews:3": "duplicate",
    }


def test_exports_are_valid_and_the_counts_are_those_of_the_files() -> None:
    """Records of the right kind, and every scored row accounted for."""
    rows = answered("+a", "+b", "oc", "-d", "?e") + answered("+f", task_id="u")
    store = lakes.lake({"observer_reviews": rows})
    counts = lakes.run(store).exports["preference"]
    found = [decode(line, PreferenceSample) for line in lakes.lines(store, PAIRS)]
    single = [decode(line, UnpairedSample) for line in lakes.lines(store, UNPAIRED)]
    assert len({sample.id for sample in found}) == len(found) == counts["preference"] == 4
    assert len(single) == counts["unpaired"] == 1
    refused = Counter(lakes.reasons(store, "preference").values())
    assert counts["paired"] + counts["unpaired"] + refused.total() == len(rows)
    assert {f"refused/{name}": n for name, n in refused.items()} == {
        name: n for name, n in counts.items() if name.startswith("refused/")
    }


# ------------------------------------------------------------------------------ secrets

SECRET = "ghp_" + "Zk3vQ9xL2mT7rW5pY8nB4cD6fG1hJ0sAqEuI"
OTHER = "ghp_" + "Aa1bB2cC3dD4eE5fF6gG7hH8iI9jJ0kKlLmM"


def test_sides_that_differ_in_a_secret_alone_are_the_same_answer() -> None:
    """What would be written is compared: the verdicts conflict, and neither row trains (F5)."""
    store = lakes.lake({"observer_reviews": answered(f"+use {SECRET}", f"-use {OTHER}")})
    counts = lakes.run(store).exports
    assert [*lakes.lines(store, PAIRS), *lakes.lines(store, UNPAIRED)] == []
    assert lakes.answers(store) == []
    assert counts["preference"] == {"refused/conflicting_verdict": 2}
    refused = lakes.loaded(store, lakes.REFUSED["preference"])
    places = [f"_kb/observer_reviews.jsonl:{line}" for line in (2, 1)]
    assert [row["other"] for row in refused] == places


@pytest.mark.parametrize("runs", [[f"+{SECRET}", "-b"], ["+a", f"-{SECRET}"]])
def test_a_side_with_a_secret_is_dropped_when_asked_and_the_other_is_not(runs: list[str]) -> None:
    """--on-secret drop, whichever side holds it; the clean answer stands by itself."""
    store = lakes.lake({"observer_reviews": answered(*runs)})
    counts = lakes.run(store, on_secret="drop").exports["preference"]
    assert (counts["refused/secret"], counts["unpaired"]) == (1, 1)
    assert len(lakes.lines(store, lakes.REFUSED["preference"])) == 1
    assert lakes.lines(store, PAIRS) == []


def test_secrets_of_both_sides_are_taken_out_and_counted() -> None:
    """Whichever side holds it, and in the reason too."""
    bad = {"human_override": {"decision": "reject", "reviewer": f"bot {OTHER}"}}
    rows = [*answered(f"+a {SECRET}"), *answered("+b", **bad)]
    store = lakes.lake({"observer_reviews": rows})
    counts = lakes.run(store).exports["preference"]
    (line,) = lakes.lines(store, PAIRS)
    assert SECRET.encode() not in line
    assert OTHER.encode() not in line
    assert sum(n for name, n in counts.items() if name.startswith("redacted/")) == 2
