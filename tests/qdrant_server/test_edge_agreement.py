"""The test server against Qdrant's real engine: the same points, the same answers.

qdrant-edge runs Qdrant's own segments in process. Dense, sparse-IDF and fused answers agree with the local engine
behind the test server to float32 rounding, with two differences:

- Equal scores: RRF gives many, and the engines order them differently. Points of one score are compared as a set.
- Deleted points: Qdrant's sparse index counts them in the document frequencies until the optimizer rewrites the
  segment; the local engine forgets them at once. Overwritten points are counted alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from tests.qdrant_server import QdrantTestServer

edge = pytest.importorskip("qdrant_edge", reason="needs qdrant-edge-py, which has no wheel for this platform")

pytestmark = pytest.mark.server

POINTS, DIM, VOCABULARY = 400, 32, 500
TOLERANCE = 1e-4
Sparse = tuple[list[int], list[float]]


class Engines:
    """The same synthetic points in both engines: random dense vectors, Zipf-distributed sparse ones."""

    def __init__(self, url: str, folder: Path) -> None:
        self.random = np.random.default_rng(20)
        self.client = QdrantClient(url=url, timeout=30)
        self.client.create_collection(
            "both",
            vectors_config={"dense": models.VectorParams(size=DIM, distance=models.Distance.COSINE)},
            sparse_vectors_config={"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )
        config = edge.EdgeConfig(
            vectors={"dense": edge.EdgeVectorParams(size=DIM, distance=edge.Distance.Cosine)},
            sparse_vectors={"sparse": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
            optimizers=edge.EdgeOptimizersConfig(deleted_threshold=0.1, vacuum_min_vector_number=100),
        )
        self.shard = edge.EdgeShard.create(str(folder), config)

    def dense(self) -> list[float]:
        vector: list[float] = self.random.standard_normal(DIM).astype(np.float32).tolist()
        return vector

    def sparse(self) -> Sparse:
        terms = np.unique(np.minimum(self.random.zipf(1.3, self.random.integers(3, 40)), VOCABULARY) - 1)
        return terms.tolist(), self.random.uniform(0.2, 2, len(terms)).astype(np.float32).tolist()

    def write(self, ids: Sequence[int]) -> None:
        """Write new random vectors under ids; every tenth point has no sparse vector."""
        here, there = [], []
        for number in ids:
            vector, (indices, values) = self.dense(), self.sparse()
            payload = {"group": number % 4}
            ours: dict[str, Any] = {"dense": vector}
            theirs: dict[str, Any] = {"dense": vector}
            if number % 10:
                ours["sparse"] = models.SparseVector(indices=indices, values=values)
                theirs["sparse"] = edge.SparseVector(indices, values)
            here.append(models.PointStruct(id=number, vector=ours, payload=payload))
            there.append(edge.Point(number, theirs, payload))
        self.client.upsert("both", here)
        self.shard.update(edge.UpdateOperation.upsert_points(there))

    def delete(self, ids: list[int]) -> None:
        self.client.delete("both", models.PointIdsList(points=list(ids)))
        self.shard.update(edge.UpdateOperation.delete_points(ids))


@pytest.fixture
def engines(qdrant_server: QdrantTestServer, tmp_path: Path) -> Iterator[Engines]:
    engines = Engines(qdrant_server.url, tmp_path / "shard")
    engines.write(range(POINTS))
    yield engines
    engines.client.close()
    engines.shard.close()


def ours(engines: Engines, limit: int, query: Any, **how: Any) -> list[Any]:
    return list(engines.client.query_points("both", query=query, limit=limit, **how).points)


def theirs(engines: Engines, limit: int, query: Any, prefetches: Any = None) -> list[Any]:
    return list(engines.shard.query(edge.QueryRequest(limit=limit, query=query, prefetches=prefetches)))


def assert_same(here: list[Any], there: list[Any]) -> None:
    assert len(here) == len(there) > 10
    assert [point.score for point in here] == pytest.approx([point.score for point in there], abs=TOLERANCE)
    score = {point.id: point.score for point in there}
    # each point has the same score in both, which leaves only the order within a tie open
    assert {point.id: point.score for point in here} == pytest.approx(score, abs=TOLERANCE)
    apart = [number for number in score if sum(abs(score[number] - other) < TOLERANCE for other in score.values()) == 1]
    assert [point.id for point in here if point.id in apart] == [point.id for point in there if point.id in apart]


def sparse_answers(engines: Engines, query: Sparse) -> tuple[list[Any], list[Any]]:
    indices, values = query
    return (
        ours(engines, POINTS, models.SparseVector(indices=indices, values=values), using="sparse"),
        theirs(engines, POINTS, edge.Query.Nearest(edge.SparseVector(indices, values), using="sparse")),
    )


def test_dense_answers_agree_on_synthetic_points(engines: Engines) -> None:
    for _ in range(5):
        query = engines.dense()
        assert_same(
            ours(engines, 50, query, using="dense"),
            theirs(engines, 50, edge.Query.Nearest(query, using="dense")),
        )


def test_sparse_idf_answers_agree_on_synthetic_points(engines: Engines) -> None:
    for _ in range(5):
        indices, values = engines.sparse()
        unknown_term = VOCABULARY + 7
        assert_same(*sparse_answers(engines, ([*indices, unknown_term], [*values, 1.0])))


@pytest.mark.parametrize(("k", "weights"), [(2, None), (60, None), (2, [3.0, 1.0])])
def test_fused_answers_agree_on_synthetic_points(engines: Engines, k: int, weights: list[float] | None) -> None:
    for _ in range(3):
        dense, (indices, values) = engines.dense(), engines.sparse()
        here = ours(
            engines,
            200,
            models.RrfQuery(rrf=models.Rrf(k=k, weights=weights)),
            prefetch=[
                models.Prefetch(query=dense, using="dense", limit=50),
                models.Prefetch(query=models.SparseVector(indices=indices, values=values), using="sparse", limit=50),
            ],
        )
        prefetches = [
            edge.Prefetch(limit=50, query=edge.Query.Nearest(dense, using="dense")),
            edge.Prefetch(limit=50, query=edge.Query.Nearest(edge.SparseVector(indices, values), using="sparse")),
        ]
        assert_same(here, theirs(engines, 200, edge.Fusion.Rrf(k, weights), prefetches))


def test_overwritten_points_count_once_in_both(engines: Engines) -> None:
    engines.write(range(0, POINTS, 3))
    assert_same(*sparse_answers(engines, engines.sparse()))
    assert engines.client.count("both").count == engines.shard.count(edge.CountRequest(exact=True)) == POINTS


def test_deleted_points_stay_in_qdrants_idf_until_it_optimizes(engines: Engines) -> None:
    engines.delete(list(range(0, POINTS, 3)))
    query = engines.sparse()
    here, there = sparse_answers(engines, query)
    assert {point.id for point in here} == {point.id for point in there}
    assert [point.score for point in here] != pytest.approx([point.score for point in there], abs=TOLERANCE)
    assert engines.shard.optimize()
    assert_same(*sparse_answers(engines, query))
    dense = engines.dense()
    assert_same(ours(engines, 50, dense, using="dense"), theirs(engines, 50, edge.Query.Nearest(dense, using="dense")))
