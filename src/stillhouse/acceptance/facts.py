"""What the walk notes of every line of a lake: one row of fixed size, and no words.

A *fact* says of one line which raw line it names (its anchor), what it claims, and hashes of
what it says. Facts that name the same raw line meet, whichever files they stand in: what a gate
asks of them is then a comparison of numbers. 96 bytes a fact, spilled to disk when they are
many, so that a lake of any size is judged in bounded memory.

This module knows no file and no gate.
"""

from __future__ import annotations

import struct
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.records import CATEGORIES
from stillhouse.sources import stem_from_source_file
from stillhouse.spill import U64, Buckets, Spill, group_starts

Mask = npt.NDArray[np.bool_]
Facts = npt.NDArray[Any]
Numbers = npt.NDArray[Any]

FACT: Final = np.dtype(
    [
        ("sig_hi", "<u8"),  # of the raw line's SHA-256, the first 16 bytes
        ("sig_lo", "<u8"),
        ("log", "<u8"),  # which raw log, by `log_key`
        ("line", "<u8"),  # the raw line's number in it, from 0
        ("own_hi", "<u8"),  # of the evidence line's SHA-256: a scored run's is the one it names
        ("own_lo", "<u8"),
        ("whole", "<u8"),  # of prompt and answer (see `answers`); 0 when nothing is said
        ("text", "<u8"),  # of prompt and text
        ("prompt", "<u8"),
        ("task", "<u8"),
        ("file", "<u4"),  # where the line that is noted here stands: its file's number
        ("kind", "u1"),
        ("category", "u1"),  # what the line claims: a position in CATEGORIES, or UNKNOWN
        ("today", "u1"),  # what today's rules give (evidence only)
        ("flags", "u1"),
        ("row", "<u8"),  # and its number in the file, from 0
    ]
)
PACK: Final = struct.Struct("<16sQQ16s4QI4BQ")
if PACK.size != FACT.itemsize:  # the two descriptions of one fact must agree
    raise AssertionError("fact layouts differ")

_PLACE: Final = [
    ("sig_hi", "<u8"), ("log", "<u8"), ("line", "<u8"), ("file", "<u4"), ("row", "<u8"),
    ("category", "u1"),
]  # fmt: skip
ANSWER: Final = np.dtype([("key", "<u8"), ("whole", "u1"), ("against", "u1"), *_PLACE])
"""What somebody said: ``whole`` for an answer, else the text that a conversation ends in;
``against`` for a verdict that keeps it from being taught, else what is taught."""

SIDE: Final = np.dtype(
    [("kind", "u1"), ("claimed", "<u8"), ("today", "u1"), ("task", "<u8"), ("prompt", "<u8"),
     *_PLACE]
)  # fmt: skip
"""One side of a pair: ``claimed`` is what it says, the rest what its evidence says."""

UNKNOWN: Final = 255
CODE: Final[dict[str, int]] = {name: code for code, name in enumerate(CATEGORIES)}
NOWHERE: Final = 1 << 63
"""The line of what names no line that there can be."""

# Kinds of facts.
RAW: Final = 0
EVIDENCE: Final = 1
SCORED: Final = 2
REFUSED: Final = 3  # a raw line in quarantine
SFT: Final = 4
CHOSEN: Final = 5
REJECTED: Final = 6
TRUE: Final = 7  # a single answer that is labelled good
FALSE: Final = 8
CHUNK: Final = 9
NOT_SFT: Final = 10  # evidence that an export refused
NOT_PREFERENCE: Final = 11
NOT_RAG: Final = 12

SIDES: Final = (SFT, CHOSEN, REJECTED, TRUE, FALSE, CHUNK)
"""What is exported. A pair has two sides."""

TAUGHT: Final = (SFT, CHOSEN, TRUE)
"""What a model learns to say."""

# Flags.
EXTRACTED: Final = 1  # evidence of the extraction class, or an extractor's run
NO_VERDICT: Final = 2  # evidence of the extraction class: nobody judged it
IN_DATASET: Final = 4  # a row of the dataset folder


NO_HASH: Final = bytes(16)


def half(sig_hash: str) -> bytes:
    """The first 16 bytes of a hash in hex; zeros for what is none."""
    try:
        return bytes.fromhex(sig_hash)[:16]
    except ValueError:
        return NO_HASH


@lru_cache(maxsize=8192)
def log_of(source_file: str) -> int:
    """The log that a record names, as a number."""
    return log_key(stem_from_source_file(source_file))


@lru_cache(maxsize=8192)
def log_key(name: str) -> int:
    """A short text, the stem of a log or a task's id, as a number."""
    digest = sha256(name.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little")


class Said(NamedTuple):
    """Hashes of what a line says; 0 for what it does not say."""

    whole: int = 0
    text: int = 0
    prompt: int = 0


NOTHING: Final = Said()


# ------------------------------------------------------------------------------- meeting


class Deal:
    """Takes facts as they come and deals them into buckets, so that those of one anchor meet."""

    _HELD = 1 << 16

    def __init__(self, spill: Spill, name: str, dtype: np.dtype[Any], *keys: str) -> None:
        self._buckets: Buckets = spill.buckets(name, dtype)
        self._keys = keys
        self._held: list[Facts] = []
        self._rows = 0

    def add(self, facts: Facts) -> None:
        """Take some facts."""
        self._held.append(facts)
        self._rows += len(facts)
        if self._rows >= self._HELD:
            self._flush()

    def groups(self) -> Any:
        """The buckets one after the other, each sorted so that facts of one key are neighbours,
        with the position where each group of them starts."""
        self._flush()
        for bucket in self._buckets:
            order = np.argsort(mixed(bucket, *self._keys), kind="stable")
            facts = bucket[order]
            yield facts, group_starts(*(facts[key] for key in self._keys))

    def _flush(self) -> None:
        if self._rows:
            facts = np.concatenate(self._held)
            self._buckets.add(mixed(facts, *self._keys), facts)
        self._held, self._rows = [], 0


def mixed(facts: Facts, *keys: str) -> U64:
    """One number of several keys, spread over all 64 bits (the splitmix64 finaliser of Steele,
    Lea and Flood 2014). Different keys may share one: groups are told apart by the keys."""
    number = np.zeros(len(facts), dtype=np.uint64)
    for key in keys:
        number = (number ^ facts[key].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            number = (number ^ (number >> np.uint64(shift))) * np.uint64(factor)
        number ^= number >> np.uint64(31)
    return number


class Meeting:
    """Facts of many raw lines, those of one raw line side by side."""

    KEYS: Final = ("sig_hi", "sig_lo", "log", "line")

    def __init__(self, facts: Facts, starts: npt.NDArray[np.intp]) -> None:
        self.facts = facts
        sizes = np.diff(np.append(starts, len(facts)))
        self._group = np.repeat(np.arange(len(starts)), sizes)
        self._groups = len(starts)

    def of(self, *kinds: int) -> Mask:
        """The facts of these kinds."""
        mask: Mask = np.zeros(len(self.facts), dtype=bool)
        for kind in kinds:
            mask |= self.facts["kind"] == kind
        return mask

    def count(self, mask: Mask) -> Numbers:
        """For every fact, how many under the mask name the same raw line."""
        return np.bincount(self._group[mask], minlength=self._groups)[self._group]

    def fellows(self, place: int) -> Mask:
        """All facts of the same raw line as the one at a place."""
        mask: Mask = self._group == self._group[place]
        return mask

    def has(self, *kinds: int) -> Mask:
        """The facts beside which one of these kinds stands."""
        return self.count(self.of(*kinds)) > 0

    def evidence(self, name: str) -> Numbers:
        """For every fact, a field of the evidence of its raw line; only where there is any."""
        return self.facts[name][self._evidence]

    @cached_property
    def _evidence(self) -> Numbers:
        first = np.zeros(self._groups, dtype=np.intp)
        at = np.flatnonzero(self.of(EVIDENCE))[::-1]
        first[self._group[at]] = at
        return first[self._group]

    @cached_property
    def scoring(self) -> Mask:
        """Scored runs that name the evidence of their raw line by its hash."""
        found = self.of(SCORED) & self.has(EVIDENCE)
        for name in ("own_hi", "own_lo"):
            found &= self.facts[name] == self.evidence(name)
        return found

    @cached_property
    def stored(self) -> Numbers:
        """For every fact, the category that the scored run of its raw line's evidence gives."""
        given = np.full(self._groups, UNKNOWN, dtype=np.uint8)
        at = np.flatnonzero(self.scoring)[::-1]
        given[self._group[at]] = self.facts["category"][at]
        return given[self._group]

    def is_category(self, *names: str) -> Mask:
        """The facts whose evidence has one of these categories: by its scored run, or by what
        today's rules give to it."""
        codes = [CODE[name] for name in names]
        either = np.isin(self.stored, codes) | np.isin(self.evidence("today"), codes)
        found: Mask = self.has(EVIDENCE) & either
        return found
