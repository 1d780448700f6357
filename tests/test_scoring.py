"""The parts that scorers share: tables, shares, wording, a person's override."""

from __future__ import annotations

import pytest

from stillhouse.interfaces import Verdict
from stillhouse.records import HumanOverride
from stillhouse.scoring import listed, observer_verdict, overridden, quoted, share_verdict
from stillhouse.spelling import said, word, words


@pytest.mark.parametrize("spelt", ["request_changes", " Request-Changes ", "REQUEST  changes"])
def test_a_word_reads_the_same_however_it_is_spelt(spelt: str) -> None:
    """Case, blanks around, and hyphens or blanks for underscores make no difference."""
    assert word(spelt) == "request_changes"


@pytest.mark.parametrize("value", [None, 3, True, ["accept"]])
def test_what_is_no_text_is_no_word(value: object) -> None:
    """A hand-edited signal of another type reads as no word at all."""
    assert word(value) == ""


def test_blanks_say_nothing() -> None:
    """Blank text is as good as none, in a list too; one string is a list of one."""
    assert said(" \n") is None
    assert said(" a ") == " a "
    assert words(None) == []
    assert words("a") == ["a"]
    assert words([" ", "a", ""]) == ["a"]


def test_long_values_do_not_drown_a_reason() -> None:
    """A quoted value keeps to one line and 60 characters, a list of names to five."""
    assert quoted("a\n b") == "'a b'"
    assert quoted("x" * 500) == "'xxxxxxxx…'"
    assert quoted("a few words " * 9) == f"'{'a few words ' * 4}a few words …'"
    assert listed("abcde") == "'a', 'b', 'c', 'd', 'e'"
    assert listed("abcdefg").endswith("'e' and 2 more")


def test_a_share_names_what_failed() -> None:
    """All, some or none decide, and the reason counts and names."""
    assert share_verdict({"a": True}, "event", "ok").category == "accepted"
    some = share_verdict({"a": True, "b": False}, "event", "ok")
    assert some == Verdict(
        "partially_accepted",
        ["1 of 2 events ok; not ok: 'b'"],
        {"events": 2, "events_ok": 1},
    )
    assert share_verdict({"a": False}, "event", "ok").category == "rejected"
    assert share_verdict({}, "event", "ok").category == "needs_human_review"


def test_an_observers_odd_word_is_named() -> None:
    """An unknown verdict is quoted, a missing one said to be missing."""
    assert "'maybe'" in observer_verdict(None, "maybe").reasons[0]
    assert "no observer verdict" in observer_verdict(None, None).reasons[0]
    assert observer_verdict("hold", "hold").category == "needs_human_review"


def test_an_override_says_who_and_what_it_overrode() -> None:
    """The person, the decision and the rule's own reasons all stand in the reasons."""
    rule = Verdict("rejected", ["no events ok"], {"events": 1})
    override = HumanOverride(decision="accept", reviewer="Ana", reason=" looks right ")
    assert overridden(override, rule) == Verdict(
        "accepted",
        [
            "human override: 'Ana' decided 'accept': looks right",
            "overridden rule (rejected): no events ok",
        ],
        {"events": 1, "human_override": "accept"},
    )
    nameless = overridden(HumanOverride(decision="needs_review"), rule)
    assert nameless.category == "needs_human_review"
    assert "gave no name" in nameless.reasons[0]
    assert rule == Verdict("rejected", ["no events ok"], {"events": 1})
