"""Addresses of lakes, and what opening one costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse.errors import UsageError
from stillhouse.storage import LocalStore, MemoryStore, open_store


def test_a_path_and_a_file_address_are_the_same_folder(tmp_path: Path) -> None:
    """``file://`` is a path with its percent signs undone; a plain path keeps them."""
    folder = tmp_path / "a lake"
    folder.mkdir()
    (folder / "x").write_bytes(b"1")
    for url in (str(folder), folder.as_uri(), f"file://localhost{folder.as_uri()[7:]}"):
        assert open_store(url).read("x") == b"1"
    (tmp_path / "50%20").mkdir()
    (tmp_path / "50%20" / "x").write_bytes(b"2")
    assert open_store(str(tmp_path / "50%20")).read("x") == b"2"


def test_the_url_is_what_the_user_wrote(tmp_path: Path) -> None:
    """Messages name the lake in the user's own words, and later chdirs do not move it."""
    assert open_store("some/lake").url == "some/lake"
    assert isinstance(open_store("some/lake"), LocalStore)
    local = open_store("some/lake").local_path("x")
    assert local is not None
    assert local == Path("some/lake/x").absolute()


def test_create_makes_the_root(tmp_path: Path) -> None:
    """Only with ``create`` does opening make a folder."""
    open_store(str(tmp_path / "no"))
    assert not (tmp_path / "no").exists()
    open_store(str(tmp_path / "a" / "b"), create=True).check_readable()
    assert (tmp_path / "a" / "b").is_dir()


def test_memory_stores_are_shared_by_name() -> None:
    """The same name is the same store in this process; another name is another."""
    first = open_store("memory://test-open-store")
    with first.writer("x") as sink:
        sink.write(b"1")
    assert open_store("memory://test-open-store").read("x") == b"1"
    assert isinstance(first, MemoryStore)
    assert open_store("memory://test-open-store-2").stat("x") is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("ftp://host/x", "ftp:// is not a kind of lake"),
        ("file://otherhost/x", "otherhost"),
        ("s3://", "s3://bucket/prefix"),
        ("s3:///x", "s3://bucket/prefix"),
        ("s3://bucket/x?key=1", "s3://bucket/prefix"),
        ("s3://user:word" + "@bucket/x", "environment"),
    ],
)
def test_an_address_that_cannot_be_one_is_a_usage_error(url: str, says: str) -> None:
    """Each names the trouble and what to write instead."""
    with pytest.raises(UsageError, match=says) as caught:
        open_store(url)
    assert caught.value.way_out


def test_importing_storage_loads_no_object_store_client() -> None:
    """A lake in a folder does not pay for obstore."""
    program = "import sys, stillhouse.storage; sys.exit('obstore' in sys.modules)"
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    assert subprocess.run([sys.executable, "-c", program], env=paths, check=False).returncode == 0
