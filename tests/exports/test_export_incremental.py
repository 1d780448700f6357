"""Exporting again: only what changed is made anew, and the bytes are those of a fresh start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stillhouse.engines import InlineEngine
from stillhouse.exports import KINDS, ExportOptions
from stillhouse.interfaces import Entry, Store
from stillhouse.pipeline import (
    export_preference,
    export_rag,
    export_sft,
    make_evidence,
    score_evidence,
)
from stillhouse.receipts import decode_receipt, list_receipts, verify_lake
from stillhouse.records import EvidenceRecord, HumanOverride, decode
from stillhouse.storage import MemoryStore
from tests.exports import lakes
from tests.exports.lakes import PAIRS, RAG, REFUSED, SFT, UNPAIRED, Row
from tests.exports.made import both_lines

FOLDERS = ("distilled", "quarantine")
DAYS = ("2026-03-02T09:00:00Z", "2026-03-03T09:00:00Z", "2026-03-01T09:00:00Z")


def row(text: str, verdict: str = "accept", **fields: Any) -> Row:
    """An observer's review of one prompt."""
    return {
        "ts": DAYS[0],
        "prompt": "Q",
        "task_id": "t",
        "verdict": verdict,
        "review": text,
    } | fields


def append(store: Store, stem: str, *rows: Row) -> None:
    """What a log's writer does."""
    path = f"_kb/{stem}.jsonl"
    old = store.read(path) if store.stat(path) else b""
    lakes.put(store, path, old + lakes.join_lines(map(lakes.line_of, rows)))


def outputs(store: Store) -> dict[str, bytes]:
    """All that the exports wrote."""
    return lakes.files(store, *FOLDERS)


def from_scratch(store: Store, **options: Any) -> dict[str, bytes]:
    """What a new lake of the same logs would hold, were each row first read when it was."""
    fresh = lakes.lake({})
    for path, data in lakes.files(store, "_kb").items():
        lakes.put(fresh, path, data)
    lakes.run(fresh, **options)
    return outputs(fresh)


# ------------------------------------------------------------------------------- growth

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
PARTS: list[Row] = [
    {},
    {"messages": [{"role": "user", "content": "Q", "name": "ana"}]},
    {
        "messages": [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "r", "tool_call_id": "1"},
            {"role": "assistant", "content": "x"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    },
]


@st.composite
def grown(draw: st.DrawFn) -> Row:
    """A row of few tasks and texts, some with tool calls, some with names."""
    return row(
        draw(st.sampled_from("abcd")),
        draw(st.sampled_from(["accept", "accept", "cycle", "reject", "?"])),
        ts=draw(st.sampled_from(DAYS)),
        prompt=draw(st.sampled_from("QPRSTUVW")),
        task_id=draw(st.sampled_from("tuvw")),
        n=draw(st.integers(0, 3)),
        **draw(st.sampled_from(PARTS)),
    )


@settings(max_examples=30)
@given(
    batches=st.lists(
        st.tuples(
            st.sampled_from(["observer_reviews", "a_stem", "contract_analyses"]),
            st.lists(grown(), max_size=5),
        ),
        min_size=1,
        max_size=4,
    ),
    options=st.fixed_dictionaries(
        {
            "include_partial": st.booleans(),
            "max_pairs": st.sampled_from([1, 4]),
            "llama_factory": st.booleans(),
            "tools_as": st.sampled_from(["strings", "openai"]),
        }
    ),
)
def test_a_lake_that_grew_has_the_bytes_of_one_made_at_once(
    batches: list[tuple[str, list[Row]]], options: Row
) -> None:
    """However its rows came: the exports do not remember the way."""
    store = lakes.lake({})
    for stem, rows in batches:
        append(store, stem, *(one | {"observer_verdict": one["verdict"]} for one in rows))
        lakes.run(store, **options)
    assert outputs(store) == from_scratch(store, **options)
    _check_heads(store)


def _check_heads(store: Store) -> None:
    """Data and lineage match line for line, and no key shows up later than the file's head."""
    for path in lakes.paths(store, "distilled/dataset"):
        if not path.endswith("-lineage.jsonl"):
            continue
        data = lakes.loaded(store, path.replace("-lineage.jsonl", "-00000-of-00001.jsonl"))
        lineage = lakes.loaded(store, path)
        assert len(data) == len(lineage)
        config = path.split("/")[2]
        known: set[tuple[str, str]] = set()
        new = []
        for one, origin in zip(data, lineage, strict=True):
            keys = {
                (column, key)
                for column in ("messages", "prompt", "chosen", "rejected", "completion")
                for message in one.get(column, [])
                for key in message
            }
            new.append(bool(keys - known))
            known |= keys
            assert _matches(store, config, one, origin)
        assert new == sorted(new, reverse=True), (path, new)


def _matches(store: Store, config: str, one: Row, origin: Row) -> bool:
    kinds = {"sft": SFT, "preference": PAIRS, "unpaired": UNPAIRED, "rag": lakes.RAG}
    (export,) = [each for each in lakes.loaded(store, kinds[config]) if each["id"] == origin["id"]]
    words = {"preference": "chosen", "unpaired": "completion"}
    if config == "rag":
        return bool(one["text"] == export["text"])
    if config == "sft":
        return bool(
            one["messages"][-1]["content"] == (export["messages"] or [{}])[-1].get("content")
        )
    column = words[config]
    said = [message["content"] for message in one[column]]
    return said == [message.get("content") or "" for message in export[column]]


@pytest.mark.parametrize("late", [1, 2])
def test_rows_that_first_show_a_key_come_first(late: int) -> None:
    """Tool calls that appear on a later day, or in a later run, lead the dataset's file (T1)."""
    plain = [row(text, prompt=text, ts=DAYS[0]) for text in "abcdefgh"]
    calling = [row(text, ts=DAYS[1], **PARTS[2]) | {"messages": _asking(text)} for text in "ijk"]
    store = lakes.lake({"observer_reviews": plain})
    if late == 2:
        lakes.run(store)
    append(store, "observer_reviews", *calling)
    lakes.run(store)
    data = lakes.loaded(store, "distilled/dataset/sft/train-00000-of-00001.jsonl")
    shows = ["tool_calls" in str(one) for one in data]
    assert shows.count(True) >= 2
    assert shows[0] is True
    assert shows[1] is False
    _check_heads(store)
    assert outputs(store) == from_scratch(store)


def _asking(prompt: str) -> list[Row]:
    first, *rest = PARTS[2]["messages"]
    return [first | {"content": prompt}, *rest]


# --------------------------------------------------------------------------- retraction


def test_a_later_verdict_takes_an_earlier_sample_back() -> None:
    """What conflicts now leaves every export that it was in (F5)."""
    store = lakes.distilled({"observer_reviews": [row("a"), row("b")]})
    assert lakes.answers(store) == ["a", "b"]
    append(store, "audits", {"ts": DAYS[1], "prompt": "Q", "overall": "block", "summary": "a"})
    lakes.run(store, at=lakes.LATER)
    assert lakes.answers(store) == ["b"]
    assert lakes.reasons(store)["observer_reviews:0"] == "conflicting_verdict"
    for path, data in lakes.files(store, "distilled").items():
        assert b'"content":"a"' not in data, path
        assert b'"text":"a"' not in data, path


def test_a_settled_conflict_lets_the_sample_back() -> None:
    """The raw row gets a person's word, and the answer may train."""
    bad = {"ts": DAYS[1], "prompt": "Q", "overall": "block", "summary": "a"}
    store = lakes.distilled({"observer_reviews": [row("a")], "audits": [bad]})
    assert lakes.answers(store) == []
    lakes.put(store, "_kb/audits.jsonl", lakes.line_of(bad | {"human_override": "accept"}) + b"\n")
    lakes.run(store, at=lakes.LATER)
    assert lakes.answers(store) == ["a"]


def test_a_partner_that_comes_later_makes_a_pair() -> None:
    """What was a single answer moves into the pair, and is no longer labelled."""
    store = lakes.distilled({"observer_reviews": [row("a")]})
    assert len(lakes.lines(store, UNPAIRED)) == 1
    append(store, "observer_reviews", row("b", "reject", ts=DAYS[1]))
    lakes.run(store, at=lakes.LATER)
    assert len(lakes.lines(store, PAIRS)) == 1
    assert lakes.lines(store, UNPAIRED) == []


def test_rows_that_now_hang_together_share_a_split() -> None:
    """A new row that ties two tasks moves one of them (T2)."""
    names = [f"task {n}" for n in range(40)]
    rows = [row(name, prompt=name, task_id=name) for name in names]
    store = lakes.distilled({"observer_reviews": rows})
    assert len(lakes.paths(store, "distilled/dataset/sft")) > 2
    append(store, "observer_reviews", *(row("x", prompt=name, task_id="all") for name in names))
    lakes.run(store, at=lakes.LATER)
    assert len(lakes.paths(store, "distilled/dataset/sft")) == 2
    assert len(lakes.paths(store, "distilled/dataset/unpaired")) == 2


# ------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({"include_partial": True}, SFT),
        ({"include_review": True}, lakes.RAG),
        ({"max_pairs": 9}, PAIRS),
    ],
)
def test_other_options_write_the_exports_anew(options: Row, gone: str) -> None:
    """What was opted in to is gone when it no longer is, dataset and all."""
    rows = [
        row("a"),
        row("b", "cycle"),
        row("c", "?"),
        *(row(f"{n}", "reject", ts=DAYS[1]) for n in range(6)),
    ]
    store = lakes.distilled({"observer_reviews": rows})
    plain, few = outputs(store), lakes.lines(store, gone)
    report = lakes.export(store, **options)
    assert report.unchanged == []
    assert len(lakes.lines(store, gone)) > len(few)
    lakes.export(store, at="2026-04-03T00:00:00Z")
    assert outputs(store) == plain


def test_a_split_without_rows_has_no_file_whoever_remembers_it() -> None:
    """Dataset files of a run that nobody knows of any more do not stay behind."""
    store = lakes.distilled({"observer_reviews": [row("c", "?")]}, include_review=True)
    assert lakes.paths(store, "distilled/dataset/rag")
    for path in lakes.paths(store, ".stillhouse", "receipts"):
        store.delete(path)
    lakes.put(store, "distilled/dataset/notes.txt", b"mine")
    lakes.export(store, "dataset")
    assert lakes.paths(store, "distilled/dataset/rag") == []
    assert store.stat("distilled/dataset/notes.txt") is not None


@pytest.mark.parametrize(
    "damage",
    [
        lambda store: lakes.edit(store, SFT, {0: b"{}"}),
        lambda store: store.delete(SFT),
        lambda store: lakes.put(store, SFT, b""),
        lambda store: store.delete(REFUSED["sft"]),
    ],
)
def test_an_export_that_was_damaged_is_written_anew(damage: Callable[[Store], Any]) -> None:
    """Only that one; the rest is as it was."""
    store = lakes.distilled({"observer_reviews": [row("a"), row("b", "reject")]})
    before = outputs(store)
    damage(store)
    report = lakes.export(store)
    assert report.unchanged == ["preference", "rag", "dataset"]
    assert outputs(store) == before


def test_nothing_new_is_no_work() -> None:
    """All is unchanged, no file and no receipt is written."""
    store = lakes.distilled({"observer_reviews": [row("a"), row("b", "reject")]})
    before = lakes.files(store, "")
    report = lakes.run(store, at=lakes.LATER)
    assert report.unchanged == list(KINDS)
    assert lakes.files(store, "") == before


def test_receipts_tell_what_stands_now() -> None:
    """After each export the newest receipt of its kind has the files' hashes and the counts."""
    store = lakes.distilled({"observer_reviews": [row("a")]})
    append(store, "observer_reviews", row("b", "reject"))
    report = lakes.run(store, at=lakes.LATER)
    newest = {}
    for path in list_receipts(store):
        receipt = decode_receipt(store.read(path), path)
        newest[receipt.parameters.stage] = receipt
    for kind in KINDS:
        assert newest[kind].run.counts == report.exports[kind]
        for file in newest[kind].outputs:
            assert lakes.digest(store.read(file.path)) == file.sha256
            assert (file.bytes, file.rows or 0) == (
                len(store.read(file.path)),
                len(lakes.lines(store, file.path)) if file.path.endswith(".jsonl") else file.rows,
            )


@pytest.mark.parametrize(
    ("write", "paths"),
    [(export_sft, [SFT]), (export_preference, [PAIRS, UNPAIRED]), (export_rag, [RAG])],
)
def test_each_export_is_written_by_itself(write: Any, paths: list[str]) -> None:
    """The same file as with all others, and nothing else; a dry run writes nothing (S8)."""
    rows = {"observer_reviews": [row("a"), row("b", "reject"), row("c", prompt="P")]}
    store, whole = lakes.lake(rows), lakes.distilled(rows)
    make_evidence(store, InlineEngine(), lakes.NOW)
    score_evidence(store, InlineEngine(), lakes.NOW)
    write(store, InlineEngine(), ExportOptions(), lakes.NOW, dry_run=True)
    assert lakes.paths(store, "distilled") == []
    write(store, InlineEngine(), ExportOptions(), lakes.NOW)
    assert lakes.paths(store, "distilled") == sorted(paths)
    for path in paths:
        assert store.read(path) == whole.read(path)
        assert store.read(path)


# ---------------------------------------------------------------------- distrusted files


def test_evidence_that_was_edited_to_fit_is_not_taken_for_the_truth() -> None:
    """Evidence and scored run forged together still are not what the raw line gives."""
    store = lakes.distilled({"observer_reviews": [row("a", "reject"), row("b")]})
    (evidence,) = lakes.paths(store, "evidence")
    (scored,) = lakes.scored_files(store)
    record = decode(lakes.lines(store, evidence)[0], EvidenceRecord)
    forged = replace(record, human_override=HumanOverride(decision="accept"))
    lines = both_lines(forged)
    lakes.edit(store, scored, {0: lines[0]})
    lakes.edit(store, evidence, {0: lines[1]})
    report = lakes.export(store)
    assert lakes.answers(store) == ["b"]
    assert report.exports["sft"]["refused/altered_evidence"] == 1
    assert any("observer_reviews: files of 1 days" in note for note in report.notes)
    lakes.run(store, at=lakes.LATER)
    assert outputs(store) == from_scratch(store)


@pytest.mark.parametrize("forged", ["verdict", "words", "rejection"])
def test_without_its_raw_log_only_the_index_vouches_for_evidence(forged: str) -> None:
    """Evidence that was edited, or taken away, after its log was gone lets nothing out (F6)."""
    rows = {"observer_reviews": [row("a", "reject"), row("b")], "outcomes": [_outcome("a")]}
    store = lakes.distilled(rows)
    assert lakes.answers(store) == ["b"]
    store.delete("_kb/observer_reviews.jsonl")
    (evidence,) = [path for path in lakes.paths(store, "evidence") if "observer" in path]
    scored = evidence.replace("evidence/", "scored-runs/")
    record = decode(lakes.lines(store, evidence)[0], EvidenceRecord)
    record = replace(record, human_override=HumanOverride(decision="accept"))
    if forged == "words":
        record = replace(record, text="c")
    lines = both_lines(record) if forged != "rejection" else (None, None)
    lakes.edit(store, scored, {0: lines[0]})
    lakes.edit(store, evidence, {0: lines[1]})
    report = lakes.export(store)
    assert lakes.answers(store) == ["b"]
    assert [row["completion"][0]["content"] for row in lakes.loaded(store, UNPAIRED)] == ["b"]
    assert any("is gone" in note for note in report.notes)
    for path in lakes.paths(store, ".stillhouse/index"):
        store.delete(path)
    lakes.export(store)
    # Nobody vouches for the rest of that file any more.
    assert "b" not in lakes.answers(store)


def _outcome(text: str) -> Row:
    events = [{"name": "e", "ok": True}]
    return {"ts": DAYS[1], "prompt": "Q", "task_id": "t", "events": events, "report": text}


def test_a_pair_follows_its_rejected_side() -> None:
    """An answer that its log no longer holds does not stay in a pair, though it is as long as
    the one that took its place."""
    bad = _outcome("OLD WRONG") | {"events": [{"name": "e", "ok": False}]}
    store = lakes.distilled({"observer_reviews": [row("good")], "outcomes": [bad]})
    assert b"OLD WRONG" in store.read(PAIRS)
    lakes.pour(store, {"outcomes": [bad | {"report": "NEW WRONG"}]})
    lakes.run(store)
    assert outputs(store) == from_scratch(store)
    assert b"OLD WRONG" not in b"".join(outputs(store).values())


def test_a_refusal_follows_the_row_that_it_names() -> None:
    """A line that moved in its log is named by its new number."""
    bad = {"ts": DAYS[1], "prompt": "Q", "overall": "block", "summary": "a"}
    store = lakes.distilled({"observer_reviews": [row("a")], "audits": [bad]})
    lakes.put(store, "_kb/audits.jsonl", b"\n" + lakes.line_of(bad) + b"\n")
    lakes.run(store)
    refused = lakes.loaded(store, REFUSED["sft"])
    assert "_kb/audits.jsonl:2" in [line.get("other") for line in refused]
    assert outputs(store) == from_scratch(store)


class Rotting(MemoryStore):
    """A store whose files can change without a sign, as those on a failing disk do."""

    def __init__(self) -> None:
        super().__init__()
        self._signs: dict[str, tuple[bytes, Entry]] = {}

    def rot(self, path: str, old: bytes, new: bytes) -> None:
        """Other bytes under the fingerprint of those before."""
        entry, data = self.stat(path), self.read(path)
        assert entry is not None
        assert old in data
        assert len(old) == len(new)
        lakes.put(self, path, data.replace(old, new))
        self._signs[path] = (self.read(path), entry)

    def stat(self, path: str) -> Entry | None:
        data, entry = self._signs.get(path, (b"", None))
        if entry is not None and super().stat(path) is not None and self.read(path) == data:
            return entry
        return super().stat(path)


@pytest.mark.parametrize(
    ("folder", "old", "new"),
    [
        ("evidence", b'"text":"good"', b'"text":"EVIL"'),
        ("scored-runs", b"observer verdict is 'accept'", b"observer verdict is 'ACCEPT'"),
        (".stillhouse/index", b"", b""),
        ("distilled/sft", b'"good"', b'"EVIL"'),
        ("distilled/preference", b'"good"', b'"EVIL"'),
        ("distilled/rag", b'"good"', b'"EVIL"'),
        ("distilled/dataset", b'"good"', b'"EVIL"'),
        ("quarantine/evidence", b"missing_time", b"MISSING_TIME"),
        ("quarantine/sft", b"forbidden_category", b"FORBIDDEN_CATEGORY"),
    ],
)
def test_bytes_that_changed_without_a_sign_are_not_carried_on(
    folder: str, old: bytes, new: bytes
) -> None:
    """A run that adds rows vouches for the whole file: it looks at all of what it copies."""
    store = Rotting()
    bad = [row("bad", "reject"), {"verdict": "accept", "review": "no time"}]
    lakes.pour(store, {"observer_reviews": [row("good"), row("fine", prompt="P"), *bad]})
    lakes.run(store)
    for path in lakes.paths(store, folder):
        was = old or store.read(path)[:1]
        if was in store.read(path):
            store.rot(path, was, new or bytes([was[0] ^ 1]))
    append(store, "observer_reviews", row("new", prompt="R"), row("worse", "reject", prompt="R"))
    append(store, "observer_reviews", {"verdict": "accept", "review": "no time either"})
    report = lakes.run(store)
    assert report.notes
    fresh = lakes.lake({})
    for path, data in lakes.files(store, "_kb").items():
        lakes.put(fresh, path, data)
    lakes.run(fresh)
    folders = ("evidence", "scored-runs", "distilled", "quarantine")
    assert lakes.files(store, *folders) == lakes.files(fresh, *folders)
    assert verify_lake(store).ok


def test_a_receipt_names_the_edited_files_that_were_read() -> None:
    """Whatever the stages once wrote: an export's inputs are the bytes it read (P3)."""
    store = lakes.distilled({"observer_reviews": [row("a"), row("b")]})
    (scored,) = lakes.scored_files(store)
    lakes.edit(store, scored, {0: None})
    lakes.export(store, "sft")
    newest = decode_receipt(store.read(list_receipts(store)[-1]), "newest")
    for path in list_receipts(store):
        receipt = decode_receipt(store.read(path), path)
        if receipt.parameters.stage == "sft" and receipt.sequence > newest.sequence:
            newest = receipt
    read = {file.path: file.sha256 for file in newest.inputs}
    assert read[scored] == lakes.digest(store.read(scored))


def test_a_rejection_that_was_deleted_still_speaks() -> None:
    """The raw log keeps an answer out though evidence and verdict of it are gone (F5)."""
    bad = {"ts": DAYS[1], "prompt": "Q", "overall": "block", "summary": "a"}
    store = lakes.distilled({"observer_reviews": [row("a"), row("b")], "audits": [bad]})
    for path in (*lakes.paths(store, "evidence"), *lakes.scored_files(store)):
        if "audits" in path:
            store.delete(path)
    lakes.export(store)
    assert lakes.answers(store) == ["b"]
    (refused,) = lakes.loaded(store, REFUSED["sft"])
    assert refused["other"] == "_kb/audits.jsonl:1"


def test_without_its_raw_log_evidence_stands_and_is_scored_again() -> None:
    """There is nothing to hold it against, and the report says so; verdicts still must fit."""
    store = lakes.distilled({"observer_reviews": [row("a"), row("b", "reject")]})
    (scored,) = lakes.scored_files(store)
    lines = lakes.lines(store, scored)
    lakes.edit(store, scored, {1: lines[1].replace(b'"rejected"', b'"accepted"', 1)})
    store.delete("_kb/observer_reviews.jsonl")
    report = lakes.export(store)
    assert lakes.answers(store) == ["a"]
    assert lakes.reasons(store)["observer_reviews:1"] == "verdict_mismatch"
    assert any("is gone" in note for note in report.notes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda line: line.replace(b'"accepted"', b'"ACCEPTED"', 1), "invalid"),
        (lambda line: line.replace(b'"accepted"', b'" accepted "', 1), "invalid"),
        (lambda line: line[:-1] + b',"category":"accepted"}', "invalid"),
        (lambda line: b'{"category":"rejected",' + line[1:], "invalid"),
        (lambda line: b"\xef\xbb\xbf" + line, "invalid"),
        (lambda line: line[:40], "invalid"),
        (lambda line: b"[]", "invalid"),
        (lambda line: b'{"sig_hash":7}', "invalid"),
        (lambda line: line.replace(b'"sig_hash":"', b'"sig_hash":"0', 1), "invalid"),
        (lambda line: line.replace(b'"accepted"', b'"rejected"', 1), "verdict_mismatch"),
    ],
)
def test_an_edited_scored_line_is_refused_and_counted_once(
    change: Callable[[bytes], bytes], reason: str
) -> None:
    """One refusal a scored line; evidence that nobody speaks for is told by itself (F6, L1)."""
    store = lakes.distilled({"observer_reviews": [row("a"), row("b")]})
    (path,) = lakes.scored_files(store)
    lakes.edit(store, path, {0: change(lakes.lines(store, path)[0])})
    counts = lakes.export(store).exports["sft"]
    assert lakes.answers(store) == ["b"]
    assert counts["sft"] == counts[f"refused/{reason}"] == 1
    rest = {name for name in counts if name.startswith("refused/")} - {f"refused/{reason}"}
    assert rest <= {"refused/not_scored"}


def test_what_another_program_wrote_in_its_own_spelling_is_read() -> None:
    """Blanks between tokens, unknown fields and CRLF change no meaning (R6)."""
    store = lakes.distilled({"observer_reviews": [row("a"), row("b")]})
    before = outputs(store)
    (path,) = lakes.scored_files(store)
    respelt = [
        line.replace(b'","', b'", "').replace(b"{", b'{"new": 1, ', 1) + b"\r"
        for line in lakes.lines(store, path)
    ]
    lakes.put(store, path, b"\n" + lakes.join_lines(respelt))
    lakes.export(store)
    assert outputs(store) == before


def test_a_refused_line_is_named_by_its_place_in_the_file() -> None:
    """Blank lines count as lines: an editor goes there."""
    store = lakes.distilled({"observer_reviews": [row("a")]})
    (path,) = lakes.scored_files(store)
    lakes.put(store, path, b"\n\n{}\n" + store.read(path))
    lakes.export(store)
    (refused,) = [each for each in lakes.loaded(store, REFUSED["sft"]) if each["stage"] == "export"]
    assert (refused["source_file"], refused["line_offset"]) == (path, 2)
    assert refused["raw"] == "{}"


def test_evidence_that_is_no_record_is_told() -> None:
    """Nothing is lost in silence: neither the line nor the run that named it (L1)."""
    store = lakes.distilled({"observer_reviews": [row("a"), row("b")]})
    (path,) = lakes.paths(store, "evidence")
    lakes.edit(store, path, {0: b'{"run_id": 7}'})
    counts = lakes.export(store).exports["sft"]
    assert counts["sft"] == 1
    assert counts["refused/not_instructable"] == counts["refused/altered_evidence"] == 1
