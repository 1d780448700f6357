"""Snapshots in a bucket: over HTTP to an S3 server, and to one that refuses half-way."""

from __future__ import annotations

import http.client
import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
import pytest

from stillhouse.errors import StorageError, VectorBusyError, VectorDamagedError, VectorFailedError
from stillhouse.vectors import VectorStore
from stillhouse.vectors.backend import Export
from stillhouse.vectors.snapshot_objects import ObjectPlace
from stillhouse.vectors.snapshots import Snapshots, folder_of
from stillhouse.vectors.values import Batch, IndexSpec
from tests.vectors import envelopes
from tests.vectors.envelopes import SPEC

FOLDER = folder_of(SPEC.name)


def frozen() -> datetime:
    """Always the same time."""
    return datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def url(s3_environment: str, s3_client: Any, new_prefix: str) -> str:
    """An empty place in a bucket."""
    return f"s3://lakes/{new_prefix}/kept"


@pytest.fixture
def keys(s3_client: Any, new_prefix: str) -> Callable[[], list[str]]:
    """What another client sees there."""

    def look() -> list[str]:
        found = s3_client.list_objects_v2(Bucket="lakes", Prefix=f"{new_prefix}/kept/")
        return [one["Key"].removeprefix(f"{new_prefix}/kept/") for one in found.get("Contents", [])]

    return look


@pytest.mark.s3
def test_snapshots_in_a_bucket(url: str, keys: Callable[[], list[str]]) -> None:
    """Taken, listed and restored as in a folder, under keys with nothing of a name but plain
    signs."""
    with VectorStore(envelopes.backend(), snapshots=url) as store:
        made = [store.snapshot(SPEC.name) for _ in range(3)]
        assert store.snapshots(SPEC.name) == made
        assert keys() == [f"d%C3%B6cs/{info.id}.envelope" for info in made]
        store.drop(SPEC.name)
        assert store.restore(SPEC.name, made[0].id) == 5
        assert envelopes.encoded(store.backend) == envelopes.encoded(envelopes.backend())
        store.delete_snapshot(SPEC.name, made[0].id)
        assert store.snapshots(SPEC.name) == made[1:]
        assert store.snapshots("nothing") == []


@pytest.mark.s3
@pytest.mark.parametrize("one_put", [1 << 20, 0])
def test_two_writers_never_write_over_one_another(
    url: str, keys: Callable[[], list[str]], s3_client: Any, one_put: int
) -> None:
    """Small or large: what is there under a key stays, and no draft stays beside it."""
    place = ObjectPlace(url, one_put=one_put)
    made = Snapshots(place, now=frozen).take(envelopes.backend(), SPEC.name)
    (key,) = keys()
    assert key == f"{FOLDER}/{made.id}.envelope"
    assert Snapshots(place).list(SPEC.name) == [made]
    full = f"{url.removeprefix('s3://lakes/')}/{key}"
    s3_client.put_object(Bucket="lakes", Key=full, Body=b"what was there")
    with pytest.raises(VectorBusyError):
        Snapshots(place, now=frozen).take(envelopes.backend(), SPEC.name)
    assert keys() == [key]
    found = s3_client.get_object(Bucket="lakes", Key=full)["Body"].read()
    assert found == b"what was there"


@pytest.mark.s3
def test_damaged_object_is_listed_and_not_restored(
    url: str, keys: Callable[[], list[str]], s3_client: Any
) -> None:
    """A changed object is refused before anything is touched, and told of where its ends show."""
    with VectorStore(envelopes.backend(), snapshots=url) as store:
        first, second = store.snapshot(SPEC.name), store.snapshot(SPEC.name)
        full = f"{url.removeprefix('s3://lakes/')}/{keys()[0]}"
        data = s3_client.get_object(Bucket="lakes", Key=full)["Body"].read()
        for changed in (data[:-1], data[:200] + b"?" + data[201:], b""):
            s3_client.put_object(Bucket="lakes", Key=full, Body=changed)
            with pytest.raises(VectorDamagedError):
                store.restore(SPEC.name, first.id, replace=True)
            listed = store.snapshots(SPEC.name)
            assert [info.id for info in listed] == [first.id, second.id]
            assert bool(listed[0].damaged) == (len(changed) != len(data))
        assert store.count(SPEC.name) == 5


@pytest.mark.s3
def test_large_snapshot_goes_up_in_parts(url: str, keys: Callable[[], list[str]]) -> None:
    """A snapshot of several parts comes back whole, and its draft is gone."""
    store = VectorStore("memory:", snapshots=url)
    store.create("large", 1_024, "l2")
    vectors = np.random.default_rng(3).normal(size=(5_000, 1_024)).astype(np.float32)
    store.add_columns("large", [f"{at:05}" for at in range(5_000)], vectors)
    made = store.snapshot("large")
    assert made.bytes > 16 << 20
    assert keys() == [f"large/{made.id}.envelope"]
    assert store.restore("large", made.id, "again") == 5_000
    assert np.array_equal(store.get("again", "04999").vector, vectors[4_999])


@pytest.mark.s3
def test_snapshot_that_is_too_large_is_refused(url: str, keys: Callable[[], list[str]]) -> None:
    """Beyond what the service can copy in one request: a clear error, and nothing is there."""
    with pytest.raises(VectorFailedError, match="Keep snapshots of this index in a folder"):
        Snapshots(ObjectPlace(url, most=100)).take(envelopes.backend(), SPEC.name)
    assert keys() == []


@pytest.mark.s3
def test_writer_that_ends_between_leaves_nothing_in_sight(
    url: str, keys: Callable[[], list[str]]
) -> None:
    """Ended before its draft is copied, a writer leaves no snapshot."""

    class Ended(BaseException):
        """As a signal would end it."""

    def faults(point: str) -> None:
        if point == "snapshot:staged":
            raise Ended

    place = ObjectPlace(url, one_put=0, faults=faults)
    with pytest.raises(Ended):
        Snapshots(place).take(envelopes.backend(), SPEC.name)
    assert Snapshots(place).list(SPEC.name) == []


@pytest.mark.s3
def test_upload_is_given_up_when_its_source_breaks(url: str, keys: Callable[[], list[str]]) -> None:
    """A draft that cannot be read to its end: no object, and no upload that still waits."""

    class Breaking(io.BytesIO):
        """Cannot be read beyond 10 MB."""

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 10_000_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(StorageError):
        ObjectPlace(url).put(Breaking(bytes(30_000_000)), 30_000_000, "docs/x")
    assert keys() == []
    assert not [one for one in threading.enumerate() if one.name.startswith("upload ")]


@pytest.mark.s3
def test_unlisted_drafts_are_no_snapshots(
    url: str, s3_client: Any, keys: Callable[[], list[str]]
) -> None:
    """What a killed writer left under a draft's name is not listed."""
    full = f"{url.removeprefix('s3://lakes/')}/{FOLDER}/.stillhouse-0123456789abcdef.tmp"
    s3_client.put_object(Bucket="lakes", Key=full, Body=envelopes.encoded(envelopes.backend()))
    assert len(keys()) == 1
    assert Snapshots(url).list(SPEC.name) == []


@pytest.mark.s3
def test_missing_bucket_is_one_clear_error(s3_environment: str) -> None:
    """A bucket that is not there: one line that says so."""
    with pytest.raises(VectorFailedError, match="there is no such bucket"):
        Snapshots("s3://no-such-bucket/x").take(envelopes.backend(), SPEC.name)


# ---------------------------------------------------------- a service that refuses half-way


class Refusing(BaseHTTPRequestHandler):
    """An S3 that takes the first part of an upload, and denies the second; and every put."""

    seen: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, body: str = "", **headers: str) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self) -> None:
        """The beginning or the completion of an upload in parts."""
        self.seen.append(f"POST {self.path.partition('?')[2]}")
        if "uploads" in self.path:
            self._answer(200, "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key>"
                              "<UploadId>u</UploadId></InitiateMultipartUploadResult>")  # fmt: skip
        else:
            self._answer(200, "<CompleteMultipartUploadResult><ETag>e</ETag>"
                              "</CompleteMultipartUploadResult>")  # fmt: skip

    def do_PUT(self) -> None:
        """A part, or a whole object."""
        part = re.search(r"partNumber=(\d+)", self.path)
        self.seen.append(f"PUT {part[1] if part else 'whole'}")
        if part and part[1] == "1":
            self._answer(200, ETag='"e"')
        else:
            self._answer(403, "<Error><Code>AccessDenied</Code></Error>")

    def do_DELETE(self) -> None:
        """The end of an upload that is given up, or of an object."""
        self.seen.append("DELETE upload" if "uploadId" in self.path else "DELETE object")
        self._answer(204)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Such a service, by the variables a user would set; what it was asked."""
    Refusing.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_SESSION_TOKEN", "AWS_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    yield Refusing.seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.s3
def test_refused_put_is_told(refusing: list[str]) -> None:
    """A service that denies a put: one clear error."""
    with pytest.raises(VectorFailedError, match="denies access"):
        Snapshots("s3://bucket/x").take(envelopes.backend(), SPEC.name)
    assert refusing == ["PUT whole"]


@pytest.mark.s3
def test_upload_that_fails_half_way_is_given_up(refusing: list[str], tmp_path: Path) -> None:
    """Denied in its second part, an upload is never completed nor copied, and is told."""

    class Large:
        """A backend whose export takes several parts."""

        def spec(self, name: str) -> IndexSpec:
            return IndexSpec(name, 4_096)

        @contextmanager
        def export(self, name: str) -> Iterator[Export]:
            vectors = np.ones((1_500, 4_096), np.float32)
            ids = [f"{at:04}" for at in range(1_500)]
            yield Export(self.spec(name), 1_500, iter([Batch(ids, vectors, [None] * 1_500)]))

    backend: Any = Large()
    with pytest.raises(VectorFailedError, match="denies access"):
        Snapshots("s3://bucket/x").take(backend, "large")
    assert "POST uploadId=u" not in refusing
    assert "PUT whole" not in refusing
    assert {"POST uploads", "PUT 1", "PUT 2"} <= {one.rstrip("=") for one in refusing}


# ------------------------------------------------------------- answers lost on their way


NOTHING = "(?!)"
PUT = r"PUT .*\.envelope"
END_OF_A_COPY = r"POST .*\.envelope\?uploadId=.*"


class Losing(BaseHTTPRequestHandler):
    """Passes everything on to a service, and loses the first answer to a request that matches
    `lose`. That request is refused when it is sent again, as what it asks for is done."""

    behind: ClassVar[str] = ""
    lose: ClassVar[str] = NOTHING
    lost: ClassVar[list[str]] = []
    instead: ClassVar[bytes | None] = None
    """What another writes there before it is sent again."""
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = f"{self.command} {self.path}"
        if asked in self.lost:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>", [])
            return
        service = http.client.HTTPConnection(self.behind)
        service.request(self.command, self.path, body, dict(self.headers))
        answer = service.getresponse()
        data, headers, status = answer.read(), answer.getheaders(), answer.status
        if not self.lost and status < 300 and re.fullmatch(self.lose, asked):
            self.lost.append(asked)
            if self.instead is not None:
                service.request("PUT", self.path, self.instead, _unconditional(dict(self.headers)))
                service.getresponse().read()
            status, data = 500, b"<Error><Code>InternalError</Code></Error>"
        service.close()
        self._answer(status, data, headers)

    def _answer(self, status: int, data: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        length = dict(headers).get("Content-Length", "0") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def losing(url: str, s3_environment: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Such a service before the bucket; it loses nothing until it is told what to lose."""
    Losing.lost.clear()
    monkeypatch.setattr(Losing, "behind", urlsplit(s3_environment).netloc)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Losing)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def _unconditional(headers: dict[str, str]) -> dict[str, str]:
    gone = {"content-length", "if-none-match"}
    return {name: value for name, value in headers.items() if name.lower() not in gone}


@pytest.mark.s3
@pytest.mark.parametrize(("one_put", "lose"), [(1 << 20, PUT), (0, END_OF_A_COPY)])
def test_snapshot_whose_answer_was_lost_is_taken_once(
    url: str,
    keys: Callable[[], list[str]],
    losing: None,
    monkeypatch: pytest.MonkeyPatch,
    one_put: int,
    lose: str,
) -> None:
    """Sent again, the request is refused because it was done: that is no second writer's."""
    monkeypatch.setattr(Losing, "lose", lose)
    place = ObjectPlace(url, one_put=one_put)
    made = Snapshots(place).take(envelopes.backend(), SPEC.name)
    assert len(Losing.lost) == 1
    assert keys() == [f"{FOLDER}/{made.id}.envelope"]
    assert Snapshots(place).list(SPEC.name) == [made]


@pytest.mark.s3
@pytest.mark.parametrize("change", ["its size", "its end"])
def test_another_object_is_never_taken_for_ones_own(
    url: str,
    keys: Callable[[], list[str]],
    s3_client: Any,
    losing: None,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    """What differs from the snapshot under its own name stays, and the snapshot goes elsewhere."""
    whole = envelopes.encoded(envelopes.backend())
    other = whole + b"?" if change == "its size" else whole[:-36] + bytes(36)
    monkeypatch.setattr(Losing, "lose", PUT)
    monkeypatch.setattr(Losing, "instead", other)
    made = Snapshots(ObjectPlace(url)).take(envelopes.backend(), SPEC.name)
    assert len(Losing.lost) == 1
    first, second = keys()
    assert second == f"{FOLDER}/{made.id}.envelope"
    full = f"{url.removeprefix('s3://lakes/')}/{first}"
    assert s3_client.get_object(Bucket="lakes", Key=full)["Body"].read() == other
