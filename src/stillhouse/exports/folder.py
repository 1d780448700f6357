"""The dataset folder as files: data, lineage beside it, card, and LLaMA-Factory's index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stillhouse.exports.card import data_path, dataset_card, lineage_path
from stillhouse.exports.chunks import Layout
from stillhouse.exports.columns import to_parquet
from stillhouse.exports.dataset import CONFIGS, SPLITS, Config, Split
from stillhouse.exports.firewall import ExportOptions
from stillhouse.exports.llama_factory import llama_factory_info, llama_factory_path
from stillhouse.exports.stats import DatasetStats
from stillhouse.interfaces import Sink, Store
from stillhouse.lake import DISTILLED, Span
from stillhouse.receipts import BlockHasher, FileDigest
from stillhouse.work import Work

FOLDER: Final = f"{DISTILLED}/dataset"


def section_paths() -> dict[str, str]:
    """Section → file, for every section that can have lines."""
    paths = {}
    for config in CONFIGS:
        for split in SPLITS:
            paths[f"{config}/{split}"] = f"{FOLDER}/{data_path(config, split)}"
            paths[f"{config}/{split}-lineage"] = f"{FOLDER}/{lineage_path(config, split)}"
            own = f"{FOLDER}/{llama_factory_path(config, split)}"
            paths[f"llama_factory/{config}/{split}"] = own
    return paths


def standing(store: Store) -> list[str]:
    """The files of the folder that some run wrote, whoever remembers it: rows that may no
    longer leave must not stay in a split that has no rows today."""
    ours = set(section_paths().values())
    for config in CONFIGS:
        ours |= {f"{FOLDER}/{data_path(config, split, suffix='parquet')}" for split in SPLITS}
    return [entry.path for entry in store.list(FOLDER) if entry.path in ours]


def write(
    work: Work,
    sections: dict[str, Layout],
    stats: DatasetStats,
    refused: dict[str, int],
    options: ExportOptions,
    counts: dict[str, int],
) -> list[FileDigest]:
    """Stage what the folder holds beside its JSON lines: Parquet where asked for, the card,
    and LLaMA-Factory's index."""
    files: list[FileDigest] = []
    if options.parquet:
        for config in CONFIGS:
            for split in SPLITS:
                layout = sections.get(f"{config}/{split}")
                if layout is not None:
                    files.append(_parquet(work, layout.spans, config, split, options))
    stats.refused = refused
    secrets = {name: n for name, n in counts.items() if name.startswith("redacted/")}
    stats.redacted = {name.removeprefix("redacted/"): n for name, n in secrets.items()}
    card = dataset_card(
        stats,
        form=options.tools_as,
        parquet=options.parquet,
        made_by=f"Stillhouse {work.version}",
    )
    files.append(work.write(f"{FOLDER}/README.md", [card.encode()]))
    info = llama_factory_info(stats, native=options.llama_factory)
    files.append(work.write(f"{FOLDER}/dataset_info.json", [info]))
    return files


def _parquet(
    work: Work, spans: list[Span], config: Config, split: Split, options: ExportOptions
) -> FileDigest:
    path = f"{FOLDER}/{data_path(config, split, suffix='parquet')}"
    hasher = BlockHasher()
    with work.store.writer(work.staged(path), durable=False) as sink:
        lines = _lines(work.store, spans)
        rows = to_parquet(lines, _Hashing(sink, hasher), config, options.tools_as)
    return hasher.digest(path, rows)


class _Hashing:
    """A sink that hashes what passes."""

    def __init__(self, sink: Sink, hasher: BlockHasher) -> None:
        self._sink = sink
        self._hasher = hasher

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        self._hasher.update(data)
        self._sink.write(data)


def _lines(store: Store, spans: list[Span]) -> Iterator[bytes]:
    for span in spans:
        yield from store.read(span.path, span.start, span.start + span.size).splitlines()
