"""What one run carries from stage to stage: the lake, its state, the engine, the outputs.

A stage adds staged files to it; `Work.commit` makes them visible together with the
receipts that name them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from stillhouse.ingest import copy_span
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import PRIVATE, UNIT_BYTES, Span
from stillhouse.receipts import (
    BlockHasher,
    FileDigest,
    build_receipt,
    encode_receipt,
    receipt_path,
)
from stillhouse.state import STAGING, FileState, State, commit, vouch

T = TypeVar("T")
U = TypeVar("U")


class Progress(Protocol):
    """Hears how a stage gets on; ``total`` is None while it is not known."""

    def __call__(self, stage: str, done: int, total: int | None, /) -> None:
        """Called after each unit."""


def silent(stage: str, done: int, total: int | None, /) -> None:
    """Nobody is watching."""


class JoinTask(msgspec.Struct, frozen=True):
    """One file to put together of spans of others, and where it is ``staged``."""

    store: Store
    path: str
    staged: str
    spans: list[Span]


def join(task: JoinTask) -> FileDigest:
    """Write one file of a commit out of the pieces that it is made of."""
    hasher = BlockHasher()
    rows = 0
    with task.store.writer(task.staged, durable=False) as sink:
        for span in task.spans:
            copy_span(task.store, span, sink, hasher)
            rows += span.rows
    return hasher.digest(task.path, rows)


class Work:
    """One run over one lake."""

    def __init__(
        self,
        store: Store,
        state: State,
        engine: Engine,
        *,
        recorded_at: str,
        version: str,
        scratch: Path,
        git_commit: str | None = None,
        progress: Progress = silent,
        unit_bytes: int = UNIT_BYTES,
        recalled: bool = False,
    ) -> None:
        self.store = store
        self.state = state
        self.engine = engine
        self.recorded_at = recorded_at
        self.version = version
        self.scratch = scratch
        self.git_commit = git_commit
        self.progress = progress
        self.unit_bytes = unit_bytes
        self.notes: list[str] = []
        self.outputs: set[str] = set()
        self.removed: set[str] = set()
        self.gone: set[str] = set()
        """Files of others, raw logs, that receipts should say are rightly gone."""
        self.moved: set[str] = set()
        """Stems whose files were found right by their hashes, not by their fingerprints."""
        self.receipts_moved = False
        self.recalled = recalled
        """True when the state was lost, and is what receipts tell of it (`recall`)."""
        # No two runs share a folder (``scratch`` is a new one each time): a worker that
        # outlives a killed run must not write its unit among the files of the next one.
        self._folder = f"{STAGING}/{scratch.name}"
        self._blobs = self._numbers = 0
        self._known = _known(state)

    # ------------------------------------------------------------------------- staging

    @property
    def staging(self) -> str:
        """Folder of the files of the next commit."""
        return f"{self._folder}/next"

    def staged(self, path: str) -> str:
        """Where ``path`` is written until the commit, and note that it is an output."""
        self.outputs.add(path)
        self.removed.discard(path)
        return f"{self.staging}/{path}"

    def blob(self) -> str:
        """A new scratch path in the lake, for a unit's lines."""
        self._blobs += 1
        return f"{self._folder}/blobs/{self._blobs}"

    def next_number(self) -> int:
        """A number that no file in the scratch folder has in its name yet. Names of stems stay
        out of it: with a suffix they may be longer than a name may be."""
        self._numbers += 1
        return self._numbers

    def remove(self, path: str) -> None:
        """Let a file go at the commit, unless it is written again."""
        if path not in self.outputs:
            self.removed.add(path)

    def map(self, stage: str, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """The engine's ordered map, with progress."""
        total = len(items) if isinstance(items, list) else None
        self.progress(stage, 0, total)
        done = 0
        for done, result in enumerate(self.engine.map(function, items), 1):
            self.progress(stage, done, total)
            yield result
        self.progress(stage, done, done)

    # ------------------------------------------------------------------------- outputs

    def file_state(self, digest: FileDigest) -> FileState:
        """A digest as the state keeps it (the fingerprint comes with the commit)."""
        return FileState(digest.path, digest.bytes, digest.rows or 0, digest.sha256)

    def write(self, path: str, parts: Iterable[bytes], rows: int = 0) -> FileDigest:
        """Stage one small file."""
        hasher = BlockHasher()
        with self.store.writer(self.staged(path), durable=False) as sink:
            for part in parts:
                hasher.update(part)
                sink.write(part)
        return hasher.digest(path, rows)

    def join(self, files: Iterable[tuple[str, list[Span]]]) -> list[FileDigest]:
        """Stage files made of pieces of others; their digests in the given order."""
        tasks = [JoinTask(self.store, path, self.staged(path), spans) for path, spans in files]
        # The largest first, so that no worker is left with it at the end.
        order = sorted(range(len(tasks)), key=lambda at: -sum(s.size for s in tasks[at].spans))
        done = self.map("joining", join, [tasks[at] for at in order])
        return [digest for _, digest in sorted(zip(order, done, strict=True))]

    def receipt(
        self,
        stage: str,
        *,
        outputs: list[FileDigest],
        inputs: list[FileDigest],
        parameters: dict[str, object],
        counts: dict[str, int],
    ) -> None:
        """Stage the receipt of a stage that did something."""
        removed = sorted(
            path for path in self.removed | self.gone if not path.startswith(f"{PRIVATE}/")
        )
        receipt = build_receipt(
            stage,
            outputs,
            inputs,
            parameters,
            counts,
            recorded_at=self.recorded_at,
            version=self.version,
            commit=self.git_commit,
            sequence=self.state.generation + 1,
            removed=removed,
        )
        path = receipt_path(stage, self.recorded_at, receipt.sequence, receipt.run_hash)
        written = self.write(path, [encode_receipt(receipt)])
        self.state.receipts[path] = self.file_state(written)

    def changed(self, outputs: list[FileDigest]) -> bool:
        """False when the lake held these very files at the last commit and lets none go: a
        rebuild that gave the same bytes is no news, and the receipts that tell of them hold."""
        same = all(self._known.get(file.path) == file.sha256 for file in outputs)
        return not same or bool(self.removed or self.gone)

    def commit(self) -> None:
        """Make what is staged visible, all of it or nothing."""
        if self.outputs or self.removed:
            commit(self.store, self.state, self.staging, self.outputs, self.removed)
        self.outputs, self.removed, self.gone = set(), set(), set()
        self._known = _known(self.state)

    def vouch(self, exports: Iterable[str]) -> None:
        """After a run that found a copied lake to be as it should: take the fingerprints that
        its files have here, so that the next run need not hash them all again. So for a file
        whose mode, links or times changed, and nothing else."""
        kinds = [kind for kind in exports if self._is_moved(kind)]
        if self.moved or self.receipts_moved or kinds:
            vouch(self.store, self.state, self.moved, kinds)

    def _is_moved(self, kind: str) -> bool:
        """Whether an export is as it was written, but under other fingerprints."""
        files = self.state.exports[kind].files.values()
        found = [found_as(self.store, file) for file in files]
        return None not in found and found != [file.fingerprint for file in files]


def _known(state: State) -> dict[str, str]:
    """The hashes of evidence, scored runs and refused rows as the state has them."""
    files: list[FileState | None] = list(state.quarantine.values())
    for part in state.partitions.values():
        files += (part.evidence, part.scored)
    return {file.path: file.sha256 for file in files if file is not None}


def is_intact(store: Store, file: FileState | None) -> bool:
    """Whether a file is as we left it: cheap by fingerprint, by hash when in doubt."""
    return file is not None and found_as(store, file) is not None


def found_as(store: Store, file: FileState) -> str | None:
    """The fingerprint under which a file stands as we left it; None when it does not."""
    entry = store.stat(file.path)
    if entry is None or entry.size != file.bytes:
        return None
    if entry.fingerprint == file.fingerprint:
        return entry.fingerprint
    # Copied, restored from a backup or touched: the bytes decide.
    return entry.fingerprint if holds(Stored(store, file)) else None


class Stored(msgspec.Struct, frozen=True):
    """A file as the state knows it, and where it lies."""

    store: Store
    file: FileState


def holds(stored: Stored) -> bool:
    """Whether a file's bytes are those that we left, whatever its fingerprint says: asked before
    they are copied into a file that a new receipt will vouch for."""
    file = stored.file
    if stored.store.stat(file.path) is None:
        return False
    hasher = BlockHasher(0)
    with stored.store.open(file.path) as handle:
        while block := handle.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest() == file.sha256
