"""One index of a folder, for searching: its view, and what makes a new view of it.

    truth ──open──▶ segments that are whole + a tail of the rest
    commit ──apply──▶ a longer tail, more dead rows
    worker ──tend──▶ the tail sealed, segments joined; files and manifest follow

Everything here is derived from the truth and can be thrown away. A failure to write it hurts
nobody: the rows stay where they are and are searched there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from stillhouse.errors import VectorDamagedError
from stillhouse.storage.disk import make_folders
from stillhouse.vectors.filters import Filter
from stillhouse.vectors.graph import Codes, cores
from stillhouse.vectors.live import Checks, Rows, Seqs, TruthReader, joined
from stillhouse.vectors.manifest import NAME, read_manifest, write_manifest
from stillhouse.vectors.sealing import Work, next_work
from stillhouse.vectors.searching import search_view
from stillhouse.vectors.segment import Building, Segment, write_rows
from stillhouse.vectors.segment_check import known_rows
from stillhouse.vectors.tail import Tail
from stillhouse.vectors.values import Floats, Hits, Include, IndexSpec
from stillhouse.vectors.view import Part, View, longer
from stillhouse.vectors.worker import Worker

_log = logging.getLogger(__name__)

_BATCH: Final = 2_048
Pinned = tuple[View, tuple[Seqs, Checks]]
Between = Callable[[Callable[[], Pinned]], Pinned]


def nothing(point: str) -> None:
    """What happens at a named point when nobody tests what a crash there would do."""


class SearchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How an index is searched. ``seal_rows`` is the length at which a tail becomes a segment,
    ``threads`` how many build a graph in the background (all cores do when somebody waits for it).
    ``faults`` is called at named points of writing files; ``worker`` is whose thread does it
    (None: one of the index's own)."""

    codes: Codes = "int8"
    seal_rows: int = 4_096
    threads: int = 1
    faults: Callable[[str], None] = nothing
    worker: Worker | None = None


class SearchStats(msgspec.Struct, frozen=True, kw_only=True):
    """An index as it is searched; see `IndexInfo`."""

    segments: int
    tombstones: int
    tail: int
    bytes: int


class SearchIndex:
    """See the module. Searches come from any thread, `apply` from one at a time."""

    def __init__(
        self, folder: Path, spec: IndexSpec, options: SearchOptions, truth: TruthReader
    ) -> None:
        self._folder = folder
        self._truth = truth
        self._spec = spec
        self._options = options
        self._worker = options.worker or Worker()
        self._lock = threading.Lock()
        self._closed = False
        self._behind = False
        """Whether the manifest is to be written to name the segments of the view."""
        self._view = View((), Part(Tail(spec.metric, spec.dimension), 0))

    @classmethod
    def open(
        cls, folder: Path, spec: IndexSpec, truth: TruthReader, options: SearchOptions
    ) -> SearchIndex:
        """The index as the truth has it: from segments as far as they are whole and agree with
        the truth, with everything else in the tail, to be sealed in the background.

        Raises what the truth raises.
        """
        index = cls(folder, spec, options, truth)
        seqs, checks = truth.versions()
        parts = []
        covered = np.zeros(len(seqs), np.bool_)
        named = index._named()
        for segment in index._segments(named):
            known = known_rows(segment, seqs, checks)
            if known is None:
                _log.warning("segment %s does not agree with the truth", segment.path)
                continue
            at = np.searchsorted(seqs, segment.seqs[known])
            known[known] = ~covered[at]
            covered[at] = True
            part = Part(segment, segment.count).killing(np.flatnonzero(~known))
            if part.live_count:
                parts.append(part)
        tail = Tail(spec.metric, spec.dimension)
        for rows in truth.rows(seqs[~covered]):
            tail.append(rows)
        index._view = View(tuple(parts), Part(tail, tail.count))
        if sorted(named) != sorted(index._names()):
            index._behind = True
        else:
            index._sweep()
        index._tell()
        return index

    def _segments(self, named: list[str]) -> Iterator[Segment]:
        """The segments that count and are whole."""
        for name in named:
            path = self._folder / name
            try:
                yield Segment.open(path, self._spec)
            except VectorDamagedError as error:
                _log.warning("segment %s is built anew: %s", path, error.what)
            except OSError as error:
                _log.warning("segment %s is built anew: it cannot be read: %s", path, error)

    def _named(self) -> list[str]:
        named = read_manifest(self._folder)
        with suppress(OSError):
            if named is None and (self._folder / NAME).exists():
                _log.warning("%s cannot be read; segments are built anew", self._folder / NAME)
                self._behind = True
        return named or []

    def _names(self) -> list[str]:
        return [segment.path.name for segment in self._view.files]

    def _sweep(self) -> None:
        """Remove files that are in no view: leftovers, and what was damaged. One that cannot be
        removed stays until the next time."""
        kept = {NAME, *self._names()}
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.name not in kept:
                    path.unlink(missing_ok=True)

    def _tell(self) -> None:
        """Tell the worker of what there is to do, if there is anything."""
        view, rows = self._view, self._options.seal_rows
        if self._behind or next_work(view, rows, quiet=True) is not None:
            pressing = next_work(view, rows, quiet=False) is not None
            self._worker.tell(self, pressing=pressing)

    # ------------------------------------------------------------------------ reading

    def search(
        self,
        queries: Floats,
        k: int,
        filter_: Filter | None,
        ef: int | None,
        include: frozenset[Include],
    ) -> list[Hits]:
        """See `Backend.search`."""
        return search_view(self._view, self._spec.metric, queries, k, filter_, ef, include)

    def select(self, filter_: Filter) -> Seqs:
        """The numbers of the live versions that match, ascending."""
        found = [part.rows.seqs[_matching(part, filter_)] for part in self._view.parts]
        return np.sort(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def count(self, filter_: Filter | None) -> int:
        """How many items there are, or match."""
        view = self._view
        if filter_ is None:
            return view.total
        return sum(len(_matching(part, filter_)) for part in view.parts)

    def stats(self) -> SearchStats:
        """The index as it is searched."""
        view = self._view
        return SearchStats(
            segments=len(view.segments),
            tombstones=sum(part.dead_count for part in view.segments),
            tail=view.tail.live_count,
            bytes=sum(segment.bytes for segment in view.files),
        )

    # ----------------------------------------------------------------------- changing

    def apply(self, removed: Sequence[int], added: Rows | None) -> None:
        """Follow a commit: these versions ended, these began. One change of the view."""
        with self._lock:
            self._view = self._view.changed(removed, added)
        self._tell()

    def settle(self) -> None:
        """Seal and join all that is worth it, and come back when it is done."""
        self._worker.settle(self)

    def rebuild(self, truth: TruthReader, between_commits: Between) -> None:
        """Throw the segments away and build one of all rows that ``truth`` has, beside the traffic.
        ``between_commits`` runs what it is given while the view has all that the truth has.

        Raises `OSError` or what the truth raises; the index is then as it was.
        """
        with self._worker.alone(self):
            view, (seqs, _) = between_commits(lambda: (self._view, truth.versions()))
            new = None
            if len(seqs):
                rows = truth.rows(seqs)  # Those that are deleted meanwhile are left out.
                new = self._written(rows, int(seqs[0]), int(seqs[-1]), cores())
                if self._stopped():
                    return
            self._swap(view, Work(tuple(range(len(view.segments))), True), new)

    def close(self) -> None:
        """Stop background work on this index. Calling it again does nothing."""
        self._closed = True
        if self._options.worker is None:
            self._worker.close()
        else:
            self._worker.forget(self)

    # --------------------------------------------------------------- background work

    def tend(self, *, quiet: bool, waited_for: bool = False) -> bool:
        """See `stillhouse.vectors.worker.Tended`."""
        if self._stopped():
            return False
        if self._behind:
            self._follow()
        view = self._view
        work = next_work(view, self._options.seal_rows, quiet=quiet)
        if work is None:
            return False
        taken = [view.segments[at] for at in work.segments] + ([view.tail] if work.tail else [])
        new = self._built(taken, cores() if waited_for else self._options.threads)
        if self._stopped():
            if new is not None:
                new.path.unlink(missing_ok=True)
            return False
        self._options.faults("seal:built")
        self._swap(view, work, new)
        return True

    def _swap(self, then: View, work: Work, new: Segment | None) -> None:
        """Put a new segment in the place of what it was made of, then tell the manifest."""
        with self._lock:
            self._view = self._swapped(self._view, then, work, new)
            self._behind = True
        self._follow()

    def _stopped(self) -> bool:
        return self._closed or self._worker.closing

    def _built(self, taken: list[Part], threads: int) -> Segment | None:
        """A segment of all rows of some parts that live, by ascending number."""
        where = [part.live() for part in taken]
        seqs = np.concatenate([part.rows.seqs[at] for part, at in zip(taken, where, strict=True)])
        if not len(seqs):
            return None
        order = np.argsort(seqs, kind="stable")
        owner = np.repeat(np.arange(len(where)), [len(at) for at in where])[order]
        positions = np.concatenate(where)[order]
        batches = (
            self._as_written(
                _gathered(taken, owner[start : start + _BATCH], positions[start : start + _BATCH])
            )
            for start in range(0, len(order), _BATCH)
        )
        return self._written(batches, int(seqs[order[0]]), int(seqs[order[-1]]), threads)

    def _as_written(self, rows: Rows) -> Rows:
        """Rows for a new segment, which will vouch for them: those that rotted in the file of an
        old one since it was opened come from the truth. What is there no more is left out."""
        changed = rows.changed()
        if not changed:
            return rows
        _log.error(
            "%d rows of segments in %s are not as they were written; the truth has them",
            len(changed),
            self._folder,
        )
        seqs = rows.seqs[changed]
        whole = rows.without(changed)
        return joined([whole, *self._truth.rows(seqs)])

    def _written(
        self, batches: Iterable[Rows], first: int, last: int, threads: int
    ) -> Segment | None:
        make_folders(str(self._folder))
        path = self._folder / f"{first}-{last}.seg"
        again = 0
        while path.exists():
            again += 1
            path = self._folder / f"{first}-{last}-{again}.seg"
        options = self._options
        return write_rows(
            path,
            batches,
            Building(self._spec, options.codes, threads, self._stopped, options.faults),
        )

    def _swapped(self, now: View, then: View, work: Work, new: Segment | None) -> View:
        """The present view with the new segment in the place of what it was made of. Rows that
        died meanwhile are dead in it, too."""
        gone = {id(then.segments[at].rows) for at in work.segments}
        parts = [part for part in now.segments if id(part.rows) not in gone]
        sources = [part for part in now.segments if id(part.rows) in gone]
        tail = now.tail
        if work.tail:
            assert isinstance(tail.rows, Tail)
            sources.append(_first(tail, then.tail.length))
            rest = tail.rows.rest(then.tail.length)
            dead = np.flatnonzero(_dead(tail)[then.tail.length :])
            tail = longer(Part(rest, 0), rest.count).killing(dead)
        if new is not None:
            died = [part.rows.seqs[: part.length][_dead(part)] for part in sources]
            part = Part(new, new.count).without(np.unique(np.concatenate(died)))
            parts.append(part)
        return View(tuple(sorted(parts, key=lambda part: int(part.rows.seqs[0]))), tail)

    def _follow(self) -> None:
        """Let the manifest name the segments of the view, then remove those that it let go.
        While that fails the view holds all the same, and it is tried again."""
        write_manifest(self._folder, self._names(), self._options.faults)
        self._behind = False
        self._sweep()
        self._options.faults("compaction:swept")


def _dead(part: Part) -> Any:
    return np.zeros(part.length, np.bool_) if part.dead is None else part.dead


def _first(part: Part, length: int) -> Part:
    dead = None if part.dead is None else part.dead[:length]
    count = 0 if dead is None else int(np.count_nonzero(dead))
    return Part(part.rows, length, dead, count)


def _matching(part: Part, filter_: Filter) -> Any:
    rows = part.rows
    if isinstance(rows, Segment):
        return rows.choose(filter_, part.dead).positions
    chosen = rows.select(filter_, part.length)
    return chosen if part.dead is None else chosen[~part.dead[chosen]]


def _gathered(parts: list[Part], owner: Any, positions: Any) -> Rows:
    """Rows of several parts, in the order given."""
    pieces = []
    for at, part in enumerate(parts):
        mine = positions[owner == at]
        if len(mine):
            pieces.append(part.rows.rows(mine))
    return joined(pieces)
