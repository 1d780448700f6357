"""The rows of one chunk for the dataset folder, with their lineage and statistics."""

from __future__ import annotations

from collections import Counter

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
from stillhouse.exports.firewall import ExportOptions
from stillhouse.exports.llama_factory import (
    llama_factory_preference_row,
    llama_factory_sft_row,
    llama_factory_unpaired_row,
)
from stillhouse.exports.redacted import Redacted
from stillhouse.exports.stats import DatasetStats
from stillhouse.records import (
    Message,
    PreferenceSample,
    RagChunk,
    SftSample,
    UnpairedSample,
)
from stillhouse.state import Head


class Collector:
    """Collects a chunk's dataset lines by section: ``<config>/<split>``, its ``-lineage``,
    and LLaMA-Factory's own layout beside when asked for.

    ``heads`` names the rows that show a message key for the first time in their section:
    the file's first such row has to come first in it (see `dataset.shape`).
    """

    def __init__(self, options: ExportOptions, stem: str) -> None:
        self.lines: dict[str, list[bytes]] = {}
        self.heads: dict[str, list[Head]] = {}
        self.counts: Counter[str] = Counter()
        self.stats = DatasetStats()
        self._form = options.tools_as
        self._llama_factory = options.llama_factory
        self._stem = stem
        self._sizes: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()

    def sft(self, split: Split, sample: SftSample, words: Redacted) -> None:
        """One conversation."""
        row = sft_row(words.prompt, words.answer, words.tools, self._form)
        bits = shape([*words.prompt, *words.answer], tools=words.tools)
        self._put(
            "sft", split, row, lineage_row(sample, words.task_id, sample.context), bits, words
        )
        self._stat("sft", split, row, words.prompt, words.answer, words)
        if self._llama_factory:
            extra = llama_factory_sft_row(words.prompt, words.answer, words.tools)
            self.lines.setdefault(f"llama_factory/sft/{split}", []).append(extra)

    def preference(self, split: Split, pair: PreferenceSample, words: Redacted) -> None:
        """One pair."""
        row = preference_row(pair.prompt, pair.chosen, pair.rejected, pair.tools, self._form)
        bits = shape(pair.prompt, pair.chosen, pair.rejected, tools=pair.tools)
        self._put("preference", split, row, self._lineage(pair, words), bits, words)
        self._stat("preference", split, row, pair.prompt, pair.chosen, words)
        if self._llama_factory:
            extra = llama_factory_preference_row(
                pair.prompt, pair.chosen, pair.rejected, pair.tools
            )
            if extra is not None:
                self.lines.setdefault(f"llama_factory/preference/{split}", []).append(extra)

    def unpaired(self, split: Split, sample: UnpairedSample, words: Redacted) -> None:
        """One labelled answer."""
        row = unpaired_row(sample.prompt, sample.completion, sample.label, sample.tools, self._form)
        bits = shape(sample.prompt, sample.completion, tools=sample.tools)
        self._put("unpaired", split, row, self._lineage(sample, words), bits, words)
        self._stat("unpaired", split, row, sample.prompt, sample.completion, words)
        if self._llama_factory:
            extra = llama_factory_unpaired_row(
                sample.prompt, sample.completion, sample.label, sample.tools
            )
            self.lines.setdefault(f"llama_factory/unpaired/{split}", []).append(extra)

    def rag(self, split: Split, chunk: RagChunk, words: Redacted) -> None:
        """One piece of text."""
        row = rag_row(chunk)
        self._put("rag", split, row, self._lineage(chunk, words), 0, words)
        self._stat("rag", split, row, [], chunk.text, words)

    def _lineage(
        self, sample: PreferenceSample | UnpairedSample | RagChunk, words: Redacted
    ) -> bytes:
        return lineage_row(sample, words.task_id, words.context())

    def _stat(
        self,
        config: Config,
        split: Split,
        row: bytes,
        prompt: list[Message],
        answer: list[Message] | str,
        words: Redacted,
    ) -> None:
        category = words.joined.scored.category
        self.stats.add(config, split, self._stem, category, row, prompt, answer)

    def _put(
        self, config: Config, split: Split, row: bytes, lineage: bytes, bits: int, words: Redacted
    ) -> None:
        section = f"{config}/{split}"
        for name, line in ((section, row), (f"{section}-lineage", lineage)):
            if bits & ~self._seen[section]:
                head = Head(bits, self._sizes[name], len(line) + 1)
                self.heads.setdefault(name, []).append(head)
            self._sizes[name] += len(line) + 1
            self.lines.setdefault(name, []).append(line)
        self._seen[section] |= bits
        self.counts[f"rows/{section}"] += 1
        for kind, times in words.found.items():
            self.counts[f"redacted/{kind}"] += times
