"""Where every file of a lake lives, and how raw files are read.

Paths are relative to the lake's root and use ``/``. This module knows names and byte
ranges; it never decides what a row means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from stillhouse.errors import LakeChangedError, LakeError
from stillhouse.interfaces import Store

RAW: Final = "_kb"
EVIDENCE: Final = "evidence"
SCORED: Final = "scored-runs"
DISTILLED: Final = "distilled"
QUARANTINE: Final = "quarantine"
PRIVATE: Final = ".stillhouse"
"""Lock, state, index and staging: derived, safe to delete when nobody writes."""

BASELINES: Final = f"{RAW}/audit_baselines.jsonl"
"""One audit baseline a line."""

TORN_BASELINES: Final = f"{BASELINES}.torn-"
"""How the names begin of what was cut off the end of that file."""

NOT_RUN_LOGS: Final = frozenset({"audit_baselines"})
"""Files under ``_kb/`` that are not run logs."""

UNIT_BYTES: Final = 8 << 20
"""Raw bytes a work unit covers: large enough to be cheap, small enough for memory."""

UNIT_LINES: Final = 16_384
"""Raw lines a work unit covers at most: a line of a few bytes becomes a record of a thousand."""

MAX_LINE_BYTES: Final = 16 << 20
"""A longer raw line is quarantined as ``too_large`` without being held in memory."""

_BLOCK: Final = 1 << 20


# ------------------------------------------------------------------------------- paths


def raw_path(stem: str) -> str:
    """The raw log of a stem."""
    return f"{RAW}/{stem}.jsonl"


def stem_of(path: str) -> str:
    """The stem of any lake file: its name without ``.jsonl``."""
    return PurePosixPath(path).name.removesuffix(".jsonl")


def partition_path(root: str, day: str, stem: str) -> str:
    """``evidence/2026/01/31/<stem>.jsonl`` for the day ``2026-01-31``."""
    return f"{root}/{day.replace('-', '/')}/{stem}.jsonl"


def partition_of(path: str) -> tuple[str, str] | None:
    """The ``(day, stem)`` of an evidence or scored-runs path; ``None`` for other paths."""
    parts = path.split("/")
    if len(parts) != 5 or not parts[4].endswith(".jsonl"):
        return None
    if [len(part) for part in parts[1:4]] != [4, 2, 2] or not "".join(parts[1:4]).isdigit():
        return None
    return "-".join(parts[1:4]), parts[4].removesuffix(".jsonl")


def evidence_path_for(scored_path: str) -> str:
    """The evidence file that a scored-runs file pairs with (SPEC section 1)."""
    if scored_path.startswith(f"{SCORED}/"):
        return EVIDENCE + scored_path[len(SCORED) :]
    return scored_path.replace(f"/{SCORED}/", f"/{EVIDENCE}/", 1)


# ----------------------------------------------------------------------------- raw files


def check_lake(store: Store) -> None:
    """Raise `LakeError` for what is no lake, so that nothing is written into a folder that was
    given by mistake: it holds neither raw logs nor evidence made of them."""
    store.check_readable()
    root, made = store.local_path(RAW), store.local_path(EVIDENCE)
    if root is not None and made is not None and not root.is_dir() and not made.is_dir():
        raise _no_logs(store, root)


def _no_logs(store: Store, root: Path) -> LakeError:
    if root.resolve().parent.name == RAW:
        return LakeError(f"you gave the {RAW} folder; give its parent", where=store.url)
    return LakeError(
        f"has no {RAW} folder, so there is nothing to read",
        where=store.url,
        way_out=f"Put run logs into {RAW}/<stem>.jsonl, or write an example lake "
        "with `stillhouse demo DIR`.",
    )


class RawFile(NamedTuple):
    """One raw log: its path, stem, size in bytes and cheap fingerprint."""

    path: str
    stem: str
    size: int
    fingerprint: str


def raw_files(store: Store) -> tuple[list[RawFile], list[str]]:
    """The lake's run logs, sorted by stem, and what stands under ``_kb/`` but is none.

    Raises `LakeError` when the lake is missing or has no ``_kb`` folder.
    """
    store.check_readable()
    found, odd = [], []
    for entry in store.list(RAW):
        inside = entry.path[len(RAW) + 1 :]
        if inside.startswith("."):
            odd.append(f"{entry.path}: its name starts with a dot; not read")
        elif entry.path.startswith(TORN_BASELINES):
            continue
        elif "/" in inside or not inside.endswith(".jsonl"):
            odd.append(f"{entry.path}: not a run log (those are {RAW}/<stem>.jsonl); left alone")
        elif stem_of(inside) not in NOT_RUN_LOGS:
            found.append(RawFile(entry.path, stem_of(inside), entry.size, entry.fingerprint))
    root = store.local_path(RAW)
    if root is not None:
        if not root.is_dir():
            raise _no_logs(store, root)
        names = {raw.path for raw in found}
        for child in sorted(root.glob("*.jsonl")):
            path = f"{RAW}/{child.name}"
            if path not in names and child.stem not in NOT_RUN_LOGS and child.name[0] != ".":
                kind = "a symbolic link that is broken or leaves the lake"
                if not child.is_symlink():
                    kind = "a folder" if child.is_dir() else "not a regular file"
                    kind = "a name that no file of a lake may have" if child.is_file() else kind
                # A name need not be text; a note must be.
                odd.append(f"{_shown(path)}: {kind}; not read")
    return sorted(found, key=lambda raw: raw.stem), odd


def _shown(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


class ByteRange(NamedTuple):
    """Whole raw lines: bytes ``start`` to ``end`` and the number of the first line.

    ``check`` is the CRC-32 of these bytes as they were hashed; None where nobody hashed them.
    """

    start: int
    end: int
    first_line: int
    check: int | None = None


class RawLine(NamedTuple):
    """One raw line without its line end. ``data`` is None when it is longer than the limit;
    ``digest`` is then its SHA-256 in hex (else empty, for the caller to compute)."""

    number: int
    size: int
    data: bytes | None
    digest: str


def read_lines(
    store: Store,
    path: str,
    part: ByteRange,
    longest: int = MAX_LINE_BYTES,
    at_once: int = UNIT_BYTES + MAX_LINE_BYTES,
) -> Iterator[RawLine]:
    """The lines of a range, blank ones too, in bounded memory.

    Line ends are ``\\n`` or ``\\r\\n`` and belong to no line. A line of more than ``longest``
    bytes is only hashed; a range of more than ``at_once`` bytes is read block by block.
    Raises `LakeChangedError` when the bytes are not those that the range was cut from: what
    is made of them would stand under the hash of others.
    """
    if part.end - part.start <= at_once:
        data = store.read(path, part.start, part.end)
        if len(data) != part.end - part.start:
            raise _changed(path, "became shorter")
        if part.check is not None and crc32(data) != part.check:
            raise _changed(path, "was rewritten")
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        del data
        for number, line in enumerate(lines, part.first_line):
            if line.endswith(b"\r"):
                line = line[:-1]
            if len(line) > longest:
                yield RawLine(number, len(line), None, hashlib.sha256(line).hexdigest())
            else:
                yield RawLine(number, len(line), line, "")
        return
    yield from _read_long_lines(store, path, part, longest, min(_BLOCK, at_once))


def _changed(path: str, how: str) -> LakeChangedError:
    return LakeChangedError(
        f"{how} while it was read",
        where=path,
        way_out="Run again when nothing rewrites it; appending to it is fine at any time.",
    )


def _read_long_lines(
    store: Store, path: str, part: ByteRange, longest: int, block_bytes: int
) -> Iterator[RawLine]:
    """The same for a range that holds a huge line: block by block, huge lines only hashed."""
    number, position = part.first_line, part.start
    pending = bytearray()
    size, hashed, check = 0, hashlib.sha256(), 0
    while position < part.end:
        block = store.read(path, position, min(position + block_bytes, part.end))
        if not block:
            raise _changed(path, "became shorter")
        position += len(block)
        check = crc32(block, check)
        at = 0
        while at < len(block):
            newline = block.find(b"\n", at)
            stop = len(block) if newline < 0 else newline
            size += stop - at
            pending += block[at:stop]
            if len(pending) > longest + 1:
                # One byte stays behind: it may be the CR of the line end.
                hashed.update(memoryview(pending)[:-1])
                del pending[:-1]
            if newline >= 0:
                yield _finish(number, size, pending, hashed, longest)
                number, size, pending, hashed = number + 1, 0, bytearray(), hashlib.sha256()
            at = stop + 1
    if size:
        yield _finish(number, size, pending, hashed, longest)
    if part.check is not None and check != part.check:
        raise _changed(path, "was rewritten")


def _finish(
    number: int, size: int, pending: bytearray, hashed: hashlib._Hash, longest: int
) -> RawLine:
    if pending.endswith(b"\r"):
        del pending[-1]
        size -= 1
    if size == len(pending) and size <= longest:
        return RawLine(number, size, bytes(pending), "")
    hashed.update(pending)
    return RawLine(number, size, None, hashed.hexdigest())


# ------------------------------------------------------------------------------ byte spans


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Bytes ``start`` to ``start + size`` of a stored file, holding ``rows`` lines."""

    path: str
    start: int
    size: int
    rows: int
