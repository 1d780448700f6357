"""The rows of one chunk for the dataset folder, with their lineage and statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

from stillhouse.exports.dataset import (
    Config,
    Split,
    lineage_row,
    preference_row,
    rag_row,
    sft_row,
    shape,
    unpaired_row,
)
from stillhouse.exports.firewall import ExportOptions, Joined
from stillhouse.exports.llama_factory import (
    llama_factory_preference_row,
    llama_factory_sft_row,
    llama_factory_unpaired_row,
)
from stillhouse.exports.redacted import context_of, count_marks
from stillhouse.exports.stats import DatasetStats, SplitStats
from stillhouse.records import (
    Message,
    PreferenceSample,
    RagChunk,
    SftSample,
    UnpairedSample,
)
from stillhouse.state import Head


class _Section:
    """The lines of one ``<config>/<split>``, what they count, and the keys they show."""

    __slots__ = ("lineage", "name", "rows", "seen", "stats")

    def __init__(self, name: str, stats: SplitStats) -> None:
        self.name = name
        self.rows: list[bytes] = []
        self.lineage: list[bytes] = []
        self.stats = stats
        self.seen = 0


class Collector:
    """Collects a chunk's dataset lines by section: ``<config>/<split>``, its ``-lineage``,
    and LLaMA-Factory's own layout beside when asked for.

    ``heads`` names the rows that show a message key for the first time in their section:
    the file's first such row has to come first in it (see `dataset.shape`).
    """

    def __init__(self, options: ExportOptions, stem: str) -> None:
        self.lines: dict[str, list[bytes]] = {}
        self.heads: dict[str, list[Head]] = {}
        self.stats = DatasetStats()
        self._form = options.tools_as
        self._llama_factory = options.llama_factory
        self._stem = stem
        self._sections: dict[tuple[Config, Split], _Section] = {}
        self._redacted: Counter[str] = Counter()

    @property
    def counts(self) -> Counter[str]:
        """Rows by section, and redacted secrets by kind."""
        rows = {f"rows/{section.name}": len(section.rows) for section in self._sections.values()}
        return Counter(rows) + self._redacted

    def sft(self, split: Split, sample: SftSample, joined: Joined) -> None:
        """One conversation."""
        words = joined.words
        prompt, answer, tools = words.prompt, words.answer, words.tools
        row = sft_row(prompt, answer, tools, self._form)
        lineage = lineage_row(sample, words.task_id, sample.context)
        bits = shape([*prompt, *answer], tools=tools)
        self._put("sft", split, row, lineage, bits, prompt, answer, joined, words.secrets)
        if self._llama_factory:
            self._put_beside("sft", split, llama_factory_sft_row(prompt, answer, tools))

    def preference(
        self, split: Split, pair: PreferenceSample, joined: Joined, secrets: Set[str]
    ) -> None:
        """One pair; ``secrets`` are those of both its sides."""
        prompt, chosen, rejected, tools = pair.prompt, pair.chosen, pair.rejected, pair.tools
        row = preference_row(prompt, chosen, rejected, tools, self._form)
        lineage = lineage_row(pair, pair.task_id, context_of(joined))
        bits = shape(prompt, chosen, rejected, tools=tools)
        self._put("preference", split, row, lineage, bits, prompt, chosen, joined, secrets)
        if self._llama_factory:
            extra = llama_factory_preference_row(prompt, chosen, rejected, tools)
            if extra is not None:
                self._put_beside("preference", split, extra)

    def unpaired(self, split: Split, sample: UnpairedSample, joined: Joined) -> None:
        """One labelled answer."""
        prompt, answer, label, tools = sample.prompt, sample.completion, sample.label, sample.tools
        row = unpaired_row(prompt, answer, label, tools, self._form)
        lineage = lineage_row(sample, sample.task_id, context_of(joined))
        bits = shape(prompt, answer, tools=tools)
        secrets = joined.words.secrets
        self._put("unpaired", split, row, lineage, bits, prompt, answer, joined, secrets)
        if self._llama_factory:
            extra = llama_factory_unpaired_row(prompt, answer, label, tools)
            self._put_beside("unpaired", split, extra)

    def rag(self, split: Split, chunk: RagChunk, joined: Joined) -> None:
        """One piece of text."""
        lineage = lineage_row(chunk, chunk.task_id, context_of(joined))
        secrets = joined.words.secrets
        self._put("rag", split, rag_row(chunk), lineage, 0, [], chunk.text, joined, secrets)

    def _put(
        self,
        config: Config,
        split: Split,
        row: bytes,
        lineage: bytes,
        bits: int,
        prompt: list[Message],
        answer: list[Message] | str,
        joined: Joined,
        secrets: Set[str],
    ) -> None:
        section = self._sections.get((config, split)) or self._section(config, split)
        if bits & ~section.seen:
            section.seen |= bits
            self._head(section.name, bits, section.rows, row)
            self._head(f"{section.name}-lineage", bits, section.lineage, lineage)
        section.rows.append(row)
        section.lineage.append(lineage)
        declared = bool(joined.words.tools)
        section.stats.add(self._stem, joined.scored.category, row, prompt, answer, declared)
        if secrets:
            for kind, times in count_marks(row, secrets).items():
                self._redacted[f"redacted/{kind}"] += times

    def _section(self, config: Config, split: Split) -> _Section:
        section = _Section(f"{config}/{split}", self.stats.split(config, split))
        self._sections[config, split] = section
        self.lines[section.name] = section.rows
        self.lines[f"{section.name}-lineage"] = section.lineage
        return section

    def _head(self, name: str, bits: int, lines: list[bytes], line: bytes) -> None:
        """Note a line that is about to follow these: a few times in a section."""
        start = sum(map(len, lines)) + len(lines)  # with their line ends
        self.heads.setdefault(name, []).append(Head(bits, start, len(line) + 1))

    def _put_beside(self, config: Config, split: Split, line: bytes) -> None:
        self.lines.setdefault(f"llama_factory/{config}/{split}", []).append(line)
