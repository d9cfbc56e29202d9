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
            point_at(qdrant_client, alias, "no-such-collection")
        assert error.value.status_code == 404
        assert qdrant_client.count(alias).count == 3
        everywhere = {found.alias_name: found.collection_name for found in qdrant_client.get_aliases().aliases}
        assert everywhere[alias] == second
    finally:
        qdrant_client.delete_collection(second)


def test_a_failing_alias_action_leaves_those_before_it_in_place(qdrant_client: QdrantClient, collection: str) -> None:
    alias = f"{collection}-alias"
    with pytest.raises(UnexpectedResponse, match="Not found: Collection `no-such-collection`") as error:
        qdrant_client.update_collection_aliases([create(alias, collection), create("live", "no-such-collection")])
    assert error.value.status_code == 404
    assert [found.alias_name for found in qdrant_client.get_collection_aliases(collection).aliases] == [alias]


def test_names_of_collections_and_aliases_are_one_name_space(qdrant_client: QdrantClient, collection: str) -> None:
    alias, vectors = f"{collection}-alias", models.VectorParams(size=4, distance=models.Distance.DOT)
    with pytest.raises(UnexpectedResponse, match=f"Collection `{collection}` already exists!") as taken:
        point_at(qdrant_client, collection, collection)
    assert taken.value.status_code == 409
    point_at(qdrant_client, alias, collection)
    assert qdrant_client.collection_exists(alias)
    with pytest.raises(UnexpectedResponse, match=f"name {alias}. Alias with the same name already exists") as named:
        qdrant_client.create_collection(alias, vectors_config=vectors)
    assert named.value.status_code == 400
    assert alias not in [found.name for found in qdrant_client.get_collections().collections]


def test_an_alias_goes_with_its_collection_and_stands_for_it_everywhere(
    qdrant_client: QdrantClient, collection: str
) -> None:
    alias = f"{collection}-alias"
    point_at(qdrant_client, alias, collection)
    qdrant_client.upsert(alias, dense_points(3))
    qdrant_client.set_payload(alias, {"extra": 1}, points=[0])
    qdrant_client.create_payload_index(alias, "n", models.PayloadSchemaType.INTEGER)
    qdrant_client.update_collection(alias, metadata={"seen": True})
    assert [point.id for point in qdrant_client.scroll(alias)[0]] == [0, 1, 2]
    assert [point.id for point in qdrant_client.retrieve(alias, [2])] == [2]
    nearest = qdrant_client.query_points(alias, query=[1.0, 0.0, 0.0, 0.0], using="dense", limit=1).points
    assert nearest[0].id == 0
    assert qdrant_client.facet(alias, "n", exact=True).hits[0].count == 1
    assert qdrant_client.get_collection(alias).config.metadata == {"seen": True}
    qdrant_client.delete(alias, [0])
    assert qdrant_client.count(collection, exact=True).count == 2
    assert not qdrant_client.delete_collection(alias)
    assert qdrant_client.delete_collection(collection)
    assert alias not in [found.alias_name for found in qdrant_client.get_aliases().aliases]
    assert not qdrant_client.collection_exists(alias)


def create(alias: str, collection: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=alias, collection_name=collection))


def point_at(client: QdrantClient, alias: str, collection: str, *, replace: bool = False) -> None:
    remove = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    client.update_collection_aliases([*([remove] if replace else []), create(alias, collection)])


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


def test_a_named_vector_comes_to_a_collection_and_leaves_it(qdrant_client: QdrantClient, collection: str) -> None:
    cosine = models.Distance.COSINE
    new = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=2, distance=cosine))
    words = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(modifier=models.Modifier.IDF))
    lacks = models.Filter(must_not=[models.HasVectorCondition(has_vector="new")])
    qdrant_client.upsert(collection, dense_points(3))
    qdrant_client.create_vector_name(collection, "new", new)
    qdrant_client.create_vector_name(collection, "words", words)
    qdrant_client.create_vector_name(collection, "new", new)
    params = qdrant_client.get_collection(collection).config.params
    assert isinstance(params.vectors, dict)
    assert (params.vectors["new"].size, params.vectors["new"].distance) == (2, cosine)
    assert (params.sparse_vectors or {})["words"].modifier == models.Modifier.IDF
    other = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=3, distance=cosine))
    with pytest.raises(UnexpectedResponse, match="already exists") as differs:
        qdrant_client.create_vector_name(collection, "new", other)
    assert differs.value.status_code == 400
    assert qdrant_client.count(collection, count_filter=lacks, exact=True).count == 3
    word = models.SparseVector(indices=[5], values=[1.0])
    qdrant_client.update_vectors(collection, [models.PointVectors(id=1, vector={"new": [0.0, 2.0], "words": word})])
    assert [point.id for point in qdrant_client.scroll(collection, lacks)[0]] == [0, 2]
    (point,) = qdrant_client.retrieve(collection, [1], with_vectors=["new", "words"])
    assert point.vector == {"new": [0.0, 1.0], "words": word}
    found = qdrant_client.query_points(collection, query=[0.0, 1.0], using="new").points
    assert [point.id for point in found] == [1]
    qdrant_client.delete_vector_name(collection, "new")
    params = qdrant_client.get_collection(collection).config.params
    assert isinstance(params.vectors, dict)
    assert sorted(params.vectors) == ["dense", "late"]


def test_snapshots_are_made_listed_and_deleted(qdrant_client: QdrantClient, collection: str) -> None:
    assert qdrant_client.list_snapshots(collection) == []
    made = qdrant_client.create_snapshot(collection)
    assert made is not None
    assert made.name.startswith(collection)
    assert [snapshot.name for snapshot in qdrant_client.list_snapshots(collection)] == [made.name]
    assert qdrant_client.delete_snapshot(collection, made.name)
    assert qdrant_client.list_snapshots(collection) == []


def test_deferred_points_are_hidden_from_every_read_until_the_status_is_green(qdrant_server: QdrantTestServer) -> None:
    client = QdrantClient(url=qdrant_server.url)
    qdrant_server.defer(3, collection="c", reads=2, status="grey")
    dense = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection("c", vectors_config={"dense": dense})
    client.create_payload_index("c", "even", models.PayloadSchemaType.BOOL)
    client.upsert("c", dense_points(10))
    newest = models.Filter(must=[models.HasIdCondition(has_id=[6, 9])])

    def shown() -> list[int]:
        query = client.query_points("c", query=[0.0, 1.0, 0.0, 0.0], using="dense", limit=1).points
        return [
            client.count("c", exact=True).count,
            client.count("c", count_filter=newest, exact=True).count,
            len(client.scroll("c", limit=100)[0]),
            len(client.scroll("c", newest)[0]),
            len(client.retrieve("c", [5, 6, 7])),
            sum(hit.count for hit in client.facet("c", "even", exact=True).hits),
            int(query[0].id),
        ]

    hidden, all_of_them = [7, 1, 7, 1, 2, 7, 6], [10, 2, 10, 2, 3, 10, 9]
    for _ in range(2):
        assert shown() == hidden
        info = client.get_collection("c")
        assert info.status == models.CollectionStatus.GREY
        assert info.update_queue is not None
        assert info.update_queue.deferred_points == 3
    assert client.get_collection("c").status == models.CollectionStatus.GREEN
    assert shown() == all_of_them
