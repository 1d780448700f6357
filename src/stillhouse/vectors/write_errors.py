"""What a write that failed is told as."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from stillhouse.errors import VectorError, VectorFailedError
from stillhouse.vectors.schema import told


def in_words(error: BaseException, path: Path) -> BaseException:
    """An error as callers get it: what SQLite and the system say in words, others as they are."""
    if isinstance(error, sqlite3.Error):
        return told(error, path)
    if isinstance(error, OSError):
        return VectorFailedError(
            f"the disk fails: {error.strerror or error}",
            where=str(error.filename or path.parent),
            way_out="See to the disk, then open the store again.",
        )
    return error


def broken(error: BaseException, path: Path) -> VectorFailedError:
    return VectorFailedError(
        f"a write broke off ({type(error).__name__}: {error})",
        where=str(path.parent),
        way_out="Open the store again.",
    )


def again(failed: VectorError) -> VectorFailedError:
    """The same refusal for another caller: an error object belongs to one raise."""
    return VectorFailedError(
        f"nothing is acknowledged since this happened: {failed.what}",
        where=failed.where,
        way_out="Open the store again.",
    )
