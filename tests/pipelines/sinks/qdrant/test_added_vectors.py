"""Vectors that are added to the points of another job, in a collection that stays as it is."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from pipelines.errors import SinkError
from pipelines.sinks.base import JobFacts
from pipelines.sinks.provenance import provenance_of
from pipelines.sinks.qdrant.added_vectors import AddedVectorsSink, _additions
from pipelines.sinks.qdrant.batches import batches
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant_help import config, points, run
from tests.qdrant_server.process import QdrantTestServer

OLD = rows.job({"terms": rows.SPARSE})
ADDED = rows.job({name: rows.ALL_KINDS[name] for name in ("dense", "half", "tokens")}, fingerprint="f2")
WHOLE = rows.job(rows.ALL_KINDS, fingerprint="f2")


def opened(url: str, facts: JobFacts = ADDED, **options: Any) -> AddedVectorsSink:
    sink = AddedVectorsSink(config(url=url, **options), WHOLE, provenance_of(OLD), marks=True)
    sink.open(facts)
    return sink


def add(sink: AddedVectorsSink, table: pa.Table) -> Any:
    with closing(sink.connect()) as writer:
        return writer.write(table)


def held(sink: AddedVectorsSink, table: pa.Table) -> list[bool]:
    with closing(sink.connect()) as writer:
        return rows.held(writer, table)


def test_vectors_are_made_and_set_up_before_the_first_point_gets_one(
    qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    run(OLD, rows.table(OLD, rows.documents(20)), url=qdrant_server.url)
    qdrant_server.clear()
    sink = opened(qdrant_server.url, on_disk=True, quantization="scalar", batch_points=8)
    table = rows.table(ADDED, rows.documents(20))
    assert add(sink, table).written == 20 and held(sink, table) == [True] * 20
    assert sink.finish(completed=True) == {"collection": "books", "points": 20, "lacking": 0}
    if qdrant_server.scripted:
        changes = [(one.method, one.path.rpartition("/books")[2]) for one in qdrant_server.requests()]
        changes = [one for one in changes if one[0] in ("PUT", "PATCH") or "batch" in one[1]]
        names = [("PUT", f"/vectors/{name}") for name in ADDED.vectors]
        assert list(dict.fromkeys(changes)) == [("PATCH", ""), *names, ("POST", "/points/batch")]

    stored = qdrant_client.get_collection("books").config
    vectors: Any = stored.params.vectors
    assert vectors["dense"].on_disk and vectors["dense"].quantization_config.scalar.always_ram
    assert vectors["half"].datatype == models.Datatype.FLOAT16 and vectors["tokens"].hnsw_config.m == 0
    assert (stored.metadata or {})["fleetembed"] == provenance_of(WHOLE)
    run(WHOLE, rows.table(WHOLE, rows.documents(20)), url=qdrant_server.url)
    found = {name: point.vector for name, point in points(qdrant_client, vectors=True).items()}
    for (name, _), vector in found.items():
        text = {one[0]: one[1] for one in rows.documents(20)}[name]
        assert np.allclose(vector["dense"], rows.dense_of(text), atol=1e-6) and set(vector) == set(rows.ALL_KINDS)

    other = rows.job({"dense": replace(rows.DENSE, distance="dot")}, fingerprint="f2")
    with pytest.raises(SinkError, match=r"vector 'dense' has distance cosine, this job's has dot\. Give the embedding"):
        opened(qdrant_server.url, other)


def test_a_text_that_is_replaced_while_its_vectors_are_made_is_known_by_the_one_they_are_of(
    qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    before, after = [("d1", "first text", None)], [("d1", "second text", None)]
    run(OLD, rows.table(OLD, before), url=qdrant_server.url)
    sink = opened(qdrant_server.url)
    first, second = rows.table(ADDED, before), rows.table(ADDED, after)
    (point,) = points(qdrant_client).values()
    qdrant_client.set_payload("books", {"text": "second text"}, [point.id])
    add(sink, first)
    assert held(sink, second) == [False]
    add(sink, second)
    assert held(sink, second) == [True] and held(sink, first) == [False]


def test_additions_survive_the_way_over_grpc() -> None:
    (some,) = batches(rows.table(WHOLE, rows.documents(3)), WHOLE, points=10, megabytes=1, store_text=True)
    for operation in _additions(some, marks=True):
        there: Any = RestToGrpc.convert_update_operation(operation)
        assert type(GrpcToRest.convert_points_update_operation(there)) is type(operation)
