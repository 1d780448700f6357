"""Chunks of an export: rendered now, or kept from the last run where nothing changed.

A chunk that is kept is copied from the old export file by its byte range: work is in
proportion to what is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from stillhouse.exports.render import Rendered, RenderUnit, chunk_key, render
from stillhouse.exports.stats import DatasetStats
from stillhouse.lake import Span
from stillhouse.state import ChunkState, ExportState, Head
from stillhouse.work import Stored, Work, holds


class Layout(NamedTuple):
    """A section's file: its path, the spans it is made of, and where each chunk's lines come
    to lie (chunks that had lines moved to the head of the file are not among them)."""

    path: str
    spans: list[Span]
    places: dict[str, Span]


class Chunks:
    """Chunks of several kinds of export, in the order of the lake."""

    def __init__(self, work: Work, kinds: list[str]) -> None:
        self._work = work
        self._kinds = kinds
        self._chunks: dict[str, dict[str, ChunkState]] = {kind: {} for kind in kinds}
        self._old: dict[str, dict[str, ChunkState]] = {}
        for kind in kinds:
            old = work.state.exports.get(kind)
            self._old[kind] = old.chunks if old is not None and self._sound(old) else {}

    def _sound(self, old: ExportState) -> bool:
        """Whether all files of an export still are as they were written: lines of them are
        copied into new ones, for which a new receipt vouches."""
        files = [Stored(self._work.store, file) for file in old.files.values()]
        sound = list(self._work.map("checking", holds, files))
        for stored, same in zip(files, sound, strict=True):
            if not same:
                self._work.notes.append(f"{stored.file.path}: was not as written; written anew")
        return all(sound)

    def render(self, units: Iterator[tuple[str, RenderUnit]]) -> None:
        """Render what is new or changed; keep the rest where it lies in the old files."""
        names: list[tuple[str, dict[str, str]]] = []

        def needed() -> Iterator[RenderUnit]:
            for name, unit in units:
                missing: dict[str, str] = {}
                for kind in self._kinds:
                    key = chunk_key(unit, kind)
                    kept = self._old[kind].get(name)
                    if kept is not None and kept.key == key:
                        self._chunks[kind][name] = kept
                    else:
                        self._chunks[kind][name] = ChunkState(key, {}, {})
                        missing[kind] = key
                if missing:
                    names.append((name, missing))
                    yield msgspec.structs.replace(
                        unit, kinds=tuple(missing), blob=self._work.blob()
                    )

        for number, done in enumerate(self._work.map("exporting", render, needed())):
            self._keep(*names[number], done)

    def _keep(self, name: str, keys: dict[str, str], done: Rendered) -> None:
        for kind, key in keys.items():
            whole = kind == "dataset"
            self._chunks[kind][name] = ChunkState(
                key,
                done.spans.get(kind, {}),
                done.counts.get(kind, {}),
                done.heads if whole else {},
                msgspec.Raw(msgspec.json.encode(done.stats)) if whole else msgspec.Raw(b"null"),
            )

    def sections(self, kind: str) -> list[str]:
        """The sections of a kind that have any line, sorted."""
        return sorted({name for chunk in self._chunks[kind].values() for name in chunk.spans})

    def layout(self, kind: str, section: str, path: str) -> Layout:
        """How a section's file is put together: lines that must come first, then the chunks
        in order without them."""
        first: list[Span] = []
        rest: list[Span] = []
        sizes: dict[str, int] = {}
        torn_up: set[str] = set()
        seen = 0
        for name, chunk in self._chunks[kind].items():
            span = chunk.spans.get(section)
            if span is None:
                continue
            moved: list[Head] = []
            for head in chunk.heads.get(section, ()):
                if head.bits & ~seen:
                    seen |= head.bits
                    moved.append(head)
            at = 0
            for head in moved:
                first.append(Span(span.path, span.start + head.start, head.size, 1))
                rest.append(Span(span.path, span.start + at, head.start - at, 0))
                at = head.start + head.size
            rest.append(Span(span.path, span.start + at, span.size - at, span.rows - len(moved)))
            sizes[name] = span.size - sum(head.size for head in moved)
            if moved:
                torn_up.add(name)
        offset = sum(span.size for span in first)
        places: dict[str, Span] = {}
        for name, size in sizes.items():
            if name not in torn_up:
                rows = self._chunks[kind][name].spans[section].rows
                places[name] = Span(path, offset, size, rows)
            offset += size
        return Layout(path, [*first, *(span for span in rest if span.size)], places)

    def counts(self, kind: str) -> dict[str, int]:
        """The kind's counts over all chunks, sorted by name."""
        total: Counter[str] = Counter()
        for chunk in self._chunks[kind].values():
            total.update(chunk.counts)
        return dict(sorted(total.items()))

    def stats(self) -> DatasetStats:
        """The dataset's statistics over all chunks."""
        total = DatasetStats()
        for chunk in self._chunks["dataset"].values():
            total.merge(msgspec.json.decode(chunk.stats, type=DatasetStats))
        return total

    def states(self, kind: str, places: dict[str, dict[str, Span]]) -> dict[str, ChunkState]:
        """The chunks as the state keeps them, given the places by section; a chunk that no
        longer lies in one piece everywhere is left out, to be rendered again."""
        kept: dict[str, ChunkState] = {}
        for name, chunk in self._chunks[kind].items():
            if all(name in places[section] for section in chunk.spans):
                spans = {section: places[section][name] for section in chunk.spans}
                kept[name] = msgspec.structs.replace(chunk, spans=spans)
        return kept
