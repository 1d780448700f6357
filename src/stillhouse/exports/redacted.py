"""Secrets out of an assembled record, and how many marks stand in its line (SPEC S10).

The words that a record is made of are clean already (`stillhouse.words`); labels and what
assembling puts side by side are looked at here, in every string leaf.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TypeVar

import msgspec

from stillhouse.exports.firewall import Joined
from stillhouse.exports.sft import build_context
from stillhouse.records import Record
from stillhouse.redaction import redact, redact_value

R = TypeVar("R", bound=Record)


def out_of(record: R, secrets: Set[str]) -> R:
    """The record with the secrets taken out of every string leaf; the same object where
    ``secrets``, the kinds in the runs that it is made of, are none."""
    if not secrets:
        return record
    clean = redact_value(msgspec.to_builtins(record), {})
    return msgspec.convert(clean, type(record))


def context_of(joined: Joined) -> str:
    """What is known of the run's surroundings (`sft.build_context`), without secrets."""
    context = build_context(joined.evidence)
    return redact(context, {}) if joined.words.secrets else context


def count_marks(line: bytes, secrets: Set[str]) -> dict[str, int]:
    """The marks of these kinds that stand in a line: what anybody can count in the file."""
    found = {kind: line.count(f"[REDACTED:{kind}]".encode()) for kind in sorted(secrets)}
    return {kind: times for kind, times in found.items() if times}
