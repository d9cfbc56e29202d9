"""Collections and payload indexes."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from tests.qdrant_server import state as states
from tests.qdrant_server import wire
from tests.qdrant_server.engine import Call
from tests.qdrant_server.errors import ApiError, bad_request, wrong_input


def list_collections(call: Call) -> Any:
    """``GET /collections``."""
    return call.local.get_collections()


def create(call: Call) -> bool:
    """``PUT /collections/{name}``; 409 if a collection has the name, 400 if an alias does."""
    request: models.CreateCollection = call.body
    if call.name in call.engine.states:
        raise ApiError(409, f"Wrong input: Collection `{call.name}` already exists!")
    if call.name in call.local.aliases:
        text = "Alias with the same name already exists"
        raise wrong_input(f"Can't create collection with name {call.name}. {text}")
    wire.check_new_vectors(request)
    call.local.create_collection(
        call.name,
        vectors_config=request.vectors,
        sparse_vectors_config=request.sparse_vectors,
        metadata=request.metadata,
    )
    call.engine.states[call.name] = states.created(request, call.engine.options.strict_mode)
    return True


def info(call: Call) -> dict[str, Any]:
    """``GET /collections/{name}``."""
    state = call.state
    points = call.local.count(call.collection).count
    status, indexed = state.observe(points, call.engine.options.indexing_reads)
    deferring = call.engine.deferrals.observe(call.collection)
    return {
        "status": deferring or status,
        "optimizer_status": "ok",
        "indexed_vectors_count": indexed,
        "points_count": points,
        "segments_count": 1,
        "config": state.config,
        "payload_schema": {name: _indexed(call, name, schema) for name, schema in state.payload_schema.items()},
        "update_queue": {"length": 0, "deferred_points": len(call.hidden)},
    }


def _indexed(call: Call, field: str, schema: dict[str, Any]) -> dict[str, Any]:
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
    filled = call.local.count(call.collection, count_filter=models.Filter(must_not=[empty]))
    return {**schema, "points": filled.count}


def update(call: Call) -> bool:
    """``PATCH /collections/{name}``."""
    request: models.UpdateCollection = call.body
    states.update(call.state, request)
    if request.sparse_vectors:
        call.local.update_collection(call.collection, sparse_vectors_config=request.sparse_vectors)
    return True


def delete(call: Call) -> bool:
    """``DELETE /collections/{name}``, with the aliases that point at it; false if there was none."""
    call.engine.states.pop(call.name, None)
    return call.local.delete_collection(call.name)


def exists(call: Call) -> dict[str, bool]:
    """``GET /collections/{name}/exists``."""
    return {"exists": call.local.collection_exists(call.name)}


def optimizations(call: Call) -> dict[str, Any]:
    """``GET /collections/{name}/optimizations``."""
    pending = call.state.reads_until_indexed is not None
    points = call.local.count(call.collection).count
    summary = {
        "queued_optimizations": int(pending),
        "queued_segments": int(pending),
        "queued_points": points if pending else 0,
        "idle_segments": int(not pending),
    }
    return {"summary": summary, "running": []}


def create_index(call: Call) -> dict[str, Any]:
    """``PUT /collections/{name}/index``."""
    request: models.CreateFieldIndex = call.body
    schema = request.field_schema
    if schema is None:
        raise bad_request("field_schema is required: the test server does not guess it from stored points")
    call.local.create_payload_index(call.collection, request.field_name, schema)
    if isinstance(schema, models.PayloadSchemaType):
        call.state.payload_schema[request.field_name] = {"data_type": schema.value}
    else:
        params = schema.model_dump(mode="json", exclude_none=True)
        call.state.payload_schema[request.field_name] = {"data_type": params["type"], "params": params}
    return call.done()


def delete_index(call: Call) -> dict[str, Any]:
    """``DELETE /collections/{name}/index/{field}``."""
    call.local.delete_payload_index(call.collection, call.tail)
    call.state.payload_schema.pop(call.tail, None)
    return call.done()
