"""Snapshots in an object store, by conditional requests: what is there is never written over.

A small snapshot is one put on the condition that nothing is there. S3 knows no such condition for
an upload in parts through this client, so a large one goes up in parts under a name that is
never listed, is copied at the server on that condition, and the first is deleted. A writer that
is killed in between leaves an unlisted object; a lifecycle rule for ``.stillhouse-*.tmp`` clears
it.

This module never keeps more than a few parts in memory.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from stillhouse.errors import StorageError
from stillhouse.interfaces import Entry
from stillhouse.storage.objects import ObjectStore
from stillhouse.storage.paths import TEMP_PREFIX, TEMP_SUFFIX, disk_error
from stillhouse.storage.service import FAILURES, Client, open_client, refusal
from stillhouse.storage.upload import UploadSink
from stillhouse.vectors.snapshot_places import Draft, Faults, nothing

_BLOCK: Final = 8 << 20
_ONE_PUT: Final = 16 << 20
_MOST: Final = 5 << 30
"""The largest object that S3 copies in one request."""
_TELLING: Final = 64
"""So many last bytes tell files of one size apart: an envelope ends with a SHA-256 of the rest."""


class ObjectPlace:
    """Objects below a bucket's prefix. Drafts wait in a temporary file of this machine."""

    at_once: Final = 16

    def __init__(
        self,
        url: str,
        *,
        faults: Faults = nothing,
        client: Client | None = None,
        one_put: int = _ONE_PUT,
        most: int = _MOST,
    ) -> None:
        self._store = ObjectStore(url)
        self._client = client or open_client(url)
        self._faults = faults
        self._one_put = one_put
        self._most = most

    @property
    def url(self) -> str:
        """See `Place`."""
        return self._store.url

    def list(self, folder: str) -> list[Entry]:
        """See `Place`."""
        return list(self._store.list(folder))

    def stat(self, path: str) -> Entry | None:
        """See `Place`."""
        return self._store.stat(path)

    def read(self, path: str, start: int, end: int) -> bytes:
        """See `Place`."""
        return self._store.read(path, start, end)

    @contextmanager
    def local(self, path: str) -> Iterator[BinaryIO]:
        """See `Place`: the object is fetched first."""
        with _temporary() as file:
            with self._store.open(path) as source:
                try:
                    shutil.copyfileobj(source, file, _BLOCK)
                    file.seek(0)
                except OSError as error:
                    raise disk_error(error, "fetch to the temporary folder", path) from None
            yield file

    def delete(self, path: str) -> None:
        """See `Place`."""
        self._store.delete(path)

    @contextmanager
    def draft(self, folder: str) -> Iterator[Draft]:
        """See `Place`. Nothing is sent before it is published."""
        with _temporary() as file:
            yield _ObjectDraft(self, file)

    def put(self, file: BinaryIO, size: int, path: str) -> bool:
        """Make an object of a file; False when there is another."""
        where = f"{self.url.rstrip('/')}/{path}"
        if size > self._most:
            raise StorageError(
                f"the snapshot has {size:,} bytes; an object store takes {self._most:,}",
                where=where,
                way_out="Keep snapshots of this index in a folder.",
            )
        file.seek(0)
        try:
            if size <= self._one_put:
                obstore.put(self._client, path, file.read(), mode="create", use_multipart=False)
            else:
                self._put_large(file, path)
        except (AlreadyExistsError, PreconditionError):
            if not self._is_there(file, size, path):
                return False
        except FAILURES as error:
            raise refusal(error, "write", where) from None
        self._faults("snapshot:put")
        return True

    def _is_there(self, file: BinaryIO, size: int, path: str) -> bool:
        """Whether an object is this very file. A request whose answer was lost is sent again by
        the client, and is then refused because of what it did itself."""
        entry = self.stat(path)
        if entry is None or entry.size != size:
            return False
        start = max(0, size - _TELLING)
        file.seek(start)
        return file.read() == self.read(path, start, size)

    def _put_large(self, file: BinaryIO, path: str) -> None:
        folder = path.rpartition("/")[0]
        staged = f"{folder}/{TEMP_PREFIX}{secrets.token_hex(8)}{TEMP_SUFFIX}"
        sink = UploadSink(self._client, staged)
        try:
            shutil.copyfileobj(file, sink, _BLOCK)
            sink.finish()
        except BaseException:
            sink.abandon()
            raise
        self._faults("snapshot:staged")
        try:
            obstore.copy(self._client, staged, path, overwrite=False)
            self._faults("snapshot:copied")
        finally:
            # An object that stays is never listed; what failed before is what matters.
            with suppress(*FAILURES):
                obstore.delete(self._client, staged)


class _ObjectDraft:
    def __init__(self, place: ObjectPlace, file: BinaryIO) -> None:
        self._place = place
        self._file = file
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        try:
            written = self._file.write(data)
        except OSError as error:
            raise disk_error(error, "write", "the temporary folder") from None
        self._size += written
        return written

    def publish(self, path: str) -> bool:
        return self._place.put(self._file, self._size, path)


@contextmanager
def _temporary() -> Iterator[BinaryIO]:
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 – closed below
    except OSError as error:
        raise disk_error(error, "write", "the temporary folder") from None
    with file:
        yield file
