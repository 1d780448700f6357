"""A lake in an object store: S3 and what speaks it, Google Cloud Storage, Azure Blob.

Credentials, region and endpoint come from the variables that each provider's own tools read
(``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION``,
``AWS_ENDPOINT_URL``; ``GOOGLE_APPLICATION_CREDENTIALS``; ``AZURE_STORAGE_ACCOUNT_NAME``,
``AZURE_STORAGE_ACCOUNT_KEY`` …), read by obstore in each process that opens the store:
nothing secret is ever pickled. Plain http is spoken only to this machine, or where
``AWS_ALLOW_HTTP=true`` says so.

An object appears when its upload is complete, so a killed writer leaves nothing visible; the
parts of a large upload that it leaves invisible are for a lifecycle rule of the bucket to
clear. `publish` is a copy at the server and a delete: a crash between leaves both, and
publishing again is safe. A request whose answer was lost is sent again, so `create` may say
``False`` of a file that its own first try made.

A line is added by writing the object anew, on the condition that it is still the version that
was read; of two writers one is told no, and reads again. This is for small files.

But for that, this module never keeps a whole file in memory; it never waits for minutes on a
service that does not answer.
"""

from __future__ import annotations

import io
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from stillhouse.errors import LakeChangedError, LakeError, StorageError
from stillhouse.interfaces import Entry, Sink, TailCheck
from stillhouse.storage.append import with_line
from stillhouse.storage.lease import LEASE_SECONDS, Lease
from stillhouse.storage.paths import checked, checked_prefix, is_temporary, range_problem
from stillhouse.storage.service import (
    FAILURES,
    MISSING,
    Client,
    missing,
    open_client,
    past_the_end,
    refusal,
    version_mark,
)
from stillhouse.storage.upload import UploadSink

_READ_BLOCK: Final = 8 << 20
_READ_HERE_AND_THERE: Final = 64 << 10
_APPEND_TRIES: Final = 200
_APPEND_PAUSE: Final = 0.2
"""Seconds that a writer who was too late waits at most: someone else's line went in."""
_COPY_LIMIT: Final = 5 << 30
"""The largest object that S3 copies in one request; a larger one is streamed through here."""


class ObjectStore:
    """Objects under a bucket's prefix. Pickles as its address; a worker opens its own."""

    def __init__(
        self, url: str, *, copy_limit: int = _COPY_LIMIT, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._url = url
        self._copy_limit = copy_limit
        self._lease_seconds = lease_seconds
        self._client = open_client(url)
        self._lease: Lease | None = None

    def __repr__(self) -> str:
        return f"ObjectStore({self._url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (ObjectStore, (self._url,))

    @property
    def url(self) -> str:
        """The address as the user wrote it."""
        return self._url

    def local_path(self, path: str) -> Path | None:
        """``None``: nothing here is on this machine's disk."""
        checked(path, self._url)
        return None

    def check_readable(self) -> None:
        """Raise `LakeError` when the bucket is missing or may not be listed."""
        try:
            next(iter(obstore.list(self._client, chunk_size=1)), None)
        except FAILURES as error:
            told = refusal(error, "open the lake", self._url)
            raise LakeError(told.what, where=told.where, way_out=told.way_out) from None

    # ------------------------------------------------------------------------- reading

    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects below a prefix, sorted by path. Empty objects that stand for folders,
        as consoles make them, are left out."""
        prefix = checked_prefix(prefix, self._url)
        found: list[Entry] = []
        folders: set[str] = {""}
        try:
            for page in obstore.list(self._client, prefix or None, chunk_size=1000):
                for meta in page:
                    entry = _entry(meta["path"], meta)
                    if not is_temporary(entry.path.rpartition("/")[2]):
                        found.append(entry)
                        folders.add(entry.path.rpartition("/")[0])
        except FAILURES as error:
            raise refusal(error, "list", self._at(prefix)) from None
        # Services promise no order. Paths are few beside rows: about a thousand a million.
        found.sort()
        return iter([entry for entry in found if entry.size or entry.path not in folders])

    def stat(self, path: str) -> Entry | None:
        """The object's entry, or ``None``."""
        try:
            return _entry(path, obstore.head(self._client, checked(path, self._url)))
        except MISSING:
            return None
        except FAILURES as error:
            raise refusal(error, "look at", self._at(path)) from None

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from ``start`` to ``end``, fewer when the object ends before."""
        checked(path, self._url)
        if range_problem(start, end):
            raise StorageError(f"bytes {start} to {end} are no range", where=self._at(path))
        if start == end:
            return b""
        try:
            if end is not None:
                return obstore.get_range(self._client, path, start=start, end=end).to_bytes()
            if start:
                options: Any = {"range": {"offset": start}}
                return obstore.get(self._client, path, options=options).bytes().to_bytes()
            return obstore.get(self._client, path).bytes().to_bytes()
        except FAILURES as error:
            if past_the_end(error):
                return b""
            raise refusal(error, "read", self._at(path)) from None

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        """The object from its start, in large ranged requests; `LakeChangedError` when it is
        replaced meanwhile."""
        entry = self.stat(path)
        if entry is None:
            raise missing(self._at(path))
        raw = _RangeReader(self._client, entry, self._at(path))
        return io.BufferedReader(raw, buffer_size=_READ_HERE_AND_THERE if random else _READ_BLOCK)

    # ------------------------------------------------------------------------- writing

    @contextmanager
    def writer(self, path: str, *, durable: bool = True) -> Iterator[Sink]:
        """Write an object whole or not at all; it is durable in any case."""
        sink = UploadSink(self._client, checked(path, self._url))
        try:
            yield sink
            self._still_ours()
            sink.finish()
        except FAILURES as error:
            sink.abandon()
            if sink.failed is None:
                raise
            raise refusal(error, "write", self._at(path)) from None
        except BaseException:
            sink.abandon()
            raise

    def create(self, path: str, data: bytes) -> bool:
        """Write a small object only if none is there (a conditional put)."""
        checked(path, self._url)
        self._still_ours()
        try:
            obstore.put(self._client, path, bytes(data), mode="create", use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        except FAILURES as error:
            raise refusal(error, "write", self._at(path)) from None
        return True

    def append_line(self, path: str, line: bytes, check_tail: TailCheck) -> None:
        """Add one line by compare and swap; a service that ignores conditions loses lines."""
        tried = b""
        for _ in range(_APPEND_TRIES):
            old, meta = self._version(path)
            if tried and old.startswith(tried):
                # Our own put, whose answer was lost on the way and which was sent again. (Or
                # the same line of another, put at that very place: then one of them is enough.)
                return
            tried = with_line(old, line, check_tail)
            if self._swap(path, tried, meta):
                return
            time.sleep(random.uniform(0, _APPEND_PAUSE))
        raise StorageError(
            f"cannot add a line: other writers were faster {_APPEND_TRIES} times",
            where=self._at(path),
            way_out="Run again when fewer write to it.",
        )

    def snapshot(self, path: str) -> tuple[Entry, bytes] | None:
        """One version of an object, whole."""
        data, meta = self._version(path)
        return None if meta is None else (_entry(path, meta), data)

    def truncate(self, path: str, size: int, seen: Entry) -> bool:
        """Write the first ``size`` bytes over the version that was seen."""
        old, meta = self._version(path)
        if meta is None or _entry(path, meta) != seen:
            return False
        return self._swap(path, old[:size], meta)

    def persist(self, paths: Sequence[str]) -> None:
        """An object that the service took is durable: nothing to do."""
        for path in paths:
            checked(path, self._url)

    def publish(self, staged: str, target: str, *, durable: bool = True) -> None:
        """Copy at the server, then delete the staged object."""
        entry = self.stat(staged)
        checked(target, self._url)
        if entry is None:
            raise missing(self._at(staged))
        self._still_ours()
        if staged == target:
            return
        try:
            if entry.size <= self._copy_limit:
                obstore.copy(self._client, staged, target)
            else:
                with self.open(staged) as source, self.writer(target) as sink:
                    shutil.copyfileobj(source, sink, _READ_BLOCK)
            obstore.delete(self._client, staged)
        except FAILURES as error:
            raise refusal(error, f"publish {staged}", self._at(target)) from None

    def delete(self, path: str) -> None:
        """Remove an object, if it is there."""
        checked(path, self._url)
        self._still_ours()
        try:
            obstore.delete(self._client, path)
        except MISSING:
            return
        except FAILURES as error:
            raise refusal(error, "delete", self._at(path)) from None

    @contextmanager
    def lock(self, holder: str) -> Iterator[None]:
        """Hold the lake as its one writer by a lease, see `stillhouse.storage.lease`."""
        lease = Lease(self._client, self._url, holder, seconds=self._lease_seconds)
        try:
            lease.take()
        except FAILURES as error:
            raise refusal(error, "lock the lake for writing", self._url) from None
        self._lease = lease
        try:
            with lease.kept():
                yield
            lease.check()
        finally:
            self._lease = None

    # --------------------------------------------------------------------------- parts

    def _version(self, path: str) -> tuple[bytes, Any]:
        """An object's bytes and what the service says of this version; None as the latter when
        there is no object."""
        try:
            found = obstore.get(self._client, checked(path, self._url))
            return found.bytes().to_bytes(), found.meta
        except MISSING:
            return b"", None
        except FAILURES as error:
            raise refusal(error, "read", self._at(path)) from None

    def _swap(self, path: str, data: bytes, meta: Any) -> bool:
        """Write an object over that version, or over none; False when it is another by now."""
        self._still_ours()
        mode: Any = "create" if meta is None else version_mark(meta)
        try:
            obstore.put(self._client, path, data, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError, *MISSING):
            return False
        except FAILURES as error:
            raise refusal(error, "write", self._at(path)) from None
        return True

    def _still_ours(self) -> None:
        """A writer that lost its lease must not change what another now writes."""
        if self._lease is not None:
            self._lease.check()

    def _at(self, path: str) -> str:
        return f"{self._url.rstrip('/')}/{path}" if path else self._url


class _RangeReader(io.RawIOBase):
    """One object as a raw file: each read is a request for a range of that very version."""

    def __init__(self, client: Client, entry: Entry, where: str) -> None:
        self._client = client
        self._entry = entry
        self._where = where
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._entry.size}
        self._position = max(0, base[whence] + offset)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        end = min(self._position + len(buffer), self._entry.size)
        if end <= self._position:
            return 0
        options: Any = {"range": (self._position, end)}
        if self._entry.fingerprint.startswith('"'):
            options["if_match"] = self._entry.fingerprint
        try:
            data = obstore.get(self._client, self._entry.path, options=options).bytes()
        except PreconditionError:
            raise LakeChangedError(
                "was replaced while it was read",
                where=self._where,
                way_out="Run again when nothing else writes to it.",
            ) from None
        except FAILURES as error:
            raise refusal(error, "read", self._where) from None
        buffer[: len(data)] = memoryview(data)
        self._position += len(data)
        return len(data)


def _entry(path: str, meta: Any) -> Entry:
    mark = meta["e_tag"] or meta["version"] or f"{meta['size']}-{meta['last_modified']}"
    return Entry(path, meta["size"], mark)
