"""The state of a lake: what it believes, and how a commit is made and finished."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from stillhouse.errors import LakeError, StorageError
from stillhouse.state import (
    STATE_PATH,
    FileState,
    PartitionState,
    State,
    clear_staging,
    commit,
    load_state,
    recover,
    seal,
)
from stillhouse.storage import LocalStore, MemoryStore
from tests.runs import WatchedStore

STAGE = ".stillhouse/staging/a-run/next"
FILES = ("evidence/2026/01/01/a.jsonl", "quarantine/evidence/a.jsonl", "receipts/x.json")


def _state() -> State:
    evidence = FileState(FILES[0], 3, 1, "f" * 64)
    return State(
        partitions={FILES[0]: PartitionState("2026-01-01", "a", evidence)},
        quarantine={"a": FileState(FILES[1], 3, 1, "e" * 64)},
    )


def _stage(store: WatchedStore | MemoryStore) -> None:
    for path in FILES:
        store.create(f"{STAGE}/{path}", b"new")


def test_a_commit_shows_all_of_it(tmp_path: Path) -> None:
    """Staged files appear, removed ones go, fingerprints are those of the files as they stand,
    nothing is owed and staging is gone."""
    store = LocalStore(tmp_path)
    store.create("evidence/2026/01/02/a.jsonl", b"old")
    state = _state()
    for path in FILES:
        store.create(f"{STAGE}/{path}", b"new")
    commit(store, state, STAGE, FILES, ["evidence/2026/01/02/a.jsonl"])
    assert [store.read(path) for path in FILES] == [b"new"] * 3
    assert store.stat("evidence/2026/01/02/a.jsonl") is None
    loaded = load_state(store)
    assert loaded == state
    assert not loaded.owes()
    assert loaded.generation == 1
    entry = store.stat(FILES[0])
    assert entry
    assert loaded.partitions[FILES[0]].evidence.fingerprint == entry.fingerprint
    assert not (tmp_path / ".stillhouse" / "staging").exists()


class _Failing(WatchedStore):
    """Fails at the n-th operation that changes something."""

    left = 0

    def seen(self, action: str, path: str, size: int = 0) -> None:
        """Count down, then refuse."""
        if action in ("read", "open", "create"):
            return
        self.left -= 1
        if self.left < 0:
            raise StorageError("the disk is full")


@pytest.mark.parametrize("operation", range(16))
def test_a_commit_that_fails_is_all_or_nothing(operation: int) -> None:
    """Wherever a commit fails, the state that is stored says either nothing of it or all of it,
    and then `recover` finishes it."""
    inner = MemoryStore()
    store = _Failing(inner)
    state = _state()
    inner.create("evidence/2026/01/02/a.jsonl", b"old")
    _stage(store)
    store.left = operation
    try:
        commit(store, state, STAGE, FILES, ["evidence/2026/01/02/a.jsonl"])
    except StorageError:
        pass
    else:
        assert operation >= 12
    store.left = 1000
    found = load_state(inner)
    if found is None:
        assert [inner.stat(path) for path in FILES] == [None] * 3
        assert inner.stat("evidence/2026/01/02/a.jsonl")
        return
    recover(store, found)
    assert [inner.read(path) for path in FILES] == [b"new"] * 3
    assert inner.stat("evidence/2026/01/02/a.jsonl") is None
    assert not found.owes()
    assert load_state(inner) == found


def test_a_file_that_was_moved_before_a_crash_is_not_vouched_for() -> None:
    """Only what recovery moves itself gets a fingerprint; the rest is known by its hash."""
    store = MemoryStore()
    state = _state()
    state.staging, state.pending = STAGE, list(FILES)
    store.create(FILES[0], b"edited meanwhile")
    store.create(f"{STAGE}/{FILES[1]}", b"new")
    assert recover(store, state)
    assert state.partitions[FILES[0]].evidence.fingerprint == ""
    assert state.quarantine["a"].fingerprint != ""
    assert store.stat(FILES[2]) is None


def test_recovery_without_a_debt_clears_staging() -> None:
    """What was never committed is thrown away."""
    store = MemoryStore()
    _stage(store)
    assert not recover(store, State())
    assert list(store.list("")) == []


def test_emptied_folders_go(tmp_path: Path) -> None:
    """Staging leaves no folder behind, and a link in it is not followed."""
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    lake = tmp_path / "lake"
    (lake / ".stillhouse" / "staging" / "x" / "y").mkdir(parents=True)
    clear_staging(LocalStore(lake))
    assert not (lake / ".stillhouse" / "staging").exists()
    (lake / ".stillhouse" / "staging").mkdir()
    (lake / ".stillhouse" / "staging" / "link").symlink_to(outside)
    clear_staging(LocalStore(lake))
    assert (outside / "inner").exists()


@pytest.mark.parametrize("spoil", ["cut", "edited", "emptied", "another shape", "not text"])
def test_a_state_that_cannot_be_trusted_is_none(spoil: str) -> None:
    """A state file that was edited, cut or mixed up is no state at all."""
    store = MemoryStore()
    _stage(store)
    commit(store, _state(), STAGE, FILES, [])
    good = store.read(STATE_PATH)
    other = b'{"version":1,"raw":[]}'
    bad = {
        "cut": good[:-9],
        "edited": good.replace(b'"generation":1', b'"generation":7'),
        "emptied": b"",
        "another shape": other + b"\n" + seal(other),
        "not text": b"\xff\xfe\n" + seal(b"\xff\xfe"),
    }[spoil]
    assert bad != good
    with store.writer(STATE_PATH) as sink:
        sink.write(bad)
    assert load_state(store) is None
    with store.writer(STATE_PATH) as sink:
        sink.write(good)
    assert load_state(store) is not None


def test_a_newer_state_is_an_error_and_an_older_one_is_none() -> None:
    """A newer program's state is not thrown away; one of a shape that is gone is."""
    store = MemoryStore()
    for version in (0, 2):
        body = msgspec.json.encode({"version": version, "raw": "in another way"})
        with store.writer(STATE_PATH) as sink:
            sink.write(body + b"\n" + seal(body) + b"\n")
        if version:
            with pytest.raises(LakeError, match="newer Stillhouse"):
                load_state(store)
        else:
            assert load_state(store) is None
