"""The second run: what the receipts tell of, made anew from raw bytes into another store.

This module never looks at the lake's derived files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from stillhouse.distil import read_raw
from stillhouse.exports import ExportOptions, export
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import QUARANTINE, SCORED, stem_of
from stillhouse.receipts import FileDigest, hash_prefix
from stillhouse.records import QuarantineRow
from stillhouse.replay.told import Step, Told, export_steps
from stillhouse.state import FileState, RawState, State
from stillhouse.storage.overlay import OverlayStore
from stillhouse.work import Progress, Work

_MOST_TORN: Final = 1 << 20
"""An unfinished last line that went on since is looked for in so many bytes."""


class Maker(NamedTuple):
    """Who runs: version of Stillhouse, commit of its source where that is known."""

    version: str
    commit: str | None = None

    def words(self) -> str:
        """For people."""
        return f"stillhouse {self.version}" + (f" ({self.commit[:12]})" if self.commit else "")


def second_run(
    store: Store,
    engine: Engine,
    upper: Store,
    scratch: Path,
    maker: Maker,
    told: Told,
    progress: Progress,
) -> tuple[dict[str, FileState], list[str]]:
    """Everything that the claims are about, made anew; the files it gave, by path."""
    shown = {
        claim.file.path: claim.file.bytes + _torn_bytes(store, told, claim.file)
        for claim in told.raw.values()
        if store.stat(claim.file.path) is not None
    }
    state = State(
        generation=told.state.generation,
        raw={
            stem: _as_it_is(store, raw) for stem, raw in told.state.raw.items() if raw.path in shown
        },
    )
    scores = any(path.startswith(f"{SCORED}/") for path in told.claims)
    notes: list[str] = []
    view = OverlayStore(store, upper, shown)
    reading = Step(told.first, maker.version, [], ExportOptions())
    for recorded_at, version, kinds, options in [reading, *export_steps(told)]:
        work = Work(
            view,
            state,
            engine,
            recorded_at=recorded_at,
            # As the receipt has it, like its time: the dataset's card names it.
            version=version,
            scratch=scratch,
            git_commit=maker.commit,
            progress=progress,
        )
        if kinds:
            export(work, kinds, options)
        else:
            read_raw(work, with_scores=scores)
        work.commit()
        # Why all is read anew is known here; what else a stage has to say is not.
        notes += [note for note in work.notes if "known from receipts only" not in note]
    return {file.path: file for file in _files(state)}, list(dict.fromkeys(notes))


def _as_it_is(store: Store, raw: RawState) -> RawState:
    """What is told of a log, with the hash of the bytes that are there. That they are others is
    told by itself; the rows that are the same should not part by their times too."""
    with store.open(raw.path) as handle:
        found = hash_prefix(handle, raw.end, raw.path, 0)
    return msgspec.structs.replace(raw, end=found.bytes, sha256=found.sha256)


def _torn_bytes(store: Store, told: Told, raw: FileDigest) -> int:
    """How many bytes after those that were read were an unfinished line, refused by itself.

    The receipt names the refused row, and the row its hash. The line may have gone on since.
    """
    path = f"{QUARANTINE}/torn/{stem_of(raw.path)}.jsonl"
    entry = store.stat(raw.path)
    if entry is None or path not in told.claims or is_torn_lost(store, told, path):
        return 0
    data = store.read(path)
    row = msgspec.json.decode(data.splitlines()[0], type=QuarantineRow)
    tail = store.read(raw.path, raw.bytes, min(entry.size, raw.bytes + _MOST_TORN))
    running = hashlib.sha256()
    for size in range(1, len(tail) + 1):
        running.update(tail[size - 1 : size])
        if running.hexdigest() == row.sig_hash:
            # A carriage return at its end counted as part of a line end that was to come.
            return size + (tail[size:] == b"\r")
    return entry.size - raw.bytes


def is_torn_lost(store: Store, told: Told, path: str) -> bool:
    """Whether a file is the refused unfinished line of an earlier time: which bytes it had, only
    the file of that time could tell."""
    claim = told.claims[path]
    if not path.startswith(f"{QUARANTINE}/torn/"):
        return False
    return store.stat(path) is None or hashlib.sha256(store.read(path)).hexdigest() != (
        claim.file.sha256
    )


def _files(state: State) -> Iterator[FileState]:
    for part in state.partitions.values():
        yield part.evidence
        if part.scored is not None:
            yield part.scored
    yield from state.quarantine.values()
    for done in state.exports.values():
        yield from done.files.values()
