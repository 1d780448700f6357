"""Rows to read: raw lines of refused rows, and samples from the exports.

    refused rows → the raw lines they name → secrets out → the beginning
    export file → the first whole line behind each of a few places → secrets out → the beginning

What is read is bounded: raw logs are passed through in blocks, and of an export file only what
stands around the chosen places is read. Choices are by position, never by chance.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from stillhouse.exports import FILES
from stillhouse.funnel import KEPT_RAW, RefusalGroup
from stillhouse.interfaces import Store
from stillhouse.lake import RAW, raw_path, stem_of
from stillhouse.records import Message, QuarantineRow
from stillhouse.redaction import redact, redact_line
from stillhouse.report.facts import Excerpt, Part, RefusedRow, RefusedRows, Sample

LONGEST: Final = 4000
"""Characters of one text on the page."""

_DETAIL: Final = 600
_BLOCK: Final = 1 << 20
_MOST_PARTS: Final = 8
_MOST_GROUPS: Final = 60
_KINDS: Final = {"sft": 3, "preference": 2, "unpaired": 1, "rag": 2}
"""How many rows of each export are shown."""


def excerpt(text: str, longest: int = LONGEST) -> Excerpt:
    """The beginning of a text, with the secrets taken out of the whole of it."""
    clean = redact(text, {})
    return _cut(clean, longest, clean is not text)


def line_excerpt(line: bytes, longest: int = LONGEST) -> Excerpt:
    """The beginning of a raw line, its secrets taken out as `trace` does. Bytes that are not UTF-8
    are written as ``\\xff``."""
    text = line.decode(errors="backslashreplace")
    if text.encode() != line:
        return excerpt(text, longest)
    clean = redact_line(line)
    return _cut(clean.decode(), longest, clean != line)


def _cut(text: str, longest: int, redacted: bool) -> Excerpt:
    return Excerpt(text=text[:longest], left_out=max(0, len(text) - longest), redacted=redacted)


# ------------------------------------------------------------------------------ refused


def refused_rows(store: Store, groups: Iterable[RefusalGroup]) -> list[RefusedRows]:
    """The groups with their examples as they are shown."""
    kept = list(groups)[:_MOST_GROUPS]
    wanted: dict[str, set[int]] = {}
    for group in kept:
        for row in group.examples:
            log = raw_log_of(row.source_file)
            if row.raw is None and (row.raw_bytes or 0) <= KEPT_RAW and log:
                wanted.setdefault(log, set()).add(row.line_offset)
    lines = {path: lines_at(store, path, numbers) for path, numbers in wanted.items()}
    return [
        RefusedRows(
            stage=group.stage,
            reason=group.reason,
            category=group.category,
            rows=group.rows,
            examples=[_refused_row(row, lines) for row in group.examples],
        )
        for group in kept
    ]


def raw_log_of(source_file: str) -> str:
    """The path of the raw log that a row names, ``data/_kb/…`` taken as ``_kb/…``; empty when it
    names anything else, which nobody should be sent to."""
    path = raw_path(stem_of(source_file))
    return path if source_file in (path, f"data/{path}") and path.count("/") == 1 else ""


def _refused_row(row: QuarantineRow, lines: Mapping[str, Mapping[int, bytes | None]]) -> RefusedRow:
    raw, missing = None, ""
    if row.raw is not None:
        raw, missing = _unparsed(row)
    elif row.raw_bytes is not None and row.raw_bytes > KEPT_RAW:
        missing = f"its {row.raw_bytes:,} bytes are too many to be shown here"
    else:
        raw, missing = _from_log(row, lines.get(raw_log_of(row.source_file), {}))
    words = redact("; ".join(row.detail), {})
    return RefusedRow(
        source_file=row.source_file,
        line=row.line_offset + 1,
        detail=words if len(words) <= _DETAIL else f"{words[:_DETAIL].rstrip()} …",
        other=row.other or "",
        raw=raw,
        missing=missing,
    )


def _unparsed(row: QuarantineRow) -> tuple[Excerpt | None, str]:
    """The line that quarantine itself holds."""
    assert row.raw is not None
    if row.raw_encoding is None:
        return excerpt(row.raw), ""
    try:
        return line_excerpt(base64.b64decode(row.raw, validate=True)), ""
    except (binascii.Error, ValueError):
        return None, "what quarantine holds of it is not base64"


def _from_log(row: QuarantineRow, lines: Mapping[int, bytes | None]) -> tuple[Excerpt | None, str]:
    """The line in its raw log, if it is still the one that was refused."""
    if row.line_offset not in lines:
        return None, "the raw log is gone, or has no such line"
    line = lines[row.line_offset]
    if line is None:
        return None, "the line is too long to be shown here"
    if sha256(line).hexdigest() != row.sig_hash:
        return None, "the raw log has another line there now"
    return line_excerpt(line), ""


def lines_at(
    store: Store, path: str, numbers: Iterable[int], longest: int = KEPT_RAW
) -> dict[int, bytes | None]:
    """The lines with these numbers (from 0) without their line ends, as far as the file has them;
    None for one of more than ``longest`` bytes. Memory holds one block and one line."""
    wanted = sorted(set(numbers), reverse=True)
    found: dict[int, bytes | None] = {}
    if not wanted or store.stat(path) is None:
        return found
    number, head = 0, b""  # The line in progress, and what was read of it.
    with store.open(path) as handle:
        while wanted:
            block = handle.read(_BLOCK)
            if not block:
                if head and wanted[-1] == number:
                    found[number] = _whole(head, longest)
                return found
            last = number + block.count(b"\n")
            if wanted[-1] < last:
                pieces = (head + block).split(b"\n")
                while wanted and wanted[-1] < last:
                    at = wanted.pop()
                    found[at] = _whole(pieces[at - number], longest)
                head = pieces[-1]
            else:
                head = block[block.rfind(b"\n") + 1 :] if last > number else head + block
            # One byte more than the longest, and one for the CR, shows that it is longer.
            head, number = head[: longest + 2], last
    return found


def _whole(line: bytes, longest: int) -> bytes | None:
    line = line.removesuffix(b"\r")
    return line if len(line) <= longest else None


# ------------------------------------------------------------------------------ samples


def samples(store: Store) -> list[Sample]:
    """A few exported rows of each kind, spread evenly over its file."""
    found: list[Sample] = []
    for stage in FILES.values():
        for kind, path in stage.items():
            if kind in _KINDS and store.stat(path) is not None:
                found += _samples_of(store, kind, path, _KINDS[kind])
    return found


def _samples_of(store: Store, kind: str, path: str, count: int) -> Iterator[Sample]:
    entry = store.stat(path)
    size, end = entry.size if entry else 0, 0
    for place in range(count):
        start = max(end, size * place // count)
        line, end = _line_behind(store, path, start, size)
        sample = _sample(kind, path, line, 100 * start // size) if line else None
        if sample is not None:
            yield sample


def _line_behind(store: Store, path: str, start: int, size: int) -> tuple[bytes, int]:
    """The first whole line that begins at ``start`` or behind it, and where it ends; no line where
    the next two blocks hold none."""
    begin = max(0, start - 1)
    data = store.read(path, begin, min(size, begin + 2 * _BLOCK))
    # The byte before tells whether a line begins right here.
    first = 0 if start == 0 else data.find(b"\n") + 1
    if start and not first:
        return b"", begin + len(data)
    end = data.find(b"\n", first)
    return (data[first:end], begin + end + 1) if end >= 0 else (b"", begin + len(data))


class _Origin(msgspec.Struct, frozen=True):
    source_file: str = ""
    line_offset: int = 0


class _Row(msgspec.Struct):
    """What is shown of an exported row, whichever kind it is of."""

    id: str
    instruction: str = ""
    context: str = ""
    response: str = ""
    category: str = ""
    pair_reason: str = ""
    task_id: str = ""
    label: bool | None = None
    text: str = ""
    chunk: int = 0
    chunks: int = 0
    messages: list[Message] | None = None
    prompt: list[Message] = []
    chosen: list[Message] = []
    rejected: list[Message] = []
    completion: list[Message] = []
    tools: list[Any] | None = None
    provenance: _Origin = _Origin()
    rejected_provenance: _Origin | None = None


def _sample(kind: str, path: str, line: bytes, at: int) -> Sample | None:
    try:
        row = msgspec.json.decode(line, type=_Row)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # `funnel` and `verify` say that the file is spoilt.
    parts = list(_parts(kind, row))
    return Sample(
        kind=kind,
        id=row.id,
        path=path,
        at=at,
        about=[redact(words, {})[:_DETAIL] for words in _about(row) if words],
        parts=parts[:_MOST_PARTS],
        parts_left_out=max(0, len(parts) - _MOST_PARTS),
    )


def _about(row: _Row) -> Iterator[str]:
    """What stands beside the text: the task, the verdict, the raw line."""
    yield f"task {row.task_id}" if row.task_id else ""
    if row.pair_reason:
        yield row.pair_reason
    elif row.label is not None:
        yield f"label {'true' if row.label else 'false'} ({row.category})"
    else:
        yield row.category
    yield f"piece {row.chunk + 1} of {row.chunks}" if row.chunks else ""
    yield f"{len(row.tools):,} tools offered" if row.tools else ""
    for origin in (row.provenance, row.rejected_provenance):
        if origin is not None and origin.source_file:
            yield f"from {origin.source_file}:{origin.line_offset + 1}"


def _parts(kind: str, row: _Row) -> Iterator[Part]:
    if kind == "rag":
        yield Part(label="text", text=excerpt(row.text))
    elif kind == "sft" and not row.messages:
        yield Part(label="instruction", text=excerpt(row.instruction))
        if row.context:
            yield Part(label="context", text=excerpt(row.context))
        yield Part(label="response", text=excerpt(row.response))
    elif kind == "sft":
        yield from _turns("", row.messages or [])
    else:
        yield from _turns("prompt", row.prompt)
        yield from _turns("chosen", row.chosen)
        yield from _turns("rejected", row.rejected)
        yield from _turns("completion", row.completion)


def _turns(side: str, messages: list[Message]) -> Iterator[Part]:
    for message in messages:
        label = f"{side}: {message.role}" if side else message.role
        if words := message.text():
            yield Part(label=label, text=excerpt(words))
        for call in message.tool_calls or ():
            given = call.function.arguments
            arguments = given if isinstance(given, str) else msgspec.json.encode(given).decode()
            words = f"{call.function.name}({arguments})"
            yield Part(label=f"{label} calls", text=excerpt(words))


def is_raw_place(place: str) -> bool:
    """True for ``_kb/<stem>.jsonl:LINE``."""
    path, _, line = place.rpartition(":")
    return path.startswith(f"{RAW}/") and raw_log_of(path) == path and line.isdigit()
