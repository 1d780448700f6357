"""What goes into the vector store and comes out of it: the types that callers see.

They are also what the HTTP service and its client put on the wire. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

Metric = Literal["cosine", "ip", "l2"]
"""How near two vectors are. The score of a hit is the cosine similarity, the inner product
(both: more is nearer) or the Euclidean distance (less is nearer)."""

METRICS: Final[tuple[Metric, ...]] = ("cosine", "ip", "l2")

OnConflict = Literal["skip", "replace"]
"""What a merge does with an id that the destination holds with other content."""

Include = Literal["metadata", "vector"]
"""What of an item comes with a hit, beside its id and score."""

LATEST: Final = "latest"
"""What stands for the id of the newest snapshot of an index."""

Floats = npt.NDArray[np.float32]
Metadata = dict[str, Any]


class IndexSpec(msgspec.Struct, frozen=True):
    """What an index is made with, and never changes. ``metadata`` is the user's own."""

    name: str
    dimension: int
    metric: Metric = "cosine"
    metadata: Metadata | None = None


class IndexInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An index as it stands. ``tombstones`` counts items that a segment holds and that are dead;
    ``tail`` counts live items that no segment holds yet; ``bytes`` is what it takes on disk, as
    well as the backend can tell."""

    name: str
    dimension: int
    metric: Metric
    metadata: Metadata | None
    count: int
    segments: int = 0
    tombstones: int = 0
    tail: int = 0
    bytes: int = 0


class Item(msgspec.Struct, frozen=True):
    """A vector by its id. No metadata (None) and empty metadata ({}) are two things."""

    id: str
    vector: Sequence[float] | Floats
    metadata: Metadata | None = None


class Hit(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item that a search found. What was not asked for is unset."""

    id: str
    score: float
    metadata: Metadata | msgspec.UnsetType | None = msgspec.UNSET
    vector: list[float] | msgspec.UnsetType = msgspec.UNSET


Status = Literal["inserted", "replaced", "unchanged"]


class AddedItem(msgspec.Struct, frozen=True):
    """What became of one item of a batch."""

    id: str
    status: Status


class AddResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch, item by item in its order. A batch is taken whole or not at all."""

    results: list[AddedItem]
    inserted: int
    replaced: int
    unchanged: int


class DeleteResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many items were deleted, and which of the ids asked for were not there."""

    deleted: int
    missing: list[str] = []


class FailedItem(msgspec.Struct, frozen=True):
    """An item that a merge could not bring over, and why."""

    id: str
    error: str


class MergeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge did (SPEC V4).

    ``merged`` items were brought over (replaced ones among them), ``skipped`` ones were in the
    destination as they are, ``conflicts`` are there with other content, ``failed`` ones could not
    be brought over, ``cleared`` ones were deleted from the source, where ``remaining`` are left.
    """

    src: str
    dest: str
    merged: int
    skipped: int
    conflicts: list[str]
    failed: list[FailedItem]
    cleared: int
    remaining: int


class SnapshotInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of an index: an envelope at the snapshots' place.

    Ids sort by time. ``created_at`` is UTC as ISO text, ``sha256`` of all bytes but the last 36.
    ``damaged`` says why it cannot be restored, as far as its two ends tell: what lies between is
    read when it is restored. What a damaged one does not tell is left as it is here.
    """

    id: str
    index: str
    dimension: int = 0
    metric: Metric | None = None
    items: int = 0
    bytes: int
    sha256: str = ""
    created_at: str = ""
    damaged: str = ""


class EnvelopeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an index went to or came from. ``left_out`` counts the vectors of a version-1
    envelope that have no metadata, and so were not seen (SPEC V3)."""

    index: str
    version: int
    items: int
    left_out: int = 0


class Health(msgspec.Struct, frozen=True):
    """Whether the store acknowledges writes, and if not, why not."""

    writable: bool
    reason: str = ""


class Batch(NamedTuple):
    """Items by columns, checked: ``vectors`` is C-contiguous float32 of shape (n, dimension),
    ``metadata`` canonical JSON (see `stillhouse.vectors.checks`) or None. Ids are unique in it."""

    ids: list[str]
    vectors: Floats
    metadata: list[bytes | None]


class Hits(NamedTuple):
    """What one query found, nearest first, by columns; ``metadata`` (JSON) and ``vectors`` are
    there when they were asked for."""

    ids: list[str]
    scores: Floats
    metadata: list[bytes | None] | None = None
    vectors: Floats | None = None
