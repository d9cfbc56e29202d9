"""A job that measures the average length of its corpus before BM25 weighs it; no neural model."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest
from rich.console import Console

from embedders import SparseTextEmbedding
from pipelines import EmbeddingPipeline
from pipelines.errors import ConfigError
from pipelines.run.report.report import RunReport
from pipelines.search import Searcher
from tests.e2e.jobs import ON_BOTH

# Words that BM25 keeps: 3, 5, 1; then a text without any, a dead row and one that repeats an id.
FIRST: list[dict[str, Any]] = [
    {"id": "snakes", "text": "The pythons are squeezing their prey."},
    {"id": "islands", "text": "Java is an island of Indonesia with volcanoes, and so is Bali."},
    {"id": "one", "text": "Alphabet!"},
    {"id": "none", "text": "the of and"},
    {"id": "dead", "text": None},
    {"id": "one", "text": "words words words words words words words words"},
]
AVERAGE = 3.0
LATER: list[dict[str, Any]] = [{"id": "long", "text": "ship " * 90}, {"id": "more", "text": "harbour storm anchor"}]


class MeasuringJob:
    """A corpus, and a folder of Qdrant and one of Parquet to fill."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder = folder
        self.config: dict[str, Any] = {
            "source": {"path": str(folder / "corpus.jsonl"), "id": "id"},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25", "options": {"avg_len": "measure"}}],
            "sink": [
                {"type": "qdrant", "collection": "docs", "path": str(folder / "qdrant")},
                {"type": "parquet", "path": str(folder / "out")},
            ],
            "errors": {"max_rate": 0.5},
            "compute": {"engine": engine},
            "report": str(folder / "report.json"),
        }
        self.printed = ""

    def write(self, rows: list[dict[str, Any]]) -> None:
        (self.folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def pipeline(self) -> EmbeddingPipeline:
        return EmbeddingPipeline.from_config(self.config)

    def run(self) -> RunReport:
        console = Console(file=io.StringIO(), width=200)
        report = self.pipeline().run(console=console)
        self.printed = console.file.getvalue()  # type: ignore[attr-defined]
        return report

    def weights(self) -> dict[str, dict[int, float]]:
        rows = pads.dataset(self.folder / "out", format="parquet").to_table().to_pylist()
        return {row["document_id"]: dict(zip(*row["bm25"].values(), strict=True)) for row in rows}


@ON_BOTH
def test_a_measured_average_is_kept_and_later_runs_and_queries_take_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, engine: str
) -> None:
    caplog.set_level(logging.INFO, "fleetembed")
    job = MeasuringJob(tmp_path, engine)
    job.write(FIRST)
    before = job.pipeline().plan()
    assert before.fingerprint is None and "measured over the corpus" in before.notices[0]

    first = job.run()
    assert (first.rows["written"], first.rows["dead"]) == (4, 2)
    figures = first.statistics["bm25"]
    assert (figures["avg_len"], figures["texts"]) == (AVERAGE, 3)
    assert f"bm25: average length {AVERAGE} words, measured over 3 texts" in job.printed
    assert "measuring the average length of bm25 over 6 documents" in caplog.text
    assert f"the average length of bm25 is {AVERAGE} words, over 3 texts" in caplog.text
    assert json.loads((tmp_path / "report.json").read_text())["statistics"] == first.statistics
    expected = SparseTextEmbedding("Qdrant/bm25", avg_len=AVERAGE)
    texts = {row["id"]: row["text"] for row in reversed(FIRST[:4])}
    for (name, text), vector in zip(texts.items(), expected.embed(list(texts.values())), strict=True):
        assert job.weights()[name] == pytest.approx(vector.as_dict(), abs=1e-6), text

    with Searcher.from_config(job.config) as searcher:
        assert searcher.description.embeddings["bm25"].options == {"avg_len": AVERAGE}
        assert [hit.title for hit in searcher.search("volcano islands")] == ["islands"]
        own = searcher.search("volcano islands")
    with Searcher.open("docs", path=tmp_path / "qdrant") as searcher:
        assert searcher.search("volcano islands") == own

    caplog.clear()
    job.write([*FIRST, *LATER])
    second = job.run()
    assert second.fingerprint == first.fingerprint == job.pipeline().plan().fingerprint
    assert second.statistics["bm25"]["avg_len"] == AVERAGE and "qdrant" in second.statistics["bm25"]["held_by"]
    assert (second.rows["skipped"], second.rows["embedded"]) == (4, len(LATER))
    assert "measuring" not in caplog.text and "which qdrant docs at" in job.printed
    (long,) = expected.embed(LATER[0]["text"])
    assert job.weights()["long"] == pytest.approx(long.as_dict(), abs=1e-6)


def test_a_corpus_without_words_leaves_nothing_behind(tmp_path: Path, engine: str) -> None:
    job = MeasuringJob(tmp_path, engine)
    job.write(FIRST[3:4])
    with pytest.raises(ConfigError, match=r"embeddings\.0\.options\.avg_len: nothing can be measured"):
        job.run()
    assert not (tmp_path / "qdrant").exists() and not (tmp_path / "out").exists()
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "failed"
