"""Options that the vector commands share, and where they find their indexes: in a folder or a
database here, or behind a server.

Only what makes an index makes a folder; every other command says that there is none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from stillhouse.errors import UsageError, VectorNotFoundError
from stillhouse.storage.paths import disk_error
from stillhouse.vectors import Limits, VectorService, VectorStore

DATA: Final = "vectors"
_PARTS: Final = ("truth.db", "acked")
"""What every folder of indexes has."""
_KEY_BYTES: Final = 65_536
TOO_DEEP: Final = "it is nested too deeply"
_ANY: Final = 2**53
_SERVERS: Final = Limits(
    metadata_bytes=_ANY,
    batch_items=_ANY,
    queries=_ANY,
    k=_ANY,
    ef=_ANY,
    hits=_ANY,
    hit_numbers=_ANY,
    body_bytes=_ANY,
)
"""A server has limits of its own, and says so itself."""
_URL: Final = re.compile(r"[a-z]{2,}:")
"""How what is no folder begins: ``postgresql://``, ``milvus:``."""

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help=f"Folder of the indexes, or a database's URL (default: {DATA}).",
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Ask the server at http://HOST:PORT instead."),
]
KeyFile = Annotated[
    str | None,
    typer.Option("--api-key-file", metavar="FILE", help="File with the server's API key."),
]
Snapshots = Annotated[
    str | None,
    typer.Option(
        "--snapshots",
        metavar="DIR",
        help="Where snapshots are kept: a folder or s3://bucket/prefix (default: DIR/snapshots).",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The index.")]


def open_service(
    data: str | None,
    url: str | None,
    key_file: str | None,
    *,
    snapshots: str | None = None,
    make: bool = False,
) -> VectorService:
    """The server or the store that the options name; whoever opens it closes it."""
    if url is None:
        if key_file is not None:
            raise UsageError("--api-key-file is for a server", way_out="Give its --url too.")
        return open_store(data, snapshots=snapshots, make=make)
    for option, given in (("--data", data), ("--snapshots", snapshots)):
        if given is not None:
            raise UsageError(f"{option} and --url do not go together: a server has its own")
    from stillhouse.vectors import Client  # needs an extra

    key = None if key_file is None else read_key(key_file)
    return Client(url, api_key=key, limits=_SERVERS)


def open_store(
    data: str | None, *, snapshots: str | None = None, make: bool = False
) -> VectorStore:
    """The store in a folder or a database."""
    where = data or DATA
    if where == "memory:":
        raise UsageError("what is in memory ends with the command", way_out="Give a folder.")
    if not make:
        check_folder_there(where)
    return VectorStore(where, snapshots=snapshots)


def is_url(where: str) -> bool:
    """Whether this is a database's URL, and no folder."""
    return bool(_URL.match(where))


def check_folder_there(where: str) -> None:
    """Raise `VectorNotFoundError` when a folder holds no indexes. One that has lost a part is for
    the store to judge."""
    if is_url(where):
        return
    if Path(where).is_file():
        raise UsageError("this is a file", where=where, way_out="Give the folder of the indexes.")
    if not any((Path(where) / part).exists() for part in _PARTS):
        raise VectorNotFoundError(
            "there are no vector indexes here",
            code="store_not_found",
            where=where,
            way_out="`stillhouse vectors create` makes the first.",
        )


# ------------------------------------------------------------------------------- reading


def read_key(file: str) -> str:
    """The first API key in a file as `stillhouse serve` takes it: one a line, ``#`` begins a
    comment. Raises `UsageError` that does not quote it."""
    try:
        with open(file, "rb") as stream:
            lines = stream.read(_KEY_BYTES).splitlines()
    except OSError as error:
        raise disk_error(error, "read the key", file) from error
    for line in lines:
        key = line.strip().decode("ascii", errors="replace")
        if key and not key.startswith("#"):
            return key
    raise UsageError("holds no key", where=file)


def parse(data: bytes, where: str, kind: Any, way_out: str = "") -> Any:
    """JSON that a user gave. Raises `UsageError`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be used: {error}", where=where, way_out=way_out) from None
    except RecursionError:
        raise UsageError(f"cannot be used: {TOO_DEEP}", where=where, way_out=way_out) from None


def parse_object(text: str | None, option: str) -> dict[str, Any] | None:
    """An option's JSON object; None without. Raises `UsageError`."""
    if text is None:
        return None
    found: dict[str, Any] = parse(text.encode(errors="replace"), option, dict[str, Any])
    return found
