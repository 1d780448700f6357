"""The error tree. Every error a user can cause is one of these and ends in one line.

    StillhouseError                 exit 3: something went wrong, and here is the way out
    ├── UsageError                  exit 2: the command or an option is off
    ├── LakeError                   the lake as a whole: missing, unreadable, not a folder
    │   ├── LakeLockedError         somebody else writes to it now
    │   └── LakeChangedError        a file changed under the reader's feet
    ├── StorageError                a disk or an object store refused
    ├── ReceiptError                a receipt that cannot be read or trusted
    │   └── NewerReceiptError       it was written by a newer stillhouse
    ├── SignatureError              a key that cannot be used, or what is no signature
    ├── BaselineError               an audit baseline that cannot be read or trusted
    ├── GateError                   exit 1: a gate that the user set does not open
    ├── SourceError                 a source definition (ours or a plugin's) that cannot be used
    ├── EngineError                 a worker died or an engine could not start
    ├── VectorError                 the vector store refused; `code` is stable
    │   ├── VectorRequestError      what was asked is off; all its problems, each with its field
    │   │   └── VectorLimitError    it is more than the limits allow
    │   ├── VectorNotFoundError     no such index, item, snapshot or cursor
    │   ├── VectorConflictError     it exists, and is another; or two things do not fit together
    │   ├── VectorLockedError       another process holds the data folder
    │   ├── VectorDamagedError      what is on disk is not what was written
    │   ├── VectorFailedError       the disk or the database fails: nothing is acknowledged
    │   └── VectorBusyError         too much at once, or it took too long; try again
    ├── RecordError                 a row that does not validate; carries all its problems
    └── SftContaminationError       a sample of a category that must never train (SPEC F2)

`SftContaminationError` is deliberately not a `RecordError`: code that tolerates a
mistyped row must not, by the same `except`, tolerate a forbidden one.
"""

from __future__ import annotations

from collections.abc import Sequence


class StillhouseError(Exception):
    """Base of all errors a user can cause: ``what`` happened, ``where``, and the ``way_out``.

    ``str(error)`` is one line made of the parts that are given.
    """

    exit_code = 3

    def __init__(self, what: str, *, where: str = "", way_out: str = "") -> None:
        self.what = what
        self.where = where
        self.way_out = way_out
        super().__init__(what, where, way_out)

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.way_out:
            line = f"{line.removesuffix('.')}. {self.way_out}"
        return " ".join(line.split())

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders: keyword-only arguments need a hand.
        return (_rebuild, (type(self), self.__dict__))


class UsageError(StillhouseError):
    """The command, an option or an argument is off."""

    exit_code = 2


class LakeError(StillhouseError):
    """The lake as a whole cannot be used."""


class LakeLockedError(LakeError):
    """Another writer holds the lake."""


class LakeChangedError(LakeError):
    """A file changed while it was being read."""


class StorageError(StillhouseError):
    """A disk or an object store refused to read or write."""


class ReceiptError(StillhouseError):
    """A receipt cannot be read or trusted."""


class NewerReceiptError(ReceiptError):
    """A receipt was written by a newer version, and is for that one to judge."""


class SignatureError(StillhouseError):
    """A key cannot be used, or what should be a signature is none."""


class BaselineError(StillhouseError):
    """An audit baseline, or the file that holds them, cannot be read or trusted."""


class GateError(StillhouseError):
    """A gate that the user asked for does not open: nothing is done."""

    exit_code = 1


class SourceError(StillhouseError):
    """A source definition cannot be used."""


class EngineError(StillhouseError):
    """A worker died, or an engine could not start."""


class VectorError(StillhouseError):
    """The vector store refused. ``code`` is a stable word for programs to look at."""

    code = "vector_error"

    def __init__(self, what: str, *, code: str = "", where: str = "", way_out: str = "") -> None:
        super().__init__(what, where=where, way_out=way_out)
        if code:
            self.code = code


class VectorRequestError(VectorError):
    """What was asked is off. ``problems`` holds every problem found as ``(field, detail)``; the
    field is a path such as ``items[3].vector``."""

    code = "invalid_request"

    def __init__(
        self, problems: Sequence[tuple[str, str]], *, code: str = "", where: str = ""
    ) -> None:
        self.problems = tuple(problems)
        what = "; ".join(f"{field}: {detail}" for field, detail in self.problems)
        super().__init__(what, code=code, where=where)


class VectorLimitError(VectorRequestError):
    """What was asked is more than the limits allow."""

    code = "limit_exceeded"


class VectorNotFoundError(VectorError):
    """There is no such index, item, snapshot or cursor."""

    code = "not_found"


class VectorConflictError(VectorError):
    """What was asked for exists and is another, or two things do not fit together."""

    code = "conflict"


class VectorLockedError(VectorError):
    """Another process holds the data folder."""

    code = "locked"


class VectorDamagedError(VectorError):
    """What is on disk, or in an envelope, is not what was written."""

    code = "damaged"


class VectorFailedError(VectorError):
    """The disk or the database fails: the store acknowledges nothing."""

    code = "storage_failed"


class VectorRegistryError(VectorError):
    """Looking up an index failed, for another reason than that there is none."""

    code = "internal"


class VectorBusyError(VectorError):
    """Too much at once, or it took too long: trying again later may help."""

    code = "busy"


class RecordError(StillhouseError):
    """A row does not validate. ``problems`` holds every problem found, not the first."""

    def __init__(self, problems: Sequence[str], *, where: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems), where=where)


class SftContaminationError(StillhouseError):
    """A sample whose category is in ``SFT_NEVER`` tried to become training data."""


def _rebuild(cls: type[StillhouseError], state: dict[str, object]) -> StillhouseError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    error.args = (state.get("what"), state.get("where"), state.get("way_out"))
    return error
