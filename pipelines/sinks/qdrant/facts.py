"""What a collection says of itself: its vectors, and how the job that filled it made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError
from qdrant_client import models

from embedders.arrow import SPARSE_TYPE, dense_type, multivector_type
from embedders.base import VectorSpec
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.sinks.qdrant.collection import COMPLETE, FACTS, STATE

_DTYPES = {models.Datatype.FLOAT16: np.float16, models.Datatype.UINT8: np.uint8}


@dataclass(frozen=True)
class CollectionFacts:
    """A collection's vectors by name, and what its job wrote down.

    ``rescoring`` names the multivectors without an index, which are there to order candidates. ``embeddings`` and
    ``fingerprints`` are empty where no job of this tool filled the collection; ``complete`` is None there.
    ``unreadable`` tells of embeddings whose settings this version cannot read, and why.
    """

    vectors: dict[str, VectorSpec]
    rescoring: frozenset[str]
    embeddings: dict[str, EmbeddingConfig] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    complete: bool | None = None
    unreadable: dict[str, str] = field(default_factory=dict)


def read_facts(info: models.CollectionInfo) -> CollectionFacts:
    """Read what a collection says of itself."""
    params = info.config.params
    dense = params.vectors if isinstance(params.vectors, dict) else {"": params.vectors} if params.vectors else {}
    vectors = {name: _dense_spec(vector) for name, vector in dense.items()}
    vectors |= {name: _sparse_spec(vector) for name, vector in (params.sparse_vectors or {}).items()}
    rescoring = {name for name, vector in dense.items() if vector.hnsw_config is not None and vector.hnsw_config.m == 0}
    metadata = info.config.metadata or {}
    made = _object(metadata.get(FACTS))
    embeddings: dict[str, EmbeddingConfig] = {}
    unreadable = {}
    for name, settings in _object(made.get("embeddings")).items():
        try:
            embedding = EmbeddingConfig.model_validate(settings)
        except ValidationError as error:
            wrong = error.errors()[0]
            unreadable[name] = f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}".removeprefix(": ")
            continue
        embeddings |= dict.fromkeys(embedding.vector_names, embedding)
    state = metadata.get(STATE)
    complete = None if state is None else state == COMPLETE
    prints = {name: str(value) for name, value in _object(made.get("fingerprints")).items()}
    return CollectionFacts(vectors, frozenset(rescoring), embeddings, prints, complete, unreadable)


def _object(value: Any) -> dict[str, Any]:
    """A JSON object of the metadata, empty where something else stands there."""
    return value if isinstance(value, dict) else {}


def _dense_spec(params: models.VectorParams) -> VectorSpec:
    dtype = _DTYPES.get(params.datatype or models.Datatype.FLOAT32, np.float32)
    distance: Any = params.distance.value.lower()
    if params.multivector_config is not None:
        return VectorSpec("multivector", multivector_type(params.size, dtype), dim=params.size, distance=distance)
    return VectorSpec("dense", dense_type(params.size, dtype), dim=params.size, distance=distance)


def _sparse_spec(params: models.SparseVectorParams) -> VectorSpec:
    return VectorSpec("sparse", SPARSE_TYPE, distance="dot", idf=params.modifier == models.Modifier.IDF)
