"""Collections that are copied with their vectors, by jobs without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from qdrant_client import QdrantClient, models

from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.folder import FolderSink
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant_help import NAME, config
from tests.pipelines.sinks.qdrant_help import run as write_points
from tests.pipelines.sources.qdrant.jobs import documents
from tests.pipelines.sources.qdrant.test_jobs import ROWS, points, word_tokenizer
from tests.pipelines.sources.vectors.test_jobs import BM25, job, run
from tests.qdrant_server.faults import Fault
from tests.qdrant_server.process import QdrantTestServer


def written(folder: Path) -> pa.Table:
    return pads.dataset(folder, format="parquet").to_table().sort_by("id")


def metadata(client: QdrantClient, name: str) -> Any:
    return (client.get_collection(name).config.metadata or {})["fleetembed"]


def test_the_collection_of_a_job_is_copied_to_a_collection_and_to_parquet(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    # The last document has no terms, so that Qdrant gives no vector of it.
    source = documents(tmp_path, [*ROWS[:-1], {"id": "stop", "text": "the of"}])
    chunking = {"tokenizer": word_tokenizer(tmp_path), "max_tokens": 64, "overlap": 8}
    keys: dict[str, Any] = {"embeddings": [BM25], "corpus": "books", "chunking": chunking}
    old, new = ({"type": "qdrant", "url": qdrant_server.url, "collection": name} for name in ("old", "new"))
    direct, copied = ({"type": "parquet", "path": str(tmp_path / name)} for name in ("direct", "copied"))
    first = run(tmp_path, source, [old, direct], **keys)

    collection = {"url": qdrant_server.url, "collection": "old", "page_points": 7, "vectors": True}
    plan = job(tmp_path, {"qdrant": collection}, [new, copied]).plan()
    assert (plan.fingerprint, plan.points) == (first.fingerprint, first.rows["written"])
    assert plan.models["bm25"]["model"] == "Qdrant/bm25"
    report = run(tmp_path, {"qdrant": collection}, [new, copied])
    assert (report.rows["embedded"], report.rows["dead"]) == (0, 0)
    assert report.rows["written"] == first.rows["written"]
    assert points(qdrant_client, "new") == points(qdrant_client, "old")
    assert metadata(qdrant_client, "new") == metadata(qdrant_client, "old")
    made, found = (written(tmp_path / name) for name in ("direct", "copied"))
    # A point does not say how many chunks its document has.
    for name in set(made.column_names) - {"chunk_count"}:
        assert found[name].to_pylist() == made[name].to_pylist(), name
    assert found.schema.remove_metadata() == made.schema.remove_metadata()

    assert run(tmp_path, {"qdrant": collection}, [new, copied]).rows["skipped"] == first.rows["written"]
    later = run(tmp_path, source, new, **keys)
    assert (later.rows["skipped"], later.rows["embedded"]) == (first.rows["written"], 0)
    stranger = next(iter(points(qdrant_client, "old")))
    qdrant_client.set_payload("old", {"fingerprint": "another"}, [stranger], key="_fleetembed")
    again = run(tmp_path, {"qdrant": collection}, new, errors={"max_rate": 0.1})
    assert again.rows["dead"] == 1 and "OtherJob" in again.dead_samples[0]


def test_all_kinds_of_vectors_are_copied_through_a_folder_and_back(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    facts = rows.job(rows.ALL_KINDS)
    write_points(facts, rows.table(facts, rows.documents(40)), url=qdrant_server.url)
    folder = {"path": str(tmp_path / "folder"), "collection": "kept"}
    away = {"url": qdrant_server.url, "collection": NAME, "vectors": True, "page_mb": 0.01}
    qdrant_server.clear()
    assert run(tmp_path, {"qdrant": away}, {"type": "qdrant", **folder}).rows["written"] == 40
    # A page of 10 kB has about ten points with these vectors.
    assert not qdrant_server.scripted or 4 <= len(qdrant_server.requests("POST", "/points/scroll")) <= 40

    back = {"type": "qdrant", "url": qdrant_server.url, "collection": "back"}
    assert run(tmp_path, {"qdrant": {**folder, "vectors": True}}, back).rows["written"] == 40
    before, after = points(qdrant_client, NAME), points(qdrant_client, "back")
    assert before.keys() == after.keys()
    for name, point in before.items():
        assert after[name]["payload"] == point["payload"]
        assert after[name]["vector"]["terms"] == point["vector"]["terms"]
        for vector in ("dense", "half", "tokens"):
            # Those of a cosine collection are scaled once more.
            assert np.allclose(after[name]["vector"][vector], point["vector"][vector], atol=1e-6)
    assert metadata(qdrant_client, "back") == metadata(qdrant_client, NAME)
    params = [qdrant_client.get_collection(name).config.params for name in (NAME, "back")]
    assert params[0] == params[1]
    assert isinstance(FolderSink(config(**folder)).check(facts)["points"], int)


def test_a_foreign_collection_with_an_unnamed_vector_is_copied(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    qdrant_client.create_collection("foreign", vectors_config=models.VectorParams(size=2, distance="Dot"))
    name = "0a0a0a0a-0000-4000-8000-000000000001"
    payloads: dict[int | str, dict[str, Any]] = {1: {"page": "a"}, 7: {}, name: {"text": "t", "n": {"deep": [1]}}}
    some = [models.PointStruct(id=one, vector=[1.0, 2.0], payload=payload) for one, payload in payloads.items()]
    qdrant_client.upsert("foreign", some)
    collection = {"url": qdrant_server.url, "collection": "foreign", "vectors": True}
    new = {"type": "qdrant", "url": qdrant_server.url, "collection": "new"}
    parquet = {"type": "parquet", "path": str(tmp_path / "out"), "layout": "qdrant"}
    if qdrant_server.scripted:
        qdrant_server.inject(Fault("503", method="POST", path_suffix="/points/scroll", times=1))
    report = run(tmp_path, {"qdrant": collection}, [new, parquet])
    assert (report.rows["written"], report.rows["dead"]) == (3, 0)
    found = points(qdrant_client, "new")
    assert found.keys() == payloads.keys() and all(
        one["vector"] in ([1.0, 2.0], {"": [1.0, 2.0]}) for one in found.values()
    )
    for one, payload in payloads.items():
        assert payload.items() <= found[one]["payload"].items()
    assert written(tmp_path / "out")["vector"].to_pylist() == [[1.0, 2.0]] * 3

    for key, value, message in (
        ("embeddings", [BM25], r"embeddings: .*source\.qdrant\.vectors brings the vectors"),
        ("chunking", {"tokenizer": "x"}, "new chunking needs the original source"),
    ):
        with pytest.raises(ConfigError, match=message):
            job(tmp_path, {"qdrant": collection}, new, **{key: value})
    with pytest.raises(ConfigError, match="text: of no use beside vectors"):
        job(tmp_path, {"qdrant": {**collection, "text": "page"}}, new)
