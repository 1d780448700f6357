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
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from msgspec.structs import replace

from stillhouse.errors import RecordError
from stillhouse.index import (
    CATEGORY_CODE,
    EMPTY,
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

    def gives(self, record: EvidenceRecord) -> bool:
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
        category = score_record(record).category
        if category in ("rejected", "needs_human_review"):
            keys = keys_of(record, stem)
            if not keys.flags & EMPTY:
                code = CATEGORY_CODE[category]
                place = (_NOWHERE, _NOWHERE, line.number, code, MISSING)
                witnesses.write(pack_row(sig.digest(), bytes(KEY_BYTES), keys, *place))
    return RawLog(bytes(anchors))


def _anchor(record: EvidenceRecord) -> bytes:
    """A record's digest but for the time of its run, which the raw line does not tell."""
    timeless = replace(record, provenance=replace(record.provenance, recorded_at=""))
    return sha256(encode(timeless)).digest()[:KEY_BYTES]


# ---------------------------------------------------------------------------- partition


def rejoin(store: Store, day: str, stem: str, raw: RawLog | None) -> Rejoined:
    """A partition's rows from its two files, checked against its raw log.

    Without a raw log the evidence is all there is, and stands as it is: it is scored by
    today's rules all the same.
    """
    scored_file = partition_path(SCORED, day, stem)
    evidence = _Evidence(store, day, stem, raw)
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
            refusal = found or _no_evidence(evidence.path)
        if refusal is not None:
            problems.append(Problem(scored_file, number, body, *refusal))
    for number, body, left in evidence.unclaimed():
        if isinstance(left, bytes):
            rows.append(left)
        else:
            problems.append(Problem(evidence.path, number, body, "not_scored", left.detail))
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


def _no_evidence(path: str) -> Refusal:
    return Refusal("missing_evidence", [f"its evidence is not in {path}, or is scored twice"])


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

    def __init__(self, store: Store, day: str, stem: str, raw: RawLog | None) -> None:
        self.path = partition_path(EVIDENCE, day, stem)
        self._store = store
        self._stem = stem
        self._raw = raw
        self._lines: dict[bytes, tuple[int, int, int]] = {}
        for number, start, line in _lines(store, self.path):
            key = sha256(line.rstrip(b"\r\n")).digest()
            self._lines.setdefault(key, (number, start, len(line)))

    def claim(self, key: bytes, category: int, scored: tuple[int, int]) -> bytes | Refusal | None:
        """The index row of a scored run (at ``scored``: start and size), or why its evidence
        cannot be used; None when there is none left of that hash."""
        place = self._lines.pop(key, None)
        if place is None:
            return None
        _, start, size = place
        record = self._sound(self._store.read(self.path, start, start + size))
        if isinstance(record, Refusal):
            return record
        today = CATEGORY_CODE[score_record(record).category]
        flags = 0 if today == category else MISMATCH
        if scored == _NOWHERE:
            category, flags = today, MISSING
        return pack_row(
            bytes.fromhex(record.provenance.sig_hash),
            key,
            keys_of(record, self._stem),
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

    def _sound(self, line: bytes) -> EvidenceRecord | Refusal:
        try:
            record = decode(line, EvidenceRecord)
        except RecordError as error:
            return Refusal("altered_evidence", list(error.problems))
        at = record.provenance
        if stem_from_source_file(at.source_file) != self._stem:
            return Refusal("altered_evidence", [f"names {at.source_file} as its raw log"])
        if at.line_offset >= _LARGEST or (self._raw is not None and not self._raw.gives(record)):
            words = f"is not what {at.source_file}:{at.line_offset + 1} gives"
            return Refusal("altered_evidence", [words])
        return record
