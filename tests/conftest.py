"""What several groups of tests share: the program in this process, and a bucket behind a real
HTTP S3 server on loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from stillhouse.cli.app import run as program
from tests.runs import Command, Told


@pytest.fixture
def stillhouse(capfd: pytest.CaptureFixture[str]) -> Command:
    """The program, in this process. Whatever happens, nobody sees a traceback."""

    def call(*arguments: object) -> Told:
        capfd.readouterr()
        code = program([str(argument) for argument in arguments])
        told = capfd.readouterr()
        assert "Traceback" not in told.err
        return Told(code, told.out, told.err)

    return call


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
