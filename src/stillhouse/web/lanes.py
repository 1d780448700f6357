"""Threads for the work behind the event loop, by kind, so that long work never takes those that
short work needs; and the judgement which searches are short enough for no thread at all.

What is over capacity is refused at once, and what its request gave up waiting for still holds its
thread, as it must: nothing here stops a running thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from time import thread_time
from typing import Final, TypeVar

from stillhouse.config import seconds
from stillhouse.errors import VectorBusyError

T = TypeVar("T")
Late = Callable[[BaseException], None]
"""Hears of the error of work whose request was given up."""


class Lane:
    """A bounded pool: so many threads, so many requests that wait for one."""

    def __init__(self, name: str, threads: int, waiting: int, late: Late) -> None:
        self._name = name
        self._most = threads + waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"stillhouse-{name}")
        self._late = late
        self._lock = Lock()
        self._within = 0

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """What ``work`` returns, run on a thread. Raises `VectorBusyError` when too many wait;
        given up while it waits, it is never run."""
        with self._lock:
            if self._within >= self._most:
                raise VectorBusyError("too many requests at once; try again")
            self._within += 1
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(self._left)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(self._tell)
            raise

    def close(self) -> None:
        """Wait for what runs; what has not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _left(self, future: Future[T]) -> None:
        with self._lock:
            self._within -= 1

    def _tell(self, future: Future[T]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self._late(error)


_QUICK: Final = 0.001
"""Seconds of computing for which a search may hold the event loop: not much more than handing it
to a thread and back costs under load."""
_SLOW: Final = 0.02
"""Seconds by the clock after which it should not have been there: it waited for something."""
_PAUSE: Final = 1.0
_MOST_NAMES: Final = 10_000


class Pace:
    """Which indexes answer a small search so fast that a thread would only cost: those whose
    last one on a thread computed for no longer than a millisecond. One that was slow on the
    event loop goes to threads for a second. Used from any thread.

    With ``computes`` False, of a store that waits for a network, none ever is.
    """

    def __init__(self, *, computes: bool) -> None:
        self._computes = computes
        self._quick: dict[str, float] = {}
        """By index: from when on its searches may run on the event loop."""

    def quick(self, name: str) -> bool:
        """Whether a small search of this index may run on the event loop now."""
        since = self._quick.get(name)
        return since is not None and seconds() >= since

    def inline(self, name: str, work: Callable[[], T]) -> T:
        """Run it here, and remember when it was slow."""
        began, computed = seconds(), thread_time()
        try:
            return work()
        finally:
            now = seconds()
            if thread_time() - computed > 3 * _QUICK or now - began > _SLOW:
                self._quick[name] = now + _PAUSE

    def aside(self, name: str, work: Callable[[], T]) -> T:
        """Run it on a thread, and remember when it was quick."""
        computed = thread_time()
        result = work()
        if self._computes and thread_time() - computed <= _QUICK:
            now = seconds()
            if len(self._quick) >= _MOST_NAMES:
                self._quick.clear()
            if now >= self._quick.get(name, 0.0):
                self._quick[name] = now
        return result
