"""Stores to test: a folder, memory, and a bucket behind a real HTTP S3 server on loopback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stillhouse.interfaces import Store
from stillhouse.storage import LocalStore, MemoryStore
from stillhouse.storage.overlay import OverlayStore

KINDS = ("local", "memory", "overlay", "s3")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server of this test session."""
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The variables a user would set for that server; no others of theirs."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_SESSION_TOKEN", "AWS_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return s3_endpoint


@pytest.fixture(scope="session")
def s3_client(s3_endpoint: str) -> Any:
    """Another client of the same server, for looking behind the store's back."""
    boto3 = pytest.importorskip("boto3", reason="boto3 (of moto) is not installed")
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket="lakes")
    return client


_numbers = count()


@pytest.fixture
def new_prefix() -> str:
    """A name no other test uses."""
    return f"lake-{next(_numbers)}"


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
