"""Envelopes for tests: a small index, its two forms, and a workshop that takes version 2 apart
and puts it together again with checksums that fit whatever it has become.

The workshop is written from docs/envelope.md and shares no code with the codec.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from stillhouse.vectors.backend import Backend, Export
from stillhouse.vectors.envelope import decode, encode
from stillhouse.vectors.memory import MemoryBackend
from stillhouse.vectors.values import Batch, IndexSpec

SPEC = IndexSpec("döcs", 3, "l2", {"made": "by hand"})
ITEMS: list[tuple[str, list[float], dict[str, Any] | None]] = [
    ("a", [0.5, -1.0, 2.0], {"lang": "en", "year": 2024, "tags": ["x", "ÿ"]}),
    ("b", [0.0, 0.0, 0.0], {}),
    ("c", [1.5, 3.25, -0.125], None),
    ("é", [1e-3, 1e10, -7.0], {"deep": {"er": [1.5, None, True]}}),
    ("🚀", [1.0, 2.0, 3.0], None),
]
V1 = (
    b'{"version": 1, "dimension": 3, "metric": "l2",\n'
    b' "vectors": {"a": [0.5, -1, 2.0], "b": [0.0, 0, 0.0], "c": [1.5, 3.25, -0.125],'
    b' "\xc3\xa9": [1e-3, 1e10, -7], "\\ud83d\\ude80": [1, 2, 3]},\n'
    b' "metadata": {"a": {"year": 2024, "tags": ["x", "\\u00ff"], "lang": "en"}, "b": {},'
    b' "\xc3\xa9": {"deep": {"er": [1.5, null, true]}}}}\n'
)
"""The same in version 1, where those without metadata are not seen."""


def rows(batches: Iterator[Batch]) -> list[tuple[str, bytes, Any]]:
    """Batches as comparable rows."""
    return [
        (id_, vector.tobytes(), None if metadata is None else json.loads(metadata))
        for batch in batches
        for id_, vector, metadata in zip(*batch, strict=True)
    ]


def expected(items: Sequence[tuple[str, list[float], Any]] = ITEMS) -> list[Any]:
    """Items as such rows."""
    return [(id_, np.array(vector, "<f4").tobytes(), meta) for id_, vector, meta in items]


def backend() -> MemoryBackend:
    """A backend with the small index."""
    made = MemoryBackend()
    made.create(SPEC)
    made.add(
        SPEC.name,
        Batch(
            [id_ for id_, _, _ in ITEMS],
            np.array([vector for _, vector, _ in ITEMS], np.float32),
            [None if one is None else canonical(one) for _, _, one in ITEMS],
        ),
    )
    return made


def canonical(value: object) -> bytes:
    """JSON as the store keeps it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def encoded(store: Backend, name: str = SPEC.name) -> bytes:
    """An index of a backend as an envelope."""
    sink = io.BytesIO()
    with store.export(name) as export:
        encode(export, sink)
    return sink.getvalue()


def again(data: bytes) -> bytes:
    """An envelope decoded, loaded and encoded again."""
    store = MemoryBackend()
    with decode(data) as found:
        spec = IndexSpec(found.spec.name or "unnamed", *_rest(found.spec))
        assert store.load(spec, found.batches, replace=False) == found.total
    return encoded(store, spec.name)


def _rest(spec: IndexSpec) -> tuple[Any, ...]:
    return (spec.dimension, spec.metric, spec.metadata)


def cut(whole: Export, size: int) -> Export:
    """The same export in batches of another size."""

    def batches() -> Iterator[Batch]:
        for ids, vectors, metadata in whole.batches:
            for at in range(0, len(ids), size):
                end = at + size
                yield Batch(ids[at:end], vectors[at:end], metadata[at:end])

    return Export(whole.spec, whole.total, batches())


# ------------------------------------------------------------------------- the workshop


class Part(NamedTuple):
    """A section; ``length`` is what it says of itself where that is not what it is."""

    kind: bytes
    payload: bytes
    length: int | None = None


def taken_apart(data: bytes) -> list[Part]:
    """The sections of a version-2 envelope, without its end."""
    parts, at = [], 12
    while data[at : at + 4] != b"END ":
        kind, length = struct.unpack_from("<4sI", data, at)
        parts.append(Part(kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def put_together(
    parts: Sequence[Part], items: int | None = None, size: int | None = None, version: int = 2
) -> bytes:
    """Sections as an envelope whose checksums all fit."""
    data = b"\x89SHVE\r\n\x1a" + struct.pack("<I", version)
    for kind, payload, length in parts:
        section = struct.pack("<4sI", kind, len(payload) if length is None else length) + payload
        data += section + struct.pack("<I", zlib.crc32(section))
    if items is None:
        items = sum(struct.unpack_from("<I", part.payload)[0] for part in parts if _is_ids(part))
    end = struct.pack("<4sIQQ", b"END ", 48, items, len(data) + 60 if size is None else size)
    digest = hashlib.sha256(data + end).digest()
    return data + end + digest + struct.pack("<I", zlib.crc32(end + digest))


def _is_ids(part: Part) -> bool:
    return part.kind == b"IDS " and len(part.payload) >= 4


def header(**changes: object) -> Part:
    """A header section, by default one for no items."""
    fields = {"name": "n", "dimension": 2, "metric": "l2", "metadata": None, "items": 0}
    return Part(b"HEAD", json.dumps({**fields, **changes}).encode())


def sized(*pieces: bytes | None) -> bytes:
    """Pieces, each behind its length."""
    return b"".join(
        b"\xff\xff\xff\xff" if piece is None else struct.pack("<I", len(piece)) + piece
        for piece in pieces
    )


def block(
    ids: Sequence[bytes], vectors: object, metadata: Sequence[bytes | None] | None = None
) -> list[Part]:
    """The three sections of a block."""
    return [
        Part(b"IDS ", struct.pack("<I", len(ids)) + sized(*ids)),
        Part(b"VECS", np.array(vectors, "<f4").tobytes()),
        Part(b"META", sized(*(metadata or [None] * len(ids)))),
    ]
