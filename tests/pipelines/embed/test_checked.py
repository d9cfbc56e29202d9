"""What a job's embeddings have wrong, said by the job's keys and with what YAML can hold."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.embed.checked import checked_embedder
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
