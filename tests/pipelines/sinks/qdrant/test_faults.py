"""What the sink does when the server misbehaves."""

from __future__ import annotations

import pickle
from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models

from pipelines.errors import SinkError
from pipelines.rows import set_column
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.collection import DEFAULT_INDEXING_THRESHOLD, Collection
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.qdrant_server.faults import Fault
from tests.qdrant_server.fixtures import SECRET_KEY
from tests.qdrant_server.process import QdrantTestServer

pytestmark = pytest.mark.server

FACTS = rows.job()
COUNT = 100


def write(server: QdrantTestServer, *faults: Fault, **options: Any) -> Any:
    """Write rows through faults that begin after the collection is there; every point must end up there once."""
    sink = qdrant.opened(FACTS, url=server.url, batch_points=40, **options)
    server.clear()
    server.faults(faults)
    result = qdrant.write(sink, rows.table(FACTS, rows.documents(COUNT)))
    assert result.written == COUNT
    assert not result.rejected
    assert sink.finish(completed=True)["points"] == COUNT
    client = QdrantClient(url=server.url)
    assert sorted(qdrant.points(client)) == sorted((f"d{n}", 0) for n in range(COUNT))
    client.close()
    return result


@pytest.mark.parametrize(
    "fault",
    [
        Fault("429_wait", times=2),
        Fault("408", applied="all"),
        Fault("500", times=3, applied="half"),
        Fault("502_html", times=2),
        Fault("503", skip=1, times=2),
        Fault("drop", skip=1, applied="half"),
        Fault("drop", applied="all"),
        Fault("stall", seconds=3),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.applies}",
)
def test_a_passing_fault_costs_time_and_no_point(qdrant_server: QdrantTestServer, fault: Fault) -> None:
    assert write(qdrant_server, fault, timeout=1).retries >= (fault.times or 1)


def test_an_update_that_is_applied_though_not_reported_so_is_not_sent_again(qdrant_server: QdrantTestServer) -> None:
    assert write(qdrant_server, Fault("wait_timeout", applied="all", times=None)).retries == 0


def test_an_update_that_was_not_applied_is_sent_again(qdrant_server: QdrantTestServer) -> None:
    assert write(qdrant_server, Fault("wait_timeout", applied="half", times=2)).retries == 2


@pytest.mark.parametrize("kind", ["429_split", "400_too_large"])
def test_a_request_that_is_too_large_is_split(qdrant_server: QdrantTestServer, kind: Any) -> None:
    result = write(qdrant_server, Fault(kind, times=2))
    assert result.retries == 0
    sizes = [request.points for request in qdrant_server.requests("PUT", "/points")]
    assert sizes[:2] == [40, 20]


def test_the_wait_that_the_server_asks_for_is_kept(qdrant_server: QdrantTestServer) -> None:
    write(qdrant_server, Fault("429_wait", retry_after=2))
    first, second = (request.started for request in qdrant_server.requests("PUT", "/points")[:2])
    assert second - first >= 2


@pytest.mark.parametrize("kind", ["507", "500_disk_full"])
def test_a_full_server_ends_the_run_at_once(qdrant_server: QdrantTestServer, kind: Any) -> None:
    sink = qdrant.opened(FACTS, url=qdrant_server.url, batch_points=40)
    qdrant_server.clear()
    qdrant_server.inject(Fault(kind, skip=1, times=None))
    with pytest.raises(SinkError, match=r"upserting 40 points failed: 50.*points acknowledged before stay") as caught:
        qdrant.write(sink, rows.table(FACTS, rows.documents(COUNT)))
    assert len(qdrant_server.requests("PUT", "/points")) == 2
    assert qdrant.NAME in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert sink.finish(completed=False)["points"] == 40


def test_patience_ends_and_a_new_run_goes_on(qdrant_server: QdrantTestServer) -> None:
    sink = qdrant.opened(FACTS, url=qdrant_server.url, batch_points=40, retry_seconds=1)
    qdrant_server.inject(Fault("503", skip=1, times=None))
    table = rows.table(FACTS, rows.documents(COUNT))
    with pytest.raises(SinkError, match=r"tried for up to 1 s\): 503 Shard temporarily unavailable"):
        qdrant.write(sink, table)
    sink.finish(completed=False)
    qdrant_server.clear()
    again = qdrant.opened(FACTS, url=qdrant_server.url)
    assert qdrant.held(again, table) == [True] * 40 + [False] * 60


def test_one_row_that_the_server_refuses_goes_alone(qdrant_server: QdrantTestServer) -> None:
    facts = rows.job({"terms": rows.SPARSE})
    table = rows.table(facts, rows.documents(COUNT))
    bad = {"indices": [3, 3], "values": [1.0, 2.0]}
    terms = [bad if row == 57 else entry for row, entry in enumerate(table["terms"].to_pylist())]
    table = table.set_column(table.num_columns - 1, "terms", [pa.array(terms, rows.SPARSE.arrow_type)])
    sink = qdrant.opened(facts, url=qdrant_server.url)
    result = qdrant.write(sink, table)
    assert list(result.rejected) == [57]
    assert "unique" in result.rejected[57].message
    assert result.written == COUNT - 1
    assert sink.finish(completed=True)["points"] == COUNT - 1


def test_a_row_larger_than_a_request_may_be_goes_alone(qdrant_server: QdrantTestServer) -> None:
    table = rows.table(FACTS, rows.documents(7))
    texts = [text if row != 3 else "x" * 34_000_000 for row, text in enumerate(table["text"].to_pylist())]
    sink = qdrant.opened(FACTS, url=qdrant_server.url)
    result = qdrant.write(sink, set_column(table, "text", pa.array(texts, pa.large_string())))
    assert list(result.rejected) == [3] and "larger than allowed" in result.rejected[3].message
    assert sink.finish(completed=True)["points"] == 6


def test_a_run_that_fails_at_deleting_old_chunks_has_not_written_the_new_ones(qdrant_server: QdrantTestServer) -> None:
    facts = rows.job(chunked=True)
    short = rows.table(facts, [("d", "shorter", None)], chunks=2)
    qdrant.run(facts, rows.table(facts, [("d", "long", None)], chunks=4), url=qdrant_server.url)
    sink = qdrant.opened(facts, url=qdrant_server.url)
    qdrant_server.inject(Fault("507", method="POST", path_suffix="/points/delete"))
    with pytest.raises(SinkError, match="deleting chunks"):
        qdrant.write(sink, short)
    assert qdrant.held(sink, short) == [False, False]
    assert qdrant.write(sink, short).written == 2
    assert sink.finish(completed=True)["points"] == 2


def test_batches_keep_to_points_and_bytes(qdrant_server: QdrantTestServer) -> None:
    documents = [(f"d{n}", "x" * (40_000 if n % 10 == 0 else 10), None) for n in range(COUNT)]
    sink = qdrant.opened(FACTS, url=qdrant_server.url, batch_points=64, batch_mb=0.1)
    qdrant_server.clear()
    qdrant.write(sink, rows.table(FACTS, documents))
    requests = qdrant_server.requests("PUT", "/points")
    assert sum(request.points for request in requests) == COUNT
    assert max(request.bytes for request in requests) < 110_000
    assert max(request.points for request in requests) <= 64


def test_a_deleted_collection_ends_the_run(qdrant_server: QdrantTestServer) -> None:
    sink = qdrant.opened(FACTS, url=qdrant_server.url)
    qdrant_server.reset()
    with pytest.raises(SinkError, match="no such collection"):
        qdrant.write(sink, rows.table(FACTS, rows.documents(3)))
    assert "error" in sink.finish(completed=False)


def test_the_api_key_reaches_the_server_and_nothing_else(
    guarded_qdrant_server: QdrantTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded_qdrant_server.reset()
    url = guarded_qdrant_server.url
    with pytest.warns(UserWarning, match="insecure"):
        monkeypatch.setenv("VAULT_KEY", SECRET_KEY)
        sink = qdrant.opened(FACTS, url=url, api_key="${VAULT_KEY}")
        with closing(sink.connect()) as writer:
            assert writer.write(rows.table(FACTS, rows.documents(2))).written == 2
            for thing in (sink, writer, sink.finish(completed=True), vars(sink), vars(writer)):
                assert SECRET_KEY not in repr(thing)
        monkeypatch.setenv("VAULT_KEY", "wrong-s3cret")
        with pytest.raises(SinkError, match=r"401.*API key is missing or wrong") as caught:
            qdrant.opened(FACTS, url=url, api_key="${VAULT_KEY}")
        assert "wrong-s3cret" not in str(caught.value)


def threshold(server: QdrantTestServer) -> int | None:
    client = QdrantClient(url=server.url)
    config = client.get_collection(qdrant.NAME).config
    client.close()
    return config.optimizer_config.indexing_threshold


def test_a_bulk_load_switches_indexing_off_and_on_again(qdrant_server: QdrantTestServer) -> None:
    client = QdrantClient(url=qdrant_server.url)
    params = models.VectorParams(size=rows.DIM, distance=models.Distance.COSINE)
    chosen = models.OptimizersConfigDiff(indexing_threshold=12_345)
    client.create_collection(qdrant.NAME, vectors_config={"dense": params}, optimizers_config=chosen)
    client.close()
    for completed in (False, True):
        sink = qdrant.opened(FACTS, url=qdrant_server.url)
        assert threshold(qdrant_server) == 0
        figures = sink.finish(completed=completed)
        assert threshold(qdrant_server) == 12_345
    assert figures["status"] == "green"


def test_a_load_that_was_killed_is_undone_by_the_next_run(qdrant_server: QdrantTestServer) -> None:
    qdrant.run(FACTS, url=qdrant_server.url, bulk_load=False)
    before = threshold(qdrant_server)
    killed = qdrant.opened(FACTS, url=qdrant_server.url)
    qdrant.write(killed, rows.table(FACTS, rows.documents(3)))
    assert threshold(qdrant_server) == 0
    qdrant.opened(FACTS, url=qdrant_server.url)
    assert threshold(qdrant_server) == before


def test_a_server_without_collection_metadata_gets_its_default_back(qdrant_server: QdrantTestServer) -> None:
    killed = qdrant.opened(FACTS, url=qdrant_server.url)
    assert threshold(qdrant_server) == 0
    config = killed.config  # type: ignore[attr-defined]
    client = open_client(config)
    info = client.get_collection(qdrant.NAME)
    info.config.metadata = None
    assert Collection(client, config).restore_indexing(info)
    client.close()
    assert threshold(qdrant_server) == DEFAULT_INDEXING_THRESHOLD


def test_an_index_is_waited_for_as_long_as_there_is_patience(
    qdrant_server: QdrantTestServer, caplog: pytest.LogCaptureFixture
) -> None:
    qdrant.run(FACTS, rows.table(FACTS, rows.documents(COUNT)), url=qdrant_server.url)
    with closing(QdrantClient(url=qdrant_server.url)) as client:
        # COUNT points x 4 dimensions x 4 bytes are more than 1 kB
        client.update_collection(qdrant.NAME, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1))
        collection = Collection(client, qdrant.config(url=qdrant_server.url))
        assert collection.wait_until_indexed(limit=0) == "yellow"
        assert "still yellow after 0 s; the server goes on indexing" in caplog.text
        caplog.clear()
        assert collection.wait_until_indexed() == "green"
        assert not caplog.records


def test_bulk_load_can_be_forced_and_forbidden(qdrant_server: QdrantTestServer) -> None:
    qdrant.opened(FACTS, url=qdrant_server.url, bulk_load=False)
    before = threshold(qdrant_server)
    assert before != 0
    qdrant.run(FACTS, rows.table(FACTS, rows.documents(3)), url=qdrant_server.url)
    assert threshold(qdrant_server) == before
    forced = qdrant.opened(FACTS, url=qdrant_server.url, bulk_load=True)
    assert threshold(qdrant_server) == 0
    forced.finish(completed=True)
    assert threshold(qdrant_server) == before


def test_settings_and_payload_indexes_are_there_before_the_first_point(qdrant_server: QdrantTestServer) -> None:
    facts = rows.job(rows.ALL_KINDS, chunked=True)
    options: dict[str, Any] = {
        "quantization": "scalar",
        "shards": 3,
        "on_disk": True,
        "on_disk_payload": True,
        "replication_factor": 2,
    }
    qdrant.run(
        facts,
        rows.table(facts, rows.documents(2), chunks=2),
        url=qdrant_server.url,
        payload_indexes={"tag": "keyword", "n": "integer"},
        **options,
    )
    client = QdrantClient(url=qdrant_server.url)
    info = client.get_collection(qdrant.NAME)
    client.close()
    assert set(info.payload_schema) == {"tag", "n", "document_id", "_fleetembed.fingerprint"}
    params = info.config.params
    assert (params.shard_number, params.replication_factor, params.on_disk_payload) == (3, 2, True)
    assert isinstance(params.vectors, dict)
    assert params.vectors["dense"].on_disk is True
    assert params.vectors["tokens"].hnsw_config == models.HnswConfigDiff(m=0)
    assert isinstance(info.config.quantization_config, models.ScalarQuantization)
    paths = [(request.method, request.path.rpartition("/")[2]) for request in qdrant_server.requests("PUT")]
    assert paths.index(("PUT", "points")) > max(at for at, path in enumerate(paths) if path == ("PUT", "index"))
