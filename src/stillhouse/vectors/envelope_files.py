"""Envelopes as files of the user's own: an index out to a path, and in again.

A file is written whole or not at all, over a file that was there and over nothing else. It is
read to its end before anything is touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from stillhouse.errors import (
    LakeChangedError,
    StorageError,
    VectorFailedError,
    VectorNotFoundError,
)
from stillhouse.storage import LocalStore
from stillhouse.storage.paths import disk_error
from stillhouse.vectors import envelope, envelope_v2
from stillhouse.vectors.backend import Backend
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.refusals import index_exists
from stillhouse.vectors.values import EnvelopeInfo


def write_envelope(backend: Backend, name: str, path: str | Path) -> EnvelopeInfo:
    """Write an index to a file. Raises what the backend's export raises, and `VectorFailedError`
    when the disk refuses or the path is that of a pipe, a device or a folder: then it is as it
    was."""
    _refuse_special(path)
    folder, file = os.path.split(os.path.abspath(path))
    with (
        told(),
        backend.export(name) as export,
        LocalStore(folder).writer(file) as sink,
    ):
        written = envelope.encode(export, sink)
    return EnvelopeInfo(index=name, version=envelope_v2.VERSION, items=written.items)


def _refuse_special(path: str | Path) -> None:
    """Raise `VectorFailedError` for a pipe, a device or a folder. A file appears whole by taking
    the place of what was there: of /dev/null, too."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # Nothing is there; or writing will say what is wrong.
        return
    if not stat.S_ISREG(mode):
        raise VectorFailedError(
            "this is no regular file, and is left as it is",
            where=str(path),
            way_out="Give the path of a file, or one where nothing is.",
        )


def read_envelope(
    backend: Backend, path: str | Path, into: str, limits: Limits, *, replace: bool
) -> EnvelopeInfo:
    """Make an index of a file of either version, all or nothing.

    Raises `VectorConflictError` (``index_exists``) unless ``replace``, `VectorNotFoundError`
    (``file_not_found``), `VectorDamagedError` before anything is touched, `VectorFailedError`,
    and what `Backend.load` raises.
    """
    if not replace and into in backend.names():
        raise index_exists(into)
    with told():
        try:
            file = open(path, "rb")  # noqa: SIM115 – closed below
        except (FileNotFoundError, NotADirectoryError):
            raise VectorNotFoundError(
                "there is no such file", where=str(path), code="file_not_found"
            ) from None
        except (OSError, ValueError) as error:
            raise _unreadable(error, path) from None
        with file:
            try:
                return load(backend, file, into, limits, str(path), replace=replace)
            except OSError as error:
                raise _unreadable(error, path) from None


def _unreadable(error: Exception, path: str | Path) -> StorageError:
    # A path with a NUL in it is a ValueError.
    found = error if isinstance(error, OSError) else OSError(str(error))
    return disk_error(found, "read", str(path))


def load(
    backend: Backend, file: BinaryIO, into: str, limits: Limits, where: str, *, replace: bool
) -> EnvelopeInfo:
    """Make an index of an envelope that can be read twice: once to see that it is sound."""
    file.seek(0)
    envelope.verify(file, limits, where)
    file.seek(0)
    with envelope.decode(file, limits, where) as found:
        spec = msgspec.structs.replace(found.spec, name=into)
        items = backend.load(spec, found.batches, replace=replace)
    return EnvelopeInfo(index=into, version=found.version, items=items, left_out=found.left_out)


@contextmanager
def told() -> Iterator[None]:
    """What a place refuses, as an error of the vector store."""
    try:
        yield
    except (StorageError, LakeChangedError) as error:
        code = "disk_full" if "the disk is full" in error.what else ""
        raise VectorFailedError(
            error.what, where=error.where, way_out=error.way_out, code=code
        ) from None
