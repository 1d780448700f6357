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
_PLACES: Final = (0, _APART)
NEW: Final = ".new"
"""How the name of a mark ends that is being made."""


class Mark:
    """The open file. Used by the writer alone; every error is the system's `OSError`."""

    def __init__(self, path: Path, commit: int) -> None:
        """Open the file, which is made when it is missing, and have it tell of ``commit``: in
        both slots, so that neither is old or torn."""
        if not path.exists():
            _make(path, commit)
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._slot = 0
        try:
            slots = _read(path)
            if slots[0] == commit:
                self._slot = 1  # The one that tells is overwritten last.
            for _ in _PLACES:
                self.write(commit)
        except BaseException:
            os.close(self._handle)
            raise

    def write(self, commit: int) -> None:
        """Keep a commit's number; on disk when it returns."""
        os.pwrite(self._handle, _packed(commit), _PLACES[self._slot])
        os.fdatasync(self._handle)
        self._slot = 1 - self._slot

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def _make(path: Path, commit: int) -> None:
    """Make the file whole or not at all: half of it would tell of nothing, and be refused."""
    draft = path.with_name(path.name + NEW)
    data = _packed(commit).ljust(_APART, b"\0")
    with draft.open("wb") as file:
        file.write(data * len(_PLACES))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(str(path.parent))


def acknowledged(path: Path) -> int | None:
    """The last commit that a mark tells of; None when there is no such file.

    Raises `VectorDamagedError` when no slot can be read.
    """
    if not path.exists():
        return None
    found = [commit for commit in _read(path) if commit is not None]
    if not found:
        raise VectorDamagedError(
            "the mark of the last acknowledged commit cannot be read, so that lost writes would "
            "not show",
            where=str(path),
            way_out="Restore a snapshot, or remove this file to go on with what is there.",
        )
    return max(found)


def _packed(commit: int) -> bytes:
    head = struct.pack("<8sQ", _MAGIC, commit)
    return head + struct.pack("<I", zlib.crc32(head))


def _read(path: Path) -> list[int | None]:
    """What each slot tells; None for one that is not as it was written."""
    found: list[int | None] = []
    with path.open("rb") as file:
        for place in _PLACES:
            file.seek(place)
            data = file.read(_SLOT.size)
            sound = len(data) == _SLOT.size and data == _packed(_SLOT.unpack(data)[1])
            found.append(_SLOT.unpack(data)[1] if sound else None)
    return found
