"""Rows of the dataset folder: their columns, their tool calls, lineage, splits, card."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.exports.card import data_path, dataset_card, lineage_path
from stillhouse.exports.columns import COLUMNS, to_parquet
from stillhouse.exports.dataset import (
    Form,
    Split,
    arguments_text,
    characters,
    flat,
    lineage_row,
    preference_row,
    rag_row,
    sft_row,
    shape,
    unpaired_row,
)
from stillhouse.exports.llama_factory import (
    llama_factory_info,
    llama_factory_preference_row,
    llama_factory_sft_row,
    llama_factory_unpaired_row,
)
from stillhouse.exports.stats import DatasetStats, Lengths
from stillhouse.records import (
    FunctionCall,
    Message,
    PreferenceSample,
    Provenance,
    RagChunk,
    SftSample,
    ToolCall,
)

ASK = [Message(role="user", content="Which way?")]
SAY = [Message(role="assistant", content="Left.")]
LIE = [Message(role="assistant", content="Right.")]
TOOLS = [{"type": "function", "function": {"name": "turn"}}]
TIME = "2026-01-31T12:00:00Z"


def _call(arguments: Any, content: str | None = None) -> list[Message]:
    call = ToolCall(id="c1", function=FunctionCall(name="turn", arguments=arguments))
    return [
        Message(role="assistant", content=content, tool_calls=[call]),
        Message(role="tool", content="turned", tool_call_id="c1", name="turn"),
        Message(role="assistant", content="Done."),
    ]


def _at(line: int) -> Provenance:
    return Provenance(
        source_file="_kb/outcomes.jsonl",
        line_offset=line,
        sig_hash=f"{line:064x}",
        recorded_at=TIME,
    )


CHUNK = RagChunk(
    id="rag-1",
    text="Left.",
    chunk=0,
    chunks=1,
    start=0,
    end=5,
    source_stem="outcomes",
    task_id="t",
    source_run_id="r",
    category="partially_accepted",
    created_at=TIME,
    provenance=_at(4),
)


def test_rows_have_the_columns_of_their_config() -> None:
    """Every row of a config has the same columns, tools or not."""
    for tools in (None, [], TOOLS):
        assert list(json.loads(sft_row(ASK, SAY, tools))) == list(COLUMNS["sft"])
        pair = preference_row(ASK, SAY, LIE, tools)
        assert list(json.loads(pair)) == list(COLUMNS["preference"])
        single = unpaired_row(ASK, SAY, True, tools)
        assert list(json.loads(single)) == list(COLUMNS["unpaired"])
    assert list(json.loads(rag_row(CHUNK))) == list(COLUMNS["rag"])


def test_rows_of_each_config_hold_what_they_were_given() -> None:
    """The whole row, as it stands in the file."""
    ask, say, lie = (
        {"role": "user", "content": "Which way?"},
        {"role": "assistant", "content": "Left."},
        {"role": "assistant", "content": "Right."},
    )
    tools = '[{"type":"function","function":{"name":"turn"}}]'
    assert json.loads(sft_row(ASK, SAY, TOOLS)) == {"messages": [ask, say], "tools": tools}
    assert json.loads(preference_row(ASK, SAY, LIE, None)) == {
        "prompt": [ask],
        "chosen": [say],
        "rejected": [lie],
        "tools": None,
    }
    assert json.loads(unpaired_row(ASK, LIE, False, None)) == {
        "prompt": [ask],
        "completion": [lie],
        "label": False,
        "tools": None,
    }
    assert json.loads(rag_row(CHUNK)) == {
        "id": "rag-1",
        "text": "Left.",
        "source": "outcomes",
        "task_id": "t",
        "category": "partially_accepted",
    }


def test_content_is_always_a_string() -> None:
    """Null becomes empty, text parts are joined."""
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]
    row = json.loads(sft_row([Message(role="user", content=parts)], _call({}), None))
    assert [message["content"] for message in row["messages"]] == ["a\nb", "", "turned", "Done."]


def test_a_message_has_only_the_keys_that_it_has_values_for() -> None:
    """No null and no empty list: templates ask whether the key is there."""
    messages = json.loads(sft_row(ASK, _call({}), None))["messages"]
    assert [list(message) for message in messages] == [
        ["role", "content"],
        ["role", "content", "tool_calls"],
        ["role", "content", "tool_call_id", "name"],
        ["role", "content"],
    ]
    nothing: list[dict[str, Any]] = [{"tool_calls": []}, {"tool_call_id": ""}, {"name": ""}]
    for empty in nothing:
        message = Message(role="assistant", content="x", **empty)
        assert json.loads(flat([message])) == [{"role": "assistant", "content": "x"}]


def test_a_developers_message_is_a_systems() -> None:
    """Templates know no developer, and some drop what they do not know."""
    assert json.loads(flat([Message(role="developer", content="x")]))[0]["role"] == "system"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"b": 1, "a": 2.50}', '{"b": 1, "a": 2.50}'),
        ({"b": 1, "a": [None]}, '{"b":1,"a":[null]}'),
        ("", "{}"),
        (" ", "{}"),
        (None, "{}"),
        ("[1]", "[1]"),
        ("{broken", '"{broken"'),
        ("NaN", '"NaN"'),
        ('{"n": 9223372036854775807}', '{"n": 9223372036854775807}'),
        ('{"n": 9223372036854775808}', '"{\\"n\\": 9223372036854775808}"'),
        ({"n": -(2**70)}, '"{\\"n\\":-1180591620717411303424}"'),
        ("[" * 100 + "]" * 100, "[" * 100 + "]" * 100),
        ("[" * 101 + "]" * 101, '"' + "[" * 101 + "]" * 101 + '"'),
        ("[" * 9999 + "]" * 9999, '"' + "[" * 9999 + "]" * 9999 + '"'),
    ],
)
def test_arguments_are_always_json_that_loaders_can_read(arguments: Any, text: str) -> None:
    """Good JSON stays as it was written; the rest is kept as a JSON string."""
    assert arguments_text(arguments) == text


@pytest.mark.parametrize(
    ("form", "arguments", "tools"),
    [
        ("strings", '{\n "x": 1}', '[{"type":"function","function":{"name":"turn"}}]'),
        ("objects", {"x": 1}, TOOLS),
        ("openai", '{\n "x": 1}', TOOLS),
    ],
)
def test_tool_calls_and_tools_stand_as_the_form_says(
    form: Form, arguments: Any, tools: Any
) -> None:
    """Strings, values, or the mixture that fine-tuning services take; one line each."""
    line = sft_row(ASK, _call('{\n "x": 1}'), TOOLS, form)
    assert b"\n" not in line
    row = json.loads(line)
    (call,) = row["messages"][1]["tool_calls"]
    assert call == {
        "id": "c1",
        "type": "function",
        "function": {"name": "turn", "arguments": arguments},
    }
    assert row["tools"] == tools


def test_services_get_no_tools_where_there_are_none() -> None:
    """An empty list or null is an error there; elsewhere the column is never missing."""
    assert "tools" not in json.loads(sft_row(ASK, SAY, None, "openai"))
    assert json.loads(sft_row(ASK, SAY, [], "objects"))["tools"] is None


def test_equal_turns_are_flat_alike() -> None:
    """What a trainer cannot tell apart is equal, whatever its spelling in the log."""
    parts = [Message(role="assistant", content=[{"type": "text", "text": "Left."}])]
    assert flat(parts) == flat(SAY)
    assert flat(_call({"x": 1})) == flat(_call('{"x":1}'))
    assert flat(SAY) != flat(LIE)


def test_characters_are_those_a_model_reads_or_writes() -> None:
    """Words, names of functions and arguments count, keys do not."""
    assert characters(_call({"x": 1})) == len('turn{"x":1}turnedDone.')


def test_a_shape_has_a_bit_for_every_optional_key_of_every_column() -> None:
    """Two rows of one shape show the same keys in the same columns."""
    call, result = _call({})[:1], _call({})[1:2]
    shapes = [
        shape(ASK, SAY, tools=None),
        shape(ASK, SAY, tools=TOOLS),
        shape(call, SAY, tools=None),
        shape(result, SAY, tools=None),
        shape(ASK, call, tools=None),
        shape(ASK, result, tools=None),
    ]
    assert shapes[0] == 0
    assert len(set(shapes)) == len(shapes)
    assert shape([*call, *result], SAY, tools=None) == shapes[2] | shapes[3]
    assert [each.bit_count() for each in shapes] == [0, 1, 1, 2, 1, 2]


def test_lineage_names_every_side_of_a_row() -> None:
    """The chosen side first; the same keys for every kind of row."""
    sample = SftSample(
        id="sft-1",
        instruction="i",
        context="c",
        response="r",
        source_run_id="run",
        category="accepted",
        created_at=TIME,
        provenance=_at(1),
    )
    pair = PreferenceSample(
        id="pref-1",
        task_id="t",
        prompt=ASK,
        chosen=SAY,
        rejected=LIE,
        pair_reason="accepted over rejected",
        chosen_run_id="good",
        rejected_run_id="bad",
        chosen_category="accepted",
        rejected_category="rejected",
        created_at=TIME,
        provenance=_at(2),
        rejected_provenance=_at(3),
    )
    first = json.loads(lineage_row(sample, "task", sample.context))
    second = json.loads(lineage_row(pair, "t"))
    assert list(first) == list(second) == list(json.loads(lineage_row(CHUNK, "t")))
    assert first == {
        "id": "sft-1",
        "task_id": "task",
        "origins": [
            {
                "source": "outcomes",
                "run_id": "run",
                "category": "accepted",
                "source_file": "_kb/outcomes.jsonl",
                "line_offset": 1,
                "sig_hash": f"{1:064x}",
            }
        ],
        "context": "c",
        "reason": "",
    }
    assert second["reason"] == "accepted over rejected"
    assert [(o["run_id"], o["category"], o["line_offset"]) for o in second["origins"]] == [
        ("good", "accepted", 2),
        ("bad", "rejected", 3),
    ]


# ---------------------------------------------------------------------------- counters


@given(st.lists(st.integers(0, 10**7), min_size=1), st.sampled_from([0.01, 0.5, 0.95, 1.0]))
def test_a_quantile_is_at_most_an_eighth_too_high(lengths: list[int], share: float) -> None:
    """Fixed buckets: never below the exact quantile, and close above it."""
    histogram = Lengths()
    for length in lengths:
        histogram.add(length)
    place = next(n for n in range(1, len(lengths) + 1) if n >= share * len(lengths))
    exact = sorted(lengths)[place - 1]
    assert exact <= histogram.quantile(share) <= exact + exact // 8


@given(st.lists(st.integers(0, 10**6)), st.integers(0, 20))
def test_counters_of_workers_add_up(lengths: list[int], cut: int) -> None:
    """Counting apart and merging is counting together."""
    parts = (lengths[:cut], lengths[cut:], lengths)
    first, second, whole = (_stats(part) for part in parts)
    first.merge(second)
    assert first == whole


def _stats(lengths: list[int]) -> DatasetStats:
    stats = DatasetStats()
    if lengths:
        stats.refused, stats.redacted = {"duplicate": len(lengths)}, {"aws": len(lengths)}
    for length in lengths:
        split: Split = "train" if length % 2 else "test"
        stats.add("rag", split, f"s{length % 3}", "accepted", b"x" * 9, [], "y" * (length % 50))
    return stats


def test_a_quantile_is_the_upper_edge_of_its_bucket() -> None:
    """Exact below 16, then eight buckets a doubling; never past the longest."""
    for length, edge in ((0, 0), (15, 15), (16, 17), (31, 31), (32, 35), (1000, 1023)):
        histogram = Lengths()
        histogram.add(length)
        assert histogram.quantile(1) == length
        histogram.add(10**6)
        assert histogram.quantile(0.5) == edge
    assert Lengths().quantile(0.5) == 0


# -------------------------------------------------------------------------------- card


def _small() -> DatasetStats:
    stats = DatasetStats(refused={"duplicate": 1200, "invalid": 0}, redacted={"aws_key": 3})
    stats.add("sft", "train", "out|comes", "accepted", b"12345", ASK, SAY)
    stats.add("sft", "test", "audits", "accepted", b"12345", ASK, _call({}))
    stats.add("rag", "train", "audits", "accepted", b"123", [], "Left.")
    stats.split("preference", "train")
    return stats


def test_the_card_warns_of_calls_of_tools_that_nobody_announced() -> None:
    """A log that does not hold the tools gives rows that a template shows badly."""
    assert "1 rows call tools, and their logs do not say which" in dataset_card(_small())
    stats = DatasetStats()
    stats.add("sft", "train", "audits", "accepted", b"1", ASK, _call({}), declared=True)
    assert "call tools, and" not in dataset_card(stats)


def test_the_front_matter_names_only_files_that_hold_rows() -> None:
    """Configs and splits with their sizes; an empty one would make the loader fail."""
    yaml = pytest.importorskip("yaml")
    front = yaml.safe_load(dataset_card(_small()).split("---\n")[1])
    assert front["configs"] == [
        {
            "config_name": "sft",
            "default": True,
            "data_files": [
                {"split": "train", "path": data_path("sft", "train")},
                {"split": "test", "path": data_path("sft", "test")},
            ],
        },
        {
            "config_name": "rag",
            "data_files": [{"split": "train", "path": data_path("rag", "train")}],
        },
    ]
    assert [info["splits"] for info in front["dataset_info"]] == [
        [
            {"name": "train", "num_bytes": 6, "num_examples": 1},
            {"name": "test", "num_bytes": 6, "num_examples": 1},
        ],
        [{"name": "train", "num_bytes": 4, "num_examples": 1}],
    ]
    assert front["task_categories"] == ["text-generation", "text-retrieval"]
    assert front["size_categories"] == ["n<1K"]
    assert "license" not in front
    assert lineage_path("sft", "train") == "sft/train-lineage.jsonl"


def test_the_body_counts_by_source_category_and_reason() -> None:
    """What a person asks first, each in a table; a bar in a name breaks none."""
    body = dataset_card(_small(), made_by="Stillhouse 1.0").split("---\n", 2)[2]
    for line in (
        "| sft | test | 1 | 6 | 1 |",
        "| sft | source | audits | 1 |",
        "| sft | source | out&#124;comes | 1 |",
        "| sft | category | accepted | 2 |",
        "| sft | prompt | 20 | 5 | 10 | 10 | 10 |",
        "| rag | text | 5 | 1 | 5 | 5 | 5 |",
        "| duplicate | 1,200 |",
        "| aws_key | 3 |",
        'rag = load_dataset("path/to/this/folder", "rag")',
    ):
        assert line in body.splitlines()
    assert "by Stillhouse 1.0" in body
    assert "invalid" not in body
    assert "preference" not in body


def test_a_card_of_nothing_says_so() -> None:
    """No configs, no tables, and still a card."""
    yaml = pytest.importorskip("yaml")
    card = dataset_card(DatasetStats())
    assert set(yaml.safe_load(card.split("---\n")[1])) == {"size_categories"}
    assert "No row was fit for export." in card


@pytest.mark.parametrize(
    ("rows", "name"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (10**8, "100M<n<1B"), (10**9, "n>1B")],
)
def test_size_categories_are_the_hubs(rows: int, name: str) -> None:
    """The hub knows these names and no others."""
    stats = DatasetStats()
    stats.split("rag", "train").rows = rows
    assert f"size_categories:\n- {name}\n" in dataset_card(stats)


# ------------------------------------------------------------------------ LLaMA-Factory


def test_llama_factory_rows_hold_calls_as_turns_of_their_own() -> None:
    """A call is JSON text in a function_call turn, with its arguments as an object; results
    in a row are one turn."""
    answer = _call('{"x": 1}')
    row = json.loads(llama_factory_sft_row(ASK, [*answer[:2], *answer[1:]], TOOLS))
    assert [turn["role"] for turn in row["messages"]] == [
        "user",
        "function_call",
        "tool",
        "assistant",
    ]
    assert json.loads(row["messages"][1]["content"]) == [{"name": "turn", "arguments": {"x": 1}}]
    assert row["messages"][2]["content"] == "turned\n</tool_response>\n<tool_response>\nturned"
    assert json.loads(row["tools"]) == TOOLS
    system = json.loads(llama_factory_sft_row([Message(role="developer")], SAY, None))
    assert system["messages"][0] == {"role": "system", "content": ""}
    assert system["tools"] == "[]"


def test_llama_factory_pairs_have_one_turn_a_side() -> None:
    """A longer answer does not fit its layout."""
    row = llama_factory_preference_row(ASK, SAY, LIE, None)
    assert row is not None
    assert json.loads(row) == {
        "messages": [{"role": "user", "content": "Which way?"}],
        "chosen": {"role": "assistant", "content": "Left."},
        "rejected": {"role": "assistant", "content": "Right."},
        "tools": "[]",
    }
    assert llama_factory_preference_row(ASK, _call({}), LIE, None) is None
    assert llama_factory_preference_row(ASK, SAY, _call({}), None) is None


def test_llama_factory_labels_stand_beside_the_whole_conversation() -> None:
    """KTO takes the last turn as the answer."""
    row = json.loads(llama_factory_unpaired_row(ASK, LIE, False, None))
    assert [turn["content"] for turn in row["messages"]] == ["Which way?", "Right."]
    assert row["kto_tag"] is False


def test_llama_factory_info_lists_the_files_it_can_read() -> None:
    """Without its own rows only `sft`; with them pairs and labels too, never chunks."""
    stats = _small()
    stats.add("preference", "train", "audits", "accepted", b"1", ASK, SAY)
    stats.add("unpaired", "train", "audits", "accepted", b"1", ASK, SAY)
    plain = json.loads(llama_factory_info(stats))
    assert list(plain) == ["stillhouse_sft_train", "stillhouse_sft_test"]
    entry = plain["stillhouse_sft_train"]
    assert (entry["file_name"], entry["formatting"]) == (data_path("sft", "train"), "openai")
    own = json.loads(llama_factory_info(stats, native=True))
    assert own["stillhouse_preference_train"] == {
        "file_name": "llama_factory/preference-train.jsonl",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {
            "messages": "messages",
            "tools": "tools",
            "chosen": "chosen",
            "rejected": "rejected",
        },
        "tags": entry["tags"],
    }
    assert own["stillhouse_unpaired_train"]["columns"]["kto_tag"] == "kto_tag"
    assert len(own) == 4


# ----------------------------------------------------------------------------- Parquet


def test_parquet_is_the_same_bytes_for_the_same_rows() -> None:
    """Deterministic, with the types of the table whatever the rows show."""
    pq = pytest.importorskip("pyarrow.parquet")
    lines = [sft_row(ASK, SAY, None), sft_row(ASK, _call({"x": 1}), TOOLS)]
    first, second, plain = io.BytesIO(), io.BytesIO(), io.BytesIO()
    assert to_parquet(lines, first, "sft") == 2
    to_parquet(iter(lines), second, "sft")
    to_parquet(lines[:1], plain, "sft")
    assert first.getvalue() == second.getvalue()
    assert pq.read_schema(plain) == pq.read_schema(first)
    (call,) = pq.read_table(first).to_pylist()[1]["messages"][1]["tool_calls"]
    assert call["function"] == {"name": "turn", "arguments": '{"x":1}'}
    objects = io.BytesIO()
    to_parquet([sft_row(ASK, _call({"x": 1}), TOOLS, "objects")], objects, "sft", "objects")
    assert pq.read_table(objects).to_pylist() == pq.read_table(first).to_pylist()[1:]


def test_parquet_is_written_in_pieces() -> None:
    """A row group holds about 8 MB of lines, so memory is bounded at any size."""
    pq = pytest.importorskip("pyarrow.parquet")
    long = rag_row(RagChunk(**{**_fields(CHUNK), "text": "x" * (3 << 20)}))
    sink = io.BytesIO()
    assert to_parquet([long] * 7, sink, "rag") == 7
    groups = pq.ParquetFile(sink).metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [3, 3, 1]


def _fields(chunk: RagChunk) -> dict[str, Any]:
    return {name: getattr(chunk, name) for name in chunk.__struct_fields__}
