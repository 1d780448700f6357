"""Hugging Face `datasets`: the text builder, one `map` in two processes, one writer.

`datasets` has no expression language, so rules are a Python function over batches, and its
JSON builder fails a whole file on one malformed line, so lines come in as text. Left out
against stillhouse: what `rules` leaves out, atomic files, receipts.

    python -m benchmarks.peers.datasets_job LAKE OUT
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import datasets

from benchmarks.peers.output import PartitionWriter, stems
from benchmarks.peers.rules import convert

PROCESSES = 2


def _convert_batch(
    batch: dict[str, list[str]], indices: list[int], stem: str
) -> dict[str, list[Any]]:
    done = [
        lines
        for number, text in zip(indices, batch["text"], strict=True)
        if (lines := convert(stem, number, text.encode()))
    ]
    return {
        "day": [lines.day for lines in done],
        "sig_hash": [lines.sig_hash for lines in done],
        "evidence": [lines.evidence for lines in done],
        "scored": [lines.scored for lines in done],
    }


def run(lake: Path, out: Path) -> None:
    """Convert every stem; a stem's repeated lines are dropped while writing."""
    datasets.disable_progress_bars()
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("day", "sig_hash")}
        | {name: datasets.Value("binary") for name in ("evidence", "scored")}
    )
    with tempfile.TemporaryDirectory(dir=out.parent) as cache:
        for stem, path in stems(lake):
            rows = datasets.load_dataset(
                "text", data_files=str(path), split="train", cache_dir=cache, keep_linebreaks=False
            ).map(
                _convert_batch,
                batched=True,
                with_indices=True,
                remove_columns=["text"],
                features=features,
                fn_kwargs={"stem": stem},
                num_proc=PROCESSES,
            )
            with PartitionWriter(out, stem) as writer:
                for batch in rows.with_format("arrow").iter(batch_size=1000):
                    for line in zip(*(batch[name].to_pylist() for name in features), strict=True):
                        writer.write(*line)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
