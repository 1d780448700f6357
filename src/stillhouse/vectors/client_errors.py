"""What a server's refusal means: problem details (RFC 9457) back into the errors that
`VectorStore` raises, and words for answers that no Stillhouse gives.

Nothing here sends anything. A key never gets into an error: no header is ever quoted.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from stillhouse.errors import (
    VectorBusyError,
    VectorConflictError,
    VectorDamagedError,
    VectorError,
    VectorFailedError,
    VectorLimitError,
    VectorLockedError,
    VectorNotFoundError,
    VectorRequestError,
)

URN: Final = "urn:stillhouse:error:"
"""How the ``type`` of our problem details begins."""

PROBLEM: Final = "application/problem+json"

_ITEM: Final = re.compile(r"items\[(\d+)\]")


class _Field(msgspec.Struct, frozen=True):
    field: str
    detail: str


class _Problem(msgspec.Struct, frozen=True):
    type: str
    code: str
    title: str = ""
    detail: str = ""
    request_id: str = ""
    errors: list[_Field] = []


class Answer(msgspec.Struct, frozen=True):
    """What came back: a status, the media type, a body that is JSON by its type or empty, and
    the seconds of a ``Retry-After`` (None without)."""

    status: int
    kind: str
    body: bytes
    retry_after: float | None = None


def error_of(answer: Answer, where: str) -> VectorError:
    """The error that an answer with a status of 400 or more stands for."""
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = None
    if answer.kind != PROBLEM or problem is None or not problem.type.startswith(URN):
        return foreign(f"answered {answer.status} with {answer.kind or 'nothing'}", where)
    code, detail = problem.code, problem.detail or problem.title or problem.code
    match answer.status:
        case 400 | 413 | 415 | 422 if not _is_damage(code):
            return _request_error(answer.status, problem, detail)
        case 401 | 403:
            return VectorError(
                detail, code=code, where=where, way_out="Give the key that the server asks for."
            )
        case 404 | 410:
            return VectorNotFoundError(detail, code=code)
        case 409:
            kind = VectorLockedError if code == VectorLockedError.code else VectorConflictError
            return kind(detail, code=code)
        case 408 | 504:
            return VectorBusyError(detail, code=code)
        case 503 if code != VectorFailedError.code and answer.retry_after is not None:
            return VectorBusyError(detail, code=code)
        case 503 | 507:
            return VectorFailedError(detail, code=code)
    named = f" (request id {problem.request_id})" if problem.request_id else ""
    if _is_damage(code):
        told = detail if answer.status < 500 else detail.removesuffix(".") + named
        return VectorDamagedError(told, code=code)
    told = f"the server failed: {detail}" if answer.status >= 500 else detail
    return VectorError(told.removesuffix(".") + named, code=code, where=where)


def _is_damage(code: str) -> bool:
    return code.endswith("damaged") or code == "envelope_version"


def _request_error(status: int, problem: _Problem, detail: str) -> VectorRequestError:
    told = [(one.field, one.detail) for one in problem.errors] or [("request", detail)]
    limit = status == 413 or problem.code == VectorLimitError.code
    return (VectorLimitError if limit else VectorRequestError)(told, code=problem.code)


def foreign(did: str, where: str) -> VectorError:
    """The server did what no Stillhouse does."""
    return VectorError(
        did, code="bad_answer", where=where, way_out="Is this the address of a Stillhouse server?"
    )


def unreachable(why: str, where: str) -> VectorFailedError:
    """Nothing was sent: there is no connection."""
    return VectorFailedError(
        f"cannot connect: {why}",
        code="unreachable",
        where=where,
        way_out="Is the server running, and is the address right?",
    )


def broken(why: str, where: str) -> VectorFailedError:
    """A question was sent, and its answer did not come, however often it was asked."""
    return VectorFailedError(
        f"no answer: {why}", code="no_answer", where=where, way_out="Try again later."
    )


def outcome_unknown(why: str, where: str, request_id: str) -> VectorFailedError:
    """A change was sent, and nobody here knows whether it was made."""
    return VectorFailedError(
        f"no answer: {why}; the change may have been made or not (request id {request_id})",
        code="outcome_unknown",
        where=where,
        way_out="It was not sent again. Look at the index, or look for the request id in the "
        "server's log.",
    )


def timed_out(why: str, where: str) -> VectorBusyError:
    """It took too long, and nothing was sent."""
    return VectorBusyError(why, code="no_connection_free", where=where)


def counted(error: VectorError, before: int) -> VectorError:
    """An error of a batch as one of all items, of which so many were added before the batch."""
    where = f"after {before:,} item{'' if before == 1 else 's'}"
    where = f"{error.where} {where}" if error.where else where
    if not isinstance(error, VectorRequestError):
        return type(error)(error.what, code=error.code, where=where, way_out=error.way_out)
    problems = [
        (_ITEM.sub(lambda at: f"items[{int(at[1]) + before}]", field), detail)
        for field, detail in error.problems
    ]
    return type(error)(problems, code=error.code, where=where)
