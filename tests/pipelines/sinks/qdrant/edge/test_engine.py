"""What the engine edge does that the engine local cannot: indexes, and failures of an engine in Rust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge
from qdrant_client import models

from pipelines.errors import SinkError
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sinks.qdrant.edge import engine, indexing, store
from pipelines.sinks.qdrant.edge.errors import EngineError
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant.edge.engines import NAME, engines

FACTS = rows.job()


def test_a_graph_of_quantized_vectors_finds_what_an_exact_search_finds(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    # More than 10 MB, from where on there is a graph.
    vectors = random.standard_normal((1300, 2048)).astype(np.float32)
    client: Any = open_folder(str(tmp_path / "an index"), "edge")
    int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    client.create_collection(
        NAME,
        vectors_config=models.VectorParams(size=2048, distance=models.Distance.DOT),
        quantization_config=models.ScalarQuantization(scalar=int8),
    )
    client.upsert(NAME, models.Batch(ids=list(range(1300)), vectors=vectors.tolist(), payloads=None))
    assert client.get_collection(NAME).indexed_vectors_count == 0
    client.build_indexes(NAME)
    assert client.get_collection(NAME).indexed_vectors_count == 1300
    query = random.standard_normal(2048).astype(np.float32)
    best = np.argsort(-(vectors @ query))[:10].tolist()
    exact = client.query_points(NAME, query=query, limit=10, search_params=models.SearchParams(exact=True)).points
    assert [point.id for point in exact] == best
    near = client.query_points(NAME, query=query, limit=10, search_params=models.SearchParams(hnsw_ef=400)).points
    assert len({point.id for point in near} & set(best)) >= 8
    client.close()


def test_an_index_that_cannot_be_built_loses_no_point(tmp_path: Path) -> None:
    (tmp_path / "no shard").mkdir()
    with pytest.raises(EngineError, match=r"no shard could not be built: .*; all points are there"):
        indexing.build_indexes(tmp_path / "no shard")


def test_a_run_whose_index_cannot_be_built_is_complete_and_the_next_one_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = rows.table(FACTS, rows.documents(5))
    # No collection is too small for a process of its own.
    monkeypatch.setattr(engine, "INDEXING_THRESHOLD", 0)
    built: list[Path] = []

    def fail(folder: Path) -> None:
        raise EngineError("it was killed")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "build_indexes", fail)
        assert qdrant.run(FACTS, table, path=str(tmp_path))["status"] == "not indexed"
    assert "building its indexes failed: it was killed" in caplog.text
    monkeypatch.setattr(engine, "build_indexes", lambda folder: (indexing.build_indexes(folder), built.append(folder)))
    for _ in range(2):
        assert qdrant.run(FACTS, path=str(tmp_path)) == {"collection": qdrant.NAME, "points": 5}
    assert built == [tmp_path / "shards" / "1"]


def test_a_panic_of_the_engine_is_an_error_and_the_folder_opens_again(tmp_path: Path) -> None:
    with engines(tmp_path, 3) as opened:
        # What the checks keep away from it.
        empty = edge.UpdateOperation.upsert_points([edge.Point(9, {"tokens": [[]]})])
        client: Any = opened.edge
        with pytest.raises(EngineError, match=r"panicked at updating points: .*run again"):
            client._client._writes.do(NAME, [empty])
        opened.reopen()
        assert opened.edge.count(NAME).count == 3
        opened.write(4)
        assert opened.edge.count(NAME).count == 4


def test_a_full_disk_is_told_of_before_the_engine_is_killed_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = qdrant.opened(FACTS, path=str(tmp_path), engine="edge")
    qdrant.write(sink, rows.table(FACTS, rows.documents(3)))
    with monkeypatch.context() as patched:
        patched.setattr(store, "RESERVE", 1 << 60)
        with pytest.raises(SinkError, match=r"the disk of .* is full: .* make room, and run again"):
            qdrant.write(sink, rows.table(FACTS, rows.documents(5)))
        sink.finish(completed=False)
        with pytest.raises(SinkError, match="is full"):
            qdrant.opened(FACTS, path=str(tmp_path))
    assert qdrant.run(FACTS, rows.table(FACTS, rows.documents(5)), path=str(tmp_path))["points"] == 5


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2, "collections": {}}', '{"format": 1}'])
def test_a_damaged_record_of_the_collections_is_named(tmp_path: Path, content: str) -> None:
    qdrant.run(FACTS, rows.table(FACTS, rows.documents(1)), path=str(tmp_path), engine="edge")
    (tmp_path / "_edge.json").write_text(content)
    with pytest.raises(SinkError, match="cannot be opened as a Qdrant folder"):
        qdrant.opened(FACTS, path=str(tmp_path))
    assert (tmp_path / "_edge.json").read_text() == content


def test_a_collection_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    # As a process leaves it that is killed between the shard and the record of it.
    open_folder(str(tmp_path), "edge").close()
    shard = tmp_path / "shards" / "1"
    shard.mkdir(parents=True)
    config = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=3, distance=edge.Distance.Dot))
    edge.EdgeShard.create(str(shard), config).close()
    assert qdrant.run(FACTS, rows.table(FACTS, rows.documents(2)), path=str(tmp_path))["points"] == 2
    client = open_folder(str(tmp_path))
    client.create_collection("other", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.delete_collection(qdrant.NAME)
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["2"]
    assert [one.name for one in client.get_collections().collections] == ["other"]
    with pytest.raises(ValueError, match="Collection books not found"):
        client.count(qdrant.NAME)
    client.close()
