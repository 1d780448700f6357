"""What a stored path may look like, and what a disk's refusals mean in words.

Shared by all stores, so that a path one of them takes is a path they all take. This module
never touches a disk.
"""

from __future__ import annotations

import errno
import re
from typing import Final

from stillhouse.errors import StorageError

PRIVATE: Final = ".stillhouse"
LOCK_PATH: Final = f"{PRIVATE}/lock"

TEMP_PREFIX: Final = ".stillhouse-"
TEMP_SUFFIX: Final = ".tmp"
"""A file that a writer has not published. Its name does not grow with the target's, so that a
name which just fits the file system can be written."""


def is_temporary(name: str) -> bool:
    """True for the name (not path) of a file that was never published."""
    return name.startswith(TEMP_PREFIX) and name.endswith(TEMP_SUFFIX)


def checked(path: str, root: str) -> str:
    """The path itself; raises `StorageError` when it is not a plain path under the root."""
    problem = path_problem(path)
    if problem:
        raise StorageError(
            f"the path {path!r} {problem}",
            where=root,
            way_out="Paths in a lake are relative, use / and stay inside it.",
        )
    return path


def checked_prefix(prefix: str, root: str) -> str:
    """A folder's path without its closing slash; empty for the root."""
    prefix = prefix.removesuffix("/")
    return checked(prefix, root) if prefix else prefix


def path_problem(path: str) -> str:
    """What is wrong with a path, in words; empty when nothing is."""
    if _PLAIN.fullmatch(path):  # Nearly all are, and this is asked of every file of a lake.
        return ""
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "is absolute"
    for sign, name in (("\0", "a NUL byte"), ("\\", "a backslash")):
        if sign in path:
            return f"holds {name}"
    parts = path.split("/")
    if ".." in parts:
        return "climbs with .."
    if "." in parts or "" in parts:
        return "has an empty part or a single dot in it"
    if is_temporary(parts[-1]):
        return "is a name kept for unfinished files"
    return "" if path.isascii() or _is_utf8(path) else "is not valid UTF-8"


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def range_problem(start: int, end: int | None) -> bool:
    """True for a byte range that no file has."""
    return start < 0 or (end is not None and end < start)


_PLAIN = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")

_WORDS: Final[dict[int, tuple[str, str]]] = {
    errno.ENOENT: ("there is no such file", "Check the path; something may have removed it."),
    errno.ENOSPC: (
        "the disk is full",
        "Free some space and run again: nothing half-written is left.",
    ),
    errno.EDQUOT: (
        "your disk quota is used up",
        "Free some space or raise the quota, and run again: nothing half-written is left.",
    ),
    errno.EFBIG: (
        "the file is larger than the system allows",
        "Raise the file size limit (ulimit -f), and run again.",
    ),
    errno.EROFS: (
        "the file system is read-only",
        "Mount it for writing, or copy the lake to where you may write.",
    ),
    errno.EACCES: ("permission denied", "Check the owner and mode of the file and its folder."),
    errno.EPERM: ("the system does not permit it", "Check the owner and flags of the file."),
    errno.EMFILE: ("too many files are open in this process", "Raise the limit (ulimit -n)."),
    errno.ENFILE: ("too many files are open on this machine", "Close programs, and run again."),
    errno.ENAMETOOLONG: ("the path is too long", "Use a shorter name, or a lake higher up."),
    errno.EXDEV: (
        "the file would have to move to another file system",
        "Keep the whole lake, .stillhouse included, on one file system.",
    ),
    errno.EISDIR: ("is a folder, not a file", "Move the folder out of the way."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Move that file away."),
    errno.EEXIST: ("something else is there already", "Move it out of the way."),
    errno.ELOOP: ("its symbolic links go in a circle", "Remove the links."),
    errno.EIO: (
        "the disk failed to read or write",
        "Look at the system's log; the disk may be failing.",
    ),
    errno.ESTALE: ("the network file system lost the file", "Mount it again, and run again."),
}


def disk_error(error: OSError, doing: str, where: str) -> StorageError:
    """A disk's refusal as one clear line: what was tried, where, and what to do."""
    words, way_out = _WORDS.get(
        error.errno or 0,
        (error.strerror or type(error).__name__, "Look at the disk, and run again."),
    )
    return StorageError(f"cannot {doing}: {words}", where=where, way_out=way_out)
