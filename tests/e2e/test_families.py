"""Five embeddings of each row in one pass, into one collection and one Parquet folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads
import pytest
from qdrant_client import models

from embedders import Muvera
from embedders.arrow import dense_array
from embedders.export.bert import export_bert
from pipelines.config.file import load_config
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.run.report.report import RunReport
from pipelines.search import Searcher
from pipelines.sinks.qdrant.client import open_folder
from tests.e2e.jobs import MINILM, Job, Row

pytestmark = pytest.mark.slow

NAMES = ("dense", "bm25", "splade", "colbert", "bm42")
MUVERA = {"k_sim": 4, "dim_proj": 16, "r_reps": 20, "keep_multivector": True}


@pytest.fixture(scope="module")
def attention_folder(minilm_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's attention in its last layer: the real weights of BM42."""
    folder = export_bert(minilm_checkpoint, tmp_path_factory.mktemp("bm42"), outputs=("attention_6",))
    (folder / "stopwords.txt").write_text("the\na\nof\nis\nto\nin\nand\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, minilm: Path, splade_folder: Path, attention_folder: Path) -> Job:
    folder = tmp_path_factory.mktemp("five")
    # No package carries a ColBERT: MiniLM's token vectors stand in, as a model of one's own.
    colbert = {"path": str(minilm), "family": "late_interaction", "options": {"skip_punctuation": True}}
    embeddings: list[dict[str, Any]] = [
        {"name": "dense", "model": MINILM, "path": str(minilm)},
        {"name": "bm25", "model": "Qdrant/bm25"},
        {"name": "splade", "model": "prithivida/Splade_PP_en_v1", "path": str(splade_folder), "max_length": 128},
        {"name": "colbert", "model": colbert, "dtype": "float16", "max_length": 128, "muvera": MUVERA},
        {"name": "bm42", "model": "Qdrant/bm42-all-minilm-l6-v2-attentions", "path": str(attention_folder)},
    ]
    sinks = [
        {"type": "qdrant", "path": str(folder / "qdrant"), "collection": "five"},
        {"type": "parquet", "path": str(folder / "out")},
    ]
    return Job(folder, minilm, sinks, {"embeddings": embeddings})


@pytest.fixture(scope="module")
def report(job: Job, docstrings: list[Row]) -> RunReport:
    job.write(docstrings[:24])
    return job.run()


def test_the_source_is_read_once_and_every_stages_seconds_are_reported(report: RunReport) -> None:
    assert report.exit_code == 0
    assert report.stages["read"]["rows"] == 24
    for name in NAMES:
        assert report.stages[name]["rows"] == 24 and report.stages[name]["seconds"] > 0
    assert [sink["points"] for sink in report.sinks] == [24, 24]


def test_both_sinks_hold_the_embedders_own_vectors(report: RunReport, job: Job) -> None:
    table = pads.dataset(job.folder / "out", format="parquet").to_table().sort_by("document_id")
    texts = table["text"].to_pylist()
    client = open_folder(str(job.folder / "qdrant"))
    try:
        points, _ = client.scroll("five", limit=100, with_vectors=True)
    finally:
        client.close()
    stored = {point.payload["document_id"]: point.vector for point in points if point.payload}
    makers = {name: one for one in load_config(job.config()).embeddings for name in one.vector_names}
    for name, embedding in makers.items():
        embedder = RowEmbedder(embedding)
        column, spec = table[name], embedder.vectors[name]
        assert column.type == spec.arrow_type
        expected = embedder.model.embed_arrow(texts)
        if name == "colbert":
            expected = dense_array(Muvera(384, 4, 16, 20).encode_documents(expected))
        for document, mine, own in zip(
            table["document_id"].to_pylist(), column.to_pylist(), expected.to_pylist(), strict=True
        ):
            at_qdrant = stored[document][name]  # type: ignore[index]
            if spec.kind == "sparse":
                assert mine["indices"] == own["indices"] == sorted(at_qdrant.indices)
                np.testing.assert_allclose(mine["values"], own["values"], atol=1e-5)
            else:
                # float16 keeps three digits; Qdrant scales vectors compared by cosine to unit length.
                tolerance = 4e-3 if embedding.dtype == "float16" else 1e-5
                np.testing.assert_allclose(mine, own, atol=tolerance)
                np.testing.assert_allclose(np.array(at_qdrant), own, atol=2 * tolerance)


@pytest.mark.parametrize("using", [*NAMES, "colbert_multivector"])
def test_each_embedding_finds_a_document_by_its_own_words(report: RunReport, job: Job, using: str) -> None:
    texts = [row["text"] for row in pads.dataset(job.folder / "out", format="parquet").to_table().to_pylist()]
    wanted = max(texts, key=lambda text: len(set(text.lower().split())) if len(text) < 400 else 0)
    with Searcher.from_config(job.config()) as searcher:
        assert searcher.search(wanted, using=using, limit=1)[0].payload["text"] == wanted


def test_the_multivector_has_no_index_and_the_folded_vector_is_compared_by_dot_product(
    report: RunReport, job: Job
) -> None:
    with Searcher.from_config(job.config()) as searcher:
        params = searcher.client.get_collection("five").config.params.vectors
        assert isinstance(params, dict)
        assert params["colbert"].distance == models.Distance.DOT and params["colbert"].size == 20 * 16 * 16
        multivector = params["colbert_multivector"]
        assert multivector.multivector_config is not None and multivector.hnsw_config is not None
        assert multivector.hnsw_config.m == 0


def test_a_second_run_embeds_nothing(report: RunReport, job: Job) -> None:
    again = job.run()
    assert (again.rows["skipped"], again.rows["embedded"], again.rows["written"]) == (24, 0, 0)
