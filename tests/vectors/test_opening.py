"""Opening a data folder: who may have it, what is refused, and is then left as it was."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stillhouse.errors import VectorDamagedError, VectorFailedError, VectorLockedError
from stillhouse.vectors import schema, truth
from stillhouse.vectors.check import check_folder
from stillhouse.vectors.folder_lock import FolderLock
from stillhouse.vectors.local import LocalBackend
from stillhouse.vectors.mark import Mark, acknowledged
from stillhouse.vectors.opening import open_folder
from stillhouse.vectors.values import Batch, IndexSpec
from tests.runs import environment


def filled(folder: Path) -> Path:
    """A closed folder with two indexes of some items."""
    backend = LocalBackend(folder)
    for name in ("docs", "other"):
        backend.create(IndexSpec(name, 4))
        vectors = np.arange(1, 41, dtype=np.float32).reshape(10, 4)
        backend.add(name, Batch([f"{name}-{at}" for at in range(10)], vectors, [b"{}"] * 10))
    backend.close()
    return folder


def edit(folder: Path, statement: str) -> None:
    """Change the database as if its bytes had changed."""
    connection = sqlite3.connect(folder / "truth.db", isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(statement)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


# ------------------------------------------------------------------------------ the lock


def test_a_second_store_of_this_process_is_refused(tmp_path: Path) -> None:
    """The message says which process has the folder; when it is closed the other may have it."""
    first = LocalBackend(tmp_path)
    with pytest.raises(VectorLockedError, match=f"process {os.getpid()} on "):
        LocalBackend(tmp_path)
    first.close()
    LocalBackend(tmp_path).close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """The same across processes."""
    program = f"from stillhouse.vectors.local import LocalBackend; LocalBackend({str(tmp_path)!r})"
    first = LocalBackend(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True
    )
    first.close()
    assert f"VectorLockedError: {tmp_path}: another store has this folder open" in done.stderr


def test_a_lock_that_cannot_say_who_has_it_holds_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is for people only: a full disk takes neither the lock nor, later, the folder."""

    def full(handle: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = FolderLock(tmp_path / "lock")
    with pytest.raises(VectorLockedError, match="it does not say who"):
        FolderLock(tmp_path / "lock")
    lock.close()
    FolderLock(tmp_path / "lock").close()


def test_a_lock_whose_making_is_interrupted_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is held that nobody could close."""

    def interrupted(handle: int, data: bytes, offset: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "pwrite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        FolderLock(tmp_path / "lock")
    monkeypatch.undo()
    FolderLock(tmp_path / "lock").close()


# ---------------------------------------------------------------------------- the folder


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    """With its missing parents."""
    LocalBackend(tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b" / "truth.db").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """One clear line."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(VectorFailedError, match="this is no folder"):
            LocalBackend(path)


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    """Nothing is scattered among somebody's files: not even the lock is made."""
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(VectorFailedError, match=r"holds other things \(thesis.txt\)"):
        LocalBackend(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """One clear line."""
    tmp_path.chmod(0o500)
    with pytest.raises(VectorFailedError, match="cannot be used"):
        LocalBackend(tmp_path)


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    """A database of that name that is not ours is left as it is."""
    connection = sqlite3.connect(tmp_path / "truth.db")
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = (tmp_path / "truth.db").read_bytes()
    with pytest.raises(VectorDamagedError, match="not a database of stillhouse"):
        LocalBackend(tmp_path)
    assert (tmp_path / "truth.db").read_bytes() == before


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    """What a later stillhouse wrote is not guessed at."""
    edit(filled(tmp_path), f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(VectorDamagedError, match="knows versions to") as caught:
        LocalBackend(tmp_path)
    assert caught.value.code == "newer_version"


def test_a_folder_whose_making_broke_off_is_made_anew(tmp_path: Path) -> None:
    """An empty database with no mark is one in which nothing was ever acknowledged."""
    (tmp_path / "truth.db").touch()
    backend = LocalBackend(tmp_path)
    assert backend.names() == []
    backend.close()


def test_a_database_whose_making_broke_off_is_made_anew(tmp_path: Path) -> None:
    """What SQLite had begun is undone by the journal that lies beside it."""
    making = tmp_path / "making"
    making.mkdir()
    connection = sqlite3.connect(making / "truth.db", isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE state (some BLOB)")
    connection.execute("INSERT INTO state VALUES (zeroblob(1000000))")
    folder = shutil.copytree(making, tmp_path / "died")
    connection.close()
    assert sorted(os.listdir(folder)) == ["truth.db", "truth.db-journal"]
    for _ in range(2):
        backend = LocalBackend(folder)
        assert backend.names() == []
        backend.close()


@pytest.mark.parametrize("number", [0, 1])
def test_a_mark_is_made_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A disk that is full, or one that cannot sync, when a folder is made leaves one that can be
    opened."""
    real = os.fsync

    def refuse(handle: int) -> None:
        if ".new" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError([errno.ENOSPC, errno.EIO][number], "no")
        real(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(VectorFailedError):
        LocalBackend(tmp_path)
    assert not (tmp_path / "acked").exists()
    monkeypatch.undo()
    LocalBackend(tmp_path).close()


FIXTURES = Path(__file__).parent.parent / "fixtures" / "vectors"


def kept_items(folder: Path) -> dict[str, list[object]]:
    """Everything in a folder: ids, vectors and metadata by index, and what searching finds."""
    backend = LocalBackend(folder)
    found: dict[str, list[object]] = {}
    for name in backend.names():
        with backend.export(name) as export:
            batches = list(export.batches)
        asked = batches[0].vectors[:1]
        (hits,) = backend.search(name, asked, 3, None, None, frozenset())
        found[name] = [(one.ids, one.vectors.tolist(), one.metadata) for one in batches] + [
            hits.ids[0],
            export.spec,
        ]
    backend.close()
    return found


def test_a_folder_of_version_1_is_read(tmp_path: Path) -> None:
    """What the first version wrote is read by every later one."""
    folder = shutil.copytree(FIXTURES / "folder.v1", tmp_path / "data")
    vectors = np.arange(1, 41, dtype=np.float32).reshape(10, 4).tolist()
    assert kept_items(folder) == {
        name: [
            ([f"{name}-{at}" for at in range(10)], vectors, [b"{}"] * 10),
            f"{name}-0",
            IndexSpec(name, 4),
        ]
        for name in ("docs", "other")
    }


def test_an_older_folder_is_brought_up_to_this_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that came later are done on what is there, once it is seen to be of its version."""
    before = kept_items(filled(tmp_path / "data"))
    damaged = shutil.copytree(tmp_path / "data", tmp_path / "damaged")
    edit(damaged, "UPDATE sqlite_schema SET sql = sql || ' ' WHERE name = 'items_by_id'")
    later = "CREATE INDEX items_by_index ON items (index_number, seq)"
    monkeypatch.setattr(schema, "_MIGRATIONS", (*schema._MIGRATIONS, later))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    assert check_folder(tmp_path / "data").problems == []
    for _ in range(2):
        assert kept_items(tmp_path / "data") == before
    connection = sqlite3.connect(tmp_path / "data" / "truth.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    connection.close()
    with pytest.raises(VectorDamagedError, match="tables are not as they were made"):
        LocalBackend(damaged)


# ---------------------------------------------------------------------------- the damage

_EDITS = {
    "a vector": ("UPDATE items SET vector = zeroblob(16) WHERE id = 'docs-3'", "'docs-3'"),
    "an id": ("UPDATE items SET id = 'docs-33' WHERE id = 'docs-3'", "'docs-33'"),
    "an id that is no text": (
        "UPDATE items SET id = CAST(x'ff646f' AS TEXT) WHERE id = 'docs-3'",
        "index 'docs' has rows that are not as they were written",
    ),
    "metadata": ("UPDATE items SET metadata = NULL WHERE id = 'docs-3'", "'docs-3'"),
    "a checksum": ("UPDATE items SET row_check = row_check + 1 WHERE id = 'docs-3'", "'docs-3'"),
    "a checksum that is text": ("UPDATE items SET row_check = 'x' WHERE seq = 4", "'docs-3'"),
    "a row lost": ("DELETE FROM items WHERE id = 'docs-3'", "should have 10 items, and has 9"),
    "a row more": (
        "INSERT INTO items SELECT 21, 1, id || 'x', vector, metadata, row_check FROM items "
        "WHERE seq = 2",
        "index 'docs' has rows",
    ),
    "a row of another index": (
        "UPDATE items SET index_number = 1 WHERE seq = 18",
        "should have 10 items, and has 11",
    ),
    "rows exchanged": (
        "UPDATE items SET index_number = 3 - index_number WHERE seq IN (3, 13)",
        "index 'docs' has other items than were written",
    ),
    "a row of no index": ("UPDATE items SET index_number = 99 WHERE seq = 18", "unknown indexes"),
    "an index's name": ("UPDATE indexes SET name = 'doc' WHERE number = 1", "index 'doc'"),
    "an index's dimension": ("UPDATE indexes SET dimension = 5 WHERE number = 1", "index 'docs'"),
    "an index's count": ("UPDATE indexes SET items = 9 WHERE number = 1", "index 'docs'"),
    "an index lost": ("DELETE FROM indexes WHERE number = 1", "unknown indexes"),
    "the next version": ("UPDATE state SET next_seq = 2", "last commit"),
    "the state lost": ("DELETE FROM state", "last commit"),
    "a definition": (
        "UPDATE sqlite_schema SET sql = replace(sql, 'UNIQUE INDEX', 'INDEX')",
        "tables are not as they were made",
    ),
    "a table more": ("CREATE TABLE more (x)", "tables are not as they were made"),
    "the version": ("PRAGMA user_version = 0", "not a database of stillhouse"),
    "the owner": ("PRAGMA application_id = 1", "not a database of stillhouse"),
}


@pytest.mark.parametrize(("statement", "said"), _EDITS.values(), ids=_EDITS)
def test_every_changed_row_is_found(tmp_path: Path, statement: str, said: str) -> None:
    """Whatever was changed behind the store's back is refused, with where it is and a way out."""
    edit(filled(tmp_path), statement)
    before = (tmp_path / "truth.db").read_bytes()
    with pytest.raises(VectorDamagedError) as caught:
        LocalBackend(tmp_path)
    assert said in str(caught.value)
    assert caught.value.way_out
    assert (tmp_path / "truth.db").read_bytes() == before


@pytest.mark.parametrize(("seq", "index"), [(20, 3), (21, 2)])
def test_the_next_numbers_are_checked_against_those_in_use(
    tmp_path: Path, seq: int, index: int
) -> None:
    """A row of state that is whole and too old would give numbers a second time."""
    check = schema.state_check(9, seq, index)
    edit(
        filled(tmp_path),
        f"UPDATE state SET last_commit=9, next_seq={seq}, next_index={index}, row_check={check}",
    )
    with pytest.raises(VectorDamagedError, match="never given"):
        LocalBackend(tmp_path)


@pytest.mark.parametrize("at", [18, 19])
def test_a_database_that_says_it_has_no_log_is_refused(tmp_path: Path, at: int) -> None:
    """SQLite would take the header's word for it."""
    path = filled(tmp_path) / "truth.db"
    data = bytearray(path.read_bytes())
    data[at] = 1
    path.write_bytes(data)
    with pytest.raises(VectorDamagedError):
        LocalBackend(tmp_path)


_LOSSES: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("lose", _LOSSES.values(), ids=_LOSSES)
def test_a_lost_database_is_not_made_anew(tmp_path: Path, lose: Callable[[Path], object]) -> None:
    """The mark tells that there was something."""
    lose(filled(tmp_path) / "truth.db")
    with pytest.raises(VectorDamagedError):
        LocalBackend(tmp_path)


def test_a_database_of_a_format_that_nobody_knows_is_damaged(tmp_path: Path) -> None:
    """SQLite calls a flipped number of its format an error like any other; it is damage."""
    with (filled(tmp_path) / "truth.db").open("r+b") as file:
        file.seek(44)
        file.write(b"\0\0\0\x09")
    with pytest.raises(VectorDamagedError, match="the database is damaged"):
        LocalBackend(tmp_path)


def test_an_older_database_is_refused(tmp_path: Path) -> None:
    """A copy of yesterday's database misses what was acknowledged since, though it is whole."""
    filled(tmp_path)
    shutil.copy(tmp_path / "truth.db", tmp_path / "snapshots")
    backend = LocalBackend(tmp_path)
    backend.drop("other")
    backend.close()
    shutil.move(tmp_path / "snapshots", tmp_path / "truth.db")
    with pytest.raises(VectorDamagedError, match="acknowledged writes are missing"):
        LocalBackend(tmp_path)
    # The way out that the message names, for whoever has nothing better.
    (tmp_path / "acked").unlink()
    backend = LocalBackend(tmp_path)
    assert backend.names() == ["docs", "other"]
    backend.close()


def test_leftovers_are_swept(tmp_path: Path) -> None:
    """An index without a name, half loaded or half removed, and segments of none, go."""
    backend = LocalBackend(filled(tmp_path))
    backend.close()
    opened = open_folder(tmp_path)
    kept = truth.get_index(opened.connection, 2, opened.path)
    unnamed = IndexSpec("", kept.spec.dimension)
    truth.put_index(opened.connection, kept._replace(spec=unnamed))
    opened.close()
    # The last is a digit to `str.isdigit`, and no number to `int`.
    strays = {"2", "77", "x", "²"}
    for stray in strays:
        (tmp_path / "segments" / stray).mkdir(parents=True)
    backend = LocalBackend(tmp_path)
    backend.close()
    opened = open_folder(tmp_path)
    assert opened.connection.execute("SELECT DISTINCT index_number FROM items").fetchall() == [(1,)]
    assert [kept.number for kept in opened.indexes] == [1]
    assert opened.leftovers == []
    opened.close()
    assert not strays & set(os.listdir(tmp_path / "segments"))


# ------------------------------------------------------------------------------ the mark


def test_a_mark_tells_the_last_commit(tmp_path: Path) -> None:
    """After each write, and after opening again, also with numbers left out."""
    path = tmp_path / "acked"
    assert acknowledged(path) is None
    mark = Mark(path, 0)
    for commit in (1, 2, 4, 6, 7):
        mark.write(commit)
        assert acknowledged(path) == commit
    mark.close()
    mark = Mark(path, 8)
    assert acknowledged(path) == 8
    mark.close()


def test_opening_brings_the_mark_up_to_the_database(tmp_path: Path) -> None:
    """A commit that its process died before marking is seen from now on, so its loss must show."""
    filled(tmp_path)
    path = tmp_path / "acked"
    last = acknowledged(path)
    assert last
    Mark(path, last - 1).close()
    assert acknowledged(path) == last - 1
    LocalBackend(tmp_path).close()
    assert acknowledged(path) == last


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_a_torn_mark_leaves_the_one_before(tmp_path: Path, commits: int) -> None:
    """Whichever slot was being written: the other tells of the commit before, which was the last
    to be acknowledged."""
    path = tmp_path / "acked"
    mark = Mark(path, 10)
    for number in range(commits):
        before = path.read_bytes()
        mark.write(11 + number)
    mark.close()
    after = path.read_bytes()
    changed = [at for at in range(len(after)) if before[at] != after[at]]
    torn = bytearray(after)
    torn[changed[0]] ^= 0xFF
    path.write_bytes(torn)
    assert acknowledged(path) == 10 + commits - 1


def test_a_mark_that_cannot_be_read_is_found(tmp_path: Path) -> None:
    """With both slots damaged nobody knows what was acknowledged: that is said, not guessed."""
    filled(tmp_path)
    (tmp_path / "acked").write_bytes(bytes(8192))
    with pytest.raises(VectorDamagedError, match="mark of the last acknowledged commit"):
        LocalBackend(tmp_path)
