"""How much a large body may hold, told before it is decoded: a count that is over its limit is
refused as the store's own checks refuse it, only sooner.

A small body is decoded as it is: whatever it holds, it cannot hold much.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stillhouse.errors import VectorLimitError
from stillhouse.vectors import Limits
from stillhouse.web.counting import more_entries, more_values
from stillhouse.web.wire import Decoder

SMALL_BODY: Final = 64 * 1024
"""Bytes that are decoded wherever they are: on the event loop, and without counting."""
_CLAUSE: Final = 64
"""Values for each clause of a filter: many more than one takes, since what is a little too much
is told better by who reads it."""


class _Parts(msgspec.Struct, frozen=True):
    """The parts of any body that can hold much, not looked at yet."""

    items: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    ids: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    vectors: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    vector: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    filter: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    include: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_parts: Final = Decoder(_Parts)


def check_body(body: bytes, limits: Limits) -> None:
    """Refuse a body that holds more than is allowed. Raises `VectorLimitError`, and
    `VectorRequestError` where it is no JSON or no object."""
    if len(body) <= SMALL_BODY:
        return
    parts: _Parts = _parts(body)
    for field, most in (
        ("items", limits.batch_items),
        ("ids", limits.batch_items),
        ("vectors", limits.queries),
    ):
        given = getattr(parts, field)
        if given is not msgspec.UNSET and more_entries(given, most):
            raise VectorLimitError(
                [(field, f"are more than the {most:,} that are allowed at once")]
            )
    for field, most in (
        ("vector", limits.dimension),
        ("filter", _CLAUSE * limits.filter_clauses),
        ("include", limits.filter_clauses),
        ("metadata", limits.metadata_bytes),
    ):
        given = getattr(parts, field)
        if given is not msgspec.UNSET and more_values(given, most + 1):
            raise VectorLimitError([(field, "holds more values than are allowed")])
