"""Collections in the memory of a process: filled by its jobs, and searched by its searchers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from rich.console import Console

from pipelines import ConfigError, EmbeddingPipeline, RunReport, Searcher, SinkError
from pipelines.sinks.qdrant.memory import MemoryLease, memory_client


def job(folder: Path, collection: str, **more: Any) -> dict[str, Any]:
    rows = ({"id": f"{number}", "text": f"word{number} of a text"} for number in range(100))
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "source": {"path": str(folder / "corpus.jsonl"), "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "qdrant", "path": ":memory:", "collection": collection},
        "report": str(folder / "report.json"),
        **more,
    }


def run(config: dict[str, Any]) -> RunReport:
    return EmbeddingPipeline.from_config(config).run(console=Console(quiet=True))


def test_what_a_job_fills_in_memory_is_found_until_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = job(tmp_path, "found")
    with pytest.raises(SinkError, match=r"found at :memory: does not exist yet; run the job in this process first"):
        Searcher.from_config(config)
    assert EmbeddingPipeline.from_config(config).plan().sinks[0]["points"] == 0
    first = run(config)
    assert (first.engine, first.rows["written"]) == ("local", 100)
    assert run(config).rows["skipped"] == 100
    with Searcher.from_config(config) as searcher:
        assert searcher.search("word7", limit=1)[0].payload["document_id"] == "7"
    with Searcher.open("found", path=":memory:") as again:
        assert again.search("word8", limit=1)[0].payload["document_id"] == "8"
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.jsonl", "report.json", "report.html"}
    memory_client().delete_collection("found")
    with pytest.raises(SinkError, match="does not exist yet"):
        Searcher.from_config(config)


def test_a_client_of_the_callers_own_is_searched_and_stays_open(tmp_path: Path) -> None:
    run(job(tmp_path, "own"))
    with Searcher.open("own", client=memory_client()) as searcher:
        assert searcher.search("word9", limit=1)[0].payload["document_id"] == "9"
    mine = QdrantClient(":memory:")
    mine.create_collection("mine", sparse_vectors_config={"bm25": models.SparseVectorParams()})
    with Searcher.open("mine", client=mine, models={"bm25": "Qdrant/bm25"}) as searcher:
        assert searcher.search("word9") == []
    assert mine.count("mine").count == 0
    with pytest.raises(ConfigError, match="give a client, or a url or path to connect to, and not both"):
        Searcher.open("mine", client=mine, path=str(tmp_path))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"compute": {"engine": "ray"}},
            "a collection in :memory: is in this process, which other processes, as Ray's",
        ),
        ({"compute": {"address": "10.0.0.1:6379"}}, "leave compute.engine and compute.address out"),
        (
            {"sink": {"type": "qdrant", "path": ":memory:", "collection": "x", "engine": "edge"}},
            "leave engine out, or give a folder as path",
        ),
    ],
)
def test_what_memory_cannot_be_is_said_before_anything_starts(tmp_path: Path, more: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        EmbeddingPipeline.from_config(job(tmp_path, "refused", **more))


def test_one_run_at_a_time_holds_the_memory() -> None:
    one, other = MemoryLease(), MemoryLease()
    assert one.create("first") and not other.create("second") and other.read() == "first"
    one.remove()
    assert other.read() is None
