"""Writing for the peers that have no partitioned writer of their own, and listing inputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


def stems(lake: Path) -> Iterator[tuple[str, Path]]:
    """The raw logs of a lake, by stem."""
    for path in sorted((lake / "_kb").glob("*.jsonl")):
        yield path.stem, path


class PartitionWriter:
    """Appends one stem's lines to a file a day; a line seen before on that day is dropped."""

    def __init__(self, out: Path, stem: str) -> None:
        self._out = out
        self._stem = stem
        self._files: dict[str, tuple[BinaryIO, BinaryIO]] = {}
        self._seen: set[tuple[str, str]] = set()

    def write(self, day: str, sig_hash: str, evidence: bytes, scored: bytes) -> None:
        """Write both lines of a row."""
        key = (day, sig_hash)
        if key in self._seen:
            return
        self._seen.add(key)
        files = self._files.get(day)
        if files is None:
            files = self._files[day] = self._open("evidence", day), self._open("scored-runs", day)
        files[0].write(evidence + b"\n")
        files[1].write(scored + b"\n")

    def _open(self, root: str, day: str) -> BinaryIO:
        folder = self._out / root / day.replace("-", "/")
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / f"{self._stem}.jsonl").open("wb", buffering=1 << 18)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pair in self._files.values():
            for file in pair:
                file.close()
