"""The command that writes an example lake."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from stillhouse.cli import output
from stillhouse.cli.options import Json
from stillhouse.demo import write_demo_lake
from stillhouse.storage import open_store


def demo(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where to write it.")] = "demo-lake",
    rows: Annotated[int, typer.Option("--rows", min=60, help="About how many raw rows.")] = 400,
    json: Json = False,
) -> int:
    """Write a small example lake: every source, every category, and dirty rows."""
    summary = write_demo_lake(open_store(folder, create=True), rows)
    if json:
        output.emit(summary)
    else:
        command = f"stillhouse run {shlex.quote(folder)}"
        output.say(f"wrote an example lake to {folder}; now run: {command}")
    return 0
