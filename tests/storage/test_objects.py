"""What only an object store does: conditional puts, leases, a service that says no."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import obstore
import pytest

from stillhouse.errors import LakeChangedError, LakeError, LakeLockedError, StorageError
from stillhouse.interfaces import Store
from stillhouse.storage.lease import Lease
from stillhouse.storage.objects import ObjectStore

pytestmark = pytest.mark.s3

Put = Callable[[Store, str, bytes], None]


@pytest.fixture
def lake(s3_environment: str, s3_client: Any, new_prefix: str) -> ObjectStore:
    """An empty lake in a bucket."""
    return ObjectStore(f"s3://lakes/{new_prefix}")


def test_a_lake_is_its_prefix_and_nothing_beside_it(
    lake: ObjectStore, s3_client: Any, put: Put
) -> None:
    """Keys beside the prefix are not seen, not even those whose names begin alike."""
    prefix = lake.url.removeprefix("s3://lakes/")
    s3_client.put_object(Bucket="lakes", Key=f"{prefix}-other/x", Body=b"no")
    put(lake, "x", b"yes")
    assert [entry.path for entry in lake.list("")] == ["x"]
    assert s3_client.get_object(Bucket="lakes", Key=f"{prefix}/x")["Body"].read() == b"yes"


def test_a_listing_of_many_pages_is_whole(
    lake: ObjectStore, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service gives so many keys at once (here 3, not 1,000); the listing goes on."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    names = [f"d/{number:04d}" for number in range(11)]
    for name in names:
        put(lake, name, b"")
    assert [entry.path for entry in lake.list("d")] == names


def test_folders_that_a_console_made_are_not_files(lake: ObjectStore, s3_client: Any) -> None:
    """The empty object that stands for a folder is left out."""
    prefix = lake.url.removeprefix("s3://lakes/")
    for key in ("", "_kb/", "_kb/x.jsonl"):
        s3_client.put_object(
            Bucket="lakes", Key=f"{prefix}/{key}", Body=b"x" if "x" in key else b""
        )
    assert [entry.path for entry in lake.list("")] == ["_kb/x.jsonl"]


def test_a_failed_large_upload_leaves_no_parts(lake: ObjectStore, s3_client: Any) -> None:
    """Giving up ends the multipart upload at the service, so nobody pays for its parts."""

    def fail_half_way() -> None:
        with lake.writer("big") as sink:
            sink.write(b"x" * (20 << 20))
            deadline = time.monotonic() + 10
            while "Uploads" not in s3_client.list_multipart_uploads(Bucket="lakes"):
                assert time.monotonic() < deadline, "the upload never began"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert "Uploads" not in s3_client.list_multipart_uploads(Bucket="lakes")
    assert not any(thread.name.startswith("upload") for thread in threading.enumerate())


def test_a_large_object_is_published_through_here(lake: ObjectStore, put: Put) -> None:
    """Above the service's limit for a copy, the bytes take the way through this machine."""
    store = ObjectStore(lake.url, copy_limit=1000)
    put(store, "staged", b"x" * 5000)
    store.publish("staged", "target")
    assert store.read("target") == b"x" * 5000
    assert store.stat("staged") is None


def test_an_object_replaced_while_read_is_noticed(lake: ObjectStore, put: Put) -> None:
    """A reader never gets the head of one version and the tail of another."""
    put(lake, "x", b"a" * (20 << 20))
    with lake.open("x") as handle:
        handle.read(10)
        put(lake, "x", b"b" * (20 << 20))
        with pytest.raises(LakeChangedError, match="replaced while it was read"):
            handle.read(19 << 20)


def test_of_many_that_create_at_once_one_wins(lake: ObjectStore) -> None:
    """A conditional put is decided by the service."""
    won: list[int] = []

    def attempt(number: int) -> None:
        if ObjectStore(lake.url).create("x", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert lake.read("x") == b"%d" % won[0]


# ------------------------------------------------------------------------------------ leases


def take(lake: ObjectStore, holder: str, seconds: float) -> Lease:
    """A lease whose holder then dies: nobody renews it."""
    lease = Lease(ObjectStore(lake.url)._client, lake.url, holder, seconds=seconds)
    lease.take()
    return lease


def test_a_living_lease_is_renewed_past_its_time(lake: ObjectStore) -> None:
    """A holder that works for longer than its lease keeps it."""
    store = ObjectStore(lake.url, lease_seconds=1.5)
    with store.lock("the first"):
        time.sleep(3.6)  # The service's clock shows whole seconds.
        with pytest.raises(LakeLockedError, match="the first"):
            lake.lock("second").__enter__()
        store.create("x", b"1")
    with lake.lock("second"):
        pass


def test_a_dead_holders_lease_ends_by_itself(lake: ObjectStore, put: Put) -> None:
    """Before its time it is respected, after it taken over; the old holder is then refused."""
    dead = take(lake, "the dead", seconds=1.0)
    with pytest.raises(LakeLockedError, match=r"the dead \(process .*its lock ends 1 s after"):
        lake.lock("me").__enter__()
    time.sleep(2.1)
    with pytest.raises(LakeLockedError, match="lost"):
        dead.check()
    with lake.lock("me"):
        put(lake, "x", b"1")
        with pytest.raises(LakeLockedError, match="me"):
            take(lake, "a third", seconds=1.0)
    assert [entry.path for entry in lake.list("")] == ["x"]


def test_a_writer_that_lost_its_lease_changes_nothing_more(lake: ObjectStore, put: Put) -> None:
    """When another holds the lake, every change is refused, and so is a good end."""
    store = ObjectStore(lake.url, lease_seconds=1.5)

    def work_on() -> None:
        with store.lock("the first"):
            put(store, "staged", b"1")
            obstore.put(store._client, ".stillhouse/lock", b'{"holder": "usurper"}')
            time.sleep(0.8)  # The next renewal finds out.
            for work in (
                lambda: put(store, "x", b"1"),
                lambda: store.create("x", b"1"),
                lambda: store.publish("staged", "x"),
                lambda: store.delete("staged"),
            ):
                with pytest.raises(LakeLockedError, match="lost"):
                    work()

    with pytest.raises(LakeLockedError, match="lost"):
        work_on()
    assert [entry.path for entry in store.list("")] == [".stillhouse/lock", "staged"]
    assert b"usurper" in store.read(".stillhouse/lock")


# ----------------------------------------------------------------------------------- refusals


def test_a_missing_bucket_is_one_line(s3_environment: str, s3_client: Any, put: Put) -> None:
    """Reading, writing and locking say that the bucket is missing, not the object."""
    store = ObjectStore("s3://no-such-bucket/lake")
    with pytest.raises(LakeError, match="no such bucket"):
        store.check_readable()
    for work in (
        lambda: put(store, "x", b"1"),
        lambda: store.read("x"),
        lambda: list(store.list("")),
        lambda: store.create("x", b"1"),
        lambda: store.lock("me").__enter__(),
    ):
        with pytest.raises(StorageError, match="no such bucket") as caught:
            work()
        assert "\n" not in str(caught.value)
        assert "<" not in str(caught.value)


def test_an_endpoint_that_nobody_answers_is_one_line_soon(
    s3_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed port ends within seconds, and the message says what to check."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    begin = time.monotonic()
    with pytest.raises(LakeError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
        ObjectStore("s3://lakes/x").check_readable()
    assert time.monotonic() - begin < 10


def test_plain_http_to_another_machine_needs_a_word(
    s3_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data goes unencrypted only to this machine, or when the user says so."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.example")
    with pytest.raises(LakeError, match=r"plain http.*AWS_ALLOW_HTTP"):
        ObjectStore("s3://lakes/x").check_readable()


def test_a_service_that_denies_is_one_line(
    s3_environment: str, monkeypatch: pytest.MonkeyPatch, put: Put
) -> None:
    """Wrong credentials are said in words, without any part of the request."""
    answer = (
        b"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message>"
        b"<StringToSign>AWS4-HMAC-SHA256 hidden</StringToSign></Error>"
    )
    with one_answer(b"403 Forbidden", answer) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = ObjectStore("s3://lakes/x")
        for work in (
            lambda: store.read("y"),
            lambda: put(store, "y", b"1"),
            lambda: store.stat("y"),
        ):
            with pytest.raises(StorageError, match="credentials") as caught:
                work()
            assert "hidden" not in str(caught.value)


class one_answer:
    """A server that answers every request alike."""

    def __init__(self, status: bytes, body: bytes) -> None:
        self._answer = b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
            status,
            len(body),
            body,
        )
        self._server = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(65536)
                connection.sendall(self._answer)
