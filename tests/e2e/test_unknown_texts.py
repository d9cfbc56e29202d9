"""Texts that a tokenizer does not know: they are embedded as ever, counted, and told of."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads
import pytest
from rich.console import Console

from embedders import TextEmbedding
from embedders.factory import make_embedder
from pipelines import EmbeddingPipeline
from tests.e2e.jobs import MINILM

THAI = "ภาษาไทย" * 8_600
TEXTS = ["a plain text", THAI, "x" * 300_000, "🦄", "🦄", "two words and a unicorn 🦄"]
TOLD = "texts are mostly unknown to the tokenizer"


def test_texts_unknown_to_real_minilm_are_counted_by_embedding_and_warned_of_once(
    tmp_path: Path, minilm: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ({"id": f"d{number}", "text": text} for number, text in enumerate(TEXTS))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job: dict[str, Any] = {
        "source": {"path": str(tmp_path / "in.jsonl"), "id": "id"},
        "embeddings": [
            {"name": "dense", "model": MINILM, "path": str(minilm), "prompts": {"passage": "a passage: "}},
            {"name": "bm25", "model": "Qdrant/bm25"},
        ],
        "sink": {"type": "parquet", "path": str(tmp_path / "out")},
        "compute": {"engine": "local", "block_rows": 2},
        "report": str(tmp_path / "report.json"),
    }
    shown = io.StringIO()
    with caplog.at_level(logging.WARNING):
        report = EmbeddingPipeline.from_config(job).run(console=Console(file=shown, width=200))
    assert (report.exit_code, report.rows["written"]) == (0, 6)
    stages = json.loads((tmp_path / "report.json").read_text())["stages"]
    assert (stages["dense"]["unknown"], stages["bm25"]["unknown"]) == (4, 0)
    assert f"4 {TOLD} of dense" in shown.getvalue() and f"{TOLD} of bm25" not in shown.getvalue()
    assert sum(TOLD in message for message in caplog.messages) == 1
    alone = TextEmbedding(MINILM, specific_model_path=str(minilm), prompts={"passage": "a passage: "})
    written = {row["document_id"]: row["dense"] for row in pads.dataset(tmp_path / "out").to_table().to_pylist()}
    for number, vector in enumerate(alone.passage_embed(TEXTS)):
        assert np.allclose(written[f"d{number}"], vector, atol=1e-5)


def test_texts_without_unknown_tokens_are_not_told_of(minilm: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = TextEmbedding(MINILM, specific_model_path=str(minilm))
    with caplog.at_level(logging.WARNING):
        list(model.embed(["a plain text", "", "été, 日本"]))
    assert model.stats.unknown == 0 and TOLD not in caplog.text


@pytest.mark.parametrize("name", ["minishlab/potion-base-8M", "prithivida/Splade_PP_en_v1", "colbert-ir/colbertv2.0"])
def test_synthetic_models_of_other_families_count_them_too(synthetic_model: Callable[[str], Path], name: str) -> None:
    model = make_embedder(name, specific_model_path=str(synthetic_model(name)))
    model.embed_arrow(["hello world", "🦄", "🦄"])
    assert model.stats.unknown == 2
