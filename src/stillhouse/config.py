"""What surrounds a run: the clock, the environment, the build. They are read only here."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from stillhouse import __version__
from stillhouse.errors import UsageError
from stillhouse.records import is_utc_time, utc_text

_SCRATCH: Final = "stillhouse-scratch-"
_SCRATCH_NAME: Final = re.compile(rf"{_SCRATCH}[a-z0-9_]{{8}}")
_YOUNG_SECONDS: Final = 60


def now() -> str:
    """The present time as records write it, in whole seconds."""
    return utc_text(datetime.now(UTC).replace(microsecond=0))


def seconds() -> float:
    """A clock for durations; only differences mean anything."""
    return time.monotonic()


def check_recorded_at(text: str | None) -> str:
    """A run's ``recorded_at``: what the user gave, in UTC, or now.

    Raises `UsageError` when it cannot be read.
    """
    if text is None:
        return now()
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        written = utc_text(moment)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--recorded-at {text!r} is not an ISO 8601 time",
            way_out="Write it like 2026-01-31T12:00:00Z.",
        ) from None
    assert is_utc_time(written)
    return written


def default_workers() -> int:
    """As many processes as this process may use cores."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def git_commit() -> str | None:
    """The commit of the source tree this runs from, when it runs from one."""
    for folder in Path(__file__).resolve().parents:
        git = folder / ".git"
        if not (folder / "pyproject.toml").is_file() or not git.is_dir():
            continue
        try:
            head = (git / "HEAD").read_text().strip()
            if not head.startswith("ref: "):
                return head
            name = head.removeprefix("ref: ")
            if (git / name).is_file():
                return (git / name).read_text().strip()
            packed = (git / "packed-refs").read_text().splitlines()
        except OSError:
            return None
        for line in packed:
            digest, _, ref = line.partition(" ")
            if ref == name:
                return digest
        return None
    return None


def version() -> str:
    """The version of this program."""
    return __version__


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A local folder for what does not fit in memory, gone afterwards; in the system's folder
    for such, when no other is given. Those that killed runs of the same user left are swept:
    what lives holds a lock on its folder."""
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=parent) as folder:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sweep_scratch(Path(folder).parent)
            yield Path(folder)
        finally:
            os.close(handle)


def _sweep_scratch(parent: Path) -> None:
    """Remove folders of runs that are dead, named as only we name them. What cannot be looked at
    or removed does no harm."""
    for folder in parent.iterdir():
        if not _SCRATCH_NAME.fullmatch(folder.name):
            continue
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                status = os.fstat(handle)
                # A folder this young may be between being made and being locked.
                old = time.time() - status.st_mtime > _YOUNG_SECONDS
                if old and status.st_uid == os.getuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(handle)
