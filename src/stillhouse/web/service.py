"""What the handlers of a service share: the store, its threads, its cursors, its counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from stillhouse.config import seconds
from stillhouse.vectors import Limits, VectorStore
from stillhouse.web.calls import Bodies, Call, Reply
from stillhouse.web.cursors import Cursors
from stillhouse.web.lanes import Lane, Late, Pace
from stillhouse.web.metrics import Metrics
from stillhouse.web.options import ServeOptions


class Service:
    """A store on the wire. Whoever made the store closes it, after this."""

    def __init__(self, store: VectorStore, options: ServeOptions, late: Late) -> None:
        self.store = store
        self.options = options
        self.limits: Limits = store.limits
        self.metrics = Metrics(store)
        self.bodies = Bodies(self.limits.body_bytes, options.body_memory)
        self.in_process = bool(getattr(store.backend, "in_process", False))
        """Whether a look-up in the store never waits for a network."""
        self.pace = Pace(computes=self.in_process)
        self.cursors = Cursors(
            seconds=options.cursor_seconds,
            memory=options.cursor_bytes,
            most=options.cursors,
            clock=seconds,
        )
        waiting = options.waiting
        self.searches = Lane("search", options.search_threads, waiting, late)
        self.batches = Lane("batch", options.batch_threads, waiting, late)
        self.writes = Lane("write", options.write_threads, waiting, late)
        self.long = Lane("long", options.long_threads, waiting // 8, late)
        self.watch = Lane("watch", 1, 16, late)

    def close(self) -> None:
        """Wait for what is under way."""
        for lane in (self.searches, self.batches, self.writes, self.long, self.watch):
            lane.close()


Handler: TypeAlias = Callable[[Service, Call], Awaitable[Reply]]
