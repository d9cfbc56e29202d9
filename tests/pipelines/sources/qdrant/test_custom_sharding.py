"""A collection whose points are sharded by keys that come with them: read whole, and never written to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from pipelines import EmbeddingPipeline
from pipelines.errors import SinkError
from tests.pipelines.sources.qdrant.jobs import documents, read, run
from tests.pipelines.sources.qdrant.jobs import job as job_of
from tests.pipelines.sources.qdrant.test_jobs import points
from tests.pipelines.sources.qdrant.test_read import IDS
from tests.qdrant_server import QdrantTestServer

pytestmark = pytest.mark.server
KEYS: list[int | str] = ["tenant a", "tenant b", 7]


@pytest.fixture
def sharded(qdrant_server: QdrantTestServer, qdrant_client: QdrantClient) -> str:
    """A collection named books with a third of its points in each shard; returns the server's URL."""
    if not qdrant_server.scripted:
        pytest.skip("custom sharding needs a server in distributed mode")
    qdrant_client.create_collection(
        "books",
        vectors_config={"old": models.VectorParams(size=2, distance=models.Distance.DOT)},
        sharding_method=models.ShardingMethod.CUSTOM,
    )
    for number, key in enumerate(KEYS):
        qdrant_client.create_shard_key("books", key)
        some = [
            models.PointStruct(id=one, vector={"old": [1.0, 0.5]}, payload={"text": f"text of {one}"})
            for one in IDS[number :: len(KEYS)]
        ]
        qdrant_client.upsert("books", some, shard_key_selector=key)
    return qdrant_server.url


def test_all_points_of_all_shards_are_read_once(
    tmp_path: Path, sharded: str, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    with pytest.raises(UnexpectedResponse, match="Shard key not specified"):
        qdrant_client.upsert("books", [models.PointStruct(id=1, vector={})])
    assert {point.shard_key for point in qdrant_client.scroll("books", limit=1000)[0]} == set(KEYS)
    assert qdrant_client.count("books", shard_key_selector=7).count == len(IDS[2::3])

    place: dict[str, Any] = {"url": sharded, "collection": "books", "page_points": 5}
    for way in ({}, {"prefer_grpc": True, "grpc_port": qdrant_server.grpc_port}):
        assert sorted(row["id"] for row in read({**place, **way})) == sorted(map(str, IDS))
    report = run(tmp_path, "new", {"qdrant": place}, {"url": sharded, "collection": "new"})
    assert (report.rows["written"], report.rows["dead"]) == (len(IDS), 0)
    assert "has custom sharding: all of its shards are read" in str(report.notices)
    assert points(qdrant_client, "new").keys() == set(IDS)


def test_a_job_that_would_write_there_is_refused_by_its_plan(tmp_path: Path, sharded: str) -> None:
    sink = {"url": sharded, "collection": "books"}
    rows = [{"id": "d1", "text": "a text"}]
    pipeline = EmbeddingPipeline.from_config(job_of(tmp_path, "into", documents(tmp_path, rows), sink))
    added = job_of(tmp_path, "add", {"qdrant": sink}, sink, reindex={"mode": "add_vector"})
    for one in (pipeline, EmbeddingPipeline.from_config(added)):
        for act in (one.plan, one.run):
            with pytest.raises(SinkError, match=r"books.* has custom sharding: it takes points with a shard key alone"):
                act()
