"""How much one may ask of the vector store at once (SPEC V7).

Whoever opens a store may set other limits; each is held by `stillhouse.vectors.checks` or, for
bodies and time, by the service.
"""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Upper bounds. Sizes are in bytes, times in seconds."""

    name_bytes: int = 128
    id_bytes: int = 512
    dimension: int = 16_384
    metadata_bytes: int = 65_536
    """Of one item, as canonical JSON; also of an index's own metadata."""
    metadata_depth: int = 32
    batch_items: int = 10_000
    """Items in one add, ids in one delete."""
    queries: int = 1_000
    """Vectors in one search."""
    k: int = 10_000
    ef: int = 10_000
    hits: int = 100_000
    """Hits of one search: its vectors times ``k``."""
    hit_numbers: int = 4_000_000
    """Numbers of the vectors that come with the hits of one search: hits times dimension."""
    filter_clauses: int = 1_000
    filter_fields: int = 32
    """Different fields in one filter; the first filter on a field reads all metadata."""
    filter_depth: int = 32
    page: int = 10_000
    """Ids on one page."""
    body_bytes: int = 64 * 1024 * 1024
    request_seconds: float = 60.0
