"""Jobs that embed a collection anew, from one collection to another."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client.models import CreateAlias, CreateAliasOperation, Filter, SparseVector
from tokenizers import Tokenizer, models, pre_tokenizers

from pipelines import EmbeddingPipeline
from pipelines.errors import ConfigError, SinkError
from pipelines.sinks.qdrant.client import open_folder
from tests.pipelines.sources.qdrant.jobs import documents, job, run
from tests.qdrant_server.process import QdrantTestServer

PROSE = "She was running home. " * 30
ROWS: list[dict[str, Any]] = [
    *({"id": f"d{n}", "text": f"{PROSE} number {n}", "n": n, "tags": ["a", None]} for n in range(30)),
    {"id": "odd", "text": "short", "document_id": "mine", "payload": {"deep": 1}, "chunk_no": 7, "price": 1.0},
    {"id": "", "text": "without an id"},
]
MARK = "_fleetembed"


def word_tokenizer(folder: Path) -> str:
    """A tokenizer of words."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder / "tokenizer.json")


def points(client: QdrantClient, name: str) -> dict[Any, dict[str, Any]]:
    found, _ = client.scroll(name, limit=10_000, with_vectors=True)
    for point in found:
        for vector in (point.vector or {}).values() if isinstance(point.vector, dict) else ():
            if isinstance(vector, SparseVector):
                # The test server keeps the digits that it was sent, which say more than a float32.
                vector.values = np.array(vector.values, np.float32).tolist()
    return {point.id: {"payload": dict(point.payload or {}), "vector": point.vector} for point in found}


@pytest.mark.parametrize("chunked", [True, False])
def test_points_keep_ids_documents_chunks_and_payload(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient, chunked: bool
) -> None:
    chunking = {"tokenizer": word_tokenizer(tmp_path), "max_tokens": 64, "overlap": 8} if chunked else None
    sink = {"url": qdrant_server.url, "collection": "old"}
    first = run(tmp_path, "old", documents(tmp_path, ROWS), sink, chunking=chunking)
    assert first.rows["written"] == first.rows["chunked"] > (len(ROWS) if chunked else 0)
    source = {"qdrant": {"url": qdrant_server.url, "collection": "old", "page_points": 7}}
    again = run(tmp_path, "new", source, {**sink, "collection": "new"}, language="german")
    assert again.status == "complete" and again.documents == again.rows["written"] == first.rows["written"]

    old, new = points(qdrant_client, "old"), points(qdrant_client, "new")
    assert old.keys() == new.keys() and len(old) == first.rows["written"]
    for name, point in old.items():
        held, made = (one["payload"].pop(MARK) for one in (point, new[name]))
        assert held["content_hash"] == made["content_hash"] and held["fingerprint"] != made["fingerprint"]
        assert point["payload"] == new[name]["payload"]
    assert any(point["vector"] != new[name]["vector"] for name, point in old.items())

    third = run(tmp_path, "new", source, {**sink, "collection": "new"}, language="german")
    assert (third.rows["skipped"], third.rows["embedded"]) == (len(old), 0)


def test_a_job_is_refused_that_would_write_what_it_reads_or_cut_it_anew(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    sink = {"url": qdrant_server.url, "collection": "old"}
    run(tmp_path, "old", documents(tmp_path, ROWS[:3]), sink)
    alias = CreateAlias(collection_name="old", alias_name="live")
    qdrant_client.update_collection_aliases([CreateAliasOperation(create_alias=alias)])
    source = {"qdrant": {"url": qdrant_server.url.replace("127.0.0.1", "localhost"), "collection": "live"}}
    for name in ("old", "live"):
        refused = EmbeddingPipeline.from_config(job(tmp_path, "new", source, {**sink, "collection": name}))
        for act in (refused.plan, refused.run):
            with pytest.raises(
                ConfigError, match=r"sink\.0: it writes to the collection old that source\.qdrant reads"
            ):
                act()
    plan = EmbeddingPipeline.from_config(job(tmp_path, "new", source, {**sink, "collection": "new"})).plan()
    assert (plan.points, plan.files, plan.collection) == (3, 0, f"collection live at {source['qdrant']['url']}")

    # A text under a key of its own stays there, and is written under "text" too.
    qdrant_client.set_payload("old", {"doc": "a text"}, Filter())
    twice, new = {"qdrant": {**sink, "text": "doc"}}, {**sink, "collection": "new"}
    (told,) = EmbeddingPipeline.from_config(job(tmp_path, "new", twice, new)).plan().notices
    assert "text twice, under 'doc' as in the source and under 'text'" in told and "store_text: false" in told
    assert EmbeddingPipeline.from_config(job(tmp_path, "new", twice, {**new, "store_text": False})).plan().notices == []
    away = {**sink, "url": "http://127.0.0.1:9", "retry_seconds": 0.1}
    with pytest.raises(SinkError, match=r"look whether sink\.url is right, and whether the server runs$"):
        EmbeddingPipeline.from_config(job(tmp_path, "new", documents(tmp_path, ROWS[:3]), away)).plan()

    folder = {"path": str(tmp_path / "folder"), "collection": "a"}
    run(tmp_path, "folder", documents(tmp_path, ROWS[:3]), folder)
    same = job(tmp_path, "new", {"qdrant": folder}, {**folder, "collection": "b"})
    with pytest.raises(ConfigError, match="it writes to the folder that source"):
        EmbeddingPipeline.from_config(same).plan()
    with pytest.raises(ConfigError, match="new chunking needs the original source"):
        EmbeddingPipeline.from_config(job(tmp_path, "new", source, sink, chunking={"tokenizer": "x"}))


def test_dead_points_and_measured_lengths(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    sink = {"url": qdrant_server.url, "collection": "old"}
    run(tmp_path, "old", documents(tmp_path, ROWS[:20]), sink)
    gone = next(iter(points(qdrant_client, "old")))
    qdrant_client.delete_payload("old", ["text"], [gone])
    source = {"qdrant": {"url": qdrant_server.url, "collection": "old", "page_points": 4}}
    again = job(tmp_path, "new", source, {**sink, "collection": "new"}, errors={"max_rate": 0.1})
    again["embeddings"][0]["options"]["avg_len"] = "measure"
    report = EmbeddingPipeline.from_config(again).run()
    assert (report.rows["written"], report.rows["dead"], report.exit_code) == (19, 1, 3)
    assert f"point {gone}): read: NoText" in report.dead_samples[0]
    assert report.statistics["bm25"]["texts"] == 19 and "1 of 20 sampled points have no text" in str(report.notices)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_with_ray_and_two_readers_every_point_is_embedded_once(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    sink = {"url": qdrant_server.url, "collection": "old"}
    run(tmp_path, "old", documents(tmp_path, [{"id": f"d{n}", "text": f"text {n}"} for n in range(400)]), sink)
    source = {"qdrant": {"url": qdrant_server.url, "collection": "old", "page_points": 20, "readers": 2}}
    new = {**sink, "collection": "new"}
    report = run(tmp_path, "new", source, new, compute={"engine": "ray"})
    assert (report.engine, report.status, report.rows["written"], report.documents) == ("ray", "complete", 400, 400)
    assert points(qdrant_client, "new").keys() == points(qdrant_client, "old").keys()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_with_ray_a_folder_is_measured_and_read_by_workers_and_written_to_another_folder(tmp_path: Path) -> None:
    chunking = {"tokenizer": word_tokenizer(tmp_path), "max_tokens": 64, "overlap": 8}
    old, new = ({"path": str(tmp_path / name), "collection": "books"} for name in ("old", "new"))
    first = run(tmp_path, "old", documents(tmp_path, ROWS), old, chunking=chunking)
    again = job(tmp_path, "new", {"qdrant": old}, new, compute={"engine": "ray"})
    again["embeddings"][0]["options"]["avg_len"] = "measure"
    report = EmbeddingPipeline.from_config(again).run()
    assert (report.engine, report.status, report.rows["dead"]) == ("ray", "complete", 0)
    assert report.rows["embedded"] == report.statistics["bm25"]["texts"] == first.rows["written"]
    found = []
    for place in (old, new):
        with closing(open_folder(place["path"])) as client:
            found.append(points(client, "books"))
    assert found[0].keys() == found[1].keys() and len(found[0]) == first.rows["written"]
