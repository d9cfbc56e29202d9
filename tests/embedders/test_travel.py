"""Embedders of every family travel after they have run: pickled without their sessions, equal vectors elsewhere."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from embedders import (
    HybridTextEmbedding,
    ImageEmbedding,
    LateInteractionMultimodalEmbedding,
    LateInteractionTextEmbedding,
    SparseTextEmbedding,
    TextCrossEncoder,
    TextEmbedding,
)
from embedders.catalog import catalog
from embedders.token_cache import TokenCache
from tests.image_model_fixtures import (
    clip_config,
    encoded,
    random_image,
    write_synthetic_colpali,
    write_synthetic_image_model,
)

TEXTS = ["the river bank", "a bat in the cave", "", "return this object"]
TEXT_MODELS = {
    "dense": (TextEmbedding, "sentence-transformers/all-MiniLM-L6-v2"),
    "static": (TextEmbedding, "minishlab/potion-base-8M"),
    "bm25": (SparseTextEmbedding, "Qdrant/bm25"),
    "bm42": (SparseTextEmbedding, "Qdrant/bm42-all-minilm-l6-v2-attentions"),
    "splade": (SparseTextEmbedding, "prithivida/Splade_PP_en_v1"),
    "minicoil": (SparseTextEmbedding, "Qdrant/minicoil-v1"),
    "neural_sparse": (
        SparseTextEmbedding,
        "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte",
    ),
    "one_of_several": (SparseTextEmbedding, "BAAI/bge-m3"),
    "late_interaction": (LateInteractionTextEmbedding, "colbert-ir/colbertv2.0"),
    "hybrid": (HybridTextEmbedding, "BAAI/bge-m3"),
    "reranker": (TextCrossEncoder, "BAAI/bge-reranker-base"),
}
ELSEWHERE = """
import pickle, sys
embedders = pickle.load(open(sys.argv[1], "rb"))
embedded = {}
for family, (embedder, method, contents) in embedders.items():
    given = getattr(embedder, method)(contents)
    embedded[family] = given if method == "embed_arrow" else list(given)
assert "ray" not in sys.modules
pickle.dump(embedded, open(sys.argv[2], "wb"))
"""


@pytest.fixture
def embedders(
    synthetic_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[Any, str, Any]]:
    """By family: an embedder that has run, how it is asked, and with what."""
    monkeypatch.setattr(catalog, "_custom_cards", {})
    options: dict[str, Any] = {"cuda": False, "threads": 1}
    made: dict[str, tuple[Any, str, Any]] = {}
    for family, (kind, model) in TEXT_MODELS.items():
        one: Any = kind(model, specific_model_path=synthetic_model(model), **options)
        reranks = family == "reranker"
        pairs = [("the bank", text) for text in TEXTS]
        made[family] = (one, "rerank_pairs" if reranks else "embed_arrow", pairs if reranks else TEXTS)
    TextEmbedding.add_custom_model("own/model", "mean", True, {"hf": "own/model"}, 384, model_file="model.onnx")
    folder = synthetic_model(TEXT_MODELS["dense"][1])
    file = next(path.relative_to(folder) for path in folder.rglob("*.onnx"))
    (folder / "model.onnx").write_bytes((folder / file).read_bytes())
    made["custom"] = (TextEmbedding("own/model", specific_model_path=folder, **options), "embed_arrow", TEXTS)
    images = [encoded(random_image(40, 30, seed)) for seed in range(3)]
    clip = write_synthetic_image_model(tmp_path / "clip", clip_config(), dim=512)
    image = ImageEmbedding("Qdrant/clip-ViT-B-32-vision", specific_model_path=clip, **options)
    made["image"] = (image, "embed_arrow", images)
    pages = write_synthetic_colpali(tmp_path / "colpali")
    multimodal = LateInteractionMultimodalEmbedding("Qdrant/colpali-v1.3-fp16", specific_model_path=pages, **options)
    made["multimodal"] = (multimodal, "embed_arrow", images)
    return made


def ask(embedder: Any, method: str, contents: Any) -> Any:
    given = getattr(embedder, method)(contents)
    return given if isinstance(given, pa.Array) else list(given)


def test_synthetic_embedders_of_all_families_give_equal_vectors_in_another_process_and_folder(
    embedders: dict[str, tuple[Any, str, Any]], tmp_path: Path
) -> None:
    before = {family: ask(*asked) for family, asked in embedders.items()}
    sent, answered = tmp_path / "sent", tmp_path / "answered"
    sent.write_bytes(pickle.dumps(embedders))
    # Sessions, tokenizers and tables stay behind.
    assert sent.stat().st_size < 100_000
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(sent), str(answered)],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
    )
    after = pickle.loads(answered.read_bytes())
    for family, embedded in before.items():
        assert after[family] == embedded, family


def test_synthetic_copies_keep_threads_device_and_counters_and_run_beside_the_original(
    embedders: dict[str, tuple[Any, str, Any]],
) -> None:
    for family, (embedder, method, contents) in embedders.items():
        before = ask(embedder, method, contents)
        other = copy.deepcopy(embedder)
        assert other.threads == 1 and other.stats == embedder.stats and other.stats.rows, family
        assert other.providers == embedder.providers, family
        assert ask(other, method, contents) == before, family
        assert other.stats.rows == 2 * embedder.stats.rows, family
        if hasattr(embedder, "fingerprint"):
            assert other.fingerprint == embedder.fingerprint


def test_synthetic_embedder_made_with_a_relative_path_travels_with_its_tokens_left_behind(
    synthetic_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = synthetic_model(TEXT_MODELS["dense"][1])
    monkeypatch.chdir(folder.parent)
    tokens = TokenCache()
    embedder = TextEmbedding(
        TEXT_MODELS["dense"][1], specific_model_path=folder.name, cuda=False, token_cache=tokens, lazy_load=True
    )
    secret = "a text that nobody sends along"
    vectors = embedder.embed_array([secret])
    sent = pickle.dumps(embedder)
    assert secret.encode() not in sent
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(pickle.loads(sent).embed_array([secret]), vectors)
