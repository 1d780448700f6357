"""Conversations in every shape logs hold come out in one shape, words untouched."""

from __future__ import annotations

from typing import Any

from stillhouse.rawchat import conversation, is_old_chat, modern_chat
from stillhouse.records import FunctionCall, Message, ToolCall

OLD: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather in Bern?"},
    {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
    {"role": "function", "name": "weather", "content": "rain"},
    {"role": "assistant", "content": None, "function_call": {"name": "warn", "arguments": "{}"}},
    {"role": "function", "name": "warn", "content": "done"},
]


def test_function_calls_become_tool_calls() -> None:
    """Each old call gets an id by its number, and the answer that follows refers to it."""
    modern = modern_chat(OLD)
    calls = [message["tool_calls"][0] for message in modern if "tool_calls" in message]
    assert [call["id"] for call in calls] == ["call_1", "call_2"]
    assert [call["function"]["name"] for call in calls] == ["weather", "warn"]
    tools = [message for message in modern if message["role"] == "tool"]
    assert [message["tool_call_id"] for message in tools] == ["call_1", "call_2"]
    assert not any("function_call" in message for message in modern)
    assert "function_call" in OLD[1]


def test_what_is_there_already_is_kept() -> None:
    """An id or tool calls that the row has beside the old shape are not replaced."""
    call = {"id": "x", "type": "function", "function": {"name": "f"}}
    both = {"role": "assistant", "tool_calls": [call], "function_call": {"name": "g"}}
    answer = {"role": "function", "tool_call_id": "x", "content": "ok"}
    modern = modern_chat([both, answer, {"role": "user", "function_call": None}, "odd"])
    assert modern[0]["tool_calls"] == [call]
    assert modern[1] == {"role": "tool", "tool_call_id": "x", "content": "ok"}
    assert modern[2:] == [{"role": "user"}, "odd"]


def test_the_old_shape_is_recognised() -> None:
    """Only a list with a function call or a function's answer is old."""
    assert is_old_chat(OLD)
    assert is_old_chat([{"role": "function"}])
    assert not is_old_chat([{"role": "tool"}, "odd", 3])
    assert not is_old_chat("function")
    assert not is_old_chat(None)


def test_a_prompt_is_one_user_message() -> None:
    """Without messages the prompt is the conversation; a blank one says nothing."""
    assert conversation(None, "Why?") == [Message(role="user", content="Why?")]
    assert conversation([], "  ") is None
    assert conversation(None, None) is None


def test_a_prompt_stands_in_for_a_missing_user_turn() -> None:
    """It goes behind the leading system messages, and never beside a user's own turn."""
    system = Message(role="system", content="Be brief.")
    answer = Message(role="assistant", content="So.")
    user = Message(role="user", content="How?")
    turn = Message(role="user", content="Why?")
    assert conversation([system, answer], "Why?") == [system, turn, answer]
    assert conversation([system], "Why?") == [system, turn]
    assert conversation([system, user, answer], "Why?") == [system, user, answer]


def test_a_call_without_a_type_is_a_functions() -> None:
    """A missing type is filled in, another one kept."""
    bare = ToolCall(function=FunctionCall(name="f"), id="1")
    other = ToolCall(function=FunctionCall(name="g"), id="2", type="custom")
    messages = [
        Message(role="user", content="go"),
        Message(role="assistant", tool_calls=[bare, other]),
        Message(role="assistant", tool_calls=[other]),
    ]
    out = conversation(messages, None)
    assert out is not None
    assert out[0] is messages[0]
    assert [call.type for call in out[1].tool_calls or []] == ["function", "custom"]
    assert out[2] is messages[2]
    assert bare.type == ""
