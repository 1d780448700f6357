"""`stillhouse vectors`: what the commands print, and the exit codes they end with, on a folder and
on a server."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stillhouse.cli import vectors_add
from stillhouse.errors import VectorFailedError
from stillhouse.vectors import Limits, VectorStore
from tests.runs import Command, Told
from tests.vectors.serving import serving

ITEMS: list[dict[str, Any]] = [
    {"id": "a", "vector": [1, 0, 0], "metadata": {"lang": "en"}},
    {"id": "b", "vector": [0, 1, 0]},
    {"id": "c", "vector": [0.5, 0.5, 0], "metadata": {}},
]


@pytest.fixture(params=["folder", "server"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """The options that name a folder of one's own, or a server."""
    if request.param == "folder":
        yield ["--data", str(tmp_path / "vectors")]
        return
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    with serving(VectorStore("memory:")) as url:
        yield ["--url", url]


@pytest.fixture
def vectors(stillhouse: Command, where: list[str]) -> Command:
    """`stillhouse vectors`, in this process."""

    def call(*words: object) -> Told:
        return stillhouse("vectors", *words, *where)

    return call


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """A file of three items."""
    return lines(tmp_path / "items.jsonl", *ITEMS)


@pytest.fixture
def docs(vectors: Command, items: Path) -> Command:
    """The same with an index that holds them."""
    assert vectors("create", "docs", "-d", 3).code == 0
    assert vectors("add", "docs", items).code == 0
    return vectors


def lines(path: Path, *rows: object) -> Path:
    """A file of JSON lines; bytes stand in it as they are."""
    data = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(data) + b"\n")
    return path


def document(told: Told) -> dict[str, Any]:
    """The one JSON document on stdout; nothing is said beside it."""
    assert told.err == ""
    found: dict[str, Any] = json.loads(told.out)
    assert found.pop("schema_version") == 1
    return found


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Sets what stands on standard input."""

    def put(data: bytes) -> None:
        stream = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", stream)

    return put


# ------------------------------------------------------------------------------ indexes


def test_an_index_is_made_once(vectors: Command) -> None:
    """The same again is no error, another one of that name is."""
    told = vectors("create", "docs", "--dimension", 3, "--metric", "l2")
    assert (told.code, told.err) == (0, "made index docs: 3 dimensions, l2\n")
    assert document(vectors("create", "docs", "-d", 3, "--metric", "l2", "--json")) == {
        "created": False,
        "index": document(vectors("show", "docs", "--json"))["index"],
    }
    told = vectors("create", "docs", "-d", 4, "--metric", "l2")
    assert (told.code, told.err) == (3, "error: the index 'docs' has dimension 3, not 4\n")


def test_an_index_keeps_its_metadata(vectors: Command) -> None:
    """An object of the user's own comes back as it went."""
    assert vectors("create", "docs", "-d", 3, "--metadata", '{"model": "mine"}').code == 0
    assert 'metadata: {"model":"mine"}' in vectors("show", "docs").err
    told = vectors("create", "other", "-d", 3, "--metadata", "[]")
    assert (told.code, told.out) == (2, "")
    assert told.err == "error: --metadata: cannot be used: Expected `object`, got `array`\n"


def test_indexes_are_listed(vectors: Command, items: Path) -> None:
    """All of them with their size; exit code 1 when there is none."""
    assert vectors("create", "b", "-d", 3).code == 0
    assert vectors("create", "a", "-d", 2, "--metric", "ip").code == 0
    assert vectors("add", "b", items).code == 0
    told = vectors("list")
    assert told.code == 0
    assert told.err.index("│ a ") < told.err.index("│ b ")
    found = document(vectors("list", "--json"))["indexes"]
    assert [(one["name"], one["metric"], one["count"]) for one in found] == [
        ("a", "ip", 0), ("b", "cosine", 3)]  # fmt: skip
    for name in "ab":
        assert vectors("drop", name, "--yes").code == 0
    assert (vectors("list").code, document(vectors("list", "--json"))) == (1, {"indexes": []})


def test_an_index_is_only_dropped_when_one_means_it(docs: Command) -> None:
    """Where nobody can be asked, it has to be said."""
    told = docs("drop", "docs")
    assert (told.code, told.err) == (
        2, "error: nobody is there to ask. Say --yes to drop the index.\n")  # fmt: skip
    assert docs("drop", "docs", "--json").code == 2
    assert document(docs("drop", "docs", "--yes", "--json")) == {"dropped": "docs", "items": 3}
    told = docs("drop", "docs", "--yes")
    assert (told.code, told.err) == (3, "error: there is no index 'docs'\n")


# ------------------------------------------------------------------------------- adding


def test_items_are_inserted_replaced_or_left(docs: Command, tmp_path: Path) -> None:
    """What is there as it is, is unchanged; of an id that comes twice the later stands."""
    more = lines(tmp_path / "more.jsonl", ITEMS[0], {**ITEMS[1], "metadata": {"n": 1}},
                 {"id": "d", "vector": [1, 1, 1]}, {"id": "d", "vector": [0, 0, 1]})  # fmt: skip
    told = docs("add", "docs", more)
    assert (told.code, told.err) == (0, "index docs: 1 inserted, 2 replaced, 1 unchanged\n")
    assert document(docs("get", "docs", "d", "--json"))["item"]["vector"] == [0, 0, 1]
    assert document(docs("add", "docs", more, "--json")) == {
        "index": "docs", "inserted": 0, "replaced": 2, "unchanged": 2, "refused": 0}  # fmt: skip


def test_items_come_from_standard_input(vectors: Command, stdin: Callable[[bytes], None]) -> None:
    """A dash is standard input; base64, blank lines and a missing last line end are fine."""
    assert vectors("create", "docs", "-d", 2).code == 0
    stdin(
        b'\n{"id": "a", "vector": {"base64": "AACAPwAAAEA="}}\r\n  \n{"id": "b", "vector": [3, 4]}'
    )
    assert vectors("add", "docs", "-").code == 0
    assert document(vectors("get", "docs", "a", "--json"))["item"]["vector"] == [1, 2]
    stdin(b'{"id": "a", "vector": {"base64": "AACAPwA="}}')
    told = vectors("add", "docs", "-")
    assert told.code == 3
    assert told.err.startswith("error: stdin:1: its base64 holds 5 bytes, which are no whole float")


def test_no_metadata_is_not_empty_metadata(docs: Command) -> None:
    """The two are told apart from the file to the answer (SPEC V2)."""
    found = [document(docs("get", "docs", id_, "--json"))["item"]["metadata"] for id_ in "abc"]
    assert found == [{"lang": "en"}, None, {}]
    assert docs("get", "docs", "b").err == "b: 0, 1, 0\nno metadata\n"
    assert docs("get", "docs", "c").err == "c: 0.5, 0.5, 0\nmetadata: {}\n"


BAD = [
    (b'{"id": "x", "vector": [1, 0]}', "vector: has 2 dimensions; the index has 3"),
    (b'{"id": "x", "vector": [0, 0, 0]}', "vector: is zero, or too short to have a direction"),
    (b'{"id": "x", "vector": [1e39, 0, 0]}', "vector: has a number that is not finite"),
    (
        b'{"id": "x", "vector": [1, NaN, 0]}',
        "JSON is malformed: invalid character (byte 26) (NaN can be no number of a vector)",
    ),
    (
        b'{"id": "x", "vector": [-Infinity, 0, 0]}',
        "JSON is malformed: invalid character (byte 24) (Infinity can be no number of a vector)",
    ),
    (b'{"id": "x", "vector": "1"}', "Expected `object | array`, got `str` - at `$.vector`"),
    (b'{"id": "", "vector": [1, 0, 0]}', "id: is empty"),
    (b'{"id": "a/b", "vector": [1, 0, 0]}', "id: has a path in it"),
    (b'{"id": 7, "vector": [1, 0, 0]}', "Expected `str`, got `int` - at `$.id`"),
    (b'{"vector": [1, 0, 0]}', "Object missing required field `id`"),
    (b'{"id": "x", "vector": [1, 0, 0], "meta": {}}', "Object contains unknown field `meta`"),
    (b'{"id": "x", "vector": [1, 0, 0], "metadata": []}', "Expected `object | null`"),
    (b'{"id": "x", "vec', "Input data was truncated"),
    (b"\xff\xfe", "JSON is malformed"),
    (
        b'{"id": "x", "vector": [1, 0, 0], "metadata": {"a": '
        + b"[" * 5_000
        + b"]" * 5_000
        + b"}}",
        "it is nested too deeply",
    ),
    (b'{"id": "\xff", "vector": [1, 0, 0]}', "is no UTF-8"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_line_ends_the_run_by_its_place(
    vectors: Command, tmp_path: Path, line: bytes, reason: str
) -> None:
    """It is named with file, line and reason, and nothing of its batch goes in."""
    assert vectors("create", "docs", "-d", 3).code == 0
    file = lines(tmp_path / "items.jsonl", ITEMS[0], b"", line, ITEMS[1])
    told = vectors("add", "docs", file)
    assert (told.code, told.out) == (3, "")
    assert told.err.startswith(f"error: {file}:3: {reason}"), told.err
    assert told.err.count("\n") == 1
    assert "Go on past bad lines with --refused FILE" in told.err
    assert vectors("ids", "docs").out == ""


def test_bad_lines_are_put_aside(vectors: Command, tmp_path: Path) -> None:
    """With --refused every good line goes in and every bad one is in that file, with its reason."""
    assert vectors("create", "docs", "-d", 3).code == 0
    bad = [line for line, _ in BAD]
    file = lines(tmp_path / "items.jsonl", ITEMS[0], *bad, ITEMS[1], *bad * 2, ITEMS[2])
    aside = tmp_path / "refused.jsonl"
    told = vectors("add", "docs", file, "--refused", aside)
    assert told.code == 1
    assert told.err == (
        f"index docs: 3 inserted, 0 replaced, 0 unchanged\nnote: 48 bad lines went to {aside}\n"
    )
    kept = {row["place"]: row for row in map(json.loads, aside.read_text().splitlines())}
    numbers = [*range(2, 18), *range(19, 51)]
    assert sorted(kept) == sorted(f"{file}:{number}" for number in numbers)
    for number, (line, reason) in zip(numbers, BAD * 3, strict=True):
        row = kept[f"{file}:{number}"]
        assert row["reason"].startswith(reason)
        assert row["line"] == line.decode(errors="backslashreplace")
    told = vectors("add", "docs", file, "--refused", aside)
    assert (told.code, told.err) == (
        2, f"error: {aside}: is there already. Give another --refused.\n")  # fmt: skip


def test_many_lines_go_in_batch_by_batch(vectors: Command, tmp_path: Path) -> None:
    """All of them, however many; a bad one late leaves the batches before it in."""
    assert vectors("create", "docs", "-d", 2).code == 0
    rows: list[object] = [{"id": f"{at:05}", "vector": [1, at]} for at in range(2_500)]
    assert vectors("add", "docs", lines(tmp_path / "good.jsonl", *rows)).code == 0
    assert vectors("ids", "docs").out.split() == [f"{at:05}" for at in range(2_500)]
    assert vectors("drop", "docs", "--yes").code == 0
    assert vectors("create", "docs", "-d", 2).code == 0
    rows[2_200] = {"id": "", "vector": [1, 2, 3]}
    rows[2_300:2_306] = [{"id": "x", "vector": []}] * 6
    told = vectors("add", "docs", lines(tmp_path / "bad.jsonl", *rows))
    assert told.code == 3
    assert f"{tmp_path}/bad.jsonl:2201: id: is empty; vector: has 3 dimensions" in told.err
    assert "2,000 items of the batches before went in" in told.err
    assert len(vectors("ids", "docs").out.split()) == 2_000


def test_columns_are_added(vectors: Command, tmp_path: Path) -> None:
    """Ids from a file, vectors from a NumPy array, metadata from a third file or none."""
    assert vectors("create", "docs", "-d", 3).code == 0
    ids, known, array = tmp_path / "ids.txt", tmp_path / "m.jsonl", tmp_path / "x.npy"
    ids.write_text("x\nü 2\nz\n", encoding="utf-8")
    known.write_text('{"n": 1}\nnull\n{}\n')
    np.save(array, np.eye(3))
    columns = ["--ids", ids, "--vectors", array]
    assert vectors("add", "docs", *columns, "--metadata", known).code == 0
    item = document(vectors("get", "docs", "ü 2", "--json"))["item"]
    assert item == {"id": "ü 2", "vector": [0, 1, 0], "metadata": None}
    assert document(vectors("get", "docs", "x", "--json"))["item"]["metadata"] == {"n": 1}
    assert document(vectors("add", "docs", *columns, "--json"))["replaced"] == 2
    known.write_text('{"n": 1}\n[]\n{}\n')
    told = vectors("add", "docs", *columns, "--metadata", known)
    assert told.err.startswith(f"error: {known}:2: Expected `object | null`, got `array`")
    ids.write_bytes(b"x\n\xff\nz\n")
    assert vectors("add", "docs", *columns).err.startswith(f"error: {ids}:2: is no UTF-8")
    ids.write_bytes(b"x\n\nz\n")
    assert vectors("add", "docs", *columns).err.startswith(f"error: {ids}:2: id: is empty")


def test_columns_that_do_not_fit_together_are_refused(vectors: Command, tmp_path: Path) -> None:
    """Not equally many, no array, one that would run code: one line each, and nothing is added."""
    assert vectors("create", "docs", "-d", 3).code == 0
    ids, array = tmp_path / "ids.txt", tmp_path / "x.npy"
    ids.write_text("x\ny\n")
    tried = {
        f"{ids}: has 2 lines; {array} has 3 rows": np.eye(3),
        f"{array}: must be an array of two dimensions, one row an item": np.ones(3),
        f"{array}: is no array of numbers that numpy.save wrote": np.array([{}, {}]),
        f"{array}: must hold an array of numbers": np.array([["a"], ["b"]]),
    }
    for line, value in tried.items():
        np.save(array, value, allow_pickle=True)
        told = vectors("add", "docs", "--ids", ids, "--vectors", array)
        assert (told.code, told.err) == (2, f"error: {line}. Nothing went in.\n")
    torn = b"\x93NUMPY\x01\x00\x10\x00{'descr': ((((  "
    for data in (b"", b"\x93NUMPY", b"PK\x03\x04", b"{}", torn):
        array.write_bytes(data)
        assert vectors("add", "docs", "--ids", ids, "--vectors", array).code == 2
    with array.open("wb") as stream:
        np.savez(stream, a=np.eye(2))
    assert vectors("add", "docs", "--ids", ids, "--vectors", array).code == 2
    assert vectors("ids", "docs").out == ""


def test_columns_come_from_pipes(
    docs: Command, tmp_path: Path, stdin: Callable[[bytes], None]
) -> None:
    """What can be read only once is read once; where it ends early that is said, and not taken for
    the end."""
    array = tmp_path / "x.npy"
    np.save(array, np.eye(3))
    stdin(b"p\nq\nr\n")
    told = docs("add", "docs", "--ids", "-", "--vectors", array, "--json")
    assert document(told)["inserted"] == 3
    for lines_, short in ((b"p\nq\n", "-"), (b"p\nq\nr\ns\n", str(array))):
        stdin(lines_)
        told = docs("add", "docs", "--ids", "-", "--vectors", array)
        assert told.code == 2
        assert told.err.startswith(f"error: {short}: ends after "), told.err
        assert told.err.endswith("and the others go on. Nothing went in.\n")
    pipe = tmp_path / "known"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b'{"n": 1}\n{"n": 2}\nnull\n',))
    writer.start()
    stdin(b"p\nq\nr\n")
    told = docs("add", "docs", "--ids", "-", "--vectors", array, "--metadata", pipe, "--json")
    writer.join()
    assert document(told)["replaced"] == 2
    told = docs("add", "docs", "--ids", "-", "--vectors", array, "--metadata", "-")
    line = "error: ids and metadata cannot both come from standard input"
    assert (told.code, told.err.startswith(line)) == (2, True)


def test_a_server_with_other_limits_is_asked(stillhouse: Command, tmp_path: Path) -> None:
    """What a server takes is for it to say. What it refuses as a whole is told with the place, and
    with how much went in before."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    limits = Limits(batch_items=100, metadata_bytes=200_000, k=20_000, body_bytes=20_000_000)
    rows = [{"id": f"{at:03}", "vector": [1, 2]} for at in range(250)]
    file = lines(tmp_path / "items.jsonl", *rows)
    known = {"x": "y" * 100_000}
    large = lines(tmp_path / "l.jsonl", {"id": "l", "vector": [1, 2], "metadata": known})
    with serving(VectorStore("memory:", limits=limits)) as url:
        where = ("--url", url)
        assert stillhouse("vectors", "create", "docs", "-d", 2, *where).code == 0
        told = stillhouse("vectors", "add", "docs", file, *where)
        assert (told.code, told.err.count("\n")) == (3, 1)
        assert "at most 100 are allowed at once" in told.err
        assert f"begins at {file}:1. Give a smaller --batch. Nothing went in." in told.err
        told = stillhouse("vectors", "add", "docs", file, "--batch", 100, *where)
        assert (told.code, told.err) == (0, "index docs: 250 inserted, 0 replaced, 0 unchanged\n")
        assert stillhouse("vectors", "add", "docs", large, *where).code == 0
        told = stillhouse("vectors", "search", "docs", "--vector", "[1, 1]", "-k", 15_000, *where)
        assert told.code == 0


def test_what_ends_adding_says_how_much_went_in(
    vectors: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure and Ctrl-C alike: the batches before are in."""
    assert vectors("create", "docs", "-d", 2).code == 0
    file = lines(tmp_path / "x.jsonl", *({"id": f"{at}", "vector": [1, 2]} for at in range(25)))
    real = vectors_add._add_batch
    for failure, code, said in (
        (VectorFailedError("the disk is tired"), 3, "error: the disk is tired. 20 items went in;"),
        (KeyboardInterrupt(), 130, "note: 20 items went in; all can be added again.\nstopped\n"),
    ):
        batches = 0

        def fails(*arguments: Any, failure: BaseException = failure) -> None:
            nonlocal batches
            batches += 1
            if batches == 3:
                raise failure
            real(*arguments)

        monkeypatch.setattr(vectors_add, "_add_batch", fails)
        told = vectors("add", "docs", file, "--batch", 10)
        assert (told.code, told.err.startswith(said)) == (code, True), told.err
        monkeypatch.undo()
    assert vectors("count", "docs").out == "20\n"


def test_what_is_to_be_added_has_to_be_clear(docs: Command, items: Path, tmp_path: Path) -> None:
    """Nothing, both ways at once, or half of one: said, not guessed."""
    for words in ((), (items, "--ids", items), ("--ids", items), ("--vectors", items)):
        told = docs("add", "docs", *words)
        assert (told.code, told.err.startswith("error: what is to be added is not clear")) == (
            2, True)  # fmt: skip
    told = docs("add", "docs", tmp_path / "none")
    assert (told.code, "there is no such file" in told.err) == (3, True)
    told = docs("add", "other", items)
    assert (told.code, told.err) == (3, "error: there is no index 'other'\n")


# ----------------------------------------------------------------- reading and deleting


def test_ids_are_lines_for_other_programs(docs: Command) -> None:
    """Sorted, one a line on stdout, whatever has metadata."""
    told = docs("ids", "docs")
    assert (told.code, told.out, told.err) == (0, "a\nb\nc\n", "")
    assert document(docs("ids", "docs", "--json")) == {"index": "docs", "ids": ["a", "b", "c"]}


def test_items_are_counted(docs: Command) -> None:
    """A number on stdout, of all or of what a filter matches."""
    told = docs("count", "docs")
    assert (told.code, told.out, told.err) == (0, "3\n", "")
    assert docs("count", "docs", "--filter", '{"lang": "en"}').out == "1\n"
    assert document(docs("count", "docs", "--filter", '{"lang": "fr"}', "--json")) == {
        "index": "docs", "count": 0}  # fmt: skip
    told = docs("count", "docs", "--filter", '{"lang": {"$like": 1}}')
    assert (told.code, "filter.lang.$like" in told.err) == (3, True)


def test_an_item_that_is_not_there(docs: Command) -> None:
    """One line, also for what can be no id."""
    for id_ in ("z", "../a", "a/b"):
        told = docs("get", "docs", id_)
        line = f"error: there is no item {id_!r} in the index 'docs'\n"
        assert (told.code, told.err) == (3, line)


def test_items_are_deleted(docs: Command) -> None:
    """By id or by filter; exit code 1 when an id was not there."""
    told = docs("delete", "docs", "b", "z")
    assert (told.code, told.err) == (1, "deleted 1 item from docs\nthere was no item z\n")
    assert document(docs("delete", "docs", "--filter", '{"lang": "en"}', "--json")) == {
        "index": "docs", "deleted": 1, "missing": []}  # fmt: skip
    assert docs("ids", "docs").out == "c\n"
    for words in ((), ("c", "--filter", "{}")):
        told = docs("delete", "docs", *words)
        assert (told.code, told.err) == (2, "error: give either ids or --filter\n")
    assert docs("delete", "docs", "--filter", "{}").err == "deleted 1 item from docs\n"


# ---------------------------------------------------------------------------- searching


def test_a_search_prints_what_is_nearest(docs: Command) -> None:
    """A table for people, a document for programs."""
    told = docs("search", "docs", "--vector", "[0, 1, 0]", "-k", 2)
    assert (told.code, told.out) == (0, "")
    assert told.err.index("│ b ") < told.err.index("│ c ")
    assert "│ 1.0000 │" in told.err
    assert "│ a " not in told.err
    found = document(docs("search", "docs", "--vector", "[0, 1, 0]", "-k", 1, "--json"))
    assert found == {"index": "docs", "results": [[{"id": "b", "score": 1.0, "metadata": None}]]}


def test_a_search_takes_a_filter_and_gives_vectors(docs: Command) -> None:
    """Only what the filter matches, with what was asked for."""
    words = ("--filter", '{"lang": "en"}', "--include", "vector", "--ef", 50)
    told = docs("search", "docs", "--vector", "[0, 1, 0]", *words)
    assert "│ [1.0,0.0,0.0] │" in told.err
    ((hit,),) = document(docs("search", "docs", "--vector", "[0, 1, 0]", *words, "--json"))[
        "results"
    ]
    assert (hit["id"], hit["vector"], hit["metadata"]) == ("a", [1, 0, 0], {"lang": "en"})
    told = docs("search", "docs", "--vector", "[0, 1, 0]", "--filter", '{"lang": "fr"}')
    assert (told.code, told.err) == (1, "nothing found in docs\n")


def test_queries_come_from_files_and_standard_input(
    docs: Command, tmp_path: Path, stdin: Callable[[bytes], None]
) -> None:
    """One or several vectors, as JSON or a NumPy array."""
    array, text = tmp_path / "q.npy", tmp_path / "q.json"
    np.save(array, np.array([[0, 1, 0], [1, 0, 0]], ">f8"))
    text.write_text("[[0, 1, 0], [1, 0, 0]]")
    for file in (array, text):
        words = ("search", "docs", "--vector-file", file, "-k", 1)
        found = document(docs(*words, "--json"))["results"]
        assert [hits[0]["id"] for hits in found] == ["b", "a"]
        assert "│ query │ id │" in docs(*words).err.replace("┃", "│")
    np.save(array, np.array([0, 1, 0]))
    stdin(b"[0, 1, 0]")
    for more in (["--vector-file", array], [], []):
        (found,) = document(docs("search", "docs", *more, "-k", 1, "--json"))["results"]
        assert found[0]["id"] == "b"
        stdin(b"[0, 1, 0]")


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("--vector", "[0, 1]"), 3, "vector: has 2 dimensions; the index has 3"),
        (("--vector", "[0, 0, 0]"), 3, "vector: is zero, or too short to have a direction"),
        (("--vector", "[]"), 3, "vector: must be a list of numbers"),
        (("--vector", '["a"]'), 3, "vector: must be a list of numbers"),
        (("--vector", "[0, 1"), 2, "--vector: cannot be used: Input data was truncated"),
        (("--vector", "{}"), 2, "--vector: cannot be used: Expected `array`, got `object`"),
        (
            ("--vector", "0, 1, 0"),
            2,
            "--vector: cannot be used: Expected `array`, got `int`. Write it as '[0.1, 0.2, 0.3]'.",
        ),
        (("--vector", "[1]", "--vector-file", "x"), 2, "give --vector or --vector-file"),
        (("--vector-file", "none.npy"), 3, "none.npy: cannot read it: there is no such file"),
        (("--vector-file", "none"), 3, "none: cannot read it: there is no such file"),
        (("--vector", "[1, 0, 0]", "-k", 0), 2, "Invalid value for '-k'"),
        (("--vector", "[1, 0, 0]", "-k", 10**6), 3, "k: is more than the 10,000 that are allowed"),
        (
            ("--vector", "[1, 0, 0]", "--ef", 10**6),
            3,
            "ef: is more than the 10,000 that are allowed",
        ),
        (("--vector", "[1, 0, 0]", "--filter", "["), 2, "--filter: cannot be used: "),
        (("--vector", "[" * 5_000 + "]" * 5_000), 2, "--vector: cannot be used: it is nested too"),
        (
            ("--vector", "[1, 0, 0]", "--filter", '{"a":' * 5_000 + "1" + "}" * 5_000),
            2,
            "--filter: cannot be used: it is nested too deeply",
        ),
        (("--vector", "[1, 0, 0]", "--filter", '{"$x": 1}'), 3, "filter.$x: is no operator here"),
    ],
)
def test_a_search_that_is_off_says_how(
    docs: Command, words: tuple[object, ...], code: int, line: str
) -> None:
    """One line each, with the field or the option."""
    told = docs("search", "docs", *words)
    assert (told.code, told.out, told.err.count("\n")) == (code, "", 1)
    assert told.err.startswith(f"error: {line}")


# ------------------------------------------------------------------------------ merging


def test_a_merge_tells_what_stayed_behind(docs: Command, tmp_path: Path) -> None:
    """Counts for all outcomes, conflicts by id, and exit code 1 while there are any (SPEC V4)."""
    assert docs("create", "fresh", "-d", 3).code == 0
    fresh = [ITEMS[0], {"id": "b", "vector": [0, 0, 1]}, {"id": "n", "vector": [1, 1, 1]}]
    assert docs("add", "fresh", lines(tmp_path / "fresh.jsonl", *fresh)).code == 0
    told = docs("merge", "fresh", "docs", "--clear-source")
    assert told.code == 1
    assert "b: docs holds it with other content" in told.err
    assert document(docs("merge", "fresh", "docs", "--on-conflict", "replace", "--json")) == {
        "src": "fresh", "dest": "docs", "merged": 1, "skipped": 0, "conflicts": [], "failed": [],
        "cleared": 0, "remaining": 1}  # fmt: skip
    told = docs("merge", "fresh", "docs", "--clear-source")
    assert told.code == 0
    assert "│ left in fresh │     0 │" in told.err
    assert docs("ids", "docs").out.split() == ["a", "b", "c", "n"]


def test_a_merge_that_cannot_be_is_refused(docs: Command) -> None:
    """Into itself, into nothing, into another dimension."""
    assert docs("create", "flat", "-d", 2).code == 0
    for dest, line in (
        ("docs", "dest: is the source itself"),
        ("none", "there is no index 'none'"),
        ("flat", "'docs' has dimension 3, 'flat' has 2"),
    ):
        told = docs("merge", "docs", dest)
        assert (told.code, told.err) == (3, f"error: {line}\n")


# ------------------------------------------------------------------------------- places

COMMANDS = (
    ("list",),
    ("show", "docs"),
    ("add", "docs", "items.jsonl"),
    ("get", "docs", "a"),
    ("search", "docs", "--vector", "[1]"),
    ("ids", "docs"),
    ("count", "docs"),
    ("delete", "docs", "a"),
    ("merge", "docs", "other"),
    ("drop", "docs", "--yes"),
    ("rebuild",),
    ("rebuild", "docs"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_only_create_makes_a_folder(
    stillhouse: Command, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Every other command says that there are no indexes, and leaves nothing behind."""
    lines(tmp_path / "items.jsonl", *ITEMS)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "none", tmp_path / "empty"):
        told = stillhouse("vectors", *words, "--data", folder)
        line = f"error: {folder}: there are no vector indexes here. "
        assert (told.code, told.out) == (3, "")
        assert told.err == f"{line}`stillhouse vectors create` makes the first.\n"
    file = tmp_path / "items.jsonl"
    told = stillhouse("vectors", *words, "--data", file)
    line = f"error: {file}: this is a file. Give the folder of the indexes.\n"
    assert (told.code, told.err) == (2, line)
    assert not (tmp_path / "none").exists()
    assert not list((tmp_path / "empty").iterdir())


def test_options_that_do_not_go_together(stillhouse: Command, tmp_path: Path) -> None:
    """A folder and a server, a key and no server, memory that ends with the command."""
    url = ("--url", "http://127.0.0.1:1")
    key = ("--api-key-file", tmp_path / "key")
    for words, line in (
        (("--data", tmp_path, *url), "--data and --url do not go together: a server has its own"),
        (key, "--api-key-file is for a server. Give its --url too."),
        (("--data", "memory:"), "what is in memory ends with the command. Give a folder."),
        (("--url", "localhost:7700"), "'localhost:7700' is no address of a server. Write http:"),
        ((*url, *key), f"{tmp_path}/key: cannot read the key: there is no such file"),
    ):
        told = stillhouse("vectors", "list", *words)
        assert told.err.startswith(f"error: {line}"), told.err
        assert told.err.count("\n") == 1
    (tmp_path / "key").write_text("\n# nothing\n")
    told = stillhouse("vectors", "list", *url, *key)
    assert (told.code, told.err) == (2, f"error: {tmp_path}/key: holds no key\n")
    (tmp_path / "key").write_text("s3cr t\n")
    told = stillhouse("vectors", "list", *url, *key)
    assert (told.code, "s3cr" in told.err) == (2, False)


# ------------------------------------------------------------------------------ keeping


def test_graphs_are_built_anew(stillhouse: Command, tmp_path: Path, items: Path) -> None:
    """All of a folder's indexes or one, from the database alone: the same is found afterwards."""
    folder = tmp_path / "vectors"
    for name in ("a", "b"):
        assert stillhouse("vectors", "create", name, "-d", 3, "--data", folder).code == 0
        assert stillhouse("vectors", "add", name, items, "--data", folder).code == 0
    told = stillhouse("vectors", "rebuild", "--data", folder)
    assert (told.code, told.err) == (0, "rebuilt 2 indexes: a, b\n")
    shutil.rmtree(folder / "segments", ignore_errors=True)
    told = stillhouse("vectors", "rebuild", "b", "--data", folder, "--json")
    assert document(told) == {"rebuilt": ["b"]}
    for name in ("a", "b"):
        words = ("--vector", "[0, 1, 0]", "-k", 1, "--data", folder, "--json")
        (found,) = document(stillhouse("vectors", "search", name, *words))["results"]
        assert found[0]["id"] == "b"
    told = stillhouse("vectors", "rebuild", "c", "--data", folder)
    assert (told.code, told.err) == (3, "error: there is no index 'c'\n")
    told = stillhouse("vectors", "rebuild", "--data", "postgresql://me@host.example/db")
    assert (told.code, told.err) == (2, "error: postgresql: only a folder has graphs to rebuild\n")


def test_a_folder_in_use_is_refused(stillhouse: Command, tmp_path: Path) -> None:
    """A second process is told that another has it, for every command."""
    folder = tmp_path / "vectors"
    with VectorStore(folder):
        for words in (("list",), ("create", "a", "-d", 3), ("rebuild",)):
            told = stillhouse("vectors", *words, "--data", folder)
            assert told.code == 3
            assert "another store has this folder open" in told.err
            assert told.err.count("\n") == 1


def test_a_folder_may_be_named_from_where_one_is(
    stillhouse: Command, tmp_path: Path, items: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --data it is `vectors` here; a path of several new parts is made too."""
    monkeypatch.chdir(tmp_path)
    assert stillhouse("vectors", "create", "docs", "-d", 3).code == 0
    assert stillhouse("vectors", "add", "docs", items).code == 0
    assert (tmp_path / "vectors" / "truth.db").is_file()
    assert stillhouse("vectors", "create", "docs", "-d", 3, "--data", "x/y/z").code == 0
    assert (tmp_path / "x" / "y" / "z" / "truth.db").is_file()


def test_a_folder_that_lost_its_database_is_damaged(stillhouse: Command, tmp_path: Path) -> None:
    """It is not taken for one that never held anything."""
    folder = tmp_path / "vectors"
    assert stillhouse("vectors", "create", "docs", "-d", 3, "--data", folder).code == 0
    (folder / "truth.db").unlink()
    told = stillhouse("vectors", "list", "--data", folder)
    assert (told.code, "truth.db is gone" in told.err) == (3, True)
