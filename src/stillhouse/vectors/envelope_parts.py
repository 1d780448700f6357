"""What both versions of the envelope share: what a decoded one is, and how one is refused.

Nothing here reads or writes; see `stillhouse.vectors.envelope` for the way in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from stillhouse.errors import VectorDamagedError, VectorRequestError
from stillhouse.vectors import checks
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.values import Batch, Floats, IndexSpec

MOST_ITEMS: Final = 1_024
"""Items in one batch that a decoder gives."""

ENOUGH_BYTES: Final = 4 << 20
"""A batch of so many bytes takes no further item."""

_MOST_TOLD: Final = 80
"""Characters of a stranger's text that an error repeats."""
_ITEM: Final = re.compile(r"items\[(\d+)\](?:\.(\w+))?")


class Envelope(NamedTuple):
    """A decoded index. ``batches`` can be read once, and may raise `VectorDamagedError` up to the
    very end: only then the whole is known to be sound.

    ``total`` is how many items there are. ``left_out`` counts vectors of version 1 that have no
    metadata, and so are not among them (SPEC V3); version 1 also has no name, which is empty then.
    """

    version: int
    spec: IndexSpec
    total: int
    left_out: int
    batches: Iterator[Batch]


def damaged(why: str, where: str) -> VectorDamagedError:
    """What is read is not an envelope as this program writes it."""
    return VectorDamagedError(
        why, where=where, code="envelope_damaged", way_out="Use another copy of it."
    )


def newer(version: object, where: str) -> VectorDamagedError:
    """It is, by its own word, of a version that this program does not know."""
    return VectorDamagedError(
        f"this envelope has version {shown(version)}; this stillhouse reads versions 1 and 2",
        where=where,
        code="envelope_version",
        way_out="Use the newer stillhouse that wrote it.",
    )


def shown(value: object) -> str:
    """A value of an envelope for an error: the start of it, quoted."""
    text = repr(value)
    return text if len(text) <= _MOST_TOLD else f"{text[:_MOST_TOLD]}…"


def checked_spec(spec: IndexSpec, limits: Limits, where: str) -> IndexSpec:
    """The description of an index, or `VectorDamagedError`."""
    try:
        return checks.check_spec(spec, limits)
    except VectorRequestError as error:
        raise damaged(f"its index is none that could be made: {error.what}", where) from None


def checked_batch(
    ids: list[str],
    vectors: Floats,
    metadata: list[bytes | None],
    spec: IndexSpec,
    limits: Limits,
    where: str,
) -> Batch:
    """Items whose ids and vectors `add` would take, with metadata that `canonical` has checked;
    else `VectorDamagedError`."""
    # How many come at once is the decoder's doing, not the caller's.
    limits = msgspec.structs.replace(limits, batch_items=len(ids))
    try:
        batch = checks.check_columns(ids, vectors, None, spec, limits)
    except VectorRequestError as error:
        raise refused_items(ids, error, where) from None
    return batch._replace(metadata=metadata)


def canonical(id_: str, value: object, limits: Limits, where: str) -> bytes | None:
    """An item's metadata as the store keeps it, or `VectorDamagedError`."""
    try:
        return checks.canonical_metadata(value, limits, "items[0].metadata")
    except VectorRequestError as error:
        raise refused_items([id_], error, where) from None


def refused_items(ids: Sequence[str], error: VectorRequestError, where: str) -> VectorDamagedError:
    """What the checks say of items, by their ids instead of their places in a batch."""
    told = []
    for field, problem in error.problems[:4]:
        found = _ITEM.fullmatch(field)
        if found is None:
            told.append(f"{field} {problem}")
        else:
            told.append(f"item {shown(ids[int(found[1])])}: its {found[2]} {problem}")
    return damaged(f"it holds what no index takes: {'; '.join(told)}", where)


def object_of(data: bytes, type_: Any, what: str, where: str) -> Any:
    """JSON of a known type, or `VectorDamagedError`. Long JSON is refused before it comes here:
    objects take up to thirty times the room of their text."""
    try:
        return msgspec.json.decode(data, type=type_)
    except RecursionError:
        raise damaged(f"{what} is nested too deeply", where) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise damaged(f"{what} cannot be read: {error}", where) from None
