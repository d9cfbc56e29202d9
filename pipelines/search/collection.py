"""What a collection says of itself: its vectors, and how the job that filled it made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError
from qdrant_client import models

from embedders.arrow import SPARSE_TYPE, dense_type, multivector_type
from embedders.base import VectorSpec
from pipelines.config_models import EmbeddingConfig
from pipelines.sinks.qdrant_collection import COMPLETE, FACTS, STATE

_DTYPES = {models.Datatype.FLOAT16: np.float16, models.Datatype.UINT8: np.uint8}


@dataclass(frozen=True)
class CollectionFacts:
    """A collection's vectors by name, and what its job wrote down.

    ``rescoring`` names the multivectors without an index, which are there to order candidates. ``embeddings`` and
    ``fingerprints`` are empty where no job of this tool filled the collection; ``complete`` is None there.
    """

    vectors: dict[str, VectorSpec]
    rescoring: frozenset[str]
    embeddings: dict[str, EmbeddingConfig] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    complete: bool | None = None


def read_facts(info: models.CollectionInfo) -> CollectionFacts:
    """Read what a collection says of itself."""
    params = info.config.params
    dense = params.vectors if isinstance(params.vectors, dict) else {"": params.vectors} if params.vectors else {}
    vectors = {name: _dense_spec(vector) for name, vector in dense.items()}
    vectors |= {name: _sparse_spec(vector) for name, vector in (params.sparse_vectors or {}).items()}
    rescoring = {name for name, vector in dense.items() if vector.hnsw_config is not None and vector.hnsw_config.m == 0}
    metadata = info.config.metadata or {}
    made: dict[str, Any] = metadata.get(FACTS) or {}
    embeddings: dict[str, EmbeddingConfig] = {}
    for settings in (made.get("embeddings") or {}).values():
        embedding = _embedding(settings)
        embeddings |= dict.fromkeys(embedding.vector_names, embedding) if embedding else {}
    state = metadata.get(STATE)
    return CollectionFacts(
        vectors,
        frozenset(rescoring),
        embeddings,
        made.get("fingerprints") or {},
        None if state is None else state == COMPLETE,
    )


def _embedding(settings: Any) -> EmbeddingConfig | None:
    """Read an embedding's settings; None where another version of this tool wrote what this one does not know."""
    try:
        return EmbeddingConfig.model_validate(settings)
    except ValidationError:
        return None


def _dense_spec(params: models.VectorParams) -> VectorSpec:
    dtype = _DTYPES.get(params.datatype or models.Datatype.FLOAT32, np.float32)
    distance: Any = params.distance.value.lower()
    if params.multivector_config is not None:
        return VectorSpec("multivector", multivector_type(params.size, dtype), dim=params.size, distance=distance)
    return VectorSpec("dense", dense_type(params.size, dtype), dim=params.size, distance=distance)


def _sparse_spec(params: models.SparseVectorParams) -> VectorSpec:
    return VectorSpec("sparse", SPARSE_TYPE, distance="dot", idf=params.modifier == models.Modifier.IDF)
