"""Which rows of two files part, and how they are shown."""

from __future__ import annotations

import json
import random
import string
from typing import Any

from stillhouse.replay import Difference
from stillhouse.replay.rows import EXAMPLES, compare
from stillhouse.storage import MemoryStore


def line(offset: int, **fields: Any) -> bytes:
    """A row that came from a raw line."""
    origin = {"source_file": "_kb/x.jsonl", "line_offset": offset}
    return json.dumps({"provenance": origin, **fields}).encode() + b"\n"


def of(old: bytes, new: bytes, path: str = "x.jsonl") -> Difference:
    first, second = MemoryStore(), MemoryStore()
    for store, data in ((first, old), (second, new)):
        with store.writer(path) as sink:
            sink.write(data)
    return compare(first, path, second, path)


def test_a_row_too_many_does_not_make_all_that_follow_differ() -> None:
    """Rows are matched by where they come from, not by their number."""
    rows = [line(number, text=f"t{number}") for number in range(50)]
    found = of(b"".join(rows), b"".join([line(99, text="new"), *rows[:20], *rows[21:]]))
    assert found.rows == 2
    (missing, added) = found.examples
    assert (missing.what, missing.line, missing.line_offset) == ("missing", 21, 20)
    assert (added.what, added.replayed_line, added.line_offset) == ("added", 1, 99)


def test_a_changed_row_is_shown_where_it_begins_to_differ() -> None:
    """Each field that differs, long ones around the place, secrets out."""
    dice = random.Random(7)
    key = "ghp_" + "".join(dice.choices(string.ascii_letters + string.digits, k=36))
    long = "same words " * 40
    old = line(3, category="accepted", text=long + "A end", note=f"key {key}", same=1)
    new = line(3, category="rejected", text=long + "B end", note="none", same=1)
    (example,) = of(old, new).examples
    assert (example.what, example.line, example.replayed_line) == ("changed", 1, 1)
    assert example.source_file == "_kb/x.jsonl"
    assert example.fields.keys() == {"category", "text", "note"}
    assert example.fields["category"] == "accepted → rejected"
    assert "A end → …" in example.fields["text"]
    assert len(example.fields["text"]) < 220
    assert key not in str(example)
    assert "[REDACTED:" in example.fields["note"]


def test_rows_of_one_origin_are_told_apart() -> None:
    """Chunks, sides of pairs, reasons of refusal and plain repetitions of a raw line."""
    rows = [line(1, chunk=0), line(1, chunk=1), line(1, reason="a"), line(1, reason="b"), line(1)]
    rows += [line(1), line(1, n=2)]
    assert of(b"".join(rows), b"".join(rows)).rows == 0
    assert of(b"".join(rows), b"".join(rows[:-1])).rows == 1
    assert of(b"".join(rows), b"".join([*rows[:-1], line(1, n=3)])).rows == 1


def test_all_parted_rows_are_counted_and_the_first_are_shown() -> None:
    """Memory and output stay small however many rows part."""
    old = b"".join(line(number, v=0) for number in range(1000))
    new = b"".join(line(number, v=number % 2) for number in range(1000))
    found = of(old, new)
    assert found.rows == 500
    assert [one.line for one in found.examples] == [2, 4, 6, 8, 10][:EXAMPLES]


def test_rows_without_an_origin_are_matched_by_their_number() -> None:
    """As in the dataset's files; lines that are no JSON are lines all the same."""
    found = of(b'{"a":1}\n{"a":2}\nnot json\n', b'{"a":1}\n{"a":3}\nnot json\n')
    assert found.rows == 1
    assert found.examples[0].fields == {"a": "2 → 3"}


def test_a_file_that_is_not_of_rows_parts_at_a_byte() -> None:
    """Also where one is the beginning of the other."""
    assert of(b"abc", b"abd", "README.md").byte == 2
    assert of(b"abc", b"abcd", "README.md").byte == 3
    assert of(b"", b"", "README.md").byte == 0


def test_empty_files_have_no_rows() -> None:
    """Against rows, all of them are added."""
    assert of(b"", b"").rows == 0
    assert of(b"", line(1) + line(2)).rows == 2
