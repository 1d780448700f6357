"""One writer a lake on an object store: a lease, kept in an object and renewed.

The lock object is made by a conditional put, so one of two wins. It says who holds it; its
holder writes it anew every `LEASE_SECONDS` / 3. A holder that died stops doing so, and after
`LEASE_SECONDS` another takes the lease over by a put that succeeds only while the object is
still the one that was judged (compare and swap on its ETag). Its age is judged by the
service's own clock on both sides, so no machine's clock matters.

What it cannot do: hold back a writer that stood still for longer than the lease (a suspended
machine, a network gone) in the middle of a request. Such a writer finds out at its next
change and stops, see `Lease.check`; a request already under way may still land. A service
that ignores conditional puts (some old S3 clones) gives no protection: reading the object
back after taking it narrows the gap, and does not close it.

This module never touches anything but the lock object and a short-lived one that tells time.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError

from stillhouse.errors import LakeLockedError
from stillhouse.records import utc_text
from stillhouse.storage.paths import LOCK_PATH, PRIVATE, TEMP_PREFIX, TEMP_SUFFIX
from stillhouse.storage.service import version_mark

LEASE_SECONDS: Final = 60.0

_LOST: Final = (AlreadyExistsError, PreconditionError, FileNotFoundError, NotFoundError)


class LeaseText(msgspec.Struct, frozen=True):
    """What the lock object holds. ``renewed`` counts, so that every text has its own ETag."""

    holder: str = "another process"
    host: str = "another machine"
    pid: int = 0
    since: str = ""
    token: str = ""
    renewed: int = 0
    seconds: float = LEASE_SECONDS


class Lease:
    """The lock of one lake as one holder sees it."""

    def __init__(
        self, client: Any, url: str, holder: str, *, seconds: float = LEASE_SECONDS
    ) -> None:
        self._client = client
        self._url = url
        self._text = LeaseText(
            holder=holder,
            host=socket.gethostname(),
            pid=os.getpid(),
            since=utc_text(datetime.now(UTC).replace(microsecond=0)),
            token=secrets.token_hex(16),
            seconds=seconds,
        )
        self._mark: Any = None
        self._good_until = 0.0
        self._lost = False
        self._stop = threading.Event()

    def take(self) -> None:
        """Take the lease; raises `LakeLockedError` naming the one who has it."""
        asked = time.monotonic()
        try:
            self._mark = self._put("create")
        except (AlreadyExistsError, PreconditionError):
            self._take_over()
        self._good_until = asked + self._text.seconds
        text, _ = self._read()
        if text.token != self._text.token:
            raise self._held(text)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew the lease while the block runs, and let go of it afterwards."""
        thread = threading.Thread(target=self._renew_always, name="lake lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self._let_go()

    def check(self) -> None:
        """Raise `LakeLockedError` when the lease is no longer surely ours."""
        if self._lost or time.monotonic() > self._good_until:
            raise LakeLockedError(
                "the lock on the lake was lost: it could not be renewed in time",
                where=self._url,
                way_out="Run again; what was not yet published is done anew.",
            )

    def _take_over(self) -> None:
        try:
            text, meta = self._read()
        except (FileNotFoundError, NotFoundError):
            # Let go of this very moment: once more, and then whoever was faster has it.
            text, meta = LeaseText(), None
        try:
            if meta is None:
                self._mark = self._put("create")
                return
            if text.token == self._text.token:
                # Our own put, whose answer was lost on the way and which was sent again.
                self._mark = version_mark(meta)
                return
            age = (self._service_time() - meta["last_modified"]).total_seconds()
            if age <= text.seconds:
                raise self._held(text)
            self._mark = self._put(version_mark(meta))
        except _LOST:
            raise self._held(text) from None

    def _renew_always(self) -> None:
        pause = self._text.seconds / 3
        while not self._stop.wait(pause):
            asked = time.monotonic()
            self._text = msgspec.structs.replace(self._text, renewed=self._text.renewed + 1)
            try:
                self._mark = self._put(self._mark)
            except _LOST:
                if not self._renewed_unheard():
                    self._lost = True
                    return
            except (BaseError, OSError):
                continue  # The service did not answer: `check` knows how long that is fine.
            self._good_until = asked + self._text.seconds

    def _renewed_unheard(self) -> bool:
        """True when the object is what we just wrote: the answer alone was lost."""
        try:
            text, meta = self._read()
        except (BaseError, OSError):
            return False
        self._mark = version_mark(meta)
        return text == self._text

    def _let_go(self) -> None:
        if self._lost or time.monotonic() > self._good_until:
            return
        # A failure here leaves a lease that nobody renews: it ends by itself.
        with suppress(BaseError, OSError):
            if self._read()[0].token == self._text.token:
                obstore.delete(self._client, LOCK_PATH)

    def _put(self, mode: Any) -> Any:
        data = msgspec.json.encode(self._text)
        done = obstore.put(self._client, LOCK_PATH, data, mode=mode, use_multipart=False)
        return version_mark(done)

    def _read(self) -> tuple[LeaseText, Any]:
        found = obstore.get(self._client, LOCK_PATH)
        try:
            return msgspec.json.decode(found.bytes().to_bytes(), type=LeaseText), found.meta
        except msgspec.DecodeError:
            return LeaseText(), found.meta

    def _service_time(self) -> datetime:
        """Now, by the service's clock: the time it gives to an object made now."""
        path = f"{PRIVATE}/{TEMP_PREFIX}clock-{self._text.token}{TEMP_SUFFIX}"
        obstore.put(self._client, path, b"", use_multipart=False)
        try:
            moment: datetime = obstore.head(self._client, path)["last_modified"]
        finally:
            obstore.delete(self._client, path)
        return moment

    def _held(self, text: LeaseText) -> LakeLockedError:
        return LakeLockedError(
            f"is being written by {text.holder} (process {text.pid} on {text.host}, "
            f"since {text.since or 'an unknown time'})",
            where=self._url,
            way_out=f"Wait until it ends. If it died, its lock ends {text.seconds:.0f} s "
            "after its last sign of life.",
        )
