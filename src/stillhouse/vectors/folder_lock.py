"""One process a data folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from stillhouse.errors import VectorLockedError

_LONGEST: Final = 200


class FolderLock:
    """The lock of a folder, held from making to `close`, or to the end of the process."""

    def __init__(self, path: Path) -> None:
        """Raises `VectorLockedError` when another process, or another store of this one, has it."""
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._say_who()
        except BlockingIOError:
            holder = os.pread(self._handle, _LONGEST, 0).decode(errors="replace").strip()
            os.close(self._handle)
            raise VectorLockedError(
                f"another store has this folder open ({holder or 'it does not say who'})",
                where=str(path.parent),
                way_out="Stop that one, or talk to it over HTTP.",
            ) from None
        except BaseException:
            os.close(self._handle)
            raise

    def _say_who(self) -> None:
        """Write down whose the lock is, for people only: it holds on a full disk as well."""
        line = f"process {os.getpid()} on {os.uname().nodename}\n".encode()
        with suppress(OSError):
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, line, 0)

    def close(self) -> None:
        """Let go. The file stays: removing it would let two hold locks of that name."""
        os.close(self._handle)
