"""The manifest of segments: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.vectors.manifest import NAME, read_manifest, write_manifest


def _nothing(point: str) -> None:
    pass


def test_a_manifest_names_its_files(tmp_path: Path) -> None:
    """What was written is read, in order; without one there is none."""
    assert read_manifest(tmp_path) is None
    told: list[str] = []
    write_manifest(tmp_path, ["9-12.seg", "1-8.seg"], told.append)
    assert read_manifest(tmp_path) == ["1-8.seg", "9-12.seg"]
    assert told == ["manifest:written", "manifest:renamed"]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    write_manifest(tmp_path, [], _nothing)
    assert read_manifest(tmp_path) == []


def test_every_flipped_bit_and_every_missing_byte_is_found(tmp_path: Path) -> None:
    """A manifest that is not as it was written names nothing."""
    write_manifest(tmp_path, ["1-8.seg", "9-12.seg"], _nothing)
    path = tmp_path / NAME
    data = path.read_bytes()
    for at in range(len(data)):
        for bit in range(8):
            path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
            assert read_manifest(tmp_path) is None
        path.write_bytes(data[:at])
        assert read_manifest(tmp_path) is None


def test_a_name_with_a_path_is_refused(tmp_path: Path) -> None:
    """Even with a right checksum no manifest leads out of its folder."""
    write_manifest(tmp_path, ["../1-8.seg"], _nothing)
    assert read_manifest(tmp_path) is None


def test_a_manifest_that_cannot_be_read_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the system does not give names nothing, and the log says why."""
    (tmp_path / NAME).mkdir()
    assert read_manifest(tmp_path) is None
    assert f"{tmp_path / NAME} cannot be read: Is a directory" in caplog.text
