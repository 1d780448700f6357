"""How units of work run: here, in processes of this machine, or on a Ray cluster.

Results come back in the order of the items on every engine, so outputs are the same bytes.
This package knows nothing of what a unit does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stillhouse.engines.inline import InlineEngine
from stillhouse.engines.local import LocalEngine
from stillhouse.errors import UsageError

if TYPE_CHECKING:
    from stillhouse.engines.ray_engine import RayEngine

ENGINES: Final = ("local", "ray", "inline")

__all__ = ["ENGINES", "InlineEngine", "LocalEngine", "start_engine"]


def start_engine(name: str, workers: int | None = None) -> InlineEngine | LocalEngine | RayEngine:
    """The engine of that name; ``workers`` is how many units run at once (default: as many
    as this process may use cores; on Ray, as many as the cluster has).

    Use it as a context manager, or call `close`. Local processes start with the first `map`
    that has work for them. Raises `UsageError` for an unknown name or a number below 1, and
    `EngineError` when Ray is missing or cannot be reached.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers cannot work", way_out="Give 1 or more.")
    if name == "inline":
        return InlineEngine()
    if name == "local":
        return LocalEngine(workers)
    if name == "ray":
        # An extra, and slow to import.
        from stillhouse.engines.ray_engine import RayEngine

        return RayEngine(workers)
    raise UsageError(f"there is no engine {name!r}", way_out=f"Use one of {', '.join(ENGINES)}.")
