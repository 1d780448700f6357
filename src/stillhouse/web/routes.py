"""Everything that can be asked, in one table: dispatcher, OpenAPI document and page read it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from stillhouse.errors import VectorRequestError
from stillhouse.vectors import values
from stillhouse.web import handlers, searching, wire
from stillhouse.web.problems import Denial
from stillhouse.web.service import Handler


class Query(NamedTuple):
    """A value of the query string, for the document."""

    name: str
    kind: str
    about: str


class Route(NamedTuple):
    """One method of one path. ``codes`` are the problems of its own, beside those that every
    route has; ``raw`` says that it takes float32 bodies too; an ``open`` route needs no key.
    ``answers`` are by status: a type, several or none, and words."""

    method: str
    path: str
    handler: Handler
    about: str
    answers: dict[int, tuple[Any, str]]
    body: Any = None
    example: str = ""
    codes: tuple[str, ...] = ()
    query: tuple[Query, ...] = ()
    raw: bool = False
    open: bool = False


_INDEX: Final = "/v1/vectors/index"
_ONE: Final = f"{_INDEX}/{{name}}"
_NAMED: Final = ("index_not_found", "invalid_name")
_SEARCH_QUERY: Final = (
    Query("k", "integer", "Raw bodies only: how many hits a vector."),
    Query("ef", "integer", "Raw bodies only: width of an approximate search."),
    Query("include", "string", "Raw bodies only: metadata, vector, or both with a comma."),
    Query("filter", "string", "Raw bodies only: a filter, as JSON."),
)

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        _INDEX,
        handlers.indexes,
        "List the indexes",
        {200: (wire.IndexList, "Every index, by name.")},
    ),
    Route(
        "PUT",
        _ONE,
        handlers.create,
        "Create an index",
        {
            200: (values.IndexInfo, "The same is there already."),
            201: (values.IndexInfo, "It was made."),
        },
        wire.CreateBody,
        '{"dimension": 3, "metric": "cosine"}',
        ("invalid_name", "limit_exceeded", "index_exists"),
    ),
    Route(
        "GET",
        _ONE,
        handlers.describe,
        "Describe an index",
        {200: (values.IndexInfo, "The index as it stands.")},
        codes=_NAMED,
    ),
    Route(
        "DELETE",
        _ONE,
        handlers.drop,
        "Drop an index with all its items",
        {204: (None, "It is gone.")},
        codes=_NAMED,
    ),
    Route(
        "POST",
        f"{_ONE}/add",
        handlers.add,
        "Insert or replace items, all or none",
        {200: (values.AddResult, "What became of each item.")},
        wire.AddBody,
        '{"items": [{"id": "a", "vector": [0.1, 0.2, 0.3], "metadata": {"lang": "en"}}]}',
        (*_NAMED, "bad_base64", "limit_exceeded", "dimension_mismatch"),
    ),
    Route(
        "POST",
        f"{_ONE}/search",
        searching.search,
        "Search by one vector or by several",
        {
            200: (
                (wire.Found, wire.FoundMany),
                "`hits` of one vector; `results` of several, and of a raw body.",
            )
        },
        wire.SearchBody,
        '{"vector": [0.1, 0.2, 0.3], "k": 10}',
        (*_NAMED, "bad_base64", "invalid_filter", "limit_exceeded", "dimension_mismatch"),
        _SEARCH_QUERY,
        raw=True,
    ),
    Route(
        "GET",
        f"{_ONE}/items/{{id}}",
        handlers.get,
        "Get an item",
        {200: (wire.StoredItem, "The item as it is kept.")},
        codes=(*_NAMED, "item_not_found"),
    ),
    Route(
        "DELETE",
        f"{_ONE}/items/{{id}}",
        handlers.delete_one,
        "Delete an item",
        {204: (None, "It is gone.")},
        codes=(*_NAMED, "item_not_found"),
    ),
    Route(
        "POST",
        f"{_ONE}/delete",
        handlers.delete,
        "Delete items by ids or by a filter, all or none",
        {200: (values.DeleteResult, "How many were deleted, and which ids were not there.")},
        wire.DeleteBody,
        '{"ids": ["a"]}',
        (*_NAMED, "invalid_filter", "limit_exceeded"),
    ),
    Route(
        "POST",
        f"{_ONE}/count",
        handlers.count,
        "Count the items, or those that a filter matches",
        {200: (wire.Count, "How many there are.")},
        wire.CountBody,
        '{"filter": {"lang": "en"}}',
        (*_NAMED, "invalid_filter", "limit_exceeded"),
    ),
    Route(
        "GET",
        f"{_ONE}/ids",
        handlers.ids,
        "Page through the ids of one moment",
        {200: (wire.IdPage, "A page; `cursor` leads to the next.")},
        codes=(*_NAMED, "limit_exceeded", "cursor_expired"),
        query=(
            Query("cursor", "string", "The page before said it; nothing begins anew."),
            Query("limit", "integer", "Ids on a page."),
        ),
    ),
    Route(
        "POST",
        f"{_INDEX}/{{src}}/merge",
        handlers.merge,
        "Bring an index's items into another",
        {200: (values.MergeResult, "What was done.")},
        wire.MergeBody,
        '{"dest": "main", "clear_source": true, "on_conflict": "skip"}',
        (*_NAMED, "merge_into_itself", "dimension_mismatch", "metric_mismatch"),
    ),
    Route(
        "POST",
        f"{_ONE}/snapshot",
        handlers.snapshot,
        "Write an index down as it stands",
        {201: (values.SnapshotInfo, "Where and what it is.")},
        wire.SnapshotBody,
        "{}",
        _NAMED,
    ),
    Route(
        "GET",
        f"{_ONE}/snapshot",
        handlers.snapshots,
        "List an index's snapshots",
        {200: (wire.SnapshotList, "Oldest first.")},
        codes=_NAMED,
    ),
    Route(
        "DELETE",
        f"{_ONE}/snapshot/{{snapshot}}",
        handlers.delete_snapshot,
        "Remove a snapshot",
        {204: (None, "It is gone.")},
        codes=("invalid_name", "snapshot_not_found"),
    ),
    Route(
        "POST",
        f"{_ONE}/restore",
        handlers.restore,
        "Make an index of a snapshot",
        {200: (wire.Restored, "The index, and how many items it has.")},
        wire.RestoreBody,
        '{"snapshot": "latest", "into": "restored"}',
        (*_NAMED, "snapshot_not_found", "index_exists", "envelope_damaged", "envelope_version"),
    ),
    Route(
        "GET",
        "/livez",
        handlers.livez,
        "Whether the process answers",
        {200: (wire.Alive, "It does.")},
        open=True,
    ),
    Route(
        "GET",
        "/readyz",
        handlers.readyz,
        "Whether writes are acknowledged",
        {200: (wire.Alive, "They are.")},
        open=True,
    ),
    Route(
        "GET",
        "/metrics",
        handlers.metrics,
        "Figures for Prometheus",
        {200: (str, "The text format.")},
    ),
)


class Matched(NamedTuple):
    """A route and the parts of the path that stand for its names, decoded."""

    route: Route
    values: tuple[str, ...]


class Table:
    """Finds routes by the raw path, so that an encoded slash stays within its part."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._by_length: dict[int, list[tuple[tuple[bytes | None, ...], dict[str, Route]]]] = {}
        for route in routes:
            parts = tuple(
                None if part.startswith("{") else part.encode() for part in route.path.split("/")
            )
            shapes = self._by_length.setdefault(len(parts), [])
            methods = next((known for shape, known in shapes if shape == parts), None)
            if methods is None:
                shapes.append((parts, methods := {}))
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route

    def _match(self, parts: list[bytes]) -> dict[str, Route]:
        for shape, methods in self._by_length.get(len(parts), ()):
            if all(want is None or want == got for want, got in zip(shape, parts, strict=True)):
                return methods
        raise Denial("not_found", "no route has this path; /docs lists all")

    def find(self, method: str, raw_path: bytes) -> Matched | str:
        """The route, or, for OPTIONS on a path that is known, its methods.

        Raises `Denial` (``not_found``, ``method_not_allowed``) or `VectorRequestError`.
        """
        parts = raw_path.split(b"/")
        methods = self._match(parts)
        route = methods.get(method)
        if route is None:
            allowed = ", ".join(sorted({*methods, "OPTIONS"}))
            if method == "OPTIONS":
                return allowed
            raise Denial(
                "method_not_allowed",
                f"this path takes {allowed}",
                headers=((b"allow", allowed.encode()),),
            )
        named = zip(route.path.split("/"), parts, strict=True)
        found = (_decoded(got, want[1:-1]) for want, got in named if want.startswith("{"))
        return Matched(route, tuple(found))


def _decoded(part: bytes, field: str) -> str:
    if b"%" not in part:
        return part.decode("ascii")
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        code = "invalid_name" if field in ("name", "src") else ""
        raise VectorRequestError([(field, "is no UTF-8")], code=code) from None
