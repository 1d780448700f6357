"""Snapshots of indexes: envelopes under names that sort by time (SPEC V9).

    <place>/<index, escaped>/<time>-<first 16 digits of the SHA-256>.envelope

A snapshot is one file and nothing beside it: listing reads the two ends of each. It shows one
state of the index, whatever is written meanwhile, and appears whole or not at all.

This module never writes over a snapshot, and never restores what it has not read to the end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from os import SEEK_END
from pathlib import Path
from string import ascii_letters, digits
from typing import Final

from stillhouse.errors import (
    StorageError,
    VectorBusyError,
    VectorDamagedError,
)
from stillhouse.interfaces import Entry
from stillhouse.records import utc_text
from stillhouse.vectors import envelope, envelope_v2
from stillhouse.vectors.backend import Backend
from stillhouse.vectors.envelope_files import load, told
from stillhouse.vectors.envelope_parts import damaged
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.refusals import index_exists, snapshot_not_found
from stillhouse.vectors.snapshot_places import Faults, Place, nothing, open_place
from stillhouse.vectors.values import LATEST, IndexSpec, SnapshotInfo

_SUFFIX: Final = ".envelope"
_ID: Final = re.compile(r"([0-9]{8}T[0-9]{12}Z)-([0-9a-f]{16})")
_PLAIN: Final = frozenset(f"{ascii_letters}{digits}_-".encode())
_TIME: Final = "%Y%m%dT%H%M%S%fZ"
_LONGEST: Final = 200
_TRIES: Final = 5


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Snapshots:
    """The snapshots at one place; `LATEST` stands for the newest id. ``now`` tells the time,
    ``faults`` is called at named points."""

    def __init__(
        self,
        place: Place | str | Path,
        *,
        limits: Limits | None = None,
        now: Callable[[], datetime] = _utc_now,
        faults: Faults = nothing,
    ) -> None:
        self._place = open_place(place, faults) if isinstance(place, str | Path) else place
        self._limits = limits or Limits()
        self._now = now
        self._faults = faults

    def take(self, backend: Backend, name: str) -> SnapshotInfo:
        """Write a snapshot of an index. Raises what the backend's export raises, and
        `VectorFailedError` when the place refuses: then there is none."""
        backend.spec(name)  # Before a folder is made for what is not there.
        folder = folder_of(name)
        with told(), self._place.draft(folder) as draft:
            with backend.export(name) as export:
                spec = export.spec
                written = envelope.encode(export, draft)
            self._faults("snapshot:encoded")
            for _ in range(_TRIES):
                time = self._now().astimezone(UTC)
                id_ = f"{time.strftime(_TIME)}-{written.sha256[:16]}"
                if draft.publish(f"{folder}/{id_}{_SUFFIX}"):
                    return _info(id_, spec, written.items, written.bytes, written.sha256)
        raise VectorBusyError(f"others write the same snapshot of {name!r} at the same time")

    def list(self, name: str) -> list[SnapshotInfo]:
        """The snapshots of an index by id, also when the index itself is gone. Those that can be
        seen to be damaged are among them, and say so."""
        with told():
            entries = _entries(self._place, name)
            if len(entries) < 2 or self._place.at_once == 1:
                found = [self._look(entry, name) for entry in entries]
            else:
                with ThreadPoolExecutor(self._place.at_once) as pool:
                    found = list(pool.map(lambda entry: self._look(entry, name), entries))
        return sorted((info for info in found if info is not None), key=lambda info: info.id)

    def _look(self, entry: Entry, name: str) -> SnapshotInfo | None:
        """What a snapshot says of itself; None when it is one of another index, which may share
        the folder where capitals do not count."""
        id_ = _id_of(entry.path, folder_of(name))
        where = self._at(entry.path)

        def read(start: int, end: int) -> bytes:
            return self._place.read(entry.path, start, end)

        try:
            found = _summary(read, entry.size, id_, self._limits, where)
        except VectorDamagedError as error:
            return SnapshotInfo(id=id_, index=name, bytes=entry.size, damaged=error.what)
        except StorageError as error:
            if self._place.stat(entry.path) is None:  # Deleted since it was listed.
                return None
            return SnapshotInfo(id=id_, index=name, bytes=entry.size, damaged=error.what)
        if found.spec.name != name:
            return None
        return _info(id_, found.spec, found.items, entry.size, found.sha256)

    def restore(
        self, backend: Backend, name: str, snapshot: str, into: str, *, replace: bool
    ) -> int:
        """Make an index of a snapshot, all or nothing; how many items it has.

        Raises `VectorConflictError` (``index_exists``) unless ``replace``, `VectorNotFoundError`
        (``snapshot_not_found``), `VectorDamagedError` before anything is touched, and what
        `Backend.load` raises.
        """
        snapshot = self._newest(name, snapshot)
        if not replace and into in backend.names():
            raise index_exists(into)
        path = self._path(name, snapshot)
        where = self._at(path)
        with told(), self._place.local(path) as file:

            def read(start: int, end: int) -> bytes:
                file.seek(start)
                return file.read(end - start)

            found = _summary(read, file.seek(0, SEEK_END), snapshot, self._limits, where)
            if found.spec.name != name:
                raise snapshot_not_found(name, snapshot)
            return load(backend, file, into, self._limits, where, replace=replace).items

    def delete(self, name: str, snapshot: str) -> None:
        """Remove a snapshot, also a damaged one. Raises `VectorNotFoundError`
        (``snapshot_not_found``)."""
        snapshot = self._newest(name, snapshot)
        path = self._path(name, snapshot)
        with told():
            entry = self._place.stat(path)
            if entry is None or self._look(entry, name) is None:
                raise snapshot_not_found(name, snapshot)
            self._place.delete(path)

    def _newest(self, name: str, snapshot: str) -> str:
        """An id as it is; that of the newest snapshot for `LATEST`."""
        if snapshot != LATEST:
            return snapshot
        with told():
            entries = sorted(_entries(self._place, name), key=lambda entry: entry.path)
            # Paths sort by time: as a rule the newest alone is read, however many there are.
            for entry in reversed(entries):
                if found := self._look(entry, name):
                    return found.id
        raise snapshot_not_found(name, snapshot)

    def _path(self, name: str, snapshot: str) -> str:
        if _ID.fullmatch(str(snapshot)):
            path = f"{folder_of(name)}/{snapshot}{_SUFFIX}"
            with told():
                if self._place.stat(path) is not None:
                    return path
        raise snapshot_not_found(name, snapshot)

    def _at(self, path: str) -> str:
        return f"{self._place.url.rstrip('/')}/{path}"


def folder_of(name: str) -> str:
    """An index's folder: its name, of which nothing but letters, digits, ``_`` and ``-`` of ASCII
    stays as it is. One too long for a file system goes by its hash, behind a sign that no
    escaped name has."""
    escaped = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name.encode())
    if len(escaped) <= _LONGEST:
        return escaped
    return f"={hashlib.sha256(name.encode()).hexdigest()}"


def _entries(place: Place, name: str) -> list[Entry]:
    """What is a snapshot by its name, of this index or of another that shares its folder."""
    folder = folder_of(name)
    return [entry for entry in place.list(folder) if _id_of(entry.path, folder)]


def _id_of(path: str, folder: str) -> str:
    """The id in the path of a snapshot; empty for what is none."""
    name = path.removeprefix(f"{folder}/")
    id_ = name.removesuffix(_SUFFIX)
    return id_ if id_ != name and _ID.fullmatch(id_) else ""


def _summary(
    read: Callable[[int, int], bytes], size: int, id_: str, limits: Limits, where: str
) -> envelope_v2.Summary:
    """What the envelope behind an id says of itself, and whether the id is its own."""
    found = envelope_v2.summary(read, size, limits, where)
    if not _created_at(id_) or not found.sha256.startswith(id_.rpartition("-")[2]):
        raise damaged("its name is that of another snapshot", where)
    return found


def _created_at(id_: str) -> str:
    try:
        return utc_text(datetime.strptime(id_.partition("-")[0], _TIME).replace(tzinfo=UTC))
    except ValueError:
        return ""


def _info(id_: str, spec: IndexSpec, items: int, size: int, sha256: str) -> SnapshotInfo:
    return SnapshotInfo(
        id=id_,
        index=spec.name,
        dimension=spec.dimension,
        metric=spec.metric,
        items=items,
        bytes=size,
        sha256=sha256,
        created_at=_created_at(id_),
    )
