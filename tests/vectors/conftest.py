"""What the tests of vectors share: a PostgreSQL of the test session."""

from __future__ import annotations

from collections.abc import Iterator

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
