"""Rows of the dataset folder and the lineage beside them, as whoever trains on them reads them.

SPEC T1 says what they are. The exports have their own types for writing them; what is read here
is asked to fit the SPEC, not those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stillhouse.records import Category, Message, Record


class Origin(Record, frozen=True, kw_only=True):
    """Where one side of a row comes from."""

    source: str
    run_id: str
    category: Category
    source_file: str
    line_offset: int
    sig_hash: str


class Lineage(Record, frozen=True, kw_only=True):
    """A line of the lineage; of a pair, the chosen side's origin comes first."""

    id: str
    task_id: str
    origins: list[Origin]
    context: str
    reason: str

    def problems(self) -> list[str]:
        return [] if self.id.strip() else ["id: is empty"]


class Talk(Record, frozen=True, kw_only=True):
    """A conversation of the config ``sft``."""

    messages: list[Message]
    tools: Any = msgspec.UNSET

    def problems(self) -> list[str]:
        return _not_strings(self.messages)


class Ranked(Record, frozen=True, kw_only=True):
    """A pair of the config ``preference``."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: Any = msgspec.UNSET

    def problems(self) -> list[str]:
        return _not_strings([*self.prompt, *self.chosen, *self.rejected])


class Labelled(Record, frozen=True, kw_only=True):
    """A single answer of the config ``unpaired``."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
    tools: Any = msgspec.UNSET

    def problems(self) -> list[str]:
        return _not_strings([*self.prompt, *self.completion])


class Piece(Record, frozen=True, kw_only=True):
    """A chunk of the config ``rag``."""

    id: str
    text: str
    source: str
    task_id: str
    category: Category


ROWS: Final[dict[str, type[Talk] | type[Ranked] | type[Labelled] | type[Piece]]] = {
    "sft": Talk,
    "preference": Ranked,
    "unpaired": Labelled,
    "rag": Piece,
}
"""The rows of each config."""


def _not_strings(messages: Sequence[Message]) -> list[str]:
    """SPEC T1: content is always a string."""
    strings = all(isinstance(message.content, str) for message in messages)
    return [] if strings else ["content: is not always a string"]
