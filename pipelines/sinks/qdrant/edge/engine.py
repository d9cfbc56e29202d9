"""qdrant-edge behind the methods of qdrant-client that this tool calls.

Those that the engine does not have (groups, facets, snapshots, aliases, recommendations) raise NotImplementedError or
ValueError.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import qdrant_edge as edge
from qdrant_client import models
from qdrant_client.client_base import QdrantBase
from qdrant_client.http import models as rest

from pipelines.sinks.qdrant.edge.errors import engine_errors
from pipelines.sinks.qdrant.edge.filters import edge_filter
from pipelines.sinks.qdrant.edge.indexing import build_indexes
from pipelines.sinks.qdrant.edge.queries import DEFAULT_LIMIT, order, payload_selector, query_request, vector_names
from pipelines.sinks.qdrant.edge.records import client_id, record, scored
from pipelines.sinks.qdrant.edge.settings import (
    INDEXING_THRESHOLD,
    bytes_a_point,
    collection_info,
    payload_type,
    shapes_of,
)
from pipelines.sinks.qdrant.edge.store import EdgeStore
from pipelines.sinks.qdrant.edge.updates import payload_change, upsert_operation
from pipelines.sinks.qdrant.edge.writes import DONE, Writes

log = logging.getLogger("fleetembed")


class EdgeEngine(QdrantBase):
    """The collections of one folder; raises ValueError for a request that is refused, EngineError where it failed."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._store = EdgeStore(path)
        self._writes = Writes(self._store)

    def close(self, **kwargs: Any) -> None:
        """Put all on the disk and give the folder free."""
        self._store.close()

    def get_collections(self, **kwargs: Any) -> models.CollectionsResponse:
        """See QdrantClient."""
        names = sorted(self._store.collections)
        return models.CollectionsResponse(collections=[models.CollectionDescription(name=name) for name in names])

    def get_aliases(self, **kwargs: Any) -> models.CollectionsAliasesResponse:
        """See QdrantClient."""
        return models.CollectionsAliasesResponse(aliases=[])

    def collection_exists(self, collection_name: str, **kwargs: Any) -> bool:
        """See QdrantClient."""
        return collection_name in self._store.collections

    def get_collection(self, collection_name: str, **kwargs: Any) -> models.CollectionInfo:
        """See QdrantClient."""
        config, shard = self._store.stored(collection_name).config, self._store.shard(collection_name)
        with engine_errors("describing the collection"):
            return collection_info(config, shard.info(), shard.count(edge.CountRequest(exact=True)))

    def create_collection(
        self,
        collection_name: str,
        vectors_config: models.VectorParams | Mapping[str, models.VectorParams] | None = None,
        sparse_vectors_config: Mapping[str, models.SparseVectorParams] | None = None,
        on_disk_payload: bool | None = None,
        quantization_config: Any = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> bool:
        """See QdrantClient."""
        config = models.CreateCollection(
            vectors=vectors_config or {},
            sparse_vectors=sparse_vectors_config,
            on_disk_payload=on_disk_payload,
            quantization_config=quantization_config,
            metadata=metadata,
        )
        self._store.create(collection_name, config)
        return True

    def update_collection(self, collection_name: str, metadata: Any = None, **kwargs: Any) -> bool:
        """See QdrantClient."""
        self._store.stored(collection_name)
        if metadata is not None:
            self._store.remember(collection_name, metadata)
        return metadata is not None

    def delete_collection(self, collection_name: str, **kwargs: Any) -> bool:
        """See QdrantClient."""
        return self._store.delete(collection_name)

    def create_payload_index(
        self, collection_name: str, field_name: str, field_schema: Any = None, field_type: Any = None, **kwargs: Any
    ) -> models.UpdateResult:
        """See QdrantClient."""
        return self._writes.do(
            collection_name, [edge.UpdateOperation.create_field_index(field_name, payload_type(field_schema))]
        )

    def delete_payload_index(self, collection_name: str, field_name: str, **kwargs: Any) -> models.UpdateResult:
        """See QdrantClient."""
        return self._writes.do(collection_name, [edge.UpdateOperation.delete_field_index(field_name)])

    def upsert(
        self,
        collection_name: str,
        points: models.Batch | Sequence[models.PointStruct],
        update_filter: models.Filter | None = None,
        update_mode: models.UpdateMode | None = None,
        **kwargs: Any,
    ) -> models.UpdateResult:
        """See QdrantClient."""
        shapes = shapes_of(self._store.stored(collection_name).config)
        with engine_errors("upserting points"):
            operation = upsert_operation(points, update_filter, update_mode, shapes)
        count = len(points.ids) if isinstance(points, models.Batch) else len(points)
        return self._writes.do(collection_name, [operation], points=count)

    def batch_update_points(
        self, collection_name: str, update_operations: Iterable[Any], **kwargs: Any
    ) -> list[models.UpdateResult]:
        """See QdrantClient."""
        given = list(update_operations)
        self._writes.translated(collection_name, given)
        return [DONE] * len(given)

    def delete(self, collection_name: str, points_selector: Any, **kwargs: Any) -> models.UpdateResult:
        """See QdrantClient."""
        selector = points_selector
        if isinstance(selector, models.Filter):
            selector = models.FilterSelector(filter=selector)
        elif isinstance(selector, list):
            selector = models.PointIdsList(points=selector)
        return self._writes.translated(collection_name, [models.DeleteOperation(delete=selector)])

    def set_payload(
        self, collection_name: str, payload: dict[str, Any], points: Any, key: str | None = None, **kwargs: Any
    ) -> models.UpdateResult:
        """See QdrantClient."""
        return self._writes.translated(
            collection_name, [models.SetPayloadOperation(set_payload=payload_change(payload, points, key))]
        )

    def overwrite_payload(
        self, collection_name: str, payload: dict[str, Any], points: Any, key: str | None = None, **kwargs: Any
    ) -> models.UpdateResult:
        """See QdrantClient."""
        changed = payload_change(payload, points, key)
        return self._writes.translated(collection_name, [models.OverwritePayloadOperation(overwrite_payload=changed)])

    def update_vectors(
        self, collection_name: str, points: Sequence[models.PointVectors], **kwargs: Any
    ) -> models.UpdateResult:
        """See QdrantClient."""
        changed = models.UpdateVectors.model_construct(points=list(points))
        return self._writes.translated(
            collection_name, [models.UpdateVectorsOperation.model_construct(update_vectors=changed)]
        )

    def retrieve(
        self,
        collection_name: str,
        ids: Sequence[Any],
        with_payload: Any = True,
        with_vectors: Any = False,
        **kwargs: Any,
    ) -> list[models.Record]:
        """See QdrantClient."""
        shard = self._store.shard(collection_name)
        with engine_errors("retrieving points"):
            found = shard.retrieve(list(ids), payload_selector(with_payload), vector_names(with_vectors))
        return [record(one) for one in found]

    def scroll(
        self,
        collection_name: str,
        scroll_filter: models.Filter | None = None,
        limit: int = 10,
        order_by: Any = None,
        offset: Any = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        **kwargs: Any,
    ) -> tuple[list[models.Record], int | str | None]:
        """See QdrantClient."""
        shard = self._store.shard(collection_name)
        with engine_errors("scrolling"):
            request = edge.ScrollRequest(
                offset=offset,
                limit=limit,
                filter=edge_filter(scroll_filter),
                with_payload=payload_selector(with_payload),
                with_vector=vector_names(with_vectors),
                order_by=order(order_by),
            )
            found, after = shard.scroll(request)
        return [record(one) for one in found], None if after is None else client_id(after)

    def count(
        self, collection_name: str, count_filter: models.Filter | None = None, exact: bool = True, **kwargs: Any
    ) -> models.CountResult:
        """See QdrantClient."""
        shard = self._store.shard(collection_name)
        with engine_errors("counting"):
            return models.CountResult(count=shard.count(edge.CountRequest(exact, edge_filter(count_filter))))

    def query_points(
        self,
        collection_name: str,
        query: Any = None,
        using: str | None = None,
        prefetch: Any = None,
        query_filter: Any = None,
        search_params: Any = None,
        limit: int = DEFAULT_LIMIT,
        offset: int | None = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        score_threshold: float | None = None,
        lookup_from: Any = None,
        **kwargs: Any,
    ) -> rest.QueryResponse:
        """See QdrantClient."""
        shard = self._store.shard(collection_name)
        asked = models.QueryRequest.model_construct(
            query=query,
            using=using,
            prefetch=prefetch,
            filter=query_filter,
            params=search_params,
            score_threshold=score_threshold,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vector=with_vectors,
        )
        with engine_errors("searching"):
            request = query_request(asked, lambda name, using: self._vector_of(collection_name, name, using))
            return rest.QueryResponse.model_construct(points=[scored(point) for point in shard.query(request)])

    def query_batch_points(
        self, collection_name: str, requests: Sequence[models.QueryRequest], **kwargs: Any
    ) -> list[rest.QueryResponse]:
        """See QdrantClient."""
        return [
            self.query_points(
                collection_name,
                request.query,
                request.using,
                request.prefetch,
                request.filter,
                request.params,
                request.limit or DEFAULT_LIMIT,
                request.offset,
                request.with_payload or False,
                request.with_vector or False,
                request.score_threshold,
            )
            for request in requests
        ]

    def build_indexes(self, collection_name: str) -> None:
        """Build what makes searches quick over the points written since; takes minutes where they are many."""
        stored = self._store.stored(collection_name)
        if stored.indexed:
            return
        points = self.count(collection_name).count
        if points * bytes_a_point(stored.config) < 1000 * INDEXING_THRESHOLD:
            with engine_errors("merging the segments"):
                self._store.shard(collection_name).optimize()
        else:
            log.info("building the index of %s points in %s", f"{points:,}", self._store.path)
            self._store.close_shard(collection_name)
            build_indexes(self._store.shard_folder(stored))
        self._store.mark(collection_name, indexed=True)

    def _vector_of(self, collection_name: str, name: Any, using: str) -> Any:
        found = self.retrieve(collection_name, [name], with_payload=False, with_vectors=True)
        vectors: Any = found[0].vector if found else None
        vector = vectors.get(using) if isinstance(vectors, Mapping) else vectors
        if vector is None:
            raise ValueError(f"Wrong query: there is no point {name} with the vector {using!r}")
        return vector
