"""One service for many tests, where they do not change how it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

for _needed in ("uvicorn", "structlog", "prometheus_client", "httptools"):
    pytest.importorskip(_needed, reason="the extra serve is not installed")

from tests.web.live import Live, running  # noqa: E402 – only where the extra is there


@pytest.fixture(scope="module")
def shared() -> Iterator[Live]:
    """A service with an index ``docs`` of three dimensions and three items."""
    with running() as live:
        fill(live)
        yield live


@pytest.fixture
def live() -> Iterator[Live]:
    """The same, for one test alone."""
    with running() as one:
        fill(one)
        yield one


def fill(live: Live) -> None:
    assert live.ask("PUT", "/v1/vectors/index/docs", {"dimension": 3}).status == 201
    items = [
        {"id": "a", "vector": [1, 0, 0], "metadata": {"lang": "en", "year": 2020}},
        {"id": "b", "vector": [0, 1, 0], "metadata": {}},
        {"id": "c", "vector": [1, 1, 0]},
    ]
    assert live.post("docs/add", {"items": items}).status == 200
