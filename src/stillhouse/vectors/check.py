"""Everything in a data folder, looked at byte by byte. Changes nothing but the line in `lock`
and, beside a log that a killed process left, SQLite's index of it.

truth.db, acked   as at opening: what is wrong here was acknowledged and is not there
segments/         what is wrong here mends itself when the folder is opened
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.opening import is_bare, lock_folder, said
from stillhouse.vectors.readers import Readers
from stillhouse.vectors.segment_check import check_segments
from stillhouse.vectors.truth import NOTHING
from stillhouse.vectors.verifying import TRUTH, Problem, Verified, is_new, verify

_MENDS: Final = "Nothing to do: it is built anew when the folder is opened."


class Checked(NamedTuple):
    """What is there, by index with its number of items, and what is wrong. ``lost`` says whether
    it is more than opening the folder mends."""

    indexes: dict[str, int]
    problems: list[Problem]
    lost: bool


def check_folder(folder: Path) -> Checked:
    """Look at a folder that no process has open.

    Raises `VectorLockedError` when one has, `VectorFailedError` when the system refuses. Damage
    is no error here: it is in the answer.
    """
    if is_bare(folder):
        return Checked({}, [], False)
    try:
        with _locked(folder), said(folder):
            if is_new(folder):
                return Checked({}, [], False)
            found = verify(folder)
            segments = _segments(folder, found)
    except VectorDamagedError as error:
        problem = Problem(error.where or str(folder), error.what, error.way_out)
        return Checked({}, [problem], True)
    named = {kept.spec.name: kept.items for kept in found.indexes if kept.spec.name}
    return Checked(named, found.problems + segments, bool(found.problems))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The lock of a folder, and no file more than there was when it ends."""
    lock = lock_folder(folder, make=False)
    try:
        made = folder / f"{TRUTH}-shm"
        there = made.exists()
        try:
            yield
        finally:
            # SQLite reads a log by this index, and can make it anew at any time.
            if not there:
                with suppress(OSError):
                    made.unlink(missing_ok=True)
    finally:
        lock.close()


def _segments(folder: Path, found: Verified) -> list[Problem]:
    readers = Readers(folder / TRUTH)
    try:
        problems = []
        for kept in found.indexes:
            if kept.spec.name:
                live = found.live.get(kept.number, NOTHING)
                reader = readers.truth(kept.number, kept.spec.dimension, live)
                place = folder / "segments" / str(kept.number)
                problems += check_segments(place, reader, kept.spec)
        return [Problem(*problem, _MENDS) for problem in problems]
    finally:
        readers.close()
