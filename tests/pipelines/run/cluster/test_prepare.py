"""What nodes are told of a job's models, and what they answer, without a Ray."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from embedders.errors import ModelFilesError
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.embed.checked import JobEmbedders, remembered
from pipelines.embed.chunking import load_tokenizer
from pipelines.embed.job_models import JobModels, job_models, look_for_models
from pipelines.errors import ConfigError
from pipelines.run.cluster.prepare import NodeWork, _describe_troubles
from pipelines.run.placement.pools import Pool
from pipelines.run.stages.embed import EmbedStage
from pipelines.run.stages.held import with_codes
from pipelines.run.stages.stage import Resources
from pipelines.run.tally import Tally
from tests.model_fixtures import write_synthetic_model

SINK = {"type": "parquet", "path": "out"}


def described(*embeddings: dict[str, Any], **further: Any) -> JobModels:
    config = load_config({"source": {"path": "in.jsonl"}, "embeddings": list(embeddings), "sink": SINK, **further})
    return job_models(config, JobEmbedders().load(config))


def troubles(models: JobModels) -> list[str]:
    return [trouble for _, trouble in look_for_models(models) if trouble is not None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_synthetic_model(tmp_path / "model")


@pytest.fixture
def bucket(folder: Path) -> Any:
    """A synthetic model in a store that only this process has."""
    filesystem = fsspec.filesystem("memory")
    filesystem.put(f"{folder}/", "/bucket/mine/", recursive=True)
    yield filesystem
    filesystem.rm("/bucket", recursive=True)


def test_the_models_of_a_job_are_small_to_send_and_compared_by_their_files(folder: Path) -> None:
    own = {"name": "dense", "model": {"path": str(folder), "pooling": "mean"}}
    models = described(own, {"name": "bm25", "model": "Qdrant/bm25"}, chunking={"tokenizer": str(folder)})
    assert models.count == 3
    assert len(pickle.dumps(models)) < 8192
    without = [model for model, _ in look_for_models(models.without({"dense"}))]
    assert without == ["bm25 (Qdrant/bm25)", "chunking.tokenizer"]
    looked = list(look_for_models(models))
    assert looked == [("dense (own model)", None), ("bm25 (Qdrant/bm25)", None), ("chunking.tokenizer", None)]
    graph = bytearray((folder / "model.onnx").read_bytes())
    graph[-200:-196] = b"\0\0\0\0"
    (folder / "model.onnx").write_bytes(graph)
    (folder / "special_tokens_map.json").unlink()
    (told,) = troubles(models)
    assert told.startswith(f"embeddings.0: there is another model at {folder}: model.onnx has sha256 ")
    assert "; special_tokens_map.json is missing here, has sha256 " in told
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"hello"', '"hullo"'))
    told = troubles(models)[1]
    assert told.startswith("chunking.tokenizer: machine ") and f" has another tokenizer at {tokenizer} than the" in told
    shutil.rmtree(folder)
    gone, no_tokenizer = troubles(models)
    assert gone == f"embeddings.0: there is no folder {folder}"
    assert no_tokenizer.startswith(f"chunking.tokenizer: '{folder}' is no folder or file here")


def test_nodes_that_say_the_same_are_named_together() -> None:
    works = [NodeWork(f"10.0.0.{number} (abc)") for number in range(4)]
    for work in works[:2]:
        work.take("dense (m)", "no network")
    works[2].take("dense (m)", None)
    works[2].take("dense (m)", "another model")
    message = _describe_troubles(works)
    assert message.startswith(
        "3 of 4 nodes cannot run the job's models:\n- nodes 10.0.0.0 (abc), 10.0.0.1 (abc): no network\n"
        "- node 10.0.0.2 (abc): another model\nA node without network"
    )


def test_a_stage_refuses_a_model_whose_fingerprint_is_another(folder: Path) -> None:
    own = {"name": "dense", "model": {"path": str(folder), "pooling": "mean"}}
    models = described(own)
    pool = Pool("dense", tuple(models.embeddings.values()), Resources(threads=1))
    rows = with_codes(pa.table({"id": ["a"], "text": ["hello"], "error": pa.nulls(1)}), np.zeros((1, 1), np.uint8))
    with EmbedStage(pool, Tally(), models.fingerprints).open() as work:
        assert next(work(iter([rows])))["dense"].null_count == 0
    refused = pytest.raises(ModelFilesError, match=rf"^machine .* has another model at {folder} than the one that the")
    with EmbedStage(pool, Tally(), {"dense": "0" * 64}).open() as work, refused:
        next(work(iter([rows])))


def test_a_custom_model_and_a_tokenizer_may_be_at_a_url(folder: Path, bucket: Any) -> None:
    url = "memory://bucket/mine"
    here = str(folder)
    local = described({"name": "dense", "model": {"path": here, "pooling": "mean"}}, chunking={"tokenizer": here})
    remote = described({"name": "dense", "model": {"path": url, "pooling": "mean"}}, chunking={"tokenizer": url})
    # Where the files come from is no part of a fingerprint.
    assert remote.fingerprints == local.fingerprints
    assert troubles(remote) == []
    embedding = remote.embeddings["embeddings.0"]
    assert embedding.model_name == "mine"
    # A search finds the model by the same URL.
    assert EmbeddingConfig(**remembered(embedding)) == embedding
    whole, file = load_tokenizer(url), load_tokenizer(f"{url}/tokenizer.json")
    assert whole.to_str() == file.to_str() == load_tokenizer(str(folder)).to_str()
    # Options belong to the store, which this one has none of: it takes them for a part of the folder's name.
    with pytest.raises(ConfigError, match=r"chunking\.tokenizer 'memory://bucket/mine' is no folder"):
        load_tokenizer(f"{url}/tokenizer.json?region=here")
    with pytest.raises(ConfigError, match=r"chunking\.tokenizer 'memory://bucket/nowhere' is no folder, or an empty"):
        load_tokenizer("memory://bucket/nowhere")
    with pytest.raises(ConfigError, match=r"embeddings\.0\.model: the folder memory://bucket/none is not there, or is"):
        described({"name": "dense", "model": {"path": "memory://bucket/none", "pooling": "mean"}})
