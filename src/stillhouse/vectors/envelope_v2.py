"""Version 2 of the envelope: sections with a checksum each, and one over everything.

docs/envelope.md has the layout byte by byte. It is written and read in one pass from front to
back, block by block, so that neither needs more memory than a block takes. Equal indexes give
equal bytes: blocks are cut by what is in them, not by how they came.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple

import msgspec
import numpy as np

from stillhouse.errors import VectorFailedError, VectorLimitError
from stillhouse.interfaces import Sink
from stillhouse.vectors.backend import Export
from stillhouse.vectors.envelope_parts import (
    ENOUGH_BYTES,
    MOST_ITEMS,
    Envelope,
    canonical,
    checked_batch,
    checked_spec,
    damaged,
    newer,
    object_of,
    shown,
)
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.values import Batch, Floats, IndexSpec, Metadata, Metric

MAGIC: Final = b"\x89SHVE\r\n\x1a"
"""As PNG's: a first byte that is no text, and line ends that a transfer as text would change."""

VERSION: Final = 2
START: Final = len(MAGIC) + 4

_HEAD: Final = struct.Struct("<4sI")
_CHECK: Final = struct.Struct("<I")
_COUNT: Final = struct.Struct("<I")
_END: Final = struct.Struct("<QQ")
_DIGEST: Final = 32
TRAILER: Final = _HEAD.size + _END.size + _DIGEST + _CHECK.size

_NONE: Final = 0xFFFF_FFFF
"""In place of a length: there is no metadata, which is not the same as an empty one."""

_MOST_SECTION: Final = 16 << 20
_MOST_ITEM: Final = 12 << 20
_HEADER_ROOM: Final = 4_096
"""Beside the name and the metadata of the index."""
_FIRST_READ: Final = 4_096


class Encoded(NamedTuple):
    """What was written: ``sha256`` is over all bytes but the last 36 (itself and its check)."""

    items: int
    bytes: int
    sha256: str


class Summary(NamedTuple):
    """What an envelope says of itself at its two ends."""

    spec: IndexSpec
    items: int
    sha256: str


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    dimension: int
    metric: Metric
    metadata: Metadata | None
    items: int

    def spec(self) -> IndexSpec:
        return IndexSpec(self.name, self.dimension, self.metric, self.metadata)


# ------------------------------------------------------------------------------ writing


class _Writer:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()
        self.position = 0

    def put(self, data: bytes) -> None:
        self._hash.update(data)
        self._sink.write(data)
        self.position += len(data)

    def section(self, kind: bytes, payload: bytes) -> None:
        head = _HEAD.pack(kind, len(payload))
        self.put(head)
        self.put(payload)
        self.put(_CHECK.pack(zlib.crc32(payload, zlib.crc32(head))))

    def end(self, items: int) -> Encoded:
        size = self.position + TRAILER
        head = _HEAD.pack(b"END ", _END.size + _DIGEST) + _END.pack(items, size)
        self.put(head)
        digest = self._hash.digest()
        self.put(digest + _CHECK.pack(zlib.crc32(head + digest)))
        return Encoded(items, size, digest.hex())


def write(export: Export, sink: Sink) -> Encoded:
    """Write an index that is exported. Raises what the sink and the export raise, and
    `VectorLimitError` for an item of more than 12 MiB."""
    spec = export.spec
    header = _Header(spec.name, spec.dimension, spec.metric, spec.metadata, export.total)
    writer = _Writer(sink)
    writer.put(MAGIC + _COUNT.pack(VERSION))
    writer.section(b"HEAD", msgspec.json.encode(header, order="sorted"))
    items = 0
    for ids, vectors, metadata in _blocks(export.batches):
        writer.section(b"IDS ", _COUNT.pack(len(ids)) + b"".join(map(_sized, ids)))
        writer.section(b"VECS", np.array(vectors, "<f4").tobytes())
        writer.section(b"META", b"".join(map(_sized, metadata)))
        items += len(ids)
    if items != export.total:
        # A backend's fault; a reader would refuse what this made.
        raise VectorFailedError(
            f"the index {spec.name!r} was to give {export.total:,} items and gave {items:,}"
        )
    return writer.end(items)


def _sized(data: bytes | None) -> bytes:
    return _COUNT.pack(_NONE) if data is None else _COUNT.pack(len(data)) + data


_Block = tuple[list[bytes], list[Floats], list[bytes | None]]


def _blocks(batches: Iterator[Batch]) -> Iterator[_Block]:
    """Items in blocks whose borders depend on nothing but the items."""
    block: _Block = ([], [], [])
    size, last = 0, ""
    for batch in batches:
        for id_, vector, metadata in zip(*batch, strict=True):
            if id_ <= last:
                raise VectorFailedError(f"the export gave {id_!r} after {last!r}")
            last, name = id_, id_.encode()
            one = len(name) + vector.nbytes + len(metadata or b"")
            if one > _MOST_ITEM:
                raise VectorLimitError(
                    [(f"item {id_!r}", f"takes {one:,} bytes; an envelope takes {_MOST_ITEM:,}")]
                )
            block[0].append(name)
            block[1].append(vector)
            block[2].append(metadata)
            size += one
            if len(block[0]) == MOST_ITEMS or size >= ENOUGH_BYTES:
                yield block
                block, size = ([], [], []), 0
    if block[0]:
        yield block


# ------------------------------------------------------------------------------ reading


class _Reader:
    """Takes bytes from the front, and keeps the hash of those it took."""

    def __init__(self, source: BinaryIO, first: bytes, where: str) -> None:
        self._source = source
        self._hash = hashlib.sha256(first)
        self.position = len(first)
        self.where = where

    def take(self, size: int, *, hashed: bool = True) -> bytes:
        pieces = []
        missing = size
        while missing and (data := self._source.read(missing)):
            pieces.append(data)
            missing -= len(data)
        if missing:
            raise damaged("it ends too early", self.where)
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if hashed:
            self._hash.update(taken)
        self.position += size
        return taken

    def section(self, *kinds: bytes, most: int = _MOST_SECTION) -> tuple[bytes, bytes]:
        """The next section's kind, which must be one of these, and its payload."""
        head = self.take(_HEAD.size)
        kind, length = _HEAD.unpack(head)
        if kind not in kinds:
            raise damaged(f"byte {self.position - _HEAD.size:,} begins no known part", self.where)
        if length > most:
            raise damaged(f"its part {_name(kind)} would be {length:,} bytes long", self.where)
        if kind == b"END ":
            self._end(head, length)
            return kind, b""
        payload = self.take(length)
        self._check(kind, zlib.crc32(payload, zlib.crc32(head)), self.take(_CHECK.size))
        return kind, payload

    def _check(self, kind: bytes, check: int, stored: bytes) -> None:
        if stored != _CHECK.pack(check):
            raise damaged(f"its part {_name(kind)} is not as it was written", self.where)

    def _end(self, head: bytes, length: int) -> None:
        if length != _END.size + _DIGEST:
            raise damaged("its end is not as it was written", self.where)
        counts = self.take(_END.size)
        mine = self._hash.digest()
        digest = self.take(_DIGEST, hashed=False)
        check = zlib.crc32(head + counts + digest)
        self._check(b"END ", check, self.take(_CHECK.size, hashed=False))
        self.items, size = _END.unpack(counts)
        if digest != mine:
            raise damaged("it is not as it was written: its SHA-256 is another", self.where)
        if size != self.position or self._source.read(1):
            raise damaged("something was put behind it", self.where)


def _name(kind: bytes) -> str:
    return kind.decode().strip()


def read(source: BinaryIO, first: bytes, limits: Limits, where: str) -> Envelope:
    """Read an envelope whose `START` first bytes were taken. See `envelope.decode`."""
    _check_version(first, where)
    reader = _Reader(source, first, where)
    _, payload = reader.section(b"HEAD", most=_most_header(limits))
    header = _header(payload, limits, where)
    spec, total = header.spec(), header.items
    return Envelope(VERSION, spec, total, 0, _batches(reader, spec, total, limits))


def _check_version(first: bytes, where: str) -> None:
    if len(first) < START:
        raise damaged("it ends too early", where)
    (version,) = _COUNT.unpack_from(first, len(MAGIC))
    if version > VERSION:
        raise newer(version, where)
    if version != VERSION:
        raise damaged(f"it has version {version}, which was never written like this", where)


def _most_header(limits: Limits) -> int:
    return limits.metadata_bytes + 6 * limits.name_bytes + _HEADER_ROOM


def _header(payload: bytes, limits: Limits, where: str) -> _Header:
    header: _Header = object_of(payload, _Header, "its header", where)
    spec = checked_spec(header.spec(), limits, where)
    return msgspec.structs.replace(header, metadata=spec.metadata)


def _batches(reader: _Reader, spec: IndexSpec, total: int, limits: Limits) -> Iterator[Batch]:
    where, seen, last = reader.where, 0, ""
    while True:
        kind, payload = reader.section(b"IDS ", b"END ")
        if kind == b"END ":
            break
        ids = _ids(payload, where)
        for id_ in ids:
            if id_ <= last:
                raise damaged("its ids repeat, or are not in order", where)
            last = id_
        vectors = _vectors(reader.section(b"VECS")[1], len(ids), spec, where)
        metadata = _metadata(reader.section(b"META")[1], ids, limits, where)
        seen += len(ids)
        yield checked_batch(ids, vectors, metadata, spec, limits, where)
    if not seen == total == reader.items:
        raise damaged(f"it says {total:,} items and holds {seen:,}", where)


def _ids(payload: bytes, where: str) -> list[str]:
    count = _COUNT.unpack_from(payload)[0] if len(payload) >= _COUNT.size else 0
    if not 0 < count <= MOST_ITEMS:
        raise damaged(f"a block of it would have {count:,} items", where)
    try:
        return [(data or b"").decode() for data in _split(payload, _COUNT.size, count, where)]
    except UnicodeDecodeError:
        raise damaged("an id of it is no text", where) from None


def _vectors(payload: bytes, count: int, spec: IndexSpec, where: str) -> Floats:
    if len(payload) != count * spec.dimension * 4:
        raise damaged("its vectors are not as many as its ids", where)
    # A copy in this machine's own order: a view would keep the whole block, read-only.
    return np.frombuffer(payload, "<f4").astype(np.float32).reshape(count, spec.dimension)


def _metadata(payload: bytes, ids: list[str], limits: Limits, where: str) -> list[bytes | None]:
    """Canonical metadata. One is decoded at a time: as objects all of a block's would take up to
    thirty times its room."""
    found: list[bytes | None] = []
    for id_, data in zip(ids, _split(payload, 0, len(ids), where), strict=True):
        if data is None:
            found.append(None)
            continue
        if len(data) > limits.metadata_bytes:
            raise damaged(
                f"the metadata of {shown(id_)} is {len(data):,} bytes long; "
                f"at most {limits.metadata_bytes:,} are allowed",
                where,
            )
        value = object_of(data, Metadata, f"the metadata of {shown(id_)}", where)
        found.append(canonical(id_, value, limits, where))
    return found


def _split(payload: bytes, at: int, count: int, where: str) -> Iterator[bytes | None]:
    """The ``count`` pieces that fill a payload, each behind its length."""
    for _ in range(count):
        if at + _COUNT.size > len(payload):
            raise damaged("a part of it is too short for its block", where)
        (length,) = _COUNT.unpack_from(payload, at)
        at += _COUNT.size
        if length == _NONE:
            yield None
            continue
        if length > len(payload) - at:
            raise damaged("a length in it goes beyond its part", where)
        yield payload[at : at + length]
        at += length
    if at != len(payload):
        raise damaged("a part of it is too long for its block", where)


# ------------------------------------------------------------------- looking at the ends


def summary(read: Callable[[int, int], bytes], size: int, limits: Limits, where: str) -> Summary:
    """What an envelope says of itself, by reading its first and its last bytes only; what lies
    between is not looked at. ``read`` gives the bytes from one place to another.

    Raises `VectorDamagedError` as `envelope.decode` does, and for a length that is not ``size``.
    """
    first = read(0, min(size, _FIRST_READ))
    if len(first) < min(size, _FIRST_READ):
        raise damaged("it ends too early", where)
    if first[: len(MAGIC)] != MAGIC:
        raise damaged("it is no envelope of version 2", where)
    _check_version(first[:START], where)
    if size < START + _HEAD.size + _CHECK.size + TRAILER:
        raise damaged("it ends too early", where)
    kind, length = _HEAD.unpack_from(first, START)
    end = START + _HEAD.size + length + _CHECK.size
    if kind != b"HEAD" or length > _most_header(limits) or end + TRAILER > size:
        raise damaged("its header is not as it was written", where)
    section = first[START:end] + (read(len(first), end) if end > len(first) else b"")
    if section[-_CHECK.size :] != _CHECK.pack(zlib.crc32(section[: -_CHECK.size])):
        raise damaged("its header is not as it was written", where)
    header = _header(section[_HEAD.size : -_CHECK.size], limits, where)
    tail = read(size - TRAILER, size)
    if (
        tail[-_CHECK.size :] != _CHECK.pack(zlib.crc32(tail[: -_CHECK.size]))
        or _HEAD.unpack_from(tail) != (b"END ", _END.size + _DIGEST)
        or _END.unpack_from(tail, _HEAD.size) != (header.items, size)
    ):
        raise damaged("its end is missing or not as it was written", where)
    digest = tail[_HEAD.size + _END.size : -_CHECK.size]
    return Summary(header.spec(), header.items, digest.hex())
