"""Qdrant's queries as this project relies on them; QDRANT_URL asks a real server instead."""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.qdrant_server.samples import dense_points

pytestmark = pytest.mark.server


def test_dense_queries_rank_by_cosine(qdrant_client: QdrantClient, collection: str) -> None:
    qdrant_client.upsert(collection, dense_points(6))
    answer = qdrant_client.query_points(collection, query=[0.0, 2.0, 0.0, 0.0], using="dense", limit=3)
    assert [point.id for point in answer.points] == [5, 4, 3]
    assert answer.points[0].score == pytest.approx(5 / 26**0.5)
    odd = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=False))])
    filtered = qdrant_client.query_points(
        collection, query=[1.0, 0.0, 0.0, 0.0], using="dense", query_filter=odd, limit=2, with_payload=["n"]
    )
    assert [(point.id, point.payload) for point in filtered.points] == [(1, {"n": 1}), (3, {"n": 3})]


def test_multivector_queries_add_up_the_best_matches(qdrant_client: QdrantClient, collection: str) -> None:
    both, one = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0]]
    points = [models.PointStruct(id=i, vector={"late": v}) for i, v in enumerate([one, both])]
    qdrant_client.upsert(collection, points)
    answer = qdrant_client.query_points(collection, query=both, using="late").points
    assert [point.id for point in answer] == [1, 0]
    assert [point.score for point in answer] == pytest.approx([2.0, 1.0])


def test_sparse_queries_weigh_rare_terms_higher(qdrant_client: QdrantClient, collection: str) -> None:
    terms = {0: [1], 1: [1], 2: [1, 2], 3: [2]}
    points = [
        models.PointStruct(id=i, vector={"bm25": models.SparseVector(indices=t, values=[1.0] * len(t))})
        for i, t in terms.items()
    ]
    qdrant_client.upsert(collection, [*points, models.PointStruct(id=9, vector={})])
    query = models.SparseVector(indices=[1, 2], values=[1.0, 1.0])
    answer = qdrant_client.query_points(collection, query=query, using="bm25").points
    assert [point.id for point in answer[:2]] == [2, 3]
    assert {point.id for point in answer[2:]} == {0, 1}
    # ln((n - df + 0.5) / (df + 0.5) + 1) over the four points that have the vector; the rare term is in two
    assert answer[1].score == pytest.approx(0.6931472, abs=1e-6)


def test_fusion_merges_prefetches_by_reciprocal_rank(qdrant_client: QdrantClient, collection: str) -> None:
    for number, weight in enumerate([0.1, 5.0, 9.0, 0.1]):
        sparse = models.SparseVector(indices=[1], values=[weight])
        dense = [4.0 - number, number, 0.0, 0.0]
        qdrant_client.upsert(
            collection, [models.PointStruct(id=number, vector={"dense": dense, "bm25": sparse})], wait=True
        )
    prefetch = [
        models.Prefetch(query=[1.0, 0.0, 0.0, 0.0], using="dense", limit=2),
        models.Prefetch(query=models.SparseVector(indices=[1], values=[1.0]), using="bm25", limit=2),
    ]
    fused = qdrant_client.query_points(
        collection, prefetch=prefetch, query=models.FusionQuery(fusion=models.Fusion.RRF)
    ).points
    # ranks from 0: dense says 0, 1 and sparse 2, 1; each adds 1 / (rank + 2)
    assert {point.id: point.score for point in fused} == pytest.approx({1: 2 / 3, 0: 1 / 2, 2: 1 / 2})
    assert fused[0].id == 1
    batch = qdrant_client.query_batch_points(
        collection,
        [models.QueryRequest(query=query, using="dense", limit=1) for query in ([1.0, 0, 0, 0], [0, 1.0, 0, 0])],
    )
    assert [answer.points[0].id for answer in batch] == [0, 3]


@pytest.mark.parametrize(
    ("query", "using", "status"),
    [
        ([1.0, 0.0], "dense", 400),
        ([1.0, 0.0, 0.0, 0.0], "other", 400),
        (models.SparseVector(indices=[1], values=[1.0]), "dense", 400),
        (12345, "dense", 404),
    ],
    ids=["wrong dimension", "unknown vector", "sparse for dense", "unknown point"],
)
def test_a_query_that_does_not_fit_is_refused(
    qdrant_client: QdrantClient, collection: str, query: Any, using: str, status: int
) -> None:
    qdrant_client.upsert(collection, dense_points(2))
    with pytest.raises(UnexpectedResponse, match=f"Unexpected Response: {status}") as error:
        qdrant_client.query_points(collection, query=query, using=using)
    assert error.value.status_code == status
    prefetch = models.Prefetch(query=query, using=using)
    with pytest.raises(UnexpectedResponse, match=f"Unexpected Response: {status}") as below:
        qdrant_client.query_points(collection, prefetch=prefetch, query=models.FusionQuery(fusion=models.Fusion.RRF))
    assert below.value.status_code == status


def test_a_limit_of_zero_is_422(qdrant_client: QdrantClient, collection: str) -> None:
    for ask in (
        lambda: qdrant_client.scroll(collection, limit=0),
        lambda: qdrant_client.query_points(collection, query=[1.0, 0, 0, 0], using="dense", limit=0),
    ):
        with pytest.raises(UnexpectedResponse, match="Validation error in JSON body") as error:
            ask()
        assert error.value.status_code == 422
