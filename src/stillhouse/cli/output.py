"""How commands speak: JSON on stdout for programs, everything else on stderr for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stillhouse.errors import UsageError
from stillhouse.work import Progress as Hears
from stillhouse.work import silent


class _Screen(Console):
    """Standard error, which may go away while we write: `head` has seen enough."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


err = _Screen(stderr=True, highlight=False)
if not err.is_terminal:
    # A log or a pipe scrolls sideways: better one long line than a path cut in pieces.
    err.width = 120


def say(line: str, style: str = "") -> None:
    """One line for people; never markup from data."""
    err.print(Text(line, style=style), soft_wrap=True)


def fail(line: str) -> None:
    """The one line an error ends in."""
    err.print(Text("error: ", style="bold red") + Text(line), soft_wrap=True)


def note(line: str) -> None:
    """Something worth knowing that is no error."""
    err.print(Text("note: ", style="yellow") + Text(line), soft_wrap=True)


def number(count: int, what: str) -> str:
    """So many of what: ``1 file``, ``2 files``."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def emit(value: Any) -> None:
    """One JSON document on stdout, in UTF-8 whatever the terminal's encoding: JSON has no other."""
    if sys.stdout is None:
        raise UsageError(
            "standard output is closed, so there is nowhere to write JSON to",
            way_out="Leave --json out, or send it to a file.",
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.buffer.flush()


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: int = 0
) -> None:
    """A table whose last ``numbers`` columns are right-aligned numbers; nothing without rows."""
    if not rows:
        return
    grid = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    for place, column in enumerate(columns):
        right = place >= len(columns) - numbers
        grid.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row))
    err.print(grid)


def _cell(value: object) -> Text:
    return Text(f"{value:,}" if isinstance(value, int) else str(value))


@contextmanager
def progress(quiet: bool) -> Iterator[Hears]:
    """A progress bar a stage while the terminal is a person's; nothing otherwise."""
    if quiet or not err.is_terminal:
        yield silent
        return
    with Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    ) as bars:
        tasks: dict[str, Any] = {}

        def hear(stage: str, done: int, total: int | None, /) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield hear
