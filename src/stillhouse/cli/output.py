"""How commands speak: JSON on stdout for programs, everything else on stderr for people."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stillhouse.errors import UsageError
from stillhouse.interfaces import Engine
from stillhouse.work import Progress as Hears
from stillhouse.work import silent

T = TypeVar("T")
U = TypeVar("U")


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
    emit_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def emit_bytes(data: bytes) -> None:
    """A document on stdout, as it is."""
    if sys.stdout is None:
        raise UsageError(
            "standard output is closed, so there is nowhere to write to",
            way_out="Open it, or send it to a file.",
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: int = 0
) -> None:
    """A table whose last ``numbers`` columns are right-aligned numbers; nothing without rows."""
    if not rows:
        return
    cells = [[_words(value) for value in row] for row in rows]
    widths = _widths(columns, cells, numbers)
    grid = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    for place, (column, width) in enumerate(zip(columns, widths, strict=True)):
        right = place >= len(columns) - numbers
        grid.add_column(column, justify="right" if right else "left", width=width, no_wrap=True)
    for row in cells:
        grid.add_row(*(Text(_wrapped(cell, n)) for cell, n in zip(row, widths, strict=True)))
    # A path that no place to wrap at makes short enough is better whole than cut.
    err.print(grid, width=max(err.width, _frame(widths)), crop=False, no_wrap=True)


def fits(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> bool:
    """Whether a table fits on the screen without any cell being wrapped."""
    cells = [[_words(value) for value in row] for row in rows]
    return _frame(_widths(columns, cells, len(columns))) <= err.width


_PIECE: Final = re.compile(r"\s*[^\s/]*/?")
"""What of a cell stays together: a word, or a part of a path."""


def _words(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _frame(widths: Sequence[int]) -> int:
    """The width of a table with columns of these widths."""
    return sum(widths) + 3 * len(widths) + 1


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]], numbers: int) -> list[int]:
    """Widths of columns: as wide as their cells, or, where that is too much, the widest
    columns narrower, down to what stays together. Numbers are never wrapped."""
    each = [[column, *(row[at] for row in cells)] for at, column in enumerate(columns)]
    wide = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in each]
    least = [
        max(cell_len(piece.strip()) for cell in column for piece in _PIECE.findall(cell))
        for column in each
    ]
    least[len(least) - numbers :] = wide[len(wide) - numbers :]
    while _frame(wide) > err.width:
        able = [at for at, width in enumerate(wide) if width > least[at]]
        if not able:
            break
        wide[max(able, key=lambda at: wide[at])] -= 1
    return wide


def _wrapped(cell: str, width: int) -> str:
    """A cell's words in lines of a width; a path goes on after a ``/``."""
    lines: list[str] = []
    for line in cell.split("\n"):
        lines.append("")
        for piece in _PIECE.findall(line):
            if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > width:
                lines.append(piece.lstrip())
            else:
                lines[-1] += piece
    return "\n".join(lines)


class Watched:
    """An engine whose units are heard of as one stage: for what looks, and tells no progress."""

    def __init__(self, engine: Engine, stage: str, hears: Hears) -> None:
        self.name, self.workers = engine.name, engine.workers
        self._engine, self._stage, self._hears = engine, stage, hears

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """The engine's own map."""
        total = len(items) if isinstance(items, list) else None
        self._hears(self._stage, 0, total)
        for done, result in enumerate(self._engine.map(function, items), 1):
            self._hears(self._stage, done, total)
            yield result

    def close(self) -> None:
        """Whoever started the engine closes it."""


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
