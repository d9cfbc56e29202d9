"""Searching a collection whose job measured BM25's average length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError
from pipelines.search import Searcher
from tests.pipelines.search.conftest import Collection


def bm25_collection(folder: Path, avg_len: Any) -> Collection:
    options = {} if avg_len is None else {"avg_len": avg_len}
    address = {"path": str(folder / "qdrant"), "collection": "docs"}
    return Collection(folder, address, [{"name": "bm25", "model": "Qdrant/bm25", "options": options}])


def test_queries_are_made_with_the_number_that_the_collection_keeps(tmp_path: Path) -> None:
    collection = bm25_collection(tmp_path, 5.17)
    collection.fill()
    with Searcher.from_config(bm25_collection(tmp_path, "measure").job) as searcher:
        found = searcher.search("snakes")
        assert [hit.title for hit in found] == ["python", "cobra"]
    with Searcher.open(**collection.address, models={"bm25": {"options": {"avg_len": "measure"}}}) as searcher:
        assert searcher.search("snakes") == found
    with (
        Searcher.from_config(bm25_collection(tmp_path, 6.0).job) as searcher,
        pytest.raises(ConfigError, match="'bm25' were made with other model files or settings"),
    ):
        searcher.search("snakes")


def test_a_collection_that_keeps_no_number_is_a_clear_error(tmp_path: Path) -> None:
    bm25_collection(tmp_path, None).fill()
    with pytest.raises(ConfigError, match=r"bm25 weighs with a measured average .* does not say which; run the job"):
        Searcher.from_config(bm25_collection(tmp_path, "measure").job)
