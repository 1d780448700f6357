"""The command that fills vector indexes: reads items, adds them in batches, and puts bad lines
aside or ends with them. No line is passed over in silence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from stillhouse.cli import output
from stillhouse.cli import vectors_files as files
from stillhouse.cli.options import Json
from stillhouse.cli.vectors_files import Refused, Row
from stillhouse.cli.vectors_options import Data, KeyFile, Name, Url, open_service
from stillhouse.errors import (
    RecordError,
    StillhouseError,
    UsageError,
    VectorError,
    VectorLimitError,
    VectorRequestError,
)
from stillhouse.vectors import VectorService
from stillhouse.work import Progress

_BATCH_BYTES: Final = 16 * 1024 * 1024
_TOLD: Final = 5
_ITEM: Final = re.compile(r"items\[(\d+)\]\.?")


def add(
    name: Name,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="JSON lines {id, vector, metadata?}; - for standard input."
        ),
    ] = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="FILE", help="Instead: ids, one a line,")
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option("--vectors", metavar="FILE", help="a NumPy array (.npy), a row an id,"),
    ] = None,
    metadata: Annotated[
        str | None,
        typer.Option("--metadata", metavar="FILE", help="and JSON objects or null, one a line."),
    ] = None,
    refused: Annotated[
        str | None,
        typer.Option(
            "--refused", metavar="FILE", help="Go on past bad lines, and write them to this file."
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, metavar="N", help="Items that are added at once.")
    ] = 1_000,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """Insert or replace items, batch by batch; of an id that comes twice the later stands.

    A bad line ends it: the batches before are in, and all can be added again. With --refused it
    goes on, and exit code 1 says that there were some.
    """
    rows = _rows(file, ids, vectors, metadata)
    bad = Refused(refused)
    with open_service(data, url, key_file) as service, output.progress(json) as hears:
        service.describe(name)  # an index that is not there is said before anything is read
        counts = {"inserted": 0, "replaced": 0, "unchanged": 0}
        with _telling(counts):
            _add_all(service, name, rows, bad, counts, batch, hears)
    if json:
        output.emit({"schema_version": 1, "index": name, **counts, "refused": bad.count})
    else:
        _say(name, counts, bad)
    return 1 if bad.count else 0


def _say(name: str, counts: dict[str, int], bad: Refused) -> None:
    said = (f"{count:,} {word}" for word, count in counts.items())
    output.say(f"index {name}: {', '.join(said)}")
    if bad.count:
        output.note(f"{output.number(bad.count, 'bad line')} went to {bad.file}")


def _rows(
    file: str | None, ids: str | None, vectors: str | None, metadata: str | None
) -> Iterator[Row]:
    if file is not None and (ids, vectors, metadata) == (None, None, None):
        return files.rows_of_lines(file)
    if file is None and ids is not None and vectors is not None:
        return files.rows_of_columns(ids, vectors, metadata)
    raise UsageError(
        "what is to be added is not clear",
        way_out="Give a FILE of JSON lines, or --ids and --vectors (and --metadata).",
    )


@contextmanager
def _telling(counts: dict[str, int]) -> Iterator[None]:
    """Whatever ends adding, how much went in is said: a batch that did is in for good."""
    try:
        yield
    except RecordError:
        raise  # of a bad line, and says it itself
    except StillhouseError as error:
        error.way_out = " ".join(filter(None, (error.way_out, _went_in(counts))))
        raise
    except KeyboardInterrupt:
        output.note(_went_in(counts))
        raise


def _went_in(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "Nothing went in."
    return f"{output.number(total, 'item')} went in; all can be added again."


def _add_all(
    service: VectorService,
    name: str,
    rows: Iterable[Row],
    bad: Refused,
    counts: dict[str, int],
    most: int,
    hears: Progress,
) -> None:
    batch: list[Row] = []
    seen, size, done = set[str](), 0, 0
    for row in rows:
        if row.item is None:
            _refuse([row], bad, counts)
            continue
        full = len(batch) >= most or size + row.size > _BATCH_BYTES
        if batch and (full or row.item.id in seen):
            _add_batch(service, name, batch, bad, counts)
            done += len(batch)
            hears("adding", done, None)
            batch, seen, size = [], set(), 0
        batch.append(row)
        seen.add(row.item.id)
        size += row.size
    if batch:
        _add_batch(service, name, batch, bad, counts)


def _add_batch(
    service: VectorService, name: str, batch: list[Row], bad: Refused, counts: dict[str, int]
) -> None:
    """Add a batch, without those of its rows that the index refuses."""
    while batch:
        try:
            done = service.add(name, [row.item for row in batch if row.item is not None])
        except VectorRequestError as error:
            reasons = _located(error)
            if not reasons or max(reasons) >= len(batch):
                raise _placed(error, batch) from None
            told = [batch[at]._replace(reason=reason) for at, reason in sorted(reasons.items())]
            _refuse(told, bad, counts)
            batch = [row for at, row in enumerate(batch) if at not in reasons]
        except VectorError as error:
            raise _placed(error, batch) from None
        else:
            for word in counts:
                counts[word] += getattr(done, word)
            return


def _placed(error: VectorError, batch: list[Row]) -> VectorError:
    """An error that is no item's own, with where the batch begins that it ended."""
    way_out = f"It ended in the batch that begins at {batch[0].place}."
    if isinstance(error, VectorLimitError) and len(batch) > 1:
        way_out += " Give a smaller --batch."
    error.way_out = " ".join(filter(None, (error.way_out, way_out)))
    return error


def _located(error: VectorRequestError) -> dict[int, str]:
    """What is wrong with the items of a batch, by their number in it."""
    reasons: dict[int, str] = {}
    for field, detail in error.problems:
        if found := _ITEM.match(field):
            what = f"{field[found.end() :]}: {detail}".removeprefix(": ")
            at = int(found[1])
            reasons[at] = f"{reasons[at]}; {what}" if at in reasons else what
    return reasons


def _refuse(rows: list[Row], bad: Refused, counts: dict[str, int]) -> None:
    """Put bad rows aside, or end the run with them where there is no place for them."""
    if bad.file is not None:
        bad.take(rows)
        return
    told = [f"{row.place}: {row.reason}" for row in rows[:_TOLD]]
    if len(rows) > _TOLD:
        told.append(f"and {len(rows) - _TOLD:,} more bad lines")
    went_in = output.number(sum(counts.values()), "item")
    before = (
        f"{went_in} of the batches before went in" if sum(counts.values()) else "nothing went in"
    )
    told.append(f"{before}. Go on past bad lines with --refused FILE")
    raise RecordError(told)
