"""The file of audit baselines: one JSON line an audit, appended, oldest first (SPEC A1, A2).

A baseline is committed by its line end. A last line that lacks it is a baseline all the same
when it is a whole JSON object; else it is torn, which is an error here and never mended in
passing: `repair_baselines` cuts it off and keeps it beside. No line is ever skipped.

This module never computes a metric and never compares two baselines.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from os import PathLike, fspath
from typing import Final, NamedTuple

import msgspec

from stillhouse.errors import BaselineError
from stillhouse.interfaces import Entry, Store
from stillhouse.lake import BASELINES
from stillhouse.records import SCHEMA_VERSION, AuditBaseline, encode, validate
from stillhouse.storage import open_store

_MOST_PROBLEMS: Final = 8
"""Problems that are named of one line."""

Location = str | PathLike[str]
"""Where the file of baselines is: a path, or an address like ``s3://bucket/_kb/….jsonl``."""


class Repair(msgspec.Struct, frozen=True):
    """What was cut off: ``bytes`` of line ``line`` (from 1), kept in the file ``kept_in``."""

    bytes: int
    line: int
    kept_in: str


# ---------------------------------------------------------------------------- by location


def load_last_baseline(path: Location) -> AuditBaseline | None:
    """The newest baseline of a file; None when the file is missing or holds none (A1).

    Raises `BaselineError` naming file and line when the last line is torn or is no baseline.
    """
    return last_baseline(*_place(path))


def append_baseline(path: Location, baseline: AuditBaseline) -> None:
    """Add a baseline to a file, whole or not at all, also while others do (A2).

    Makes the file and its folder; on disk when it returns. Raises `BaselineError`, and leaves
    the file as it is, when its last line is torn or the baseline is not valid.
    """
    store, name = _place(path)
    add_baseline(store, baseline, name)


def _place(path: Location) -> tuple[Store, str]:
    """The store and the path in it: the lake's own, where the file lies in a lake."""
    folder, slash, name = fspath(path).rpartition("/")
    lake, inside, last = folder.rpartition("/")
    if f"{last}/{name}" == BASELINES:
        return open_store(lake or inside or "."), BASELINES
    return open_store(folder or slash or "."), name


# ----------------------------------------------------------------------------- in a lake


class _Line(NamedTuple):
    """One line that is not blank, its number from 1, and whether it is the last."""

    store: Store
    path: str
    number: int
    data: bytes
    is_last: bool

    @property
    def where(self) -> str:
        return f"{self.store.url.rstrip('/')}/{self.path}:{self.number}"


def read_baselines(store: Store, path: str = BASELINES) -> list[AuditBaseline]:
    """All baselines of a lake, oldest first; raises `BaselineError` for the first bad line."""
    return [_baseline(line) for line in _lines(store, path)]


def last_baseline(store: Store, path: str = BASELINES) -> AuditBaseline | None:
    """The newest baseline of a lake; the lines before it are not looked at."""
    lines = _lines(store, path)
    return _baseline(lines[-1]) if lines else None


def add_baseline(store: Store, baseline: AuditBaseline, path: str = BASELINES) -> None:
    """Add a baseline to a lake, see `append_baseline`."""
    if problems := baseline.problems():
        raise BaselineError(_listed(problems), where="the new baseline")

    def check_tail(tail: bytes, start: int) -> None:
        if tail.strip() and not _is_whole(tail):
            number = store.read(path, 0, start).count(b"\n") + 1
            raise _torn(_Line(store, path, number, tail, is_last=True))

    store.append_line(path, encode(baseline), check_tail)


def repair_baselines(store: Store, path: str = BASELINES) -> Repair | None:
    """Cut a torn last line off and keep it beside; None when there is none.

    Raises `BaselineError`, and changes nothing, for a bad line before it: that one was written
    whole, so what is wrong with it is for a person to judge.
    """
    found = store.snapshot(path)
    if found is None:
        return None
    seen, data = found
    lines = _split(store, path, data)
    is_torn = bool(lines) and not _is_whole(lines[-1].data)
    for line in lines[:-1] if is_torn else lines:
        _baseline(line)
    return _cut(store, seen, data, lines[-1]) if is_torn else None


def _cut(store: Store, seen: Entry, data: bytes, torn: _Line) -> Repair:
    start = len(data.rstrip()) - len(torn.data)
    # Named by its content, so that a repair which died half-way is simply done again.
    kept_in = f"{seen.path}.torn-{hashlib.sha256(data[start:]).hexdigest()[:12]}"
    store.create(kept_in, data[start:])
    if not store.truncate(seen.path, start, seen):
        raise BaselineError(
            "was changed while it was repaired; nothing was cut off",
            where=torn.where,
            way_out="Run again when nothing else writes to it.",
        )
    return Repair(len(data) - start, torn.number, kept_in)


# --------------------------------------------------------------------------------- lines


def _lines(store: Store, path: str) -> list[_Line]:
    found = store.snapshot(path)
    return _split(store, path, found[1]) if found else []


def _split(store: Store, path: str, data: bytes) -> list[_Line]:
    lines = data.rstrip().split(b"\n") if data.strip() else []
    return [
        _Line(store, path, number, line, number == len(lines))
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _baseline(line: _Line) -> AuditBaseline:
    """One line as a baseline; every problem of it in one error."""
    try:
        row = json.loads(line.data.decode())
    except (ValueError, RecursionError) as error:
        if line.is_last:
            raise _torn(line) from None
        raise _bad(line, f"is not JSON ({error})") from None
    if not isinstance(row, dict):
        raise _torn(line) if line.is_last else _bad(line, "is no JSON object")
    version = row.get("schema_version", 0)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BaselineError(
            f"was written by a newer stillhouse (schema_version {version}; this one reads "
            f"{SCHEMA_VERSION})",
            where=line.where,
            way_out="Upgrade stillhouse.",
        )
    if problems := validate(row, AuditBaseline):
        raise _bad(line, _listed(problems))
    return msgspec.convert(row, AuditBaseline)


def _is_whole(line: bytes) -> bool:
    """True for a whole JSON object, be it a baseline or not."""
    try:
        return isinstance(json.loads(line.decode()), dict)
    except (ValueError, RecursionError):
        return False


def _listed(problems: list[str]) -> str:
    more = len(problems) - _MOST_PROBLEMS
    return "; ".join(problems[:_MOST_PROBLEMS] + ["and more"] * (more > 0))


def _torn(line: _Line) -> BaselineError:
    way_out = "Keep a copy, and cut the line off."
    if line.path == BASELINES:
        command = f"stillhouse baselines repair {shlex.quote(line.store.url)}"
        way_out = f"`{command}` cuts it off and keeps it beside."
    return BaselineError(
        "the last line is torn: its writer was stopped in the middle of it",
        where=line.where,
        way_out=way_out,
    )


def _bad(line: _Line, what: str) -> BaselineError:
    path = shlex.quote(line.where.rpartition(":")[0])
    return BaselineError(
        what,
        where=line.where,
        way_out=f"Mend the line, or keep a copy and delete it (sed -i {line.number}d {path}).",
    )
