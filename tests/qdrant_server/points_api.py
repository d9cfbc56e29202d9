"""Points: writing, reading and querying."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import Any

from qdrant_client import models

from tests.qdrant_server import scrolling, shards_api, wire
from tests.qdrant_server.deferred import without
from tests.qdrant_server.engine import Call
from tests.qdrant_server.errors import format_error


def _charge(call: Call, points: int) -> None:
    call.state.limits.charge(call.state.config["strict_mode_config"], points)


def _check_size(call: Call, points: int, what: str = "upsert limit") -> None:
    call.state.limits.check_size(call.state.config["strict_mode_config"], points, what)


def _point_count(upsert: wire.Upsert) -> int:
    return len(upsert.points) if isinstance(upsert, models.PointsList) else len(upsert.batch.ids)


def upsert(call: Call) -> dict[str, Any]:
    """``PUT /points`` with ``points`` or ``batch``."""
    request: wire.Upsert = call.body
    _check_size(call, _point_count(request))
    _charge(call, _point_count(request))
    points = request.points if isinstance(request, models.PointsList) else request.batch
    key = shards_api.check_update(call.state, request)
    call.local.upsert(call.collection, points, update_filter=request.update_filter, update_mode=request.update_mode)
    shards_api.remember(call.state, key, [point.id for point in points] if isinstance(points, list) else points.ids)
    return call.done()


def delete(call: Call) -> dict[str, Any]:
    """``POST /points/delete`` by ids or filter."""
    call.local.delete(call.collection, _selected(call, call.body))
    return call.done()


def _selected(call: Call, selector: Any) -> Any:
    shards_api.check_update(call.state, selector)
    if isinstance(selector, models.PointIdsList):
        wire.check_ids(selector.points)
        _charge(call, len(selector.points))
    return selector


def update_vectors(call: Call) -> dict[str, Any]:
    """``PUT /points/vectors``."""
    wire.check_ids(point.id for point in call.body.points)
    shards_api.check_update(call.state, call.body)
    _check_size(call, len(call.body.points), "update limit")
    _charge(call, len(call.body.points))
    call.local.update_vectors(call.collection, call.body.points, update_filter=call.body.update_filter)
    return call.done()


def delete_vectors(call: Call) -> dict[str, Any]:
    """``POST /points/vectors/delete``."""
    call.local.delete_vectors(call.collection, call.body.vector, _ids_or_filter(call, call.body))
    return call.done()


def set_payload(call: Call) -> dict[str, Any]:
    """``POST /points/payload``: merge."""
    call.local.set_payload(call.collection, call.body.payload, _ids_or_filter(call, call.body), key=call.body.key)
    return call.done()


def overwrite_payload(call: Call) -> dict[str, Any]:
    """``PUT /points/payload``: replace."""
    call.local.overwrite_payload(call.collection, call.body.payload, _ids_or_filter(call, call.body))
    return call.done()


def delete_payload(call: Call) -> dict[str, Any]:
    """``POST /points/payload/delete``."""
    call.local.delete_payload(call.collection, call.body.keys, _ids_or_filter(call, call.body))
    return call.done()


def clear_payload(call: Call) -> dict[str, Any]:
    """``POST /points/payload/clear``."""
    call.local.clear_payload(call.collection, _selected(call, call.body))
    return call.done()


def _ids_or_filter(call: Call, request: Any) -> Any:
    if request.points is None and request.filter is None:
        raise format_error("No filter or points provided")
    shards_api.check_update(call.state, request)
    wire.check_ids(request.points or [])
    _charge(call, len(request.points or []))
    return request.filter if request.points is None else request.points


def batch_update(call: Call) -> list[dict[str, Any]]:
    """``POST /points/batch``: several operations in order; one that fails leaves those before it in place."""
    operations: list[Any] = call.body.operations
    for operation in operations:
        if isinstance(operation, models.UpsertOperation):
            wire.check_upsert(operation.upsert)
    return [_carry_out(call, operation) for operation in operations]


def _carry_out(call: Call, operation: Any) -> dict[str, Any]:
    ((field, body),) = dict(operation).items()
    return OPERATIONS[field](replace(call, body=body))


OPERATIONS = {
    "upsert": upsert,
    "delete": delete,
    "set_payload": set_payload,
    "overwrite_payload": overwrite_payload,
    "delete_payload": delete_payload,
    "clear_payload": clear_payload,
    "update_vectors": update_vectors,
    "delete_vectors": delete_vectors,
}


def retrieve(call: Call) -> Any:
    """``POST /points``."""
    request: models.PointRequest = call.body
    wire.check_ids(request.ids)
    hidden = _hidden(call)
    found = call.local.retrieve(call.collection, request.ids, _payload(request, True), request.with_vector or False)
    return shards_api.marked(call.state, [point for point in found if point.id not in hidden])


def _hidden(call: Call) -> Set[Any]:
    return call.hidden | shards_api.elsewhere(call.state, call.body)


def scroll(call: Call) -> dict[str, Any]:
    """``POST /points/scroll``."""
    request: models.ScrollRequest = call.body
    if request.offset is not None:
        wire.check_ids([request.offset])
    limit, order = wire.limit_of(request), request.order_by
    if order is None:
        local = call.local.collections[call.collection]
        found, after = scrolling.page(local, call.state.order, _hidden(call), request, limit, _payload(request, True))
        return {"points": shards_api.marked(call.state, found), "next_page_offset": after}
    order = models.OrderBy(key=order) if isinstance(order, str) else order
    wire.require_index(call.state, order.key, "`order_by`")
    points, following = call.local.scroll(
        call.collection,
        without(_hidden(call), request.filter),
        limit=limit,
        order_by=order,
        offset=request.offset,
        with_payload=_payload(request, True),
        with_vectors=request.with_vector or False,
    )
    return {"points": shards_api.marked(call.state, points), "next_page_offset": following}


def count(call: Call) -> Any:
    """``POST /points/count``; always exact."""
    return call.local.count(call.collection, without(_hidden(call), call.body.filter))


def facet(call: Call) -> Any:
    """``POST /facet``; the key needs a payload index, as it does in Qdrant."""
    wire.require_index(call.state, call.body.key, "facets")
    condition = without(_hidden(call), call.body.filter)
    return call.local.facet(call.collection, call.body.key, condition, limit=wire.limit_of(call.body))


def query(call: Call) -> Any:
    """``POST /points/query``."""
    return _query(call, call.body)


def query_batch(call: Call) -> list[Any]:
    """``POST /points/query/batch``."""
    return [_query(replace(call, body=request), request) for request in call.body.searches]


def _query(call: Call, request: models.QueryRequest) -> Any:
    wire.check_query(call.state, request.query, request.using, request.prefetch)
    bare: Any = request.query  # the engine also takes a vector or an id, which its types do not say
    found = call.local.query_points(
        call.collection,
        query=bare,
        using=request.using,
        prefetch=request.prefetch,
        query_filter=without(_hidden(call), request.filter),
        search_params=request.params,
        limit=wire.limit_of(request),
        offset=request.offset,
        with_payload=_payload(request, False),
        with_vectors=request.with_vector or False,
        score_threshold=request.score_threshold,
        lookup_from=request.lookup_from,
    )
    shards_api.marked(call.state, found.points)
    return found


def _payload(request: Any, default: bool) -> Any:
    return default if request.with_payload is None else request.with_payload
