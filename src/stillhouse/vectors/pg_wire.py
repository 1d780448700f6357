"""Vectors as PostgreSQL's binary protocol carries them, so that they come back bit for bit.

pgvector sends a vector as two 16-bit numbers (dimension, 0) and big-endian float32; an array is
PostgreSQL's own frame around those. Source of the formats: `vector_send` and `vector_recv` of
pgvector, `array_send` of PostgreSQL. Nothing here talks to a database.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from psycopg import Connection, pq
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.rows import TupleRow

from stillhouse.vectors.values import Floats


class Wired(bytes):
    """A parameter that is in its binary form already; the statement's cast tells its type."""


class _WiredDumper(Dumper):
    format = pq.Format.BINARY

    def dump(self, obj: Wired) -> Buffer:
        return obj


def register(connection: Connection[TupleRow]) -> None:
    """Let a connection take `Wired` parameters."""
    connection.adapters.register_dumper(Wired, _WiredDumper)


def _row(dimension: int) -> list[tuple[str, object, tuple[int, ...]]]:
    return [("dimension", ">i2", ()), ("unused", ">i2", ()), ("numbers", ">f4", (dimension,))]


def wired_vector(vector: Floats) -> Wired:
    """One vector, to be cast to ``vector``."""
    return Wired(struct.pack(">hh", len(vector), 0) + vector.astype(">f4").tobytes())


def wired_vectors(vectors: Floats, type_oid: int) -> Wired:
    """Vectors of shape (n, d), to be cast to ``vector[]``; ``type_oid`` is that of ``vector``."""
    count, dimension = vectors.shape
    rows = np.zeros(count, np.dtype([("length", ">i4"), *_row(dimension)]))
    rows["length"] = 4 + 4 * dimension
    rows["dimension"] = dimension
    rows["numbers"] = vectors
    frame = struct.pack(">iiIii", 1, 0, type_oid, count, 1)  # dimensions, nulls, type, length, base
    return Wired(frame + rows.tobytes())


def vectors_of(found: Sequence[bytes], dimension: int) -> Floats:
    """What ``vector_send`` gave of several vectors, as float32 of shape (n, dimension)."""
    rows = np.frombuffer(b"".join(found), np.dtype(_row(dimension)))
    return np.ascontiguousarray(rows["numbers"], np.float32).reshape(len(found), dimension)
