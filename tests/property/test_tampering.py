"""No damage to a signed lake goes unseen: random damage to every kind of file that it has.

The lake has a history: two runs, a log that grew between them, so superseded receipts too. Of
a raw log only what was read is covered; what came after is a log's good right to have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stillhouse.receipts import VerifyReport, decode_receipt, list_receipts, sign_lake, verify_lake
from stillhouse.storage import LocalStore, MemoryStore
from tests.runs import FIRST, SECOND, add, demo, put, rows, run

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

KINDS = {
    "raw log": "_kb/",
    "evidence": "evidence/",
    "scored run": "scored-runs/",
    "export": "distilled/sft/ distilled/preference/ distilled/rag/",
    "dataset": "distilled/dataset/",
    "quarantine": "quarantine/",
    "receipt": "receipts/ .json",
    "signature": "receipts/ .intoto.jsonl",
}


class Lake(NamedTuple):
    """A lake in memory: its store, and of each file the bytes that must stay as they are."""

    store: MemoryStore
    files: Mapping[str, bytes]

    def of_kind(self, kind: str) -> list[str]:
        """The files of one kind that have a byte to answer for."""
        *folders, last = KINDS[kind].split()
        if last.startswith("."):
            found = [path for path in self.files if path.startswith(folders[0])]
            return [path for path in found if path.endswith(last)]
        return [path for path in self.files if path.startswith((*folders, last))]

    def verify(self) -> VerifyReport:
        return verify_lake(self.store, keys=[KEY.public_key()])

    def put(self, path: str, data: bytes) -> None:
        with self.store.writer(path) as sink:
            sink.write(data)

    @contextmanager
    def damaged(self, changes: Mapping[str, bytes | None]) -> Iterator[VerifyReport]:
        """What verification finds while some files have other bytes, or (None) are gone."""
        before = {path: self.store.read(path) for path in changes if self.store.stat(path)}
        try:
            for path, data in changes.items():
                if data is None:
                    self.store.delete(path)
                else:
                    self.put(path, data)
            yield self.verify()
        finally:
            for path in changes:
                self.store.delete(path)
                if path in before:
                    self.put(path, before[path])


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """An example lake that ran, grew, ran again, and was signed; it holds."""
    root: Path = tmp_path_factory.mktemp("tampering") / "lake"
    demo(root, 60)
    put(root, "scrum_reviews", rows(0, 9))
    run(root, FIRST)
    add(root / "_kb" / "scrum_reviews.jsonl", rows(9, 15))
    run(root, SECOND)
    disk = LocalStore(root)
    sign_lake(disk, KEY, "test")
    store = MemoryStore()
    for entry in disk.list(""):
        if not entry.path.startswith(".stillhouse/"):
            with store.writer(entry.path) as sink:
                sink.write(disk.read(entry.path))
    read: dict[str, int] = {}
    for path in list_receipts(store):
        for file in decode_receipt(store.read(path), path).inputs:
            read[file.path] = max(file.bytes, read.get(file.path, 0))
    files = {}
    for entry in store.list(""):
        end = read.get(entry.path) if entry.path.startswith("_kb/") else entry.size
        if end:
            files[entry.path] = store.read(entry.path, 0, end)
    found = Lake(store, {path: data for path, data in files.items() if "/" in path})
    assert found.verify().ok
    assert all(found.of_kind(kind) for kind in KINDS)
    return found


def names(report: VerifyReport) -> set[str]:
    """Every file that some problem is about."""
    return {path for found in report.problems for path in (found.path, found.receipt)}


def a_file(lake: Lake, data: st.DataObject) -> str:
    """Every kind of file as often as any other, however many it has."""
    return data.draw(st.sampled_from(lake.of_kind(data.draw(st.sampled_from(sorted(KINDS))))))


def with_rest(lake: Lake, path: str, covered: bytes) -> bytes:
    """A file with other bytes where it must not have any; what came later stays behind them."""
    return covered + lake.store.read(path)[len(lake.files[path]) :]


@settings(max_examples=max(250, settings().max_examples))
@given(data=st.data())
def test_a_flipped_bit_is_found(lake: Lake, data: st.DataObject) -> None:
    """One bit of any byte of any file: verification fails and names the file."""
    path = a_file(lake, data)
    spoilt = bytearray(lake.files[path])
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with lake.damaged({path: with_rest(lake, path, bytes(spoilt))}) as report:
        assert path in names(report)
        assert not report.ok


@settings(max_examples=100)
@given(data=st.data())
def test_another_byte_is_found(lake: Lake, data: st.DataObject) -> None:
    """A byte that becomes any other, not its neighbour by one bit alone."""
    path = a_file(lake, data)
    spoilt = bytearray(lake.files[path])
    place = data.draw(st.integers(0, len(spoilt) - 1))
    spoilt[place] = (spoilt[place] + data.draw(st.integers(1, 255))) % 256
    with lake.damaged({path: with_rest(lake, path, bytes(spoilt))}) as report:
        assert path in names(report)


@settings(max_examples=80)
@given(data=st.data())
def test_a_cut_file_is_found(lake: Lake, data: st.DataObject) -> None:
    """A file that lost its end, from one byte to all of them."""
    path = a_file(lake, data)
    size = data.draw(st.integers(0, len(lake.files[path]) - 1))
    with lake.damaged({path: lake.files[path][:size]}) as report:
        assert path in names(report)


@settings(max_examples=60)
@given(data=st.data())
def test_an_appended_byte_is_found(lake: Lake, data: st.DataObject) -> None:
    """Only raw logs may grow."""
    path = a_file(lake, data)
    more = data.draw(st.binary(min_size=1, max_size=3))
    with lake.damaged({path: lake.store.read(path) + more}) as report:
        assert report.ok if path.startswith("_kb/") else path in names(report)


@settings(max_examples=60)
@given(data=st.data())
def test_a_deleted_file_is_found(lake: Lake, data: st.DataObject) -> None:
    """A file that is gone is named; a receipt by its signature, a signature by its receipt."""
    path = a_file(lake, data)
    beside = path.replace(".intoto.jsonl", ".json") if path.startswith("receipts/") else path
    with lake.damaged({path: None}) as report:
        assert beside in names(report)


@settings(max_examples=60)
@given(data=st.data())
def test_a_swapped_pair_is_found(lake: Lake, data: st.DataObject) -> None:
    """Two files of one kind that changed places are both named."""
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    files = st.sampled_from(lake.of_kind(kind))
    one, other = data.draw(files), data.draw(files)
    first, second = lake.store.read(one), lake.store.read(other)
    assume(first != second)
    with lake.damaged({one: second, other: first}) as report:
        assert names(report) >= {one, other}


@settings(max_examples=60)
@given(data=st.data())
def test_an_added_file_is_found(lake: Lake, data: st.DataObject) -> None:
    """A file that no run wrote, beside any that one did, even when it is a copy of it."""
    path = a_file(lake, data)
    assume(not path.startswith("_kb/"))
    stem, dot, ending = path.rpartition("/")[2].partition(".")
    new = f"{path.rpartition('/')[0]}/{stem}-{data.draw(st.sampled_from('xyz'))}{dot}{ending}"
    with lake.damaged(
        {new: data.draw(st.sampled_from([b"", b"{}\n", lake.files[path]]))}
    ) as report:
        assert new in names(report)
