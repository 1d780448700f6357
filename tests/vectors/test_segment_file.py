"""Files of segments: written whole or not at all, as documented; no wrong byte goes by."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.segment_file import SECTIONS, Header, SegmentWriter, read_segment

_HEADER = Header(3, 2, "cosine", "int8", 64)


def _content(name: str) -> bytes:
    return name.encode() * 7 if name != "inverted" else b""


def _write(path: Path) -> list[str]:
    told: list[str] = []
    writer = SegmentWriter(path)
    for name in SECTIONS:
        content = _content(name)
        writer.section(name, [content[:5], content[5:]])
        assert writer.written(name).tobytes() == content
    assert not path.exists()
    writer.finish(_HEADER, told.append)
    return told


def test_sections_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Every section and the header are there again, and nothing else in the folder."""
    path = tmp_path / "1-3.seg"
    assert _write(path) == ["seal:written", "seal:renamed"]
    assert list(tmp_path.iterdir()) == [path]
    file = read_segment(path)
    assert msgspec.structs.replace(file.header, sections={}) == _HEADER
    for name in SECTIONS:
        assert file.section(name).tobytes() == _content(name)


def test_the_layout_is_as_documented(tmp_path: Path) -> None:
    """Magic, header, checksums and places are where the module says."""
    path = tmp_path / "1-3.seg"
    _write(path)
    data = path.read_bytes()
    assert data[:8] == b"SHSEG\0\0\2"
    length, check = struct.unpack_from("<II", data, 8)
    assert zlib.crc32(data[:12] + bytes(4) + data[16:4096]) == check
    sections = msgspec.json.decode(data[16 : 16 + length])["sections"]
    assert list(sections) == list(SECTIONS)
    ends = [*(one[0] for one in sections.values()), len(data)][1:]
    assert sections["vectors"][0] == 4096
    for (name, (offset, size, check)), end in zip(sections.items(), ends, strict=True):
        assert offset % 64 == 0
        assert data[offset : offset + size] == _content(name)
        assert data[offset + size : end].strip(b"\0") == b""
        assert zlib.crc32(data[offset:end]) == check


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """One bit anywhere, in the header, a section or the zeros between, is one too many."""
    path = tmp_path / "1-3.seg"
    _write(path)
    data = path.read_bytes()
    used = 16 + struct.unpack_from("<I", data, 8)[0]
    places = [*range(used + 8), 4095, *range(4096, len(data))]
    for at in places:
        wrong = bytearray(data)
        wrong[at] ^= 1 << (at % 8)
        path.write_bytes(wrong)
        with pytest.raises(VectorDamagedError):
            read_segment(path)
    path.write_bytes(data)
    read_segment(path)


def test_every_truncation_and_every_addition_is_found(tmp_path: Path) -> None:
    """A file of another length is not the one that was written."""
    path = tmp_path / "1-3.seg"
    _write(path)
    data = path.read_bytes()
    for size in [0, 1, 15, 100, 4095, *range(4096, len(data), 13), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(VectorDamagedError):
            read_segment(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(VectorDamagedError):
        read_segment(path)


def test_sections_in_other_places_are_refused(tmp_path: Path) -> None:
    """A header whose own checksum holds, but whose sections do not cover the file, is refused."""
    path = tmp_path / "1-3.seg"
    _write(path)
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 8)[0]
    header = msgspec.json.decode(data[16 : 16 + length])
    offset, size, _ = header["sections"]["vectors"]
    end = header["sections"]["inverted"][0]
    # The first bytes belong to no section; a section is longer than its place; a name is unknown.
    later = [offset + 16, size - 16, zlib.crc32(data[offset + 16 : end])]
    longer = [offset, end - offset + 1, zlib.crc32(data[offset:end])]
    odd = {("odd" if name == "ids" else name): one for name, one in header["sections"].items()}
    for sections in (
        header["sections"] | {"vectors": later},
        header["sections"] | {"vectors": longer},
        odd,
    ):
        text = msgspec.json.encode(header | {"sections": sections})
        block = data[:8] + struct.pack("<II", len(text), 0) + text
        block += bytes(4096 - len(block))
        block = block[:12] + struct.pack("<I", zlib.crc32(block)) + block[16:]
        path.write_bytes(block + data[4096:])
        with pytest.raises(VectorDamagedError):
            read_segment(path)


def test_what_is_abandoned_leaves_nothing(tmp_path: Path) -> None:
    """A segment that was begun and given up is nowhere; giving up twice does no harm."""
    writer = SegmentWriter(tmp_path / "1-3.seg")
    writer.section("vectors", [b"abc"])
    assert len(list(tmp_path.iterdir())) == 1
    writer.abandon()
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_section_of_nothing_is_an_empty_array(tmp_path: Path) -> None:
    """No bytes cannot be mapped, and need not be."""
    writer = SegmentWriter(tmp_path / "1-3.seg")
    writer.section("vectors", [])
    assert writer.written("vectors").tobytes() == b""
    assert np.dtype(writer.written("vectors").dtype) == np.uint8
    writer.abandon()
