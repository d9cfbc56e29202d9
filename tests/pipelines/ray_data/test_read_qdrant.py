"""Which points of a collection a read gives, and what it says of one that is not as it was; without a Ray."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models

from embedders.arrow import SPARSE_TYPE
from pipelines.config.collection import CollectionConfig
from pipelines.errors import ConfigError, SourceError
from pipelines.ray_data.read_qdrant import QdrantDatasource, read_qdrant
from tests.qdrant_server import QdrantTestServer

pytestmark = pytest.mark.server

NAME, COUNT = "mixed", 50
DOT = models.Distance.DOT
LATE = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
VECTORS = {
    "d": models.VectorParams(size=2, distance=DOT),
    "late": models.VectorParams(size=2, distance=DOT, multivector_config=LATE),
    "bytes": models.VectorParams(size=2, distance=DOT, datatype=models.Datatype.UINT8),
    "half": models.VectorParams(size=2, distance=DOT, datatype=models.Datatype.FLOAT16),
}


def point(number: int) -> models.PointStruct:
    """A point that has some of the vectors."""
    vectors: dict[str, Any] = {}
    if number % 2:
        vectors["d"] = [1.0, float(number)]
    if number % 3 == 0:
        vectors["late"] = [[float(number), 0.0]] * (1 + number % 4)
    if number % 5 == 0:
        vectors["terms"] = models.SparseVector(indices=[number, number + 7], values=[1.0, 2.0])
    if number % 7 == 0:
        vectors |= {"bytes": [number, 2], "half": [0.5, 0.25]}
    name = number if number % 2 else str(uuid.UUID(int=number))
    return models.PointStruct(id=name, vector=vectors, payload={"n": number})


@pytest.fixture
def client(qdrant_server: QdrantTestServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.url, check_compatibility=False)) as opened:
        opened.create_collection(
            NAME, vectors_config=VECTORS, sparse_vectors_config={"terms": models.SparseVectorParams()}
        )
        opened.upsert(NAME, [point(number) for number in range(COUNT)], wait=True)
        yield opened


def source(server: QdrantTestServer, collection: str = NAME, **keys: Any) -> QdrantDatasource:
    arguments = {key: keys.pop(key) for key in ("filter", "with_vectors") if key in keys}
    config = CollectionConfig(collection=collection, url=server.url, retry_seconds=2, **keys)
    return QdrantDatasource(config, **arguments)


def read(opened: QdrantDatasource, tasks: int = 3) -> pa.Table:
    return pa.concat_tables([block for task in opened.get_read_tasks(tasks) for block in task()])


def test_points_come_once_with_the_vectors_that_they_have(
    qdrant_server: QdrantTestServer, client: QdrantClient
) -> None:
    alias = models.CreateAlias(collection_name=NAME, alias_name="alias")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    ways: list[dict[str, Any]] = [
        {"page_points": 3},
        {"page_mb": 0.001, "collection": "alias"},
        {"prefer_grpc": True, "grpc_port": qdrant_server.grpc_port},
    ]
    for way in ways:
        table = read(source(qdrant_server, **way))
        rows = {row["payload"]: row for row in table.to_pylist()}
        assert len(rows) == table.num_rows == COUNT
        types = [
            ("d", pa.list_(pa.float32(), 2)),
            ("late", pa.list_(pa.list_(pa.float32(), 2))),
            ("terms", SPARSE_TYPE),
        ]
        types += [("bytes", pa.list_(pa.uint8(), 2)), ("half", pa.list_(pa.float16(), 2))]
        assert all(table.schema.field(name).type == kind for name, kind in types)
        for number in range(COUNT):
            row, wanted = rows[f'{{"n": {number}}}'], point(number)
            assert row["id"] == str(wanted.id)
            terms = wanted.vector.pop("terms", None)  # type: ignore[union-attr]
            assert row["terms"] == (terms and {"indices": terms.indices, "values": terms.values})
            assert {name: row[name] for name in VECTORS if row[name] is not None} == wanted.vector
    some = read(source(qdrant_server, filter="n>=45", with_vectors=["d"]))
    assert some.column_names == ["id", "d", "payload"] and some.num_rows == 5
    client.create_collection("empty", vectors_config=VECTORS)
    assert read(source(qdrant_server, "empty")).schema.names == ["id", *VECTORS, "payload"]


def test_a_collection_that_is_another_one_meanwhile_is_told_of(
    qdrant_server: QdrantTestServer, client: QdrantClient
) -> None:
    opened = source(qdrant_server)
    client.delete_collection(NAME)
    with pytest.raises(SourceError, match=r"there is no such collection, or it was deleted meanwhile\)$"):
        read(opened)
    client.create_collection(NAME, vectors_config={"d": models.VectorParams(size=3, distance=DOT)})
    client.upsert(NAME, [models.PointStruct(id=1, vector={"d": [1.0, 2.0, 3.0]})], wait=True)
    with pytest.raises(SourceError, match="the vectors 'd' are not those that the collection had when the read began"):
        read(opened)


def test_arguments_that_do_not_fit_are_told(qdrant_server: QdrantTestServer, client: QdrantClient) -> None:
    with pytest.raises(ConfigError, match="with_vectors: give True, False, or names of vectors, not None"):
        source(qdrant_server, with_vectors=None)
    with pytest.raises(ConfigError, match=r"payload_schema: give a pyarrow.schema, or a dict such as"):
        read_qdrant(NAME, url=qdrant_server.url, payload_schema={"n": int})  # type: ignore[dict-item]
