"""Where a lake's bytes are: a folder, an object store, or (for tests) this process's memory.

`open_store` is the one way in. This package moves bytes; it never knows what they mean.
Importing it loads no client of an object store: that happens when one is opened.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from stillhouse.errors import UsageError
from stillhouse.interfaces import Store
from stillhouse.storage.local import LocalStore
from stillhouse.storage.memory import MemoryStore

OBJECT_SCHEMES: Final = ("s3", "gs", "az")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

__all__ = ["OBJECT_SCHEMES", "LocalStore", "MemoryStore", "open_store"]


def open_store(url: str, *, create: bool = False) -> Store:
    """The store of a lake: a path, ``file://``, ``s3://bucket/prefix``, ``gs://…``, ``az://…``.

    ``memory://name`` is for tests: the same name is the same store within this process.
    With ``create`` a missing root folder is made (object stores need none). Nothing is read
    yet: `Store.check_readable` says whether the lake is there. Raises `UsageError` for an
    address that cannot be one.
    """
    if not url or "\0" in url:
        raise UsageError(
            "the lake's address is empty or holds a NUL byte",
            way_out="Give a folder, or an address like s3://bucket/prefix.",
        )
    found = _SCHEME.match(url)
    if found is None:
        return LocalStore(url, create=create)
    scheme = found[1].lower()
    if scheme == "file":
        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"}:
            raise UsageError(
                f"names the host {parts.netloc!r}, and file:// reads this machine only",
                where=url,
                way_out="Write file:///path, or mount that host and give the path.",
            )
        return LocalStore(unquote(parts.path), create=create)
    if scheme == "memory":
        return MemoryStore.named(url)
    if scheme in OBJECT_SCHEMES:
        # Slow to import, and a lake in a folder does not need it.
        from stillhouse.storage.objects import ObjectStore

        return ObjectStore(url)
    known = ", ".join(f"{name}://" for name in ("file", *OBJECT_SCHEMES))
    raise UsageError(
        f"{scheme}:// is not a kind of lake", where=url, way_out=f"Use a plain path, or {known}."
    )
