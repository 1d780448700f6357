"""The dataset card: what the folder holds, counted, in the form that the hub reads (SPEC T3).

No tokenizer is loaded: tokens are estimated from characters, and the card says so. This
module never touches a disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from stillhouse.exports.columns import COLUMNS
from stillhouse.exports.dataset import CONFIGS, Config, Form, Split
from stillhouse.exports.stats import DatasetStats, Lengths, SplitStats

CHARACTERS_PER_TOKEN: Final = 4
"""A rule of thumb for English and code; Chinese, Japanese and Korean run nearer to 1 or 2."""


def data_path(config: Config, split: Split, suffix: str = "jsonl") -> str:
    """A data file's path in the folder."""
    return f"{config}/{split}-00000-of-00001.{suffix}"


def lineage_path(config: Config, split: Split) -> str:
    """The path of the sidecar that goes with a data file, line for line."""
    return f"{config}/{split}-lineage.jsonl"


def dataset_card(
    stats: DatasetStats, *, form: Form = "strings", parquet: bool = False, made_by: str = ""
) -> str:
    """``README.md`` of the folder: front matter for the hub, then the counts for people.

    With ``parquet`` the front matter names the Parquet files. ``made_by`` names the program
    and its version.
    """
    return "\n".join(
        [
            "---",
            *_front_matter(stats, "parquet" if parquet else "jsonl"),
            "---",
            "",
            *_body(stats, form, made_by),
            "",
        ]
    )


# ------------------------------------------------------------------------ front matter


def _front_matter(stats: DatasetStats, suffix: str) -> Iterator[str]:
    files = list(stats.files())
    held = [config for config in CONFIGS if any(config == name for name, _, _ in files)]
    yield "# license: fill in the licence your logs may be passed on under"
    tasks = ["text-generation"] if set(held) - {"rag"} else []
    tasks += ["text-retrieval"] if "rag" in held else []
    if tasks:
        yield "task_categories:"
        yield from (f"- {task}" for task in tasks)
    yield "size_categories:"
    yield f"- {_size_category(sum(counted.rows for _, _, counted in files))}"
    if not held:
        return
    yield "configs:"
    for number, config in enumerate(held):
        yield f"- config_name: {config}"
        if number == 0:
            yield "  default: true"
        yield "  data_files:"
        for name, split, _ in files:
            if name == config:
                yield f"  - split: {split}"
                yield f"    path: {data_path(config, split, suffix)}"
    yield "dataset_info:"
    for config in held:
        yield f"- config_name: {config}"
        yield "  features:"
        yield from _features(COLUMNS[config], "  ")
        yield "  splits:"
        for name, split, counted in files:
            if name == config:
                yield f"  - name: {split}"
                yield f"    num_bytes: {counted.size}"
                yield f"    num_examples: {counted.rows}"


def _features(columns: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, kind in columns.items():
        yield f"{indent}- name: {name}"
        inner = kind[0] if isinstance(kind, list) else kind
        word = "list" if isinstance(kind, list) else "struct"
        if isinstance(inner, dict):
            yield f"{indent}  {word}:"
            yield from _features(inner, f"{indent}  ")
        elif isinstance(kind, list):
            yield f"{indent}  list: {inner}"
        else:
            yield f"{indent}  dtype: {inner}"


def _size_category(rows: int) -> str:
    names = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M"]
    for power, name in enumerate(names, start=3):
        if rows < 10**power:
            return name
    return "100M<n<1B" if rows < 10**9 else "n>1B"


# -------------------------------------------------------------------------------- body


def _body(stats: DatasetStats, form: Form, made_by: str) -> Iterator[str]:
    files = list(stats.files())
    yield "# Distilled run logs"
    yield ""
    yield (
        "Training data distilled from the run logs of LLM agents and pipelines"
        + (f" by {made_by}" if made_by else "")
        + ". A row is here because a verdict in the logs says that its answer is good (or,"
        " where a row says so, that it is bad)."
    )
    yield ""
    yield "## What is in it"
    yield ""
    if not files:
        yield "No row was fit for export. The counts below say why."
        yield ""
    else:
        yield from _table(
            ("config", "split", "rows", "bytes", "with tool calls"),
            [(c, s, f"{n.rows:,}", f"{n.size:,}", f"{n.tool_rows:,}") for c, s, n in files],
        )
        if undeclared := sum(counted.undeclared_rows for _, _, counted in files):
            yield (
                f"{undeclared:,} rows call tools, and their logs do not say which tools there were:"
                " `tools` is null. A chat template then shows calls of tools that nobody announced."
                " Log the `tools` that the model was given."
            )
            yield ""
        yield from _composition(files)
        yield from _lengths(files)
    yield "## What was kept out"
    yield ""
    yield from _counts("refused because", "rows", stats.refused, "No row was refused.")
    yield from _counts("secret replaced", "times", stats.redacted, "No secret was found.")
    yield from _how(files, form)


def _composition(files: list[tuple[Config, Split, SplitStats]]) -> Iterator[str]:
    counts: dict[tuple[str, str, str], int] = {}
    for config, _, counted in files:
        for kind, words in (("source", counted.sources), ("category", counted.categories)):
            for word, rows in words.items():
                counts[config, kind, word] = counts.get((config, kind, word), 0) + rows
    configs = [str(config) for config in CONFIGS]
    keys = sorted(counts, key=lambda key: (configs.index(key[0]), key[1], -counts[key], key[2]))
    yield "## Where it comes from"
    yield ""
    yield from _table(
        ("config", "by", "value", "rows"),
        [(config, kind, word, f"{counts[config, kind, word]:,}") for config, kind, word in keys],
    )


def _lengths(files: list[tuple[Config, Split, SplitStats]]) -> Iterator[str]:
    totals: dict[tuple[str, str], Lengths] = {}
    for config, _, counted in files:
        parts = (("prompt", counted.prompt), ("answer", counted.answer))
        for part, lengths in parts if config != "rag" else (("text", counted.answer),):
            totals.setdefault((config, part), Lengths()).merge(lengths)
    yield "## How long it is"
    yield ""
    yield (
        f"Characters; tokens are characters / {CHARACTERS_PER_TOKEN}, an estimate for English"
        " and code (Chinese, Japanese and Korean have more). The median and the 95th"
        " percentile are the upper edges of buckets, at most an eighth too high."
    )
    yield ""
    yield from _table(
        ("config", "part", "total", "≈ tokens", "median", "95 %", "longest"),
        [
            (
                config,
                part,
                f"{lengths.total:,}",
                f"{lengths.total // CHARACTERS_PER_TOKEN:,}",
                f"{lengths.quantile(0.5):,}",
                f"{lengths.quantile(0.95):,}",
                f"{lengths.longest:,}",
            )
            for (config, part), lengths in totals.items()
        ],
    )


_SHAPE: Final[dict[Form, str]] = {
    "strings": "`arguments` of tool calls and `tools` are JSON strings in the files",
    "objects": "`arguments` of tool calls and `tools` are JSON values in the files",
    "openai": "`arguments` of tool calls are JSON strings and `tools` a list in the files",
}


def _how(files: list[tuple[Config, Split, SplitStats]], form: Form) -> Iterator[str]:
    yield "## How it was made"
    yield ""
    yield (
        "Raw log lines become evidence, evidence is scored by fixed rules, and a firewall"
        " keeps rejected and undecided work out of what a model learns to say. Secrets are"
        " replaced by `[REDACTED:kind]`. The split of a row follows from a hash of its task"
        " and prompt, so that no prompt stands in two splits. Beside each data file,"
        " `<split>-lineage.jsonl` names, line for line, the raw line of every row and its hash."
    )
    yield ""
    yield "## How to load it"
    yield ""
    yield "```python"
    yield "from datasets import load_dataset  # 4.7 or later"
    yield ""
    for config in dict.fromkeys(config for config, _, _ in files):
        yield f'{config} = load_dataset("path/to/this/folder", "{config}")'
    yield "```"
    yield ""
    yield (
        f"{_SHAPE[form]}; opened as above, both are values, as chat templates want"
        " them. `dataset_info.json` is for LLaMA-Factory."
    )


def _counts(label: str, unit: str, counts: Mapping[str, int], none: str) -> Iterator[str]:
    counts = {word: count for word, count in counts.items() if count}
    if not counts:
        yield none
        yield ""
        return
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    yield from _table((label, unit), [(word, f"{count:,}") for word, count in ordered])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
    yield ""
