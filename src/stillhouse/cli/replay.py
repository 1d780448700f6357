"""The command that runs a lake again: replay. It changes nothing in the lake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from stillhouse import config
from stillhouse.cli import output
from stillhouse.cli.options import EngineChoice, EngineName, Json, Lake, Workers, engine_for
from stillhouse.errors import UsageError
from stillhouse.replay import FileParting, Maker, ReplayReport
from stillhouse.replay import replay as replay_lake
from stillhouse.storage import LocalStore, open_store

_FILES: Final = 8
_ROWS: Final = 3

_FOLLOWING: Final = frozenset(
    {"id", "evidence_run_id", "provenance", "run_id", "sig_hash", "source_run_id"}
)
"""Fields made of a row's bytes: not worth a line where another field says what changed."""


def replay(
    lake: Lake,
    receipt: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECEIPT]",
            help="A receipt's path, or a part of it that no other has: the lake as it was then.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="Leave the second run's files in this folder, which must be new or empty.",
        ),
    ] = None,
    workers: Workers = None,
    engine: EngineChoice = EngineName.local,
    json: Json = False,
) -> int:
    """Run again from raw in a scratch folder: the same bytes, or exactly where not and why.

    Needs as much room as the lake's derived files, in DIR or in the system's folder for
    temporary files (TMPDIR). Exit code 1 when a file parts or a raw log is not as it was read.
    """
    store = open_store(lake)
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UsageError(
            "is not empty", where=f"--keep {keep}", way_out="Give a new or an empty folder."
        )
    maker = Maker(config.version(), config.git_commit())
    with (
        config.scratch_folder() as scratch,
        engine_for(engine, workers) as pool,
        output.progress(json) as progress,
    ):
        upper = LocalStore(keep or scratch / "lake", create=True)
        done = replay_lake(store, pool, upper, scratch, maker, receipt=receipt, progress=progress)
    if json:
        output.emit(done)
    else:
        _tell(done)
    return 0 if done.ok else 1


def _tell(done: ReplayReport) -> None:
    for note in done.notes:
        output.note(note)
    output.table(
        "Raw logs that are not as they were read",
        ["log", "detail"],
        [(lost.path, lost.detail) for lost in done.inputs],
    )
    output.table(
        "What parts",
        ["file", "why", "rows", "detail"],
        [(one.path, one.why, one.difference.rows or "", _detail(one)) for one in done.parted],
    )
    for line in _examples(done):
        output.say(line)
    same = f"{done.same:,} of {output.number(done.files, 'file')} as receipted"
    of = f"receipt {done.receipt}" if done.receipt else "the lake"
    output.say(
        f"{of}, run again by {done.replayed_by}: {same} ({output.number(done.bytes, 'byte')})"
    )


def _detail(one: FileParting) -> str:
    if one.difference.byte is None:
        return one.detail
    return f"{one.detail}; parts at byte {one.difference.byte:,}"


def _examples(done: ReplayReport) -> Iterator[str]:
    """Rows that part, of the files that part by themselves: what follows would repeat them."""
    own = [one for one in done.parted if one.why != "follows"]
    for one in own[:_FILES]:
        for example in one.difference.examples[:_ROWS]:
            number = example.line or example.replayed_line
            offset = example.line_offset
            raw = f" (raw line {example.source_file}:{offset + 1})" if offset is not None else ""
            there = {"missing": ": not in the second run", "added": ": only in the second run"}
            yield f"{one.path}:{number}{raw}{there.get(example.what, '')}"
            told = {name: said for name, said in example.fields.items() if name not in _FOLLOWING}
            for name, said in (told or example.fields).items():
                yield f"    {name}: {said}"
    if len(own) > _FILES:
        yield f"and {len(own) - _FILES:,} more files; --json has them all"
