"""What every store does alike: a folder, memory, and an object store over HTTP."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from stillhouse.errors import LakeLockedError, StorageError
from stillhouse.interfaces import Store
from stillhouse.storage import MemoryStore

Put = Callable[[Store, str, bytes], None]


def paths(store: Store, prefix: str = "") -> list[str]:
    return [entry.path for entry in store.list(prefix)]


def test_written_bytes_are_read_back_whole_and_in_ranges(store: Store, put: Put) -> None:
    """`read` gives the bytes asked for, and fewer when the file ends before."""
    put(store, "a/b.jsonl", b"0123456789")
    assert store.read("a/b.jsonl") == b"0123456789"
    assert store.read("a/b.jsonl", 2, 5) == b"234"
    assert store.read("a/b.jsonl", 7) == b"789"
    assert store.read("a/b.jsonl", 7, 99) == b"789"
    assert store.read("a/b.jsonl", 10, 20) == b""
    assert store.read("a/b.jsonl", 12) == b""
    assert store.read("a/b.jsonl", 3, 3) == b""


def test_an_empty_file_is_a_file(store: Store, put: Put) -> None:
    """A file of no bytes is listed, described and read."""
    put(store, "empty", b"")
    entry = store.stat("empty")
    assert entry is not None
    assert entry.size == 0
    assert (paths(store), store.read("empty")) == (["empty"], b"")
    with store.open("empty") as handle:
        assert handle.read() == b""


@pytest.mark.parametrize(("start", "end"), [(-1, None), (3, 2), (-2, -1)])
def test_a_range_that_is_none_is_refused(
    store: Store, put: Put, start: int, end: int | None
) -> None:
    """Python's negative indices are not byte ranges."""
    put(store, "x", b"0123")
    with pytest.raises(StorageError):
        store.read("x", start, end)


def test_list_is_recursive_and_sorted_by_whole_path(store: Store, put: Put) -> None:
    """The order is that of the paths as strings, whatever kind of store."""
    names = ["a.txt", "a/z", "a-b/c", "a/b/c", "a0", "Z", "é/x", "a/b.c", "a/b-c"]
    for name in names:
        put(store, name, name.encode())
    assert paths(store) == sorted(names)
    assert paths(store, "a") == ["a/b-c", "a/b.c", "a/b/c", "a/z"]
    assert paths(store, "a/") == paths(store, "a")
    assert [entry.size for entry in store.list("a")] == [5, 5, 5, 3]
    assert paths(store, "a.txt") == []
    assert paths(store, "missing") == []


def test_names_of_every_spelling_come_back_as_they_were(store: Store, put: Put) -> None:
    """Blanks, percent signs, quotes and other alphabets are part of a name."""
    names = ["with blank", "per%20cent", "q?x=1", "hash#1", "quote'\"", "日本.jsonl", "plus+&"]
    for name in names:
        put(store, f"d/{name}", b"x")
    assert paths(store, "d") == sorted(f"d/{name}" for name in names)
    assert all(store.read(f"d/{name}") == b"x" for name in names)


def test_stat_agrees_with_list(store: Store, put: Put) -> None:
    """Both give the same entry, and `stat` gives None for what is not there."""
    put(store, "a/b", b"12345")
    assert [store.stat("a/b")] == list(store.list("a"))
    assert store.stat("a/c") is None
    assert store.stat("a") is None
    assert store.stat("a/b/c") is None


def test_fingerprint_tells_a_replaced_file(store: Store, put: Put) -> None:
    """Other bytes of the same length have another fingerprint; the same file keeps its own."""
    put(store, "x", b"one")
    first = store.stat("x")
    assert first == store.stat("x")
    put(store, "x", b"two")
    second = store.stat("x")
    assert first is not None
    assert second is not None
    assert first.fingerprint != second.fingerprint


def test_reading_what_is_missing_names_it(store: Store) -> None:
    """A missing file is one clear line that names the file and a way out."""
    for attempt in (
        lambda: store.read("no/such"),
        lambda: store.read("no/such", 1, 2),
        lambda: store.open("no/such"),
        lambda: store.publish("no/such", "x"),
    ):
        with pytest.raises(
            StorageError, match=r"no/such.*\bno such (file|object)\b.*\. "
        ) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_open_reads_in_pieces_and_seeks(store: Store, put: Put) -> None:
    """`open` is a buffered binary file from the start."""
    put(store, "x", b"line one\nline two\nthree")
    with store.open("x") as handle:
        assert handle.read(4) == b"line"
        assert handle.readline() == b" one\n"
        assert list(handle) == [b"line two\n", b"three"]
        assert handle.read(1) == b""
        assert handle.seek(5) == 5
        assert handle.read() == b"one\nline two\nthree"


def test_writer_takes_any_bytes_like_in_pieces(store: Store) -> None:
    """Bytes, bytearrays and memoryviews arrive in the order they were written."""
    with store.writer("x") as sink:
        sink.write(b"one")
        sink.write(bytearray(b"two"))
        sink.write(memoryview(b"-three-")[1:6])
    assert store.read("x") == b"onetwothree"


@pytest.mark.parametrize("durable", [True, False])
def test_nothing_is_visible_before_the_writer_ends(store: Store, put: Put, durable: bool) -> None:
    """Neither a new file nor a replaced one shows before the block ends, nor a temporary."""
    put(store, "old", b"before")
    with store.writer("old", durable=durable) as old, store.writer("new", durable=durable) as new:
        old.write(b"after")
        new.write(b"x" * 500_000)
        assert paths(store) == ["old"]
        assert store.read("old") == b"before"
        assert store.stat("new") is None
    assert store.read("old") == b"after"
    assert store.read("new") == b"x" * 500_000


def fail_after(store: Store, path: str, size: int) -> None:
    with store.writer(path) as sink:
        sink.write(b"x" * size)
        raise ZeroDivisionError


@pytest.mark.parametrize("size", [10, 20 << 20])
def test_a_block_that_fails_leaves_what_was_there(store: Store, put: Put, size: int) -> None:
    """The user's own error comes through, and the file is as it was, large uploads too."""
    put(store, "old", b"before")
    for path in ("old", "new"):
        with pytest.raises(ZeroDivisionError):
            fail_after(store, path, size)
    assert paths(store) == ["old"]
    assert store.read("old") == b"before"


def test_an_error_of_the_users_own_is_not_renamed(store: Store) -> None:
    """An OSError that has nothing to do with the store stays what it is."""
    with pytest.raises(BlockingIOError), store.writer("x"):
        raise BlockingIOError("mine")


def test_a_large_file_survives_the_way(store: Store) -> None:
    """A file of several parts is the same bytes when read whole, in ranges and in a stream."""
    block = bytes(range(256)) * 4096
    with store.writer("big") as sink:
        for number in range(21):
            sink.write(block)
            sink.write(b"%d" % (number % 10))
    entry = store.stat("big")
    assert entry is not None
    assert entry.size == 21 * (len(block) + 1)
    whole = store.read("big")
    assert whole == b"".join(block + b"%d" % (number % 10) for number in range(21))
    assert store.read("big", (8 << 20) - 3, (8 << 20) + 3) == whole[(8 << 20) - 3 : (8 << 20) + 3]
    with store.open("big") as handle:
        assert b"".join(iter(lambda: handle.read(1 << 20), b"")) == whole


def test_create_writes_once(store: Store) -> None:
    """The second `create` says False and changes nothing, not even with the same bytes."""
    data = b"first"
    assert store.create("receipts/x.json", data) is True
    assert store.create("receipts/x.json", b"second") is False
    assert store.create("receipts/x.json", data) is False
    assert store.read("receipts/x.json") == b"first"
    assert paths(store) == ["receipts/x.json"]


def test_publish_moves_over_what_is_there(store: Store, put: Put) -> None:
    """The staged file is gone, its bytes stand under the target, in a new folder too."""
    put(store, ".stillhouse/staging/1/a", b"new")
    put(store, "a", b"old")
    put(store, ".stillhouse/staging/1/b", b"b")
    store.publish(".stillhouse/staging/1/a", "a")
    store.publish(".stillhouse/staging/1/b", "deep/down/b")
    assert paths(store) == ["a", "deep/down/b"]
    assert (store.read("a"), store.read("deep/down/b")) == (b"new", b"b")


def test_staged_and_published_in_bulk(store: Store) -> None:
    """Many files written and moved without durability each, made durable by one call."""
    names = [f"d{number % 3}/e{number % 2}/{number}" for number in range(20)]
    for name in names:
        with store.writer(f"staged/{name}", durable=False) as sink:
            sink.write(name.encode())
    store.persist([f"staged/{name}" for name in names])
    for name in names:
        store.publish(f"staged/{name}", name, durable=False)
    store.persist(names)
    store.persist([])
    assert paths(store) == sorted(names)
    assert all(store.read(name) == name.encode() for name in names)
    with pytest.raises(StorageError):
        store.persist(["../x"])


def test_small_reads_here_and_there(store: Store, put: Put) -> None:
    """A file opened for random reads gives whole pieces from wherever one seeks."""
    data = bytes(number % 251 for number in range(200_000))
    put(store, "x", data)
    with store.open("x", random=True) as handle:
        for start, size in ((150_000, 1000), (3, 5), (199_990, 100), (4000, 60_000)):
            handle.seek(start)
            assert handle.read(size) == data[start : start + size]


def test_delete_removes_and_is_content_when_there_is_nothing(store: Store, put: Put) -> None:
    """Deleting twice is fine."""
    put(store, "a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert paths(store) == []


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "a/../../x", "a\0b", "a\\b", "", "a//b", "./a", "a/.", "\udcff", "a/"],
)
def test_paths_that_leave_the_lake_are_refused_by_every_method(store: Store, path: str) -> None:
    """An absolute path, .., NUL, a backslash and what is no plain name never reach the disk."""
    attempts: list[Callable[[], object]] = [
        lambda: store.stat(path),
        lambda: store.read(path),
        lambda: store.open(path),
        lambda: store.create(path, b""),
        lambda: store.delete(path),
        lambda: store.local_path(path),
        lambda: store.publish("ok", path),
        lambda: store.publish(path, "ok2"),
        lambda: store.writer(path).__enter__(),
    ]
    with store.writer("ok") as sink:
        sink.write(b"x")
    if path not in {"", "a/"}:  # A folder may be written with its slash, the root as nothing.
        attempts.append(lambda: list(store.list(path)))
    for attempt in attempts:
        with pytest.raises(StorageError) as caught:
            attempt()
        assert caught.value.way_out
    assert paths(store) == ["ok"]


def test_the_second_writer_is_told_who_holds_the_lake(store: Store, put: Put) -> None:
    """One writer a lake: the second is refused with the holder's name; readers are not."""
    with store.lock("the first"):
        with pytest.raises(LakeLockedError, match="the first") as caught, store.lock("second"):
            raise AssertionError("both hold the lake")
        assert caught.value.way_out
        put(store, "x", b"1")
        assert store.read("x") == b"1"
    with store.lock("third"):
        assert store.read("x") == b"1"


def test_the_lock_is_let_go_when_the_block_fails(store: Store) -> None:
    """An error inside does not leave the lake locked."""
    with pytest.raises(ZeroDivisionError), store.lock("first"):
        raise ZeroDivisionError
    with store.lock("second"):
        pass


def test_a_pickled_store_is_the_same_store(store: Store, put: Put) -> None:
    """A worker's copy reads what we wrote; a store in memory says it cannot be copied."""
    put(store, "x", b"1")
    if isinstance(store, MemoryStore):
        with pytest.raises(StorageError, match="inline"):
            pickle.dumps(store)
        return
    copy: Store = pickle.loads(pickle.dumps(store))
    assert copy.url == store.url
    assert copy.read("x") == b"1"
    put(copy, "y", b"2")
    assert store.read("y") == b"2"


def test_an_empty_lake_is_readable_and_lists_nothing(store: Store) -> None:
    """A store that is there and empty is no error."""
    store.check_readable()
    assert paths(store) == []
