"""Units of work in processes of this machine.

Workers are fresh interpreters (an exec, not a fork): a fork of a process that has threads can
hang, and a client of an object store that was used before a fork surely does. Unlike
`multiprocessing`'s ways to start one, this does not run the user's main script again, so it
works from a notebook and from a script without a ``__main__`` guard. The price, some 0.1 s
a worker and all at once, is paid at the first `map` that has more than one item; a run with
nothing to do starts nothing, and a single item runs here.

A worker gets its next unit before it has ended one, so it does not wait for its parent. At
most two units a worker are under way, ended ones that wait for their turn among them: memory
stays bounded however slow the first is. Any failure ends all workers at once; what a unit
writes appears whole or not at all, so ending one in the middle harms nothing.

This module never reads what a unit gives back.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Final, NoReturn, Self, TypeVar

from stillhouse.engines.worker import BROKE, DONE, REFUSED, dump, load
from stillhouse.errors import EngineError

T = TypeVar("T")
U = TypeVar("U")

DEPTH: Final = 2
"""Units under way a worker: one at work, one waiting in its hands."""

_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from stillhouse.engines.worker import serve; serve(int(sys.argv[1]))"
)


class _Worker:
    """One process, its pipe, and the tickets it still owes."""

    def __init__(self) -> None:
        here, there = Pipe()
        command = [sys.executable, "-c", _PROGRAM, str(there.fileno()), json.dumps(sys.path)]
        try:
            # A group of its own: the terminal's Ctrl-C reaches the parent only, which decides.
            self.process = subprocess.Popen(
                command, pass_fds=(there.fileno(),), stdin=subprocess.DEVNULL, process_group=0
            )
        except OSError as error:
            here.close()
            raise EngineError(
                f"a worker process cannot start: {error.strerror}",
                way_out="Use fewer workers (--workers), or --engine inline.",
            ) from error
        finally:
            there.close()
        self.pipe: Connection[Any, Any] = here
        self.owed: set[int] = set()

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.pipe.close()


class LocalEngine:
    """A pool of worker processes, started when first needed."""

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or _cores()
        self._pool: list[_Worker] = []
        self._results: dict[int, tuple[str, Any, str]] = {}
        self._next_ticket = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply the function to each item, in order. Both must be picklable, the function
        importable by its name. Several maps may be under way at once."""
        waiting = iter(items)
        first = list(islice(waiting, 2))
        if len(first) < 2:
            yield from map(function, first)
            return
        tickets: deque[int] = deque()
        try:
            for item in chain(first, waiting):
                tickets.append(self._send(function, item))
                if len(tickets) >= DEPTH * self.workers:
                    yield self._result(tickets.popleft())
            while tickets:
                yield self._result(tickets.popleft())
        finally:
            # Left early, by an error or by a reader that had enough: nobody wants the rest.
            if tickets:
                self.close()

    def close(self) -> None:
        """End the workers at once, wherever they are. The next `map` starts new ones."""
        pool, self._pool = self._pool, []
        self._results.clear()
        for worker in pool:
            with suppress(ProcessLookupError):
                worker.process.kill()
        for worker in pool:
            worker.end()

    def _send(self, function: Callable[[T], U], item: T) -> int:
        ticket = self._next_ticket
        try:
            unit = dump((ticket, function, item))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            self._fail(
                f"a unit of work cannot be sent to a worker: {error}", "Use --engine inline."
            )
        self._next_ticket += 1
        while len(self._pool) < self.workers:
            self._pool.append(_Worker())
        worker = min(self._pool, key=lambda worker: len(worker.owed))
        worker.owed.add(ticket)
        try:
            worker.pipe.send_bytes(unit)
        except OSError:
            self._hear_out(worker)
        return ticket

    def _result(self, ticket: int) -> Any:
        while ticket not in self._results:
            self._collect(ticket)
        outcome, value, trace = self._results.pop(ticket)
        if outcome == DONE:
            return value
        self.close()
        if outcome == BROKE:
            value.add_note(f"In a worker process:\n{trace}")
        raise value

    def _collect(self, ticket: int) -> None:
        """Wait until some worker says something, and keep it for whoever asks."""
        if not any(ticket in worker.owed for worker in self._pool):
            self._fail("the workers were ended before this result", "Run again.")
        ready = set(wait([worker.pipe for worker in self._pool]))
        for worker in [worker for worker in self._pool if worker.pipe in ready]:
            try:
                self._keep(worker)
            except (EOFError, OSError):
                self._bury(worker)

    def _keep(self, worker: _Worker) -> None:
        ticket, outcome, value, trace = load(worker.pipe.recv_bytes())
        worker.owed.discard(ticket)
        self._results[ticket] = (outcome, value, trace)

    def _hear_out(self, worker: _Worker) -> None:
        """What a worker still said before it died, its last error above all."""
        try:
            while True:
                self._keep(worker)
        except (EOFError, OSError):
            self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        """A dead worker's units fail, each when its turn comes: an earlier error goes first."""
        code = worker.process.wait()
        way_out = "Run again: finished work is kept, and nothing half-written is visible."
        if code < 0:
            how = f"was killed by {_signal_name(-code)}"
            if -code == signal.SIGKILL:
                how += ", as the system does when memory runs out"
                way_out += " Use fewer workers (--workers) if it happens again."
        else:
            how = f"ended by itself (exit code {code})"
        for ticket in worker.owed:
            error = EngineError(f"a worker process {how}", way_out=way_out)
            self._results[ticket] = (REFUSED, error, "")
        self._pool.remove(worker)
        worker.end()

    def _fail(self, what: str, way_out: str) -> NoReturn:
        self.close()
        raise EngineError(what, way_out=way_out) from None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
