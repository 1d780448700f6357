"""Where vectors can be kept, chosen by a path or a URL: the one table of backends."""

from __future__ import annotations

from pathlib import Path

from stillhouse.errors import UsageError
from stillhouse.vectors.backend import Backend


def open_backend(data: str | Path) -> Backend:
    """The backend behind ``memory:`` or a folder, which is made when it is missing.

    Raises `UsageError` for a URL of an unknown kind, else what the backend raises on opening.
    """
    url = str(data)
    if url == "memory:":
        from stillhouse.vectors.memory import MemoryBackend

        return MemoryBackend()
    if "://" in url:
        raise UsageError(
            f"no vector store is known for {url.partition('://')[0]}:// URLs",
            way_out="Give a folder, or memory: to try it.",
        )
    from stillhouse.vectors.local import LocalBackend

    return LocalBackend(Path(url))
