"""What a datasink of a collection writes, at a server that fails and at one that does not, and in a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from qdrant_client import QdrantClient, models

from embedders.arrow import SPARSE_TYPE, dense_array
from pipelines.errors import ConfigError, SinkError, TooManyErrorsError
from pipelines.ray_data.qdrant_datasink import QdrantDatasink
from pipelines.rows import ERROR_TYPE
from tests.pipelines.ray_data.driven import drive
from tests.qdrant_server import Fault, QdrantTestServer

pytestmark = pytest.mark.server

NAME = "books"
ROWS = 300


def table(rows: int = ROWS, first: int = 0, dim: int = 4) -> pa.Table:
    """Rows with an id, a vector and two keys of a payload."""
    numbers = np.arange(first, first + rows)
    vectors = np.random.default_rng(first).standard_normal((rows, dim)).astype(np.float32)
    texts = [f"text {number}" for number in numbers]
    return pa.table({"id": numbers, "text": texts, "tag": numbers % 3, "dense": dense_array(vectors)})


def loose(**changes: Any) -> pa.Table:
    """The same rows with vectors as lists of any length; ``changes`` are of row 57."""
    rows = table(100).to_pylist()
    rows[57] |= changes
    return pa.Table.from_pylist(rows)


@pytest.fixture
def client(qdrant_server: QdrantTestServer) -> Iterator[QdrantClient]:
    with closing(QdrantClient(url=qdrant_server.url, check_compatibility=False)) as opened:
        yield opened


def sink(server: QdrantTestServer, **arguments: Any) -> QdrantDatasink:
    return QdrantDatasink(NAME, url=server.url, **{"batch_points": 100, "retry_seconds": 20, **arguments})


def test_points_have_the_rows_payload_and_nothing_else(qdrant_server: QdrantTestServer, client: QdrantClient) -> None:
    datasink = sink(qdrant_server, quantization="scalar", payload_indexes={"tag": "integer"}, metadata={"by": "me"})
    for _ in range(2):
        report = drive(datasink, [table(200)], [table(100, 200)], schema=table().schema)
        assert (report.rows, report.written, report.dead, report.total) == (300, 300, 0, 300)
    assert report.seconds > 0 and "300 of 300 rows written" in str(report)
    (point,) = client.retrieve(NAME, [7], with_vectors=True)
    assert point.payload == {"text": "text 7", "tag": 1}
    info = client.get_collection(NAME)
    assert info.config.metadata is not None
    assert {key: value for key, value in info.config.metadata.items() if value is not None} == {"by": "me"}
    assert info.payload_schema.keys() == {"tag"}
    assert isinstance(info.config.quantization_config, models.ScalarQuantization)
    assert info.config.optimizer_config.indexing_threshold != 0


def test_all_kinds_of_vectors_over_grpc_and_json(qdrant_server: QdrantTestServer, client: QdrantClient) -> None:
    rows = pa.table(
        {
            "id": ["a", "b", "c"],
            "dense": [[1.0, 0.0], [0.0, 1.0], None],
            "tokens": [[[1.0, 0.0]], None, [[0.0, 1.0], [1.0, 0.0]]],
            "terms": pa.array([{"indices": [5], "values": [0.5]}, None, None], SPARSE_TYPE),
            "payload": ['{"n": 1}', '{"n": {"m": [1, null, "ü"]}}', None],
        }
    )
    vectors = {"dense": {"distance": "dot"}, "tokens": "late", "terms": {"idf": True}}
    for grpc in (False, True):
        qdrant_server.reset()
        way = {"prefer_grpc": True, "grpc_port": qdrant_server.grpc_port} if grpc else {}
        report = drive(sink(qdrant_server, vectors=vectors, **way), [rows])
        assert report.written == 3 and not report.dead
        found = {point.payload["document_id"]: point for point in client.scroll(NAME, with_vectors=True)[0]}
        assert found["b"].payload == {"document_id": "b", "n": {"m": [1, None, "ü"]}}
        assert found["b"].vector == {"dense": [0.0, 1.0]}
        assert found["c"].vector == {"late": [[0.0, 1.0], [1.0, 0.0]]}
        assert found["a"].vector["terms"] == models.SparseVector(indices=[5], values=[0.5])
    params = client.get_collection(NAME).config.params
    assert params.vectors["dense"].distance == models.Distance.DOT
    assert params.sparse_vectors["terms"].modifier == models.Modifier.IDF


def test_a_vector_may_be_called_as_a_column_is(qdrant_server: QdrantTestServer, client: QdrantClient) -> None:
    datasink = sink(qdrant_server, vectors={"dense": {"name": "text"}})
    assert drive(datasink, [table(5)]).written == 5
    (point,) = client.retrieve(NAME, [1], with_vectors=["text"])
    assert point.payload == {"text": "text 1", "tag": 1} and len(point.vector["text"]) == 4
    with pytest.raises(ConfigError, match="cannot be called 'payload'"):
        drive(sink(qdrant_server, vectors={"dense": "payload"}), [table(5)])


def test_one_vector_without_a_name(qdrant_server: QdrantTestServer, client: QdrantClient) -> None:
    params = models.VectorParams(size=4, distance=models.Distance.EUCLID)
    client.create_collection(NAME, vectors_config=params)
    assert drive(sink(qdrant_server, vectors={"dense": {"name": ""}}), [loose()]).written == 100
    assert len(client.retrieve(NAME, [1], with_vectors=True)[0].vector) == 4


@pytest.mark.parametrize(
    "fault",
    [
        Fault("429_wait"),
        Fault("429_split"),
        Fault("400_too_large", times=2),
        Fault("500", applied="half", times=2),
        Fault("502_html"),
        Fault("drop", applied="half"),
        Fault("wait_timeout", applied="all", times=None),
        Fault("wait_timeout", applied="half", times=2),
        Fault("stall", seconds=3),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.applies}",
)
def test_a_passing_fault_costs_no_row(qdrant_server: QdrantTestServer, client: QdrantClient, fault: Fault) -> None:
    qdrant_server.inject(fault)
    report = drive(sink(qdrant_server, timeout=1), [table()])
    assert (report.written, report.dead, report.total) == (ROWS, 0, ROWS)
    sent_again = fault.kind not in ("429_split", "400_too_large") and fault.times is not None
    assert report.retries == (fault.times if sent_again else 0)


@pytest.mark.parametrize("kind", ["507", "500_disk_full", "503"])
def test_a_server_that_takes_no_more_ends_the_write(
    qdrant_server: QdrantTestServer, client: QdrantClient, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    qdrant_server.inject(Fault(kind, skip=1, times=None))
    datasink = sink(qdrant_server, retry_seconds=1)
    with pytest.raises(SinkError, match=r"points that were acknowledged stay, and to write the dataset again"):
        drive(datasink, [table()])
    assert datasink.report is not None and datasink.report.total == 100
    assert datasink.report.error is not None and "upserting 100 points failed" in str(datasink.report)
    assert (
        "the write failed; points that were acknowledged stay" in caplog.text and "(100 are there now)" in caplog.text
    )
    assert client.get_collection(NAME).config.optimizer_config.indexing_threshold != 0
    qdrant_server.clear()
    assert drive(datasink, [table()]).total == ROWS and datasink.report.error is None


def test_bad_rows_go_to_the_dead_letters(qdrant_server: QdrantTestServer, tmp_path: Path) -> None:
    rows = loose(dense=[1.0], text="short").to_pylist()
    rows[58]["id"] = None
    rows[59]["text"] = "x" * 34_000_000
    errors = [None] * 99 + [{"stage": "embed", "type": "Poison", "message": "no"}]
    block = pa.Table.from_pylist(rows).append_column("error", pa.array(errors, ERROR_TYPE))
    datasink = sink(qdrant_server, dead_letters=str(tmp_path / "dead"), max_error_rate=0.1)
    report = drive(datasink, [block])
    assert (report.rows, report.written, report.dead, report.total) == (100, 96, 4, 96)
    assert dict(report.reasons) == {"InvalidVector": 1, "InvalidId": 1, "Refused": 1, "Poison": 1}
    letters = {row["origin"]: row for row in pq.read_table(tmp_path / "dead").to_pylist()}
    assert sorted(letters) == [f"dataset, task 0, row {row}" for row in (57, 58, 59, 99)]
    assert letters["dataset, task 0, row 57"]["document_id"] == "57"
    assert "has 1 numbers, not 4" in letters["dataset, task 0, row 57"]["error"]["message"]
    assert "larger than allowed" in letters["dataset, task 0, row 59"]["error"]["message"]


def test_too_many_bad_rows_fail_the_write_and_the_good_ones_stay(qdrant_server: QdrantTestServer) -> None:
    datasink = sink(qdrant_server, max_error_rate=0.001)
    with pytest.raises(TooManyErrorsError, match=r"1 of 100 rows could not be written.*99 good rows.*dead_letters="):
        drive(datasink, [loose(dense=None)])
    assert datasink.report is not None and datasink.report.total == 99 and datasink.report.error is None
    hopeless = pa.concat_tables([table(dim=3)] * 4)
    with pytest.raises(TooManyErrorsError, match="all of the first 1,200 rows of a task cannot be written"):
        drive(sink(qdrant_server, vectors={"dense": {"size": 4}}), [hopeless])


def test_a_collection_that_does_not_fit_is_refused(qdrant_server: QdrantTestServer, client: QdrantClient) -> None:
    drive(sink(qdrant_server), [table()])
    with pytest.raises(SinkError, match=r"vector 'dense' has dim 4, the dataset's has 3.*vectors=\.\.\."):
        drive(sink(qdrant_server), [table(dim=3)], schema=table(dim=3).schema)
    renamed = table().rename_columns(["id", "text", "tag", "other"])
    with pytest.raises(
        SinkError, match=r"it lacks the vector 'other', which the dataset has; it has the vector 'dense'"
    ):
        drive(sink(qdrant_server), [renamed])
    client.update_collection(NAME, metadata={"fleetembed": {"fingerprint": "f"}})
    with pytest.raises(SinkError, match="was filled by a fleetembed job"):
        drive(sink(qdrant_server), [table()])
    told = table().replace_schema_metadata({"fleetembed": '{"fingerprint": "f"}'})
    assert drive(sink(qdrant_server), [told]).written == ROWS


def test_blocks_of_several_datasets_keep_what_each_has(qdrant_server: QdrantTestServer, client: QdrantClient) -> None:
    """Ray tells the schema of the first of datasets that a union puts together."""
    first, other = table(2).append_column("w", table(2)["dense"]), table(1, 2).rename_columns(["id", "b", "c", "dense"])
    for tasks in ([[first], [other]], [[first, other]]):
        report = drive(sink(qdrant_server), *tasks, schema=first.schema)
        assert (report.written, report.total) == (3, 3)
        points = {point.id: point for point in client.scroll(NAME, with_vectors=True)[0]}
        assert points[1].payload == {"text": "text 1", "tag": 1} and points[2].payload == {"b": "text 2", "c": 2}
        assert [sorted(points[id].vector) for id in (1, 2)] == [["dense", "w"], ["dense"]]
    with pytest.raises(
        ConfigError, match="a block of the dataset has vectors in 'w', and the first one had none there"
    ):
        drive(QdrantDatasink("others", url=qdrant_server.url), [other], [first], schema=other.schema)
    with pytest.raises(ConfigError, match="id: the dataset has no column 'id'"):
        drive(sink(qdrant_server), [first], [other.drop_columns(["id"])], schema=first.schema)


@pytest.mark.parametrize("grpc", [False, True])
def test_a_collection_of_bytes_gets_what_the_server_would_make_of_the_numbers(
    qdrant_server: QdrantTestServer, client: QdrantClient, grpc: bool
) -> None:
    params = models.VectorParams(size=2, distance=models.Distance.DOT, datatype=models.Datatype.UINT8)
    client.create_collection(NAME, vectors_config={"v": params})
    rows = pa.table({"id": [1, 2], "v": [[-3.0, 300.0], [7.9, 1.0]]})
    drive(sink(qdrant_server, prefer_grpc=grpc, grpc_port=qdrant_server.grpc_port), [rows])
    points = {point.id: point.vector["v"] for point in client.scroll(NAME, with_vectors=True)[0]}
    assert points == {1: [0, 255], 2: [7, 1]}


def test_what_made_the_vectors_is_taken_from_the_dataset(qdrant_server: QdrantTestServer, client: QdrantClient) -> None:
    told = table().replace_schema_metadata({"fleetembed": '{"fingerprint": "f"}'})
    drive(sink(qdrant_server), [told], schema=told.schema)
    metadata = client.get_collection(NAME).config.metadata
    assert metadata is not None and metadata["fleetembed"] == {"fingerprint": "f"}


@pytest.mark.parametrize("known", [True, False], ids=["at the start", "in a task"])
def test_indexing_is_off_while_an_empty_collection_is_loaded(
    qdrant_server: QdrantTestServer, client: QdrantClient, known: bool
) -> None:
    datasink = sink(qdrant_server)
    datasink.on_write_start(table().schema if known else None)
    assert client.collection_exists(NAME) == known
    if not known:
        context: Any = type("Context", (), {"task_idx": 0, "kwargs": {}})
        datasink.write([table()], context)
    assert client.get_collection(NAME).config.optimizer_config.indexing_threshold == 0
    datasink.on_write_failed(RuntimeError("lost"))
    assert client.get_collection(NAME).config.optimizer_config.indexing_threshold == 10_000
    client.update_collection(NAME, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0))
    assert drive(sink(qdrant_server, bulk_load=False), [table()]).total == ROWS
    # Whoever owns the collection chose so.
    assert client.get_collection(NAME).config.optimizer_config.indexing_threshold == 0


def test_an_empty_dataset_and_a_server_that_is_away(qdrant_server: QdrantTestServer, client: QdrantClient) -> None:
    report = drive(sink(qdrant_server), [], [table(0)])
    assert (report.rows, report.total) == (0, None) and not client.collection_exists(NAME)
    with pytest.raises(SinkError, match="look whether url is right, and whether the server runs"):
        drive(QdrantDatasink(NAME, url="http://127.0.0.1:1", retry_seconds=0), [table()])


def test_arguments_that_do_not_fit_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    for arguments, message in (
        ({}, "give exactly one of url"),
        ({"url": "u", "writers": 3}, "no argument 'writers'; beside its own there are api_key, batch_mb"),
        ({"url": "u", "api_key": "secret"}, "a key must not stand in a configuration"),
        ({"url": "u", "collection": ""}, "collection is empty"),
        ({"url": "u", "max_error_rate": 2}, "max_error_rate 2 is not from 0 to 1"),
        ({"url": "u", "quantization": "tiny"}, "quantization: Input should be 'scalar'"),
        ({"url": "u", "dead_letters": ""}, "dead_letters is empty"),
        ({"url": "u", "id": None}, "id is a text, not None"),
        ({"url": "u", "vectors": 5}, "vectors: give the names of columns, not 5"),
        ({"url": "u", "vectors": {"d": 5}}, r"vectors\['d'\]: give the vector's name, or a dict of keys, not 5"),
        ({"url": "u", "payload": [5]}, "payload: give the names of columns"),
        ({"url": "u", "metadata": "mine"}, "metadata is a dict, not 'mine'"),
        ({"url": "u", "max_error_rate": None}, "max_error_rate None is not from 0 to 1"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            QdrantDatasink(**{"collection": NAME, **arguments})  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)
