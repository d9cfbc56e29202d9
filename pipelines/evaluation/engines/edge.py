"""HNSW for a Qdrant folder: a copy of its points in Qdrant's engine, which runs in this process.

qdrant-client's engine for folders compares a query with every point. qdrant-edge runs the segments of a Qdrant server,
with their graphs and their defaults; requests to the one are translated into the other's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from qdrant_client import QdrantClient, models

from embedders.arrow import number_type
from embedders.base import VectorSpec
from embedders.errors import FleetembedError
from pipelines.errors import SinkError
from pipelines.evaluation.engines.points import pages
from pipelines.evaluation.packages import versions
from pipelines.filesystem import write_json
from pipelines.search.hits import Hit
from pipelines.search.request import BUILT_IN_RRF_K
from pipelines.sinks.qdrant.config import QdrantSinkConfig

POINTS_A_BATCH = 200
DEFAULT_LIMIT = 10
MARKER = "made_of.json"


def edge_version() -> str | None:
    """Return the version of qdrant-edge-py, None where it is not installed; it has no wheel for some platforms."""
    return versions().get("qdrant-edge-py")


@dataclass(frozen=True)
class Original:
    """The collection that is copied; ``provenance`` says what made it, and a copy of another is made anew."""

    client: QdrantClient
    config: QdrantSinkConfig
    vectors: Mapping[str, VectorSpec]
    rescoring: frozenset[str]
    provenance: Mapping[str, Any]


class EdgeCopy:
    """A copy of a collection in a folder, indexed as a Qdrant server would do it by itself."""

    def __init__(self, folder: Path, original: Original, progress: Callable[[int], None] = lambda points: None) -> None:
        """Open the copy if it is one of this very collection, else make it; raises SinkError where that fails."""
        import qdrant_edge as edge

        self._shard: Any = None
        self._folder, marker = folder, folder / MARKER
        try:
            if _read(marker) == dict(original.provenance):
                self._shard = edge.EdgeShard.load(str(folder / "shard"))
            else:
                shutil.rmtree(folder, ignore_errors=True)
                (folder / "shard").mkdir(parents=True)
                self._shard = edge.EdgeShard.create(str(folder / "shard"), _shard_config(original))
                for points in pages(original.client, original.config.collection, POINTS_A_BATCH):
                    copies = [edge.Point(point.id, _copied(point.vector), point.payload) for point in points]
                    self._shard.update(edge.UpdateOperation.upsert_points(copies))
                    progress(len(points))
                self._shard.optimize()
                self._shard.flush()
                write_json(marker, dict(original.provenance))
        except FleetembedError:
            self.close()
            raise
        except Exception as error:  # the engine raises nothing more particular
            self.close()
            raise SinkError(f"{folder}: the copy for HNSW cannot be made: {error}") from None

    @property
    def points(self) -> int:
        """Number of points."""
        return int(self._shard.info().points_count)

    @property
    def indexed_vectors(self) -> int:
        """Vectors in an index; sparse ones always are."""
        return int(self._shard.info().indexed_vectors_count)

    def prepare(self, request: Mapping[str, Any], *, limit: int, with_payload: list[str]) -> Callable[[], list[Hit]]:
        """Translate the arguments of ``query_points``; what is returned asks, and its time is the engine's alone."""
        asked = translate(request, limit=limit, with_payload=with_payload)
        return lambda: [Hit(str(point.id), point.score, point.payload or {}) for point in self._shard.query(asked)]

    def close(self) -> None:
        """Close the copy; its files stay."""
        if self._shard is not None:
            self._shard.close()
            self._shard = None


def translate(request: Mapping[str, Any], *, limit: int, with_payload: list[str]) -> Any:
    """Turn the arguments of ``QdrantClient.query_points`` into qdrant-edge's request.

    Takes what `pipelines.search.request.build_request` makes, without filters. Raises ValueError for others.
    """
    import qdrant_edge as edge

    if request.get("query_filter") is not None:
        raise ValueError("filters are not translated")
    return edge.QueryRequest(
        limit=limit,
        query=_query(request.get("query"), request.get("using")),
        prefetches=_prefetches(request.get("prefetch")),
        params=_params(request.get("search_params")),
        with_payload=with_payload,
    )


def _prefetches(prefetch: Any) -> list[Any] | None:
    import qdrant_edge as edge

    if prefetch is None:
        return None
    stages: list[models.Prefetch] = prefetch if isinstance(prefetch, list) else [prefetch]
    if any(stage.filter is not None for stage in stages):
        raise ValueError("filters are not translated")
    return [
        edge.Prefetch(
            limit=stage.limit or DEFAULT_LIMIT,
            query=_query(stage.query, stage.using),
            prefetches=_prefetches(stage.prefetch),
            params=_params(stage.params),
        )
        for stage in stages
    ]


def _query(query: Any, using: str | None) -> Any:
    import qdrant_edge as edge

    if isinstance(query, models.FusionQuery):
        return edge.Fusion.Dbsf() if query.fusion == models.Fusion.DBSF else edge.Fusion.Rrf(BUILT_IN_RRF_K)
    if isinstance(query, models.RrfQuery):
        return edge.Fusion.Rrf(query.rrf.k or BUILT_IN_RRF_K, query.rrf.weights)
    if isinstance(query, models.SparseVector):
        return edge.Query.Nearest(edge.SparseVector(query.indices, query.values), using=using)
    if isinstance(query, list):
        return edge.Query.Nearest(query, using=using)
    raise ValueError(f"{type(query).__name__} is not translated")


def _params(params: models.SearchParams | None) -> Any:
    import qdrant_edge as edge

    return None if params is None else edge.SearchParams(hnsw_ef=params.hnsw_ef, exact=bool(params.exact))


def _copied(vectors: Any) -> dict[str, Any]:
    import qdrant_edge as edge

    return {
        name: edge.SparseVector(vector.indices, vector.values) if isinstance(vector, models.SparseVector) else vector
        for name, vector in vectors.items()
    }


def _shard_config(original: Original) -> Any:
    import qdrant_edge as edge

    distances = {
        "cosine": edge.Distance.Cosine,
        "dot": edge.Distance.Dot,
        "euclid": edge.Distance.Euclid,
        "manhattan": edge.Distance.Manhattan,
    }
    dense = {
        name: edge.EdgeVectorParams(
            size=spec.dim or 0,
            distance=distances[spec.distance],
            datatype=edge.VectorStorageDatatype.Float16 if number_type(spec.arrow_type) == pa.float16() else None,
            multivector_config=(
                edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if spec.kind == "multivector" else None
            ),
            # m=0, as in the collection: no graph. The other two are Qdrant's defaults, and have no effect then.
            hnsw_config=edge.HnswIndexConfig(0, 100, 10_000) if name in original.rescoring else None,
        )
        for name, spec in original.vectors.items()
        if spec.kind != "sparse"
    }
    sparse = {
        name: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if spec.idf else None)
        for name, spec in original.vectors.items()
        if spec.kind == "sparse"
    }
    quantization = _quantization(original.config)
    return edge.EdgeConfig(vectors=dense, sparse_vectors=sparse, quantization_config=quantization)


def _quantization(config: QdrantSinkConfig) -> Any:
    import qdrant_edge as edge

    if config.quantization == "scalar":
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=0.99, always_ram=True)
    if config.quantization == "binary":
        return edge.BinaryQuantizationConfig(always_ram=True)
    if config.quantization == "product":
        return edge.ProductQuantizationConfig(edge.CompressionRatio.X16, always_ram=True)
    return None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
