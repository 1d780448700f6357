"""When two lines say the same."""

from __future__ import annotations

import pytest

from stillhouse.acceptance.answers import last_words, said, said_in, said_to
from stillhouse.records import FunctionCall, Message, ToolCall


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _told(text: str) -> Message:
    return Message(role="assistant", content=text)


def _call(arguments: object, name: str = "f", call_id: str | None = None) -> Message:
    call = ToolCall(function=FunctionCall(name=name, arguments=arguments), id=call_id)
    return Message(role="assistant", tool_calls=[call])


def test_a_plain_answer_is_its_text() -> None:
    """However it is given: as a text, as messages, as a whole conversation."""
    plain = said_to("Why?", "Because.")
    assert plain.whole == plain.text != 0
    assert said([_user("Why?")], [_told("Because.")], "Because.") == plain
    assert said_in([_user("Why?"), _told("Because.")]) == plain


@pytest.mark.parametrize("same", [" Why? ", "Why?\n"])
def test_blanks_around_do_not_count(same: str) -> None:
    """Nor does the way in which a sign is composed."""
    assert said_to(same, " Caf\u00e9") == said_to("Why?", "Cafe\u0301\n")
    assert said_to("Why ?", "x") != said_to("Why?", "x")


def test_prompt_and_answer_do_not_run_together() -> None:
    """What is asked and what is said are told apart."""
    assert said_to("ab", "c").whole != said_to("a", "bc").whole
    assert said_to("ab", "c").prompt == said_to("ab", "d").prompt != said_to("a", "c").prompt


def test_a_conversation_is_more_than_its_last_words() -> None:
    """But its text is that of a plain answer."""
    long = said_in([_user("Why?"), _call({}), _told("Because.")])
    plain = said_to("Why?", "Because.")
    assert long.text == plain.whole
    assert long.whole not in (0, plain.whole)


def test_turns_without_words_do_not_count() -> None:
    """What is left of several may be a plain answer; of none, nothing is said."""
    assert said_in([_user("Why?"), _told(" "), _told("Because.")]) == said_to("Why?", "Because.")
    nothing = said_in([_user("Why?"), _told(" ")])
    assert (nothing.whole, nothing.text) == (0, 0)
    assert said_to("Why?", " ").whole == 0


def test_calls_are_compared_by_name_and_arguments() -> None:
    """An object and its JSON text are the same, wrapped once or twice; ids are not compared."""

    def whole(message: Message) -> int:
        return said([_user("Why?")], [message], "").whole

    calls = [_call({"a": 1}), _call('{"a": 1}', call_id="x"), _call('"{\\"a\\":1}"')]
    assert len({whole(call) for call in calls}) == 1
    others = [_call({"a": 2}), _call({"a": 1}, "g"), _call("no JSON"), _call(""), _call(None)]
    assert len({whole(call) for call in [*calls, *others]}) == 5
    assert whole(_call("")) == whole(_call(None)) == whole(_call({}))


def test_a_developer_speaks_as_the_system_does() -> None:
    """No trainer tells them apart."""
    prompts = [
        [Message(role=role, content="Be brief."), _user("Why?")] for role in ("system", "developer")
    ]
    assert len({said(prompt, [_told("So.")], "So.") for prompt in prompts}) == 1


def test_the_last_words_are_the_assistants() -> None:
    """Calls and other voices behind them say nothing."""
    assert last_words([_told("One."), _told("Two."), _call({}), _user("Three.")]) == "Two."
    assert last_words([_user("Three.")]) == ""
