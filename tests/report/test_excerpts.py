"""Rows to read: the right lines, bounded, without secrets, chosen by place."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.funnel import KEPT_RAW, RefusalGroup, refusal_groups
from stillhouse.interfaces import Store
from stillhouse.records import QuarantineRow
from stillhouse.report.excerpts import (
    LONGEST,
    excerpt,
    line_excerpt,
    lines_at,
    raw_log_of,
    refused_rows,
    samples,
)
from stillhouse.storage import LocalStore, MemoryStore
from tests.runs import CountingStore, WatchedStore, put, row, rows, run


def _stored(data: bytes, path: str = "_kb/log.jsonl") -> MemoryStore:
    store = MemoryStore()
    with store.writer(path) as sink:
        sink.write(data)
    return store


class _Handles(WatchedStore):
    """Keeps what it opened, so that one can see how far it was read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.handles: list[io.BytesIO] = []

    def open(self, path: str, **options: Any) -> BinaryIO:
        handle = _StaysOpen(self.inner.read(path))
        self.handles.append(handle)
        return handle


class _StaysOpen(io.BytesIO):
    def close(self) -> None:
        pass


# --------------------------------------------------------------------------------- lines


@given(
    st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=30),
    st.sets(st.integers(0, 40)),
    st.booleans(),
)
def test_lines_are_those_of_the_file(lines: list[bytes], wanted: set[int], ended: bool) -> None:
    """Whatever lines a file has, the ones asked for come back, without their line ends."""
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    whole = data.split(b"\n")
    if whole[-1] == b"":
        whole.pop()
    expected = {at: line.removesuffix(b"\r") for at, line in enumerate(whole) if at in wanted}
    assert lines_at(_stored(data), "_kb/log.jsonl", wanted) == expected


def test_lines_across_blocks_are_whole() -> None:
    """A line that lies across the blocks that are read, and one behind many of them, are whole."""
    long = b"x" * 200_000
    data = b"\n".join([b"a", b"y" * 900_000, long, b"", b"b\r", *[b"z" * 5000] * 900, b"last"])
    found = lines_at(_stored(data), "_kb/log.jsonl", [0, 2, 4, 905])
    assert found == {0: b"a", 2: long, 4: b"b", 905: b"last"}


def test_a_line_that_is_too_long_is_not_held() -> None:
    """Of a huge line nothing is returned, and the lines behind it are found."""
    data = b"short\n" + b"w" * 3_000_000 + b"\nend\n" + b"v" * 11 + b"\r\n" + b"u" * 11
    assert lines_at(_stored(data), "_kb/log.jsonl", range(5), longest=10) == {
        0: b"short",
        1: None,
        2: b"end",
        3: None,
        4: None,
    }


def test_reading_stops_behind_the_last_line_that_is_wanted(tmp_path: Path) -> None:
    """A log of any length is read no further than it must be; one that is gone has no lines."""
    put(tmp_path, "log", b"first\n" + b"x" * (20 << 20))
    store = _Handles(LocalStore(tmp_path))
    assert lines_at(store, "_kb/log.jsonl", [0]) == {0: b"first"}
    assert store.handles[0].tell() <= 2 << 20
    assert lines_at(store, "_kb/gone.jsonl", [0]) == {}


@pytest.mark.parametrize(
    "name",
    [
        "_kb/../state.jsonl",
        "_kb/a/b.jsonl",
        "/etc/passwd",
        "evidence/2026/01/01/a.jsonl",
        "_kb/a.txt",
        "javascript:alert(1)",
        "",
        "data/evidence/a.jsonl",
    ],
)
def test_only_a_raw_log_is_a_raw_log(name: str) -> None:
    """What a forged row names as its log is not read and not linked."""
    assert raw_log_of(name) == ""


def test_both_spellings_of_a_raw_log_are_taken() -> None:
    """``data/_kb/`` stands in older rows (SPEC L3)."""
    assert raw_log_of("_kb/a.jsonl") == raw_log_of("data/_kb/a.jsonl") == "_kb/a.jsonl"


# ------------------------------------------------------------------------------- refused


def _row(**fields: object) -> QuarantineRow:
    base = {
        "stage": "sft",
        "reason": "duplicate",
        "detail": ["why"],
        "source_file": "_kb/log.jsonl",
        "line_offset": 0,
        "sig_hash": hashlib.sha256(b"line").hexdigest(),
    }
    return QuarantineRow(**{**base, **fields})  # type: ignore[arg-type]


def test_a_refused_row_has_its_raw_line_or_says_why_not() -> None:
    """The line is shown when it is the one that was refused; else the page says what is there."""
    cases = {
        "": _row(),
        "another line there now": _row(line_offset=1),
        "no such line": _row(line_offset=9),
        "the raw log is gone": _row(source_file="_kb/gone.jsonl"),
        "too many to be shown": _row(raw_bytes=KEPT_RAW + 1),
        "not base64": _row(raw="%%%", raw_encoding="base64"),
        "too long": _row(line_offset=2),
    }
    store = _stored(b"line\nother\n" + b"w" * (KEPT_RAW + 1) + b"\n")
    group = RefusalGroup("sft", "duplicate", rows=9, examples=list(cases.values()))
    (found,) = refused_rows(store, [group])
    assert (found.rows, found.reason) == (9, "duplicate")
    for words, row_shown in zip(cases, found.examples, strict=True):
        assert words in row_shown.missing
        assert (row_shown.raw is None) == bool(words)
    shown = found.examples[0].raw
    assert shown is not None
    assert shown.text == "line"


def test_what_quarantine_holds_of_a_line_is_shown() -> None:
    """Text as it is, other bytes as far as they are text."""
    held = _row(raw="{torn", line_offset=5)
    bytes_held = _row(raw=base64.b64encode(b"caf\xe9").decode(), raw_encoding="base64")
    group = RefusalGroup("evidence", "bad_json", examples=[held, bytes_held])
    (found,) = refused_rows(MemoryStore(), [group])
    assert [one.raw.text for one in found.examples if one.raw] == ["{torn", "caf\\xe9"]
    assert found.examples[0].line == 6


def test_an_unparsed_line_is_held_only_while_it_is_short(tmp_path: Path) -> None:
    """A quarantined line of megabytes is counted, and not carried into the page."""
    put(tmp_path, "scrum_reviews", b'{"torn": "' + b"x" * (KEPT_RAW + 10) + b"\n" + rows(0, 2))
    run(tmp_path)
    store = LocalStore(tmp_path)
    (found,) = [one for one in refusal_groups(store, 3) if one.stage == "evidence"]
    assert found.examples[0].raw is None
    (shown,) = refused_rows(store, [found])
    assert "too many to be shown" in shown.examples[0].missing


# ------------------------------------------------------------------------------ excerpts


def test_an_excerpt_is_bounded_and_says_what_is_left_out() -> None:
    """The beginning, and the number of characters behind it."""
    found = excerpt("é" * (LONGEST + 5))
    assert (len(found.text), found.left_out, found.redacted) == (LONGEST, 5, False)


def test_secrets_are_taken_out_before_the_cut() -> None:
    """A secret that lies across the cut leaves no part of itself."""
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    found = excerpt("x " * ((LONGEST - 10) // 2) + token)
    assert "ghp_" not in found.text
    assert found.redacted
    line = line_excerpt(json.dumps({"token": token}).encode())
    assert line.redacted
    assert token not in line.text
    assert not line_excerpt(b"caf\xe9").redacted


# ------------------------------------------------------------------------------- samples


def test_samples_are_spread_over_each_export_and_are_its_rows(tmp_path: Path) -> None:
    """Each sample is a line of its file, none stands twice, and the same file gives the same."""
    put(
        tmp_path,
        "scrum_reviews",
        b"".join(row(n, accepted_on_attempt=1) + b"\n" for n in range(50)),
    )
    run(tmp_path)
    found = samples(LocalStore(tmp_path))
    assert found == samples(LocalStore(tmp_path))
    assert [one.kind for one in found] == ["sft"] * 3 + ["unpaired"] + ["rag"] * 2
    sft = [one.id for one in found if one.kind == "sft"]
    lines = (tmp_path / "distilled/sft/sft_export.jsonl").read_bytes().splitlines()
    places = [at for at, line in enumerate(lines) if json.loads(line)["id"] in sft]
    assert len(places) == 3
    assert places[0] == 0
    assert 12 <= places[1] <= 20
    assert 30 <= places[2] <= 36


def test_a_short_export_is_shown_whole_and_once(tmp_path: Path) -> None:
    """Where there are fewer rows than places, each is shown once."""
    put(tmp_path, "scrum_reviews", row(0, accepted_on_attempt=1) + b"\n")
    run(tmp_path)
    assert [one.kind for one in samples(LocalStore(tmp_path))] == ["sft", "unpaired", "rag"]


def test_little_is_read_of_a_large_export(tmp_path: Path) -> None:
    """The work does not grow with the export: a few blocks of each file are read."""
    put(tmp_path, "scrum_reviews", rows(0, 8))
    run(tmp_path)
    path = tmp_path / "distilled/sft/sft_export.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0] * 40_000)
    store = CountingStore(LocalStore(tmp_path))
    assert sum(one.kind == "sft" for one in samples(store)) == 3
    assert store.bytes["read", "distilled"] < 8 << 20 < path.stat().st_size


def test_a_spoilt_line_of_an_export_is_passed_over(tmp_path: Path) -> None:
    """A line that is no row, or too long to be one, gives no sample and no error."""
    store = _stored(b"{spoilt\n" * 50, "distilled/sft/sft_export.jsonl")
    assert samples(store) == []
    store = _stored(b"x" * (5 << 20), "distilled/sft/sft_export.jsonl")
    assert samples(store) == []


def test_a_conversation_is_shown_turn_by_turn(tmp_path: Path) -> None:
    """Who speaks, what is called and with what; only the first turns, and how many are left."""
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": 3}'}}
    turns = [{"role": "user", "content": "go"}]
    for number in range(6):
        turns.append({"role": "assistant", "content": f"step {number}", "tool_calls": [call]})  # type: ignore[dict-item]
        turns.append({"role": "tool", "content": f"seen {number}", "tool_call_id": "1"})
    turns.append({"role": "assistant", "content": "done"})
    body = row(0, messages=turns, review="done", accepted_on_attempt=1)
    put(tmp_path, "scrum_reviews", body + b"\n")
    run(tmp_path)
    sample = next(one for one in samples(LocalStore(tmp_path)) if one.kind == "sft")
    assert [part.label for part in sample.parts[:4]] == [
        "user",
        "assistant",
        "assistant calls",
        "tool",
    ]
    assert sample.parts[2].text.text == 'look({"at": 3})'
    assert len(sample.parts) + sample.parts_left_out == 1 + 3 * 6 + 1
