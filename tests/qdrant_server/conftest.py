"""Fixtures of the test server's own tests."""

from __future__ import annotations

import pytest
from qdrant_client import QdrantClient, models


@pytest.fixture
def collection(qdrant_client: QdrantClient, qdrant_collection: str) -> str:
    """A collection of named dense (4-d, cosine), multivector (2-d) and IDF-weighted sparse vectors."""
    max_sim = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    qdrant_client.create_collection(
        qdrant_collection,
        vectors_config={
            "dense": models.VectorParams(size=4, distance=models.Distance.COSINE),
            "late": models.VectorParams(size=2, distance=models.Distance.COSINE, multivector_config=max_sim),
        },
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    return qdrant_collection
