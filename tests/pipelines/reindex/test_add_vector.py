"""A collection gets the vectors of further embeddings in place, while it is searched and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from pipelines import EmbeddingPipeline
from pipelines.errors import ConfigError, SinkError
from pipelines.run.report.report import RunReport
from pipelines.search.searcher import Searcher
from tests.pipelines.reindex.conftest import Story, done, refused
from tests.pipelines.sources.qdrant.jobs import documents
from tests.pipelines.sources.qdrant.test_jobs import points, word_tokenizer
from tests.qdrant_server.faults import Fault
from tests.qdrant_server.process import QdrantTestServer

BM25 = {"name": "bm25", "model": "Qdrant/bm25"}
GERMAN = {"name": "german", "model": "Qdrant/bm25", "options": {"language": "german"}}
ROWS = [{"id": f"d{n}", "text": f"ein Haus number{n} im Garten. She was running home.", "n": n} for n in range(24)]
OURS = "_fleetembed"


class Docs:
    """A collection of English BM25 and the jobs that write to it."""

    def __init__(self, folder: Path, url: str, *, chunked: bool = False) -> None:
        self.folder, self.url = folder, url
        chunking = {"tokenizer": word_tokenizer(folder), "max_tokens": 8, "overlap": 0} if chunked else None
        self.source = documents(folder, ROWS)
        sink = {"type": "qdrant", "url": url, "collection": "docs", "batch_points": 8, "retry_seconds": 5}
        self.base: dict[str, Any] = {
            "corpus": "books",
            "sink": sink,
            "chunking": chunking,
            "compute": {"engine": "local", "block_rows": 10},
            "report": str(folder / "report.json"),
        }

    def embed(self, *embeddings: dict[str, Any], **keys: Any) -> RunReport:
        job = {**self.base, "source": self.source, "embeddings": list(embeddings), **keys}
        return EmbeddingPipeline.from_config(job).run()

    def adding_job(self, *embeddings: dict[str, Any], **keys: Any) -> dict[str, Any]:
        source = {"qdrant": {"url": self.url, "collection": "docs", "page_points": 7, "retry_seconds": 5}}
        return {
            **self.base,
            "source": source,
            "embeddings": list(embeddings),
            "reindex": {"mode": "add_vector"},
            **keys,
        }

    def adding(self, *embeddings: dict[str, Any], **keys: Any) -> EmbeddingPipeline:
        return EmbeddingPipeline.from_config(self.adding_job(*embeddings, **keys))


def test_points_get_the_vectors_that_a_job_of_all_embeddings_would_have_given_them(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    docs = Docs(tmp_path, qdrant_server.url, chunked=True)
    docs.embed(BM25)
    docs.embed(BM25, GERMAN, sink={**docs.base["sink"], "collection": "both"})
    before = points(qdrant_client, "docs")
    plan = docs.adding(BM25, GERMAN).plan()
    assert list(plan.models) == ["german"] and points(qdrant_client, "docs") == before

    # Half way through the server takes nothing more, so that the run fails; the next one goes on from there.
    qdrant_server.inject(Fault("507", method="POST", path_suffix="/points/batch", skip=1, times=None))
    with pytest.raises(SinkError, match="quota is used up"):
        docs.adding(BM25, GERMAN).run()
    qdrant_server.clear()
    report = docs.adding(BM25, GERMAN).run()
    assert 0 < report.rows["embedded"] < len(before) and report.fingerprint == plan.fingerprint
    assert report.sinks[0]["lacking"] == 0
    # No vector that was there is sent again.
    assert not qdrant_server.requests("PUT", "/points")

    assert points(qdrant_client, "docs") == points(qdrant_client, "both")
    added, made = ((qdrant_client.get_collection(name).config) for name in ("docs", "both"))
    assert (added.metadata or {})["fleetembed"] == (made.metadata or {})["fleetembed"]
    assert added.params.sparse_vectors == made.params.sparse_vectors
    later = docs.embed(BM25, GERMAN)
    assert (later.rows["skipped"], later.rows["embedded"]) == (len(before), 0)
    assert docs.adding(BM25, GERMAN).run().rows["embedded"] == 0
    with pytest.raises(SinkError, match="'german', which this job does not make") as caught:
        docs.embed(BM25)
    told = str(caught.value)
    assert "'german' was added in place to what this collection was filled with: list what makes it in this" in told
    assert "`fleetembed reindex rollback`" in told and "delete" not in told
    with Searcher.from_config(docs.adding(BM25, GERMAN).config) as searcher:
        assert searcher.search("Häuser", using=["german"], limit=1)


def test_points_that_change_go_or_have_no_text_meanwhile(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    docs = Docs(tmp_path, qdrant_server.url)
    docs.embed(BM25)
    pipeline = docs.adding(BM25, GERMAN, errors={"max_rate": 0.2})
    first, second, third, fourth = list(points(qdrant_client, "docs"))[:4]
    qdrant_client.delete_payload("docs", ["text"], [first])
    assert pipeline.run().exit_code == 3
    # A text that is set by others does not have the vectors of another text for long.
    qdrant_client.set_payload("docs", {"text": "Bäume"}, [second])
    qdrant_client.set_payload("docs", {"price": 5}, [third])
    qdrant_client.delete("docs", [fourth])
    old = points(qdrant_client, "docs")
    pipeline.run()
    check = json.loads((tmp_path / "report-check.json").read_text())
    assert check["sinks"][0]["lacking"] == 1
    new = points(qdrant_client, "docs")
    assert [name for name in new if new[name]["vector"] != old[name]["vector"]] == [second]
    assert new[third]["payload"]["price"] == 5 and first in new and fourth not in new


def test_a_point_that_is_deleted_before_its_vectors_come_is_no_error(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.sinks.qdrant import added_vectors

    docs = Docs(tmp_path, qdrant_server.url)
    docs.embed(BM25)
    gone = list(points(qdrant_client, "docs"))[3]
    make = added_vectors._additions

    def delete_first(some: Any, *, marks: bool) -> Any:
        qdrant_client.delete("docs", [gone])
        return make(some, marks=marks)

    monkeypatch.setattr(added_vectors, "_additions", delete_first)
    report = docs.adding(BM25, GERMAN).run()
    assert (report.rows["dead"], report.sinks[0]["lacking"], report.sinks[0]["points"]) == (0, 0, 23)


def test_a_foreign_collection_gets_vectors_and_keeps_its_payloads(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    docs = Docs(tmp_path, qdrant_server.url)
    dense = {"dense": models.VectorParams(size=2, distance=models.Distance.COSINE)}
    qdrant_client.create_collection("docs", vectors_config=dense)
    some = [models.PointStruct(id=n, vector={"dense": [1, n]}, payload={"text": f"haus {n}"}) for n in range(20)]
    qdrant_client.upsert("docs", some)
    before = points(qdrant_client, "docs")
    report = docs.adding(BM25).run()
    assert (report.rows["embedded"], report.sinks[0]["lacking"]) == (20, 0)
    after = points(qdrant_client, "docs")
    assert all(after[name]["payload"] == before[name]["payload"] for name in before)
    assert all(after[name]["vector"]["dense"] == before[name]["vector"]["dense"] for name in before)
    with Searcher.from_config(docs.adding(BM25).config) as searcher:
        assert searcher.search("7", using=["bm25"], limit=1)[0].payload["text"] == "haus 7"
    qdrant_client.upsert("docs", [models.PointStruct(id=20, vector={"dense": [1, 1]}, payload={"title": "no text"})])
    again = docs.adding(BM25, errors={"max_rate": 0.1}).run()
    assert (again.rows["embedded"], again.rows["skipped"], again.rows["dead"]) == (0, 20, 1)
    assert again.sinks[0]["lacking"] == 1 and again.exit_code == 3

    qdrant_client.create_collection("unnamed", vectors_config=dense["dense"])
    sink = {**docs.base["sink"], "collection": "unnamed"}
    with pytest.raises(SinkError, match="has an unnamed vector"):
        docs.adding(BM25, source={"qdrant": {"url": docs.url, "collection": "unnamed"}}, sink=sink).plan()


def test_what_cannot_be_added_is_refused(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient
) -> None:
    docs = Docs(tmp_path, qdrant_server.url)
    docs.embed(BM25)
    old = {**BM25, "options": {"language": "french"}}
    for embeddings, error, message in (
        ([GERMAN], ConfigError, "has the vector 'bm25', which no embedding here makes"),
        ([BM25], ConfigError, "has all of their vectors"),
        ([old, GERMAN], SinkError, "was made by another job: vector 'bm25' was made by the model .* other files or"),
        ([BM25, {**GERMAN, "options": {"avg_len": "measure"}}], ConfigError, "a number for avg_len"),
    ):
        with pytest.raises(error, match=message):
            docs.adding(*embeddings).run()
    words = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig())
    qdrant_client.create_vector_name("docs", "german", words)
    with pytest.raises(SinkError, match="a vector 'german' that no job wrote down"):
        docs.adding(BM25, GERMAN).run()
    for key, value, message in (
        ("sink", {**docs.base["sink"], "collection": "other"}, "the one sink must be what source.qdrant reads"),
        ("sink", {**docs.base["sink"], "deletions": "sweep"}, "no point is deleted"),
        ("source", docs.source, "source.qdrant must name the collection"),
    ):
        with pytest.raises(ConfigError, match=message):
            docs.adding(BM25, GERMAN, **{key: value})
    with QdrantTestServer(version="1.17.3") as server:
        olden = Docs(tmp_path, server.url)
        olden.embed(BM25)
        with pytest.raises(SinkError, match=r"its server is Qdrant 1\.17\.3, and the first .* is 1\.18"):
            olden.adding(BM25, GERMAN).plan()


def test_the_command_adds_to_what_an_alias_names_and_takes_it_back(story: Story) -> None:
    config = story.config("v1")
    done("run", config)
    done("switch", config, "--unverified")
    job = json.loads(config.read_text())
    job["source"] = {"qdrant": {"url": story.server.url, "collection": "docs"}}
    job["embeddings"].append(GERMAN)
    job["reindex"] = {"mode": "add_vector"}
    adding = story.folder / "add.yaml"
    adding.write_text(json.dumps(job))
    name = story.alias
    assert name is not None
    before = points(story.client, name)
    assert f"a run adds german to the points of {name} in place: 20 lack it" in " ".join(done("plan", adding).split())
    told = done("run", adding)
    assert f"all points of {name} have german; there is nothing to switch" in told
    assert "pass 1: the points that lack german" in told and told.count("complete in") == 1
    assert "pass 2, for texts that changed meanwhile: 0 embedded of 20 read" in told
    for command, said in (
        ("verify", "nothing was verified"),
        ("switch", "nothing was switched"),
        ("status", "there is no alias to tell of"),
        ("clean", "nothing was cleaned"),
    ):
        told = done(command, adding)
        assert said in told and "there is nothing to switch" in told and story.alias == name
    after = points(story.client, name)
    assert all(set(point["vector"]) == {"bm25", "german"} for point in after.values())
    assert "would delete german" in done("rollback", adding, "--dry-run")
    told = refused("rollback", adding, code=2)
    assert "would delete german" in told and "give --yes" in told and points(story.client, name) == after
    assert "deleted german" in done("rollback", adding, "--yes")
    for options in ([], ["--yes"], ["--dry-run"]):
        assert f"done already: {name} has no vector german" in done("rollback", adding, *options)
    assert points(story.client, name) == before
    done("run", config)
    assert story.report("v1")["rows"]["skipped"] == 20
    assert "alias" in refused("plan", adding, "--set", "sink.alias=other", code=2)
