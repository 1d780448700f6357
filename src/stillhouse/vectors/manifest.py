"""Which segment files of a folder count: `manifest.json`, written whole or not at all.

    {"version": 1, "files": ["1-4096.seg", …], "check": CRC-32 of the other two as canonical JSON}

Files that it does not name are leftovers of a process that died. Without a manifest that can be
read, no segment counts, and all are built again from the truth.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from stillhouse.storage.disk import make_folders, sync_folder

NAME: Final = "manifest.json"
_VERSION: Final = 1

_log = logging.getLogger(__name__)


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    files: list[str]
    check: int


def _check(files: list[str]) -> int:
    return zlib.crc32(msgspec.json.encode([_VERSION, files]))


def write_manifest(folder: Path, files: Iterable[str], faults: Callable[[str], None]) -> None:
    """Let these files count, from the moment of the rename on. Raises `OSError`."""
    names = sorted(files)
    make_folders(str(folder))
    temporary = folder / f".{NAME}.tmp"
    with open(temporary, "wb") as file:
        file.write(msgspec.json.encode(_Manifest(_VERSION, names, _check(names))))
        file.flush()
        os.fsync(file.fileno())
    faults("manifest:written")
    os.rename(temporary, folder / NAME)
    sync_folder(str(folder))
    faults("manifest:renamed")


def read_manifest(folder: Path) -> list[str] | None:
    """The files that count; None when there is no manifest, it cannot be read, or it is not as
    it was written."""
    try:
        data = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        # All that it names can be built from the truth, so it must not keep the truth closed.
        _log.warning("%s cannot be read: %s", folder / NAME, error.strerror or error)
        return None
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    files = manifest.files
    sound = manifest.version == _VERSION and manifest.check == _check(files)
    # A flip in the spelling, such as a blank, changes no meaning; a name with a path would.
    return files if sound and all(Path(name).name == name for name in files) else None
