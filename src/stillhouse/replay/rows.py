"""Two files that should be the same, and are not: which of their rows part, and in which fields.

Rows are matched by where they come from (their provenance), so that one row too many does not
make all that follow it differ. Memory: 16 bytes a row of either file.

This module never decides which of the two is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.index import iter_lines
from stillhouse.interfaces import Store
from stillhouse.records import Record
from stillhouse.redaction import redact, redact_value

EXAMPLES: Final = 5
"""Rows of a file that are shown; all are counted."""

_WIDTH: Final = 90
_KEYS: Final = np.dtype([("key", "<u8"), ("line", "<u8")])

_Keys = npt.NDArray[np.void]


class RowParting(Record, frozen=True, kw_only=True):
    """A row that two files do not share.

    ``what`` says whether it is in both but ``changed``, in the first only (``missing``) or
    in the second only (``added``). ``line`` and ``replayed_line`` are its numbers, from 1,
    in the first and in the second file. ``source_file`` and ``line_offset`` (from 0) are its
    raw line. ``fields`` says of each field that differs how: ``was → is``, secrets out, clipped.
    """

    what: Literal["changed", "missing", "added"]
    line: int | None = None
    replayed_line: int | None = None
    source_file: str = ""
    line_offset: int | None = None
    fields: dict[str, str] = {}


class Difference(Record, frozen=True, kw_only=True):
    """How two files differ: ``rows`` that part, of which the first are ``examples``. A file that
    is not of rows has none; ``byte`` is then the first (from 0) that parts."""

    rows: int = 0
    examples: list[RowParting] = []
    byte: int | None = None


def compare(store: Store, path: str, other: Store, other_path: str) -> Difference:
    """How the second file differs from the first."""
    if not path.endswith(".jsonl"):
        return Difference(byte=_first_byte(store, path, other, other_path))
    first, second = _keys(store, path), _keys(other, other_path)
    keys, news = first["key"], second["key"]
    missing = np.flatnonzero(~np.isin(keys, news))
    added = np.flatnonzero(~np.isin(news, keys))
    _, at, now = np.intersect1d(keys, news, return_indices=True)
    parts = first["line"][at] != second["line"][now]
    order = np.argsort(at[parts], kind="stable")
    changed = list(zip(at[parts][order].tolist(), now[parts][order].tolist(), strict=True))
    rows = len(changed) + len(missing) + len(added)
    shown = changed[:EXAMPLES]
    shown += [(place, None) for place in missing[: EXAMPLES - len(shown)].tolist()]
    shown += [(None, place) for place in added[: EXAMPLES - len(shown)].tolist()]
    was = _lines(store, path, {at for at, _ in shown if at is not None})
    new = _lines(other, other_path, {now for _, now in shown if now is not None})
    examples = [_parting(at, now, was.get(at), new.get(now)) for at, now in shown]
    return Difference(rows=rows, examples=examples)


# ------------------------------------------------------------------------------- matching


class _Origin(msgspec.Struct):
    source_file: str = ""
    line_offset: int = -1


class _Key(msgspec.Struct):
    """All that tells rows of one file apart, whichever record they are."""

    provenance: _Origin | None = None
    origins: list[_Origin] = []
    rejected_provenance: _Origin | None = None
    chunk: int = 0
    source_file: str = ""
    line_offset: int = -1
    reason: str = ""


_DECODER: Final = msgspec.json.Decoder(_Key)


def _keys(store: Store, path: str) -> _Keys:
    """Of each line a key, equal for the rows of two files that are the same row, and its hash.

    Rows that say nothing of their origin (the dataset's own, but for their lineage) are matched by
    their number.
    """
    found: list[tuple[int, int]] = []
    blocks: list[_Keys] = []
    for number, (_, line) in enumerate(iter_lines(store, path)):
        try:
            key = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            key = _Key()
        told = msgspec.json.encode(key if key != _Key(reason=key.reason) else number)
        found.append((_hash(told), _hash(line)))
        if len(found) == 1 << 16:
            blocks.append(np.array(found, dtype=_KEYS))
            found = []
    blocks.append(np.array(found, dtype=_KEYS))
    return _told_apart(np.concatenate(blocks))


def _told_apart(keys: _Keys) -> _Keys:
    """Keys of which none is there twice: the second of two equal ones counts as another."""
    order = np.argsort(keys["key"], kind="stable")
    same = keys["key"][order]
    starts = np.flatnonzero(np.r_[True, same[1:] != same[:-1]]) if len(same) else np.zeros(0, int)
    nth = np.arange(len(same)) - np.repeat(starts, np.diff(np.r_[starts, len(same)]))
    keys["key"][order] = same + nth.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return keys


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _lines(store: Store, path: str, wanted: set[int]) -> dict[int | None, bytes]:
    """The lines of these numbers, from 0; none after the last of them is read."""
    found: dict[int | None, bytes] = {}
    for number, (_, line) in enumerate(iter_lines(store, path) if wanted else ()):
        if number in wanted:
            found[number] = line
            if len(found) == len(wanted):
                break
    return found


# -------------------------------------------------------------------------------- showing


def _parting(at: int | None, now: int | None, was: bytes | None, new: bytes | None) -> RowParting:
    fields = dict(_changes(_row(was), _row(new))) if was is not None and new is not None else {}
    origin = _origin(was if new is None else new)
    return RowParting(
        what="added" if was is None else "missing" if new is None else "changed",
        line=None if at is None else at + 1,
        replayed_line=None if now is None else now + 1,
        source_file=origin.source_file,
        line_offset=origin.line_offset if origin.line_offset >= 0 else None,
        fields=fields,
    )


def _origin(line: bytes | None) -> _Origin:
    """The raw line that a row comes from; of a pair that of its chosen side."""
    try:
        key = _DECODER.decode(line or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Origin()
    own = _Origin(key.source_file, key.line_offset)
    return key.provenance or (key.origins[0] if key.origins else own)


def _row(line: bytes | None) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line) if line is not None else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return row if isinstance(row, dict) else {}


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            was, now = _clear(old.get(name)), _clear(new.get(name))
            start = _common(was, now)
            yield redact(name, {}), f"{_clip(was, start)} → {_clip(now, start)}"


def _clear(value: Any) -> str:
    """A value as people read it, its secrets out."""
    clean = redact_value(value, {})
    return clean if isinstance(clean, str) else msgspec.json.encode(clean).decode()


def _common(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _clip(text: str, start: int) -> str:
    """The part of a long text in which it begins to differ."""
    if len(text) <= _WIDTH:
        return text
    start = max(0, min(start - _WIDTH // 4, len(text) - _WIDTH))
    end = start + _WIDTH
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


def _first_byte(store: Store, path: str, other: Store, other_path: str) -> int:
    done = 0
    with store.open(path) as first, other.open(other_path) as second:
        while True:
            one, two = first.read(1 << 20), second.read(1 << 20)
            if one != two or not one:
                pairs = enumerate(zip(one, two, strict=False))
                return done + next((i for i, (a, b) in pairs if a != b), min(len(one), len(two)))
            done += len(one)
