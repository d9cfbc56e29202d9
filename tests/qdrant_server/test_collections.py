"""Qdrant's collections, aliases and indexes as this project relies on them; QDRANT_URL asks a real server instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.qdrant_server import QdrantTestServer
from tests.qdrant_server.samples import dense_points

pytestmark = pytest.mark.server


def test_a_collection_exists_from_creation_to_deletion(qdrant_client: QdrantClient, qdrant_collection: str) -> None:
    vectors = models.VectorParams(size=4, distance=models.Distance.DOT)
    assert not qdrant_client.collection_exists(qdrant_collection)
    assert qdrant_client.create_collection(qdrant_collection, vectors_config=vectors)
    assert qdrant_client.collection_exists(qdrant_collection)
    assert qdrant_collection in [found.name for found in qdrant_client.get_collections().collections]
    with pytest.raises(UnexpectedResponse, match="already exists") as taken:
        qdrant_client.create_collection(qdrant_collection, vectors_config=vectors)
    assert taken.value.status_code == 409
    assert qdrant_client.delete_collection(qdrant_collection)
    assert not qdrant_client.collection_exists(qdrant_collection)


@pytest.mark.parametrize(
    "request_it",
    [
        lambda client, name: client.get_collection(name),
        lambda client, name: client.upsert(name, dense_points(1)),
        lambda client, name: client.retrieve(name, [1]),
        lambda client, name: client.count(name),
        lambda client, name: client.update_collection(name, metadata={"a": 1}),
    ],
    ids=["info", "upsert", "retrieve", "count", "patch"],
)
def test_an_unknown_collection_is_404(
    qdrant_client: QdrantClient, request_it: Callable[[QdrantClient, str], object]
) -> None:
    with pytest.raises(UnexpectedResponse, match="Not found: Collection `no-such-collection`") as error:
        request_it(qdrant_client, "no-such-collection")
    assert error.value.status_code == 404
    assert error.value.structured()["status"]["error"] == "Not found: Collection `no-such-collection` doesn't exist!"


def test_an_alias_moves_from_one_collection_to_another_at_once(qdrant_client: QdrantClient, collection: str) -> None:
    second, alias = f"{collection}-second", f"{collection}-alias"
    qdrant_client.create_collection(
        second, vectors_config={"dense": models.VectorParams(size=4, distance=models.Distance.COSINE)}
    )
    try:
        qdrant_client.upsert(collection, dense_points(1))
        qdrant_client.upsert(second, dense_points(2))
        point_at(qdrant_client, alias, collection)
        assert qdrant_client.count(alias).count == 1
        point_at(qdrant_client, alias, second, replace=True)
        assert qdrant_client.count(alias).count == 2
        qdrant_client.upsert(alias, dense_points(3))
        assert qdrant_client.count(second).count == 3
        assert [found.alias_name for found in qdrant_client.get_collection_aliases(second).aliases] == [alias]
        with pytest.raises(UnexpectedResponse, match="Not found: Collection `no-such-collection`") as error:
            point_at(qdrant_client, alias, "no-such-collection", replace=True)
        assert error.value.status_code == 404
        assert qdrant_client.count(alias).count == 3
        everywhere = {found.alias_name: found.collection_name for found in qdrant_client.get_aliases().aliases}
        assert everywhere[alias] == second
    finally:
        qdrant_client.delete_collection(second)


def point_at(client: QdrantClient, alias: str, collection: str, *, replace: bool = False) -> None:
    remove = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    create = models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=alias, collection_name=collection))
    client.update_collection_aliases([remove, create] if replace else [create])


def test_payload_indexes_are_shown_until_deleted(qdrant_client: QdrantClient, collection: str) -> None:
    qdrant_client.upsert(collection, [*dense_points(3), models.PointStruct(id=9, vector={})])
    qdrant_client.create_payload_index(collection, "even", models.PayloadSchemaType.BOOL)
    integer = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False)
    qdrant_client.create_payload_index(collection, "n", integer)
    schema = qdrant_client.get_collection(collection).payload_schema
    assert {name: (field.data_type.value, field.points) for name, field in schema.items()} == {
        "even": ("bool", 3),
        "n": ("integer", 3),
    }
    params = schema["n"].params
    assert isinstance(params, models.IntegerIndexParams)
    assert (params.lookup, params.range) == (True, False)
    qdrant_client.delete_payload_index(collection, "n")
    assert list(qdrant_client.get_collection(collection).payload_schema) == ["even"]


def test_facets_and_ordered_scrolling_need_an_index(qdrant_client: QdrantClient, collection: str) -> None:
    qdrant_client.upsert(collection, dense_points(5))
    for ask in (lambda: qdrant_client.facet(collection, "n"), lambda: qdrant_client.scroll(collection, order_by="n")):
        with pytest.raises(UnexpectedResponse, match="Index required") as error:
            ask()
        assert error.value.status_code == 400
    qdrant_client.create_payload_index(collection, "n", models.PayloadSchemaType.INTEGER)
    hits = qdrant_client.facet(collection, "n", exact=True).hits
    assert {hit.value: hit.count for hit in hits} == dict.fromkeys(range(5), 1)
    descending = models.OrderBy(key="n", direction=models.Direction.DESC)
    points, _ = qdrant_client.scroll(collection, order_by=descending, limit=2)
    assert [point.id for point in points] == [4, 3]


def test_configuration_is_kept_and_changed_by_patch(qdrant_client: QdrantClient, qdrant_collection: str) -> None:
    int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    qdrant_client.create_collection(
        qdrant_collection,
        vectors_config={"dense": models.VectorParams(size=4, distance=models.Distance.DOT, on_disk=True)},
        sparse_vectors_config={"s": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        shard_number=2,
        on_disk_payload=False,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
        hnsw_config=models.HnswConfigDiff(m=24),
        quantization_config=models.ScalarQuantization(scalar=int8),
        strict_mode_config=models.StrictModeConfig(enabled=True, upsert_max_batchsize=7),
        metadata={"fingerprint": "abc", "kept": True},
    )
    before = qdrant_client.get_collection(qdrant_collection).config
    assert isinstance(before.params.vectors, dict)
    assert (before.params.shard_number, before.params.vectors["dense"].on_disk) == (2, True)
    assert (before.params.sparse_vectors or {})["s"].modifier == models.Modifier.IDF
    assert (before.optimizer_config.indexing_threshold, before.hnsw_config.m) == (0, 24)
    assert isinstance(before.quantization_config, models.ScalarQuantization)
    assert before.strict_mode_config is not None
    assert (before.strict_mode_config.enabled, before.strict_mode_config.upsert_max_batchsize) == (True, 7)
    assert before.metadata == {"fingerprint": "abc", "kept": True}

    qdrant_client.update_collection(
        qdrant_collection,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=4321),
        hnsw_config=models.HnswConfigDiff(ef_construct=77),
        vectors_config={"dense": models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff(m=8))},
        quantization_config=models.Disabled.DISABLED,
        metadata={"fingerprint": "def"},
    )
    after = qdrant_client.get_collection(qdrant_collection).config
    assert (after.optimizer_config.indexing_threshold, after.optimizer_config.flush_interval_sec) == (4321, 5)
    assert (after.hnsw_config.m, after.hnsw_config.ef_construct) == (24, 77)
    assert isinstance(after.params.vectors, dict)
    named = after.params.vectors["dense"]
    assert (named.on_disk, (named.hnsw_config or models.HnswConfigDiff()).m) == (True, 8)
    assert after.quantization_config is None
    assert after.metadata == {"fingerprint": "def", "kept": True}


def test_patching_a_vector_the_collection_does_not_have_is_400(qdrant_client: QdrantClient, collection: str) -> None:
    with pytest.raises(UnexpectedResponse, match="Not existing vector name error: other") as error:
        qdrant_client.update_collection(collection, vectors_config={"other": models.VectorParamsDiff(on_disk=True)})
    assert error.value.status_code == 400


def test_a_vector_of_no_dimensions_is_422(qdrant_client: QdrantClient, qdrant_collection: str) -> None:
    nothing = models.VectorParams(size=0, distance=models.Distance.DOT)
    with pytest.raises(UnexpectedResponse, match="Validation error in JSON body") as error:
        qdrant_client.create_collection(qdrant_collection, vectors_config=nothing)
    assert error.value.status_code == 422


def test_indexing_turns_the_status_yellow_and_then_green(qdrant_server: QdrantTestServer) -> None:
    client = QdrantClient(url=qdrant_server.url)
    client.create_collection(
        "c",
        vectors_config={"dense": models.VectorParams(size=4, distance=models.Distance.COSINE)},
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
    )
    client.upsert("c", dense_points(100))
    idle = client.get_collection("c")
    assert (idle.status, idle.indexed_vectors_count, idle.points_count) == (models.CollectionStatus.GREEN, 0, 100)
    # 100 points x 4 dimensions x 4 bytes are more than 1 kB
    client.update_collection("c", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1))
    assert client.get_collection("c").status == models.CollectionStatus.YELLOW
    done = client.get_collection("c")
    assert (done.status, done.indexed_vectors_count) == (models.CollectionStatus.GREEN, 100)
    assert client.get_optimizations("c").summary.queued_optimizations == 0
