"""The test server against Qdrant's real engine: what updates leave behind, and in which order it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.qdrant_server import QdrantTestServer

edge = pytest.importorskip("qdrant_edge", reason="needs qdrant-edge-py, which has no wheel for this platform")

pytestmark = pytest.mark.server

UUIDS = [f"{first}a38d572-4f1e-4a76-9c47-7a3c7b5a1f00" for first in "0f7"]
IDS: list[int | str] = [2**64 - 1, *UUIDS, 3, 11, 4]
MARK = "mark.from"


class Engines:
    """The same seven points in both engines."""

    def __init__(self, url: str, folder: Path) -> None:
        self.client = QdrantClient(url=url, timeout=30)
        dense = models.VectorParams(size=2, distance=models.Distance.DOT)
        self.client.create_collection("both", vectors_config={"dense": dense})
        self.client.create_payload_index("both", MARK, models.PayloadSchemaType.KEYWORD)
        config = edge.EdgeConfig(vectors={"dense": edge.EdgeVectorParams(size=2, distance=edge.Distance.Dot)})
        self.shard = edge.EdgeShard.create(str(folder), config)
        self.change(edge.UpdateOperation.create_field_index(MARK, edge.PayloadSchemaType.Keyword))
        for place, number in enumerate(IDS):
            self.upsert([number], {"n": place, "mark": {"from": "old" if place % 2 else "other"}})

    def change(self, operation: Any) -> None:
        self.shard.update(operation)

    def upsert(self, ids: list[Any], payload: dict[str, Any], *, marked: bool = False, mode: str | None = None) -> None:
        here = models.Filter(must=[models.FieldCondition(key=MARK, match=models.MatchValue(value="old"))])
        there = edge.Filter(must=[edge.FieldCondition(MARK, match=edge.MatchValue("old"))])
        self.client.upsert(
            "both",
            [models.PointStruct(id=number, vector={"dense": [1.0, 2.0]}, payload=payload) for number in ids],
            update_filter=here if marked else None,
            update_mode=models.UpdateMode(mode) if mode else None,
        )
        modes = {"insert_only": edge.UpdateMode.InsertOnly, "update_only": edge.UpdateMode.UpdateOnly, None: None}
        points = [edge.Point(number, {"dense": [1.0, 2.0]}, payload) for number in ids]
        self.change(edge.UpdateOperation.upsert_points(points, there if marked else None, modes[mode]))

    def assert_same(self, offset: Any = None, limit: int = 100, lacks: str | None = None) -> list[Any]:
        """Compare a page of both engines and a count, with payload and vectors; the ids of the page."""
        here = models.Filter(must_not=[models.HasVectorCondition(has_vector=lacks)]) if lacks else None
        there = edge.Filter(must_not=[edge.HasVectorCondition(lacks)]) if lacks else None
        ours, after = self.client.scroll("both", here, limit=limit, offset=offset, with_vectors=True)
        theirs, then = self.shard.scroll(
            edge.ScrollRequest(offset=offset, limit=limit, filter=there, with_payload=True, with_vector=True)
        )
        rows = [(str(point.id), point.payload, point.vector) for point in theirs]
        assert [(str(point.id), point.payload, point.vector) for point in ours] == rows
        assert (after if after is None else str(after)) == (then if then is None else str(then))
        count = self.client.count("both", here, exact=True).count
        assert count == self.shard.count(edge.CountRequest(exact=True, filter=there))
        return [point.id for point in ours]

    def facets(self) -> list[dict[Any, int]]:
        ours = self.client.facet("both", MARK, exact=True).hits
        theirs = self.shard.facet(edge.FacetRequest(MARK, exact=True)).hits
        return [{hit.value: hit.count for hit in hits} for hits in (ours, theirs)]


@pytest.fixture
def engines(qdrant_server: QdrantTestServer, tmp_path: Path) -> Iterator[Engines]:
    engines = Engines(qdrant_server.url, tmp_path / "shard")
    yield engines
    engines.client.close()
    engines.shard.close()


def test_pages_begin_at_any_id_with_integers_before_uuids(engines: Engines) -> None:
    assert engines.assert_same() == [3, 4, 11, 2**64 - 1, UUIDS[0], UUIDS[2], UUIDS[1]]
    assert engines.assert_same(5, 2) == [11, 2**64 - 1]
    assert engines.assert_same("70000000-0000-0000-0000-000000000000") == [UUIDS[2], UUIDS[1]]
    assert engines.assert_same("ff000000-0000-0000-0000-000000000000") == []


def test_conditional_upserts_leave_the_same_points(engines: Engines) -> None:
    engines.upsert([*IDS, 500], {"new": 1, "mark": {"from": "old"}}, marked=True)
    assert 500 in engines.assert_same()
    engines.upsert([3, 501], {"new": 2, "mark": {"from": "last"}}, mode="insert_only")
    engines.upsert([4, 502], {"new": 3, "mark": {"from": "last"}}, mode="update_only")
    ids = engines.assert_same()
    assert (501 in ids, 502 in ids) == (True, False)
    ours, theirs = engines.facets()
    assert ours == theirs
    assert ours["last"] == 2


def test_a_replaced_payload_leaves_the_vectors_and_a_missing_point_fails_last(engines: Engines) -> None:
    overwrite = models.SetPayload(payload={"only": 1}, points=[3, 99, 4])
    with pytest.raises(UnexpectedResponse, match="No point with id 99 found"):
        engines.client.batch_update_points("both", [models.OverwritePayloadOperation(overwrite_payload=overwrite)])
    with pytest.raises(Exception, match="99"):
        engines.change(edge.UpdateOperation.overwrite_payload([3, 99, 4], {"only": 1}))
    engines.assert_same()
    replaced = engines.client.retrieve("both", [3, 4])
    assert [point.payload for point in replaced] == [{"only": 1}] * 2


def test_a_new_named_vector_is_lacking_until_it_is_written(engines: Engines) -> None:
    config = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=2, distance=models.Distance.DOT))
    engines.client.create_vector_name("both", "new", config)
    engines.change(edge.UpdateOperation.create_dense_vector("new", 2, edge.Distance.Dot))
    assert len(engines.assert_same(lacks="new")) == len(IDS)
    engines.client.update_vectors("both", [models.PointVectors(id=3, vector={"new": [3.0, 4.0]})])
    engines.change(edge.UpdateOperation.update_vectors([edge.PointVectors(3, {"new": [3.0, 4.0]})]))
    assert len(engines.assert_same(lacks="new")) == len(IDS) - 1
    engines.client.delete_vector_name("both", "new")
    engines.change(edge.UpdateOperation.delete_vector_name("new"))
    engines.assert_same()


def test_a_condition_lets_updates_pass_by_points_that_somebody_else_wrote(engines: Engines) -> None:
    engines.upsert([3, UUIDS[0]], {"n": 0})
    here = models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=MARK))])
    there = edge.Filter(must_not=[edge.IsEmptyCondition(MARK)])
    ids = [3, 4, 5, *UUIDS]
    new = [
        models.PointStruct(id=number, vector={"dense": [3.0, 4.0]}, payload={"mark": {"from": "x"}}) for number in ids
    ]
    engines.client.upsert("both", new, update_filter=here)
    points = [edge.Point(number, {"dense": [3.0, 4.0]}, {"mark": {"from": "x"}}) for number in ids]
    engines.change(edge.UpdateOperation.upsert_points(points, there, None))
    engines.assert_same()
    for number in (3, 4, UUIDS[1], 77):
        chosen = models.Filter(must=[models.HasIdCondition(has_id=[number]), here])
        payload = models.SetPayload(payload={"again": True}, filter=chosen)
        engines.client.batch_update_points("both", [models.OverwritePayloadOperation(overwrite_payload=payload)])
        narrowed = edge.Filter(must=[edge.HasIdCondition({number})], must_not=[edge.IsEmptyCondition(MARK)])
        engines.change(edge.UpdateOperation.overwrite_payload_by_filter(narrowed, {"again": True}))
    engines.assert_same()
    stored = {str(point.id): point.payload for point in engines.client.scroll("both", limit=20)[0]}
    assert stored["3"] == stored[UUIDS[0]] == {"n": 0} and stored["5"] == {"mark": {"from": "x"}}
    assert stored["4"] == stored[UUIDS[1]] == {"again": True} and "77" not in stored
