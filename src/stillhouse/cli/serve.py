"""The command that puts vector indexes on the wire."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stillhouse.errors import UsageError
from stillhouse.vectors.limits import Limits
from stillhouse.web.options import ServeOptions

_LIMITS = "Limits"
_CAPACITY = "Capacity and time"


_LONGEST = 86_400.0
"""Seconds of any time that can be set: a day."""


def _finite(seconds: float) -> float:
    """A time that a clock can be set to: neither endless nor no number at all."""
    if not seconds <= _LONGEST:
        raise typer.BadParameter(f"must be a number of seconds up to {_LONGEST:,.0f}, a day")
    return seconds


class LogFormat(StrEnum):
    """How the log is written."""

    auto = "auto"
    json = "json"
    console = "console"


Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DIR|URL",
        help="Folder of the indexes (made when it is missing), or memory: to try it.",
    ),
]
Snapshots = Annotated[
    str | None,
    typer.Option(
        "--snapshots",
        metavar="DIR|URL",
        help="Where snapshots are kept: a folder or s3://bucket/prefix (default: DIR/snapshots).",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        metavar="F",
        help="Keys, one a line; needed to listen on anything but loopback.",
    ),
]
MaxBody = Annotated[
    int, typer.Option("--max-body-bytes", min=1, help="Of one request.", rich_help_panel=_LIMITS)
]
MaxK = Annotated[
    int, typer.Option("--max-k", min=1, help="Hits of one vector.", rich_help_panel=_LIMITS)
]
MaxBatch = Annotated[
    int,
    typer.Option(
        "--max-batch", min=1, help="Items in one add, ids in one delete.", rich_help_panel=_LIMITS
    ),
]
MaxQueries = Annotated[
    int,
    typer.Option("--max-queries", min=1, help="Vectors in one search.", rich_help_panel=_LIMITS),
]
MaxHits = Annotated[
    int,
    typer.Option(
        "--max-hits", min=1, help="Of all vectors of one search.", rich_help_panel=_LIMITS
    ),
]
MaxMetadata = Annotated[
    int,
    typer.Option("--max-metadata-bytes", min=2, help="Of one item.", rich_help_panel=_LIMITS),
]
Connections = Annotated[
    int,
    typer.Option("--max-connections", min=1, help="Open at once.", rich_help_panel=_CAPACITY),
]
RequestSeconds = Annotated[
    float,
    typer.Option(
        "--request-timeout",
        min=0.1,
        callback=_finite,
        metavar="SECONDS",
        help="For one request, its body included.",
        rich_help_panel=_CAPACITY,
    ),
]
IdleSeconds = Annotated[
    float,
    typer.Option(
        "--idle-timeout",
        min=1,
        callback=_finite,
        metavar="SECONDS",
        help="A connection without a request is kept so long.",
        rich_help_panel=_CAPACITY,
    ),
]
GraceSeconds = Annotated[
    float,
    typer.Option(
        "--grace",
        min=1,
        callback=_finite,
        metavar="SECONDS",
        help="What is under way at the end may take so long.",
        rich_help_panel=_CAPACITY,
    ),
]


def serve(
    data: Data = "vectors",
    snapshots: Snapshots = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")
    ] = 7700,
    api_key_file: KeyFile = None,
    log_format: Annotated[
        LogFormat,
        typer.Option("--log-format", help="auto: console on a terminal, json elsewhere."),
    ] = LogFormat.auto,
    no_access_log: Annotated[
        bool, typer.Option("--no-access-log", help="Log what fails, not every request.")
    ] = False,
    max_body_bytes: MaxBody = 67_108_864,
    max_k: MaxK = 10_000,
    max_batch: MaxBatch = 10_000,
    max_queries: MaxQueries = 1_000,
    max_hits: MaxHits = 100_000,
    max_metadata_bytes: MaxMetadata = 65_536,
    max_connections: Connections = 1_000,
    request_timeout: RequestSeconds = 60.0,
    idle_timeout: IdleSeconds = 30.0,
    grace: GraceSeconds = 30.0,
) -> int:
    """Serve vector indexes over HTTP until Ctrl-C or SIGTERM. /docs lists the routes."""
    limits = Limits(
        body_bytes=max_body_bytes,
        k=max_k,
        batch_items=max_batch,
        queries=max_queries,
        hits=max_hits,
        metadata_bytes=max_metadata_bytes,
        request_seconds=request_timeout,
    )
    options = ServeOptions(
        connections=max_connections,
        idle_seconds=idle_timeout,
        grace_seconds=grace,
        access_log=not no_access_log,
    )
    where = (host, port, api_key_file)
    _serve((data, snapshots), where, limits, options, log_format)
    return 0


def _serve(
    kept: tuple[str, str | None],
    where: tuple[str, int, Path | None],
    limits: Limits,
    options: ServeOptions,
    log_format: LogFormat,
) -> None:
    """Serve. What can be refused is, before the data is opened."""
    try:
        from stillhouse.web import server
        from stillhouse.web.logs import make_log
    except ModuleNotFoundError as error:
        raise UsageError(
            f"serving needs the package {error.name}",
            way_out="Say pip install 'stillhouse[serve]'.",
        ) from None
    from stillhouse.vectors import VectorStore

    host, port, keys = where
    data, snapshots = kept
    words = {LogFormat.auto: None, LogFormat.json: False, LogFormat.console: True}
    log = make_log(console=words[log_format])
    guard = server.make_guard(host, keys, log)
    with (
        server.bind(host, port) as bound,
        VectorStore(data, limits=limits, snapshots=snapshots) as store,
    ):
        server.serve(
            store, bound, guard, log, options, lambda url: log.info("listening", url=url, data=data)
        )
