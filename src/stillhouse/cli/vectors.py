"""The commands about vector indexes and their items: create, list, show, get, search, ids,
count, delete, merge, drop. The same on a folder of this machine and, with ``--url``, on a
server."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from stillhouse.cli import output
from stillhouse.cli import vectors_tables as tables
from stillhouse.cli.options import Json
from stillhouse.cli.vectors_files import read_vectors
from stillhouse.cli.vectors_options import Data, KeyFile, Name, Url, open_service, parse_object
from stillhouse.errors import UsageError


class MetricName(StrEnum):
    """How near two vectors are."""

    cosine = "cosine"
    ip = "ip"
    l2 = "l2"


class Conflict(StrEnum):
    """What a merge does with an id that both sides hold with other content."""

    # `str` has a method `replace`, so the members are called otherwise.
    keep_other = "skip"
    take_ours = "replace"


class Also(StrEnum):
    """What comes with a hit, beside its id, score and metadata."""

    vector = "vector"


Filter = Annotated[
    str | None, typer.Option("--filter", metavar="JSON", help='Only these, as {"lang": "en"}.')
]


# ------------------------------------------------------------------------------ indexes


def create(
    name: Name,
    dimension: Annotated[
        int, typer.Option("--dimension", "-d", min=1, help="How many numbers a vector has.")
    ],
    metric: Annotated[
        MetricName, typer.Option("--metric", help="cosine, ip (inner product) or l2 (Euclidean).")
    ] = MetricName.cosine,
    metadata: Annotated[
        str | None,
        typer.Option("--metadata", metavar="JSON", help="An object to keep with the index."),
    ] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """Make an index, and the folder if need be. The same again is no error, another one is."""
    told = parse_object(metadata, "--metadata")
    with open_service(data, url, key_file, make=True) as service:
        made = service.create(name, dimension, metric.value, told)
        info = service.describe(name)
    if json:
        output.emit({"schema_version": 1, "created": made, "index": info})
    else:
        kind = f"{info.dimension:,} dimensions, {info.metric}"
        output.say(f"made index {name}: {kind}" if made else f"index {name} is there: {kind}")
    return 0


def list_(data: Data = None, url: Url = None, key_file: KeyFile = None, json: Json = False) -> int:
    """Every index with its size. Exit code 1 when there is none."""
    with open_service(data, url, key_file) as service:
        found = service.indexes()
    if json:
        output.emit({"schema_version": 1, "indexes": found})
    elif found:
        tables.indexes(found)
    else:
        output.say("no indexes: `stillhouse vectors create` makes one")
    return 0 if found else 1


def show(
    name: Name, data: Data = None, url: Url = None, key_file: KeyFile = None, json: Json = False
) -> int:
    """One index: its size, segments, tombstones, and the metadata it was made with."""
    with open_service(data, url, key_file) as service:
        info = service.describe(name)
    if json:
        output.emit({"schema_version": 1, "index": info})
        return 0
    tables.indexes([info])
    if info.metadata is not None:
        output.say(f"metadata: {tables.compact(info.metadata)}")
    return 0


def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """Remove an index with all its items, after asking."""
    with open_service(data, url, key_file) as service:
        count = service.describe(name).count
        if not yes:
            if json or sys.stdin is None or not sys.stdin.isatty():
                raise UsageError("nobody is there to ask", way_out="Say --yes to drop the index.")
            items = output.number(count, "item")
            typer.confirm(f"Drop index {name} with {items}?", abort=True, err=True)
        service.drop(name)
    if json:
        output.emit({"schema_version": 1, "dropped": name, "items": count})
    else:
        output.say(f"dropped index {name} with {output.number(count, 'item')}")
    return 0


# -------------------------------------------------------------------------------- items


def get(
    name: Name,
    id_: Annotated[str, typer.Argument(metavar="ID", help="The item.")],
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """One item with its vector and metadata."""
    with open_service(data, url, key_file) as service:
        item = service.get(name, id_)
    numbers = [float(number) for number in item.vector]
    if json:
        found = {"id": item.id, "vector": numbers, "metadata": item.metadata}
        output.emit({"schema_version": 1, "index": name, "item": found})
        return 0
    more = f", … ({len(numbers):,} in all)" if len(numbers) > 8 else ""
    output.say(f"{item.id}: {', '.join(f'{number:g}' for number in numbers[:8])}{more}")
    output.say(
        "no metadata" if item.metadata is None else f"metadata: {tables.compact(item.metadata)}"
    )
    return 0


def ids(
    name: Name, data: Data = None, url: Url = None, key_file: KeyFile = None, json: Json = False
) -> int:
    """Every id on standard output, one a line, sorted: one state of the index."""
    with open_service(data, url, key_file) as service:
        found = service.ids(name)
    if json:
        output.emit({"schema_version": 1, "index": name, "ids": found})
    else:
        output.emit_bytes("".join(f"{id_}\n" for id_ in found).encode())
    return 0


def count(
    name: Name,
    filter_: Filter = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """How many items an index has, or a filter matches, on standard output."""
    wanted = parse_object(filter_, "--filter")
    with open_service(data, url, key_file) as service:
        found = service.count(name, wanted)
    if json:
        output.emit({"schema_version": 1, "index": name, "count": found})
    else:
        output.emit_bytes(f"{found}\n".encode())
    return 0


def delete(
    name: Name,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="The items.")] = None,
    filter_: Filter = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """Delete items by id, or all that a filter matches. Exit code 1 when an id is not there."""
    if bool(ids) == (filter_ is not None):
        raise UsageError("give either ids or --filter")
    wanted = parse_object(filter_, "--filter")
    with open_service(data, url, key_file) as service:
        done = service.delete(name, ids) if ids else service.delete(name, filter=wanted or {})
    if json:
        output.emit(
            {"schema_version": 1, "index": name, "deleted": done.deleted, "missing": done.missing}
        )
    else:
        output.say(f"deleted {output.number(done.deleted, 'item')} from {name}")
        for id_ in done.missing:
            output.say(f"there was no item {id_}")
    return 1 if done.missing else 0


# ---------------------------------------------------------------------------- searching


def search(
    name: Name,
    vector: Annotated[
        str | None, typer.Option("--vector", metavar="JSON", help="A list of numbers.")
    ] = None,
    vector_file: Annotated[
        str | None,
        typer.Option(
            "--vector-file",
            metavar="FILE",
            help="One or several vectors: .npy, or JSON; without both options, JSON on stdin.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits at most.")] = 10,
    filter_: Filter = None,
    ef: Annotated[
        int | None, typer.Option("--ef", min=1, help="Look wider than usual: slower, more exact.")
    ] = None,
    include: Annotated[
        Also | None, typer.Option("--include", help="Print the vector of each hit too.")
    ] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """The nearest items, nearest first. Exit code 1 when none is found."""
    wanted = parse_object(filter_, "--filter")
    queries = read_vectors(vector, vector_file)
    with open_service(data, url, key_file) as service:
        found = service.search_many(
            name,
            queries,
            k,
            filter=wanted,
            ef=ef,
            include=("metadata", "vector") if include else ("metadata",),
        )
    if json:
        output.emit({"schema_version": 1, "index": name, "results": found})
    else:
        tables.hits(name, found, bool(include))
    return 0 if any(found) else 1


# ------------------------------------------------------------------------------ merging


def merge(
    src: Annotated[str, typer.Argument(metavar="SRC", help="The index to take items from.")],
    dest: Annotated[str, typer.Argument(metavar="DEST", help="The index to bring them into.")],
    clear_source: Annotated[
        bool,
        typer.Option("--clear-source", help="Delete from SRC what DEST took or holds the same."),
    ] = False,
    on_conflict: Annotated[
        Conflict,
        typer.Option("--on-conflict", help="An id that DEST holds with other content."),
    ] = Conflict.keep_other,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """Bring the items of an index into another; can be run again.

    Exit code 1 when items stayed behind: conflicts, or such as could not be brought over.
    """
    with open_service(data, url, key_file) as service:
        done = service.merge(src, dest, clear_source=clear_source, on_conflict=on_conflict.value)
    if json:
        output.emit({"schema_version": 1, **msgspec.to_builtins(done)})
    else:
        tables.merged(done)
    return 1 if done.conflicts or done.failed else 0
