from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pipelines


def test_every_public_name_is_there_and_is_listed() -> None:
    assert set(pipelines.__all__) <= set(dir(pipelines))
    for name in pipelines.__all__:
        assert getattr(pipelines, name).__name__ == name


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pipelines' has no attribute 'Embeds'"):
        _ = pipelines.Embeds  # type: ignore[attr-defined]


def test_a_pipeline_and_a_searcher_say_what_they_are(tmp_path: Path) -> None:
    job = {
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "qdrant", "path": ":memory:", "collection": "said"},
        "compute": {"engine": "local"},
    }
    pipeline = pipelines.EmbeddingPipeline.from_config({**job, "report": str(tmp_path / "r.json")}, source=["a text"])
    assert repr(pipeline) == "EmbeddingPipeline(corpus 'default'; vectors: bm25; sinks: qdrant said at :memory:)"
    pipeline.run()
    with pipelines.Searcher.from_config(job) as searcher:
        assert repr(searcher) == "Searcher(said at :memory:; searches by bm25)"
        searcher.client.delete_collection("said")


def test_the_package_alone_imports_nothing_of_it() -> None:
    code = (
        "import sys, pipelines; print([name for name in sys.modules if name.startswith(('pipelines.', 'embedders'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
