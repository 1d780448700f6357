"""Units of work on Ray: one machine or many (extra ``stillhouse[ray]``).

Joins the cluster that ``RAY_ADDRESS`` names, or the one this process already uses; else
starts one on this machine and ends it again. A cluster's machines must see the lake under the
same address (an object store, or a shared folder at the same path), with credentials in
their own environment; they are sent this very version of the package, but not its
dependencies and no plugin packages.

A unit whose worker or machine is lost runs again elsewhere, twice at most: what it writes
appears whole or not at all, so running it twice is the same as once. At most two units a
worker are under way.

This module never sends usage statistics, and never ends a cluster that it did not start.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

import stillhouse
from stillhouse.errors import EngineError, StillhouseError

T = TypeVar("T")
U = TypeVar("U")

DEPTH: Final = 2
TRIES: Final = 3


class _Unit(NamedTuple):
    item: Any
    result: Any
    tries: int


class RayEngine:
    """Ray tasks, one CPU each."""

    name = "ray"

    def __init__(self, workers: int | None = None) -> None:
        if importlib.util.find_spec("ray") is None:
            raise EngineError(
                "Ray is not installed",
                way_out="Install it with: python -m pip install 'stillhouse[ray]', "
                "or use --engine local.",
            )
        # Before the import: Ray reads it once, and would ask its makers' servers otherwise.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            _join_or_start(ray, workers)
        self._tries = TRIES
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._remote = ray.remote(num_cpus=1, max_retries=0)(_call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply the function to each item, in order; both are sent to other processes."""
        under_way: deque[_Unit] = deque()
        try:
            for item in items:
                under_way.append(_Unit(item, self._remote.remote(function, item), 1))
                if len(under_way) >= DEPTH * self.workers:
                    yield self._result(function, under_way.popleft())
            while under_way:
                yield self._result(function, under_way.popleft())
        finally:
            for unit in under_way:
                self._ray.cancel(unit.result, force=True)

    def close(self) -> None:
        """Leave the cluster; end it when this engine started it."""
        if self._ours:
            self._ours = False
            self._ray.shutdown()

    def _result(self, function: Callable[[T], U], unit: _Unit) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(unit.result)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, StillhouseError):
                raise cause from None
            raise
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as error:
            if unit.tries < self._tries:
                again = _Unit(unit.item, self._remote.remote(function, unit.item), unit.tries + 1)
                return self._result(function, again)
            raise EngineError(
                f"a unit of work ended {unit.tries} times with its Ray worker ({_first(error)})",
                way_out="Run again: finished work is kept. Give the workers more memory, or use "
                "fewer of them (--workers), if it happens again.",
            ) from None
        except errors.RayError as error:
            raise EngineError(
                f"Ray could not run a unit of work: {_first(error)}",
                way_out="Look at the cluster (`ray status`), and run again.",
            ) from None


def _call(function: Callable[[T], U], item: T) -> U:
    return function(item)


def _join_or_start(ray: Any, workers: int | None) -> None:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS", "")
    # Ray says at start-up, whatever its log level, that it guards the cluster by a token.
    chatty = logging.getLogger("ray._private.authentication.authentication_token_setup")
    chatty.setLevel(logging.ERROR)
    try:
        if address in {"", "local"}:
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
            return
        _must_answer(address)
        ray.init(address=address, **quiet)
        if len({node["NodeManagerAddress"] for node in ray.nodes()}) > 1:
            # Other machines may not have this package, or have another version of it. On one
            # machine its path is enough, and workers start faster.
            package = str(Path(stillhouse.__file__).parent)
            ray.shutdown()
            ray.init(address=address, runtime_env={"py_modules": [package]}, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        raise EngineError(
            f"Ray could not be started or joined: {_first(error)}",
            where=address,
            way_out="Check RAY_ADDRESS and the cluster (`ray status`), or use --engine local.",
        ) from error


def _must_answer(address: str) -> None:
    """Raise an OSError when nothing listens there: Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
