"""The firewall's parts: what it lets out, what it refuses, and that there is no way round it."""

from __future__ import annotations

import copy
import pickle
import unicodedata
from collections.abc import Callable
from itertools import product
from typing import Any, BinaryIO, get_args

import pytest

from stillhouse.errors import RecordError, SftContaminationError, StorageError
from stillhouse.exports.firewall import (
    CODE,
    EXPORT,
    REASONS,
    Cleared,
    ExportOptions,
    FirewallError,
    Joined,
    Purpose,
    category_refusal,
    clear,
    explain,
    join,
    same_prompt,
)
from stillhouse.exports.preference import pair_of, unpaired_of
from stillhouse.exports.sft import sample_of, synthesize_sft
from stillhouse.index import messages_key, norm
from stillhouse.interfaces import Refusal
from stillhouse.records import (
    CATEGORIES,
    SFT_NEVER,
    SFT_OPT_IN,
    HumanOverride,
    Message,
    SftSample,
    ToolCall,
    check_sft,
)
from stillhouse.records import FunctionCall as Function
from stillhouse.storage import MemoryStore
from stillhouse.words import words_of
from tests.exports import lakes
from tests.exports.made import both_lines, cleared, evidence, joined, said, user

OPEN = ExportOptions(include_partial=True, include_review=True)
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
REJECT = HumanOverride(decision="reject")
PARTIAL = {"observer_verdict": "cycle"}
REVIEW = {"observer_verdict": None}
REJECTED = {"observer_verdict": "reject"}


# ------------------------------------------------------------------- the forbidden words


def test_the_forbidden_categories_are_pinned() -> None:
    """Changing what may never train breaks this test, on purpose (F1)."""
    assert frozenset({"rejected", "needs_human_review"}) == SFT_NEVER
    assert frozenset({"partially_accepted"}) == SFT_OPT_IN
    assert set(CATEGORIES) == SFT_NEVER | SFT_OPT_IN | {"accepted"}


def _sample(category: str, **fields: Any) -> SftSample:
    made = synthesize_sft(joined(evidence()).scored, evidence(), lakes.NOW, "sft-1")
    assert made is not None
    values = {name: getattr(made, name) for name in made.__struct_fields__}
    return SftSample(**(values | {"category": category} | fields))


@pytest.mark.parametrize(
    "category", ["rejected", "needs_human_review", "REJECTED", " rejected\n", "Needs_Human_Review"]
)
def test_a_forbidden_sample_is_contamination_however_it_is_spelt(category: str) -> None:
    """The second layer raises an error of its own, which no handler of bad rows catches (F2)."""
    with pytest.raises(SftContaminationError) as caught:
        check_sft(_sample(category, response=""))
    assert not isinstance(caught.value, RecordError)
    assert "_kb/observer_reviews.jsonl:1" in str(caught.value)


@pytest.mark.parametrize("category", ["aceptado", "Accepted", "accepted ", "", "rejected!"])
def test_a_mistyped_category_is_an_ordinary_validation_error(category: str) -> None:
    """A word that is none of the four is a bad row, told with all that is wrong with it (F2)."""
    with pytest.raises(RecordError) as caught:
        check_sft(_sample(category, response=" "))
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "category",
        "response",
    ]


def test_a_sound_sample_passes() -> None:
    """Both categories that may train come through unchanged."""
    for category in ("accepted", "partially_accepted"):
        sample = _sample(category)
        assert check_sft(sample) is sample


# --------------------------------------------------------------------------- no way round


def test_only_the_firewall_makes_a_cleared() -> None:
    """The constructor wants what nobody else holds."""
    for seal in (None, True, object()):
        with pytest.raises(FirewallError):
            Cleared(seal, joined(evidence()), "sft")


def _relabelled() -> Joined:
    bad = evidence(**REJECTED)
    return Joined(joined(evidence()).scored, bad, words_of(bad, []))


def test_a_run_that_was_not_joined_from_its_lines_is_not_cleared() -> None:
    """A verdict put beside evidence by hand gets nowhere, whatever it says."""
    for purpose in PURPOSES:
        with pytest.raises(FirewallError, match="joined from its two lines"):
            clear(_relabelled(), purpose, EXPORT, OPEN)


@pytest.mark.parametrize(
    "attempt",
    [
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        lambda it: setattr(it, "purpose", "sft"),
        lambda it: setattr(it, "joined", _relabelled()),
        lambda it: setattr(it, "new", 1),
        lambda it: delattr(it, "purpose"),
        lambda it: setattr(it.joined, "scored", None),
        lambda it: setattr(it.joined, "checked", True),
        lambda it: pickle.dumps(it.joined),
        lambda it: copy.copy(it.joined),
        lambda it: Cleared.__new__(Cleared).__setattr__("purpose", "sft"),
    ],
)
def test_a_cleared_record_is_neither_changed_nor_copied(attempt: Callable[[Cleared], Any]) -> None:
    """What was cleared for one purpose stays that, and is that once."""
    it = cleared(evidence(), "rag")
    with pytest.raises(FirewallError):
        attempt(it)
    assert (it.purpose, it.scored.category) == ("rag", "accepted")


def test_one_that_skipped_the_constructor_holds_nothing() -> None:
    """``__new__`` alone gives an object that no exporter can use."""
    empty = Cleared.__new__(Cleared)
    for export in (sample_of, unpaired_of):
        with pytest.raises(AttributeError):
            export(empty)


def test_there_are_no_other_kinds_of_cleared() -> None:
    """A subclass could bring a constructor of its own."""
    for base in (Cleared, Joined):
        with pytest.raises(FirewallError):
            type("Mine", (base,), {})


def test_exporters_take_only_what_was_cleared_for_them() -> None:
    """RAG's leave is no leave to train, a single answer's none for a pair."""
    partial, rejected = evidence(**PARTIAL), evidence(**REJECTED)
    with pytest.raises(SftContaminationError):
        sample_of(cleared(partial, "rag"))
    with pytest.raises(SftContaminationError):
        unpaired_of(cleared(evidence(), "sft"))
    with pytest.raises(SftContaminationError):
        pair_of(cleared(rejected, "rejected"), cleared(evidence(), "chosen"))
    with pytest.raises(SftContaminationError):
        pair_of(cleared(evidence(), "chosen"), cleared(evidence(), "chosen"))


# ------------------------------------------------------------------------------- joining


def test_lines_that_belong_together_are_joined() -> None:
    """A sound pair of lines gives the two records and what exports ask of them."""
    it = joined(evidence())
    assert (it.scored.category, it.checked, it.instructable) == ("accepted", True, True)
    assert it.words.prompt == [user(it.words.instruction)]
    assert it.words.answer == [said("All is well.")]


@pytest.mark.parametrize("category", ["accepted", "partially_accepted", "needs_human_review"])
def test_a_verdict_the_rules_do_not_give_is_refused(category: str) -> None:
    """The evidence is scored again, whatever the file says."""
    found = join(*both_lines(evidence(**REJECTED), category=category))
    assert isinstance(found, Refusal)
    assert found.reason == "verdict_mismatch"
    assert found.detail == [f"the file says '{category}', the rules give 'rejected'"]


def test_a_scored_run_of_other_evidence_is_refused() -> None:
    """The hash of the evidence line joins the two, nothing else does."""
    scored, _ = both_lines(evidence())
    other = both_lines(evidence(text="Another."))[1]
    found = join(scored, other)
    assert isinstance(found, Refusal)
    assert found.reason == "not_instructable"


@pytest.mark.parametrize("line", [b"", b"{}", b"\xff", b"[]", b'{"category":"ACCEPTED"}'])
def test_lines_that_are_no_records_are_refused_with_every_problem(line: bytes) -> None:
    """Neither line may be anything else."""
    scored, record = both_lines(evidence())
    for found in (join(line, record), join(scored, line)):
        assert isinstance(found, Refusal)
        assert found.reason == "invalid"
        assert found.detail


def test_reasons_are_those_of_the_rules() -> None:
    """Words put into the file do not reach an export."""
    found = join(*both_lines(evidence(), reasons=["bribed"]))
    assert isinstance(found, Joined)
    assert found.scored.reasons == ["observer verdict is 'accept'"]


# ------------------------------------------------------------------------------ clearing

GIVES: dict[str, set[str]] = {
    "sft": {"accepted"},
    "chosen": {"accepted", "partially_accepted"},
    "rejected": {"partially_accepted", "rejected"},
    "unpaired": {"accepted", "rejected"},
    "rag": {"accepted", "partially_accepted"},
}
KINDS: dict[str, Any] = {
    "accepted": {},
    "partially_accepted": PARTIAL,
    "rejected": REJECTED,
    "needs_human_review": REVIEW,
}


@pytest.mark.parametrize(("purpose", "category"), list(product(PURPOSES, CATEGORIES)))
def test_each_purpose_takes_its_categories(purpose: Purpose, category: str) -> None:
    """Without options as the table says; with all of them open, only what may be opened more."""
    it = joined(evidence(**KINDS[category]))
    assert it.scored.category == category
    plain = clear(it, purpose, EXPORT, ExportOptions())
    assert isinstance(plain, Cleared) == (category in GIVES[purpose])
    opened = {"sft": {"partially_accepted"}, "rag": {"needs_human_review"}}.get(purpose, set())
    found = clear(it, purpose, EXPORT, OPEN)
    assert isinstance(found, Cleared) == (category in GIVES[purpose] | opened)


def test_an_unknown_category_goes_nowhere() -> None:
    """A word that is none of the four is refused for every purpose."""
    for purpose in PURPOSES:
        assert category_refusal(purpose, "Accepted", True, True) == "invalid"


@pytest.mark.parametrize("ruling", range(1, len(REASONS)))
def test_a_ruling_can_only_forbid(ruling: int) -> None:
    """It keeps a good row out, by name, and never lets a bad one in."""
    found = clear(joined(evidence()), "sft", ruling, OPEN)
    assert isinstance(found, Refusal)
    assert found.reason == REASONS[ruling]
    bad = clear(joined(evidence(**REJECTED)), "sft", ruling, OPEN)
    assert isinstance(bad, Refusal)
    assert bad.reason == "forbidden_category"


IMAGE = Message(role="user", content=[{"type": "image_url", "image_url": {"url": "u"}}])


@pytest.mark.parametrize(
    "record",
    [
        evidence("distilled_facts", human_override=HumanOverride(decision="accept")),
        evidence("nobody_knows", human_override=HumanOverride(decision="accept")),
        evidence(model_role="extractor"),
        evidence(text=" \n"),
        evidence(messages=[IMAGE, said("A cat.")]),
        evidence(messages=[user("")]),
        evidence(messages=[Message(role="user")]),
        evidence(messages=[user("Q"), said(""), said(" ")]),
    ],
)
def test_what_is_no_answer_to_a_task_never_trains(record: Any) -> None:
    """Extraction, extractors, no text, other media, or a side without words (F4)."""
    assert joined(record).scored.category == "accepted"
    for purpose in ("sft", "chosen", "unpaired"):
        found = clear(joined(record), purpose, EXPORT, OPEN)
        assert isinstance(found, Refusal)
        assert found.reason == "not_instructable"
    assert synthesize_sft(joined(record).scored, record, lakes.NOW, "x") is None
    rag = clear(joined(record), "rag", EXPORT, OPEN)
    assert isinstance(rag, Cleared) == bool(record.text.strip())


def test_every_refusal_is_said_in_words() -> None:
    """Each reason but the one that is none explains itself."""
    for reason in REASONS[1:]:
        assert "{" not in explain(reason, "rejected")
    assert len(CODE) == len(REASONS) < 256


def test_the_same_prompt_means_task_and_words() -> None:
    """Spelling and call ids do not count, the task and the words do (P1)."""

    def calls(name: str, arguments: Any) -> list[Message]:
        call = ToolCall(function=Function(name="f", arguments=arguments), id=name)
        return [user("Q"), Message(role="assistant", tool_calls=[call]), said("A")]

    one = joined(evidence(messages=[Message(role="system", content="S"), user("Re\u0301?")]))
    two = joined(evidence(messages=[Message(role="developer", content="S "), user("R\u00e9?")]))
    assert same_prompt(one, two)
    assert not same_prompt(one, joined(evidence(messages=[user("R\u00e9?")])))
    moved = joined(evidence(messages=one.evidence.messages, task_id="t2"))
    assert not same_prompt(one, moved)
    first, second = calls("c1", '{"a": 1}'), calls("c2", {"a": 1})
    assert messages_key(first) == messages_key(second)
    assert messages_key(first) != messages_key(calls("c1", '{"a": 2}'))


def test_text_is_compared_in_nfc_whatever_short_cut_is_taken() -> None:
    """The look at the bytes that spares most texts the tables misses no character (S9)."""
    codes = [*range(0x80, 0x600), *range(0x1E00, 0x3100), *range(0xFB00, 0xFB50)]
    for text in map(chr, codes):
        for spelt in (f"a{text}b", f"e{text}", text * 2, f"\u1100\u1161{text}"):
            wanted = unicodedata.normalize("NFC", spelt.strip())
            assert norm(spelt) == wanted.encode(), hex(ord(text))
    assert norm(" e\u0301\n") == norm("\u00e9")


# --------------------------------------------------------------------- before it is read


class Guarded(MemoryStore):
    """A store that will not show some files' bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: set[str] = set()

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        if path in self.closed:
            raise StorageError("must not be read", where=path)
        return super().read(path, start, end)

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        if path in self.closed:
            raise StorageError("must not be read", where=path)
        return super().open(path, random=random)


def test_forbidden_evidence_is_not_even_read() -> None:
    """The exporter filters by verdict before it loads any evidence (F2)."""
    store = Guarded()
    good = {"ts": "2026-03-02T09:00:00Z", "verdict": "accept", "review": "A", "prompt": "Q"}
    rows = {
        "observer_reviews": [good],
        "audits": [
            {"ts": "2026-03-02T09:00:00Z", "overall": "block", "summary": "B", "prompt": "Q"},
            {"ts": "2026-03-02T09:00:00Z", "overall": "approve", "summary": "A", "prompt": "Q2"},
            {"ts": "2026-03-02T09:00:00Z", "overall": "block", "summary": "A", "prompt": "Q2"},
        ],
        "distilled_facts": [{"ts": "2026-03-02T09:00:00Z", "fact": "F"}],
    }
    lakes.pour(store, rows)
    lakes.run(store, max_pairs=1)
    for stem in ("audits", "distilled_facts"):
        for root in ("evidence", "scored-runs"):
            store.closed.add(f"{root}/2026/03/02/{stem}.jsonl")
    assert lakes.export(store, "sft", include_review=True).exports["sft"]["sft"] == 1
    assert lakes.answers(store) == ["A"]
    with pytest.raises(StorageError, match="must not be read"):
        lakes.export(store, "preference", max_pairs=2)
