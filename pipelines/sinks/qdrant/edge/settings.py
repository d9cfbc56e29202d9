"""A collection's settings: from qdrant-client's models to qdrant-edge's, and back as what a server says of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from pipelines.sinks.qdrant.edge.records import Shapes

# The defaults of a Qdrant server, in kilobytes: vectors that take less are compared one by one.
INDEXING_THRESHOLD = 10_000
# Of a vector, and for an estimate of a multivector.
FLOAT_BYTES, TOKENS_A_POINT = 4, 256
_HNSW = models.HnswConfig(m=16, ef_construct=100, full_scan_threshold=10_000)
_DISTANCES = {
    models.Distance.COSINE: edge.Distance.Cosine,
    models.Distance.DOT: edge.Distance.Dot,
    models.Distance.EUCLID: edge.Distance.Euclid,
    models.Distance.MANHATTAN: edge.Distance.Manhattan,
}
_TYPES = {
    models.Datatype.FLOAT32: edge.VectorStorageDatatype.Float32,
    models.Datatype.FLOAT16: edge.VectorStorageDatatype.Float16,
    models.Datatype.UINT8: edge.VectorStorageDatatype.Uint8,
}
_RATIOS = {
    models.CompressionRatio.X4: edge.CompressionRatio.X4,
    models.CompressionRatio.X8: edge.CompressionRatio.X8,
    models.CompressionRatio.X16: edge.CompressionRatio.X16,
    models.CompressionRatio.X32: edge.CompressionRatio.X32,
    models.CompressionRatio.X64: edge.CompressionRatio.X64,
}


def edge_config(config: models.CreateCollection) -> Any:
    """Make the engine's configuration of a collection; raises ValueError for settings that it does not know."""
    return edge.EdgeConfig(
        vectors={name: _dense(params) for name, params in dense_of(config).items()} or None,
        sparse_vectors={name: _sparse(params) for name, params in (config.sparse_vectors or {}).items()} or None,
        on_disk_payload=config.on_disk_payload,
        quantization_config=_quantization(config.quantization_config),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=INDEXING_THRESHOLD),
    )


def dense_of(config: models.CreateCollection) -> Mapping[str, models.VectorParams]:
    """Return a collection's dense vectors and multivectors by name; one without a name has the name ""."""
    vectors = config.vectors
    return vectors if isinstance(vectors, Mapping) else {"": vectors} if vectors else {}


def shapes_of(config: models.CreateCollection) -> Shapes:
    """Tell what each of a collection's vectors must be."""
    dense = {name: (params.size, params.multivector_config is not None) for name, params in dense_of(config).items()}
    return {**dense, **dict.fromkeys(config.sparse_vectors or {}, (None, False))}


def bytes_a_point(config: models.CreateCollection) -> int:
    """Estimate the bytes of a point's vectors that a graph is built for."""
    return sum(
        FLOAT_BYTES * params.size * (TOKENS_A_POINT if params.multivector_config else 1)
        for params in dense_of(config).values()
        if params.hnsw_config is None or params.hnsw_config.m != 0
    )


def collection_info(config: models.CreateCollection, info: Any, points: int) -> models.CollectionInfo:
    """Describe a collection as a server would; ``info`` is the engine's."""
    return models.CollectionInfo(
        status=models.CollectionStatus.GREEN,
        optimizer_status=models.OptimizersStatusOneOf.OK,
        indexed_vectors_count=info.indexed_vectors_count,
        points_count=points,
        segments_count=info.segments_count,
        payload_schema={
            field: models.PayloadIndexInfo(
                data_type=models.PayloadSchemaType(_name(index.data_type)), points=index.points
            )
            for field, index in info.payload_schema.items()
        },
        config=models.CollectionConfig(
            params=models.CollectionParams(
                vectors=config.vectors,
                sparse_vectors=config.sparse_vectors,
                on_disk_payload=config.on_disk_payload,
            ),
            hnsw_config=_HNSW,
            optimizer_config=models.OptimizersConfig(
                deleted_threshold=0.2,
                vacuum_min_vector_number=1000,
                default_segment_number=0,
                indexing_threshold=INDEXING_THRESHOLD,
                flush_interval_sec=5,
            ),
            quantization_config=config.quantization_config,
            metadata=config.metadata,
        ),
    )


def payload_type(schema: models.PayloadSchemaType | str) -> Any:
    """Return the engine's type of a payload index."""
    name = models.PayloadSchemaType(schema).value
    return getattr(edge.PayloadSchemaType, name.capitalize())


def _name(kind: Any) -> str:
    return str(kind).rpartition(".")[2].lower()


def _dense(params: models.VectorParams) -> Any:
    hnsw = params.hnsw_config
    return edge.EdgeVectorParams(
        size=params.size,
        distance=_DISTANCES[params.distance],
        # Read from the disk's cache unless told otherwise: a folder is not the only thing on its machine.
        memory=edge.Memory.Cached if params.on_disk is False else edge.Memory.Cold,
        datatype=_TYPES[params.datatype] if params.datatype else None,
        multivector_config=(
            edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if params.multivector_config else None
        ),
        hnsw_config=None
        if hnsw is None
        else edge.HnswIndexConfig(
            _HNSW.m if hnsw.m is None else hnsw.m,
            hnsw.ef_construct or _HNSW.ef_construct,
            hnsw.full_scan_threshold or _HNSW.full_scan_threshold,
        ),
    )


def _sparse(params: models.SparseVectorParams) -> Any:
    idf = params.modifier == models.Modifier.IDF
    return edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if idf else None)


def _quantization(given: Any) -> Any:
    if given is None:
        return None
    if isinstance(given, models.ScalarQuantization):
        scalar = given.scalar
        return edge.ScalarQuantizationConfig(
            edge.ScalarType.Int8, quantile=scalar.quantile, always_ram=scalar.always_ram
        )
    if isinstance(given, models.BinaryQuantization):
        return edge.BinaryQuantizationConfig(always_ram=given.binary.always_ram)
    if isinstance(given, models.ProductQuantization):
        product = given.product
        return edge.ProductQuantizationConfig(_RATIOS[product.compression], always_ram=product.always_ram)
    raise ValueError(f"{type(given).__name__} is not known to the engine of this folder")
