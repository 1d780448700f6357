"""The commands that keep vector indexes: snapshots, files to carry away, rebuilding."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stillhouse.cli import output
from stillhouse.cli.options import Json
from stillhouse.cli.vectors_options import (
    DATA,
    Data,
    KeyFile,
    Name,
    Snapshots,
    Url,
    check_folder_there,
    is_url,
    open_service,
    open_store,
)
from stillhouse.errors import UsageError
from stillhouse.vectors import VectorService
from stillhouse.vectors.values import LATEST

Replace = Annotated[
    bool, typer.Option("--replace", help="Give up the index of that name that is there.")
]


def snapshot(
    name: Name,
    snapshots: Snapshots = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """Write an index down as it stands, to where snapshots are kept."""
    with open_service(data, url, key_file, snapshots=snapshots) as service:
        made = service.snapshot(name)
    if json:
        output.emit({"schema_version": 1, "snapshot": made})
    else:
        size = output.number(made.bytes, "byte")
        output.say(f"snapshot {made.id}: {output.number(made.items, 'item')}, {size}")
    return 0


def list_snapshots(
    name: Name,
    snapshots: Snapshots = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """The snapshots of an index, oldest first. Exit code 1 when there is none."""
    with open_service(data, url, key_file, snapshots=snapshots) as service:
        found = service.snapshots(name)
    if json:
        output.emit({"schema_version": 1, "index": name, "snapshots": found})
    elif found:
        rows = [(one.id, one.created_at, one.items, one.bytes) for one in found]
        output.table(f"Snapshots of {name}", ["snapshot", "made at", "items", "bytes"], rows, 2)
    else:
        output.say(f"no snapshots of {name}: `stillhouse vectors snapshot` makes one")
    return 0 if found else 1


def restore(
    name: Name,
    snapshot: Annotated[
        str, typer.Argument(metavar="SNAPSHOT", help="Its id, as `snapshots` lists it, or latest.")
    ],
    into: Annotated[
        str | None,
        typer.Option("--into", metavar="NAME", help="Restore as this index (default: the same)."),
    ] = None,
    replace: Replace = False,
    snapshots: Snapshots = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """Make an index of a snapshot: whole, or not at all."""
    with open_service(data, url, key_file, snapshots=snapshots, make=bool(snapshots)) as service:
        snapshot = _id_of(service, name, snapshot)
        items = service.restore(name, snapshot, into, replace)
    target = name if into is None else into
    if json:
        output.emit({"schema_version": 1, "index": target, "snapshot": snapshot, "items": items})
    else:
        output.say(f"restored {output.number(items, 'item')} into {target} from {snapshot}")
    return 0


def delete_snapshot(
    name: Name,
    snapshot: Annotated[
        str, typer.Argument(metavar="SNAPSHOT", help="Its id, as `snapshots` lists it, or latest.")
    ],
    snapshots: Snapshots = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """Remove a snapshot of an index, for good. The index itself stays as it is."""
    with open_service(data, url, key_file, snapshots=snapshots, make=bool(snapshots)) as service:
        snapshot = _id_of(service, name, snapshot)
        service.delete_snapshot(name, snapshot)
    if json:
        output.emit({"schema_version": 1, "index": name, "deleted": snapshot})
    else:
        output.say(f"removed snapshot {snapshot} of {name}")
    return 0


def export(
    name: Name,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write.")],
    data: Data = None,
    json: Json = False,
) -> int:
    """Write an index to a file, to carry it elsewhere. A file that is there is replaced."""
    with open_store(data) as store:
        done = store.export_file(name, file)
    if json:
        output.emit({"schema_version": 1, "file": file, "exported": done})
    else:
        output.say(f"exported {output.number(done.items, 'item')} of {name} to {file}")
    return 0


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file that export wrote.")],
    into: Annotated[str, typer.Option("--into", metavar="NAME", help="The index to make.")],
    replace: Replace = False,
    data: Data = None,
    json: Json = False,
) -> int:
    """Make an index of a file, whole or not at all. Files of version 1 are read, too."""
    with open_store(data, make=True) as store:
        done = store.import_file(file, into, replace)
    if json:
        output.emit({"schema_version": 1, "file": file, "imported": done})
        return 0
    output.say(f"imported {output.number(done.items, 'item')} into {into} from {file}")
    if done.left_out:
        output.note(
            f"{output.number(done.left_out, 'vector')} had no metadata: a file of version 1 tells "
            "of ids in its metadata alone"
        )
    return 0


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


def check(
    data: Annotated[
        str, typer.Option("--data", metavar="DIR", help="Folder of the indexes.")
    ] = DATA,
    json: Json = False,
) -> int:
    """Look at every byte of a folder that nobody has open, and change nothing.

    Exit code 1 when something is lost that was acknowledged; what mends itself at the next opening
    is said, and is 0.
    """
    if is_url(data):
        raise UsageError("only a folder can be checked", where=data.partition(":")[0])
    check_folder_there(data)
    from stillhouse.vectors.check import check_folder  # faiss: an extra, and slow to import

    found = check_folder(Path(data))
    if json:
        problems = [problem._asdict() for problem in found.problems]
        output.emit(
            {"schema_version": 1, "data": data, "indexes": found.indexes, "problems": problems}
        )
        return 1 if found.lost else 0
    for problem in found.problems:
        output.say(f"{problem.where}: {problem.what}. {problem.way_out}")
    items = output.number(sum(found.indexes.values()), "item")
    count = f"{len(found.indexes):,} {'index' if len(found.indexes) == 1 else 'indexes'}"
    if found.lost:
        output.say("acknowledged data is damaged", "bold red")
    else:
        output.say(f"{count}, {items}: all as acknowledged")
    return 1 if found.lost else 0


def _id_of(service: VectorService, name: str, snapshot: str) -> str:
    """The id that is meant, so that it can be told which one ``latest`` was."""
    found = service.snapshots(name) if snapshot == LATEST else []
    return found[-1].id if found else snapshot
