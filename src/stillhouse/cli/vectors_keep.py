"""The command that looks after a folder of vector indexes: rebuild."""

from __future__ import annotations

from typing import Annotated

import typer

from stillhouse.cli import output
from stillhouse.cli.options import Json
from stillhouse.cli.vectors_options import DATA, check_folder_there, is_url
from stillhouse.errors import UsageError


def rebuild(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The index (default: all).")
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="DIR", help="Folder of the indexes.")
    ] = DATA,
    json: Json = False,
) -> int:
    """Throw the graphs of a folder's indexes away and build them anew from the database.

    Never needed for damage, which is mended at opening; it takes the time that building takes.
    """
    if is_url(data):
        raise UsageError("only a folder has graphs to rebuild", where=data.partition(":")[0])
    check_folder_there(data)
    from stillhouse.vectors.local import LocalBackend  # faiss: an extra, and slow to import

    backend = LocalBackend(data)
    try:
        done = backend.rebuild(name)
        for one in done:
            backend.settle(one)
    finally:
        backend.close()
    if json:
        output.emit({"schema_version": 1, "rebuilt": done})
    else:
        output.say(
            f"rebuilt {len(done):,} {'index' if len(done) == 1 else 'indexes'}: {', '.join(done)}"
        )
    return 0
