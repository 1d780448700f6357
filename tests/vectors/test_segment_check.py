"""Checking segments: every kind of wrong is told, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

from stillhouse.vectors.segment_check import check_segments
from tests.vectors.shelf import Shelf, clustered, opened


def _made(folder: Path) -> Shelf:
    shelf = Shelf()
    index = opened(shelf, folder)
    shelf.put([f"i{at}" for at in range(100)], clustered(100, 8, 1), None, index)
    index.settle()
    index.close()
    shelf.drop(["i5"])
    return shelf


def _told(folder: Path, shelf: Shelf) -> list[tuple[str, str]]:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    found = [(Path(one.where).name, one.what) for one in check_segments(folder, shelf, shelf.spec)]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    return found


def test_a_whole_folder_has_no_problems(tmp_path: Path) -> None:
    """Also when items died since, and when there is no folder yet."""
    shelf = _made(tmp_path / "1")
    assert _told(tmp_path / "1", shelf) == []
    assert check_segments(tmp_path / "2", shelf, shelf.spec) == []


def test_each_kind_of_problem_is_told(tmp_path: Path) -> None:
    """Damage, staleness, what is gone, what is left over, and a manifest that cannot be read."""
    shelf = _made(tmp_path)
    path = next(tmp_path.glob("*.seg"))
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert _told(tmp_path, shelf) == [(path.name, "section graph is not as it was written")]
    path.write_bytes(data)
    (tmp_path / "other.seg").write_bytes(b"")
    assert _told(tmp_path, shelf) == [("other.seg", "no manifest names it: it is left over")]
    (tmp_path / "other.seg").unlink()
    number = shelf.numbers["i7"]
    kept = shelf.items[number]
    shelf.items[number] = kept._replace(metadata=b"{}")
    assert _told(tmp_path, shelf) == [(path.name, "it does not agree with the truth")]
    shelf.items[number] = kept
    path.unlink()
    assert _told(tmp_path, shelf) == [(path.name, "it is gone")]
    (tmp_path / "manifest.json").write_bytes(b"{}")
    assert _told(tmp_path, shelf) == [("manifest.json", "it is not as it was written")]
