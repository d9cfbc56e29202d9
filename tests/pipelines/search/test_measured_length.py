"""Searching a collection whose job measured BM25's average length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError
from pipelines.search import Searcher
from tests.pipelines.search.conftest import DOCUMENTS, Collection


def bm25(avg_len: Any) -> dict[str, Any]:
    return {"name": "bm25", "model": "Qdrant/bm25", "options": {} if avg_len is None else {"avg_len": avg_len}}


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    return {"path": str(tmp_path / "qdrant"), "collection": "docs"}


def job(place: dict[str, str], avg_len: Any) -> dict[str, Any]:
    sink = {"type": "qdrant", **place}
    return {"source": {"path": "unused.jsonl"}, "embeddings": [bm25(avg_len)], "sink": sink}


def test_queries_are_made_with_the_number_that_the_collection_keeps(place: dict[str, str]) -> None:
    Collection(job(place, 5.17), place).fill(DOCUMENTS)
    with Searcher.from_config(job(place, "measure")) as searcher:
        found = searcher.search("snakes")
        assert [hit.title for hit in found] == ["python", "cobra"]
    with Searcher.open(**place, models={"bm25": {"options": {"avg_len": "measure"}}}) as searcher:
        assert searcher.search("snakes") == found
    with (
        Searcher.from_config(job(place, 6.0)) as searcher,
        pytest.raises(ConfigError, match="'bm25' were made with other model files or settings"),
    ):
        searcher.search("snakes")


def test_a_collection_that_keeps_no_number_is_a_clear_error(place: dict[str, str]) -> None:
    Collection(job(place, None), place).fill(DOCUMENTS)
    with pytest.raises(ConfigError, match=r"bm25 weighs with a measured average .* does not say which; run the job"):
        Searcher.from_config(job(place, "measure"))
