"""Partitions that are not as the stages left them: nothing in their files is taken on trust.

They were edited by hand, replayed from an older run, left without the lake's state, or
written by somebody else. An evidence line must be what its raw line gives today; a scored
line must be valid and name such evidence by its hash. What does not hold is refused by
name. Whatever became of the files, the raw log still speaks against the answers it rejects
(SPEC F5, F6).

This module never repairs: that is `run`, which writes the files anew from the raw log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from msgspec.structs import replace

from stillhouse.errors import RecordError
from stillhouse.index import (
    CATEGORY_CODE,
    KEY_BYTES,
    MISMATCH,
    MISSING,
    UNKNOWN,
    keys_of,
    pack_row,
)
from stillhouse.interfaces import Refusal, Sink, Store
from stillhouse.lake import EVIDENCE, SCORED, ByteRange, partition_path, raw_path, read_lines
from stillhouse.rawjson import read_object
from stillhouse.records import EvidenceRecord, ScoredRun, decode, encode
from stillhouse.rows import read_line
from stillhouse.sources import score_record, source_for, stem_from_source_file

_NOWHERE: Final = (0, 0)
_NO_ANCHOR: Final = bytes(KEY_BYTES)
_LARGEST: Final = 2**63
_SIG: Final = re.compile(rb'"sig_hash" ?: ?"([0-9a-f]{64})"')


class Problem(NamedTuple):
    """A line of an evidence or scored-runs file that cannot be used, and why."""

    path: str
    number: int
    line: bytes
    reason: str
    detail: list[str]


class Rejoined(NamedTuple):
    """A partition read from its files: index ``rows`` in the scored file's order, then those
    of evidence that nobody scored. ``witnesses`` are rows that export nothing and are
    refused by a problem, but still speak against the same answer given elsewhere."""

    rows: bytes
    witnesses: bytes
    problems: list[Problem]


# ------------------------------------------------------------------------------ raw log


class RawLog:
    """What a raw log gives today: of each line, the digest of its evidence."""

    def __init__(self, anchors: bytes) -> None:
        self._anchors = anchors

    def gives(self, record: EvidenceRecord, sig: bytes) -> bool:
        """Whether the raw line that the record names becomes this record."""
        at = record.provenance.line_offset * KEY_BYTES
        return self._anchors[at : at + KEY_BYTES] == _anchor(record)


def read_raw_log(store: Store, stem: str, witnesses: Sink) -> RawLog | None:
    """Read a raw log through, once; None when it is not there.

    Index rows of the answers that it rejects go into ``witnesses``: they export nothing,
    and speak against the same answer elsewhere though their evidence was edited away.
    """
    path = raw_path(stem)
    entry = store.stat(path)
    if entry is None:
        return None
    source = source_for(stem)
    anchors = bytearray()
    for line in read_lines(store, path, ByteRange(0, entry.size, 0)):
        data = line.data
        record: EvidenceRecord | Refusal | None = None
        if data is not None and data.strip():
            sig = sha256(data)
            record = read_line(data, source, path, line.number, "", sig.hexdigest())
        if not isinstance(record, EvidenceRecord):
            anchors += _NO_ANCHOR
            continue
        anchors += _anchor(record)
        category, reasons, _ = score_record(record)
        if category in ("rejected", "needs_human_review"):
            keys = keys_of(record, stem, reasons)
            place = (_NOWHERE, _NOWHERE, line.number, CATEGORY_CODE[category], MISSING)
            witnesses.write(pack_row(sig.digest(), bytes(KEY_BYTES), keys, *place))
    return RawLog(bytes(anchors))


def _anchor(record: EvidenceRecord) -> bytes:
    """A record's digest but for the time of its run, which the raw line does not tell."""
    timeless = replace(record, provenance=replace(record.provenance, recorded_at=""))
    return sha256(encode(timeless)).digest()[:KEY_BYTES]


# ---------------------------------------------------------------------------- partition

Vouches = Callable[[EvidenceRecord, bytes], bool]
"""Whether an evidence record, of this hash, is what its raw line gives. The raw log tells, or
where it is gone, what the stages noted when they still had it."""


def rejoin(store: Store, day: str, stem: str, vouches: Vouches) -> Rejoined:
    """A partition's rows from its two files, each evidence line vouched for.

    It is scored by today's rules all the same.
    """
    scored_file = partition_path(SCORED, day, stem)
    evidence = _Evidence(store, day, stem, vouches)
    rows: list[bytes] = []
    witnesses: list[bytes] = []
    problems: list[Problem] = []
    for number, start, line in _lines(store, scored_file):
        body = line.rstrip(b"\r\n")
        key, category, refusal = _read_scored(body)
        found = evidence.claim(key, category, (start, len(line))) if key else None
        if isinstance(found, bytes):
            (rows if refusal is None else witnesses).append(found)
        elif refusal is None:
            refusal = found or evidence.absence(key)
        if refusal is not None:
            problems.append(Problem(scored_file, number, body, *refusal))
    for number, body, left in evidence.unclaimed():
        if isinstance(left, bytes):
            rows.append(left)
        else:
            problems.append(Problem(evidence.path, number, body, *left))
    return Rejoined(b"".join(rows), b"".join(witnesses), problems)


def _lines(store: Store, path: str) -> Iterator[tuple[int, int, bytes]]:
    """``(number, offset, line)`` of the lines of a file that are not blank."""
    if store.stat(path) is None:
        return
    with store.open(path) as handle:
        start = 0
        for number, line in enumerate(handle):
            if line.strip():
                yield number, start, line
            start += len(line)


def _read_scored(body: bytes) -> tuple[bytes | None, int, Refusal | None]:
    """The evidence hash and category code of a scored line, and what is wrong with it."""
    loaded = read_object(body)
    if isinstance(loaded, Refusal):
        problem = Refusal("invalid", loaded.detail)
        # A key that stands twice still tells which run is meant.
        found = _SIG.search(body)
        return (bytes.fromhex(found[1].decode()) if found else None), UNKNOWN, problem
    try:
        scored = decode(body, ScoredRun)
    except RecordError as error:
        problem = Refusal("invalid", list(error.problems))
        sig = loaded.get("sig_hash")
        known = isinstance(sig, str) and _SIG.fullmatch(f'"sig_hash":"{sig}"'.encode())
        return (bytes.fromhex(str(sig)) if known else None), UNKNOWN, problem
    return bytes.fromhex(scored.sig_hash), CATEGORY_CODE[scored.category], None


class _Evidence:
    """The evidence lines of a partition by hash, each given out once."""

    def __init__(self, store: Store, day: str, stem: str, vouches: Vouches) -> None:
        self.path = partition_path(EVIDENCE, day, stem)
        self._store = store
        self._stem = stem
        self._vouches = vouches
        self._lines: dict[bytes, tuple[int, int, int]] = {}
        self._claimed: set[bytes] = set()
        self._repeated: list[tuple[int, bytes, int]] = []
        for number, start, line in _lines(store, self.path):
            body = line.rstrip(b"\r\n")
            key = sha256(body).digest()
            if key in self._lines:
                self._repeated.append((number, body, self._lines[key][0]))
            else:
                self._lines[key] = (number, start, len(line))

    def absence(self, key: bytes | None) -> Refusal:
        """Why there is no evidence left for a scored run."""
        if key in self._claimed:
            return Refusal("duplicate", ["an earlier line scores the same evidence"])
        return Refusal("not_instructable", [f"its evidence is not in {self.path}"])

    def claim(self, key: bytes, category: int, scored: tuple[int, int]) -> bytes | Refusal | None:
        """The index row of a scored run (at ``scored``: start and size), or why its evidence
        cannot be used; None when there is none left of that hash."""
        place = self._lines.pop(key, None)
        if place is None:
            return None
        self._claimed.add(key)
        _, start, size = place
        record = self._sound(self._store.read(self.path, start, start + size), key)
        if isinstance(record, Refusal):
            return record
        verdict, reasons, _ = score_record(record)
        today = CATEGORY_CODE[verdict]
        flags = 0 if today == category else MISMATCH
        if scored == _NOWHERE:
            category, flags = today, MISSING
        return pack_row(
            bytes.fromhex(record.provenance.sig_hash),
            key,
            keys_of(record, self._stem, reasons),
            (start, scored[0]),
            (size, scored[1]),
            record.provenance.line_offset,
            category,
            flags,
        )

    def unclaimed(self) -> Iterator[tuple[int, bytes, bytes | Refusal]]:
        """``(number, line, row or refusal)`` of the evidence that no scored run has claimed."""
        for key, (number, start, size) in list(self._lines.items()):
            body = self._store.read(self.path, start, start + size).rstrip(b"\r\n")
            found = self.claim(key, UNKNOWN, _NOWHERE)
            assert found is not None
            yield number, body, found
        for number, body, first in self._repeated:
            yield number, body, Refusal("duplicate", [f"repeats line {first + 1}"])

    def _sound(self, line: bytes, sig: bytes) -> EvidenceRecord | Refusal:
        try:
            record = decode(line, EvidenceRecord)
        except RecordError as error:
            return Refusal("altered_evidence", list(error.problems))
        at = record.provenance
        if stem_from_source_file(at.source_file) != self._stem:
            return Refusal("altered_evidence", [f"names {at.source_file} as its raw log"])
        if at.line_offset >= _LARGEST or not self._vouches(record, sig):
            words = f"is not known to be what {at.source_file}:{at.line_offset + 1} gives"
            return Refusal("altered_evidence", [words])
        return record
