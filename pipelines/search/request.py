"""A way to search as a request to Qdrant: prefetches, their fusion, and the vector that orders the candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdrant_client import models

from pipelines.config.search import SearchConfig
from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.versions import dotted, release_of

# k of a plain fusion query, in every version of Qdrant.
BUILT_IN_RRF_K = 2
# Versions of Qdrant from which a fusion query may say k, and weights.
K_SINCE, WEIGHTS_SINCE = (1, 16), (1, 17)

# A query's vectors by name, as Qdrant's models hold them; None where the query has nothing to search with.
QueryVectors = Mapping[str, Any]


def build_request(
    way: SearchConfig, vectors: QueryVectors, *, hits: int, filter: models.Filter | None = None
) -> dict[str, Any] | None:
    """Build the arguments of ``QdrantClient.query_points`` that say what is searched; None if nothing can be found.

    ``way.using`` is not empty. ``hits`` counts those that are wanted, skipped ones included. A vector that is None
    (a query of stop words only has no terms) finds nothing, and takes no part in a fusion.
    """
    names = [name for name in way.using if vectors[name] is not None]
    if not names:
        return None
    depth = way.depth(hits)
    params = models.SearchParams(exact=way.exact, hnsw_ef=way.hnsw_ef) if way.exact or way.hnsw_ef else None
    how: dict[str, Any] = {"params": params, "filter": filter}
    # Also where only one of several can find anything: a fusion's scores keep their meaning.
    if len(way.using) > 1:
        found = [models.Prefetch(query=vectors[name], using=name or None, limit=depth, **how) for name in names]
        first: dict[str, Any] = {"prefetch": found, "query": _fusion(way, names)}
    else:
        first = {"query": vectors[names[0]], "using": names[0] or None, **how}
    if way.rescore is None or vectors[way.rescore] is None:
        return _as_arguments(first)
    candidates = models.Prefetch(**first, limit=depth)
    return _as_arguments({"prefetch": candidates, "query": vectors[way.rescore], "using": way.rescore or None})


def _fusion(way: SearchConfig, names: list[str]) -> models.FusionQuery | models.RrfQuery:
    if way.fusion == "dbsf":
        return models.FusionQuery(fusion=models.Fusion.DBSF)
    if way.weights is None and way.settled_rrf_k == BUILT_IN_RRF_K:
        # Every server knows this form.
        return models.FusionQuery(fusion=models.Fusion.RRF)
    weights = dict(zip(way.using, way.weights, strict=True)) if way.weights else None
    chosen = [weights[name] for name in names] if weights else None
    return models.RrfQuery(rrf=models.Rrf(k=way.settled_rrf_k, weights=chosen))


def refuse_old_server(way: SearchConfig, version: str, place: str) -> None:
    """Raise ConfigError for a fusion that a Qdrant server of this version does not know, and may ignore in silence.

    A version that is no number is not refused.
    """
    held = release_of(version)
    if held is None or not needs_version(way):
        return
    if way.weights is not None and held < WEIGHTS_SINCE:
        raise ConfigError(
            f"{place} is on a Qdrant server {version}, and weights are known from {dotted(WEIGHTS_SINCE)} on: update "
            "the server, or leave them out"
        )
    if held < K_SINCE:
        raise ConfigError(
            f"{place} is on a Qdrant server {version}, and rrf_k (here {way.settled_rrf_k}) is known from "
            f"{dotted(K_SINCE)} on: update the server, or set rrf_k to {BUILT_IN_RRF_K}, which every server knows"
        )


def needs_version(way: SearchConfig) -> bool:
    """Whether a way asks for a fusion that not every Qdrant server knows."""
    special = way.weights is not None or way.settled_rrf_k != BUILT_IN_RRF_K
    return len(way.using) > 1 and way.fusion == "rrf" and special


def _as_arguments(parts: dict[str, Any]) -> dict[str, Any]:
    """Name a prefetch's fields as ``query_points`` names them."""
    renamed = {"params": "search_params", "filter": "query_filter"}
    return {renamed.get(name, name): value for name, value in parts.items() if value is not None}
