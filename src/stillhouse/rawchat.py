"""Chat messages as logs spell them, brought into the one shape that evidence keeps.

The old ``function_call`` and role ``function`` become tool calls; a tool call without a
type is a function's; a ``prompt`` becomes a user's turn; roles are read in any case and by
the names that other programs give them. Words are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from msgspec.structs import replace

from stillhouse.records import ChatRole, Message
from stillhouse.spelling import said, word

_ROLES: Final[Mapping[str, str]] = {
    **{role: role for role in get_args(ChatRole)},
    "human": "user",
    **dict.fromkeys(("ai", "bot", "gpt", "model"), "assistant"),
}


def is_old_chat(messages: Any) -> bool:
    """True when decoded messages use the shape before tool calls."""
    return isinstance(messages, list) and any(
        isinstance(message, dict)
        and ("function_call" in message or message.get("role") == "function")
        for message in messages
    )


def modern_chat(messages: list[Any]) -> list[Any]:
    """Rewrite the old shape, and roles by other names.

    The n-th old call gets the id ``call_n``, which the answers refer to.
    What is not an object is left as it is, for validation to name.
    """
    out: list[Any] = []
    calls = 0
    for message in messages:
        if not isinstance(message, dict):
            out.append(message)
            continue
        modern = dict(message)
        call = modern.pop("function_call", None)
        if call is not None and not modern.get("tool_calls"):
            calls += 1
            modern["tool_calls"] = [{"id": f"call_{calls}", "type": "function", "function": call}]
        role = word(modern.get("role"))
        if role in _ROLES:
            modern["role"] = _ROLES[role]
        elif role == "function":
            modern["role"] = "tool"
            if not modern.get("tool_call_id"):
                modern["tool_call_id"] = f"call_{calls}"
        out.append(modern)
    return out


def conversation(messages: list[Message] | None, prompt: str | None) -> list[Message] | None:
    """The messages of a row, ``None`` when it has neither messages nor a prompt.

    A prompt stands in where the messages hold no turn of the user's, behind the leading
    system messages. Where they do hold one, they are what the model saw, and the prompt
    is passed over.
    """
    if prompt is not None and said(prompt):
        user = Message(role="user", content=prompt)
        messages = _with_prompt(messages, user) if messages else [user]
    if not messages:
        return None
    for message in messages:
        for call in message.tool_calls or ():
            if not call.type:
                return [_typed_calls(each) for each in messages]
    return messages


def _with_prompt(messages: list[Message], prompt: Message) -> list[Message]:
    if any(message.role == "user" for message in messages):
        return messages
    start = 0
    while start < len(messages) and messages[start].role in ("system", "developer"):
        start += 1
    return [*messages[:start], prompt, *messages[start:]]


def _typed_calls(message: Message) -> Message:
    if not message.tool_calls or all(call.type for call in message.tool_calls):
        return message
    calls = [call if call.type else replace(call, type="function") for call in message.tool_calls]
    return replace(message, tool_calls=calls)
