"""A joined record's words with the secrets taken out, once for all its exports (SPEC S10)."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from stillhouse.exports.firewall import Joined
from stillhouse.exports.sft import build_context
from stillhouse.index import is_conversation
from stillhouse.records import Message, Record
from stillhouse.redaction import redact, redact_value, suspicious

_ENCODER: Final = msgspec.json.Encoder()

R = TypeVar("R", bound=Record)


@lru_cache(maxsize=8192)
def _is_suspicious_label(text: str) -> bool:
    return suspicious(text.encode())


NOTHING: Final[Counter[str]] = Counter()


class Redacted:
    """Prompt, answer, text and tools of a record, without secrets.

    ``found`` counts the secrets in them by kind (``in_text`` those of the text alone); it
    is empty for nearly all records, and then the words are the record's own objects.
    """

    __slots__ = ("answer", "found", "in_text", "joined", "prompt", "task_id", "text", "tools")

    def __init__(self, joined: Joined) -> None:
        evidence = joined.evidence
        self.joined = joined
        self.prompt: list[Message] = joined.prompt
        self.answer: list[Message] = joined.answer
        self.text = evidence.text
        self.task_id = evidence.task_id
        self.tools: list[Any] | None = evidence.tools
        self.found = self.in_text = NOTHING
        if self._is_suspicious():
            self._clean()

    def _is_suspicious(self) -> bool:
        """Whether any string that can reach an export may hold a secret: one look decides for
        nearly all records, and rows of one task share most of what is not their text."""
        joined, evidence = self.joined, self.joined.evidence
        labels = [joined.instruction, evidence.task_id, *joined.scored.reasons]
        labels += evidence.source_files
        if not evidence.run_id.endswith(evidence.provenance.sig_hash[:16]):
            labels.append(evidence.run_id)
        if evidence.model_name:
            labels.append(evidence.model_name)
        if evidence.model_provider:
            labels.append(evidence.model_provider)
        if suspicious(evidence.text.encode()) or any(map(_is_suspicious_label, labels)):
            return True
        if evidence.messages or evidence.tools or evidence.retrieved_context:
            more = (evidence.messages, evidence.tools, evidence.retrieved_context)
            return suspicious(_ENCODER.encode(more))
        return False

    def _clean(self) -> None:
        evidence = self.joined.evidence
        probe = (
            self.prompt,
            self.answer,
            evidence.text if is_conversation(evidence) else None,
            evidence.tools,
            self.joined.instruction,
            (evidence.run_id, evidence.task_id, evidence.model_name, evidence.model_provider),
            (evidence.source_files, evidence.retrieved_context, self.joined.scored.reasons),
        )
        found: Counter[str] = Counter()
        redact_value(msgspec.to_builtins(probe), found)
        if not found:
            return
        self.found, self.in_text = found, Counter()
        self.text = redact(self.text, self.in_text)
        self.task_id = redact(self.task_id, Counter())
        self.prompt, self.answer = _clean(self.prompt), _clean(self.answer)
        self.tools = redact_value(self.tools, Counter())

    def out_of(self, record: R, *, force: bool = False) -> R:
        """The record with the secrets taken out of every string leaf."""
        if not self.found and not force:
            return record
        clean = redact_value(msgspec.to_builtins(record), Counter())
        return msgspec.convert(clean, type(record))

    def context(self) -> str:
        """What is known of the run's surroundings (`sft.build_context`)."""
        context = build_context(self.joined.evidence)
        return redact(context, Counter()) if self.found else context


def _clean(messages: list[Message]) -> list[Message]:
    return msgspec.convert(redact_value(msgspec.to_builtins(messages), Counter()), list[Message])
