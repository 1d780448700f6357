"""The function types and protocols that hold the house together.

A step is a function type, not a base class. The edges of the system (a disk, an object
store, a pool of processes) are protocols; a fake of each ships beside the real thing and
is passed in as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from stillhouse.records import Category, EvidenceRecord, Signal, SourceClass

T = TypeVar("T")
U = TypeVar("U")


# ------------------------------------------------------------------------------ sources


class Anchor(NamedTuple):
    """Where a raw row stands: all that a transform may know beside the row itself.

    ``timestamp`` is the row's own time, already read and written as ISO 8601 UTC.
    """

    stem: str
    source_file: str
    line_offset: int
    sig_hash: str
    recorded_at: str
    timestamp: str


class Verdict(NamedTuple):
    """What a scorer says: never without a reason (SPEC C5)."""

    category: Category
    reasons: list[str]
    sub_scores: dict[str, Signal]


class Refusal(NamedTuple):
    """Why a row was refused: a stable code, and every problem in words (SPEC L3)."""

    reason: str
    detail: list[str]


Transform = Callable[[Any, Anchor], "EvidenceRecord"]
Scorer = Callable[["EvidenceRecord"], Verdict]
Template = Callable[["EvidenceRecord"], str]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of raw log, whole: how it is read, scored and turned into an instruction.

    ``raw`` is the typed raw row (a `stillhouse.rows.RawRow`); ``template`` gives the
    instruction of SPEC section 5; ``summary`` is one line for people.
    """

    stem: str
    source_class: SourceClass
    raw: type[msgspec.Struct]
    transform: Transform
    score: Scorer
    template: Template
    summary: str


# ------------------------------------------------------------------------------ storage


class Entry(NamedTuple):
    """One stored file: its path under the root (with ``/``), size in bytes, and a
    fingerprint that changes when the file is replaced or edited (inode, size and time of
    change on a disk; the ETag in an object store). Equal fingerprints mean "the same file
    as before" cheaply; only hashes prove it."""

    path: str
    size: int
    fingerprint: str


TailCheck = Callable[[bytes, int], None]
"""Told of the bytes after a file's last line end, and where they begin; raises when they are
no whole line."""


class Store(Protocol):
    """Plain files under one root. Paths are relative, use ``/``, and never leave the root.

    Every method raises `StorageError` (one clear line: what, where, what to do) for what
    the disk or the service refuses; a missing file is ``None`` from `stat` and a
    `StorageError` from the reading methods. A store can be pickled: workers get their own.
    """

    @property
    def url(self) -> str:
        """The root as the user would write it."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """All files below a folder (recursive), sorted by path; nothing when it is missing.
        Symbolic links are not followed out of the root; what is not a regular file is left out.
        Temporary files that a writer has not published are never listed."""

    def stat(self, path: str) -> Entry | None:
        """The file's entry, or ``None`` when there is none."""

    def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from ``start`` to ``end`` (exclusive; to the end when ``None``)."""

    def open(self, path: str, *, random: bool = False) -> BinaryIO:
        """A file to read from the start in pieces, buffered; the caller closes it. With
        ``random`` it is for small reads here and there: nothing is read ahead."""

    def writer(self, path: str, *, durable: bool = True) -> AbstractContextManager[Sink]:
        """Write a file whole or not at all: it appears under ``path`` (replacing what was
        there) only when the block ends well; with ``durable`` it is on disk by then."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file only if none is there; ``False`` when one is (conditional put)."""

    def append_line(self, path: str, line: bytes, check_tail: TailCheck) -> None:
        """Add one line to a small file, whole or not at all, also while others do; the file is
        made when it is missing, and the line is on disk on return. ``line`` comes without its
        line end. Where the file's last line has none, ``check_tail`` is asked first: it raises,
        and nothing is changed, or that line end is written too."""

    def snapshot(self, path: str) -> tuple[Entry, bytes] | None:
        """A small file that lines are added to, whole, and never in the middle of an addition;
        ``None`` when there is none."""

    def truncate(self, path: str, size: int, seen: Entry) -> bool:
        """Cut a small file to its first ``size`` bytes if it is still the one that was ``seen``;
        ``False``, and nothing is changed, when it is not."""

    def persist(self, paths: Sequence[str]) -> None:
        """When it returns, these files are on disk, and so are their names in their folders.
        One call for many files is far cheaper than a durable writer for each."""

    def publish(self, staged: str, target: str, *, durable: bool = True) -> None:
        """Move a finished file over another path, atomically. With ``durable`` the move is
        on disk when it returns; without, `persist` of the target makes it so."""

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens when it is not there. Empty parents may stay."""

    def lock(self, holder: str) -> AbstractContextManager[None]:
        """Hold the lake as its one writer; `LakeLockedError` names the present holder."""

    def local_path(self, path: str) -> Path | None:
        """Where the file is on this machine's disk; ``None`` for other kinds of store."""

    def check_readable(self) -> None:
        """Raise `LakeError` with a way out when the root is missing or not a folder."""


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes | bytearray | memoryview, /) -> Any:
        """Take the bytes, all of them."""


# ------------------------------------------------------------------------------ engines


class Engine(Protocol):
    """Runs independent units of work. However many run at once and wherever, results come
    back in the order of the items, so that outputs are the same bytes on every engine."""

    @property
    def name(self) -> str:
        """``inline``, ``local`` or ``ray``."""

    @property
    def workers(self) -> int:
        """How many units may run at once."""

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Apply ``function`` (importable, pure but for its store) to each item, in order.

        At most a small multiple of `workers` items are in flight. A unit's
        `StillhouseError` is raised as it is; a worker that died raises `EngineError`.
        """

    def close(self) -> None:
        """End the workers. Safe to call twice."""
