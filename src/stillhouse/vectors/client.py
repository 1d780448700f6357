"""Vector indexes behind a Stillhouse server, used as if they were here.

    with Client("http://127.0.0.1:7700", api_key=key) as client:
        client.create("docs", dimension=384)
        client.add("docs", [Item("a", vector, {"lang": "en"})])
        hits = client.search("docs", vector, k=10, filter={"lang": "en"})

The methods are those of `VectorStore` (see `stillhouse.vectors.service`), with the same answers
and the same errors. Beside those: a server that cannot be reached or gives no answer is a
`VectorFailedError` (``unreachable``, ``no_answer``); a change that was sent and not answered is
one with code ``outcome_unknown`` and is not sent again; what answers, and is no Stillhouse, is
a `VectorError` with code ``bad_answer``. What is tried again: `stillhouse.vectors.client_link`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args, overload

import numpy as np

from stillhouse.errors import VectorError, VectorNotFoundError, VectorRequestError
from stillhouse.vectors import checks
from stillhouse.vectors import client_codec as wire
from stillhouse.vectors.client_base import ROOT, Connected
from stillhouse.vectors.client_codec import AddTotals, Parcel, encoded, quoted
from stillhouse.vectors.client_errors import counted
from stillhouse.vectors.filters import parse_filter
from stillhouse.vectors.refusals import item_not_found, snapshot_not_found
from stillhouse.vectors.values import (
    AddResult,
    DeleteResult,
    Floats,
    Hit,
    Include,
    IndexInfo,
    IndexSpec,
    Item,
    MergeResult,
    Metadata,
    Metric,
    OnConflict,
    SnapshotInfo,
)

_RAW: Final = "application/octet-stream"


class Client(Connected):
    """Named indexes of vectors behind the server at ``url`` (``http://HOST:PORT``).

    ``timeout`` is how many seconds one read or write may take; a server ends a request on its own
    after 60, so a shorter time than that leaves more changes unknown. ``limits`` are those of the
    server, where they are not the usual ones: what is beyond them is not sent. ``transport`` is
    what carries requests (a fake, a socket of one's own). A client is safe to use from many
    threads. Raises `UsageError` for an address or a key that cannot be used.
    """

    # ------------------------------------------------------------------------ indexes

    def create(
        self,
        name: str,
        dimension: int,
        metric: Metric = "cosine",
        metadata: Metadata | None = None,
    ) -> bool:
        """Make an index; False when there is the same already."""
        spec = checks.check_spec(IndexSpec(name, dimension, metric, metadata), self.limits)
        wanted: dict[str, Any] = {"dimension": spec.dimension, "metric": spec.metric}
        if spec.metadata is not None:
            wanted["metadata"] = spec.metadata
        body = encoded(wanted, "metadata")
        answer = self._link.call("PUT", self._path(name), changes=True, content=body)
        self._link.decode(answer, IndexInfo)
        return answer.status == 201

    def drop(self, name: str) -> None:
        """Remove an index with all its items."""
        self._link.call("DELETE", self._path(name), changes=True)

    def indexes(self) -> list[IndexInfo]:
        """Every index as it stands, by name."""
        answer = self._link.call("GET", ROOT, changes=False)
        return self._link.decode(answer, wire.Indexes).indexes

    def describe(self, name: str) -> IndexInfo:
        """An index as it stands."""
        answer = self._link.call("GET", self._path(name), changes=False)
        return self._link.decode(answer, IndexInfo)

    # -------------------------------------------------------------------------- items

    def add(self, name: str, items: Iterable[Item]) -> AddResult:
        """Insert or replace a batch, whole or not at all; durable when it returns."""
        given = list(items)
        with self._explained(name, lambda spec: checks.check_batch(given, spec, self.limits)):
            return self._add(name, wire.parcel(given, self.limits))

    def add_columns(
        self,
        name: str,
        ids: Sequence[str],
        vectors: Floats | Sequence[Sequence[float]],
        metadata: Sequence[Metadata | None] | None = None,
    ) -> AddResult:
        """The same from columns: ``vectors`` is an array of shape (n, dimension), or n lists."""

        def check(spec: IndexSpec | None) -> None:
            if isinstance(ids, str):
                raise VectorRequestError([("ids", "must be a list of strings")])
            if len({len(ids), len(vectors), len(ids if metadata is None else metadata)}) > 1:
                raise VectorRequestError([("items", "have columns of different lengths")])
            if spec is not None:
                array = isinstance(vectors, np.ndarray)
                matrix = checks.check_matrix(vectors, spec) if array else vectors
                checks.check_columns(ids, matrix, metadata, spec, self.limits)

        with self._explained(name, check):
            check(None)
            given = [None] * len(ids) if metadata is None else metadata
            items = [Item(*row) for row in zip(ids, vectors, given, strict=True)]
            return self._add(name, wire.parcel(items, self.limits))

    def add_many(self, name: str, items: Iterable[Item], *, batch_items: int = 1_000) -> AddTotals:
        """Insert or replace any number of items, in batches that the server takes; of an id that
        comes twice, the later item stands.

        Only each batch is atomic. An error ends it: ``where`` then says after how many items,
        which are in for good, and the fields of a `VectorRequestError` count from the first item
        of all. It can be run again: what is in already is ``unchanged``.
        """
        checks.check_count(batch_items, self.limits.batch_items, "batch_items")
        totals = AddTotals()
        for packed in wire.parcels(items, batch_items, self.limits):
            try:
                # What could not be packed goes the slow way, which says what is wrong with it.
                done = self._add(name, packed) if packed.encoded else self.add(name, packed.items)
            except VectorError as error:
                raise counted(error, totals.items) from error
            totals = AddTotals(
                items=totals.items + len(packed.items),
                inserted=totals.inserted + done.inserted,
                replaced=totals.replaced + done.replaced,
                unchanged=totals.unchanged + done.unchanged,
            )
        return totals

    def _add(self, name: str, packed: Parcel) -> AddResult:
        done = self._link.decode(self._post(name, "add", packed.body()), AddResult)
        if len(done.results) != len(packed.items):
            self._link.foreign("answered for another number of items")
        return done

    def get(self, name: str, id_: str) -> Item:
        """An item, its vector as float32. Raises `VectorNotFoundError` (``item_not_found``)."""
        path = self._path(name)
        if checks.id_problem(id_, self.limits):  # such an id may lead to another route
            self.describe(name)
            raise item_not_found(name, id_)
        answer = self._link.call("GET", f"{path}/items/{quoted(id_)}", changes=False)
        found = self._link.decode(answer, wire.Stored)
        return Item(found.id, np.array(found.vector, np.float32), found.metadata)

    @overload
    def delete(self, name: str, ids: Sequence[str]) -> DeleteResult: ...
    @overload
    def delete(self, name: str, *, filter: Metadata) -> DeleteResult: ...

    def delete(
        self, name: str, ids: Sequence[str] | None = None, *, filter: Metadata | None = None
    ) -> DeleteResult:
        """Delete by ids or by filter, all or nothing."""
        self._path(name)
        if (ids is None) == (filter is None):
            raise VectorRequestError([("ids", "give either ids or a filter")])
        if ids is None:
            parse_filter(filter, self.limits)
            body = encoded({"filter": filter}, "filter")
        else:
            body = encoded({"ids": checks.check_ids(ids, self.limits)}, "ids")
        return self._link.decode(self._post(name, "delete", body), DeleteResult)

    def ids(self, name: str) -> list[str]:
        """The id set (SPEC V1) by code point: one consistent state, however many pages it takes.
        Where the server gave that state up between two pages, all are read once more."""
        path = f"{self._path(name)}/ids"
        try:
            return self._pages(path)
        except VectorNotFoundError as error:
            if error.code != "cursor_expired":
                raise
        return self._pages(path)

    def _pages(self, path: str) -> list[str]:
        found: list[str] = []
        params = {"limit": str(self.limits.page)}
        while True:
            answer = self._link.call("GET", path, changes=False, params=params)
            page = self._link.decode(answer, wire.Page)
            found += page.ids
            if page.cursor is None and len(found) == page.total:
                return found
            if page.cursor is None or not page.ids or len(found) > page.total:
                self._link.foreign("answered with pages of ids that do not add up")
            params["cursor"] = page.cursor

    def count(self, name: str, filter: Metadata | None = None) -> int:
        """How many items there are, or match."""
        wanted: dict[str, Any] = {}
        if filter is not None:
            parse_filter(filter, self.limits)
            wanted["filter"] = filter
        answer = self._ask(name, "count", encoded(wanted, "filter"))
        return self._link.decode(answer, wire.Count).count

    # ----------------------------------------------------------------------- searching

    def search(
        self,
        name: str,
        vector: Floats | Sequence[float],
        k: int = 10,
        *,
        filter: Metadata | None = None,
        ef: int | None = None,
        include: Iterable[Include] = ("metadata",),
    ) -> list[Hit]:
        """The min(k, matches) nearest items, nearest first."""
        found = self.search_many(name, vector, k, filter=filter, ef=ef, include=include)  # type: ignore[arg-type]
        if len(found) != 1:
            raise VectorRequestError([("vector", "are several; search_many takes those")])
        return found[0]

    def search_many(
        self,
        name: str,
        vectors: Floats | Sequence[Sequence[float]],
        k: int = 10,
        *,
        filter: Metadata | None = None,
        ef: int | None = None,
        include: Iterable[Include] = ("metadata",),
    ) -> list[list[Hit]]:
        """The same for several vectors, in their order, all of one consistent state."""
        asked = list(include)

        def check(spec: IndexSpec | None) -> None:
            if spec is not None:
                checks.check_queries(vectors, spec, self.limits)
            checks.check_count(k, self.limits.k, "k")
            if ef is not None:
                checks.check_count(ef, self.limits.ef, "ef")
            if filter is not None:
                parse_filter(filter, self.limits)
            checks.check_include(asked)

        with self._explained(name, check):
            check(None)
            queries = wire.query_floats(vectors)
            if not len(queries):
                check(self._spec(name))
                return []
            # numpy's whole numbers are taken by a store, too.
            rest = {"k": int(k), "include": asked} | ({} if ef is None else {"ef": int(ef)})
            if filter is not None:
                answer = self._ask(
                    name, "search", wire.search_body(queries, {**rest, "filter": filter})
                )
            else:
                words = {**rest, "include": ",".join(asked)}
                params = {key: str(value) for key, value in words.items()}
                answer = self._ask(name, "search", wire.raw(queries), kind=_RAW, params=params)
        found = self._link.decode(answer, wire.Results).results
        if len(found) != len(queries):
            # Numbers end to end tell no dimension: a wrong one makes another number of vectors.
            check(self._spec(name))
            self._link.foreign("answered another number of searches")
        return found

    # ------------------------------------------------------------------------- merging

    def merge(
        self,
        src: str,
        dest: str,
        *,
        clear_source: bool = False,
        on_conflict: OnConflict = "skip",
    ) -> MergeResult:
        """Bring the items of ``src`` into ``dest`` (SPEC V4). One of which no answer came can be
        run again: it goes on where the other ended."""
        checks.check_name(src, self.limits, "src")

        def check(_: IndexSpec | None) -> None:
            checks.check_name(dest, self.limits, "dest")
            if dest == src:
                raise VectorRequestError(
                    [("dest", "is the source itself")], code="merge_into_itself"
                )
            if on_conflict not in get_args(OnConflict):
                raise VectorRequestError([("on_conflict", "must be skip or replace")])

        with self._explained(src, check):
            check(None)
            wanted = {"dest": dest, "clear_source": clear_source, "on_conflict": on_conflict}
            answer = self._post(src, "merge", encoded(wanted, "dest"))
        return self._link.decode(answer, MergeResult)

    # ----------------------------------------------------------------------- snapshots

    def snapshot(self, name: str) -> SnapshotInfo:
        """Write an index down as it stands now, to where the server keeps snapshots."""
        return self._link.decode(self._post(name, "snapshot", b"{}"), SnapshotInfo)

    def snapshots(self, name: str) -> list[SnapshotInfo]:
        """The snapshots of an index, oldest first."""
        answer = self._link.call("GET", f"{self._path(name)}/snapshot", changes=False)
        return self._link.decode(answer, wire.Snapshots).snapshots

    def restore(
        self, name: str, snapshot: str, into: str | None = None, replace: bool = False
    ) -> int:
        """Make an index (``into``, or the one of that name) of a snapshot of ``name`` (``latest``:
        of the newest); how many items it has. One that is there is only given up with
        ``replace``."""
        wanted: dict[str, Any] = {"snapshot": snapshot, "replace": replace}
        if into is not None:
            wanted["into"] = checks.check_name(into, self.limits, "into")
        answer = self._post(name, "restore", encoded(wanted, "snapshot"))
        return self._link.decode(answer, wire.Restored).items

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        """Remove a snapshot. Raises `VectorNotFoundError` (``snapshot_not_found``)."""
        path = self._path(name)
        if checks.id_problem(snapshot, self.limits):  # it may lead to another route
            raise snapshot_not_found(name, snapshot)
        self._link.call("DELETE", f"{path}/snapshot/{quoted(snapshot)}", changes=True)
