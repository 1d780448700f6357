"""What the tests of vectors share: a PostgreSQL of the test session, and backends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def postgres() -> Iterator[object]:
    """A running server; skipped with the reason where there can be none."""
    pytest.importorskip("psycopg", reason="psycopg (extra pgvector) is not installed")
    from tests.vectors.postgres import Postgres, missing

    if reason := missing():
        pytest.skip(reason)
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def url(postgres: Any) -> str:
    """An empty database."""
    return str(postgres.database())


@pytest.fixture
def make(url: str) -> Iterator[Callable[..., Any]]:
    """Opens PostgreSQL backends on that database and closes them."""
    from stillhouse.vectors.pg import PgBackend
    from stillhouse.vectors.pg_pool import PgOptions

    opened: list[PgBackend] = []

    def open_one(**options: Any) -> PgBackend:
        opened.append(PgBackend(url, options=PgOptions(**options)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
