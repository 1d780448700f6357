"""The folder as LLaMA-Factory reads it: ``dataset_info.json``, and rows in its own layout.

It reads our ``sft`` files as they are, but neither message lists as ``chosen`` and
``rejected`` nor a prompt and completion apart, and it encodes tool-call arguments that are
strings a second time. So for pairs, labels and tool calls there are rows of its own. This
module never touches a disk. Format: ``data/README.md`` and ``data/converter.py`` of
LLaMA-Factory.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from stillhouse.exports.card import data_path
from stillhouse.exports.dataset import Config, Split, arguments_text
from stillhouse.exports.stats import DatasetStats
from stillhouse.records import Message

_ENCODE: Final = msgspec.json.Encoder().encode

_TAGS: Final = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}


class _Turn(Struct, frozen=True, gc=False):
    role: str
    content: str


class _Call(Struct, frozen=True, gc=False):
    name: str
    arguments: Raw


class _SftRow(Struct, frozen=True):
    messages: list[_Turn]
    tools: str


class _PreferenceRow(Struct, frozen=True):
    messages: list[_Turn]
    chosen: _Turn
    rejected: _Turn
    tools: str


class _UnpairedRow(Struct, frozen=True):
    messages: list[_Turn]
    kto_tag: bool
    tools: str


def llama_factory_path(config: Config, split: Split) -> str:
    """The path in the dataset folder of a file in LLaMA-Factory's layout."""
    return f"llama_factory/{config}-{split}.jsonl"


def llama_factory_sft_row(
    prompt: list[Message], answer: list[Message], tools: list[Any] | None
) -> bytes:
    """A conversation; a tool call is a ``function_call`` turn with JSON text as content."""
    return _ENCODE(_SftRow([*_turns(prompt), *_turns(answer)], _tools(tools)))


def llama_factory_preference_row(
    prompt: list[Message],
    chosen: list[Message],
    rejected: list[Message],
    tools: list[Any] | None,
) -> bytes | None:
    """A pair, or ``None`` where an answer is longer than the one turn that fits there."""
    if len(chosen) != 1 or len(rejected) != 1:
        return None
    return _ENCODE(
        _PreferenceRow(_turns(prompt), _turns(chosen)[0], _turns(rejected)[0], _tools(tools))
    )


def llama_factory_unpaired_row(
    prompt: list[Message], completion: list[Message], label: bool, tools: list[Any] | None
) -> bytes:
    """An answer with its label, for KTO. Only the last turn is learnt or unlearnt."""
    return _ENCODE(_UnpairedRow([*_turns(prompt), *_turns(completion)], label, _tools(tools)))


def llama_factory_info(stats: DatasetStats, *, native: bool = False) -> bytes:
    """``dataset_info.json``: an entry ``stillhouse_<config>_<split>`` for each file.

    Without ``native`` there are the ``sft`` files alone, as every trainer reads them; with
    it, the files of `llama_factory_path`.
    """
    info: dict[str, Any] = {}
    for config, split, _ in stats.files():
        if config == "rag" or (config != "sft" and not native):
            continue
        entry: dict[str, Any] = {
            "file_name": llama_factory_path(config, split) if native else data_path(config, split),
            "formatting": "sharegpt" if native else "openai",
        }
        columns = {"messages": "messages", "tools": "tools"}
        if config == "preference":
            entry["ranking"] = True
            columns |= {"chosen": "chosen", "rejected": "rejected"}
        elif config == "unpaired":
            columns["kto_tag"] = "kto_tag"
        info[f"stillhouse_{config}_{split}"] = {**entry, "columns": columns, "tags": _TAGS}
    return msgspec.json.format(_ENCODE(info), indent=2) + b"\n"


def _turns(messages: list[Message]) -> list[_Turn]:
    """Turns as LLaMA-Factory has them: a call takes the whole turn, several results of
    tools in a row are one turn."""
    out: list[_Turn] = []
    for message in messages:
        if message.tool_calls:
            calls = [
                _Call(call.function.name, Raw(arguments_text(call.function.arguments).encode()))
                for call in message.tool_calls
            ]
            out.append(_Turn("function_call", _ENCODE(calls).decode()))
        elif message.role == "tool" and out and out[-1].role == "tool":
            joined = f"{out[-1].content}\n</tool_response>\n<tool_response>\n{message.text()}"
            out[-1] = _Turn("tool", joined)
        else:
            role = "system" if message.role == "developer" else message.role
            out.append(_Turn(role, message.text()))
    return out


def _tools(tools: list[Any] | None) -> str:
    return _ENCODE(tools or []).decode()
