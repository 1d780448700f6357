"""The example lake: everything that can happen to a lake, in a few hundred rows."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stillhouse.demo import MARKER, MIN_ROWS, fake_secrets, write_demo_lake
from stillhouse.errors import LakeError, UsageError
from stillhouse.interfaces import Refusal
from stillhouse.records import CATEGORIES, EvidenceRecord
from stillhouse.rows import read_line
from stillhouse.sources import SOURCES, score_record, source_for
from stillhouse.storage import LocalStore, MemoryStore

SIZES = (MIN_ROWS, 400, 2000)


def _lake(rows: int, seed: int = 1) -> dict[str, bytes]:
    store = MemoryStore()
    write_demo_lake(store, rows, seed=seed)
    return {entry.path: store.read(entry.path) for entry in store.list("_kb")}


def _read(rows: int) -> tuple[dict[str, list[EvidenceRecord]], Counter[str]]:
    """The lake's records by stem, and its refused rows by reason."""
    records: dict[str, list[EvidenceRecord]] = {}
    refused: Counter[str] = Counter()
    for path, data in _lake(rows).items():
        stem = path.removeprefix("_kb/").removesuffix(".jsonl")
        for number, line in enumerate(data.split(b"\n")):
            line = line.removesuffix(b"\r")
            if not line.strip():
                continue
            digest = hashlib.sha256(line).hexdigest()
            read = read_line(line, source_for(stem), path, number, "2026-03-09T00:00:00Z", digest)
            if isinstance(read, Refusal):
                refused[read.reason] += 1
            else:
                records.setdefault(stem, []).append(read)
    return records, refused


def _rows(data: bytes) -> list[dict[str, Any]]:
    rows = []
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


@pytest.mark.parametrize("rows", SIZES)
def test_equal_arguments_give_equal_bytes(rows: int) -> None:
    """The lake follows from its arguments alone, and the seed changes it."""
    assert _lake(rows) == _lake(rows)
    assert _lake(rows) != _lake(rows, seed=2)


@pytest.mark.parametrize("rows", SIZES)
def test_as_many_rows_as_asked_for(rows: int) -> None:
    """The summary counts the lines that are there, and they are about as many as asked for."""
    store = MemoryStore()
    summary = write_demo_lake(store, rows)
    lines = {
        stem: sum(1 for line in store.read(f"_kb/{stem}.jsonl").split(b"\n") if line.strip())
        for stem in summary.logs
    }
    assert lines == summary.logs
    assert summary.rows == sum(lines.values())
    assert abs(summary.rows - rows) <= max(2, rows // 50)


@pytest.mark.parametrize("rows", SIZES)
def test_every_source_and_every_category_of_it(rows: int) -> None:
    """Each known source is there and an unknown one; verdicts and telemetry show all verdicts."""
    records, _ = _read(rows)
    assert set(SOURCES) < set(records)
    assert len(set(records) - set(SOURCES)) == 1
    for stem, source in SOURCES.items():
        seen = {score_record(record).category for record in records[stem]}
        if source.source_class == "extraction":
            assert seen == {"needs_human_review"}
        elif stem == "scrum_reviews":
            assert seen == set(CATEGORIES) - {"rejected"}
        else:
            assert seen == set(CATEGORIES), stem


@pytest.mark.parametrize("rows", SIZES)
def test_every_kind_of_dirt(rows: int) -> None:
    """Each way in which a row is refused on reading occurs."""
    _, refused = _read(rows)
    assert set(refused) == {
        "bad_encoding",
        "bad_json",
        "duplicate_key",
        "invalid",
        "missing_time",
        "not_an_object",
    }


def test_dirt_that_is_in_the_bytes() -> None:
    """Line ends, a byte order mark, blank lines, a repeated and a torn line are there."""
    lake = _lake(MIN_ROWS)
    assert lake["_kb/audit_facts.jsonl"].endswith(b"}\r\n")
    assert lake["_kb/audits.jsonl"].startswith(b"\xef\xbb\xbf{")
    assert not lake["_kb/auto_apply.jsonl"].endswith((b"\n", b"}"))
    assert b"NaN" in lake["_kb/auto_apply.jsonl"]
    assert {b"", b"  \t"} <= set(lake["_kb/observer_reviews.jsonl"].split(b"\n")[:-1])
    repeated = Counter(lake["_kb/mode_experiments.jsonl"].splitlines())
    assert sorted(repeated.values())[-1] == 2


def test_every_summary_of_dirt_is_counted() -> None:
    """The summary names the dirt it put in, each kind at least once."""
    dirt = write_demo_lake(MemoryStore(), MIN_ROWS).dirt
    assert len(dirt) == 14
    assert all(dirt.values())


@pytest.mark.parametrize("rows", SIZES)
def test_answers_to_compare(rows: int) -> None:
    """Some prompts have a right and a wrong answer, one an answer judged both ways, one twice."""
    records, _ = _read(rows)
    verdicts: dict[str, set[str]] = {}
    answers: dict[tuple[str, str], Counter[str]] = {}
    for record in records["mode_experiments"]:
        assert record.messages is not None
        prompt, category = record.messages[0].text(), score_record(record).category
        verdicts.setdefault(prompt, set()).add(category)
        answers.setdefault((prompt, record.text), Counter())[category] += 1
    assert any({"accepted", "rejected"} <= seen for seen in verdicts.values())
    assert any({"accepted", "rejected"} <= set(seen) for seen in answers.values())
    assert any(seen["accepted"] > 1 for seen in answers.values())


@pytest.mark.parametrize("rows", SIZES)
def test_people_tools_and_days(rows: int) -> None:
    """People overrule in all three ways, conversations call tools, rows span several days."""
    records, _ = _read(rows)
    everything = [record for found in records.values() for record in found]
    decisions = {each.human_override.decision for each in everything if each.human_override}
    assert decisions == {"accept", "reject", "needs_review"}
    talks = [record for record in records["outcomes"] if record.tools and record.messages]
    assert any(message.tool_calls for record in talks for message in record.messages or ())
    assert len({record.timestamp[:10] for record in everything}) >= 5
    assert any(len(record.text) > 2000 for record in records["audits"])


def test_times_are_spelt_in_many_ways() -> None:
    """Every name and form of a time that SPEC lists occurs."""
    names, forms = set(), set()
    for data in _lake(MIN_ROWS).values():
        for row in _rows(data):
            for name in ("timestamp", "ts", "at", "created_at", "reviewed_at"):
                if name in row:
                    names.add(name)
                    forms.add(re.sub(r"\d+", "9", str(row[name])) + type(row[name]).__name__)
    assert names == {"timestamp", "ts", "at", "created_at", "reviewed_at"}
    assert len(forms) >= 6


def test_secrets_slip_in_and_are_not_in_our_source() -> None:
    """Each made-up secret stands in the lake, and only there: no source file holds it whole."""
    lake = b"".join(_lake(MIN_ROWS).values())
    source = Path(inspect.getfile(write_demo_lake)).read_text(encoding="utf-8")
    for secret in fake_secrets().values():
        assert json.dumps(secret)[1:-1].encode() in lake.replace(b'\\\\"', b'"')
        assert secret not in source


def test_texts_are_varied() -> None:
    """A newcomer does not read the same words over and over."""
    records, _ = _read(400)
    for stem in ("scrum_reviews", "outcomes", "contract_analyses", "mode_experiments"):
        told = [
            (each.task_id, each.text)
            for each in records[stem]
            if score_record(each).category == "accepted"
        ]
        assert len(set(told)) >= 0.9 * len(told), stem
        assert len({text for _, text in told}) >= 0.8 * len(told), stem


def test_the_fees_are_right_where_the_checks_say_so() -> None:
    """The worked example answers its own question: right sums are right, wrong ones wrong."""
    checked = 0
    for row in _rows(_lake(400)["_kb/mode_experiments.jsonl"]):
        if row["task_class"] != "fee_arithmetic" or not isinstance(row["validators"], dict):
            continue
        lanes, days, rate = (
            int(found)
            for found in re.findall(
                r"closes (\d+) lanes? for (\d+) days. A lane costs (\d+)", row["prompt"]
            )[0]
        )
        right = lanes * rate * 10 + lanes * rate * (days - 10) * 0.75
        fee = float(re.findall(r"Fee: ([\d.]+) €", row["response"])[0])
        if not row["run_id"].endswith("-flaky") and row["validators"]:
            checked += 1
            assert (fee == right) == row["validators"]["amount_right"]
    assert checked > 10


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    """A file that already holds the right bytes is not touched, not even replaced by itself."""
    store = LocalStore(str(tmp_path))
    write_demo_lake(store, MIN_ROWS)
    before = list(store.list(""))
    write_demo_lake(store, MIN_ROWS)
    assert list(store.list("")) == before


def test_another_size_replaces_the_rows() -> None:
    """An example lake may be written anew with more rows."""
    store = MemoryStore()
    write_demo_lake(store, MIN_ROWS)
    assert write_demo_lake(store, 400).rows == 400
    assert store.stat(MARKER) is not None


def test_a_strangers_folder_is_left_alone() -> None:
    """A folder that holds anything else is refused with a way out, and nothing is written."""
    store = MemoryStore()
    with store.writer("_kb/outcomes.jsonl") as out:
        out.write(b"{}\n")
    with pytest.raises(LakeError, match=r"not empty.*new or an empty folder"):
        write_demo_lake(store)
    assert [entry.path for entry in store.list("")] == ["_kb/outcomes.jsonl"]


def test_too_few_rows_are_refused() -> None:
    """Below the minimum not everything could be shown."""
    with pytest.raises(UsageError, match="60 or more"):
        write_demo_lake(MemoryStore(), MIN_ROWS - 1)
