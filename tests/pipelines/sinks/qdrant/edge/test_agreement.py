"""The engine edge against the engine local: the same points, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import models

from pipelines.search.filters import build_filter
from tests.pipelines.sinks.qdrant.edge.engines import (
    NAME,
    Engines,
    assert_same_answers,
    assert_same_points,
    engines,
    id_of,
)

POINTS = 210


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """POINTS in both engines; not to be changed."""
    with engines(tmp_path_factory.mktemp("engines"), POINTS) as opened:
        yield opened


def answers(opened: Engines, **asked: Any) -> tuple[list[Any], list[Any]]:
    edge, local = (client.query_points(NAME, with_vectors=True, **asked).points for client in opened.both)
    return edge, local


@pytest.mark.parametrize("distance", list(models.Distance))
def test_dense_answers_agree_for_each_distance(tmp_path: Path, distance: models.Distance) -> None:
    with engines(tmp_path, 60, distance=distance) as opened:
        for _ in range(3):
            assert_same_answers(*answers(opened, query=opened.dense(), using="dense", limit=20))
        # Of a point by its id, which does not find itself.
        assert_same_answers(*answers(opened, query=id_of(4), using="dense", limit=20))


def test_sparse_token_and_fused_answers_agree(filled: Engines) -> None:
    for _ in range(5):
        sparse, tokens, dense = filled.sparse(), filled.tokens(), filled.dense()
        assert_same_answers(*answers(filled, query=sparse, using="sparse", limit=POINTS))
        assert_same_answers(*answers(filled, query=tokens, using="tokens", limit=50))
        both = [
            models.Prefetch(query=dense, using="dense", limit=40, filter=build_filter("odd=true")),
            models.Prefetch(query=sparse, using="sparse", limit=40),
        ]
        for query in (
            models.RrfQuery(rrf=models.Rrf(k=60, weights=[3.0, 1.0])),
            models.FusionQuery(fusion=models.Fusion.RRF),
            models.FusionQuery(fusion=models.Fusion.DBSF),
        ):
            assert_same_answers(*answers(filled, query=query, prefetch=both, limit=80))
        rescored = models.Prefetch(query=dense, using="dense", limit=30)
        assert_same_answers(*answers(filled, query=tokens, using="tokens", prefetch=rescored, limit=30, offset=2))


@pytest.mark.parametrize(
    "given",
    [
        "lang=de",
        "lang!=de",
        "lang=de|fr",
        "number=7|8|9",
        "number>=100",
        "half<3.5",
        "half=1.5",
        "nested.deep.n=2",
        "tags=t1",
        "odd=true",
        "when>=2010-06-01",
        ["lang=en", "odd=false", "number<150"],
        {"must_not": [{"is_empty": {"key": "maybe"}}]},
        {"must": [{"is_null": {"key": "maybe"}}]},
        {"must": [{"has_id": [id_of(3), id_of(4), 10**9]}]},
        {"must": [{"has_vector": "sparse"}]},
        {"must": [{"key": "tags", "values_count": {"gte": 2}}]},
        {"must": [{"key": "lang", "match": {"except": ["de"]}}]},
        {
            "min_should": {
                "min_count": 2,
                "conditions": [
                    {"key": "lang", "match": {"value": "de"}},
                    {"key": "odd", "match": {"value": True}},
                    {"key": "number", "range": {"lt": 50}},
                ],
            }
        },
        {"must": {"should": [{"key": "number", "range": {"lt": 5}}, {"key": "number", "range": {"gt": 205}}]}},
    ],
    ids=str,
)
def test_filters_agree(filled: Engines, given: Any) -> None:
    chosen = build_filter(given)
    numbers = []
    for client in filled.both:
        found, _ = client.scroll(NAME, chosen, limit=POINTS)
        numbers.append([point.id for point in found])
        assert client.count(NAME, chosen, exact=True).count == len(found)
    assert numbers[0] == numbers[1]
    assert 0 < len(numbers[0]) < POINTS
    assert_same_answers(*answers(filled, query=filled.dense(), using="dense", query_filter=chosen, limit=30))


def test_points_agree_after_updates_deletions_and_reopening(tmp_path: Path) -> None:
    with engines(tmp_path, POINTS) as opened:
        opened.write(*range(0, 60, 2))
        vectors = [models.PointVectors(id=id_of(5), vector={"dense": opened.dense()})]
        marked = models.SetPayload(payload={"a": {"b": 1}}, points=[id_of(9)], key="nested")
        changes: list[Any] = [
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload={"only": 1}, points=[id_of(8)])
            ),
            models.SetPayloadOperation(set_payload=marked),
            models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=vectors)),
            models.DeleteOperation(delete=models.PointIdsList(points=[id_of(11), id_of(12), 10**9])),
        ]
        past = build_filter("number>=190")
        assert past is not None
        again = [opened.point(number) for number in (20, 200, 201, 22, 23)]
        for client in opened.both:
            done = client.batch_update_points(NAME, changes)
            assert {one.status for one in done} == {models.UpdateStatus.COMPLETED}
            client.delete(NAME, models.FilterSelector(filter=past))
            client.update_collection(NAME, metadata={"state": "filling", "gone": None})
            # Only those that are there, or are not, or match.
            client.upsert(NAME, [again[0], again[1]], update_mode=models.UpdateMode.UPDATE_ONLY)
            client.upsert(NAME, [again[0], again[2]], update_mode=models.UpdateMode.INSERT_ONLY)
            client.upsert(NAME, [again[3], again[4]], update_filter=build_filter("lang=en"))
        for _ in range(2):
            assert assert_same_points(*opened.both) == 189
            ids = [id_of(number) for number in (5, 8, 9, 11, 0)]
            records = [client.retrieve(NAME, ids, with_payload=["only", "nested"]) for client in opened.both]
            assert {one.id: one.payload for one in records[0]} == {one.id: one.payload for one in records[1]}
            told = [client.get_collection(NAME) for client in opened.both]
            assert told[0].config.params.vectors == told[1].config.params.vectors
            assert told[0].config.params.sparse_vectors == told[1].config.params.sparse_vectors
            assert told[0].config.metadata == told[1].config.metadata == {"made": "by a test", "state": "filling"}
            assert told[0].points_count == told[1].points_count == 189
            opened.reopen()


BAD: dict[str, dict[str, Any]] = {
    "a dimension too few": {"dense": [1.0] * 15},
    "not a number": {"dense": [float("nan")] * 16},
    "no such vector": {"other": [1.0]},
    "no numbers": {"dense": []},
    "no tokens": {"tokens": []},
    "an empty token": {"tokens": [[]]},
    "not a number in a token": {"tokens": [[float("nan")] * 8]},
    "an index twice": {"sparse": models.SparseVector.model_construct(indices=[1, 1], values=[1.0, 2.0])},
    "an index too large": {"sparse": models.SparseVector.model_construct(indices=[2**32], values=[1.0])},
    "a value that is none": {"sparse": models.SparseVector.model_construct(indices=[1], values=[float("nan")])},
}


def test_what_local_refuses_edge_refuses_too_and_keeps_the_folder(tmp_path: Path) -> None:
    with engines(tmp_path, 3) as opened:
        for what, vector in BAD.items():
            bad = models.PointStruct.model_construct(id=7, vector=vector, payload={})
            for client in opened.both:
                with pytest.raises(ValueError, match=r"\w"):
                    client.upsert(NAME, [opened.point(8), bad])
                    pytest.fail(f"{what} was taken")
        opened.reopen()
        assert assert_same_points(*opened.both) == 3


def test_a_payload_that_could_not_be_read_again_is_refused(tmp_path: Path) -> None:
    def nested(levels: int) -> Any:
        return {} if levels == 1 else {"a": nested(levels - 1)}

    with engines(tmp_path, 1) as opened:
        deep = models.PointStruct.model_construct(id=7, vector={}, payload=nested(100))
        too_deep = models.PointStruct.model_construct(id=8, vector={}, payload=nested(101))
        opened.edge.upsert(NAME, [deep])
        with pytest.raises(ValueError, match="nested deeper than 100"):
            opened.edge.upsert(NAME, [too_deep])
        opened.reopen()
        assert opened.edge.retrieve(NAME, [7])[0].payload == deep.payload
