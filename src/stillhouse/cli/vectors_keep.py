"""The commands that keep vector indexes: snapshot, snapshots, restore."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from stillhouse.cli import output
from stillhouse.cli.options import Json
from stillhouse.cli.vectors_options import Data, KeyFile, Name, Snapshots, Url, open_service
from stillhouse.errors import VectorNotFoundError
from stillhouse.vectors import VectorService

LATEST: Final = "latest"
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
        if snapshot == LATEST:
            snapshot = _latest(service, name)
        items = service.restore(name, snapshot, into, replace)
    target = name if into is None else into
    if json:
        output.emit({"schema_version": 1, "index": target, "snapshot": snapshot, "items": items})
    else:
        output.say(f"restored {output.number(items, 'item')} into {target} from {snapshot}")
    return 0


def _latest(service: VectorService, name: str) -> str:
    found = service.snapshots(name)
    if not found:
        raise VectorNotFoundError(f"there is no snapshot of {name!r}", code="snapshot_not_found")
    return found[-1].id
