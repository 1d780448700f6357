"""Secrets stay in the lake: no export, sidecar, card or quarantine line holds one (S10)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec
import pytest

from stillhouse.errors import LakeChangedError, RecordError
from stillhouse.exports import KINDS
from stillhouse.receipts import decode_receipt, list_receipts
from stillhouse.storage import MemoryStore
from tests.exports import lakes
from tests.exports.lakes import PAIRS, RAG, SFT, UNPAIRED, Row

# Built from parts, so that no scanner takes this file for a leak.
SECRET = "ghp_" + "Zk3vQ9xL2mT7rW5pY8nB4cD6fG1hJ0sAqEuI"
PASSWORD = "hunter" + "9Zk3vQ9xL2mT"
URL = f"postgres://ana:{PASSWORD}@db.local/x"
AT = "2026-03-02T09:00:00Z"
CALL = {
    "id": f"c {SECRET}",
    "type": "function",
    "function": {"name": "f", "arguments": msgspec.json.encode({"k": SECRET}).decode()},
}
TALK = [
    {"role": "system", "content": f"key {SECRET}"},
    {"role": "user", "content": [{"type": "text", "text": f"Q {SECRET}"}], "name": "ana"},
    {"role": "assistant", "content": f"calling {SECRET}", "tool_calls": [CALL]},
    {"role": "tool", "content": f"r {SECRET}", "tool_call_id": f"c {SECRET}"},
    {"role": "assistant", "content": "A"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "description": f"uses {SECRET}"}}]
FIELDS: dict[str, Any] = {
    "run_id": f"run {SECRET}",
    "task_id": f"task {SECRET}",
    "model": f"m {SECRET}",
    "provider": f"p {SECRET}",
    "role": f"reviewer {SECRET}",
    "metadata": {"contractor": f"c {SECRET}", SECRET: [SECRET], "api_key": SECRET},
    "human_override": {"decision": "accept", "reviewer": SECRET, "reason": f"since {SECRET}"},
    "matrix_corpora": [f"corpus {SECRET}"],
    "pathway_fingerprints": [f"path {SECRET}"],
    "source_files": [f"dir/{SECRET}/a.py"],
    "command_run": f"curl -H 'Authorization: Bearer {SECRET}'",
    "input_hash": SECRET,
    "output_hash": SECRET,
    "messages": TALK,
    "tools": TOOLS,
    "prompt": f"Q {SECRET}",
    "text": f"A {SECRET}",
    "response": f"A {SECRET} and {URL}",
}
OWN: dict[str, Row] = {
    "scrum_reviews": {"file": f"f {SECRET}", "accepted_on_attempt": 1, "review": f"A {SECRET}"},
    "observer_reviews": {"file": SECRET, "verdict": "accept", "notes": [SECRET], "review": SECRET},
    "audits": {
        "phase": SECRET,
        "overall": "approve",
        "findings": [{"severity": "info", "message": SECRET}],
        "summary": SECRET,
    },
    "contract_analyses": {
        "permit_id": SECRET,
        "contractor": SECRET,
        "observer_verdict": "accept",
        "analysis": f"A {SECRET}\n\nB {URL}",
    },
    "auto_apply": {"file": SECRET, "action": "committed", "patch": f"+{SECRET}"},
    "outcomes": {
        "scenario": SECRET,
        "events": [{"name": SECRET, "ok": True, "note": SECRET}],
        "report": SECRET,
    },
    "mode_experiments": {
        "task_class": SECRET,
        "file": SECRET,
        "mode": SECRET,
        "validators": {SECRET: True},
        "response": SECRET,
    },
}
BAD: dict[str, Row] = {
    "observer_reviews": {"verdict": "reject"},
    "audits": {"overall": "block", "findings": [{"severity": "high", "message": SECRET}]},
}


def planted(stem: str) -> Iterator[Row]:
    """Rows of a stem with a secret in one field each, and one with it in all of them."""
    own = {name: value for name, value in OWN[stem].items() if SECRET not in str(value)}
    texts = {"review", "summary", "analysis", "patch", "report", "response"}
    text = next(name for name in OWN[stem] if name in texts)
    for number, (name, value) in enumerate((OWN[stem] | FIELDS).items()):
        yield {"ts": AT, text: f"A{number}", "prompt": f"Q{number}", **own, name: value}
    yield {"ts": AT} | FIELDS | OWN[stem]


def lake() -> dict[str, list[Row]]:
    """Every source with a secret in every field, alone and together, and refused rows of both."""
    rows = {stem: list(planted(stem)) for stem in OWN}
    for stem, verdict in BAD.items():
        rows[stem] += [
            row | verdict | {"run_id": f"bad {n} {SECRET}"} for n, row in enumerate(rows[stem])
        ]
    rows["distilled_facts"] = [{"ts": AT, "fact": SECRET, "human_override": "accept"} | FIELDS]
    return rows


OPTIONS: list[Row] = [
    {"include_partial": True, "include_review": True, "llama_factory": True, "max_pairs": 50},
    {"on_secret": "drop", "llama_factory": True},
    {"tools_as": "objects"},
    {"tools_as": "openai", "include_review": True},
]


def _leaks(files: dict[str, bytes]) -> list[str]:
    return [
        path for path, data in files.items() for one in (SECRET, PASSWORD) if one.encode() in data
    ]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_secret_in_any_field_is_in_no_byte_of_an_export(options: Row) -> None:
    """Every field of a raw row, every export, every file beside it."""
    store = lakes.distilled(lake(), **options)
    assert _leaks(lakes.files(store, "evidence")), "the evidence stays the truth"
    assert _leaks(lakes.files(store, "distilled")) == []
    for kind in ("sft", "preference", "rag", "dataset"):
        assert _leaks(lakes.files(store, f"quarantine/{kind}")) == []
    assert _leaks(lakes.files(store, "receipts", "reports")) == []
    assert lakes.lines(store, SFT) or options.get("on_secret") == "drop"


def test_what_was_taken_out_is_named_and_counted() -> None:
    """By kind, in the export's receipt, and equal to the marks that stand in the file."""
    row = {"ts": AT, "verdict": "accept", "prompt": f"Q {SECRET}", "review": f"A {SECRET} {URL}"}
    store = lakes.lake({"observer_reviews": [row]})
    counts = lakes.run(store).exports
    assert lakes.answers(store) == [
        "A [REDACTED:github] postgres://ana:[REDACTED:url-password]@db.local/x"
    ]
    told = {
        name.removeprefix("redacted/"): n for name, n in counts["sft"].items() if "redacted" in name
    }
    assert told == {"github": 3, "url-password": 2}
    for path, kind in ((SFT, "sft"), (UNPAIRED, "preference"), (RAG, "rag")):
        for name in ("github", "url-password"):
            marks = store.read(path).count(f"[REDACTED:{name}]".encode())
            assert marks == counts[kind][f"redacted/{name}"]
    receipts = {}
    for path in list_receipts(store):
        receipt = decode_receipt(store.read(path), path)
        receipts[receipt.parameters.stage] = receipt.run.counts
    for kind in KINDS:
        assert receipts[kind] == counts[kind]
        assert any(name.startswith("redacted/") for name in receipts[kind])


def test_a_chunked_text_counts_its_secrets_once() -> None:
    """However many chunks it is cut into."""
    text = "\n\n".join([f"Token {SECRET} here.", *("Words and words. " * 20 for _ in range(9))])
    row = {"ts": AT, "verdict": "accept", "review": text}
    store = lakes.lake({"observer_reviews": [row]})
    counts = lakes.run(store, chunk_size=300, chunk_overlap=50).exports["rag"]
    assert counts["rag"] > 3
    assert sum(n for name, n in counts.items() if name.startswith("redacted/")) == 1


def test_rows_with_secrets_are_dropped_when_asked() -> None:
    """Each refused by name in every export; the rest is untouched (--on-secret drop)."""
    rows = [
        {"ts": AT, "verdict": "accept", "prompt": "Q", "review": f"A {SECRET}"},
        {"ts": AT, "verdict": "accept", "prompt": "Q", "review": "A"},
        {"ts": AT, "verdict": "reject", "prompt": "P", "review": f"B {SECRET}"},
    ]
    store = lakes.lake({"observer_reviews": rows})
    counts = lakes.run(store, on_secret="drop").exports
    assert lakes.answers(store) == ["A"]
    assert lakes.reasons(store) == {
        "observer_reviews:0": "secret",
        "observer_reviews:2": "forbidden_category",
    }
    assert lakes.reasons(store, "preference") == {
        "observer_reviews:0": "secret",
        "observer_reviews:2": "secret",
    }
    assert [row["text"] for row in lakes.loaded(store, RAG)] == ["A"]
    assert counts["rag"]["refused/secret"] == 1
    assert len(lakes.lines(store, UNPAIRED)) == 1
    assert lakes.lines(store, PAIRS) == []


@pytest.mark.parametrize("field", ["category", "reasons", "evidence_run_id", "unknown"])
def test_a_refused_scored_line_keeps_no_secret(field: str) -> None:
    """A damaged line is quarantined as it stood, but for its secrets."""
    row = {"ts": AT, "verdict": "accept", "prompt": "Q", "review": "A"}
    store = lakes.distilled({"observer_reviews": [row]})
    (path,) = lakes.scored_files(store)
    line = msgspec.json.decode(lakes.lines(store, path)[0])
    line[field] = f"x {SECRET}"
    line["sig_hash"] = "0" * 64
    lakes.edit(store, path, {0: msgspec.json.encode(line)})
    lakes.export(store)
    refused = lakes.loaded(store, lakes.REFUSED["sft"])
    assert {row["stage"] for row in refused} == {"export", "sft"}
    assert _leaks(lakes.files(store, "quarantine", "distilled")) == []


def test_edited_reasons_reach_no_export() -> None:
    """A pair's reason is the rules', not what somebody wrote into the file."""
    rows = [
        {"ts": AT, "task_id": "t", "prompt": "Q", "verdict": verdict, "review": verdict}
        for verdict in ("accept", "reject")
    ]
    store = lakes.distilled({"observer_reviews": rows})
    before = store.read(PAIRS)
    (path,) = lakes.scored_files(store)
    changed = {}
    for number, line in enumerate(lakes.loaded(store, path)):
        changed[number] = msgspec.json.encode(line | {"reasons": [f"bribed {SECRET}"]})
    lakes.edit(store, path, changed)
    lakes.export(store)
    assert store.read(PAIRS) == before


@pytest.mark.parametrize("before", [0, 20, 30, 45, 58])
def test_half_a_secret_does_not_stand_in_a_reason(before: int) -> None:
    """A reason quotes what the log says, and cuts it where nothing telling is left of it."""
    secret = SECRET + "Zk3vQ9xL2mT7rW5pY8nB4cD6"
    said = {"decision": "reject", "reviewer": f"{'r' * before} {secret}"}
    good = {"ts": AT, "task_id": "t", "prompt": "Q", "verdict": "accept", "review": "a"}
    bad = good | {"review": "b", "human_override": said}
    store = lakes.distilled({"observer_reviews": [good, bad]})
    (line,) = lakes.lines(store, PAIRS)
    assert secret[:12].encode() not in line


# ------------------------------------------------------ files that change under the eyes


class Shifty(MemoryStore):
    """A store that shows other bytes than it says it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, bytes] = {}

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        if path in self.shown:
            return self.shown[path][start:end]
        return super().read(path, start, end)

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        return io.BytesIO(self.read(path))


def shift(store: Shifty, stem: str, old: bytes, new: bytes, *, forge: bool) -> None:
    """Show evidence with other words of the same length; the scored run is forged to fit, with
    its verdict too where the words are a verdict."""
    evidence, scored = f"evidence/2026/03/02/{stem}.jsonl", f"scored-runs/2026/03/02/{stem}.jsonl"
    before = store.read(evidence)
    after = before.replace(old, new)
    assert len(before) == len(after)
    assert before != after
    store.shown[evidence] = after
    if forge:
        sigs = [lakes.digest(data[:-1]).encode() for data in (before, after)]
        run = store.read(scored).replace(sigs[0], sigs[1])
        assert run != store.read(scored)
        store.shown[scored] = run


def shifty(**options: Any) -> Shifty:
    """An accepted and a rejected answer to one prompt, exported once."""
    store = Shifty()
    good = {"ts": AT, "task_id": "t", "prompt": "Q", "verdict": "accept", "review": "a"}
    lakes.pour(store, {"observer_reviews": [good]})
    bad = {"ts": AT, "task_id": "t", "prompt": "Q", "observer_verdict": "reject", "analysis": "b"}
    append = {"contract_analyses": [bad]}
    lakes.pour(store, append)
    lakes.run(store, chunk_size=1000, **options)
    assert len(lakes.lines(store, PAIRS)) == 1
    return store


def _refuses_whole(store: Shifty, why: str) -> None:
    """An export of a lake that changes under its eyes says so, and leaves all as it was."""
    before = lakes.files(store, "distilled", "quarantine", "receipts")
    with pytest.raises(LakeChangedError, match=why):
        lakes.export(store, max_pairs=3)
    assert lakes.files(store, "distilled", "quarantine", "receipts") == before


def test_lines_that_no_longer_are_what_was_indexed_are_refused() -> None:
    """The hash is asked for when the row leaves, not only when it came (F6)."""
    store = shifty()
    shift(store, "observer_reviews", b'"text":"a"', b'"text":"z"', forge=False)
    _refuses_whole(store, "the scored run names other evidence than this")


def test_a_verdict_is_asked_for_again_when_the_row_leaves() -> None:
    """Evidence and hash that fit each other, but not the verdict, are refused (F6)."""
    store = shifty()
    shift(store, "observer_reviews", b'"accept"', b'"reject"', forge=True)
    _refuses_whole(store, "the file says 'accepted', the rules give 'rejected'")


@pytest.mark.parametrize(
    ("old", "new", "forge", "why"),
    [
        (b'"text":"b"', b'"text":"z"', False, "names other evidence"),
        (b'"reject"', b'"accept"', True, "the rules give 'accepted'"),
        (b'"content":"Q"', b'"content":"Z"', True, "another prompt"),
        (b'"task_id":"t"', b'"task_id":"z"', True, "another prompt"),
        (b'"text":"b"', b'"text":"a"', True, "are the same"),
    ],
)
def test_a_partner_is_looked_at_again(old: bytes, new: bytes, forge: bool, why: str) -> None:
    """Each of its claims, when the pair is made."""
    store = shifty()
    shift(store, "contract_analyses", old, new, forge=forge)
    before = lakes.files(store, "distilled", "quarantine", "receipts")
    with pytest.raises((LakeChangedError, RecordError), match=why):
        lakes.export(store, max_pairs=3)
    assert lakes.files(store, "distilled", "quarantine", "receipts") == before


@pytest.mark.parametrize(
    ("stem", "old", "new", "category", "why"),
    [
        ("contract_analyses", b'"reject"', b'"accept"', b"accepted", "category|accepted"),
        ("observer_reviews", b'"accept"', b'"reject"', b"rejected", "rejected"),
    ],
)
def test_a_side_that_has_changed_sides_is_no_side(
    stem: str, old: bytes, new: bytes, category: bytes, why: str
) -> None:
    """A run that is now another's equal, whole and sound in itself, does not stand in the pair."""
    store = shifty()
    shift(store, stem, old, new, forge=True)
    path = f"scored-runs/2026/03/02/{stem}.jsonl"
    now = b'"category":"%s"' % category
    for word in (b'"category":"accepted"', b'"category":"rejected"'):
        store.shown[path] = store.shown[path].replace(word, now)
    _refuses_whole(store, why)


def test_an_answer_of_an_extractor_is_cleared_for_nothing_though_the_index_says_so() -> None:
    """The firewall looks at the record, whatever was ruled before (F4)."""
    store = Shifty()
    row = {"ts": AT, "prompt": "Q", "verdict": "accept", "review": "a", "role": "tiebreaker"}
    lakes.pour(store, {"observer_reviews": [row | {"model": "xx"}]})
    lakes.run(store)
    roles = (b'"tiebreaker"', b'"extractor" ')
    shift(store, "observer_reviews", *roles, forge=True)
    counts = lakes.export(store, max_pairs=9).exports
    assert counts["sft"] == counts["preference"] == {"refused/not_instructable": 1}
    assert counts["rag"]["rag"] == 1


# ------------------------------------------------------------------------------ parquet


def test_parquet_is_written_beside_and_goes_with_the_option() -> None:
    """The same rows in the same splits; without the option the files go."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    rows = [
        {"ts": AT, "prompt": f"Q{n}", "verdict": verdict, "review": "a"}
        for n, verdict in enumerate(["accept"] * 30 + ["reject"] * 10)
    ]
    store = lakes.distilled({"observer_reviews": rows}, parquet=True)
    found = [path for path in lakes.paths(store, "distilled/dataset") if path.endswith(".parquet")]
    assert len(found) >= 6
    for path in found:
        table = parquet.read_table(io.BytesIO(store.read(path)))
        texts = lakes.loaded(store, path.replace(".parquet", ".jsonl"))
        assert table.num_rows == len(texts)
        assert set(table.column_names) == set(texts[0])
    lakes.export(store)
    assert not any(path.endswith(".parquet") for path in lakes.paths(store, "distilled"))


def test_counts_of_one_export_do_not_depend_on_the_others() -> None:
    """An export asked for alone gives the same file and counts as with all others."""
    rows = {"observer_reviews": list(planted("observer_reviews"))}
    store, alone = lakes.distilled(rows), lakes.lake(rows)
    whole = lakes.run(store).exports
    lakes.run(alone, include_partial=True, include_review=True)
    for kind in KINDS:
        # The dataset is made of all the others.
        parts = KINDS if kind == "dataset" else (kind,)
        assert lakes.export(alone, kind).exports == {part: whole[part] for part in parts}
    folders = ("distilled", "quarantine")
    assert lakes.files(alone, *folders) == lakes.files(store, *folders)
