"""Items and queries as the client writes them on the wire: vectors as base64 of little-endian
float32, so that no number goes through decimal digits.

What JSON would carry as something else (NaN becomes null, say) is refused here, with the words
of `stillhouse.vectors.checks`; what only the server can know (the dimension) is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np

from stillhouse.errors import VectorLimitError, VectorRequestError
from stillhouse.vectors.checks import canonical_metadata, id_problem
from stillhouse.vectors.limits import Limits
from stillhouse.vectors.values import Floats, Hit, IndexInfo, Item, Metadata, SnapshotInfo


def _plain(value: object) -> object:
    """What derives from a type of JSON (numpy's numbers do) as that type, as the store takes it."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return str.__str__(value) if kind is str else kind(value)
    raise TypeError(f"a {type(value).__name__} is no JSON")


_JSON: Final = msgspec.json.Encoder(enc_hook=_plain)
_HEAD: Final = b'{"items":['
_END: Final = b"]}"


class _Base64(msgspec.Struct, frozen=True):
    base64: bytes
    """msgspec writes bytes as base64."""


class _WireItem(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    vector: _Base64
    metadata: msgspec.Raw | None = None


class AddTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What became of items that were added in several batches."""

    items: int = 0
    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0


class Indexes(msgspec.Struct, frozen=True):
    """An answer: every index."""

    indexes: list[IndexInfo]


class Stored(msgspec.Struct, frozen=True):
    """An answer: one item."""

    id: str
    vector: list[float]
    metadata: Metadata | None


class Count(msgspec.Struct, frozen=True):
    """An answer: how many items match."""

    count: int


class Page(msgspec.Struct, frozen=True):
    """An answer: a page of ids, how many there are on all pages, and what the next is asked by."""

    ids: list[str]
    total: int
    cursor: str | None


class Results(msgspec.Struct, frozen=True):
    """An answer: the hits of each query."""

    results: list[list[Hit]]


class Snapshots(msgspec.Struct, frozen=True):
    """An answer: the snapshots of an index."""

    snapshots: list[SnapshotInfo]


class Restored(msgspec.Struct, frozen=True):
    """An answer: how many items were restored."""

    items: int


class Parcel(NamedTuple):
    """Items of one request: as they were given, and each as JSON."""

    items: list[Item]
    encoded: list[bytes]

    def body(self) -> bytes:
        """The request's body."""
        return _HEAD + b",".join(self.encoded) + _END

    def size(self) -> int:
        """How many bytes the body has, or one more."""
        return len(_HEAD + _END) + sum(len(one) + 1 for one in self.encoded)


def parcel(items: Sequence[Item], limits: Limits) -> Parcel:
    """All items as one request. Raises `VectorRequestError`: see `encode_item`."""
    if len(items) > limits.batch_items:
        raise VectorLimitError([("items", "are too many")])
    packed = Parcel(list(items), [encode_item(item, limits) for item in items])
    if len({item.id for item in items}) < len(items):
        raise VectorRequestError([("items", "have an id twice")])
    if packed.size() > limits.body_bytes:
        most = f"at most {limits.body_bytes:,} are allowed at once"
        raise VectorLimitError([("items", f"make {packed.size():,} bytes; {most}")])
    return packed


def parcels(items: Iterable[Item], most_items: int, limits: Limits) -> Iterator[Parcel]:
    """Items in their order, cut into requests that are within the limits and have no id twice.

    An item that cannot be sent is the last: alone in its parcel, and without bytes.
    """
    now, seen, size = Parcel([], []), set[str](), len(_HEAD + _END)
    for item in items:
        try:
            encoded = encode_item(item, limits)
        except VectorRequestError:
            if now.items:
                yield now
            yield Parcel([item], [])
            return
        over = size + len(encoded) + 1 > limits.body_bytes
        if now.items and (over or len(now.items) >= most_items or item.id in seen):
            yield now
            now, seen, size = Parcel([], []), set(), len(_HEAD + _END)
        now.items.append(item)
        now.encoded.append(encoded)
        seen.add(item.id)
        size += len(encoded) + 1
    if now.items:
        yield now


def encode_item(item: Item, limits: Limits) -> bytes:
    """An item as JSON. Raises `VectorRequestError` where JSON would carry it as another; what is
    wrong with it is then for `stillhouse.vectors.checks` to say."""
    if problem := id_problem(item.id, limits):
        raise VectorRequestError([("id", problem)])
    vector = floats(item.vector)
    if vector is None or vector.ndim != 1:
        raise VectorRequestError([("vector", "must be a list of numbers")])
    metadata = canonical_metadata(item.metadata, limits, "metadata")
    return _JSON.encode(
        _WireItem(
            item.id,
            _Base64(raw(vector)),
            None if metadata is None else msgspec.Raw(metadata),
        )
    )


def floats(vectors: object) -> Floats | None:
    """Numbers as an array of float32, of whatever shape they have; None when they are none. As in
    the store, what is too large for float32 becomes infinite, and is refused as that."""
    try:
        array = np.asarray(vectors)
        if array.dtype.kind not in "fiu":
            return None
        with np.errstate(over="ignore"):
            return array.astype(np.float32, copy=False)
    except (TypeError, ValueError, OverflowError):
        return None


def raw(vectors: Floats) -> bytes:
    """An array's numbers end to end, little-endian whatever this machine is."""
    return np.ascontiguousarray(vectors, "<f4").tobytes()


def quoted(text: str) -> str:
    """A name or an id as one segment of a path."""
    return quote(text, safe="")


def query_floats(vectors: object) -> Floats:
    """One vector or several as an array of shape (n, d), of which n may be 0. Raises
    `VectorRequestError`."""
    array = floats(vectors)
    if array is None or array.ndim not in (1, 2) or not array.shape[-1]:
        raise VectorRequestError([("vector", "must be one vector or a list of vectors")])
    return array.reshape(1, -1) if array.ndim == 1 else array


def search_body(queries: Floats, rest: dict[str, Any]) -> bytes:
    """A search of all queries as JSON. Raises `VectorRequestError` naming the filter."""
    return encoded({"vectors": [_Base64(raw(query)) for query in queries], **rest}, "filter")


def encoded(value: object, field: str) -> bytes:
    """A value as JSON. Raises `VectorRequestError` naming the field where there is none."""
    try:
        return _JSON.encode(value)
    except UnicodeEncodeError:
        raise VectorRequestError([(field, "has text that is no valid Unicode")]) from None
