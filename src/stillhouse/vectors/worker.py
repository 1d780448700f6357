"""One background thread for all the indexes of a store: seals tails, joins segments.

Nothing waits for it but `settle`. What fails is logged once and tried again later; searching and
adding go on without it. There is no thread until there is something to do.
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

_FAILURES: Final = (OSError, StillhouseError, MemoryError, RuntimeError)
"""What a full disk, a full memory or faiss may raise; anything else is a mistake of ours."""


class Tended(Protocol):
    """Something with work to do in the background."""

    def tend(self, *, quiet: bool, waited_for: bool = False) -> bool:
        """Do one piece of work; whether there was any. ``quiet`` says that nobody writes just
        now, so that work may be done that is worth it only then; ``waited_for`` that somebody
        waits for it, so that it may take all cores. Raises `OSError`."""
        ...


class Worker:
    """See the module. ``quiet_seconds`` without a word make an index quiet; ``again_seconds`` pass
    before what failed is tried again."""

    def __init__(self, quiet_seconds: float = 2.0, again_seconds: float = 10.0) -> None:
        self._quiet = quiet_seconds
        self._again = again_seconds
        self._bell = threading.Condition()
        self._due: dict[Tended, float] = {}
        """When an index that somebody wrote to has been quiet for long enough."""
        self._pressing: dict[Tended, None] = {}
        """Indexes with work that should not wait until then, in the order they came."""
        self._failed: dict[Tended, float] = {}
        """What failed, and when it is to be tried again."""
        self._busy: Tended | None = None
        self._asleep_until = 0.0
        self._thread: threading.Thread | None = None
        self.closing = False

    def tell(self, index: Tended, *, pressing: bool = False) -> None:
        """Something was written to an index: look at it when it has become quiet, or now."""
        with self._bell:
            if self.closing:
                return
            wake = pressing and index not in self._pressing
            at = self._due[index] = time.monotonic() + self._quiet
            if pressing:
                self._pressing[index] = None
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="vector-worker", daemon=True
                )
                self._thread.start()
            elif wake or at < self._asleep_until:
                self._bell.notify_all()

    def settle(self, index: Tended) -> None:
        """Do all there is to do for an index, as when it is quiet, and come back when it is done.

        Raises the `OSError` that ended it.
        """
        with self.alone(index):
            while not self.closing and index.tend(quiet=True, waited_for=True):
                pass

    @contextmanager
    def alone(self, index: Tended) -> Iterator[None]:
        """Whoever is within is the one who works on segments; what was due for the index is theirs
        to do."""
        with self._bell:
            while self._busy is not None:
                self._bell.wait()
            self._busy = index
            self._drop(index)
        try:
            yield
        finally:
            with self._bell:
                self._busy = None
                self._bell.notify_all()

    def forget(self, index: Tended) -> None:
        """Stop looking after an index; comes back when no work of it is under way."""
        with self._bell:
            self._drop(index)
            while self._busy is index:
                self._bell.wait()
            self._drop(index)

    def close(self) -> None:
        """Stop after the piece of work that is under way; that one stops early where it can."""
        with self._bell:
            self.closing = True
            self._bell.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _drop(self, index: Tended) -> None:
        self._due.pop(index, None)
        self._pressing.pop(index, None)
        self._failed.pop(index, None)

    def _work(self) -> None:
        while True:
            with self._bell:
                while True:
                    if self.closing:
                        return
                    index, quiet, wait = self._next(time.monotonic())
                    if index is not None and self._busy is None:
                        break
                    if self._busy is not None:
                        wait = None
                    self._asleep_until = float("inf") if wait is None else time.monotonic() + wait
                    self._bell.wait(wait)
                self._asleep_until = 0.0
                self._busy = index
                due = self._due.get(index)
            try:
                worked = index.tend(quiet=quiet)
            except Exception as error:
                if not isinstance(error, _FAILURES):
                    _log.exception("building segments met what it does not know")
                self._ended(index, error)
            else:
                self._ended(index, None)
                if not worked:
                    self._done(index, quiet, due)

    def _next(self, now: float) -> tuple[Tended | None, bool, float | None]:
        """What to do next and whether as when it is quiet; or how long to wait."""
        for index in self._pressing:
            if self._failed.get(index, now) <= now:
                return index, False, None
        times = [(max(at, self._failed.get(one, at)), one) for one, at in self._due.items()]
        times += [(self._failed[one], one) for one in self._pressing]
        if not times:
            return None, True, None
        at, index = min(times, key=lambda time: time[0])
        return (index, True, None) if at <= now else (None, True, at - now)

    def _ended(self, index: Tended, error: Exception | None) -> None:
        with self._bell:
            self._busy = None
            if error is None:
                self._failed.pop(index, None)
            else:
                if index not in self._failed:
                    _log.error("building segments failed, and is tried again later: %s", error)
                self._failed[index] = time.monotonic() + self._again
            self._bell.notify_all()

    def _done(self, index: Tended, quiet: bool, due: float | None) -> None:
        """There is nothing more to do for an index, unless somebody wrote to it meanwhile."""
        with self._bell:
            if self._due.get(index) != due:
                return
            if quiet:
                self._due.pop(index, None)
            else:
                self._pressing.pop(index, None)
