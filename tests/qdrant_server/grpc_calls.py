"""Calls over gRPC in the terms of REST: which request each of them is, and how its result goes back.

Conversions are those of qdrant-client, which sends REST's models over gRPC and reads the answers into them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from qdrant_client import grpc as messages
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc


@dataclass(frozen=True)
class GrpcCall:
    """One call: the request that it is in REST, and what makes its answer of the result.

    ``path`` has places for the message's ``collection_name``, and for what ``tail`` names; ``body`` makes a model.
    """

    method: str
    path: str
    answer: Callable[[Any], Any]
    body: Callable[[Any], Any] | None = None
    tail: str = ""

    def path_of(self, message: Any) -> str:
        """The path in REST."""
        collection = getattr(message, "collection_name", "")
        tail = getattr(message, self.tail) if self.tail else ""
        return self.path.format(collection=quote(collection, safe=""), tail=quote(tail, safe=""))

    def body_of(self, message: Any) -> Any:
        """The body in REST, as JSON; None where it has none."""
        return None if self.body is None else self.body(message).model_dump(mode="json")


def _given(message: Any, field: str, convert: Callable[[Any], Any]) -> Any:
    return convert(getattr(message, field)) if message.HasField(field) else None


def _plain(value: Any) -> Any:
    return value


def _shard_key(message: Any) -> Any:
    return _given(message, "shard_key_selector", GrpcToRest.convert_shard_key_selector)


def _filter(message: Any, field: str = "filter") -> Any:
    return _given(message, field, GrpcToRest.convert_filter)


def _reading(message: Any) -> dict[str, Any]:
    """What reads of points have in common."""
    return {
        "shard_key": _shard_key(message),
        "with_payload": _given(message, "with_payload", GrpcToRest.convert_with_payload_interface),
        "with_vector": _given(message, "with_vectors", GrpcToRest.convert_with_vectors_selector),
    }


def _upsert(message: Any) -> models.PointsList:
    return models.PointsList(
        points=[GrpcToRest.convert_point_struct(point) for point in message.points],
        shard_key=_shard_key(message),
        update_filter=_filter(message, "update_filter"),
        update_mode=_given(message, "update_mode", GrpcToRest.convert_update_mode),
    )


def _selector(message: Any, field: str = "points") -> models.PointIdsList | models.FilterSelector:
    made: Any = GrpcToRest.convert_points_selector(getattr(message, field))
    return made.model_copy(update={"shard_key": _shard_key(message)})


def _selected(message: Any) -> dict[str, Any]:
    chosen = dict(_selector(message, "points_selector"))
    return {"points": None, "filter": None, **chosen}


def _set_payload(message: Any) -> models.SetPayload:
    key = _given(message, "key", _plain)
    return models.SetPayload(payload=GrpcToRest.convert_payload(message.payload), key=key, **_selected(message))


def _update_vectors(message: Any) -> models.UpdateVectors:
    return models.UpdateVectors(
        points=[GrpcToRest.convert_point_vectors(point) for point in message.points],
        shard_key=_shard_key(message),
        update_filter=_filter(message, "update_filter"),
    )


def _operations(message: Any) -> models.UpdateOperations:
    made = [GrpcToRest.convert_points_update_operation(operation) for operation in message.operations]
    return models.UpdateOperations(operations=made)


def _scroll(message: Any) -> models.ScrollRequest:
    return models.ScrollRequest(
        **_reading(message),
        filter=_filter(message),
        offset=_given(message, "offset", GrpcToRest.convert_point_id),
        limit=_given(message, "limit", _plain),
        order_by=_given(message, "order_by", GrpcToRest.convert_order_by),
    )


def _retrieve(message: Any) -> models.PointRequest:
    return models.PointRequest(**_reading(message), ids=[GrpcToRest.convert_point_id(one) for one in message.ids])


def _count(message: Any) -> models.CountRequest:
    return models.CountRequest(
        shard_key=_shard_key(message), filter=_filter(message), exact=_given(message, "exact", _plain)
    )


def _facet(message: Any) -> models.FacetRequest:
    return models.FacetRequest(key=message.key, filter=_filter(message), limit=_given(message, "limit", _plain))


def _query_batch(message: Any) -> models.QueryRequestBatch:
    return models.QueryRequestBatch(searches=[GrpcToRest.convert_query_points(one) for one in message.query_points])


def _create_index(message: Any) -> models.CreateFieldIndex:
    schema: Any = None
    if message.HasField("field_index_params"):
        schema = GrpcToRest.convert_payload_schema_params(message.field_index_params)
    elif message.HasField("field_type"):
        schema = messages.FieldType.Name(message.field_type).removeprefix("FieldType").lower()
    return models.CreateFieldIndex(field_name=message.field_name, field_schema=schema)


def _create_vector(message: Any) -> models.DenseVectorNameConfig | models.SparseVectorNameConfig:
    if message.HasField("sparse_config"):
        modifier = _given(message.sparse_config, "modifier", GrpcToRest.convert_modifier)
        return models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(modifier=modifier))
    dense = message.dense_config
    return models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(
            size=dense.size,
            distance=GrpcToRest.convert_distance(dense.distance),
            multivector_config=_given(dense, "multivector_config", GrpcToRest.convert_multivector_config),
            datatype=_given(dense, "datatype", GrpcToRest.convert_datatype),
        )
    )


def _create_collection(message: Any) -> models.CreateCollection:
    plain = ("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload")
    return models.CreateCollection(
        vectors=_given(message, "vectors_config", GrpcToRest.convert_vectors_config),
        sparse_vectors=_given(message, "sparse_vectors_config", GrpcToRest.convert_sparse_vector_config),
        hnsw_config=_given(message, "hnsw_config", GrpcToRest.convert_hnsw_config_diff),
        wal_config=_given(message, "wal_config", GrpcToRest.convert_wal_config_diff),
        optimizers_config=_given(message, "optimizers_config", GrpcToRest.convert_optimizers_config_diff),
        quantization_config=_given(message, "quantization_config", GrpcToRest.convert_quantization_config),
        sharding_method=_given(message, "sharding_method", GrpcToRest.convert_sharding_method),
        strict_mode_config=_given(message, "strict_mode_config", GrpcToRest.convert_strict_mode_config),
        metadata=GrpcToRest.convert_payload(message.metadata) if message.metadata else None,
        **{field: _given(message, field, _plain) for field in plain},
    )


def _aliases(message: Any) -> models.ChangeAliasesOperation:
    return models.ChangeAliasesOperation(actions=[GrpcToRest.convert_alias_operations(one) for one in message.actions])


def _update_result(result: Any) -> Any:
    return RestToGrpc.convert_update_result(models.UpdateResult.model_validate(result))


def _done(result: Any) -> Any:
    return messages.PointsOperationResponse(result=_update_result(result))


def _all_done(results: Any) -> Any:
    return messages.UpdateBatchResponse(result=map(_update_result, results))


def _record(record: models.Record) -> Any:
    # a message has no payload that is none
    return RestToGrpc.convert_record(record.model_copy(update={"payload": record.payload or {}}))


def _page(result: Any) -> Any:
    following = result["next_page_offset"]
    return messages.ScrollResponse(
        result=map(_record, result["points"]),
        next_page_offset=None if following is None else RestToGrpc.convert_extended_point_id(following),
    )


def _records(result: Any) -> Any:
    return messages.GetResponse(result=map(_record, result))


def _hits(result: Any) -> list[Any]:
    return [RestToGrpc.convert_scored_point(point) for point in result.points]


def _hit_lists(results: Any) -> Any:
    return messages.QueryBatchResponse(result=[messages.BatchResult(result=_hits(one)) for one in results])


def _info(result: Any) -> Any:
    info = models.CollectionInfo.model_validate(result)
    return messages.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))


def _collections(result: Any) -> Any:
    return messages.ListCollectionsResponse(
        collections=[messages.CollectionDescription(name=one.name) for one in result.collections]
    )


def _alias_list(result: Any) -> Any:
    return messages.ListAliasesResponse(aliases=map(RestToGrpc.convert_alias_description, result.aliases))


def _changed(result: bool) -> Any:
    return messages.CollectionOperationResponse(result=result)


def _exists(result: dict[str, bool]) -> Any:
    return messages.CollectionExistsResponse(result=messages.CollectionExists(**result))


_HERE = "/collections/{collection}"
POINTS = {
    "Upsert": GrpcCall("PUT", f"{_HERE}/points", _done, _upsert),
    "Delete": GrpcCall("POST", f"{_HERE}/points/delete", _done, _selector),
    "UpdateVectors": GrpcCall("PUT", f"{_HERE}/points/vectors", _done, _update_vectors),
    "SetPayload": GrpcCall("POST", f"{_HERE}/points/payload", _done, _set_payload),
    "OverwritePayload": GrpcCall("PUT", f"{_HERE}/points/payload", _done, _set_payload),
    "ClearPayload": GrpcCall("POST", f"{_HERE}/points/payload/clear", _done, _selector),
    "UpdateBatch": GrpcCall("POST", f"{_HERE}/points/batch", _all_done, _operations),
    "Get": GrpcCall("POST", f"{_HERE}/points", _records, _retrieve),
    "Scroll": GrpcCall("POST", f"{_HERE}/points/scroll", _page, _scroll),
    "Count": GrpcCall(
        "POST",
        f"{_HERE}/points/count",
        lambda found: messages.CountResponse(result=RestToGrpc.convert_count_result(found)),
        _count,
    ),
    "Facet": GrpcCall(
        "POST",
        f"{_HERE}/facet",
        lambda found: messages.FacetResponse(hits=map(RestToGrpc.convert_facet_value_hit, found.hits)),
        _facet,
    ),
    "Query": GrpcCall(
        "POST",
        f"{_HERE}/points/query",
        lambda found: messages.QueryResponse(result=_hits(found)),
        GrpcToRest.convert_query_points,
    ),
    "QueryBatch": GrpcCall("POST", f"{_HERE}/points/query/batch", _hit_lists, _query_batch),
    "CreateFieldIndex": GrpcCall("PUT", f"{_HERE}/index", _done, _create_index),
    "DeleteFieldIndex": GrpcCall("DELETE", _HERE + "/index/{tail}", _done, tail="field_name"),
    "CreateVectorName": GrpcCall("PUT", _HERE + "/vectors/{tail}", _done, _create_vector, "vector_name"),
    "DeleteVectorName": GrpcCall("DELETE", _HERE + "/vectors/{tail}", _done, tail="vector_name"),
}
COLLECTIONS = {
    "List": GrpcCall("GET", "/collections", _collections),
    "Get": GrpcCall("GET", _HERE, _info),
    "Create": GrpcCall("PUT", _HERE, _changed, _create_collection),
    "Update": GrpcCall("PATCH", _HERE, _changed, GrpcToRest.convert_update_collection),
    "Delete": GrpcCall("DELETE", _HERE, _changed),
    "CollectionExists": GrpcCall("GET", f"{_HERE}/exists", _exists),
    "UpdateAliases": GrpcCall("POST", "/collections/aliases", _changed, _aliases),
    "ListAliases": GrpcCall("GET", "/aliases", _alias_list),
    "ListCollectionAliases": GrpcCall("GET", f"{_HERE}/aliases", _alias_list),
}
