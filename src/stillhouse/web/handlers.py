"""What each route does, but for searching: decode, ask the store on a thread, encode.

Each handler is a coroutine that does nothing slow itself. Errors are raised; `stillhouse.web.app`
answers them.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

import msgspec

from stillhouse.errors import (
    VectorFailedError,
    VectorLimitError,
    VectorRequestError,
)
from stillhouse.vectors import checks
from stillhouse.vectors.checks import check_name
from stillhouse.vectors.refusals import item_not_found
from stillhouse.web import wire
from stillhouse.web.bounds import SMALL_BODY, check_body
from stillhouse.web.calls import JSON, Call, Reply, check_kind, query_values, whole_number
from stillhouse.web.lanes import Lane
from stillhouse.web.metrics import MEDIA_TYPE
from stillhouse.web.service import Service

_encode: Final = msgspec.json.Encoder().encode
_MOST_TOLD: Final = 20
_ITEM: Final = re.compile(r"items\[([0-9]+)\]")
_ROOT: Final = r"(?:/|[A-Za-z]:\\|\w+://)"
_WHERE: Final = re.compile(_ROOT + r"(?:(?!: ).)*: ", re.DOTALL)
"""A path or an address that an error begins with; blanks may be in it."""
_PLACE: Final = re.compile(rf"'{_ROOT}[^']*'|\"{_ROOT}[^\"]*\"|(?<!\S){_ROOT}\S*")
_PAGE: Final = 1_000
"""Ids on a page when nothing is said."""

_create: Final = wire.Decoder(wire.CreateBody)
_count: Final = wire.Decoder(wire.CountBody)
_delete: Final = wire.Decoder(wire.DeleteBody)
_merge: Final = wire.Decoder(wire.MergeBody)
_snapshot: Final = wire.Decoder(wire.SnapshotBody)
_restore: Final = wire.Decoder(wire.RestoreBody)


def _ok(value: Any, status: int = 200) -> Reply:
    return Reply(status, _encode(value))


async def _read(call: Call, decode: wire.Decoder, service: Service, lane: Lane) -> Any:
    """A JSON body, decoded on a thread where it is large."""
    check_kind(call, (JSON,))
    if len(call.body) <= SMALL_BODY:
        return decode(call.body)

    def work() -> Any:
        check_body(call.body, service.limits)
        return decode(call.body)

    return await lane.run(work)


# ------------------------------------------------------------------------------- indexes


async def create(service: Service, call: Call) -> Reply:
    """PUT …/index/{name}"""
    name = check_name(call.values[0], service.limits)
    body: wire.CreateBody = await _read(call, _create, service, service.writes)

    def work() -> Reply:
        made = service.store.create(name, body.dimension, body.metric, body.metadata)  # type: ignore[arg-type]
        return _ok(service.store.describe(name), 201 if made else 200)

    return await service.writes.run(work)


async def indexes(service: Service, call: Call) -> Reply:
    """GET …/index"""
    return _ok(wire.IndexList(await service.searches.run(service.store.indexes)))


async def describe(service: Service, call: Call) -> Reply:
    """GET …/index/{name}"""
    return _ok(await service.searches.run(service.store.describe, call.values[0]))


async def drop(service: Service, call: Call) -> Reply:
    """DELETE …/index/{name}"""
    await service.long.run(service.store.drop, call.values[0])
    return Reply(204)


# --------------------------------------------------------------------------------- items


async def add(service: Service, call: Call) -> Reply:
    """POST …/add"""
    check_kind(call, (JSON,))
    return await service.writes.run(_added, service, call)


def _added(service: Service, call: Call) -> Reply:
    store, limits = service.store, service.limits
    spec = store.backend.spec(check_name(call.values[0], limits))
    check_body(call.body, limits)
    items: list[msgspec.Raw] = wire.read_add(call.body).items
    if len(items) > limits.batch_items:
        raise VectorLimitError(
            [("items", f"are {len(items):,}; at most {limits.batch_items:,} are allowed at once")]
        )
    columns = wire.item_columns(items, limits)
    if columns.problems:
        raise _all_problems(columns, spec, service)
    done = store.add_columns(spec.name, columns.ids, columns.vectors, columns.metadata)
    for status in ("inserted", "replaced", "unchanged"):
        service.metrics.added.labels(status).inc(getattr(done, status))
    return _ok(done)


def _all_problems(columns: wire.Columns, spec: Any, service: Service) -> VectorRequestError:
    """What is off about the shape of items, and what the store's checks say of the others."""
    problems = list(columns.problems)
    told = tuple(field for field, _ in problems)
    try:
        checks.check_columns(columns.ids, columns.vectors, columns.metadata, spec, service.limits)
    except VectorRequestError as error:
        problems += [one for one in error.problems if not _told_already(one[0], told)]
    problems.sort(key=_place)
    only = len(problems) == len(told) and len(columns.codes) == 1
    code = next(iter(columns.codes)) if only else VectorRequestError.code
    if len(problems) > _MOST_TOLD:
        more = len(problems) - _MOST_TOLD
        problems = [*problems[:_MOST_TOLD], ("items", f"have {more:,} more problems")]
    return VectorRequestError(problems, code=code)


def _place(problem: tuple[str, str]) -> int:
    """Which item a problem is of; what is of none comes last."""
    found = _ITEM.match(problem[0])
    return int(found[1]) if found else sys.maxsize


def _told_already(field: str, told: tuple[str, ...]) -> bool:
    """Whether a problem of this field, of a part of it or of the whole is known."""
    return any(
        one == field or one.startswith((f"{field}.", f"{field}[")) or field.startswith(f"{one}.")
        for one in told
    )


async def get(service: Service, call: Call) -> Reply:
    """GET …/items/{id}"""
    return await service.searches.run(_item, service, *call.values)


def _item(service: Service, name: str, id_: str) -> Reply:
    item = service.store.get(name, id_)
    metadata = None if item.metadata is None else msgspec.Raw(_encode(item.metadata))
    vector: Any = item.vector
    return _ok(wire.StoredItem(item.id, vector.tolist(), metadata))


async def delete_one(service: Service, call: Call) -> Reply:
    """DELETE …/items/{id}"""
    name, id_ = call.values
    done = await service.writes.run(service.store.delete, name, [id_])
    if not done.deleted:
        raise item_not_found(name, id_)
    service.metrics.deleted.inc()
    return Reply(204)


async def delete(service: Service, call: Call) -> Reply:
    """POST …/delete"""
    name = check_name(call.values[0], service.limits)
    body: wire.DeleteBody = await _read(call, _delete, service, service.writes)
    ids, filter_ = body.ids, body.filter
    if isinstance(filter_, msgspec.UnsetType) == isinstance(ids, msgspec.UnsetType):
        raise VectorRequestError([("ids", "give either ids or a filter")])
    if isinstance(ids, msgspec.UnsetType):
        done = await service.long.run(lambda: service.store.delete(name, filter=filter_))  # type: ignore[arg-type]
    else:
        done = await service.writes.run(service.store.delete, name, ids)
    service.metrics.deleted.inc(done.deleted)
    return _ok(done)


async def count(service: Service, call: Call) -> Reply:
    """POST …/count"""
    name = check_name(call.values[0], service.limits)
    body: wire.CountBody = await _read(call, _count, service, service.searches)
    return _ok(wire.Count(await service.searches.run(service.store.count, name, body.filter)))


async def ids(service: Service, call: Call) -> Reply:
    """GET …/ids"""
    name = check_name(call.values[0], service.limits)
    values = query_values(call, ("cursor", "limit"))
    limit = whole_number(values, "limit")
    if limit is None:
        limit = min(_PAGE, service.limits.page)
    checks.check_count(limit, service.limits.page, "limit")
    if "cursor" in values:
        return await service.searches.run(_next_page, service, name, values["cursor"], limit)
    return await service.long.run(
        lambda: _ok(service.cursors.first(name, service.store.ids(name), limit))
    )


def _next_page(service: Service, name: str, cursor: str, limit: int) -> Reply:
    service.store.backend.spec(name)  # an index that is gone has no pages
    return _ok(service.cursors.next(name, cursor, limit))


# -------------------------------------------------------------- merging and snapshots


async def merge(service: Service, call: Call) -> Reply:
    """POST …/merge"""
    src = check_name(call.values[0], service.limits, "src")
    body: wire.MergeBody = await _read(call, _merge, service, service.writes)
    done = await service.long.run(
        lambda: service.store.merge(
            src, body.dest, clear_source=body.clear_source, on_conflict=body.on_conflict
        )
    )
    service.metrics.merged.inc(done.merged)
    return _ok(done)


async def snapshot(service: Service, call: Call) -> Reply:
    """POST …/snapshot"""
    name = check_name(call.values[0], service.limits)
    await _read(call, _snapshot, service, service.writes)
    return _ok(await service.long.run(service.store.snapshot, name), 201)


async def snapshots(service: Service, call: Call) -> Reply:
    """GET …/snapshot"""
    name = check_name(call.values[0], service.limits)
    found = await service.long.run(service.store.snapshots, name)
    return _ok(wire.SnapshotList(found))


async def delete_snapshot(service: Service, call: Call) -> Reply:
    """DELETE …/snapshot/{snapshot}"""
    await service.long.run(service.store.delete_snapshot, *call.values)
    return Reply(204)


async def restore(service: Service, call: Call) -> Reply:
    """POST …/restore"""
    name = check_name(call.values[0], service.limits)
    body: wire.RestoreBody = await _read(call, _restore, service, service.writes)

    def work() -> Reply:
        store = service.store
        items = store.restore(name, body.snapshot, body.into, body.replace)
        return _ok(wire.Restored(store.describe(body.into or name), items))

    return await service.long.run(work)


# ----------------------------------------------------------------------- for the operator


async def livez(service: Service, call: Call) -> Reply:
    """GET /livez"""
    return _ok(wire.Alive("alive"))


async def readyz(service: Service, call: Call) -> Reply:
    """GET /readyz"""
    health = await service.watch.run(service.store.health)
    if not health.writable:
        # The place is for the log alone: who asks needs no key.
        where = _WHERE.match(health.reason)
        reason = _PLACE.sub("…", health.reason[where.end() if where else 0 :])
        raise VectorFailedError(f"writes are not acknowledged: {reason}", where=health.reason)
    return _ok(wire.Alive("ready"))


async def metrics(service: Service, call: Call) -> Reply:
    """GET /metrics"""
    return Reply(200, await service.watch.run(service.metrics.page), MEDIA_TYPE)
