"""The file of a segment, byte for byte. Written once, whole or not at all; then only read.

    0      magic "SHSEG\\0\\0\\2"
    8      length of the header's JSON, u32
    12     CRC-32 of the block's other bytes, u32 (as if this field were zero)
    16     header: {"rows", "dimension", "metric", "codes", "beam", "sections": {name: [offset,
           length, crc]}}, padded with zeros to 4,096 bytes
    4096   sections in this order, each beginning at a multiple of 64; a section's CRC-32 covers it
           with the zeros behind it, up to the next or to the file's end

    vectors   n × d × f32    as the user gave them
    inverted  n × f32        one over each vector's length; only under cosine
    seqs      n × i64        ascending numbers of versions
    checks    n × u32        the truth's CRC-32 of each row
    id_starts, ids           n + 1 × i64 and UTF-8 text: an id ends where the next one starts
    metadata_starts, metadata   n + 1 × i64 and JSON, likewise; of no bytes where an item has none
    graph                    faiss' serialised index; ``codes`` and ``beam`` are about it

All numbers are little-endian. A flipped bit or a missing byte anywhere fails a checksum when the
file is opened; it is then as good as missing, since all of it can be made again from the truth.
What becomes of a mapped file's bytes while it is open is not watched.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.errors import VectorDamagedError
from stillhouse.storage.disk import sync_folder
from stillhouse.vectors.graph import Codes
from stillhouse.vectors.values import Metric

_MAGIC: Final = b"SHSEG\0\0\2"
_BLOCK: Final = 4_096
_ALIGNED: Final = 64
_READ: Final = 1 << 20
SECTIONS: Final = (
    "vectors",
    "inverted",
    "seqs",
    "checks",
    "id_starts",
    "ids",
    "metadata_starts",
    "metadata",
    "graph",
)


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a segment file says of itself. ``codes`` are those of the graph, ``beam`` is how wide
    a search of it is by default; ``sections`` are offset, length and CRC-32 by name."""

    rows: int
    dimension: int
    metric: Metric
    codes: Codes
    beam: int
    sections: dict[str, tuple[int, int, int]] = {}


class SegmentFile(NamedTuple):
    """An open segment: its header, and its bytes as they lie in the file, mapped."""

    header: Header
    mapped: mmap.mmap
    data: npt.NDArray[np.uint8]

    def section(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a section."""
        offset, length, _ = self.header.sections[name]
        return self.data[offset : offset + length]


class SegmentWriter:
    """A segment file on its way: sections in the order of `SECTIONS`, then `finish` or `abandon`.
    Nothing lies under ``path`` before it is whole. Every method may raise `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._file = open(self._temporary, "w+b", buffering=1 << 18)  # noqa: SIM115 – see abandon
        self._places: dict[str, tuple[int, int, int]] = {}
        try:
            self._file.write(bytes(_BLOCK))
        except BaseException:
            self.abandon()
            raise

    def section(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write a section from its bytes in pieces."""
        offset, check = self._file.tell(), 0
        for piece in pieces:
            check = zlib.crc32(piece, check)
            self._file.write(piece)
        length = self._file.tell() - offset
        padding = bytes(-self._file.tell() % _ALIGNED)
        self._file.write(padding)
        self._places[name] = (offset, length, zlib.crc32(padding, check))

    def written(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a section that is written, mapped."""
        self._file.flush()
        offset, length, _ = self._places[name]
        if not length:
            return np.zeros(0, np.uint8)
        mapped = mmap.mmap(self._file.fileno(), offset + length, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, np.uint8, length, offset)

    def finish(self, header: Header, faults: Callable[[str], None]) -> None:
        """Put the file under its name, on disk."""
        self._file.seek(0)
        self._file.write(_head(msgspec.structs.replace(header, sections=self._places)))
        self._file.flush()
        faults("seal:written")
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._temporary, self._path)
        sync_folder(str(self._path.parent))
        faults("seal:renamed")

    def abandon(self) -> None:
        """Leave nothing behind. Raises nothing that matters less than why it is abandoned."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def _head(header: Header) -> bytes:
    text = msgspec.json.encode(header)
    block = _MAGIC + struct.pack("<II", len(text), 0) + text
    block += bytes(_BLOCK - len(block))
    return block[:12] + struct.pack("<I", zlib.crc32(block)) + block[16:]


def read_segment(path: Path) -> SegmentFile:
    """Open a segment and check every byte of it.

    Raises `VectorDamagedError` for what is not as it was written, `OSError` when the system
    refuses.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size < _BLOCK:
            raise _damaged(path, "it is too short")
        header = _header(file.read(_BLOCK), path)
        if set(header.sections) != set(SECTIONS):
            raise _damaged(path, "its sections are not those of a segment")
        starts = [header.sections[name][0] for name in SECTIONS]
        ends = [*starts[1:], size]
        if starts[0] != _BLOCK:
            raise _damaged(path, "it does not begin with its first section")
        for name, start, end in zip(SECTIONS, starts, ends, strict=True):
            _, length, check = header.sections[name]
            if not 0 <= length <= end - start:
                raise _damaged(path, f"section {name} has no place in it")
            if _crc(file, start, end) != check:
                raise _damaged(path, f"section {name} is not as it was written")
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    return SegmentFile(header, mapped, np.frombuffer(mapped, np.uint8))


def _header(block: bytes, path: Path) -> Header:
    length, check = struct.unpack_from("<II", block, 8)
    if block[:8] != _MAGIC:
        raise _damaged(path, "it is no segment of this version")
    if zlib.crc32(block[:12] + bytes(4) + block[16:]) != check or length > _BLOCK - 16:
        raise _damaged(path, "its header is not as it was written")
    try:
        return msgspec.json.decode(block[16 : 16 + length], type=Header)
    except msgspec.MsgspecError:
        raise _damaged(path, "its header cannot be read") from None


def _crc(file: io.FileIO, start: int, end: int) -> int:
    # Read, not mapped: looking at every byte would else count as memory of this process.
    buffer = memoryview(bytearray(_READ))
    file.seek(start)
    check = 0
    while start < end:
        got = file.readinto(buffer[: min(_READ, end - start)])
        if not got:
            return -1
        check = zlib.crc32(buffer[:got], check)
        start += got
    return check


def _damaged(path: Path, why: str) -> VectorDamagedError:
    return VectorDamagedError(why, where=str(path))
