"""The number of the last commit that was acknowledged, in a file of its own beside the database.

SQLite takes a damaged frame of its write-ahead log for the end of the log and says nothing: the
database is then whole and too old. The mark tells (docs/decisions/0015). Two slots take turns, so
that a write torn by a power loss leaves the other.

    offset 0 and 4096: "SHmark1\\0", commit (u64), CRC-32 of both (u32), little-endian
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Final

from stillhouse.errors import VectorDamagedError
from stillhouse.storage.disk import sync_folder

_SLOT: Final = struct.Struct("<8sQI")
_MAGIC: Final = b"SHmark1\0"
_APART: Final = 4096


class Mark:
    """The open file. Used by the writer alone; every error is the system's `OSError`."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it with commit 0 on disk.

        Raises `VectorDamagedError` when no slot of it can be read.
        """
        made = not path.exists()
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if made:
                os.pwrite(self._handle, bytes(2 * _APART), 0)
                os.pwrite(self._handle, _slot(0), 0)
                os.fsync(self._handle)
                sync_folder(str(path.parent))
            self.commit = _newest(self._handle, path)
        except BaseException:
            os.close(self._handle)
            raise

    def write(self, commit: int) -> None:
        """Keep a commit's number; on disk when it returns."""
        os.pwrite(self._handle, _slot(commit), (commit % 2) * _APART)
        os.fdatasync(self._handle)
        self.commit = commit

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def _slot(commit: int) -> bytes:
    head = struct.pack("<8sQ", _MAGIC, commit)
    return head + struct.pack("<I", zlib.crc32(head))


def _newest(handle: int, path: Path) -> int:
    found = []
    for at in (0, _APART):
        data = os.pread(handle, _SLOT.size, at)
        if len(data) == _SLOT.size:
            magic, commit, check = _SLOT.unpack(data)
            if magic == _MAGIC and check == zlib.crc32(data[:-4]):
                found.append(commit)
    if not found:
        raise VectorDamagedError(
            "the mark of the last acknowledged commit cannot be read, so that lost writes would "
            "not show",
            where=str(path),
            way_out="Restore a snapshot, or remove this file to go on with what is there.",
        )
    return int(max(found))
