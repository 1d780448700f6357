"""Units of work one after the other in this process: for tests, debugging, and tiny lakes.

This module never starts a process or a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class InlineEngine:
    """Runs each unit when its result is asked for."""

    name = "inline"
    workers = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply the function to each item, in order."""
        return map(function, items)

    def close(self) -> None:
        """Nothing to end."""
