"""Reading what the vector commands are given: items from JSON lines or columns, query vectors.

A line that cannot be read has its place and its reason; nothing is passed over in silence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import repeat, zip_longest
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec
import numpy as np

from stillhouse.cli.vectors_options import TOO_DEEP, parse
from stillhouse.errors import UsageError
from stillhouse.storage.paths import disk_error
from stillhouse.vectors import Item

STDIN: Final = "-"
LINE_BYTES: Final = 64 * 1024 * 1024
"""The longest line that is read; it goes into memory."""
_NO_TEXT: Final = "is no UTF-8"


class _Base64(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    base64: bytes


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    vector: list[float] | _Base64
    metadata: dict[str, Any] | None = None


class Row(NamedTuple):
    """A line and where it stands: the item that it is, or why it is none. ``size`` is in bytes."""

    place: str
    line: bytes
    item: Item | None
    reason: str = ""

    @property
    def size(self) -> int:
        """How much of a batch it takes, roughly."""
        vector = 0 if self.item is None else 4 * len(self.item.vector)
        return len(self.line) + vector


# ------------------------------------------------------------------------------- items


def rows_of_lines(file: str) -> Iterator[Row]:
    """The items of a file of JSON lines ``{"id", "vector", "metadata"?}``; ``-`` is standard
    input. A vector is a list of numbers, or ``{"base64": …}`` of little-endian float32."""
    decoder = msgspec.json.Decoder(_Line)
    for place, line in _lines(file):
        if not line.strip():
            continue
        if len(line) > LINE_BYTES:
            yield Row(place, line[:1000], None, f"is longer than {LINE_BYTES:,} bytes")
            continue
        try:
            read = decoder.decode(line)
            vector = read.vector
            numbers = _floats(vector.base64) if isinstance(vector, _Base64) else vector
            yield Row(place, line, Item(read.id, numbers, read.metadata))
        except UnicodeDecodeError:
            yield Row(place, line, None, _NO_TEXT)
        except (msgspec.DecodeError, ValueError) as error:
            yield Row(place, line, None, f"{error}{_unlike_json(line)}")
        except RecursionError:
            yield Row(place, line, None, TOO_DEEP)


def rows_of_columns(ids: str, vectors: str, metadata: str | None) -> Iterator[Row]:
    """The items of a file of ids, one a line, with the rows of a NumPy array (``.npy``) and, a
    line each, their metadata as JSON. Raises `UsageError` when they are not equally many: before
    the first item, but for what comes from a pipe, which can be read only once."""
    array = load_array(vectors)
    if array.ndim != 2:
        raise UsageError("must be an array of two dimensions, one row an item", where=vectors)
    if ids == metadata == STDIN:
        raise UsageError("ids and metadata cannot both come from standard input")
    for file in filter(None, (ids, metadata)):
        if Path(file).is_file() and (count := sum(1 for _ in _lines(file))) != len(array):
            raise UsageError(f"has {count:,} lines; {vectors} has {len(array):,} rows", where=file)
    decoder = msgspec.json.Decoder(dict[str, Any] | None)
    others = repeat(("", b"null"), len(array)) if metadata is None else _lines(metadata)
    for at, (named, beside, vector) in enumerate(zip_longest(_lines(ids), others, array)):
        if named is None or beside is None or vector is None:
            short = ids if named is None else vectors if vector is None else metadata
            raise UsageError(f"ends after {at:,} items, and the others go on", where=str(short))
        yield _row_of_columns(named, beside, vector, decoder)


def _row_of_columns(
    named: tuple[str, bytes],
    beside: tuple[str, bytes],
    vector: Any,
    decoder: msgspec.json.Decoder[dict[str, Any] | None],
) -> Row:
    """An item from its lines, each with its place, and its row of the array."""
    place, line = named
    where = place
    try:
        id_, where = line.decode(), beside[0] or place
        return Row(place, line, Item(id_, vector, decoder.decode(beside[1])))
    except UnicodeDecodeError:
        return Row(where, line, None, _NO_TEXT)
    except msgspec.DecodeError as error:
        return Row(where, line, None, str(error))
    except RecursionError:
        return Row(where, line, None, TOO_DEEP)


def _unlike_json(line: bytes) -> str:
    """What other writers of JSON put into it, where that may be why it cannot be read."""
    found = [word for word in ("NaN", "Infinity") if word.encode() in line]
    return f" ({' and '.join(found)} can be no number of a vector)" if found else ""


def _floats(data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    if len(data) % 4:
        raise ValueError(f"its base64 holds {len(data):,} bytes, which are no whole float32")
    return np.frombuffer(data, "<f4")


def _lines(file: str) -> Iterator[tuple[str, bytes]]:
    """The lines of a file without their ends, each with its place; one that is too long comes
    cut off after one byte too many."""
    name = "stdin" if file == STDIN else file
    try:
        with _opened(file) as stream:
            number = 0
            while line := stream.readline(LINE_BYTES + 2):
                number += 1
                whole = line.endswith(b"\n")
                yield f"{name}:{number}", line.rstrip(b"\r\n")
                while not whole and (rest := stream.readline(LINE_BYTES)):
                    whole = rest.endswith(b"\n")
    except OSError as error:
        raise disk_error(error, "read it", name) from error


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    if file != STDIN:
        return open(file, "rb")
    if sys.stdin is None:
        raise UsageError("standard input is closed, so there is nothing to read")
    return nullcontext(sys.stdin.buffer)


# ----------------------------------------------------------------------------- vectors


def load_array(file: str) -> Any:
    """The array of numbers in a ``.npy`` file, left on disk until it is looked at. Raises
    `UsageError` when it is none, or could run code."""
    try:
        array: Any = np.lib.format.open_memmap(file, mode="r")  # never unpickles
    except OSError as error:
        raise disk_error(error, "read it", file) from error
    except (ValueError, EOFError, OverflowError, TypeError, MemoryError, TokenError):
        raise UsageError("is no array of numbers that numpy.save wrote", where=file) from None
    if array.dtype.kind not in "fiu":
        raise UsageError("must hold an array of numbers", where=file)
    return array


def read_vectors(text: str | None, file: str | None) -> Any:
    """The query that a user gave as JSON or in a file (``.npy`` or JSON), else on standard
    input: a list of numbers or a list of such lists. Raises `UsageError`."""
    if text is not None and file is not None:
        raise UsageError("give --vector or --vector-file, not both")
    if text is not None:
        given = text.encode(errors="replace")
        return parse(given, "--vector", list[Any], "Write it as '[0.1, 0.2, 0.3]'.")
    if file is not None and file.endswith(".npy"):
        return np.array(load_array(file))
    if file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError(
            "there is no vector to search with",
            way_out="Give --vector, --vector-file, or JSON on standard input.",
        )
    name = "stdin" if file is None or file == STDIN else file
    try:
        with _opened(file or STDIN) as stream:
            data = stream.read(LINE_BYTES + 1)
    except OSError as error:
        raise disk_error(error, "read it", name) from error
    if len(data) > LINE_BYTES:
        raise UsageError(f"is longer than {LINE_BYTES:,} bytes", where=name)
    return parse(data, name, list[Any])


class Refused:
    """The file that bad lines go to, made with the first of them; never one that is there."""

    def __init__(self, file: str | None) -> None:
        self.file, self.count = file, 0
        if file is not None and Path(file).exists():
            raise UsageError("is there already", where=file, way_out="Give another --refused.")

    def take(self, rows: Sequence[Row]) -> None:
        """Write rows down: place, reason and line of each."""
        assert self.file is not None
        try:
            with open(self.file, "ab" if self.count else "xb") as stream:
                for row in rows:
                    line = row.line.decode("utf-8", errors="backslashreplace")
                    told = {"place": row.place, "reason": row.reason, "line": line}
                    stream.write(msgspec.json.encode(told) + b"\n")
        except OSError as error:
            raise disk_error(error, "write it", self.file) from error
        self.count += len(rows)
