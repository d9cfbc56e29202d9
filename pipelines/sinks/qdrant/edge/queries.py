"""Qdrant's queries as qdrant-edge has them: nearest vectors, prefetches and their fusion, samples and orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from pipelines.sinks.qdrant.edge.filters import edge_filter
from pipelines.sinks.qdrant.edge.records import edge_sparse

BUILT_IN_RRF_K = 2
DEFAULT_LIMIT = 10
# Gives the vector of a point by its id, for a query that names a point.
VectorOf = Callable[[Any, str], Any]


def query_request(asked: models.QueryRequest, vector_of: VectorOf) -> Any:
    """Make the engine's request; raises ValueError for a query that the engine does not know."""
    limit = asked.limit or DEFAULT_LIMIT
    query, chosen = _scored(asked.query, asked.using or "", edge_filter(asked.filter), limit, vector_of)
    return edge.QueryRequest(
        limit=limit,
        offset=asked.offset or None,
        query=query,
        prefetches=_prefetches(asked.prefetch, vector_of),
        filter=chosen,
        params=_params(asked.params),
        score_threshold=asked.score_threshold,
        with_payload=payload_selector(asked.with_payload),
        with_vector=vector_names(asked.with_vector),
    )


def vector_names(wanted: Any) -> Any:
    """Translate which vectors are wanted: a bool, or names."""
    return wanted if isinstance(wanted, bool) else list(wanted)


def payload_selector(wanted: Any) -> Any:
    """Translate what of the payload is wanted: a bool, keys, or a selector."""
    if isinstance(wanted, models.PayloadSelectorExclude):
        return edge.PayloadSelector.Exclude(list(wanted.exclude))
    if isinstance(wanted, models.PayloadSelectorInclude):
        return edge.PayloadSelector.Include(list(wanted.include))
    return wanted if isinstance(wanted, bool) else list(wanted)


def order(given: Any) -> Any:
    """Translate an order by a key of the payload, given by the key or a model."""
    if given is None or isinstance(given, str):
        return None if given is None else edge.OrderBy(given)
    descending = given.direction == models.Direction.DESC
    start = given.start_from
    return edge.OrderBy(
        given.key,
        edge.Direction.Desc if descending else edge.Direction.Asc,
        start.isoformat() if hasattr(start, "isoformat") else start,
    )


def _prefetches(given: Any, vector_of: VectorOf) -> list[Any] | None:
    if given is None:
        return None
    stages = []
    for stage in given if isinstance(given, list) else [given]:
        limit = stage.limit or DEFAULT_LIMIT
        query, chosen = _scored(stage.query, stage.using or "", edge_filter(stage.filter), limit, vector_of)
        stages.append(
            edge.Prefetch(
                limit=limit,
                query=query,
                prefetches=_prefetches(stage.prefetch, vector_of),
                params=_params(stage.params),
                filter=chosen,
                score_threshold=stage.score_threshold,
            )
        )
    return stages


def _scored(query: Any, using: str, chosen: Any, limit: int, vector_of: VectorOf) -> tuple[Any, Any]:
    """Translate what gives scores; a point that is named does not find itself."""
    if query is None:
        return None, chosen
    if isinstance(query, models.FusionQuery):
        fusion = edge.Fusion.Dbsf() if query.fusion == models.Fusion.DBSF else edge.Fusion.Rrf(BUILT_IN_RRF_K)
        return fusion, chosen
    if isinstance(query, models.RrfQuery):
        return edge.Fusion.Rrf(query.rrf.k or BUILT_IN_RRF_K, query.rrf.weights), chosen
    if isinstance(query, models.SampleQuery):
        return edge.Sample.Random, chosen
    if isinstance(query, models.OrderByQuery):
        return order(query.order_by), chosen
    mmr = query.mmr if isinstance(query, models.NearestQuery) else None
    nearest = query.nearest if isinstance(query, models.NearestQuery) else query
    if isinstance(nearest, int | str):
        itself = edge.Filter(must_not=[edge.HasIdCondition({nearest})])
        chosen = itself if chosen is None else edge.Filter(must=[chosen, itself])
        nearest = vector_of(nearest, using)
    if isinstance(nearest, models.SparseVector):
        nearest = edge_sparse(nearest)
    elif not isinstance(nearest, list):
        raise ValueError(f"Wrong query: {type(nearest).__name__} is not known to the engine of this folder")
    if mmr is None:
        return edge.Query.Nearest(nearest, using=using), chosen
    share = 0.5 if mmr.diversity is None else mmr.diversity
    return edge.Mmr(nearest, 1 - share, mmr.candidates_limit or limit, using=using), chosen


def _params(given: models.SearchParams | None) -> Any:
    if given is None:
        return None
    how = given.quantization
    return edge.SearchParams(
        hnsw_ef=given.hnsw_ef,
        exact=bool(given.exact),
        indexed_only=bool(given.indexed_only),
        quantization=None
        if how is None
        else edge.QuantizationSearchParams(ignore=bool(how.ignore), rescore=how.rescore, oversampling=how.oversampling),
    )
