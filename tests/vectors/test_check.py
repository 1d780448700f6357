"""Looking at a folder that nobody has open: what is lost, and what mends itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from stillhouse.errors import VectorFailedError, VectorLockedError
from stillhouse.vectors import VectorStore
from stillhouse.vectors.check import check_folder
from stillhouse.vectors.local import LocalBackend, LocalOptions
from stillhouse.vectors.search_index import SearchOptions
from stillhouse.vectors.values import Floats
from tests.runs import Command

ROWS = 600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A closed folder with a sealed index."""
    place = tmp_path / "data"
    backend = LocalBackend(place, options=LocalOptions(search=SearchOptions(seal_rows=256)))
    with VectorStore(backend) as store:
        store.create("docs", 8)
        store.add_columns("docs", [f"id-{at}" for at in range(ROWS)], _vectors())
        backend.settle("docs")
    return place


def _vectors() -> Floats:
    return np.random.default_rng(3).normal(size=(ROWS, 8)).astype("<f4")


def _content(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder, but for the line in `lock` of who had it last."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        if path.is_file() and path.name != "lock"
        else None
        for path in folder.rglob("*")
    }


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_a_whole_folder_has_no_problems(folder: Path, stillhouse: Command) -> None:
    """Every index with its items, and exit code 0; nothing in the folder changes."""
    before = _content(folder)
    found = check_folder(folder)
    assert (found.indexes, found.problems, found.lost) == ({"docs": ROWS}, [], False)
    assert _content(folder) == before
    told = stillhouse("vectors", "check", "--data", folder)
    assert (told.code, "all as acknowledged" in told.err) == (0, True)
    assert _content(folder) == before


@pytest.mark.parametrize("lost", ["", "truth.db-shm"])
def test_a_log_that_was_left_is_looked_at_and_kept(tmp_path: Path, lost: str) -> None:
    """As a killed process leaves a folder: the log counts, and stays. SQLite's index of the log
    is made anew, and is there afterwards only if it was before."""
    with VectorStore(tmp_path / "alive") as store:
        store.create("docs", 8)
        store.add_columns("docs", [f"id-{at}" for at in range(ROWS)], _vectors())
        # What a killed process leaves is what is there at some moment of its life.
        folder = shutil.copytree(tmp_path / "alive", tmp_path / "killed")
    if lost:
        (folder / lost).unlink()
    assert (folder / "truth.db-wal").stat().st_size
    before = _content(folder)
    assert check_folder(folder).indexes == {"docs": ROWS}
    after = _content(folder)
    for content in (before, after):
        content["truth.db-shm"] = b"" if "truth.db-shm" in content else None
    assert after == before


def test_a_log_behind_a_link_counts(tmp_path: Path) -> None:
    """SQLite keeps the log beside the file that a link leads to; it is read there, too."""
    with VectorStore(tmp_path / "alive") as store:
        store.create("docs", 8)
        store.add_columns("docs", [f"id-{at}" for at in range(ROWS)], _vectors())
        folder = shutil.copytree(tmp_path / "alive", tmp_path / "killed")
    (tmp_path / "elsewhere").mkdir()
    for path in folder.glob("truth.db*"):
        path.rename(tmp_path / "elsewhere" / path.name)
    (folder / "truth.db").symlink_to(tmp_path / "elsewhere" / "truth.db")
    assert check_folder(folder) == ({"docs": ROWS}, [], False)
    with VectorStore(folder) as store:
        assert store.count("docs") == ROWS


def test_an_empty_log_is_none(folder: Path) -> None:
    """It is kept as it is, with nothing beside it."""
    (folder / "truth.db-wal").touch()
    before = _content(folder)
    assert check_folder(folder).indexes == {"docs": ROWS}
    assert _content(folder) == before


@pytest.mark.parametrize("inside", [[], ["lost+found", "snapshots"]])
def test_a_folder_that_is_no_store_stays_as_it_is(tmp_path: Path, inside: list[str]) -> None:
    """Nothing is in it, nothing is wrong with it, and nobody has to be kept out."""
    for name in inside:
        (tmp_path / name).mkdir()
    assert check_folder(tmp_path) == ({}, [], False)
    assert sorted(_content(tmp_path)) == inside


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    """It is said what they are, and they stay alone; and so is a folder that is not there."""
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(VectorFailedError, match=r"holds other things \(thesis.txt\)"):
        check_folder(tmp_path)
    assert sorted(_content(tmp_path)) == ["thesis.txt"]
    with pytest.raises(VectorFailedError, match="there is no such folder"):
        check_folder(tmp_path / "none")


def test_a_damaged_segment_is_told_and_mends_itself(folder: Path) -> None:
    """It is no loss: opening builds it anew, after which nothing is wrong."""
    segment = next(folder.glob("segments/*/*.seg"))
    _flip(segment, segment.stat().st_size // 2)
    found = check_folder(folder)
    assert ([problem.where for problem in found.problems], found.lost) == ([str(segment)], False)
    backend = LocalBackend(folder)
    backend.settle("docs")
    backend.close()
    assert check_folder(folder).problems == []


def test_a_manifest_that_may_not_be_read_is_built_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A derived file that belongs to somebody else does not stop the store."""
    read = Path.read_bytes

    def denying(path: Path) -> bytes:
        if path.name == "manifest.json":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", denying)
    backend = LocalBackend(folder)
    with VectorStore(backend) as store:
        assert store.search("docs", _vectors()[17], k=1)[0].id == "id-17"
        backend.settle("docs")
    monkeypatch.undo()
    assert check_folder(folder).problems == []


def test_a_damaged_row_is_a_loss(folder: Path, stillhouse: Command) -> None:
    """A flipped bit in an item is named, with its index, and ends in exit code 1."""
    path = folder / "truth.db"
    vector = _vectors()[17].tobytes()
    # Splitting a page leaves copies of its rows in what is free.
    path.write_bytes(path.read_bytes().replace(vector, vector[:-1] + b"\x7f"))
    found = check_folder(folder)
    assert found.lost
    assert any("docs" in problem.what for problem in found.problems)
    told = stillhouse("vectors", "check", "--data", folder)
    assert (told.code, str(path) in told.err) == (1, True)


def test_a_missing_mark_or_database_is_told(folder: Path) -> None:
    """A database that is gone is a loss, said in the answer."""
    (folder / "truth.db").unlink()
    found = check_folder(folder)
    assert found.lost
    assert "truth.db is gone" in found.problems[0].what


def test_a_folder_in_use_is_not_looked_at(folder: Path) -> None:
    """The store that has it open is named."""
    with VectorStore(LocalBackend(folder)), pytest.raises(VectorLockedError):
        check_folder(folder)
