"""Qdrant's points as this project relies on them; QDRANT_URL asks a real server instead."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.qdrant_server.samples import dense_points

pytestmark = pytest.mark.server

UUID = "fa38d572-4f1e-4a76-9c47-7a3c7b5a1f00"


def test_points_and_batch_bodies_store_the_same(qdrant_client: QdrantClient, collection: str) -> None:
    sparse = models.SparseVector(indices=[7, 3], values=[1.0, 2.0])
    vector = {"dense": [1.0, 0.0, 0.0, 0.0], "late": [[1.0, 0.0], [0.0, 1.0]], "bm25": sparse}
    payload = {"text": "naïve ✓", "nested": {"list": [1, None, 2.5]}, "empty": None}
    result = qdrant_client.upsert(collection, [models.PointStruct(id=1, vector=vector, payload=payload)], wait=True)
    columns: dict[str, Any] = {name: [column] for name, column in vector.items()}
    qdrant_client.upsert(collection, models.Batch(ids=[UUID], vectors=columns, payloads=[payload]), wait=True)
    one, other = qdrant_client.retrieve(collection, [1, UUID], with_vectors=True)
    assert result.status == models.UpdateStatus.COMPLETED
    assert (one.id, other.id) == (1, UUID)
    assert one.payload == other.payload == payload
    assert one.vector == other.vector
    assert isinstance(one.vector, dict)
    assert one.vector["bm25"] == models.SparseVector(indices=[3, 7], values=[2.0, 1.0])


def test_a_write_that_does_not_wait_is_acknowledged(qdrant_client: QdrantClient, collection: str) -> None:
    result = qdrant_client.upsert(collection, dense_points(2), wait=False)
    assert result.status == models.UpdateStatus.ACKNOWLEDGED


def test_retrieve_returns_known_ids_with_the_asked_payload_and_no_vectors(
    qdrant_client: QdrantClient, collection: str
) -> None:
    qdrant_client.upsert(collection, dense_points(5))
    found = qdrant_client.retrieve(collection, [4, 99, 2, UUID], with_payload=["n"])
    assert {point.id: point.payload for point in found} == {4: {"n": 4}, 2: {"n": 2}}
    assert all(point.vector is None for point in found)


def test_scroll_pages_through_all_matches_in_order_of_id(qdrant_client: QdrantClient, collection: str) -> None:
    qdrant_client.upsert(collection, dense_points(25))
    even = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])
    pages, offset = [], None
    while True:
        points, offset = qdrant_client.scroll(collection, even, limit=5, offset=offset)
        pages.append([point.id for point in points])
        if offset is None:
            break
    assert [len(page) for page in pages] == [5, 5, 3]
    assert [point for page in pages for point in page] == list(range(0, 25, 2))


def test_scroll_shows_integers_before_uuids_and_starts_at_offsets_that_do_not_exist(
    qdrant_client: QdrantClient, collection: str
) -> None:
    uuids = [f"{first}a38d572-4f1e-4a76-9c47-7a3c7b5a1f00" for first in "0f7"]
    ids: list[int | str] = [2**64 - 1, *uuids, 3, 11]
    qdrant_client.upsert(collection, [models.PointStruct(id=point, vector={}, payload={}) for point in ids])
    order = [3, 11, 2**64 - 1, uuids[0], uuids[2], uuids[1]]

    def scrolled(offset: int | str | None, limit: int = 10) -> tuple[list[Any], Any]:
        points, after = qdrant_client.scroll(collection, limit=limit, offset=offset)
        return [point.id for point in points], after

    assert scrolled(None) == (order, None)
    assert scrolled(4, 2) == (order[1:3], order[3])
    assert scrolled("70000000-0000-0000-0000-000000000000") == (order[4:], None)
    assert scrolled("FA38D572-4F1E-4A76-9C47-7A3C7B5A1F00") == (order[5:], None)
    assert scrolled("ff000000-0000-0000-0000-000000000000") == ([], None)
    qdrant_client.upsert(collection, [models.PointStruct(id=4, vector={}, payload={})])
    qdrant_client.delete(collection, [11])
    assert scrolled(4, 2) == ([4, 2**64 - 1], order[3])
    sample = models.SampleQuery(sample=models.Sample.RANDOM)
    drawn = [point.id for point in qdrant_client.query_points(collection, query=sample, limit=100).points]
    assert set(drawn) == {4, *order} - {11}
    assert len(qdrant_client.query_points(collection, query=sample, limit=2).points) == 2


def test_count_and_delete_by_filter_and_ids(qdrant_client: QdrantClient, collection: str) -> None:
    qdrant_client.upsert(collection, dense_points(20))
    late = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=15))])
    assert qdrant_client.count(collection, count_filter=late, exact=True).count == 5
    qdrant_client.delete(collection, models.FilterSelector(filter=late))
    qdrant_client.delete(collection, models.PointIdsList(points=[0, 1, 777]))
    assert qdrant_client.count(collection, exact=True).count == 13
    remaining, _ = qdrant_client.scroll(collection, limit=100)
    assert [point.id for point in remaining] == list(range(2, 15))


def test_writing_an_id_again_replaces_its_point(qdrant_client: QdrantClient, collection: str) -> None:
    qdrant_client.upsert(collection, dense_points(3))
    replacement = models.PointStruct(id=1, vector={"late": [[1.0, 0.0]]}, payload={"new": True})
    qdrant_client.upsert(collection, [replacement])
    (point,) = qdrant_client.retrieve(collection, [1], with_vectors=True)
    assert (point.payload, point.vector) == ({"new": True}, {"late": [[1.0, 0.0]]})
    assert qdrant_client.count(collection, exact=True).count == 3


def test_payload_can_be_set_replaced_and_cleared(qdrant_client: QdrantClient, collection: str) -> None:
    qdrant_client.upsert(collection, dense_points(3))
    qdrant_client.set_payload(collection, {"extra": 1}, points=[0])
    qdrant_client.overwrite_payload(collection, {"only": 2}, points=[1])
    qdrant_client.delete_payload(collection, ["even"], points=[0])
    qdrant_client.clear_payload(collection, [2])
    points = qdrant_client.retrieve(collection, [0, 1, 2])
    assert {point.id: point.payload for point in points} == {0: {"n": 0, "extra": 1}, 1: {"only": 2}, 2: {}}


def test_changing_a_point_that_is_not_there_is_404(qdrant_client: QdrantClient, collection: str) -> None:
    qdrant_client.upsert(collection, dense_points(1))
    with pytest.raises(UnexpectedResponse, match="No point with id 7 found") as error:
        qdrant_client.set_payload(collection, {"a": 1}, points=[7])
    assert error.value.status_code == 404


def test_a_batch_of_operations_is_carried_out_in_order(qdrant_client: QdrantClient, collection: str) -> None:
    results = qdrant_client.batch_update_points(
        collection,
        [
            models.UpsertOperation(upsert=models.PointsList(points=dense_points(4))),
            models.DeleteOperation(delete=models.PointIdsList(points=[0])),
            models.UpdateVectorsOperation(
                update_vectors=models.UpdateVectors(
                    points=[models.PointVectors(id=1, vector={"dense": [0.0, 0.0, 0.0, 1.0]})]
                )
            ),
        ],
    )
    assert [result.status for result in results] == [models.UpdateStatus.COMPLETED] * 3
    assert [point.id for point in qdrant_client.scroll(collection)[0]] == [1, 2, 3]
    nearest = qdrant_client.query_points(collection, query=[0.0, 0.0, 0.0, 1.0], using="dense", limit=1).points
    assert nearest[0].id == 1
    assert nearest[0].score == pytest.approx(1.0)


def test_a_batch_of_payload_operations_stops_at_one_that_fails(qdrant_client: QdrantClient, collection: str) -> None:
    qdrant_client.upsert(collection, dense_points(4))

    def replace(number: int) -> models.OverwritePayloadOperation:
        return models.OverwritePayloadOperation(
            overwrite_payload=models.SetPayload(payload={"new": number}, points=[number])
        )

    even = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])
    merged = models.SetPayloadOperation(set_payload=models.SetPayload(payload={"seen": 1}, filter=even))
    key_gone = models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["even"], points=[2]))
    results = qdrant_client.batch_update_points(collection, [replace(1), merged, key_gone])
    assert len(results) == 3
    with pytest.raises(UnexpectedResponse, match="No point with id 77 found") as error:
        qdrant_client.batch_update_points(collection, [replace(3), replace(77), replace(0)])
    assert error.value.status_code == 404
    stored = {point.id: point.payload for point in qdrant_client.retrieve(collection, range(4))}
    assert stored == {
        0: {"n": 0, "even": True, "seen": 1},
        1: {"new": 1},
        2: {"n": 2, "seen": 1},
        3: {"new": 3},
    }
    assert all(point.vector for point in qdrant_client.retrieve(collection, range(4), with_vectors=True))


def test_an_update_filter_lets_new_points_in_and_changes_only_those_that_match(
    qdrant_client: QdrantClient, collection: str
) -> None:
    def point(number: int, **payload: Any) -> models.PointStruct:
        return models.PointStruct(id=number, vector={"dense": [1.0, number, 0.0, 0.0]}, payload=payload)

    marked = models.Filter(must=[models.FieldCondition(key="mark.from", match=models.MatchValue(value="old"))])
    qdrant_client.upsert(collection, [point(1, mark={"from": "old"}), point(2, mark={"from": "other"}), point(3)])
    news = [point(number, new=True, mark={"from": "old"}) for number in range(1, 5)]
    qdrant_client.upsert(collection, news, update_filter=marked)
    stored = {found.id: "new" in (found.payload or {}) for found in qdrant_client.scroll(collection)[0]}
    assert stored == {1: True, 2: False, 3: False, 4: True}
    operation = models.UpsertOperation(upsert=models.PointsList(points=[point(1), point(5)], update_filter=marked))
    qdrant_client.batch_update_points(collection, [operation])
    assert all(found.payload == {} for found in qdrant_client.retrieve(collection, [1, 5]))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(models.UpdateMode.INSERT_ONLY, {1: "old", 2: "new"}), (models.UpdateMode.UPDATE_ONLY, {1: "new"})],
)
def test_update_modes_leave_old_or_missing_points_alone(
    qdrant_client: QdrantClient, collection: str, mode: models.UpdateMode, expected: dict[int, str]
) -> None:
    def point(number: int, state: str) -> models.PointStruct:
        return models.PointStruct(id=number, vector={}, payload={"state": state})

    qdrant_client.upsert(collection, [point(1, "old")])
    qdrant_client.upsert(collection, [point(1, "new"), point(2, "new")], update_mode=mode)
    stored, _ = qdrant_client.scroll(collection)
    assert {found.id: (found.payload or {})["state"] for found in stored} == expected


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"points": [{"id": 1, "vector": {"other": [1, 2, 3, 4]}}]}, 400, "Not existing vector name error: other"),
        ({"points": [{"id": 1, "vector": {"dense": [1, 2, 3]}}]}, 400, "expected dim: 4, got 3"),
        ({"points": [{"id": -1, "vector": {}}]}, 400, "Format error in JSON body"),
        ({"points": [{"id": "chunk-1", "vector": {}}]}, 400, "value chunk-1 is not a valid point ID"),
        ({"points": [{"id": 1.5, "vector": {}}]}, 400, "Format error in JSON body"),
        ({"points": [{"id": 1, "vector": {"dense": [1, 2, None, 4]}}]}, 400, "Format error in JSON body"),
        ({"points": [{"id": 1, "vector": {"bm25": {"indices": [3, 3], "values": [1, 2]}}}]}, 422, "must be unique"),
        ({"points": [{"id": 1, "vector": {"bm25": {"indices": [3], "values": [1, 2]}}}]}, 422, "same length"),
        (
            {"points": [{"id": 1, "vector": {"bm25": {"indices": [-3], "values": [1]}}}]},
            400,
            "Format error in JSON body",
        ),
        ({"points": []}, 400, "Empty update request"),
        ({"batch": {"ids": [1, 2], "vectors": {"dense": [[1, 2, 3, 4]]}}}, 422, "Validation error in JSON body"),
        ({"batch": {"ids": ["x"], "vectors": {"dense": [[1, 2, 3, 4]]}}}, 400, "value x is not a valid point ID"),
        ({"rows": []}, 400, "Format error in JSON body"),
    ],
)
def test_a_bad_upsert_is_refused_whole(
    qdrant_client: QdrantClient,
    qdrant_address: tuple[str, str | None],
    collection: str,
    body: dict[str, Any],
    status: int,
    text: str,
) -> None:
    good = {"id": 100, "vector": {"dense": [1, 2, 3, 4]}}
    if body.get("points"):
        body = {"points": [good, *body["points"]]}
    url, key = qdrant_address
    headers = {"api-key": key} if key else {}
    answer = httpx.put(f"{url}/collections/{collection}/points?wait=true", json=body, headers=headers)
    assert answer.status_code == status
    assert text in answer.json()["status"]["error"]
    assert qdrant_client.count(collection, exact=True).count == 0


def test_upload_collection_stores_every_row_once(qdrant_client: QdrantClient, collection: str) -> None:
    ids = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(i))) for i in range(100)]
    vectors: list[Any] = [{"dense": [1.0, i, 0.0, 0.0]} for i in range(100)]
    payload = [{"n": i} for i in range(100)]
    for _ in range(2):
        qdrant_client.upload_collection(collection, vectors, payload=payload, ids=ids, batch_size=30, wait=True)
    assert qdrant_client.count(collection, exact=True).count == 100
