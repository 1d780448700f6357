"""Where vectors can be kept, chosen by a path or a URL: the one table of backends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stillhouse.errors import UsageError
from stillhouse.vectors.backend import Backend


def open_backend(data: str | Path) -> Backend:
    """The backend behind ``memory:``, a database, or a folder, which is made when it is missing.

    ``postgresql://<user>:<password>@host:port/database`` (or ``postgres://``) is PostgreSQL with
    pgvector, as libpq reads it, and ``?schema=name`` beside its options. ``milvus://host:port/db``
    is a Milvus, ``milvuss://`` one over TLS, ``milvus:FILE.db`` a milvus-lite in a file.

    Raises `UsageError` for a URL of an unknown kind or when the extra is missing, else what the
    backend raises on opening.
    """
    url = str(data)
    if url == "memory:":
        from stillhouse.vectors.memory import MemoryBackend

        return MemoryBackend()
    if url.startswith(("postgresql://", "postgres://")):
        with _extra("pgvector", "psycopg"):
            from stillhouse.vectors.pg import PgBackend
        return PgBackend(url)
    if url.startswith(("milvus:", "milvuss:")):
        with _extra("milvus", "pymilvus"):
            from stillhouse.vectors.milvus import MilvusBackend
        return MilvusBackend(url)
    if "://" in url:
        raise UsageError(
            f"no vector store is known for {url.partition('://')[0]}:// URLs",
            way_out="Give a folder, postgresql://…, milvus://…, or memory: to try it.",
        )
    from stillhouse.vectors.local import LocalBackend

    return LocalBackend(Path(url))


@contextmanager
def _extra(extra: str, package: str) -> Iterator[None]:
    """Turns a missing package into one clear line."""
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"this vector store needs {package}: {error}",
            way_out=f"Run: pip install 'stillhouse[{extra}]'",
        ) from error
