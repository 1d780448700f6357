"""Errors as problem details (RFC 9457): the one place where an error becomes an answer.

`CODES` is the whole vocabulary. What is not in it, and what is no error of ours, is `internal`:
its cause goes into the log and never into the answer.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from stillhouse.errors import (
    StorageError,
    VectorBusyError,
    VectorConflictError,
    VectorDamagedError,
    VectorError,
    VectorFailedError,
    VectorLockedError,
    VectorNotFoundError,
    VectorRequestError,
)

URN: Final = "urn:stillhouse:error:"
MEDIA_TYPE: Final = b"application/problem+json"
Headers = tuple[tuple[bytes, bytes], ...]

CODES: Final[dict[str, tuple[int, str]]] = {
    "malformed_json": (400, "The body is no JSON"),
    "bad_base64": (400, "A vector's base64 cannot be read"),
    "malformed_request": (400, "This is no HTTP request that can be read"),
    "merge_into_itself": (400, "Source and destination are one"),
    "unauthorized": (401, "A key is needed"),
    "foreign_origin": (403, "Web pages of other origins may not ask"),
    "not_found": (404, "There is nothing here"),
    "index_not_found": (404, "There is no such index"),
    "item_not_found": (404, "There is no such item"),
    "snapshot_not_found": (404, "There is no such snapshot"),
    "method_not_allowed": (405, "This cannot be done here"),
    "request_timeout": (408, "The request did not arrive in time"),
    "conflict": (409, "What is there is another"),
    "index_exists": (409, "There is another index of that name"),
    "dimension_mismatch": (409, "The dimensions differ"),
    "metric_mismatch": (409, "The metrics differ"),
    "locked": (409, "Somebody else holds it"),
    "cursor_expired": (410, "The cursor has expired"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body is of a type that is not taken here"),
    "misdirected": (421, "This host name is not served without keys"),
    "invalid_request": (422, "The request is off"),
    "invalid_name": (422, "This cannot be a name"),
    "invalid_filter": (422, "The filter is off"),
    "limit_exceeded": (422, "It is more than is allowed at once"),
    "envelope_damaged": (422, "The snapshot is not what was written"),
    "envelope_version": (422, "The snapshot is of a newer version"),
    "headers_too_large": (431, "The headers are too large"),
    "internal": (500, "Something broke within"),
    "damaged": (500, "What is on disk is not what was written"),
    "busy": (503, "Too much at once"),
    "storage_failed": (503, "The disk or the database fails"),
    "timeout": (504, "It took too long"),
    "disk_full": (507, "The disk is full"),
}
"""Status and title of each ``code``."""

_BY_CLASS: Final[tuple[tuple[type[VectorError], int], ...]] = (
    (VectorRequestError, 422),
    (VectorNotFoundError, 404),
    (VectorConflictError, 409),
    (VectorLockedError, 409),
    (VectorBusyError, 503),
    (VectorFailedError, 503),
    (VectorDamagedError, 500),
)
"""The status of a code that a backend made up and `CODES` does not know."""

_SAID: Final[dict[str, str]] = {
    "internal": "The service met an error that it did not expect; the log has it by request_id.",
    "damaged": "The store found damage; the log has it by request_id.",
}
"""Details of what must say nothing of the inside."""


class Denial(Exception):
    """The service itself refuses: ``code`` is one of `CODES`."""

    def __init__(self, code: str, detail: str, *, headers: Headers = (), close: bool = False):
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = headers
        self.close = close
        """Whether the connection cannot be used any more: a body stands unread in it."""


class FieldProblem(msgspec.Struct, frozen=True):
    """What is off, and where: a path such as ``items[3].vector``."""

    field: str
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Problem details. ``code`` is stable and for programs; ``detail`` is for people;
    ``instance`` is the path that was asked for; ``request_id`` stands in the log too."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[FieldProblem] = []


class Judged(NamedTuple):
    """What is answered to an error."""

    status: int
    code: str
    detail: str
    errors: tuple[tuple[str, str], ...] = ()
    headers: Headers = ()
    close: bool = False


def judge(error: BaseException) -> Judged:
    """What an error is answered with."""
    if isinstance(error, Denial):
        headers = error.headers or (_RETRY if error.code in ("busy", "timeout") else ())
        return Judged(CODES[error.code][0], error.code, error.detail, (), headers, error.close)
    if isinstance(error, StorageError):  # of the place that snapshots are kept in
        return Judged(503, "storage_failed", error.what, (), _RETRY)
    if not isinstance(error, VectorError):
        return Judged(500, "internal", _SAID["internal"])
    status = _status(error)
    if status == 500:
        code = error.code if error.code in _SAID else "internal"
        return Judged(status, code, _SAID[code])
    fields = error.problems if isinstance(error, VectorRequestError) else ()
    headers = _RETRY if status == 503 and isinstance(error, VectorBusyError) else ()
    return Judged(status, error.code, error.what, fields, headers)


_RETRY: Final[Headers] = ((b"retry-after", b"1"),)


def _status(error: VectorError) -> int:
    if error.code in CODES:
        return CODES[error.code][0]
    return next((status for kind, status in _BY_CLASS if isinstance(error, kind)), 500)


def body_of(judged: Judged, instance: str, request_id: str) -> bytes:
    """The problem document."""
    known = CODES.get(judged.code)
    return msgspec.json.encode(
        Problem(
            type=URN + judged.code,
            title=known[1] if known else judged.code.replace("_", " ").capitalize(),
            status=judged.status,
            detail=judged.detail,
            instance=instance,
            code=judged.code,
            request_id=request_id,
            errors=[FieldProblem(*one) for one in judged.errors],
        )
    )
