"""What a lake has already done, and how a run's files become visible all together.

The state lies in ``.stillhouse/state.json``. It is a cache with a memory: deleting it costs
a full run, never a row. A commit has one moment: outputs are written beside the lake
(``.stillhouse/staging/``), then the state that names them replaces the old one, then they
are moved into place. A crash before that moment leaves the old lake, a crash after it is
finished by the next run (`recover`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from stillhouse.errors import LakeError
from stillhouse.interfaces import Store
from stillhouse.lake import PRIVATE, Span

STATE_PATH: Final = f"{PRIVATE}/state.json"
STAGING: Final = f"{PRIVATE}/staging"
STATE_VERSION: Final = 1


class FileState(msgspec.Struct, frozen=True):
    """One file as this program left it."""

    path: str
    bytes: int
    rows: int
    sha256: str
    fingerprint: str = ""


class Epoch(msgspec.Struct, frozen=True, array_like=True):
    """Raw bytes up to ``end`` were first read at ``recorded_at``: a rebuild gives each row
    the time it had (SPEC L2)."""

    end: int
    recorded_at: str


class RawState(msgspec.Struct, frozen=True):
    """How far a raw file was read, and what came of it.

    ``made_by`` names the code that read it: another version reads it anew. ``torn`` is the
    size of an unfinished last line, which is quarantined by itself and read again later;
    ``torn_counts`` is what it adds to ``counts`` until then.
    """

    path: str
    fingerprint: str
    end: int
    lines: int
    sha256: str
    made_by: str
    epochs: list[Epoch]
    counts: dict[str, int]
    torn: int = 0
    torn_counts: dict[str, int] = {}


class PartitionState(msgspec.Struct, frozen=True):
    """One day of one stem. ``scored`` and ``index`` are None until it was scored."""

    day: str
    stem: str
    evidence: FileState
    scored: FileState | None = None
    index: FileState | None = None
    counts: dict[str, int] = {}


def unknown(part: PartitionState) -> PartitionState:
    """The partition without fingerprints: only its bytes can tell whether it is as it was."""

    def bare(file: FileState) -> FileState:
        return msgspec.structs.replace(file, fingerprint="")

    return msgspec.structs.replace(
        part,
        evidence=bare(part.evidence),
        scored=bare(part.scored) if part.scored else None,
        index=bare(part.index) if part.index else None,
    )


class Head(msgspec.Struct, frozen=True, array_like=True):
    """A line that must stand at the head of its file when no earlier line has its bits
    (`exports.dataset.shape`): where it lies in its chunk's span."""

    bits: int
    start: int
    size: int


class ChunkState(msgspec.Struct, frozen=True):
    """What one chunk of a partition gave an export: the key of all it depends on, where its
    lines lie in the export's files, and its share of the counts and statistics."""

    key: str
    spans: dict[str, Span]
    counts: dict[str, int]
    heads: dict[str, list[Head]] = {}
    stats: msgspec.Raw = msgspec.Raw(b"null")


class ExportState(msgspec.Struct, frozen=True):
    """One kind of export as it was written last."""

    options: str
    inputs: str
    files: dict[str, FileState]
    chunks: dict[str, ChunkState]
    counts: dict[str, int]


class State(msgspec.Struct):
    """The whole of it. ``generation`` counts commits; ``pending`` and ``removed`` are what a
    commit still owes: files to move out of the folder ``staging``, and files to delete."""

    version: int = STATE_VERSION
    generation: int = 0
    raw: dict[str, RawState] = {}
    partitions: dict[str, PartitionState] = {}
    quarantine: dict[str, FileState] = {}
    exports: dict[str, ExportState] = {}
    receipts: dict[str, FileState] = {}
    staging: str = ""
    pending: list[str] = []
    removed: list[str] = []

    def owes(self) -> bool:
        """True while a commit is decided but not all moves are made."""
        return bool(self.pending or self.removed)


class _Version(msgspec.Struct):
    version: int = 0


def load_state(store: Store) -> State | None:
    """The lake's state; None when there is none, or none that can be trusted.

    The file's second line is the SHA-256 of its first: a state that was edited, cut or
    mixed up is no state. Raises `LakeError` when a newer version wrote it.
    """
    if store.stat(STATE_PATH) is None:
        return None
    body, _, written = store.read(STATE_PATH).partition(b"\n")
    if written.strip() != seal(body):
        return None
    try:
        version = msgspec.json.decode(body, type=_Version).version
        if version > STATE_VERSION:
            raise LakeError(
                "was last written by a newer Stillhouse",
                where=store.url,
                way_out="Upgrade, or delete the .stillhouse folder to rebuild with this version.",
            )
        return msgspec.json.decode(body, type=State) if version == STATE_VERSION else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def commit(
    store: Store, state: State, staging: str, outputs: Iterable[str], removed: Iterable[str]
) -> None:
    """Make the ``outputs`` in the folder ``staging`` visible and the ``removed`` files go,
    all or nothing.

    ``state`` describes the lake after the commit; its fingerprints of the outputs are
    filled in here.
    """
    state.generation += 1
    state.staging, state.pending, state.removed = staging, sorted(outputs), sorted(removed)
    store.persist([f"{staging}/{path}" for path in state.pending])
    _save(store, state)
    _finish(store, state)


def vouch(store: Store, state: State, stems: Container[str], exports: Iterable[str]) -> None:
    """Take the present fingerprints of these stems' and exports' files, whose hashes were found
    right by the caller, and keep them."""

    def now(file: FileState) -> FileState:
        entry = store.stat(file.path)
        return msgspec.structs.replace(file, fingerprint=entry.fingerprint if entry else "")

    for name, part in state.partitions.items():
        if part.stem in stems:
            state.partitions[name] = msgspec.structs.replace(
                part,
                evidence=now(part.evidence),
                scored=now(part.scored) if part.scored else None,
                index=now(part.index) if part.index else None,
            )
    for name, file in state.quarantine.items():
        if name.removeprefix("torn/") in stems:
            state.quarantine[name] = now(file)
    for kind in exports:
        export = state.exports[kind]
        files = {name: now(file) for name, file in export.files.items()}
        state.exports[kind] = msgspec.structs.replace(export, files=files)
    _save(store, state)


def recover(store: Store, state: State) -> bool:
    """Finish the commit that a crash interrupted, and clear what was never committed.

    Returns True when there was a commit to finish.
    """
    owed = state.owes()
    if owed:
        _finish(store, state)
    else:
        clear_staging(store)
    return owed


def clear_staging(store: Store) -> None:
    """Remove what an interrupted run left behind."""
    for entry in list(store.list(STAGING)):
        store.delete(entry.path)
    folder = store.local_path(STAGING)
    if folder is not None:
        # A store keeps emptied folders; a thousand runs must not leave a thousand trees.
        with suppress(OSError):
            _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            _remove_empty(child)
    folder.rmdir()


def _finish(store: Store, state: State) -> None:
    published: dict[str, str] = {}
    for path in state.pending:
        staged = f"{state.staging}/{path}"
        # Where nothing is staged, it was moved before a crash. What became of it since, its
        # hash will tell: no fingerprint vouches for it.
        published[path] = ""
        if store.stat(staged) is not None:
            store.publish(staged, path, durable=False)
            entry = store.stat(path)
            published[path] = entry.fingerprint if entry else ""
    for path in state.removed:
        store.delete(path)
    # On disk before the state forgets that it owed them.
    store.persist([path for path in state.pending if store.stat(path) is not None])
    state.staging, state.pending, state.removed = "", [], []
    _refresh(state, published)
    _save(store, state)
    clear_staging(store)


def _refresh(state: State, published: dict[str, str]) -> None:
    """Fingerprints are those of the published files: a move may change them."""

    def now(file: FileState) -> FileState:
        fingerprint = published.get(file.path)
        if fingerprint is None:
            return file
        return msgspec.structs.replace(file, fingerprint=fingerprint)

    for name, part in state.partitions.items():
        made = (part.evidence, part.scored, part.index)
        if any(file is not None and file.path in published for file in made):
            state.partitions[name] = msgspec.structs.replace(
                part,
                evidence=now(part.evidence),
                scored=now(part.scored) if part.scored else None,
                index=now(part.index) if part.index else None,
            )
    state.quarantine = {name: now(file) for name, file in state.quarantine.items()}
    state.receipts = {name: now(file) for name, file in state.receipts.items()}
    for kind, export in state.exports.items():
        files = {name: now(file) for name, file in export.files.items()}
        state.exports[kind] = msgspec.structs.replace(export, files=files)


def _save(store: Store, state: State) -> None:
    with store.writer(STATE_PATH) as sink:
        body = msgspec.json.encode(state)
        sink.write(body + b"\n" + seal(body) + b"\n")


def seal(body: bytes) -> bytes:
    """What the state file says of its first line, as JSON."""
    return b'"' + sha256(body).hexdigest().encode() + b'"'
