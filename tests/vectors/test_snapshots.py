"""Snapshots in a folder: taken, listed, restored, and never half there."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import (
    LakeChangedError,
    StorageError,
    UsageError,
    VectorBusyError,
    VectorConflictError,
    VectorDamagedError,
    VectorFailedError,
    VectorNotFoundError,
    VectorRequestError,
)
from stillhouse.vectors import EnvelopeInfo, Item, SnapshotInfo, VectorStore
from stillhouse.vectors.backend import Export
from stillhouse.vectors.envelope_files import told
from stillhouse.vectors.memory import MemoryBackend
from stillhouse.vectors.snapshot_places import FolderPlace
from stillhouse.vectors.snapshots import Snapshots, folder_of
from stillhouse.vectors.values import Batch
from tests.vectors import envelopes
from tests.vectors.envelopes import SPEC

ROOT = Path(__file__).parent.parent.parent
START = datetime(2026, 1, 31, 12, 0, 0, 5, UTC)


def clock() -> Callable[[], datetime]:
    """A second later each time."""
    times = (START + timedelta(seconds=at) for at in range(10**6))
    return lambda: next(times)


def frozen() -> datetime:
    """Always the same time."""
    return START


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where snapshots are."""
    return tmp_path / "kept"


@pytest.fixture
def store(place: Path) -> Iterator[VectorStore]:
    """The small index, and a place for its snapshots."""
    with VectorStore(envelopes.backend(), snapshots=Snapshots(place, now=clock())) as made:
        yield made


def content(store: VectorStore, name: str = SPEC.name) -> list[Any]:
    """All items of an index."""
    with store.backend.export(name) as export:
        return envelopes.rows(export.batches)


def files(place: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in place.rglob("*") if path.is_file())


# ------------------------------------------------------------------- taking and listing


def test_snapshot_is_told_and_listed(store: VectorStore, place: Path) -> None:
    """A snapshot is one envelope, and listing tells of it what taking it told."""
    made = store.snapshot(SPEC.name)
    (path,) = files(place)
    data = path.read_bytes()
    assert data == envelopes.encoded(store.backend)
    assert made == SnapshotInfo(
        id=f"20260131T120000000005Z-{data[-36:-4].hex()[:16]}",
        index="döcs",
        dimension=3,
        metric="l2",
        items=5,
        bytes=len(data),
        sha256=data[-36:-4].hex(),
        created_at="2026-01-31T12:00:00.000005Z",
    )
    assert path == place / "d%C3%B6cs" / f"{made.id}.envelope"
    assert store.snapshots(SPEC.name) == [made]


def test_snapshots_sort_by_time(store: VectorStore) -> None:
    """Ids sort by time whatever is in them, and the same content at two times is two."""
    made = []
    for at in range(20):
        if at % 2:
            store.add(SPEC.name, [Item(f"new-{at}", [at, 1, 2])])
        made.append(store.snapshot(SPEC.name))
    assert store.snapshots(SPEC.name) == made
    assert [info.id for info in made] == sorted(info.id for info in made)
    assert (made[1].sha256 == made[2].sha256, made[1].id == made[2].id) == (True, False)


def test_snapshots_of_a_dropped_index_stay(store: VectorStore) -> None:
    """What is dropped can be listed and restored."""
    before = content(store)
    made = store.snapshot(SPEC.name)
    store.drop(SPEC.name)
    assert store.snapshots(SPEC.name) == [made]
    assert store.restore(SPEC.name, made.id) == 5
    assert content(store) == before
    assert store.describe(SPEC.name).metadata == SPEC.metadata


def test_index_that_is_not_there_has_no_snapshots(store: VectorStore, place: Path) -> None:
    """Listing nothing gives nothing; a snapshot of nothing is refused, and leaves no folder."""
    assert store.snapshots("nothing") == []
    with pytest.raises(VectorNotFoundError) as found:
        store.snapshot("nothing")
    assert found.value.code == "index_not_found"
    assert not place.exists()


def test_folder_of_the_data_has_the_snapshots(tmp_path: Path) -> None:
    """A data folder keeps its snapshots within, where they are found again."""
    with VectorStore(tmp_path / "data") as store:
        store.create("docs", 2)
        store.add("docs", [Item("a", [1, 2]), Item("b", [2, 1], {})])
        made = store.snapshot("docs")
    assert files(tmp_path / "data" / "snapshots") == [
        tmp_path / "data" / "snapshots" / "docs" / f"{made.id}.envelope"
    ]
    with VectorStore(tmp_path / "data") as store:
        store.add("docs", [Item("c", [1, 1])])
        assert store.snapshots("docs") == [made]
        assert store.restore("docs", made.id, "older") == 2
        assert store.restore("docs", made.id, replace=True) == 2
        assert store.ids("docs") == store.ids("older") == ["a", "b"]
        assert store.get("docs", "b").metadata == {}


def test_memory_needs_a_place() -> None:
    """A store in memory has no folder, so a place must be given; one of an unknown kind is
    refused."""
    with VectorStore("memory:") as store:
        store.create("docs", 2)
        for call in (lambda: store.snapshot("docs"), lambda: store.snapshots("docs")):
            with pytest.raises(VectorRequestError, match="have no place here"):
                call()
    with VectorStore("memory:", snapshots="ftp://somewhere") as store, pytest.raises(UsageError):
        store.snapshots("docs")


NAMES = ["docs", "Docs", "a.b", "a b", "a%2Eb", "...", "😀", "con", "x" * 128, "ü" * 64, "=x", "-"]


def test_names_reach_the_disk_escaped(place: Path) -> None:
    """Nothing of a name but plain signs is in a path, no two share one, and all come back."""
    with VectorStore("memory:", snapshots=Snapshots(place)) as store:
        for at, name in enumerate(NAMES):
            store.create(name, 2)
            store.add(name, [Item("a", [1, at])])
            store.snapshot(name)
        for at, name in enumerate(NAMES):
            (made,) = store.snapshots(name)
            assert store.restore(name, made.id, "again", replace=True) == 1
            assert list(store.get("again", "a").vector) == [1, at]
    folders = [folder_of(name) for name in NAMES]
    assert sorted(folders) == sorted(os.listdir(place))
    assert len(set(folders)) == len(NAMES)
    assert all(len(folder) <= 200 for folder in folders)
    assert (folder_of("a.b/../ü"), folder_of("..")) == ("a%2Eb%2F%2E%2E%2F%C3%BC", "%2E%2E")


def test_listing_reads_only_the_ends(store: VectorStore, place: Path) -> None:
    """Listing takes a few thousand bytes of each snapshot, however large it is."""
    for at in range(2_000):
        store.backend.add(SPEC.name, _batch(f"more-{at:05}"))
    made = store.snapshot(SPEC.name)

    class Counting(FolderPlace):
        """Counts what is read."""

        taken = 0

        def read(self, path: str, start: int, end: int) -> bytes:
            data = super().read(path, start, end)
            self.taken += len(data)
            return data

    counting = Counting(place)
    assert Snapshots(counting).list(SPEC.name) == [made]
    assert counting.taken < 5_000 < made.bytes


def _batch(id_: str) -> Batch:
    return Batch([id_], np.ones((1, 3), np.float32), [None])


def test_writes_meanwhile_are_not_in_it(tmp_path: Path) -> None:
    """A snapshot under writes shows one state: adds of pairs are there as pairs."""
    with VectorStore(tmp_path / "data") as store:
        store.create("docs", 4, "l2")
        done = threading.Event()

        def write() -> None:
            at = 0
            while not done.is_set():
                store.add("docs", [Item(f"a{at}", [at, 1, 1, 1]), Item(f"z{at}", [at, 1, 1, 1])])
                at += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            made = [store.snapshot("docs") for _ in range(8)]
        finally:
            done.set()
            writer.join()
        for info in made:
            assert store.restore("docs", info.id, "then", replace=True) == info.items
            ids = store.ids("then")
            numbers = [{id_[1:] for id_ in ids if id_[0] == sign} for sign in "az"]
            assert numbers[0] == numbers[1] == {str(at) for at in range(info.items // 2)}


# ---------------------------------------------------------------------------- restoring


def test_restore_goes_into_a_new_name_or_over_the_old(store: VectorStore) -> None:
    """Into a new name; over one that is there only with ``replace``, whatever that one was."""
    before = content(store)
    made = store.snapshot(SPEC.name)
    store.delete(SPEC.name, ["a", "b"])
    store.create("other", 7, "cosine")
    for into in (None, "other"):
        with pytest.raises(VectorConflictError) as found:
            store.restore(SPEC.name, made.id, into)
        assert found.value.code == "index_exists"
    assert (store.count(SPEC.name), store.describe("other").dimension) == (3, 7)
    for into in ("new", "other", None):
        assert store.restore(SPEC.name, made.id, into, replace=into != "new") == 5
        assert content(store, into or SPEC.name) == before
    assert store.describe("other").dimension == 3


BAD_IDS = ["", "x", "..", "../d%C3%B6cs/x", "20260131T120000000005Z-0123456789abcdef", "a\0b", "\n"]


@pytest.mark.parametrize("id_", [*BAD_IDS, 7, None])
def test_unknown_snapshot_is_not_found(store: VectorStore, id_: Any) -> None:
    """An id that no snapshot has is not found, whatever is in it."""
    store.snapshot(SPEC.name)
    for call in (
        lambda: store.restore(SPEC.name, id_, "new"),
        lambda: store.delete_snapshot(SPEC.name, id_),
    ):
        with pytest.raises(VectorNotFoundError) as found:
            call()
        assert found.value.code == "snapshot_not_found"


def test_latest_is_the_newest_snapshot(store: VectorStore) -> None:
    """Where an id may stand, `latest` may: of this index, and not found where there is none."""
    first = store.snapshot(SPEC.name)
    store.add(SPEC.name, [Item("newest", [1, 2, 3])])
    second = store.snapshot(SPEC.name)
    assert store.restore(SPEC.name, "latest", "new") == second.items == first.items + 1
    store.delete_snapshot(SPEC.name, "latest")
    assert store.snapshots(SPEC.name) == [first]
    store.create("other", 3)
    for call in (
        lambda: store.restore("other", "latest", "newer"),
        lambda: store.delete_snapshot("other", "latest"),
    ):
        with pytest.raises(VectorNotFoundError) as found:
            call()
        assert found.value.code == "snapshot_not_found"


def test_latest_looks_at_the_newest_alone(store: VectorStore, place: Path) -> None:
    """How many snapshots there are does not matter to what it reads; where one in the folder is
    another index's, it is the newest of those that are not."""
    made = [store.snapshot(SPEC.name) for _ in range(5)]

    class Watched(FolderPlace):
        """Tells of what it reads."""

        def read(self, path: str, start: int, end: int) -> bytes:
            looked_at.add(path)
            return super().read(path, start, end)

    looked_at: set[str] = set()
    snapshots = Snapshots(Watched(place))
    snapshots.delete(SPEC.name, "latest")
    assert looked_at == {f"{folder_of(SPEC.name)}/{made[4].id}.envelope"}
    store.create("other", 3)
    strange = store.snapshot("other")
    (found,) = (place / "other").iterdir()
    found.rename(place / folder_of(SPEC.name) / found.name)
    assert strange.id > made[3].id
    snapshots.delete(SPEC.name, "latest")
    assert store.snapshots(SPEC.name) == made[:3]


def test_ids_do_not_lead_elsewhere(store: VectorStore, place: Path) -> None:
    """An id with a path in it reaches no other index's snapshot, nor does a line end pass."""
    made = store.snapshot(SPEC.name)
    store.create("other", 3)
    for id_ in (
        f"../d%C3%B6cs/{made.id}",
        f"{made.id}/../x",
        f"{made.id}\n",
        f"{made.id}.envelope",
        made.id,
    ):
        with pytest.raises(VectorNotFoundError):
            store.restore("other", id_, "new")


def test_bad_names_are_refused(store: VectorStore) -> None:
    """A name with a path in it is refused, with its field, before anything is asked of a disk."""
    made = store.snapshot(SPEC.name)
    for call in (store.snapshot, store.snapshots):
        with pytest.raises(VectorRequestError) as found:
            call("../x")
        assert found.value.problems[0][0] == "name"
    with pytest.raises(VectorRequestError) as found:
        store.restore(SPEC.name, made.id, "../x")
    assert found.value.problems[0][0] == "into"
    with pytest.raises(VectorRequestError) as found:
        store.delete_snapshot("../x", made.id)
    assert found.value.problems[0][0] == "name"


@pytest.mark.parametrize("where", [0, 10, 20, 100, 200, -70, -50, -20, -1])
def test_damaged_snapshot_is_never_restored(store: VectorStore, place: Path, where: int) -> None:
    """A flipped bit anywhere: refused before the index is touched, and listed all the same."""
    made = store.snapshot(SPEC.name)
    (path,) = files(place)
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    store.add(SPEC.name, [Item("later", [1, 2, 3])])
    before = content(store)
    with pytest.raises(VectorDamagedError) as found:
        store.restore(SPEC.name, made.id, replace=True)
    assert found.value.code == ("envelope_version" if where == 10 else "envelope_damaged")
    assert str(path) in found.value.where
    assert content(store) == before
    (listed,) = store.snapshots(SPEC.name)
    assert (listed.id, listed.index, listed.bytes) == (made.id, SPEC.name, made.bytes)
    in_the_middle = where in (200, -70)
    assert bool(listed.damaged) != in_the_middle
    assert listed == made if in_the_middle else listed.sha256 == ""


def test_nothing_is_loaded_before_all_is_read(store: VectorStore, place: Path) -> None:
    """A backend is not asked to load anything of a snapshot of which a byte is off."""
    made = store.snapshot(SPEC.name)
    (path,) = files(place)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    asked = []

    class Watched(MemoryBackend):
        """Tells when it is to load."""

        def load(self, *arguments: Any, **named: Any) -> int:
            asked.append(arguments)
            return super().load(*arguments, **named)

    with pytest.raises(VectorDamagedError):
        Snapshots(place).restore(Watched(), SPEC.name, made.id, "new", replace=False)
    assert asked == []


def test_existing_index_is_told_before_anything_is_read(store: VectorStore, place: Path) -> None:
    """Without ``replace`` an index that is there is what is told, whatever the snapshot is."""
    made = store.snapshot(SPEC.name)
    (path,) = files(place)
    path.write_bytes(b"x")
    store.export_file(SPEC.name, place / "file")
    for call in (
        lambda: store.restore(SPEC.name, made.id),
        lambda: store.import_file(path, SPEC.name),
    ):
        with pytest.raises(VectorConflictError):
            call()


def test_snapshot_that_goes_while_it_is_listed(store: VectorStore, place: Path) -> None:
    """One deleted since it was listed is left out; one that cannot be read is told to be so."""
    made = store.snapshot(SPEC.name)

    class Gone(FolderPlace):
        """Deletes what it is to read, or only fails."""

        deletes = True

        def read(self, path: str, start: int, end: int) -> bytes:
            if self.deletes:
                self.delete(path)
            raise StorageError("cannot read: the disk failed to read or write", where=path)

    gone = Gone(place)
    gone.deletes = False
    (listed,) = Snapshots(gone).list(SPEC.name)
    assert (listed.id, listed.damaged) == (made.id, "cannot read: the disk failed to read or write")
    assert Snapshots(Gone(place)).list(SPEC.name) == []


def test_refusals_of_a_place_are_the_vector_stores() -> None:
    """A disk that refuses, and an object that is replaced while it is read, end in its errors."""
    for error in (StorageError("it refused"), LakeChangedError("was replaced while it was read")):
        with pytest.raises(VectorFailedError, match=error.what), told():
            raise error


@pytest.mark.parametrize("size", [0, 5, 50, 200])
def test_truncated_snapshot_is_listed_as_damaged(
    store: VectorStore, place: Path, size: int
) -> None:
    """A snapshot that lost its end is told to be damaged, beside those that are sound."""
    first, second = store.snapshot(SPEC.name), store.snapshot(SPEC.name)
    path = place / folder_of(SPEC.name) / f"{first.id}.envelope"
    os.truncate(path, size)
    listed = store.snapshots(SPEC.name)
    assert [info.id for info in listed] == [first.id, second.id]
    assert (bool(listed[0].damaged), listed[1]) == (True, second)


def test_snapshot_under_a_wrong_name_is_damaged(store: VectorStore, place: Path) -> None:
    """One that was renamed is told to be another's; one copied to another index is not its."""
    made = store.snapshot(SPEC.name)
    (path,) = files(place)
    other = f"{made.id[:-1]}{'0' if made.id[-1] != '0' else '1'}"
    for name in (f"{other}.envelope", f"20261331T120000000005Z{made.id[22:]}.envelope"):
        path = path.rename(path.with_name(name))
        (listed,) = store.snapshots(SPEC.name)
        assert "another snapshot" in listed.damaged
        with pytest.raises(VectorDamagedError):
            store.restore(SPEC.name, listed.id, "new")
    (place / "other").mkdir()
    path.rename(place / "other" / f"{made.id}.envelope")
    assert store.snapshots("other") == []
    with pytest.raises(VectorNotFoundError):
        store.restore("other", made.id, "new")


def test_what_is_no_snapshot_is_not_listed(store: VectorStore, place: Path) -> None:
    """Other files, drafts and folders beside the snapshots are nothing to them."""
    made = store.snapshot(SPEC.name)
    folder = place / folder_of(SPEC.name)
    for name in ("README", ".stillhouse-1-ab.tmp", f"{made.id}.json", "x.envelope"):
        (folder / name).write_bytes(b"x")
    (folder / "deeper").mkdir()
    (folder / "deeper" / f"{made.id}.envelope").write_bytes(b"x")
    assert store.snapshots(SPEC.name) == [made]


def test_deleted_snapshot_is_gone(
    store: VectorStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot can be removed for good, and no other is."""
    first, second = store.snapshot(SPEC.name), store.snapshot(SPEC.name)
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}"))
    )
    store.delete_snapshot(SPEC.name, first.id)
    assert synced == [str(place / folder_of(SPEC.name))]
    assert store.snapshots(SPEC.name) == [second]
    assert len(files(place)) == 1


def test_snapshot_of_another_index_is_not_deleted(store: VectorStore, place: Path) -> None:
    """Where capitals do not count two indexes share a folder, and each has only its own; a
    damaged one, which does not say whose it is, can still be removed."""
    made = store.snapshot(SPEC.name)
    (place / folder_of(SPEC.name)).rename(place / "other")
    (path,) = files(place)
    for id_ in (made.id, "latest"):
        with pytest.raises(VectorNotFoundError) as found:
            store.delete_snapshot("other", id_)
        assert found.value.code == "snapshot_not_found"
    assert files(place) == [path]
    os.truncate(path, 50)
    store.delete_snapshot("other", made.id)
    assert files(place) == []


# ------------------------------------------------------------- two writers, full disks


def test_two_writers_never_write_over_one_another(place: Path) -> None:
    """At the very same time the same content is not written twice, and what is there stays."""
    backend, snapshots = envelopes.backend(), Snapshots(place, now=frozen)
    made = snapshots.take(backend, SPEC.name)
    (path,) = files(place)
    path.write_bytes(b"what was there")
    with pytest.raises(VectorBusyError):
        snapshots.take(backend, SPEC.name)
    assert (files(place), path.read_bytes()) == ([path], b"what was there")
    later = Snapshots(place, now=iter([START, START, START + timedelta(days=1)]).__next__)
    assert later.take(backend, SPEC.name).id == f"20260201{made.id[8:]}"
    assert path.read_bytes() == b"what was there"


def test_many_writers_at_once_each_have_theirs(place: Path) -> None:
    """Eight threads, one place: as many snapshots as were acknowledged, all sound."""
    backend, snapshots = envelopes.backend(), Snapshots(place)
    made: list[SnapshotInfo] = []

    def take() -> None:
        made.extend(snapshots.take(backend, SPEC.name) for _ in range(5))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({info.id for info in made}) == 40
    assert snapshots.list(SPEC.name) == sorted(made, key=lambda info: info.id)


def test_draft_that_is_not_locked_yet_is_not_swept(place: Path) -> None:
    """While one writer makes its draft, another waits with sweeping."""
    backend, snapshots = envelopes.backend(), Snapshots(place)
    snapshots.take(backend, SPEC.name)
    folder = place / folder_of(SPEC.name)
    fresh = folder / ".stillhouse-1-0123456789abcdef.tmp"
    handle = os.open(folder, os.O_RDONLY)
    other = threading.Thread(target=snapshots.take, args=(backend, SPEC.name))
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        fresh.write_bytes(b"")
        other.start()
        other.join(0.3)
        assert (fresh.exists(), other.is_alive()) == (True, True)
    finally:
        os.close(handle)
        other.join()
    assert not fresh.exists()
    assert len(snapshots.list(SPEC.name)) == 2


def test_snapshot_is_on_disk_before_it_is_seen(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced before it is linked under its name, and its folder after."""
    done: list[str] = []
    sync = os.fsync

    def watched(handle: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    backend = envelopes.backend()
    Snapshots(place).take(backend, SPEC.name)
    folder = place / folder_of(SPEC.name)
    monkeypatch.setattr(os, "fsync", watched)
    Snapshots(place, faults=done.append).take(backend, SPEC.name)
    temporary = done.pop(1)
    assert temporary.startswith(f"{folder}/.stillhouse-")
    assert done == [
        "snapshot:encoded", "snapshot:synced", "snapshot:linked", str(folder), "snapshot:put"
    ]  # fmt: skip


@pytest.mark.parametrize("which", ["file", "folder"])
def test_snapshot_that_cannot_be_synced_is_none(
    place: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """When the disk does not take it, this is said, and there is no such snapshot."""
    backend = envelopes.backend()
    kept = Snapshots(place).take(backend, SPEC.name)
    sync = os.fsync

    def failing(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}") == (which == "folder"):
            raise OSError(5, "Input/output error")
        sync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(VectorFailedError, match="failed to read or write"):
        Snapshots(place).take(backend, SPEC.name)
    assert Snapshots(place).list(SPEC.name) == [kept]
    assert len(files(place)) == 1


@pytest.mark.parametrize("number", [28, 5])
def test_full_disk_leaves_nothing(place: Path, number: int) -> None:
    """A write that the disk refuses half-way ends in one error, and leaves no file."""

    class Full(FolderPlace):
        """A disk with room for two writes."""

        @contextmanager
        def draft(self, folder: str) -> Iterator[Any]:
            with super().draft(folder) as draft:
                yield _Full(draft, number)

    with pytest.raises(VectorFailedError) as found:
        Snapshots(Full(place)).take(envelopes.backend(), SPEC.name)
    assert found.value.code == ("disk_full" if number == 28 else "storage_failed")
    assert files(place) == []


class _Full:
    def __init__(self, draft: Any, number: int) -> None:
        self._draft = draft
        self._left = 2
        self._number = number

    def write(self, data: bytes) -> int:
        """Refuse the third piece."""
        from stillhouse.storage.paths import disk_error

        self._left -= 1
        if self._left < 0:
            raise disk_error(OSError(self._number, ""), "write", "the disk")
        return int(self._draft.write(data))


def test_export_that_fails_leaves_nothing(place: Path) -> None:
    """What goes wrong in the backend half-way goes on to the caller, and no file is left."""

    class Failing(MemoryBackend):
        """Breaks after the first batch."""

        @contextmanager
        def export(self, name: str) -> Iterator[Export]:
            with super().export(name) as whole:
                yield Export(whole.spec, whole.total, _broken(whole))

    backend = Failing()
    source = envelopes.backend()
    with source.export(SPEC.name) as export:
        backend.load(SPEC, export.batches, replace=False)
    with pytest.raises(VectorDamagedError, match="not as it was written"):
        Snapshots(place).take(backend, SPEC.name)
    assert files(place) == []


def _broken(whole: Export) -> Iterator[Batch]:
    yield next(envelopes.cut(whole, 2).batches)
    raise VectorDamagedError("item 'x' is not as it was written")


# ------------------------------------------------------------------------------- crashes

KILLED = """
import os, signal, sys
from stillhouse.vectors.snapshots import Snapshots
from tests.vectors import envelopes

def faults(point):
    if point == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

store = envelopes.backend()
if sys.argv[2] == "export":
    from stillhouse.vectors.backend import Export
    from contextlib import contextmanager
    whole = store.export

    def dying(export):
        for batch in envelopes.cut(export, 1).batches:
            yield batch
            if batch.ids == ["c"]:
                os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def export(name):
        with whole(name) as found:
            yield Export(found.spec, found.total, dying(found))

    store.export = export
Snapshots(sys.argv[1], faults=faults).take(store, envelopes.SPEC.name)
"""

POINTS = {
    "export": 0,
    "snapshot:encoded": 0,
    "snapshot:synced": 0,
    "snapshot:linked": 1,
    "snapshot:put": 1,
}


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
def test_killed_writer_leaves_a_whole_snapshot_or_none(place: Path, point: str) -> None:
    """Killed at any point, a writer leaves no half snapshot in sight; the next one sweeps up."""
    backend = envelopes.backend()
    kept = Snapshots(place, now=frozen).take(backend, SPEC.name)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(place), point],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    listed = Snapshots(place).list(SPEC.name)
    assert listed[0] == kept
    assert (len(listed), [info.damaged for info in listed if info.damaged]) == (
        1 + POINTS[point],
        [],
    )
    for info in listed:
        assert Snapshots(place).restore(backend, SPEC.name, info.id, "new", replace=True) == 5
    Snapshots(place).take(backend, SPEC.name)
    assert all(path.suffix == ".envelope" for path in files(place))
    assert len(files(place)) == len(listed) + 1


# ---------------------------------------------------------------- files of the user's own


def test_index_goes_out_to_a_file_and_in_again(store: VectorStore, tmp_path: Path) -> None:
    """A file holds the index whole, is written over, and makes an index of any name."""
    path = tmp_path / "docs.envelope"
    path.write_bytes(b"what was there")
    assert store.export_file(SPEC.name, path) == EnvelopeInfo(index=SPEC.name, version=2, items=5)
    assert path.read_bytes() == envelopes.encoded(store.backend)
    assert files(tmp_path) == [path]
    assert store.import_file(path, "new") == EnvelopeInfo(index="new", version=2, items=5)
    assert content(store, "new") == content(store)
    with pytest.raises(VectorConflictError) as found:
        store.import_file(path, "new")
    assert found.value.code == "index_exists"
    store.delete("new", ["a"])
    assert store.import_file(str(path), "new", replace=True).items == 5


def test_file_of_version_1_says_what_it_left_out(store: VectorStore, tmp_path: Path) -> None:
    """The user is told how many vectors have no metadata and were not seen (SPEC V3)."""
    path = tmp_path / "docs.json"
    path.write_bytes(envelopes.V1)
    told = store.import_file(path, "old")
    assert told == EnvelopeInfo(index="old", version=1, items=3, left_out=2)
    assert store.ids("old") == ["a", "b", "é"]


@pytest.mark.parametrize("linked", [False, True])
def test_only_files_are_written_over(store: VectorStore, tmp_path: Path, linked: bool) -> None:
    """A pipe (like a device, such as /dev/null) or a folder is refused, also behind a link, and
    stays what it is."""
    os.mkfifo(tmp_path / "pipe")
    for there in (tmp_path / "pipe", tmp_path):
        path = there
        if linked:
            path = tmp_path / f"to-{there.name}"
            path.symlink_to(there)
        kind = there.stat().st_mode
        with pytest.raises(VectorFailedError, match="is no regular file") as found:
            store.export_file(SPEC.name, path)
        assert (found.value.where, "\n" in str(found.value)) == (str(path), False)
        assert (there.stat().st_mode, path.is_symlink()) == (kind, linked)
    assert files(tmp_path) == []


def test_files_that_cannot_be_used_are_refused(store: VectorStore, tmp_path: Path) -> None:
    """A missing, unreadable or damaged file: one clear error each, and no index."""
    path = tmp_path / "x"
    with pytest.raises(VectorNotFoundError) as missing:
        store.import_file(path, "new")
    assert missing.value.code == "file_not_found"
    for other in (tmp_path, "a\0b"):
        with pytest.raises(VectorFailedError):
            store.import_file(other, "new")
    path.write_bytes(envelopes.encoded(store.backend)[:-1])
    with pytest.raises(VectorDamagedError) as damaged:
        store.import_file(path, "new")
    assert (damaged.value.code, damaged.value.where) == ("envelope_damaged", str(path))
    with pytest.raises(VectorRequestError):
        store.import_file(path, "../x")
    with pytest.raises(VectorFailedError):
        store.export_file(SPEC.name, path / "below" / "a-file")
    with pytest.raises(VectorNotFoundError):
        store.export_file("nothing", tmp_path / "y")
    assert (store.backend.names(), files(tmp_path)) == ([SPEC.name], [path])
