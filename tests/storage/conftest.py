"""Stores to test: a folder, memory, and a bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.interfaces import Store
from stillhouse.storage import LocalStore, MemoryStore
from stillhouse.storage.overlay import OverlayStore

KINDS = ("local", "memory", "overlay", "s3")


@pytest.fixture(
    params=[
        pytest.param(kind, marks=[getattr(pytest.mark, kind)] if kind == "s3" else [])
        for kind in KINDS
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path, new_prefix: str) -> Store:
    """An empty store of each kind."""
    if request.param == "local":
        return LocalStore(tmp_path / "lake", create=True)
    if request.param == "memory":
        return MemoryStore(f"memory://{new_prefix}")
    if request.param == "overlay":
        below = LocalStore(tmp_path / "below", create=True)
        return OverlayStore(below, LocalStore(tmp_path / "above", create=True))
    request.getfixturevalue("s3_environment")
    request.getfixturevalue("s3_client")
    from stillhouse.storage.objects import ObjectStore

    return ObjectStore(f"s3://lakes/{new_prefix}")


@pytest.fixture
def put() -> Callable[[Store, str, bytes], None]:
    """Writes a file whole."""

    def write(store: Store, path: str, data: bytes) -> None:
        with store.writer(path) as sink:
            sink.write(data)

    return write
