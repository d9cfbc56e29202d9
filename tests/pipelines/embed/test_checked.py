"""What a job's embeddings have wrong, said by the job's keys and with what YAML can hold."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.embed.checked import checked_embedder, notices
from pipelines.errors import ConfigError


def check(options: str) -> dict[str, Any]:
    """Check BM25 with options as a job's YAML has them; returns these."""
    given: dict[str, Any] = yaml.safe_load(options)
    checked_embedder("embeddings.0", EmbeddingConfig(name="bm25", model="Qdrant/bm25", options=given))
    return given


def test_a_language_without_a_stemmer_is_refused_with_advice_that_yaml_can_follow() -> None:
    with pytest.raises(ConfigError, match=r"embeddings\.0: language 'thai' has no stemmer here: set dis") as refused:
        check("{language: thai}")
    assert "object" not in str(refused.value)
    assert check("{language: thai, disable_stemmer: true}")["disable_stemmer"] is True


def test_a_stemmer_by_name_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"embeddings\.0: stemmer must be an object with stem_word, which only Python"
    ):
        check("{language: thai, stemmer: porter}")


@pytest.mark.parametrize(
    ("engine", "stages", "told"),
    [
        (
            "local",
            {"bm25": {"gpus": 1}},
            ["engine local: compute.stages.bm25.gpus changes nothing, because bm25 runs no neural network"],
        ),
        (
            "local",
            {"dense": {"gpus": 4}},
            ["engine local: compute.stages.dense.gpus is 4, and a model of one process uses one GPU"],
        ),
        ("local", {"dense": {"gpus": 1}, "bm25": {"gpus": 0}}, []),
        ("ray", {"dense": {"gpus": 4}}, []),
    ],
)
def test_gpus_that_engine_local_has_no_use_for_are_told_of(
    engine: str, stages: dict[str, Any], told: list[str]
) -> None:
    config = load_config(
        {
            "source": {"path": "in.jsonl"},
            "embeddings": [
                {"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2"},
                {"name": "bm25", "model": "Qdrant/bm25"},
            ],
            "sink": {"type": "parquet", "path": "out"},
            "compute": {"engine": engine, "stages": stages},
        }
    )
    assert notices(config, ()) == told
