"""A connection to the server that keeps vector indexes, and how requests about one index are made.

What is asked and how answers are read: `stillhouse.vectors.client`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

import httpx2

from stillhouse.errors import VectorError, VectorRequestError
from stillhouse.vectors import checks
from stillhouse.vectors.client_codec import quoted
from stillhouse.vectors.client_errors import Answer
from stillhouse.vectors.client_link import JSON, Link, Retry
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.values import Health, IndexInfo, IndexSpec

ROOT: Final = "/v1/vectors/index"


class Connected:
    """A link to one server, open until `close`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 90.0,
        limits: Limits | None = None,
        retry: Retry | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._link = Link(
            url, api_key=api_key, timeout=timeout, retry=retry or Retry(), transport=transport
        )

    def __repr__(self) -> str:
        return f"Client({self._link.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Calling it again does nothing."""
        self._link.close()

    def health(self) -> Health:
        """Whether writes are acknowledged, as the server sees it."""
        try:
            self._link.call("GET", "/readyz", changes=False)
        except VectorError as error:
            if error.code in ("unreachable", "no_answer", "bad_answer", "unauthorized"):
                raise
            return Health(False, error.what)
        return Health(True)

    def _path(self, name: str) -> str:
        return f"{ROOT}/{quoted(checks.check_name(name, self.limits))}"

    def _post(self, name: str, action: str, body: bytes) -> Answer:
        """A change."""
        path = f"{self._path(name)}/{action}"
        return self._link.call("POST", path, changes=True, content=body)

    def _ask(
        self,
        name: str,
        action: str,
        body: bytes,
        kind: str = JSON,
        params: dict[str, str] | None = None,
    ) -> Answer:
        """A question that comes with a body."""
        path = f"{self._path(name)}/{action}"
        return self._link.call("POST", path, changes=False, content=body, kind=kind, params=params)

    def _spec(self, name: str) -> IndexSpec:
        info = self._link.decode(self._link.call("GET", self._path(name), changes=False), IndexInfo)
        return IndexSpec(info.name, info.dimension, info.metric, info.metadata)

    @contextmanager
    def _explained(self, name: str, check: Callable[[IndexSpec], object]) -> Iterator[None]:
        """A request that was refused, here or there, is refused with the very words of
        `VectorStore`: the same checks say them, once the index's dimension is known."""
        self._path(name)
        try:
            yield
        except VectorRequestError:
            check(self._spec(name))
            raise
