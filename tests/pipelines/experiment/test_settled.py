from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines import EmbeddingPipeline, Searcher
from pipelines.config.search import SearchConfig
from pipelines.evaluation.engines.choose import CollectionEngine
from pipelines.experiment.settled import SettledEngine


def test_hits_are_those_of_the_collection_with_equal_scores_in_order(tmp_path: Path) -> None:
    words = ("red", "green", "blue", "round", "square", "small")
    texts = [f"{words[number % 6]} {words[number % 5]} {'big ' * (number % 3)}thing" for number in range(60)]
    (tmp_path / "docs.jsonl").write_text(
        "".join(f'{{"id": "{n}", "text": "{text}"}}\n' for n, text in enumerate(texts))
    )
    bm25: dict[str, Any] = {"model": "Qdrant/bm25"}
    job = {
        "source": {"path": str(tmp_path / "docs.jsonl"), "id": "id"},
        "embeddings": [{**bm25, "name": "one"}, {**bm25, "name": "two", "options": {"b": 0.0}}],
        "sink": {"type": "qdrant", "path": str(tmp_path / "qdrant"), "collection": "x"},
        "compute": {"engine": "local"},
        "report": str(tmp_path / "report.json"),
    }
    EmbeddingPipeline.from_config(job).run()
    with Searcher.from_config(job) as searcher:
        vectors = searcher.encode("a big red square", ["one", "two"])
        for search in (
            SearchConfig(using=["one"], exact=True),
            SearchConfig(using=["one", "two"], exact=True, rrf_k=60),
            SearchConfig(using=["one", "two"], exact=True, fusion="dbsf"),
            SearchConfig(using=["one"], exact=True, rescore="two", candidates=60),
        ):
            settled = SettledEngine(searcher).prepare(search, vectors, 60, ["document_id"])()
            theirs = CollectionEngine(searcher).prepare(search, vectors, 60, ["document_id"])()
            assert [hit.score for hit in settled] == pytest.approx([hit.score for hit in theirs], rel=0.02)
            assert {hit.id for hit in settled} == {hit.id for hit in theirs}
            if search.fusion != "dbsf":
                assert settled == sorted(settled, key=lambda hit: (-hit.score, hit.id))
            if len(search.using) == 1:
                assert SettledEngine(searcher).prepare(search, vectors, 10, ["document_id"])() == settled[:10]
        nothing = {"one": None, "two": None}
        assert SettledEngine(searcher).prepare(SearchConfig(using=["one", "two"]), nothing, 5, [])() == []
