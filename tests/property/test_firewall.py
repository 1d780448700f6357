"""No forbidden row ever leaves a lake: random lakes, random damage, every option, one oracle."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillhouse.errors import RecordError
from stillhouse.exports import KINDS
from stillhouse.interfaces import Store
from stillhouse.records import EvidenceRecord, decode, encode
from stillhouse.sources import build_scored_run
from tests.exports import lakes
from tests.exports.lakes import PAIRS, RAG, REFUSED, SFT, UNPAIRED, Row
from tests.exports.oracle import (
    RANK,
    TOKENS,
    Seen,
    conflicted,
    look,
    may_be_good,
    may_train,
    same,
    same_text,
    speaks_against,
)

T = TypeVar("T")
Lake = dict[str, list[Row]]
Pick = Callable[[st.SearchStrategy[Any]], Any]

DAYS = ("2026-03-02T09:00:00Z", "2026-03-03T09:00:00Z")

# ---------------------------------------------------------------------------- the rows

# Few words, so that answers collide; the same word in several spellings.
PROMPTS = ("Why?", "Why? ", "R\u00e9sum\u00e9?", "Re\u0301sume\u0301?", "")
TEXTS = ("Yes.", " Yes.\n", "Caf\u00e9", "Cafe\u0301", "No.", "", *(f"Use {t}." for t in TOKENS))
SIGNALS: dict[str, list[Row]] = {
    "scrum_reviews": [{"accepted_on_attempt": n} for n in (1, 1, 2, 4)] + [{}],
    "observer_reviews": [{"verdict": v} for v in ("accept", "cycle", "reject", "?")],
    "audits": [
        {"overall": "approve"},
        {"overall": "block"},
        {"overall": "request_changes"},
        {"findings": [{"severity": "low"}, {"severity": "high"}]},
        {"findings": [{"severity": "medium"}]},
        {"findings": []},
    ],
    "contract_analyses": [
        {"observer_verdict": "accept"},
        {"observer_verdict": "accept", "failure_markers": ["late"]},
        {"observer_verdict": "cycle"},
        {},
    ],
    "auto_apply": [
        {"action": a} for a in ("committed", "build_red_reverted", "lint_reverted", "no_patch", "?")
    ],
    "outcomes": [
        {"events": [{"name": "e", "ok": a}, {"name": "f", "ok": b}]}
        for a, b in ((True, True), (True, False), (False, False))
    ],
    "mode_experiments": [
        {"validators": {"v": a, "w": b}} for a, b in ((True, True), (True, False), (False, False))
    ],
    "distilled_facts": [{}],
    "a_stem_of_nobody": [{}],
}
OVERRIDES = [None] * 7 + ["accept", "reject", {"decision": "needs_review", "reviewer": "Kim"}]
ROLES = [None] * 6 + ["executor", "Extractor"]

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SAME_CALL = {"id": "c2", "function": {"name": "f", "arguments": '{"a": 1}'}}


@st.composite
def talks(draw: Any) -> Row:
    """The part of a row that holds prompt and answer, in one of its many spellings."""
    prompt, text = draw(st.sampled_from(PROMPTS)), draw(st.sampled_from(TEXTS))
    user: Row = {"role": "user", "content": prompt}
    said: Row = {"role": "assistant", "content": text}
    shape = draw(st.integers(0, 13))
    if shape <= 2:
        return {"prompt": prompt, "text": text}
    if shape <= 4:
        return {"text": text}
    if shape == 5:
        return {"messages": [user, said]}
    if shape == 6:
        system = {"role": draw(st.sampled_from(["system", "developer"])), "content": "Be kind."}
        return {"messages": [system, user, said]}
    if shape == 7:
        parts = [{"type": "text", "text": prompt}]
        return {"messages": [{"role": "user", "content": parts}], "response": text}
    if shape == 8:
        more = draw(st.sampled_from(TEXTS))
        return {"messages": [user, said, {"role": "user", "content": "And?"}, said], "text": more}
    if shape == 9:
        call = draw(st.sampled_from([CALL, SAME_CALL]))
        result = {"role": "tool", "content": "1", "tool_call_id": call["id"]}
        calling = {"role": "assistant", "content": None, "tool_calls": [call]}
        tools: Row = draw(st.sampled_from([{}, {"tools": [{"name": "f"}]}]))
        turns = draw(st.sampled_from([[calling, result, said], [calling, result], [calling]]))
        more = draw(st.sampled_from([{}, {}, {"text": draw(st.sampled_from(TEXTS))}]))
        told: Row = {"messages": [user, *turns]} | tools | more
        return told
    if shape == 10:
        blank: Row = {"role": "assistant", "content": " "}
        return {"messages": [user, blank, said]}
    if shape == 11:
        # No text: the last word is the user's.
        return {"messages": [user, said, {"role": "user", "content": "No!"}]}
    if shape == 12:
        greeting: Row = {"role": "assistant", "content": "Hello."}
        return {"messages": [greeting, user, said]}
    first = draw(st.sampled_from([[said], [{"role": "system", "content": "Be kind."}, said]]))
    return {"messages": first}


@st.composite
def rows(draw: Any, stem: str) -> Row:
    """One raw row of a stem."""
    row: Row = {"timestamp": draw(st.sampled_from(DAYS))}
    row |= draw(talks())
    row |= draw(st.sampled_from(SIGNALS[stem]))
    for name, values in (
        ("task_id", ["t1", "t2"]),
        ("human_override", OVERRIDES),
        ("role", ROLES),
        ("model", [None, "m"]),
        ("n", [1, 2]),
    ):
        value = draw(st.sampled_from(values))
        if value is not None:
            row[name] = value
    return row


@st.composite
def raw_lakes(draw: Any) -> Lake:
    """A few stems with a few rows each."""
    stems = draw(st.lists(st.sampled_from(sorted(SIGNALS)), min_size=1, max_size=3, unique=True))
    return {stem: draw(st.lists(rows(stem), min_size=1, max_size=6)) for stem in stems}


@st.composite
def crowded_lakes(draw: Any) -> Lake:
    """Rows that differ in verdict and answer alone: nearly every one meets another."""
    stems = draw(
        st.lists(
            st.sampled_from(["scrum_reviews", "observer_reviews", "outcomes"]),
            min_size=1,
            max_size=2,
            unique=True,
        )
    )
    return {
        stem: [
            {"timestamp": day, "prompt": "Why?", "text": text, "task_id": "t1"} | signal
            for day, text, signal in draw(
                st.lists(
                    st.tuples(
                        st.sampled_from(DAYS),
                        st.sampled_from(["Yes.", "Yes. ", "No.", "Perhaps.", *TOKENS]),
                        st.sampled_from(SIGNALS[stem]),
                    ),
                    min_size=1,
                    max_size=5,
                )
            )
        ]
        for stem in stems
    }


OPTIONS = st.fixed_dictionaries(
    {
        "include_partial": st.booleans(),
        "include_review": st.booleans(),
        "max_pairs": st.sampled_from([0, 1, 2, 4]),
        "on_secret": st.sampled_from(["redact", "drop"]),
        "tools_as": st.sampled_from(["strings", "objects", "openai"]),
        "llama_factory": st.booleans(),
    }
)

# ---------------------------------------------------------------------------- the laws


def _origin(row: Mapping[str, Any], seen: Mapping[str, Seen], side: str = "provenance") -> Seen:
    """The raw row that an exported row names, whose hash must be that of the raw line."""
    at = row[side]
    found = seen[f"{at['source_file'][4:-6]}:{at['line_offset']}"]
    assert at["sig_hash"] == found.sig_hash
    return found


def check_sft(store: Store, seen: Mapping[str, Seen], partial: bool) -> list[Seen]:
    """F1 to F5 and S9 on the SFT export; its rows."""
    kept = []
    for row in lakes.loaded(store, SFT):
        origin = _origin(row, seen)
        assert may_train(origin, seen, partial=partial), origin
        assert (row["category"], row["response"]) == (origin.category, origin.text)
        assert row["instruction"].strip()
        kept.append(origin)
    contents = [origin.content for origin in kept]
    assert len(contents) == len(set(contents)), "the same answer to the same prompt twice"
    return kept


def check_pairs(store: Store, seen: Mapping[str, Seen], most: int) -> tuple[set[str], set[str]]:
    """P1 on pairs and single answers; the rows in each, by name."""
    tasks: Counter[str] = Counter()
    pairs, paired = set(), set()
    for row in lakes.loaded(store, PAIRS):
        good, bad = _origin(row, seen), _origin(row, seen, "rejected_provenance")
        assert good.instructable
        assert bad.instructable
        assert may_be_good(good, seen), good
        assert (good.task, good.prompt, good.tools) == (bad.task, bad.prompt, bad.tools)
        assert good.answer != bad.answer
        assert RANK[good.category] > RANK[bad.category]
        assert (row["chosen_category"], row["rejected_category"]) == (good.category, bad.category)
        assert (good.name, bad.name) not in pairs
        assert row["pair_reason"].startswith(f"{good.category} over {bad.category}: ")
        pairs.add((good.name, bad.name))
        paired |= {good.name, bad.name}
        tasks[good.task] += 1
    assert max(tasks.values(), default=0) <= most
    single = set()
    for row in lakes.loaded(store, UNPAIRED):
        origin = _origin(row, seen)
        assert origin.instructable
        assert RANK[origin.category] == (2 if row["label"] else 0)
        assert not row["label"] or may_be_good(origin, seen), origin
        assert origin.name not in single
        single.add(origin.name)
    contents = {seen[name].content for name in single}
    assert len(contents) == len(single), "the same single answer to the same prompt twice"
    assert not single & paired
    return paired, single


def check_rag(store: Store, seen: Mapping[str, Seen], review: bool) -> set[str]:
    """P2 on the RAG export; its rows by name."""
    allowed = {"accepted", "partially_accepted"} | ({"needs_human_review"} if review else set())
    found = set()
    for row in lakes.loaded(store, RAG):
        origin = _origin(row, seen)
        assert origin.category == row["category"]
        assert origin.category in allowed, origin
        assert row["text"] in origin.text
        found.add(origin.name)
    return found


def check_dataset(store: Store, seen: Mapping[str, Seen], options: Mapping[str, Any]) -> None:
    """T1 and T2: only what the other exports may hold, lineage line for line, groups whole."""
    splits: dict[Any, set[str]] = defaultdict(set)
    for path in lakes.paths(store, "distilled/dataset"):
        config, _, name = path.removeprefix("distilled/dataset/").partition("/")
        if not path.endswith("-lineage.jsonl") or config == "llama_factory":
            continue
        split = name.removesuffix("-lineage.jsonl")
        data = path.replace("-lineage.jsonl", "-00000-of-00001.jsonl")
        rows, lineages = lakes.loaded(store, data), lakes.loaded(store, path)
        assert len(rows) == len(lineages)
        for row, lineage in zip(rows, lineages, strict=True):
            origins = [_origin({"provenance": at}, seen) for at in lineage["origins"]]
            for origin, at in zip(origins, lineage["origins"], strict=True):
                assert origin.category == at["category"]
                splits["task", origin.task].add(split)
                splits["prompt", origin.prompt].add(split)
            good = origins[0]
            if config == "sft":
                assert may_train(good, seen, partial=options["include_partial"]), good
                last = next(m for m in reversed(row["messages"]) if m["content"].strip())
                assert last["content"].strip() == good.text.strip()
            elif config == "preference" or (config == "unpaired" and row["label"]):
                assert may_be_good(good, seen), good
            elif config == "unpaired":
                assert good.category == "rejected"
            else:
                assert good.category != "rejected"
                assert good.category != "needs_human_review" or options["include_review"]
    assert all(len(names) == 1 for names in splits.values()), splits


def check_accounts(store: Store, counts: Mapping[str, Mapping[str, int]]) -> None:
    """L1: every scored line is exported or refused, and every refusal is in quarantine."""
    scored = sum(len(lakes.lines(store, path)) for path in lakes.scored_files(store))
    for kind in ("sft", "preference", "rag"):
        if kind not in counts:
            continue
        told = counts[kind]
        refused = {
            name.partition("/")[2]: n for name, n in told.items() if name.startswith("refused/")
        }
        written = Counter(row["reason"] for row in lakes.loaded(store, REFUSED[kind]))
        assert written == Counter(refused)
        out = {
            "sft": told.get("sft", 0),
            "preference": told.get("paired", 0) + told.get("unpaired", 0),
            "rag": told.get("records", 0),
        }[kind]
        # Lines of evidence that no scored line speaks for are told beside the scored ones.
        unscored = sum(
            row["reason"] == "not_scored" or row["source_file"].startswith("evidence/")
            for row in lakes.loaded(store, REFUSED[kind])
        )
        assert out + sum(refused.values()) - unscored == scored, (kind, told)
        for section, path in (("sft", SFT), ("preference", PAIRS), ("rag", RAG)):
            if kind == section:
                assert told.get(section, 0) == len(lakes.lines(store, path))


def check_all(
    store: Store,
    seen: Mapping[str, Seen],
    options: Mapping[str, Any],
    kinds: tuple[str, ...] = KINDS,
) -> None:
    """Every law on the exports of these kinds, which were made with these options."""
    if "sft" in kinds:
        check_sft(store, seen, options["include_partial"])
    if "preference" in kinds:
        check_pairs(store, seen, options["max_pairs"])
    if "rag" in kinds:
        check_rag(store, seen, options["include_review"])
    if "dataset" in kinds:
        check_dataset(store, seen, options)


def _firsts(names: set[str], seen: Mapping[str, Seen]) -> dict[Any, list[Seen]]:
    groups: dict[Any, list[Seen]] = defaultdict(list)
    for name in sorted(names):
        groups[seen[name].content].append(seen[name])
    return groups


@settings(max_examples=150)
@given(raw=crowded_lakes() | raw_lakes(), options=OPTIONS)
def test_a_lake_gives_what_the_specification_says_and_nothing_else(
    raw: Lake, options: dict[str, Any]
) -> None:
    """Exports hold exactly the rows that may leave: none forbidden, none forgotten."""
    store = lakes.lake(raw)
    report = lakes.run(store, **options)
    seen = look(raw)
    check_all(store, seen, options)
    check_accounts(store, report.exports)
    partial = options["include_partial"]
    # SFT: of every answer that may train, one row, and one with the best verdict it got.
    out = {n for n, row in seen.items() if row.secret and options["on_secret"] == "drop"}
    may = _firsts(
        {n for n, row in seen.items() if may_train(row, seen, partial=partial)} - out, seen
    )
    kept = {row.content: row for row in check_sft(store, seen, partial)}
    assert kept.keys() == may.keys()
    for content, group in may.items():
        assert kept[content].category == max((row.category for row in group), key=RANK.__getitem__)
    # Preference: what has a verdict is in a pair, alone, or has an equal; and pairs are made.
    paired, single = check_pairs(store, seen, options["max_pairs"])
    by_prompt: dict[Any, list[Seen]] = defaultdict(list)
    for row in seen.values():
        praised = any(same(row, other) and RANK.get(other.category, 0) for other in seen.values())
        clash = praised if row.category == "rejected" else conflicted(row, seen)
        if row.instructable and row.category in RANK and not clash and row.name not in out:
            by_prompt[row.task, row.prompt, row.tools].append(row)
    tasks: Counter[str] = Counter(row["task_id"] for row in lakes.loaded(store, PAIRS))
    alone: set[Any] = set()
    for (task, _, _), group in by_prompt.items():
        best: dict[Any, Seen] = {}
        for row in group:
            if row.answer not in best or RANK[row.category] > RANK[best[row.answer].category]:
                best[row.answer] = row
        names = {row.name for row in group}
        if len({row.category for row in best.values()}) > 1:
            assert tasks[task] == options["max_pairs"] or names & paired
            assert not names & single
        else:
            assert not names & paired
            alone |= {row.content for row in best.values() if row.category != "partially_accepted"}
    assert {seen[name].content for name in single} == alone
    # RAG: of every text that may be shown, one row.
    shown = {"accepted", "partially_accepted"}
    if options["include_review"]:
        shown.add("needs_human_review")
    free = {
        name
        for name, row in seen.items()
        if row.said is not None
        and row.category in shown
        and name not in out
        and not any(
            same_text(row, other)
            and speaks_against(other)
            and (other.category == "rejected" or not options["include_review"])
            for other in seen.values()
        )
    }
    chunked = check_rag(store, seen, options["include_review"])
    assert {seen[name].shown for name in chunked} == {seen[name].shown for name in free}
    assert len(chunked) == len({seen[name].shown for name in chunked})


@settings(max_examples=40)
@given(raw=crowded_lakes() | raw_lakes(), options=OPTIONS)
def test_the_same_lake_gives_the_same_bytes(raw: Lake, options: dict[str, Any]) -> None:
    """Deterministic, whether in one pass, stage by stage, or a second time."""
    one, two = lakes.distilled(raw, **options), lakes.lake(raw)
    lakes.run(two)
    lakes.export(two, **options)
    folders = ("evidence", "scored-runs", "distilled", "quarantine")
    first = lakes.files(one, *folders)
    assert lakes.files(two, *folders) == first
    report = lakes.run(one, at=lakes.LATER, **options)
    assert report.unchanged == list(KINDS)
    assert lakes.files(one, *folders) == first


@settings(max_examples=80)
@given(before=crowded_lakes(), raw=crowded_lakes(), options=OPTIONS)
def test_a_lake_whose_logs_changed_is_as_one_that_never_had_others(
    before: Lake, raw: Lake, options: dict[str, Any]
) -> None:
    """Nothing of what a log said once stays in any export (L2)."""
    stems = before.keys() | raw.keys()
    old = {stem: before.get(stem) or raw[stem] for stem in stems}
    new = {stem: raw.get(stem) or before[stem] for stem in stems}
    store, fresh = lakes.distilled(old, **options), lakes.distilled(new, **options)
    lakes.pour(store, new)
    lakes.run(store, **options)
    folders = ("evidence", "scored-runs", "distilled", "quarantine")
    assert lakes.files(store, *folders) == lakes.files(fresh, *folders)


# --------------------------------------------------------------------------- the damage

# The plain lie is told most often: only scoring again finds it out.
CATEGORIES_ODD = (
    *["accepted"] * 6,
    "ACCEPTED",
    " accepted ",
    "accepted\u00a0",
    "aceptado",
    "partially_accepted",
    "",
)


def _pick_line(store: Store, pick: Pick, root: str) -> tuple[str, int, bytes] | None:
    found = [path for path in lakes.paths(store, root) if lakes.lines(store, path)]
    if not found:
        return None
    path = pick(st.sampled_from(found))
    lines = [n for n, line in enumerate(store.read(path).splitlines()) if _is_object(line)]
    if not lines:
        return None
    number = pick(st.sampled_from(lines))
    return path, number, store.read(path).splitlines()[number]


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict) and len(json.loads(line)) > 1
    except ValueError:
        return False


def _rewrite(store: Store, path: str, lines: list[bytes]) -> None:
    lakes.put(store, path, lakes.join_lines(lines))


def relabel(store: Store, pick: Pick) -> None:
    """Another category in a scored line, spelt in some way."""
    if at := _pick_line(store, pick, "scored-runs"):
        row = json.loads(at[2])
        row["category"] = pick(st.sampled_from(CATEGORIES_ODD))
        lakes.edit(store, at[0], {at[1]: msgspec.json.encode(row)})


def repeat_key(store: Store, pick: Pick) -> None:
    """A category beside the category."""
    if at := _pick_line(store, pick, "scored-runs"):
        more = b'"category":"accepted"'
        line = (
            at[2][:-1] + b"," + more + b"}"
            if pick(st.booleans())
            else b"{" + more + b"," + at[2][1:]
        )
        lakes.edit(store, at[0], {at[1]: line})


def swap(store: Store, pick: Pick) -> None:
    """Two lines change places, in one file or between two."""
    root = pick(st.sampled_from(["scored-runs", "evidence"]))
    one, two = _pick_line(store, pick, root), _pick_line(store, pick, root)
    if one and two:
        lakes.edit(store, one[0], {one[1]: two[2]})
        lakes.edit(store, two[0], {two[1]: one[2]})


def delete_line(store: Store, pick: Pick) -> None:
    """A line goes."""
    if at := _pick_line(store, pick, pick(st.sampled_from(["scored-runs", "evidence"]))):
        lakes.edit(store, at[0], {at[1]: None})


def forget(store: Store, pick: Pick) -> None:
    """A run goes from evidence and scored runs alike, or a whole file does."""
    if at := _pick_line(store, pick, "evidence"):
        scored = at[0].replace("evidence/", "scored-runs/", 1)
        if pick(st.booleans()):
            store.delete(at[0])
            store.delete(scored)
            return
        lakes.edit(store, at[0], {at[1]: None})
        sig = lakes.digest(at[2]).encode()
        _rewrite(store, scored, [line for line in lakes.lines(store, scored) if sig not in line])


def repeat_line(store: Store, pick: Pick) -> None:
    """A line stands twice."""
    if at := _pick_line(store, pick, pick(st.sampled_from(["scored-runs", "evidence"]))):
        _rewrite(store, at[0], [*lakes.lines(store, at[0]), at[2]])


def paste(store: Store, pick: Pick) -> None:
    """A run's two lines stand in another day, or under another stem, too."""
    if (at := _pick_line(store, pick, "evidence")) is None:
        return
    sig = lakes.digest(at[2]).encode()
    source = at[0].replace("evidence/", "scored-runs/", 1)
    scored = [line for line in lakes.lines(store, source) if sig in line]
    stem, day = pick(st.sampled_from(sorted(SIGNALS))), pick(st.sampled_from(["02", "03"]))
    place = f"2026/03/{day}/{stem}.jsonl"
    for root, lines in (("evidence", [at[2]]), ("scored-runs", scored)):
        path = f"{root}/{place}"
        _rewrite(store, path, [*lakes.lines(store, path), *lines])


def edit_scored(store: Store, pick: Pick) -> None:
    """Reasons, hash, provenance, or the run's name are others."""
    if at := _pick_line(store, pick, "scored-runs"):
        row = json.loads(at[2])
        other = _pick_line(store, pick, "evidence")
        name, value = pick(
            st.sampled_from(
                [
                    ("reasons", ["because I say so"]),
                    ("reasons", []),
                    ("sig_hash", lakes.digest(other[2]) if other else "0" * 64),
                    ("sig_hash", "no hash"),
                    ("provenance", row["provenance"] | {"source_file": "_kb/scrum_reviews.jsonl"}),
                    ("provenance", row["provenance"] | {"line_offset": 0}),
                    ("evidence_run_id", "another"),
                    ("scorer_version", "v9"),
                ]
            )
        )
        row[name] = value
        lakes.edit(store, at[0], {at[1]: msgspec.json.encode(row)})


EVIDENCE_EDITS: list[Row] = [
    {"text": "Yes."},
    {"text": "something else"},
    {"human_override": {"decision": "accept"}},
    {"model_role": "executor"},
    {"model_role": "extractor"},
    {"task_id": "t1"},
    {"messages": None},
    {"messages": [{"role": "user", "content": "Why?"}]},
    {"observer_verdict": "accept", "failure_markers": []},
    {"validation_results": {"accepted_on_attempt": 1, "action": "committed", "overall": "approve"}},
    {"validation_results": {"validator.v": True, "event.1.e": True}},
    {"metadata": {"odd": True}},
    {"provenance": {"source_file": "_kb/outcomes.jsonl"}},
    {"provenance": {"source_file": "data/_kb/scrum_reviews.jsonl"}},
    {"provenance": {"line_offset": 10**30}},
    {"run_id": ""},
]


def edit_evidence(store: Store, pick: Pick) -> None:
    """Evidence says something else; the scored run is left, or forged to fit."""
    if (at := _pick_line(store, pick, "evidence")) is None:
        return
    row = json.loads(at[2])
    for name, value in pick(st.sampled_from(EVIDENCE_EDITS)).items():
        row[name] = row[name] | value if name == "provenance" else value
    line = msgspec.json.encode(row)
    lakes.edit(store, at[0], {at[1]: line})
    if pick(st.booleans()):
        _forge(store, at[0], at[2], line)


def _forge(store: Store, path: str, old: bytes, new: bytes) -> None:
    """Make the scored run of an evidence line that of another line, as the rules have it."""
    scored = path.replace("evidence/", "scored-runs/", 1)
    try:
        record = decode(new, EvidenceRecord)
    except RecordError:
        return
    run = encode(build_scored_run(record, lakes.digest(new), record.provenance.recorded_at))
    sig = lakes.digest(old).encode()
    _rewrite(store, scored, [run if sig in line else line for line in lakes.lines(store, scored)])


def replay(store: Store, pick: Pick) -> None:
    """Files of a time when the raw log said otherwise, or of another run, come back."""
    past = lakes.lake(
        {
            path[4:-6]: [
                json.loads(line) | pick(st.sampled_from([{}, {"human_override": "accept"}]))
                for line in lakes.lines(store, path)
            ]
            for path in lakes.paths(store, "_kb")
        }
    )
    lakes.run(past, at=pick(st.sampled_from([lakes.NOW, lakes.LATER])))
    roots = pick(st.sampled_from([["scored-runs"], ["evidence", "scored-runs"]]))
    for path, data in lakes.files(past, *roots).items():
        lakes.put(store, path, data)


def respell(store: Store, pick: Pick) -> None:
    """CRLF, blank lines, a byte order mark, or another program's JSON."""
    if at := _pick_line(store, pick, pick(st.sampled_from(["scored-runs", "evidence"]))):
        data = store.read(at[0])
        how = pick(st.integers(0, 3))
        if how == 0:
            data = data.replace(b"\n", b"\r\n")
        elif how == 1:
            data = b"\n" + data.replace(b"\n", b"\n\n")
        elif how == 2:
            data = b"\xef\xbb\xbf" + data
        else:
            data = lakes.join_lines(map(_other_spelling, data.splitlines()))
        lakes.put(store, at[0], data)


def _other_spelling(line: bytes) -> bytes:
    try:
        return json.dumps(json.loads(line)).encode()
    except ValueError:
        return line


def garble(store: Store, pick: Pick) -> None:
    """A line that is no record."""
    if at := _pick_line(store, pick, pick(st.sampled_from(["scored-runs", "evidence"]))):
        line = pick(st.sampled_from([at[2][: len(at[2]) // 2], b"[]", b"\xff", b'{"sig_hash":7}']))
        lakes.edit(store, at[0], {at[1]: line})


def lose_state(store: Store, pick: Pick) -> None:
    """The program's own notes are gone, or one of them is not what it was."""
    notes = lakes.paths(store, ".stillhouse")
    how = pick(st.integers(0, 2))
    if how == 0:
        for path in [*notes, *lakes.paths(store, "receipts")]:
            store.delete(path)
    elif how == 1 and notes:
        store.delete(pick(st.sampled_from(notes)))
    else:
        indexes = [path for path in notes if path.endswith(".idx")]
        if indexes:
            path = pick(st.sampled_from(indexes))
            data = bytearray(store.read(path))
            data[pick(st.integers(0, len(data) - 1))] ^= 0xFF
            lakes.put(store, path, bytes(data))


def lose_log(store: Store, pick: Pick) -> None:
    """A raw log is gone."""
    if logs := lakes.paths(store, "_kb"):
        store.delete(pick(st.sampled_from(logs)))


DAMAGE = (
    lose_log,
    relabel,
    relabel,
    repeat_key,
    swap,
    delete_line,
    forget,
    repeat_line,
    paste,
    edit_scored,
    edit_evidence,
    replay,
    respell,
    garble,
    lose_state,
)


@settings(
    max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(raw=crowded_lakes() | raw_lakes(), first=OPTIONS, options=OPTIONS, data=st.data())
def test_no_damage_lets_a_forbidden_row_out(
    raw: Lake, first: dict[str, Any], options: dict[str, Any], data: st.DataObject
) -> None:
    """Whatever is done to the derived files, `export` keeps every law, and counts add up."""
    store = lakes.distilled(raw, **first)
    for damage in data.draw(st.lists(st.sampled_from(DAMAGE), min_size=1, max_size=3)):
        damage(store, data.draw)
    kinds = tuple(data.draw(st.lists(st.sampled_from(KINDS), min_size=1, unique=True)))
    report = lakes.export(store, *kinds, **options)
    seen = look(raw)
    check_all(store, seen, options, kinds)
    check_accounts(store, report.exports)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(raw=crowded_lakes() | raw_lakes(), options=OPTIONS, data=st.data())
def test_running_again_mends_all_damage(
    raw: Lake, options: dict[str, Any], data: st.DataObject
) -> None:
    """After `run` a damaged lake has the bytes of one that nobody touched."""
    store = lakes.distilled(raw, **options)
    folders = ("evidence", "scored-runs", "distilled", "quarantine")
    before = lakes.files(store, *folders)
    damages = [damage for damage in DAMAGE if damage not in (paste, lose_state, swap, lose_log)]
    for damage in data.draw(st.lists(st.sampled_from(damages), min_size=1, max_size=3)):
        damage(store, data.draw)
    lakes.run(store, at=lakes.LATER, **options)
    assert lakes.files(store, *folders) == before
