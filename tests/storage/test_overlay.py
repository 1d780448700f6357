"""A lake seen through a second store: it reads as one, and is never written to."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from stillhouse.errors import StorageError
from stillhouse.interfaces import Store
from stillhouse.storage import LocalStore, MemoryStore
from stillhouse.storage.overlay import OverlayStore

Put = Callable[[Store, str, bytes], None]


@pytest.fixture
def base(put: Put) -> MemoryStore:
    """A lake of three files."""
    store = MemoryStore()
    for path, data in (("a/1", b"one\ntwo\nthree\n"), ("a/2", b"2"), ("b", b"below")):
        put(store, path, data)
    return store


def paths(store: Store, prefix: str = "") -> list[str]:
    return [entry.path for entry in store.list(prefix)]


def test_what_is_written_hides_what_lies_below(base: MemoryStore, put: Put) -> None:
    """A file of the upper store is the one that is read and listed; the base keeps its own."""
    view = OverlayStore(base, MemoryStore())
    put(view, "b", b"above")
    put(view, "a/15", b"new")
    assert paths(view) == ["a/1", "a/15", "a/2", "b"]
    assert (view.read("b"), base.read("b")) == (b"above", b"below")
    with view.open("b") as handle:
        assert handle.read() == b"above"
    entry = view.stat("b")
    assert entry is not None
    assert entry in list(view.list(""))
    assert not view.create("a/2", b"other")
    assert paths(base) == ["a/1", "a/2", "b"]


def test_what_is_deleted_is_hidden_and_may_come_back(base: MemoryStore, put: Put) -> None:
    """A deleted file of the base is neither listed nor read, and still there below."""
    view = OverlayStore(base, MemoryStore())
    view.delete("a/2")
    assert (paths(view, "a"), view.stat("a/2")) == (["a/1"], None)
    with pytest.raises(StorageError, match=r"a/2.*no such file"):
        view.read("a/2")
    with pytest.raises(StorageError, match="a/2"):
        view.open("a/2")
    put(view, "a/2", b"again")
    assert view.read("a/2") == b"again"
    assert base.read("a/2") == b"2"


def test_only_the_first_bytes_of_what_is_shown_are_there(base: MemoryStore) -> None:
    """Files are cut where the second run should not see further; others are not there at all."""
    view = OverlayStore(base, MemoryStore(), {"a/1": 8})
    assert [(entry.path, entry.size) for entry in view.list("")] == [("a/1", 8)]
    assert view.read("a/1") == b"one\ntwo\n"
    assert (view.read("a/1", 4, 99), view.read("a/1", 9)) == (b"two\n", b"")
    with view.open("a/1") as handle:
        assert list(handle) == [b"one\n", b"two\n"]
        assert handle.seek(4) == 4
        assert handle.read() == b"two\n"
        assert handle.seek(-4, 2) == 4
        assert handle.read(2) == b"tw"
    with pytest.raises(StorageError, match="no such file"):
        view.read("b")


def test_a_file_that_became_shorter_is_seen_as_it_is(base: MemoryStore) -> None:
    """Its reader finds out, as with any lake."""
    view = OverlayStore(base, MemoryStore(), {"a/2": 100})
    entry = view.stat("a/2")
    assert entry is not None
    assert (entry.size, view.read("a/2")) == (1, b"2")
    with view.open("a/2") as handle:
        assert handle.read() == b"2"


def test_changes_are_other_bytes_and_files_that_are_gone(base: MemoryStore, put: Put) -> None:
    """A file that was written again with the same bytes has not changed."""
    view = OverlayStore(base, MemoryStore())
    assert view.changes() == []
    put(view, "a/2", b"2")
    view.delete("a/1")
    put(view, "b", b"BELOW")
    put(view, "c", b"")
    assert view.changes() == ["a/1", "b", "c"]


def test_a_view_of_folders_crosses_process_borders(tmp_path: Path, put: Put) -> None:
    """Workers see what was shown, written and deleted when they were sent the view."""
    below, above = LocalStore(tmp_path / "b", create=True), LocalStore(tmp_path / "a", create=True)
    for path in ("x", "y", "z"):
        put(below, path, b"12345")
    view = OverlayStore(below, above, {"x": 3, "y": 3})
    view.delete("y")
    put(view, "w", b"new")
    other = pickle.loads(pickle.dumps(view))
    assert [(entry.path, entry.size) for entry in other.list("")] == [("w", 3), ("x", 3)]
    assert view.local_path("x") is None
    assert view.local_path("w") == tmp_path / "a" / "w"


def test_lines_are_added_and_cut_above(base: MemoryStore) -> None:
    """A file of the base is copied up to where it is seen; the base keeps its own."""
    view = OverlayStore(base, MemoryStore(), {"a/1": 8, "b": 5})
    view.append_line("a/1", b"2.5", lambda tail, start: None)
    assert view.read("a/1") == b"one\ntwo\n2.5\n"
    found = view.snapshot("b")
    assert found == (view.stat("b"), b"below")
    assert found is not None
    assert view.truncate("b", 2, found[0])
    assert (view.read("b"), view.truncate("b", 1, found[0])) == (b"be", False)
    view.append_line("new", b"1", lambda tail, start: None)
    assert (view.read("new"), view.snapshot("a/2")) == (b"1\n", None)
    assert (base.read("a/1"), base.read("b")) == (b"one\ntwo\nthree\n", b"below")
    assert base.stat("new") is None
