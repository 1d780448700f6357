"""The envelope: an index as one file, for export and for snapshots (SPEC V3).

    with backend.export("docs") as export, open(path, "wb") as file:
        encode(export, file)
    with open(path, "rb") as file, decode(file) as envelope:
        backend.load(envelope.spec, envelope.batches, replace=False)

Version 2 is written; versions 1 and 2 are read, told apart by how they begin. docs/envelope.md
describes both. Neither way takes the whole of an index into memory, and nothing is decoded that
`VectorStore.add` would refuse, whoever made the envelope.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from stillhouse.interfaces import Sink
from stillhouse.vectors import envelope_v1, envelope_v2
from stillhouse.vectors.backend import Export
from stillhouse.vectors.envelope_parts import Envelope, damaged
from stillhouse.vectors.envelope_v2 import Encoded
from stillhouse.vectors.limits import Limits

__all__ = ["Encoded", "Envelope", "decode", "encode", "verify"]

_BLANKS: Final = b" \t\n\r"


def encode(export: Export, sink: Sink) -> Encoded:
    """Write an exported index as an envelope of version 2. Equal indexes give equal bytes.

    Raises what the export and the sink raise, and `VectorLimitError` for an item of more than
    12 MiB.
    """
    return envelope_v2.write(export, sink)


@contextmanager
def decode(
    source: BinaryIO | bytes, limits: Limits | None = None, where: str = ""
) -> Iterator[Envelope]:
    """Read an envelope of either version, front to back, once.

    Raises `VectorDamagedError`: code ``envelope_damaged`` for what is no envelope, is not as it
    was written, or holds what the limits or the checks do not let in; ``envelope_version`` for a
    version that only a newer program knows. It may do so while ``batches`` are taken, up to the
    last. ``where`` is what the error calls it.
    """
    limits = limits or Limits()
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    first = _first(file)
    if first[: len(envelope_v2.MAGIC)] == envelope_v2.MAGIC:
        yield envelope_v2.read(file, first, limits, where)
    elif first and (not first.strip(_BLANKS) or first.strip(_BLANKS)[:1] == b"{"):
        with envelope_v1.read(file, first, limits, where) as envelope:
            yield envelope
    else:
        raise damaged("this is no envelope of an index", where)


def verify(source: BinaryIO | bytes, limits: Limits | None = None, where: str = "") -> Envelope:
    """Read an envelope to its end and keep nothing; its ``batches`` are spent. Raises as
    `decode`."""
    with decode(source, limits, where) as envelope:
        for _ in envelope.batches:
            pass
    return envelope


def _first(file: BinaryIO) -> bytes:
    first = b""
    while len(first) < envelope_v2.START and (data := file.read(envelope_v2.START - len(first))):
        first += data
    return first
