"""The dataset folder in the hands of real loaders and trainers, all of them offline."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillhouse.exports.card import data_path, dataset_card
from stillhouse.exports.columns import COLUMNS, to_parquet
from stillhouse.exports.dataset import (
    Config,
    Form,
    Split,
    preference_row,
    rag_row,
    sft_row,
    shape,
    unpaired_row,
)
from stillhouse.exports.stats import DatasetStats
from stillhouse.records import FunctionCall, Message, Provenance, RagChunk, ToolCall

os.environ["HF_HUB_OFFLINE"] = "1"
datasets = pytest.importorskip("datasets", "4.7", reason="needs the extra `datasets`")

AT = Provenance(
    source_file="_kb/outcomes.jsonl",
    line_offset=0,
    sig_hash="0" * 64,
    recorded_at="2026-01-31T12:00:00Z",
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "book",
            "description": "Book a seat.",
            "parameters": {"type": "object", "properties": {"flight": {"type": "string"}}},
        },
    },
    {"type": "function", "function": {"name": "count", "parameters": {"type": "object"}}},
]
CALLS = [("book", '{"flight": "SK 12", "seats": [1, 2]}'), ("count", '{"of": {"bags": 3.5}}')]


class Row(NamedTuple):
    """One row to be: its prompt, a good and a bad answer, its tools."""

    prompt: list[Message]
    good: list[Message]
    bad: list[Message]
    tools: list[Any] | None


def _plain(number: int, words: str = "") -> Row:
    return Row(
        [Message(role="user", content=f"What is {number} and one? {words}")],
        [Message(role="assistant", content=f"It is {number + 1}.")],
        [Message(role="assistant", content="I would rather not say.")],
        None,
    )


def _with_tools(number: int) -> Row:
    name, arguments = CALLS[number % len(CALLS)]
    call = ToolCall(id=f"call_{number}", function=FunctionCall(name=name, arguments=arguments))
    return Row(
        [
            Message(role="developer", content="You help at an airport."),
            Message(role="user", content=[{"type": "text", "text": "Two seats, please."}]),
        ],
        [
            Message(role="assistant", content=None, tool_calls=[call]),
            Message(role="tool", content="done", tool_call_id=call.id),
            Message(role="assistant", content="You have two seats."),
        ],
        [Message(role="assistant", content="No.")],
        TOOLS,
    )


def _line(config: Config, row: Row, number: int, form: Form) -> bytes:
    if config == "sft":
        return sft_row(row.prompt, row.good, row.tools, form)
    if config == "preference":
        return preference_row(row.prompt, row.good, row.bad, row.tools, form)
    if config == "unpaired":
        label = number % 2 == 0
        return unpaired_row(row.prompt, row.good if label else row.bad, label, row.tools, form)
    chunk = RagChunk(
        id=f"rag-{number}",
        text=row.good[-1].text(),
        chunk=0,
        chunks=1,
        start=0,
        end=9,
        source_stem="outcomes",
        task_id=f"task-{number}",
        source_run_id="run",
        category="accepted",
        created_at=AT.recorded_at,
        provenance=AT,
    )
    return rag_row(chunk)


def _write(
    folder: Path,
    files: dict[tuple[Config, Split], list[Row]],
    form: Form = "strings",
    parquet: bool = False,
) -> Path:
    """A dataset folder as the exporter lays it out; a file without rows is not written."""
    stats = DatasetStats()
    for (config, split), rows in files.items():
        lines = [_line(config, row, number, form) for number, row in enumerate(rows)]
        for line, row in zip(lines, rows, strict=True):
            stats.add(config, split, "outcomes", "accepted", line, row.prompt, row.good)
        if lines:
            path = folder / data_path(config, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\n".join(lines) + b"\n")
            if parquet:
                with path.with_suffix(".parquet").open("wb") as sink:
                    assert to_parquet(lines, sink, config, form) == len(lines)
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(dataset_card(stats, form=form, parquet=parquet))
    return folder


def _all(rows: list[Row]) -> dict[tuple[Config, Split], list[Row]]:
    return {(config, "train"): rows for config in COLUMNS} | {
        (config, "validation"): rows[-2:] for config in COLUMNS
    }


ROWS = [*map(_plain, range(6)), *map(_with_tools, range(4))]


Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load_dataset` with its cache in a folder of the test's own."""

    def load(path: str | Path, *args: Any, **options: Any) -> Any:
        return datasets.load_dataset(str(path), *args, cache_dir=str(tmp_path / "cache"), **options)

    return load


def _without_gaps(value: Any) -> Any:
    """A row as it was written: Arrow gives every message every key."""
    if isinstance(value, dict):
        return {key: _without_gaps(item) for key, item in value.items() if item is not None}
    return [_without_gaps(item) for item in value] if isinstance(value, list) else value


def _calls(messages: Iterable[dict[str, Any]]) -> list[tuple[str, Any]]:
    functions = (
        call["function"] for message in messages for call in message.get("tool_calls") or ()
    )
    return [(function["name"], function["arguments"]) for function in functions]


@pytest.mark.parametrize("config", COLUMNS)
@pytest.mark.parametrize("form", ["strings", "objects", "openai"])
@pytest.mark.parametrize("parquet", [False, True])
def test_every_config_and_split_opens_with_its_columns(
    tmp_path: Path, load: Load, config: Config, form: Form, parquet: bool
) -> None:
    """`load_dataset(folder, config)` gives the promised columns and every row."""
    folder = _write(tmp_path / "folder", _all(ROWS), form, parquet)
    opened = load(folder, config)
    assert {split: len(rows) for split, rows in opened.items()} == {"train": 10, "validation": 2}
    assert opened["train"].column_names == list(COLUMNS[config])
    if config != "rag":
        assert opened["train"][0]["tools"] is None
        assert opened["train"][-1]["tools"] == TOOLS


def test_contents_are_strings_and_roles_are_known_to_templates(tmp_path: Path, load: Load) -> None:
    """A null, a list of parts and a developer's role come out as templates want them."""
    rows = load(_write(tmp_path / "folder", _all(ROWS)), "sft", split="train")
    assert [(m["role"], m["content"]) for m in rows[-1]["messages"]] == [
        ("system", "You help at an airport."),
        ("user", "Two seats, please."),
        ("assistant", ""),
        ("tool", "done"),
        ("assistant", "You have two seats."),
    ]


@pytest.mark.parametrize("form", ["strings", "objects", "openai"])
@pytest.mark.parametrize("config", ["sft", "preference"])
def test_tool_calls_come_through_arrow_as_they_went_in(
    tmp_path: Path, load: Load, form: Form, config: Config
) -> None:
    """Calls with different arguments side by side: no key is added, none is lost."""
    rows = load(_write(tmp_path / "folder", _all(ROWS), form), config, split="train")
    column = "messages" if config == "sft" else "chosen"
    seen = [call for row in rows for call in _calls(row[column])]
    assert seen == [(name, json.loads(text)) for name, text in CALLS * 2]
    assert rows[-1]["tools"] == TOOLS


def test_the_file_itself_holds_strings_that_no_loader_can_widen(tmp_path: Path, load: Load) -> None:
    """Opened as plain JSON, arguments and tools are the very strings of the log."""
    folder = _write(tmp_path / "folder", _all(list(reversed(ROWS))))
    rows = load("json", data_files=str(folder / data_path("sft", "train")), split="train")
    assert [call for row in rows for call in _calls(row["messages"])] == [
        CALLS[number % 2] for number in (3, 2, 1, 0)
    ]
    assert json.loads(rows[0]["tools"]) == TOOLS


def test_objects_in_arrow_gain_keys_they_never_had() -> None:
    """Why strings: two objects in one Arrow column get each other's keys, as nulls."""
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pylist([{"arguments": json.loads(text)} for _, text in CALLS])
    assert table.to_pylist()[0]["arguments"] == {"flight": "SK 12", "seats": [1, 2], "of": None}
    text = pa.Table.from_pylist([{"arguments": text} for _, text in CALLS])
    assert [row["arguments"] for row in text.to_pylist()] == [text for _, text in CALLS]


LONG = [_plain(number, "word " * 200_000) for number in range(11)]


def test_keys_that_first_come_after_ten_megabytes_are_read(tmp_path: Path, load: Load) -> None:
    """`datasets` infers from the first 10 MB; the card's types spare it the guess."""
    folder = _write(tmp_path / "folder", {("sft", "train"): [*LONG, _with_tools(0)]})
    assert (folder / data_path("sft", "train")).stat().st_size > 10 << 20
    rows = load(folder, "sft", split="train")
    assert _calls(rows[-1]["messages"]) == [("book", json.loads(CALLS[0][1]))]


def test_without_the_card_the_head_of_the_file_decides(tmp_path: Path, load: Load) -> None:
    """Read without the card, a late key is an error; a row that shows it first mends it."""
    tools = _with_tools(0)
    plain = shape(LONG[0].prompt, LONG[0].good, tools=LONG[0].tools)
    assert shape(tools.prompt, tools.good, tools=tools.tools) & ~plain
    late = _write(tmp_path / "late", {("sft", "train"): [*LONG, tools]})
    with pytest.raises(datasets.exceptions.DatasetGenerationError):
        load("json", data_files=str(late / data_path("sft", "train")))
    early = _write(tmp_path / "early", {("sft", "train"): [tools, *LONG, tools]})
    rows = load("json", data_files=str(early / data_path("sft", "train")), split="train")
    assert _calls(rows[-1]["messages"]) == [CALLS[0]]


def test_a_split_without_rows_is_left_out(tmp_path: Path, load: Load) -> None:
    """An empty file makes `datasets` fail, so neither the file nor its name is there."""
    files: dict[tuple[Config, Split], list[Row]] = {
        ("sft", "train"): ROWS,
        ("sft", "test"): [],
        ("rag", "train"): [],
    }
    folder = _write(tmp_path / "folder", files)
    assert list(load(folder)) == ["train"]
    assert datasets.get_dataset_config_names(str(folder)) == ["sft"]
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises((StopIteration, ValueError)):
        load("json", data_files=str(empty))


@pytest.mark.parametrize("config", COLUMNS)
@pytest.mark.parametrize("form", ["strings", "objects", "openai"])
def test_parquet_holds_the_same_rows(
    tmp_path: Path, load: Load, config: Config, form: Form
) -> None:
    """Parquet of any form opens to the rows and types that the lines open to."""
    pytest.importorskip("pyarrow")
    lines = load(_write(tmp_path / "lines", _all(ROWS)), config, split="train")
    folder = _write(tmp_path / "parquet", _all(ROWS), form, parquet=True)
    parquet = load(folder, config, split="train")
    assert parquet.features == lines.features
    assert list(parquet) == list(lines)


# --------------------------------------------------------------------------- trainers

TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}Tools:
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if not (tools and loop.first and message.role == 'system') %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A byte-level BPE tokenizer trained on a few words, with a ChatML template."""
    pytest.importorskip("trl", reason="needs the extra `trl`")
    from transformers import PreTrainedTokenizerFast

    tokenizers = pytest.importorskip("tokenizers")
    decoders, models = tokenizers.decoders, tokenizers.models
    pre_tokenizers, trainers = tokenizers.pre_tokenizers, tokenizers.trainers

    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([row.prompt[-1].text() for row in ROWS], trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|im_end|>"
    )
    made.chat_template = TEMPLATE
    return made


@pytest.fixture
def model(tokenizer: Any) -> Any:
    """A language model small enough to train in a blink, with seeded weights."""
    torch = pytest.importorskip("torch", reason="needs the extra `trl`")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=1024,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


def _options(tmp_path: Path) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path / "out"),
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "max_length": 1024,
        "gradient_checkpointing": False,
    }


def _loss(trainer: Any) -> float:
    trainer.train()
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 1
    return losses[0]


@pytest.mark.trl
def test_a_tool_conversation_is_rendered_as_the_model_will_see_it(
    tmp_path: Path, load: Load, tokenizer: Any
) -> None:
    """Prompt, answer, calls and results stand in their places; arguments are JSON once."""
    row = load(_write(tmp_path / "folder", _all(ROWS)), "sft", split="train")[-1]
    text = tokenizer.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False)
    tools = "".join(json.dumps(tool) + "\n" for tool in TOOLS)
    assert text == (
        f"<|im_start|>system\nYou help at an airport.\n\nTools:\n{tools}<|im_end|>\n"
        "<|im_start|>user\nTwo seats, please.<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "count", "arguments": '
        '{"of": {"bags": 3.5}}}\n</tool_call><|im_end|>\n'
        "<|im_start|>tool\ndone<|im_end|>\n"
        "<|im_start|>assistant\nYou have two seats.<|im_end|>\n"
    )


@pytest.mark.trl
@pytest.mark.parametrize("parquet", [False, True])
def test_trl_takes_an_sft_step(
    tmp_path: Path, load: Load, tokenizer: Any, model: Any, parquet: bool
) -> None:
    """SFTTrainer reads the `sft` config as it is and learns from whole conversations."""
    from trl import SFTConfig, SFTTrainer

    folder = _write(tmp_path / "folder", _all(ROWS), parquet=parquet)
    rows = load(folder, "sft", split="train")
    config = SFTConfig(**_options(tmp_path))
    trainer = SFTTrainer(model, args=config, train_dataset=rows, processing_class=tokenizer)
    seen = tokenizer.decode(trainer.train_dataset[len(rows) - 1]["input_ids"])
    assert '"arguments": {"of": {"bags": 3.5}}' in seen
    assert '"name": "book", "description": "Book a seat."' in seen
    assert "Tools:" not in tokenizer.decode(trainer.train_dataset[0]["input_ids"])
    assert 0 < _loss(trainer) < 20


@pytest.mark.trl
def test_trl_takes_a_dpo_step(tmp_path: Path, load: Load, tokenizer: Any, model: Any) -> None:
    """DPOTrainer reads the `preference` config; the answers begin where the prompt ends."""
    from trl import DPOConfig, DPOTrainer

    rows = load(_write(tmp_path / "folder", _all(ROWS)), "preference", split="train")
    config = DPOConfig(**_options(tmp_path))
    trainer = DPOTrainer(
        model,
        ref_model=deepcopy(model),  # a model without a name cannot be loaded a second time
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
    )
    last = trainer.train_dataset[len(rows) - 1]
    prompt, chosen, rejected = (
        tokenizer.decode(last[f"{side}_ids"]) for side in ("prompt", "chosen", "rejected")
    )
    assert prompt.endswith("Two seats, please.<|im_end|>\n<|im_start|>assistant\n")
    assert chosen.startswith('<tool_call>\n{"name": "count", "arguments": {"of":')
    assert chosen.endswith("You have two seats.<|im_end|>\n")
    assert rejected == "No.<|im_end|>\n"
    assert 0 < _loss(trainer) < 20


@pytest.mark.trl
def test_trl_takes_a_kto_step(tmp_path: Path, load: Load, tokenizer: Any, model: Any) -> None:
    """KTOTrainer reads the `unpaired` config with its labels."""
    from trl import KTOConfig, KTOTrainer

    rows = load(_write(tmp_path / "folder", _all(ROWS)), "unpaired", split="train")
    config = KTOConfig(**_options(tmp_path))
    trainer = KTOTrainer(
        model,
        ref_model=deepcopy(model),  # a model without a name cannot be loaded a second time
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
    )
    assert 0 < _loss(trainer) < 20
