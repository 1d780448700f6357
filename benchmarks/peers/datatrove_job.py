"""datatrove: a reader of raw lines, a block for the rules, a writer; two local tasks.

datatrove's `JsonlReader` gives parsed documents and loses the line, which the hash needs,
so the reader is a `BaseDiskReader` of our own; that is how its documentation extends it.
The writer is a block too: `JsonlWriter` would encode the evidence a second time. Files go
to tasks whole (by stem), so that a repeated line is seen. Left out against stillhouse: what
`rules` leaves out, atomic files, receipts.

    python -m benchmarks.peers.datatrove_job LAKE OUT
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers.base import BaseDiskReader

from benchmarks.peers.output import PartitionWriter
from benchmarks.peers.rules import convert

TASKS = 2


class RawLines(BaseDiskReader):  # type: ignore[misc]  # datatrove has no types
    """One document a raw line, with its stem and number."""

    name = "raw lines"

    def read_file(self, filepath: str) -> Iterator[Document]:
        stem = Path(filepath).stem
        with self.data_folder.open(filepath, "rb") as file:
            for number, line in enumerate(file):
                yield Document(text=line, id=f"{stem}/{number}", metadata={"stem": stem})


class Convert(PipelineStep):  # type: ignore[misc]  # the same
    """Raw line to its two output lines; a refused line is dropped and counted."""

    name = "convert"

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> Any:
        for number, document in _numbered(data):
            lines = convert(document.metadata["stem"], number, document.text.rstrip(b"\n"))
            if lines is None:
                self.stat_update("refused")
                continue
            document.metadata["lines"] = lines
            yield document


class Write(PipelineStep):  # type: ignore[misc]  # the same
    """One evidence and one scored file a stem and day."""

    name = "write"

    def __init__(self, out: str) -> None:
        super().__init__()
        self.out = out

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> Any:
        writers: dict[str, PartitionWriter] = {}
        for document in data:
            stem = document.metadata["stem"]
            writer = writers.get(stem)
            if writer is None:
                writer = writers[stem] = PartitionWriter(Path(self.out), stem)
            writer.write(*document.metadata["lines"])
            yield document
        for writer in writers.values():
            writer.__exit__(None, None, None)


def _numbered(data: DocumentsPipeline) -> Iterator[tuple[int, Document]]:
    for document in data:
        yield int(document.id.rsplit("/", 1)[1]), document


def run(lake: Path, out: Path) -> None:
    """Convert every stem in two tasks."""
    with tempfile.TemporaryDirectory(dir=out.parent) as logs:
        LocalPipelineExecutor(
            pipeline=[RawLines(str(lake / "_kb")), Convert(), Write(str(out))],
            tasks=TASKS,
            workers=TASKS,
            logging_dir=logs,
        ).run()


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
