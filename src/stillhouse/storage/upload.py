"""Streams bytes into one object, which appears when all of them are there.

What fits one part is one put. More than that goes up in parts, by a thread that takes them
from a short queue: obstore gives a multipart upload up (and tells the service) when its
source raises, and only then, so giving up is raising.

This module never makes an object visible that was not finished.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError

PART_BYTES: Final = 8 << 20
"""Size of a part. S3 takes 5 MiB to 5 GiB and 10,000 parts, so an object of up to 80 GB."""

_AT_ONCE: Final = 2


class UploadAbandonedError(OSError):
    """Raised into an upload to end it; never seen outside this module."""


class UploadSink:
    """A sink whose bytes become one object at `finish`, or never."""

    def __init__(self, client: Any, path: str) -> None:
        self._client = client
        self._path = path
        self._pending = bytearray()
        self._parts: queue.Queue[bytes | None] = queue.Queue(maxsize=1)
        self._thread: threading.Thread | None = None
        self._abandoned = False
        self.failed: BaseException | None = None

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        self._pending += data
        while len(self._pending) >= PART_BYTES:
            self._send(bytes(memoryview(self._pending)[:PART_BYTES]))
            del self._pending[:PART_BYTES]
        return len(data)

    def finish(self) -> None:
        """Complete the object; raises what the service said when it refused."""
        if self._thread is None:
            try:
                obstore.put(self._client, self._path, bytes(self._pending), use_multipart=False)
            except (BaseError, OSError) as error:
                self.failed = error
                raise
            return
        if self._pending:
            self._send(bytes(self._pending))
        self._offer(None)
        self._thread.join()
        self._raise_failure()

    def abandon(self) -> None:
        """Give the upload up, parts already sent included. Safe to call at any time."""
        self._abandoned = True
        if self._thread is not None:
            self._offer(None)
            self._thread.join()

    def _send(self, part: bytes) -> None:
        if self._thread is None:
            name = f"upload {self._path}"
            self._thread = threading.Thread(target=self._upload, name=name, daemon=True)
            self._thread.start()
        self._offer(part)
        self._raise_failure()

    def _offer(self, part: bytes | None) -> None:
        """Hand a part over, unless the upload has ended and nobody takes it."""
        while self._thread is not None and self._thread.is_alive():
            try:
                self._parts.put(part, timeout=0.1)
            except queue.Full:
                continue
            return

    def _raise_failure(self) -> None:
        if self.failed is not None:
            raise self.failed

    def _upload(self) -> None:
        try:
            obstore.put(
                self._client,
                self._path,
                self._source(),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=_AT_ONCE,
            )
        except (BaseError, OSError) as error:
            if not self._abandoned:
                self.failed = error

    def _source(self) -> Iterator[bytes]:
        while (part := self._parts.get()) is not None:
            yield part
        if self._abandoned:
            raise UploadAbandonedError(f"the upload of {self._path} was given up")
