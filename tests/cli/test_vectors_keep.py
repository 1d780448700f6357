"""`stillhouse vectors` that keep an index: snapshots, files to carry away, what they refuse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.vectors import VectorStore
from tests.cli.test_vectors import document, lines
from tests.runs import Command, Told
from tests.vectors.serving import serving

IDS = ["a", "b"]


@pytest.fixture(params=["folder", "server"])
def vectors(
    request: pytest.FixtureRequest, stillhouse: Command, tmp_path: Path
) -> Iterator[Command]:
    """The commands on an index `docs` of two items, in a folder or on a server."""

    def call(*words: object) -> Told:
        return stillhouse("vectors", *words, *where)

    if request.param == "folder":
        where = ["--data", str(tmp_path / "data")]
        assert fill(call, tmp_path)
        yield call
        return
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    with serving(VectorStore("memory:", snapshots=tmp_path / "kept")) as url:
        where = ["--url", url]
        assert fill(call, tmp_path)
        yield call


def fill(call: Command, folder: Path) -> bool:
    """Make the index; whether that went well."""
    items = lines(folder / "items.jsonl", *({"id": id_, "vector": [1, 2]} for id_ in IDS))
    return not call("create", "docs", "-d", 2).code and not call("add", "docs", items).code


def test_a_snapshot_is_listed_and_restored(vectors: Command) -> None:
    """Under a new name as under the old, by its id and as the latest."""
    assert vectors("snapshots", "docs").code == 1
    made = document(vectors("snapshot", "docs", "--json"))["snapshot"]
    assert (made["index"], made["items"]) == ("docs", 2)
    listed = document(vectors("snapshots", "docs", "--json"))["snapshots"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert vectors("delete", "docs", "a").code == 0
    assert vectors("restore", "docs", made["id"], "--into", "monday").code == 0
    assert vectors("ids", "monday").out.split() == IDS
    told = document(vectors("restore", "docs", "latest", "--replace", "--json"))
    assert told == {"index": "docs", "snapshot": made["id"], "items": 2}
    assert vectors("ids", "docs").out.split() == IDS


def test_a_snapshot_is_removed(vectors: Command) -> None:
    """By its id or as the latest, which is told by its id; the index stays."""
    first, second = (document(vectors("snapshot", "docs", "--json"))["snapshot"]["id"] for _ in IDS)
    gone = document(vectors("delete-snapshot", "docs", "latest", "--json"))
    assert gone == {"index": "docs", "deleted": second}
    told = vectors("delete-snapshot", "docs", first)
    assert (told.code, told.err) == (0, f"removed snapshot {first} of docs\n")
    told = vectors("delete-snapshot", "docs", "latest")
    line = "error: there is no snapshot 'latest' of the index 'docs'\n"
    assert (told.code, told.err) == (3, line)
    assert vectors("ids", "docs").out.split() == IDS


def test_a_restore_that_is_off_says_how(vectors: Command) -> None:
    """No snapshot, an unknown one, and an index that is there."""
    assert "there is no snapshot" in vectors("restore", "docs", "latest").err
    assert vectors("snapshot", "docs").code == 0
    told = vectors("restore", "docs", "latest")
    assert (told.code, "there is an index 'docs' already" in told.err) == (3, True)
    told = vectors("restore", "docs", "../x", "--into", "y")
    assert (told.code, "there is no snapshot" in told.err) == (3, True)


def test_a_file_carries_an_index_elsewhere(stillhouse: Command, tmp_path: Path) -> None:
    """Exported from one folder, imported into another that is made for it."""
    old, new = ["--data", str(tmp_path / "old")], ["--data", str(tmp_path / "new")]
    assert fill(lambda *words: stillhouse("vectors", *words, *old), tmp_path)
    file = tmp_path / "docs.envelope"
    told = document(stillhouse("vectors", "export", "docs", file, "--json", *old))
    assert told["exported"]["items"] == 2
    told = document(stillhouse("vectors", "import", file, "--into", "copy", "--json", *new))
    assert told["imported"] == {"index": "copy", "version": 2, "items": 2, "left_out": 0}
    assert stillhouse("vectors", "ids", "copy", *new).out.split() == IDS
    again = stillhouse("vectors", "import", file, "--into", "copy", *new)
    assert (again.code, "already" in again.err) == (3, True)
    assert stillhouse("vectors", "import", file, "--into", "copy", "--replace", *new).code == 0


def test_a_file_of_version_1_says_what_it_does_not_tell(
    stillhouse: Command, tmp_path: Path
) -> None:
    """Vectors without metadata are counted aloud."""
    file = lines(
        tmp_path / "old.json",
        {
            "version": 1,
            "dimension": 2,
            "metric": "cosine",
            "vectors": {"a": [1, 0], "b": [0, 1]},
            "metadata": {"a": {}},
        },
    )
    told = stillhouse("vectors", "import", file, "--into", "docs", "--data", tmp_path / "data")
    assert (told.code, "1 vector had no metadata" in told.err) == (0, True)


def test_a_file_that_is_none_ends_in_one_line(stillhouse: Command, tmp_path: Path) -> None:
    """Missing, or something else."""
    data = ["--data", str(tmp_path / "data")]
    missing = stillhouse("vectors", "import", tmp_path / "x", "--into", "docs", *data)
    other = stillhouse("vectors", "import", lines(tmp_path / "y", b"none"), "--into", "docs", *data)
    for told in (missing, other):
        assert (told.code, told.err.count("\n")) == (3, 1)


def test_a_pipe_is_not_exported_to(stillhouse: Command, tmp_path: Path) -> None:
    """One line, and the pipe is still there."""
    data = ["--data", str(tmp_path / "data")]
    assert fill(lambda *words: stillhouse("vectors", *words, *data), tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = stillhouse("vectors", "export", "docs", pipe, *data)
    line = (
        f"error: {pipe}: this is no regular file, and is left as it is. "
        "Give the path of a file, or one where nothing is.\n"
    )
    assert (told.code, told.err, pipe.is_fifo()) == (3, line, True)


def test_only_a_folder_is_checked_or_rebuilt(stillhouse: Command, tmp_path: Path) -> None:
    """A database has no files of ours, and a folder that is not there is not made."""
    for command in ("check", "rebuild"):
        told = stillhouse("vectors", command, "--data", "postgresql://localhost/x")
        assert (told.code, "only a folder" in told.err) == (2, True)
        told = stillhouse("vectors", command, "--data", tmp_path / "none")
        assert (told.code, "there are no vector indexes here" in told.err) == (3, True)
    assert not (tmp_path / "none").exists()
