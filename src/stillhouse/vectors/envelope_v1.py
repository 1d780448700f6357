"""Version 1 of the envelope, which is only read: one JSON object.

    {"version": 1, "dimension": 2, "metric": "cosine",
     "vectors": {"a": [0.5, 1.0], "b": [1.0, 0.0]},
     "metadata": {"a": {"lang": "en"}, "b": {}}}

Its ids are the keys of its metadata (SPEC V3): a vector without such a key is not seen, and is
counted. Fields and keys may come in any order, each once.

The text is never taken into memory as a whole, nor are the keys: it is read value by value into
a temporary database on disk, which tells repeated ids and brings vectors and metadata together.
"""

from __future__ import annotations

import codecs
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from stillhouse.errors import VectorDamagedError, VectorRequestError
from stillhouse.vectors import checks
from stillhouse.vectors.envelope_parts import (
    ENOUGH_BYTES,
    MOST_ITEMS,
    Envelope,
    canonical,
    checked_spec,
    damaged,
    newer,
    refused_items,
    shown,
)
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.schema import told
from stillhouse.vectors.values import Batch, IndexSpec

_FIELDS: Final = ("version", "dimension", "metric", "vectors", "metadata")
_CHUNK: Final = 64 << 10
_NUMBER: Final = 40
"""Characters of one number of a vector, with the blanks around it, if all are as long."""
_ESCAPED: Final = 8
"""How much longer the text of metadata may be than its canonical form: ``\\u0041`` is six."""
_BLANKS: Final = re.compile(r"[ \t\n\r]*")

_TABLES: Final = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE vectors (id TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE metadata (id TEXT PRIMARY KEY, data BLOB);
BEGIN;
"""


@contextmanager
def read(source: BinaryIO, first: bytes, limits: Limits, where: str) -> Iterator[Envelope]:
    """Read an envelope of which ``first`` was taken already. See `envelope.decode`."""
    try:
        # No name: a database of its own in a temporary file, which goes with the connection.
        with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as spool:
            spool.executescript(_TABLES)
            yield _read(_Text(source, first, limits, where), spool, limits, where)
    except sqlite3.Error as error:
        raise told(error, Path(where or "envelope")) from error


def _read(text: _Text, spool: sqlite3.Connection, limits: Limits, where: str) -> Envelope:
    header: dict[str, Any] = {}
    for field in text.members():
        if field not in _FIELDS or field in header:
            why = "repeats" if field in header else "has an unknown"
            raise damaged(f"it {why} field {shown(field)}", where)
        header[field] = None
        if field == "vectors":
            for id_ in text.members():
                _put(spool, "vectors", id_, _vector(id_, text.value(), limits, where), where)
        elif field == "metadata":
            for id_ in text.members():
                _put(spool, "metadata", id_, _metadata(id_, text.value(), limits, where), where)
        else:
            header[field] = text.value()
            _check_version(header.get("version", 1), where)
    text.end()
    if missing := [field for field in _FIELDS if field not in header]:
        raise damaged(f"it lacks {', '.join(missing)}", where)
    spec = IndexSpec("unnamed", header["dimension"], header["metric"])
    spec = checked_spec(spec, limits, where)
    total, left_out = _counts(spool, where)
    return Envelope(
        1,
        IndexSpec("", spec.dimension, spec.metric),
        total,
        left_out,
        _batches(spool, spec, where),
    )


def _check_version(version: object, where: str) -> None:
    if type(version) is int and version == 1:
        return
    if type(version) is int and version > 1:
        raise newer(version, where)
    raise damaged(f"its version is {shown(version)}", where)


def _vector(id_: str, value: object, limits: Limits, where: str) -> bytes:
    """A vector as little-endian float32. Whether it fits the index is seen later: the dimension
    may come last."""
    if not isinstance(value, list) or not value:
        raise damaged(f"the vector of {shown(id_)} is no list of numbers", where)
    spec = IndexSpec("unnamed", len(value), "l2")
    try:
        return checks.check_columns([id_], [value], None, spec, limits).vectors.tobytes()
    except VectorRequestError as error:
        raise refused_items([id_], error, where) from None


def _metadata(id_: str, value: object, limits: Limits, where: str) -> bytes | None:
    if problem := checks.id_problem(id_, limits):
        error = VectorRequestError([("items[0].id", problem)])
        raise refused_items([id_], error, where)
    return canonical(id_, value, limits, where)


# ------------------------------------------------------------------------ the database


def _put(spool: sqlite3.Connection, table: str, id_: str, data: bytes | None, where: str) -> None:
    try:
        spool.execute(f"INSERT INTO {table} VALUES (?, ?)", (id_, data))
    except sqlite3.IntegrityError:
        raise damaged(f"its {table} repeat the id {shown(id_)}", where) from None


def _counts(spool: sqlite3.Connection, where: str) -> tuple[int, int]:
    """How many items there are, and how many vectors are none for lack of metadata."""
    without = "SELECT {} FROM {} WHERE id NOT IN (SELECT id FROM {})".format
    bare = spool.execute(without("id", "metadata", "vectors") + " ORDER BY id LIMIT 1").fetchone()
    if bare is not None:
        raise damaged(f"the item {shown(bare[0])} has metadata and no vector", where)
    (total,) = spool.execute("SELECT count(*) FROM metadata").fetchone()
    (left_out,) = spool.execute(without("count(*)", "vectors", "metadata")).fetchone()
    return total, left_out


def _batches(spool: sqlite3.Connection, spec: IndexSpec, where: str) -> Iterator[Batch]:
    found = spool.execute(
        "SELECT id, vectors.data, metadata.data FROM metadata JOIN vectors USING (id) ORDER BY id"
    )
    rows: list[tuple[str, bytes, bytes | None]] = []
    size = 0
    for row in found:
        rows.append(row)
        size += len(row[1]) + len(row[2] or b"")
        if len(rows) == MOST_ITEMS or size >= ENOUGH_BYTES:
            yield _batch(rows, spec, where)
            rows, size = [], 0
    if rows:
        yield _batch(rows, spec, where)


def _batch(rows: list[tuple[str, bytes, bytes | None]], spec: IndexSpec, where: str) -> Batch:
    for id_, vector, _ in rows:
        if len(vector) != spec.dimension * 4:
            raise damaged(
                f"the vector of {shown(id_)} has {len(vector) // 4:,} dimensions; "
                f"the index has {spec.dimension:,}",
                where,
            )
    joined = b"".join(vector for _, vector, _ in rows)
    vectors = np.frombuffer(joined, np.float32).reshape(len(rows), spec.dimension)
    for at, problem in checks.bad_rows(vectors, spec):
        raise damaged(f"the vector of {shown(rows[at][0])} {problem}", where)
    return Batch([id_ for id_, _, _ in rows], vectors, [metadata for _, _, metadata in rows])


# ------------------------------------------------------------------------------ the text


class _RefusedError(Exception):
    """Ends the JSON scanner from inside it; never seen outside this module."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RefusedError("an object in it repeats a key")
    return found


def _constant(name: str) -> float:
    raise _RefusedError(f"{name} is no number of JSON")


_SCANNER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


class _Text:
    """JSON taken value by value from a file, of which a small window is in memory."""

    def __init__(self, source: BinaryIO, first: bytes, limits: Limits, where: str) -> None:
        self._source = source
        self._first = first
        self._where = where
        self._longest = max(
            _NUMBER * limits.dimension, _ESCAPED * limits.metadata_bytes, 6 * limits.id_bytes, 4_096
        )
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._window = ""
        self._at = 0
        self._before = 0
        self._ended = False

    def members(self) -> Iterator[str]:
        """The keys of an object; whoever takes one takes its value next."""
        self._expect("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            if self._peek() != '"':
                raise self._refused("there is no key")
            key = self.value()
            self._expect(":")
            yield key
            if self._peek() == "}":
                self._at += 1
                return
            self._expect(",")

    def value(self) -> Any:
        """The next value, whole. How much of the text it may take is bounded."""
        self._peek()
        while True:
            why = "there is no value"
            try:
                value, end = _SCANNER.raw_decode(self._window, self._at)
                # A number at the window's end may go on behind it.
                if end < len(self._window) or self._ended:
                    self._at = end
                    return value
            except _RefusedError as error:
                raise self._refused(str(error)) from None
            except RecursionError:
                raise self._refused("a value is nested too deeply") from None
            except ValueError as error:
                why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            held = len(self._window) - self._at
            if self._ended:
                raise self._refused(why)
            if held >= self._longest:
                raise self._refused(f"no value is whole within {held:,} characters ({why})")
            self._more(min(max(_CHUNK, held), self._longest - held))

    def end(self) -> None:
        """Nothing follows."""
        if self._peek():
            raise self._refused("something was put behind it")

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            raise self._refused(f"there is no {sign!r}")
        self._at += 1

    def _peek(self) -> str:
        """The next character that is no blank, which stays; empty at the end."""
        while True:
            blanks = _BLANKS.match(self._window, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._window) or self._ended:
                return self._window[self._at : self._at + 1]
            self._more(_CHUNK)

    def _more(self, size: int) -> None:
        data, self._first = self._first or self._source.read(size), b""
        self._ended = not data
        try:
            text = self._utf8.decode(data, final=self._ended)
        except UnicodeDecodeError:
            raise damaged("it is not valid UTF-8", self._where) from None
        self._before += self._at
        self._window, self._at = self._window[self._at :] + text, 0

    def _refused(self, why: str) -> VectorDamagedError:
        place = self._before + self._at + 1
        return damaged(f"it cannot be read from character {place:,} on: {why}", self._where)
