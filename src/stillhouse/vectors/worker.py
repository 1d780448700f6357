"""One background thread for all the indexes of a store: seals tails, merges segments.

Nothing waits for it but `settle`. What fails is logged once and tried again later; searching and
adding go on without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from stillhouse.errors import StillhouseError

_log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = 10.0


class Tended(Protocol):
    """Something with work to do in the background."""

    def tend(self, *, quiet: bool) -> bool:
        """Do one piece of work; whether there was any. ``quiet`` says that nobody writes just
        now, so that work may be done that is worth it only then. Raises `OSError`."""
        ...


class Worker:
    """See the module. ``quiet_seconds`` without a word make an index quiet."""

    def __init__(self, quiet_seconds: float = 2.0) -> None:
        self._quiet = quiet_seconds
        self._bell = threading.Condition()
        self._due: dict[Tended, float] = {}
        self._busy: Tended | None = None
        self._failed: set[Tended] = set()
        self._nudged = False
        self._thread: threading.Thread | None = None
        self.closing = False

    def tell(self, index: Tended) -> None:
        """Something was written to an index: look at it now, and when it has become quiet."""
        with self._bell:
            if self.closing:
                return
            first = not self._due
            self._due[index] = time.monotonic() + self._quiet
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="vector-worker", daemon=True
                )
                self._thread.start()
            elif first:
                self._bell.notify_all()

    def nudge(self, index: Tended) -> None:
        """An index has work that should not wait until it is quiet."""
        with self._bell:
            if index in self._due:
                self._nudged = True
                self._bell.notify_all()

    def settle(self, index: Tended) -> None:
        """Do all there is to do for an index, as when it is quiet, and come back when it is done.

        Raises the `OSError` that ended it.
        """
        with self.alone(index):
            while not self.closing and index.tend(quiet=True):
                pass

    @contextmanager
    def alone(self, index: Tended) -> Iterator[None]:
        """Whoever is within is the one who works on segments; what was due for the index is theirs
        to do."""
        with self._bell:
            while self._busy is not None:
                self._bell.wait()
            self._busy = index
            self._due.pop(index, None)
        try:
            yield
        finally:
            with self._bell:
                self._busy = None
                self._bell.notify_all()

    def forget(self, index: Tended) -> None:
        """Stop looking after an index; comes back when no work of it is under way."""
        with self._bell:
            self._due.pop(index, None)
            self._failed.discard(index)
            while self._busy is index:
                self._bell.wait()

    def close(self) -> None:
        """Stop after the piece of work that is under way; that one stops early where it can."""
        with self._bell:
            self.closing = True
            self._due.clear()
            self._bell.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._bell:
                while not self.closing and not self._due:
                    self._bell.wait()
                if self.closing:
                    return
                index, at = min(self._due.items(), key=lambda due: due[1])
                due = list(self._due)
            worked = False
            for one in due:
                worked = self._tend(one, quiet=False) or worked
            if worked:
                continue
            with self._bell:
                wait = at - time.monotonic()
                if wait > 0:
                    # Whoever rang while the work went on is not heard by waiting.
                    if not self._rung():
                        self._bell.wait(wait)
                    self._nudged = False
                    continue
                if self._due.get(index) == at:
                    del self._due[index]
            while self._tend(index, quiet=True):
                pass

    def _rung(self) -> bool:
        return self.closing or self._nudged

    def _tend(self, index: Tended, *, quiet: bool) -> bool:
        with self._bell:
            while self._busy is not None:
                self._bell.wait()
            if self.closing:
                return False
            self._busy = index
        try:
            worked = index.tend(quiet=quiet)
            self._failed.discard(index)
        except (OSError, StillhouseError) as error:
            if index not in self._failed:
                _log.error("building segments failed, and is tried again later: %s", error)
            with self._bell:
                self._failed.add(index)
                self._due[index] = time.monotonic() + _AGAIN_SECONDS
            worked = False
        finally:
            with self._bell:
                self._busy = None
                self._bell.notify_all()
        return worked
