"""The search route, which most requests ask: decoding, deciding where to run, answering.

A small search of an index that answers fast runs on the event loop, where handing it to a thread
would take longer than the search; everything else goes to threads, large ones to their own.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, cast

import msgspec

from stillhouse.errors import VectorRequestError
from stillhouse.vectors.checks import check_name
from stillhouse.vectors.values import Floats, Metadata
from stillhouse.web.bounds import SMALL_BODY, check_body
from stillhouse.web.calls import FLOATS, JSON, Call, Reply, check_kind, query_values, whole_number
from stillhouse.web.service import Service
from stillhouse.web.wire import (
    Found,
    FoundMany,
    floats,
    found_items,
    many_vectors,
    raw_floats,
    read_loose,
    read_search,
    rows,
)

_LARGE_BODY: Final = 1024 * 1024
_SMALL_K: Final = 100
_SMALL_EF: Final = 512
_LARGE_K: Final = 1_000
_encode: Final = msgspec.json.Encoder().encode


class Asked(NamedTuple):
    """A search, decoded. ``single`` is how it is answered: with ``hits``, not ``results``."""

    vectors: Floats | list[Floats]
    queries: int
    k: int
    filter: Any
    ef: int | None
    include: tuple[str, ...]
    single: bool
    field: str

    @property
    def small(self) -> bool:
        """Whether it may run on the event loop, where the index is fast."""
        return (
            self.queries == 1
            and self.k <= _SMALL_K
            and self.filter is None
            and "vector" not in self.include  # whose numbers take longer to write than to find
            and (self.ef is None or self.ef <= _SMALL_EF)
        )

    @property
    def large(self) -> bool:
        """Whether it could keep a thread so long that single searches should not wait for it."""
        return self.queries > 1 or self.k > _LARGE_K


async def search(service: Service, call: Call) -> Reply:
    """POST …/search."""
    check_kind(call, (JSON, FLOATS))
    name = check_name(call.values[0], service.limits)
    if len(call.body) > _LARGE_BODY:
        return await service.batches.run(lambda: _answer(service, name, _asked(service, call)))
    if len(call.body) > SMALL_BODY or not service.in_process:  # decoding looks up the dimension
        asked = await service.searches.run(_asked, service, call)
    else:
        asked = _asked(service, call)
    if asked.large:
        return await service.batches.run(_answer, service, name, asked)
    if not asked.small:
        return await service.searches.run(_answer, service, name, asked)
    if service.pace.quick(name):
        return service.pace.inline(name, lambda: _answer(service, name, asked))
    return await service.searches.run(
        service.pace.aside, name, lambda: _answer(service, name, asked)
    )


def _answer(service: Service, name: str, asked: Asked) -> Reply:
    found = service.store.search_columns(
        name,
        asked.vectors,
        asked.k,
        filter=asked.filter,
        ef=asked.ef,
        include=cast(Any, asked.include),  # the store checks it
        field=asked.field,
    )
    service.metrics.searched.inc(asked.queries)
    if asked.single:
        return Reply(200, _encode(Found(found_items(found[0]))))
    return Reply(200, _encode(FoundMany([found_items(one) for one in found])))


def _asked(service: Service, call: Call) -> Asked:
    return _raw(service, call) if call.kind() == FLOATS else _json(service, call)


def _json(service: Service, call: Call) -> Asked:
    query_values(call, ())  # the options of a JSON body stand in it
    check_body(call.body, service.limits)
    body = read_search(call.body)
    vector, raw = body.vector, body.vectors
    if (vector is msgspec.UNSET) == (raw is msgspec.UNSET):
        raise VectorRequestError([("vector", "give either a vector or vectors")])
    options = (body.k, body.filter, body.ef, body.include)
    if raw is msgspec.UNSET:
        return Asked(floats(vector, "vector"), 1, *options, True, "vector")
    vectors = many_vectors(raw, _dimension(service, call), service.limits)
    return Asked(vectors, len(vectors), *options, False, "vectors")


def _raw(service: Service, call: Call) -> Asked:
    """A body of float32, everything else in the query string."""
    values = query_values(call, ("k", "filter", "ef", "include"))
    filter_: Metadata | None = None
    if "filter" in values:
        filter_ = read_loose(values["filter"].encode(), "filter")
        if not isinstance(filter_, dict):
            raise VectorRequestError([("filter", "must be an object")], code="invalid_filter")
    k = whole_number(values, "k")
    include = values.get("include", "metadata")
    numbers = raw_floats(call.body, "body", "invalid_request")
    vectors = rows(numbers, _dimension(service, call), "body")
    return Asked(
        vectors,
        len(vectors),
        10 if k is None else k,
        filter_,
        whole_number(values, "ef"),
        tuple(include.split(",")) if include else (),
        False,
        "body",
    )


def _dimension(service: Service, call: Call) -> int:
    return service.store.backend.spec(call.values[0]).dimension
