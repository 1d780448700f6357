"""How the service runs, beside what `stillhouse.vectors.limits.Limits` says of single requests.

Nothing here reads the environment or a file.
"""

from __future__ import annotations

import msgspec


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes are in bytes, times in seconds."""

    connections: int = 1_000
    """Open at once; one more is answered 503 and closed."""
    header_bytes: int = 32 * 1024
    """The request line and headers of one request."""
    header_seconds: float = 10.0
    """From a request's first byte (or the connection's begin) to the end of its headers."""
    idle_seconds: float = 30.0
    """A connection without a request is kept so long."""
    grace_seconds: float = 30.0
    """What is under way at the end may take so long."""
    body_memory: int = 512 * 1024 * 1024
    """All bodies that are being received or worked on, together."""
    search_threads: int = 4
    """Single searches and look-ups."""
    batch_threads: int = 2
    """Batch searches and large ones."""
    write_threads: int = 16
    """Adds and deletes by id; a store that commits in groups wants many at once."""
    long_threads: int = 8
    """Merges, snapshots, deletes by filter, listings of all ids."""
    waiting: int = 256
    """Requests that may wait for a thread of each kind (of the long kind, an eighth)."""
    cursor_seconds: float = 300.0
    """A cursor that is not used expires after so long."""
    cursor_bytes: int = 256 * 1024 * 1024
    """All id sets that are being paged through, together."""
    cursors: int = 1_000
    """Id sets that are being paged through at once."""
    access_log: bool = True
    """Whether every request is a line of the log; what fails within always is."""
