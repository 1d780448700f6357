"""What the routes take and give as JSON, and how vectors are read from a body.

The decoders say every problem of a batch, each with its field. Nothing here touches a store.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
import numpy as np

from stillhouse.errors import VectorLimitError, VectorRequestError
from stillhouse.vectors import Limits
from stillhouse.vectors.values import Floats, Hits, IndexInfo, Metadata, OnConflict, SnapshotInfo
from stillhouse.web.counting import more_values

T = TypeVar("T")

# ------------------------------------------------------------------------------ requests


class Base64(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers as base64 of little-endian float32."""

    base64: str


Vector: TypeAlias = list[float] | Base64


class CreateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an index is made with."""

    dimension: int
    metric: str = "cosine"
    metadata: Metadata | None = None


class ItemBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One item to add. No metadata (null) and empty metadata ({}) are two things."""

    id: str
    vector: Vector
    metadata: Metadata | None = None


class AddBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Items to insert or replace, all or none."""

    items: list[ItemBody]


class SearchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A search: by one ``vector``, or by several ``vectors`` (a list, or one base64 that holds
    them end to end). ``ef`` widens an approximate search."""

    vector: Vector | msgspec.UnsetType = msgspec.UNSET
    vectors: list[Vector] | Base64 | msgspec.UnsetType = msgspec.UNSET
    k: int = 10
    filter: Metadata | None = None
    ef: int | None = None
    include: tuple[str, ...] = ("metadata",)


class DeleteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to delete: by ``ids`` or by a ``filter``."""

    ids: list[str] | msgspec.UnsetType = msgspec.UNSET
    filter: Metadata | msgspec.UnsetType = msgspec.UNSET


class CountBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to count: all items when there is no filter."""

    filter: dict[str, Any] | None = None


class MergeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to merge to, and how (SPEC V4)."""

    dest: str
    clear_source: bool = False
    on_conflict: OnConflict = "skip"


class SnapshotBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be said of a snapshot to be made."""


class RestoreBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which snapshot to restore, into what: by default the index of that name. One that is there
    is only given up with ``replace``. ``latest`` is the newest snapshot."""

    snapshot: str
    into: str | None = None
    replace: bool = False


class RawAdd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`AddBody`, its items not looked at yet."""

    items: list[msgspec.Raw]


class RawSearch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`SearchBody`, its vectors not looked at yet."""

    vector: Vector | msgspec.UnsetType = msgspec.UNSET
    vectors: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    k: int = 10
    filter: Metadata | None = None
    ef: int | None = None
    include: tuple[str, ...] = ("metadata",)


# ------------------------------------------------------------------------------- answers


class IndexList(msgspec.Struct, frozen=True):
    """Every index, by name."""

    indexes: list[IndexInfo]


class StoredItem(msgspec.Struct, frozen=True):
    """An item as it is kept."""

    id: str
    vector: list[float]
    metadata: msgspec.Raw | None


class FoundItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """`stillhouse.vectors.values.Hit`, its metadata still JSON."""

    id: str
    score: float
    metadata: msgspec.Raw | msgspec.UnsetType | None = msgspec.UNSET
    vector: list[float] | msgspec.UnsetType = msgspec.UNSET


class Found(msgspec.Struct, frozen=True):
    """What one vector found, nearest first."""

    hits: list[FoundItem]


class FoundMany(msgspec.Struct, frozen=True):
    """What several vectors found, in their order."""

    results: list[list[FoundItem]]


class Count(msgspec.Struct, frozen=True):
    """How many items there are, or match."""

    count: int


class IdPage(msgspec.Struct, frozen=True):
    """Ids by code point; ``total`` is how many all pages hold; ``cursor`` leads to the next
    page, and is null on the last."""

    ids: list[str]
    total: int
    cursor: str | None


class SnapshotList(msgspec.Struct, frozen=True):
    """The snapshots of an index."""

    snapshots: list[SnapshotInfo]


class Restored(msgspec.Struct, frozen=True):
    """The index that was restored, and how many items it has."""

    index: IndexInfo
    items: int


class Alive(msgspec.Struct, frozen=True):
    """The process answers; of /readyz also: the store acknowledges writes."""

    status: str


# ------------------------------------------------------------------------------ decoding

_EXPECTED: Final = re.compile(r"Expected `(.+?)`, got `(.+?)`")
_AT: Final = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")
_WORDS: Final = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
}


class Decoder:
    """Reads JSON of one shape; what is off is told with its field."""

    def __init__(self, kind: Any) -> None:
        self._inner: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)

    def __call__(self, data: bytes | msgspec.Raw, field: str = "") -> Any:
        """Raises `VectorRequestError`: ``malformed_json`` when it is no JSON, else with the
        field below ``field`` that has another type, is missing or is not known."""
        try:
            return self._inner.decode(data)
        except msgspec.ValidationError as error:
            raise VectorRequestError([_told(str(error), field)]) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            words = str(error).removeprefix("JSON is malformed: ")
            raise VectorRequestError([(field or "body", words)], code="malformed_json") from None
        except RecursionError:
            raise VectorRequestError(
                [(field or "body", "is nested too deeply")], code="malformed_json"
            ) from None


def _told(words: str, within: str) -> tuple[str, str]:
    """What msgspec says, as a field and what is wrong with it."""
    path = ""
    if at := _AT.search(words):
        path, words = at[1], words[: at.start()]
    if unknown := _UNKNOWN.match(words):
        return _below(within, _below(path, unknown[1])), "is not known here"
    if missing := _MISSING.match(words):
        return _below(within, _below(path, missing[1])), "is missing"
    if wrong := _EXPECTED.match(words):
        wanted, got = (
            " or ".join(_WORDS.get(one, one) for one in part.split(" | "))
            for part in (wrong[1], wrong[2])
        )
        words = f"must be {wanted}, not {got}"
    return _below(within, path) or "body", words[:1].lower() + words[1:]


def _below(above: str, name: str) -> str:
    dot = "." if above and name and not name.startswith("[") else ""
    return f"{above}{dot}{name}"


read_add: Final = Decoder(RawAdd)
read_item: Final = Decoder(ItemBody)
read_loose: Final = Decoder(Any)
read_search: Final = Decoder(RawSearch)
_read_vectors: Final = Decoder(list[msgspec.Raw] | Base64)
_read_vector: Final = Decoder(Vector)


# ------------------------------------------------------------------------------- vectors


def floats(vector: Vector, field: str) -> Floats:
    """The numbers of a vector, of shape (n,); what is beyond float32 is infinite and for the
    checks to refuse. Raises `VectorRequestError` (``bad_base64``)."""
    if isinstance(vector, Base64):
        try:
            data = binascii.a2b_base64(vector.base64, strict_mode=True)
            if len(vector.base64) % 4:
                raise ValueError("Excess padding")  # which Python lets through
        except ValueError as error:
            raise VectorRequestError([(field, _base64_words(error))], code="bad_base64") from None
        return raw_floats(data, field, "bad_base64")
    with np.errstate(over="ignore"):
        return np.array(vector, np.float32)


def raw_floats(data: bytes, field: str, code: str) -> Floats:
    """Little-endian float32 numbers as they stand in memory."""
    if len(data) % 4:
        raise VectorRequestError(
            [(field, f"holds {len(data):,} bytes, which is no whole number of float32")], code=code
        )
    return np.frombuffer(data, "<f4").astype(np.float32, copy=False)


def _base64_words(error: ValueError) -> str:
    return f"is no base64: {str(error)[:1].lower()}{str(error)[1:]}"


def rows(data: Floats, dimension: int, field: str) -> Floats:
    """Numbers end to end as an (n, dimension) array."""
    if not len(data) or len(data) % dimension:
        raise VectorRequestError(
            [
                (
                    field,
                    f"holds {len(data):,} numbers; that is no whole number of vectors of "
                    f"{dimension:,} dimensions",
                )
            ]
        )
    return data.reshape(-1, dimension)


def many_vectors(raw: msgspec.Raw, dimension: int, limits: Limits) -> Floats | list[Floats]:
    """The ``vectors`` of a search. Raises `VectorLimitError` when there are too many."""
    given = _read_vectors(raw, "vectors")
    if isinstance(given, Base64):
        return rows(floats(given, "vectors"), dimension, "vectors")
    if not given:
        raise VectorRequestError([("vectors", "are none")])
    if len(given) > limits.queries:
        raise VectorLimitError(
            [("vectors", f"are {len(given):,}; at most {limits.queries:,} are allowed at once")]
        )
    vectors = []
    for at, one in enumerate(given):
        field = f"vectors[{at}]"
        if more_values(one, limits.dimension + 1):
            raise VectorLimitError([(field, "holds more values than are allowed")])
        vectors.append(floats(_read_vector(one, field), field))
    return vectors


class Columns(NamedTuple):
    """Items as they came, by columns, and what is off about their shape. What is no vector, id
    or metadata stands as it came: the store's checks say what is wrong with it."""

    ids: list[Any]
    vectors: list[Any]
    metadata: list[Any]
    problems: list[tuple[str, str]]
    codes: set[str]


def item_columns(items: Sequence[msgspec.Raw], limits: Limits) -> Columns:
    """The items of an add. Raises `VectorRequestError` (``malformed_json``), and
    `VectorLimitError` for an item that holds more than any vector and metadata can."""
    columns = Columns([], [], [], [], set())
    most = limits.dimension + limits.metadata_bytes + 16
    for at, raw in enumerate(items):
        field = f"items[{at}]"
        if more_values(raw, most):
            raise VectorLimitError([(field, "holds more values than are allowed")])
        try:
            item = read_item(raw, field)
            vector: Any = floats(item.vector, f"{field}.vector")
        except VectorRequestError as error:
            if error.code == "malformed_json":
                raise
            columns.codes.add(error.code)
            columns.problems.extend(error.problems)
            # The rest of the item is looked at all the same: a batch is told all its problems.
            loose = _loose(raw, field)
            columns.ids.append(loose.get("id"))
            columns.vectors.append(loose.get("vector"))
            columns.metadata.append(loose.get("metadata"))
        else:
            columns.ids.append(item.id)
            columns.vectors.append(vector)
            columns.metadata.append(item.metadata)
    return columns


def _loose(raw: msgspec.Raw, field: str) -> dict[str, Any]:
    """An item whatever its shape; one with a number that nothing holds has an id all the same,
    or it would be missed."""
    try:
        loose = read_loose(raw, field)
    except VectorRequestError:
        return {"id": field}
    return loose if isinstance(loose, dict) else {}


def found_items(found: Hits) -> list[FoundItem]:
    """What a query found, as rows whose metadata is still JSON."""
    rows_: list[FoundItem] = []
    metadata, vectors = found.metadata, found.vectors
    for at, (id_, score) in enumerate(zip(found.ids, found.scores.tolist(), strict=True)):
        kept = None if metadata is None else metadata[at]
        rows_.append(
            FoundItem(
                id_,
                score,
                msgspec.UNSET if metadata is None else None if kept is None else msgspec.Raw(kept),
                msgspec.UNSET if vectors is None else vectors[at].tolist(),
            )
        )
    return rows_
