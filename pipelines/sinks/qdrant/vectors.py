"""A collection's named vectors: how those of a job are stored, how those that are stored read, and how both differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_client import models

from embedders.arrow import SPARSE_TYPE, dense_type, multivector_type, number_type
from embedders.base import VectorSpec
from pipelines.sinks.base import JobFacts
from pipelines.sinks.provenance import property_differences
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.plain import PlainFacts

_DISTANCES = {
    "cosine": models.Distance.COSINE,
    "dot": models.Distance.DOT,
    "euclid": models.Distance.EUCLID,
    "manhattan": models.Distance.MANHATTAN,
}
_DTYPES = {models.Datatype.FLOAT16: np.float16, models.Datatype.UINT8: np.uint8}
_DATATYPES = {pa.from_numpy_dtype(dtype): datatype for datatype, dtype in _DTYPES.items()}


def dense_params(name: str, job: JobFacts, config: QdrantSinkConfig) -> models.VectorParams:
    """Say how a dense vector or multivector is stored.

    A multivector beside a dense vector is there to rescore what that one found: it gets no HNSW graph (m=0).
    """
    spec = job.vectors[name]
    multi = spec.kind == "multivector"
    rescores = multi and any(other.kind == "dense" for other in job.vectors.values())
    return models.VectorParams(
        size=spec.dim or 0,
        distance=_DISTANCES[spec.distance],
        on_disk=config.on_disk,
        datatype=_DATATYPES.get(number_type(spec.arrow_type)),
        multivector_config=(
            models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM) if multi else None
        ),
        hnsw_config=models.HnswConfigDiff(m=0) if rescores else None,
    )


def sparse_params(spec: VectorSpec) -> models.SparseVectorParams:
    """Say how a sparse vector is stored."""
    return models.SparseVectorParams(modifier=models.Modifier.IDF if spec.idf else None)


def quantization(config: QdrantSinkConfig) -> Any:
    """Build the quantization settings; the quantized vectors are kept in memory, as their use is speed."""
    if config.quantization == "scalar":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if config.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    if config.quantization == "product":
        product = models.ProductQuantizationConfig(compression=models.CompressionRatio.X16, always_ram=True)
        return models.ProductQuantization(product=product)
    return None


def stored_vectors(info: models.CollectionInfo) -> dict[str, VectorSpec]:
    """Read a collection's vectors by name; one without a name has the name ""."""
    vectors = {name: _dense_spec(params) for name, params in _dense(info).items()}
    return vectors | {name: _sparse_spec(params) for name, params in (info.config.params.sparse_vectors or {}).items()}


def rescoring_vectors(info: models.CollectionInfo) -> frozenset[str]:
    """Name the vectors without an HNSW graph, which are there to order candidates."""
    return frozenset(
        name for name, params in _dense(info).items() if params.hnsw_config is not None and params.hnsw_config.m == 0
    )


def vector_differences(info: models.CollectionInfo, job: JobFacts) -> list[str]:
    """Name how a collection's vectors differ from those the job makes; empty where they agree."""
    stored = {name: _compared(spec) for name, spec in stored_vectors(info).items()}
    wanted = {name: _compared(spec) for name, spec in job.vectors.items()}
    is_plain = isinstance(job, PlainFacts)
    has, has_not = (
        ("the dataset has", "the dataset has not") if is_plain else ("this job makes", "this job does not make")
    )
    found = [f"it lacks the vector {name!r}, which {has}" for name in wanted if name not in stored]
    for name in stored:
        if name not in wanted:
            shown = f"the vector {name!r}" if name else "an unnamed vector"
            found.append(f"it has {shown}, which {has_not}")
    return found + property_differences(stored, wanted, "the dataset's" if is_plain else "this job's")


def property_differences_of(info: models.CollectionInfo, job: JobFacts) -> list[str]:
    """Name how those of the job's vectors that a collection has differ there; empty where they agree."""
    stored = {name: _compared(spec) for name, spec in stored_vectors(info).items()}
    return property_differences(stored, {name: _compared(spec) for name, spec in job.vectors.items()})


def _dense(info: models.CollectionInfo) -> Mapping[str, models.VectorParams]:
    vectors = info.config.params.vectors
    return vectors if isinstance(vectors, dict) else {"": vectors} if vectors else {}


def _dense_spec(params: models.VectorParams) -> VectorSpec:
    dtype = _DTYPES.get(params.datatype or models.Datatype.FLOAT32, np.float32)
    distance: Any = params.distance.value.lower()
    if params.multivector_config is not None:
        return VectorSpec("multivector", multivector_type(params.size, dtype), dim=params.size, distance=distance)
    return VectorSpec("dense", dense_type(params.size, dtype), dim=params.size, distance=distance)


def _sparse_spec(params: models.SparseVectorParams) -> VectorSpec:
    return VectorSpec("sparse", SPARSE_TYPE, distance="dot", idf=params.modifier == models.Modifier.IDF)


def _compared(spec: VectorSpec) -> dict[str, Any]:
    """The properties in which a collection must be as the job wants it, under Qdrant's names."""
    if spec.kind == "sparse":
        return {"kind": spec.kind, "modifier": "idf" if spec.idf else None}
    return {"kind": spec.kind, "dim": spec.dim, "distance": spec.distance}
