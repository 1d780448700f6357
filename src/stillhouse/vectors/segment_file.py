"""The file of a segment, byte for byte. Written once, whole or not at all; then only read.

    0      magic "SHSEG\\0\\0\\1"
    8      length of the header's JSON, u32
    12     CRC-32 of the block's other bytes, u32 (as if this field were zero)
    16     header: {"rows", "dimension", "metric", "codes", "sections": {name: [offset, length,
           crc]}}, padded with zeros to 4,096 bytes
    4096   sections, each beginning at a multiple of 64, `vectors` and `graph` at one of 4,096. A
           section's CRC-32 covers it with the zeros behind it, up to the next or to the file's end

    seqs      n × i64       ascending numbers of versions
    checks    n × u32       the truth's CRC-32 of each row
    inverted  n × f32       one over each vector's length; only under cosine
    id_ends, ids            n × u64 ends, and UTF-8 text end to end
    metadata_ends, metadata   n × i64 ends, and JSON end to end; where there is none, the end's
                              complement
    vectors   n × d × f32   as the user gave them
    graph                   faiss' serialised index

All numbers are little-endian. A flipped bit or a missing byte anywhere fails a checksum; the file
is then as good as missing, since all of it can be made again from the truth.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stillhouse.errors import VectorDamagedError
from stillhouse.storage.disk import sync_folder
from stillhouse.vectors.graph import Codes
from stillhouse.vectors.values import Metric

_MAGIC: Final = b"SHSEG\0\0\1"
_BLOCK: Final = 4_096
_SMALL: Final = 64
_READ: Final = 1 << 20
SECTIONS: Final = (
    "seqs",
    "checks",
    "inverted",
    "id_ends",
    "ids",
    "metadata_ends",
    "metadata",
    "vectors",
    "graph",
)
_PAGES: Final = frozenset({"vectors", "graph"})


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a segment file says of itself. ``sections`` are offset, length and CRC-32 by name."""

    rows: int
    dimension: int
    metric: Metric
    codes: Codes
    sections: dict[str, tuple[int, int, int]] = {}


class SegmentFile(NamedTuple):
    """An open segment: its header, and its bytes as they lie in the file, mapped."""

    header: Header
    data: npt.NDArray[np.uint8]

    def section(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a section."""
        offset, length, _ = self.header.sections[name]
        return self.data[offset : offset + length]


def write_segment(
    path: Path,
    header: Header,
    sections: dict[str, Callable[[], Iterable[bytes | memoryview]]],
    faults: Callable[[str], None],
) -> int:
    """Write a segment under ``path``, on disk when it returns; its size in bytes.

    ``sections`` give each section's bytes in pieces. Raises `OSError`; nothing is left then.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb", buffering=1 << 18) as file:
            file.write(bytes(_BLOCK))
            places: dict[str, tuple[int, int, int]] = {}
            for at, name in enumerate(SECTIONS):
                offset, check = file.tell(), 0
                for piece in sections[name]():
                    check = zlib.crc32(piece, check)
                    file.write(piece)
                length = file.tell() - offset
                last = at + 1 == len(SECTIONS)
                step = _BLOCK if not last and SECTIONS[at + 1] in _PAGES else _SMALL
                padding = bytes(-file.tell() % step)
                file.write(padding)
                places[name] = (offset, length, zlib.crc32(padding, check))
            size = file.tell()
            file.seek(0)
            file.write(_head(msgspec.structs.replace(header, sections=places)))
            file.flush()
            faults("seal:written")
            os.fsync(file.fileno())
        os.rename(temporary, path)
        sync_folder(str(path.parent))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    faults("seal:renamed")
    return size


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
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _BLOCK:
            raise _damaged(path, "it is too short")
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    view = memoryview(mapped)
    header = _header(bytes(view[:_BLOCK]), path)
    if set(header.sections) != set(SECTIONS):
        raise _damaged(path, "its sections are not those of a segment")
    starts = [header.sections[name][0] for name in SECTIONS]
    ends = [*starts[1:], size]
    for name, start, end in zip(SECTIONS, starts, ends, strict=True):
        offset, length, check = header.sections[name]
        if not _BLOCK <= start <= end <= size or offset + length > end:
            raise _damaged(path, f"section {name} has no place in it")
        if _crc(view[start:end]) != check:
            raise _damaged(path, f"section {name} is not as it was written")
    return SegmentFile(header, np.frombuffer(mapped, np.uint8))


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


def _crc(view: memoryview) -> int:
    check = 0
    for at in range(0, len(view), _READ):
        check = zlib.crc32(view[at : at + _READ], check)
    return check


def _damaged(path: Path, why: str) -> VectorDamagedError:
    return VectorDamagedError(why, where=str(path))
