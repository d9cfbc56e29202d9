"""The same calls over gRPC and over REST, by qdrant-client: equal answers, and errors that say the same."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from pydantic_core import to_json
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from tests.qdrant_server import Fault, QdrantTestServer
from tests.qdrant_server.fixtures import READER_KEY, SECRET_KEY

pytestmark = pytest.mark.server
CODES = grpc.StatusCode
UUIDS = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(3)]


def client_of(server: QdrantTestServer, key: str | None = None, *, over_grpc: bool = True) -> QdrantClient:
    return QdrantClient(
        url=server.url,
        api_key=key,
        prefer_grpc=over_grpc,
        grpc_port=server.grpc_port or 0,
        timeout=30,
        check_compatibility=False,
    )


@pytest.fixture
def both(qdrant_server: QdrantTestServer) -> Iterator[list[QdrantClient]]:
    """A client over REST and one over gRPC, of one server."""
    with closing(client_of(qdrant_server, over_grpc=False)) as rest, closing(client_of(qdrant_server)) as other:
        yield [rest, other]


def filled(client: QdrantClient, name: str) -> list[Any]:
    """Make a collection by all calls that write; returns what they answered."""
    max_sim = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    client.create_collection(
        name,
        vectors_config={
            "dense": models.VectorParams(size=4, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16),
            "late": models.VectorParams(size=2, distance=models.Distance.DOT, multivector_config=max_sim),
        },
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        shard_number=2,
        hnsw_config=models.HnswConfigDiff(m=8),
        metadata={"made": {"by": ["a", None, 1.5]}},
    )
    client.update_collection(
        name,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
        vectors_config={"late": models.VectorParamsDiff(on_disk=True)},
        metadata={"made": None, "kept": 7},
    )
    answers: list[Any] = [client.create_payload_index(name, "n", models.PayloadSchemaType.INTEGER)]
    config = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=2, distance=models.Distance.EUCLID))
    answers += [client.create_vector_name(name, "later", config), client.delete_vector_name(name, "later")]
    points = [
        models.PointStruct(
            id=one,
            vector={
                "dense": [1.0, n, 0.125, 0.0],
                "late": [[1.0, n], [0.5, 0.25]],
                "bm25": models.SparseVector(indices=[1, 2**32 - 1 - n], values=[0.5, n + 1]),
            },
            payload={"n": n, "deep": {"text": "ä", "list": [1, None, {"x": True}]}, "huge": 2**60 + 1},
        )
        for n, one in enumerate([0, 5, 2**64 - 1, *UUIDS])
    ]
    answers.append(client.upsert(name, points))
    inserted = models.PointStruct(id=5, vector={}, payload={"n": -1})
    answers.append(client.upsert(name, [inserted], update_mode=models.UpdateMode.INSERT_ONLY))
    answers.append(client.set_payload(name, {"more": 1}, [0], key="deep"))
    answers.append(client.update_vectors(name, [models.PointVectors(id=5, vector={"dense": [0.0, 0.0, 0.0, 1.0]})]))
    answers += client.batch_update_points(
        name,
        [
            models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload={"n": 9}, points=[UUIDS[0]])),
            models.DeleteOperation(delete=models.PointIdsList(points=[UUIDS[1]])),
        ],
    )
    third = models.Filter(must=[models.HasIdCondition(has_id=[UUIDS[2]])])
    answers.append(client.delete(name, models.FilterSelector(filter=third)))
    return [one.status for one in answers]


def seen(client: QdrantClient, name: str) -> list[Any]:
    """What all calls that read answer."""
    over = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gt=0))])
    fused: dict[str, Any] = {
        "prefetch": [
            models.Prefetch(query=[1.0, 0.0, 0.0, 0.0], using="dense", limit=3),
            models.Prefetch(query=models.SparseVector(indices=[1], values=[1.0]), using="bm25", filter=over, limit=3),
        ],
        "query": models.RrfQuery(rrf=models.Rrf(k=3, weights=[2.0, 1.0])),
        "with_payload": ["n"],
    }
    return [
        client.get_collection(name),
        client.collection_exists(name),
        client.count(name, over),
        client.scroll(name, limit=2, with_vectors=True),
        client.scroll(name, limit=9, offset=2**64 - 1, with_payload=["deep"], with_vectors=["bm25"]),
        client.retrieve(name, [UUIDS[0], 5, 77], with_vectors=True),
        client.query_points(name, query=[[1.0, 1.0]], using="late", query_filter=over, with_vectors=True),
        client.query_points(name, **fused),
        client.query_batch_points(name, [models.QueryRequest(**fused, limit=1)]),
        client.facet(name, "n"),
    ]


def plain(answer: Any) -> Any:
    """An answer as JSON, with the digits that a float32 has: over gRPC all vectors and scores are such."""
    return json.loads(to_json(answer), parse_float=lambda digits: round(float(digits), 5))


def test_what_is_written_and_read_over_grpc_is_what_is_over_rest(
    qdrant_server: QdrantTestServer, both: list[QdrantClient]
) -> None:
    rest, other = both
    assert filled(rest, "one") == filled(other, "two")
    here, there = (seen(client, "one") for client in both)
    assert here[0] == there[0] == other.get_collection("two")
    for one, two, three in zip(here[1:], there[1:], seen(other, "two")[1:], strict=True):
        assert plain(one) == plain(two) == plain(three)
    alias = models.CreateAlias(collection_name="two", alias_name="live")
    assert other.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    for client in both:
        assert [one.alias_name for one in client.get_aliases().aliases] == ["live"]
        assert {one.name for one in client.get_collections().collections} == {"one", "two"}
        assert client.get_collection_aliases("two") == client.get_aliases()
    assert other.info().version == rest.info().version
    assert [[point.id for point in client.scroll("two", with_payload=False)[0]] for client in both] == [
        [0, 5, 2**64 - 1, UUIDS[0]]
    ] * 2
    assert other.delete_collection("two") and not rest.collection_exists("two")
    if qdrant_server.scripted:
        calls = {(one.method, one.path, one.protocol) for one in qdrant_server.requests()}
        assert {("PUT", "/collections/one", "http"), ("PUT", "/collections/two", "grpc")} <= calls


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_keys_are_asked_for_and_one_of_them_reads_alone(guarded_qdrant_server: QdrantTestServer) -> None:
    guarded_qdrant_server.reset()
    for key, code in ((None, CODES.UNAUTHENTICATED), ("guess", CODES.UNAUTHENTICATED)):
        with closing(client_of(guarded_qdrant_server, key)) as client:
            for call in (client.get_collections, client.info):
                with pytest.raises(grpc.RpcError, match="API key") as refused:
                    call()
                assert refused.value.code() == code
    with closing(client_of(guarded_qdrant_server, READER_KEY)) as reader:
        assert reader.get_collections().collections == []
        with pytest.raises(grpc.RpcError, match="Write access") as refused:
            reader.create_collection("x", vectors_config={})
        assert refused.value.code() == CODES.PERMISSION_DENIED
    with closing(client_of(guarded_qdrant_server, SECRET_KEY)) as client:
        assert client.create_collection("x", vectors_config={})


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("400_too_large", CODES.INVALID_ARGUMENT),
        ("408", CODES.DEADLINE_EXCEEDED),
        ("429_split", CODES.RESOURCE_EXHAUSTED),
        ("500", CODES.INTERNAL),
        ("502_html", CODES.UNAVAILABLE),
        ("503", CODES.UNAVAILABLE),
        ("507", CODES.RESOURCE_EXHAUSTED),
        ("drop", CODES.UNAVAILABLE),
    ],
)
def test_faults_strike_calls_over_grpc(
    qdrant_server: QdrantTestServer, both: list[QdrantClient], kind: Any, code: Any
) -> None:
    client = both[1]
    client.create_collection("f", vectors_config={})
    qdrant_server.inject(Fault(kind, applied="all"))
    with pytest.raises(grpc.RpcError, match="StatusCode") as failed:
        client.upsert("f", [models.PointStruct(id=1, vector={})])
    assert failed.value.code() == code
    assert client.count("f").count == 1
    assert [one.fault for one in qdrant_server.requests("PUT", "/points")] == [kind]


def test_limits_waits_and_what_is_not_there(qdrant_server: QdrantTestServer, both: list[QdrantClient]) -> None:
    client = both[1]
    with pytest.raises(grpc.RpcError, match="Collection `f` doesn't exist") as failed:
        client.count("f")
    assert failed.value.code() == CODES.NOT_FOUND
    client.create_collection("f", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    with pytest.raises(grpc.RpcError, match="already exists") as failed:
        client.create_collection("f", vectors_config={})
    assert failed.value.code() == CODES.ALREADY_EXISTS
    with pytest.raises(grpc.RpcError) as failed:
        client.upsert("f", [models.PointStruct(id=1, vector=[1.0])])
    assert failed.value.code() == CODES.INVALID_ARGUMENT
    qdrant_server.faults([Fault("429_wait", retry_after=7), Fault("wait_timeout")])
    with pytest.raises(ResourceExhaustedResponse) as throttled:
        client.upsert("f", [models.PointStruct(id=1, vector=[1.0, 2.0])])
    assert throttled.value.retry_after_s == 7
    late = client.upsert("f", [models.PointStruct(id=1, vector=[1.0, 2.0])])
    assert late.status.value == "wait_timeout"
    assert client.upsert("f", [models.PointStruct(id=1, vector=[1.0, 2.0])], wait=False).status.value == "acknowledged"
    qdrant_server.inject(Fault("stall", seconds=1))
    started = time.monotonic()
    assert client.upsert("f", [models.PointStruct(id=2, vector=[1.0, 2.0])]).status.value == "completed"
    assert time.monotonic() - started >= 1
    # Larger than what gRPC takes unless it is told otherwise, both ways.
    client.upsert("f", [models.PointStruct(id=n, vector=[1.0, 2.0], payload={"t": "x" * 500_000}) for n in range(20)])
    assert sum(len((point.payload or {})["t"]) for point in client.scroll("f", limit=20)[0]) == 10_000_000
