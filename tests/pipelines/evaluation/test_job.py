"""What of a user's job is evaluated, and what is left out with a notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError, SourceError
from pipelines.evaluation.job import make_job
from pipelines.sinks.qdrant.config import QdrantSinkConfig

BM25 = {"name": "bm25", "model": "Qdrant/bm25"}
GONE = {"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2", "path": "/nowhere/minilm"}


def job(*embeddings: dict[str, Any], **changes: Any) -> JobConfig:
    base = {"source": {"path": "docs"}, "embeddings": list(embeddings), "sink": {"type": "parquet", "path": "out"}}
    return load_config({**base, **changes})


def sink_of(made: JobConfig) -> QdrantSinkConfig:
    sink = made.sink[0]
    assert isinstance(sink, QdrantSinkConfig) and len(made.sink) == 1
    return sink


def test_source_and_place_are_evaluations_own(tmp_path: Path) -> None:
    made, notices = make_job(job(BM25, compute={"block_rows": 7}), "my set", tmp_path)
    assert made.source.paths == [str(tmp_path / "corpus.jsonl")] and made.compute.block_rows == 7
    assert sink_of(made).place == f"my_set at {tmp_path / 'qdrant'}" and notices == []


@pytest.mark.parametrize("name", ["collection", "alias"])
def test_a_server_gets_a_collection_beside_the_jobs_own(name: str, tmp_path: Path) -> None:
    theirs = {"type": "qdrant", "url": "http://localhost:1", name: "docs", "store_text": False, "shards": 2}
    made, _ = make_job(job(BM25, sink=theirs), "scifact", tmp_path)
    assert (sink_of(made).collection, sink_of(made).shards) == ("docs-evaluate-scifact", 2)
    assert sink_of(made).alias is None
    assert sink_of(made).store_text


def test_a_model_without_files_is_left_out_with_all_that_needs_it(tmp_path: Path) -> None:
    own = {"name": "own", "model": {"path": str(tmp_path / "absent"), "family": "late_interaction"}}
    searches = {"hybrid": {"using": ["dense", "bm25"]}, "terms": {"using": "bm25"}}
    stages = {"stages": {"dense": {"threads": 1}, "bm25": {"threads": 1}}}
    made, notices = make_job(job(GONE, BM25, own, searches=searches, compute=stages), "x", tmp_path)
    assert [one.name for one in made.embeddings] == ["bm25"]
    assert list(made.searches) == ["terms"] and list(made.compute.stages) == ["bm25"]
    told = "\n".join(notices)
    assert "dense is left out" in told and "own is left out" in told and "'hybrid' is left out" in told


def test_pools_keep_their_placement_and_what_is_evaluated_of_them(tmp_path: Path) -> None:
    other = {"name": "other", "model": "Qdrant/bm25", "options": {"language": "german"}}
    compute = {
        "pools": {"text": ["bm25", "other", "dense"], "gone": ["lost"]},
        "stages": {"text": {"workers": 2, "threads": 3}, "gone": {"workers": 1}},
    }
    made, _ = make_job(job(BM25, other, GONE, {**GONE, "name": "lost"}, compute=compute), "x", tmp_path)
    assert made.compute.pools == {"text": ["bm25", "other"]}
    assert {name: (one.workers, one.threads) for name, one in made.compute.stages.items()} == {"text": (2, 3)}


def test_without_a_network_every_place_that_was_looked_at_is_said_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETEMBED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    dense = {"name": "dense", "model": "BAAI/bge-small-en-v1.5"}
    _, notices = make_job(job(BM25, dense), "x", tmp_path)
    (told,) = notices
    assert told.startswith(
        "dense is left out: model BAAI/bge-small-en-v1.5: its files are in none of the places tried:"
    )
    assert f"\n  - cache {tmp_path / 'cache'}" in told and "\n  - network: not tried, because HF_HUB_OFFLINE" in told
    assert "\nAllow the network once, or give a local folder with embeddings.1.path." in told
    with pytest.raises(SourceError, match=r"evaluated:\n  dense is left out: (.*\n)+    - network: not tried"):
        make_job(job(dense), "x", tmp_path)


def test_an_average_length_is_left_to_be_measured_over_the_data_set(tmp_path: Path) -> None:
    embedding = {**BM25, "options": {"avg_len": "measure"}}
    made, notices = make_job(job(embedding), "x", tmp_path)
    assert made.embeddings[0].measures_length and notices == []


def test_nothing_left_is_an_error_and_an_unknown_name_too(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no embedding can be evaluated:\n  dense is left out: "):
        make_job(job(GONE), "x", tmp_path)
    with pytest.raises(ConfigError, match=r"embeddings\.1\.model: "):
        make_job(job(BM25, {"name": "typo", "model": "Qdrant/bm52"}), "x", tmp_path)


def test_images_are_left_out(tmp_path: Path) -> None:
    made, notices = make_job(job(BM25, {"name": "clip", "model": "Qdrant/clip-ViT-B-32-vision"}), "x", tmp_path)
    assert [one.name for one in made.embeddings] == ["bm25"]
    assert notices == ["clip is left out: it embeds images, and the documents are texts"]
