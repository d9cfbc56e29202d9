"""Models of the catalog with their real weights, where the user's cache holds them: ``pytest -m hub``.

Nothing is downloaded: ``python jobs/models.py download MODEL`` (or ``--all``) fills the cache first. Each model gives
fastembed's results on the same files, and the values its authors' tests publish, where those are at hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedders import (
    HybridTextEmbedding,
    LateInteractionTextEmbedding,
    SparseTextEmbedding,
    TextCrossEncoder,
    TextEmbedding,
)
from embedders.catalog import ModelCard, list_cards
from embedders.errors import ModelFilesError, ModelNotFoundError
from embedders.files.resolve import resolve_model
from tests.conftest import USER_CACHE

pytestmark = pytest.mark.hub

TEXTS = [
    "Hello World",
    "flag embedding",
    "",
    "The river bank was closed, but the other banks lend money. " * 9,
    "Ein Satz auf Deutsch; 日本語の文。",
    "def read(path): return open(path).read()  # 🎉",
]
PAIRS = [("What is the capital of France?", text) for text in ("Paris is the capital of France.", *TEXTS)]
# Quantized graphs differ with what shares their batch.
TOLERANCE, VARYING_TOLERANCE = 1e-4, 5e-2

DENSE = list_cards("dense", "static")
SPARSE = list_cards("splade", "neural_sparse", "bm42", "minicoil", "bm25")
LATE = list_cards("late_interaction")
SEVERAL = list_cards("bge_m3")
RERANKERS = list_cards("rerank")


def parametrized(cards: list[ModelCard]) -> Any:
    return pytest.mark.parametrize("card", cards, ids=lambda card: card.model)


@pytest.fixture
def folder(card: ModelCard) -> Path:
    try:
        return resolve_model(card, cache_dir=USER_CACHE, local_files_only=True)
    except (ModelNotFoundError, ModelFilesError):
        pytest.skip(f"{card.model} is not in {USER_CACHE}: python jobs/models.py download {card.model}")


@pytest.fixture(scope="session")
def published(shared_data: Path) -> dict[str, Any]:
    """First numbers of vectors, from fastembed's own tests; each file's tables by name."""
    content: dict[str, Any] = json.loads((shared_data / "reference-vectors" / "fastembed_canonical.json").read_text())
    return content


def tolerance(card: ModelCard) -> float:
    return VARYING_TOLERANCE if card.varies_with_batch else TOLERANCE


@parametrized(DENSE)
def test_dense_model_gives_fastembeds_vectors(card: ModelCard, folder: Path) -> None:
    from fastembed import TextEmbedding as Reference

    ours = TextEmbedding(card.model, specific_model_path=folder, cuda=False)
    theirs = Reference(card.model, specific_model_path=str(folder), cuda=False)
    np.testing.assert_allclose(list(ours.embed(TEXTS)), list(theirs.embed(TEXTS, batch_size=1)), atol=tolerance(card))
    np.testing.assert_allclose(list(ours.query_embed(TEXTS)), list(theirs.query_embed(TEXTS)), atol=tolerance(card))


@parametrized(DENSE)
def test_dense_model_gives_its_published_values(card: ModelCard, folder: Path, published: dict[str, Any]) -> None:
    tables = published["text_onnx_embeddings"]
    expected = tables["CANONICAL_VECTOR_VALUES"].get(card.model)
    if expected is None:
        pytest.skip(f"no values are published for {card.model}")
    model = TextEmbedding(card.model, specific_model_path=folder, cuda=False)
    text = tables["DOC_PREFIXES"].get(card.model, "") + "hello world"
    np.testing.assert_allclose(next(iter(model.embed(text)))[: len(expected)], expected, atol=1e-3)


@parametrized(SPARSE)
def test_sparse_model_gives_fastembeds_weights(card: ModelCard, folder: Path) -> None:
    from fastembed import SparseTextEmbedding as Reference

    ours = SparseTextEmbedding(card.model, specific_model_path=folder, cuda=False)
    theirs = Reference(card.model, specific_model_path=str(folder), cuda=False)
    for own, reference in ((ours.embed, theirs.embed), (ours.query_embed, theirs.query_embed)):
        for mine, expected in zip(own(TEXTS), reference(TEXTS), strict=True):
            assert mine.as_dict() == pytest.approx(expected.as_dict(), abs=tolerance(card))


@parametrized(SPARSE)
def test_sparse_model_gives_its_published_values(card: ModelCard, folder: Path, published: dict[str, Any]) -> None:
    tables = published["sparse_embeddings"]
    model = SparseTextEmbedding(card.model, specific_model_path=folder, cuda=False)
    expected = tables["CANONICAL_COLUMN_VALUES"].get(card.model)
    if expected is None:
        pytest.skip(f"no values are published for {card.model}")
    found = next(iter(model.embed("Hello World"))).as_dict()
    for index, value in zip(expected["indices"], expected["values"], strict=True):
        assert found[index] == pytest.approx(value, abs=1e-3)


@parametrized(LATE)
def test_late_interaction_model_gives_fastembeds_vectors(card: ModelCard, folder: Path) -> None:
    from fastembed import LateInteractionTextEmbedding as Reference
    from fastembed.late_interaction.token_embeddings import TokenEmbeddingsModel

    ours = LateInteractionTextEmbedding(card.model, specific_model_path=folder, cuda=False)
    reference = TokenEmbeddingsModel if card.model.endswith("-tokens") else Reference
    theirs = reference(card.model, specific_model_path=str(folder), cuda=False)
    for own, expected in zip(ours.embed(TEXTS), theirs.embed(TEXTS, batch_size=1), strict=True):
        np.testing.assert_allclose(own, expected, atol=tolerance(card))
    for own, expected in zip(ours.query_embed(TEXTS), theirs.query_embed(TEXTS), strict=True):
        np.testing.assert_allclose(own, expected, atol=tolerance(card))


@parametrized(LATE)
def test_late_interaction_model_gives_its_published_values(
    card: ModelCard, folder: Path, published: dict[str, Any]
) -> None:
    tables = published["late_interaction_embeddings"]
    if card.model not in tables["CANONICAL_COLUMN_VALUES"]:
        pytest.skip(f"no values are published for {card.model}")
    model = LateInteractionTextEmbedding(card.model, specific_model_path=folder, cuda=False)
    for embed, table in ((model.embed, "CANONICAL_COLUMN_VALUES"), (model.query_embed, "CANONICAL_QUERY_VALUES")):
        expected = np.array(tables[table][card.model])
        found = next(iter(embed("Hello World")))
        np.testing.assert_allclose(found[: len(expected), : expected.shape[1]], expected, atol=2e-3)


@parametrized(SEVERAL)
def test_bge_m3_gives_the_scores_that_its_authors_publish(card: ModelCard, folder: Path) -> None:
    """Those of the model's card, computed in half precision."""
    model = HybridTextEmbedding(
        card.model, specific_model_path=folder, cuda=False, outputs=["dense", "sparse", "multivector"]
    )
    asked = list(model.query_embed(["What is BGE M3?", "Defination of BM25"]))
    found = list(
        model.embed(
            [
                "BGE M3 is an embedding model supporting dense retrieval, lexical matching and multi-vector "
                "interaction.",
                "BM25 is a bag-of-words retrieval function that ranks a set of documents based on the query terms "
                "appearing in each document",
            ]
        )
    )
    dense = np.array([one.dense for one in asked]) @ np.array([one.dense for one in found]).T
    np.testing.assert_allclose(dense, [[0.6265, 0.3477], [0.3499, 0.678]], atol=2e-3)
    lexical, other = (one.sparse.as_dict() for one in (asked[0], found[0]))
    weights = [0.04092, 0.0814, 0.08356, 0.1296, 0.1702, 0.252, 0.2695]
    np.testing.assert_allclose(sorted(lexical.values()), weights, atol=2e-3)
    assert sum(weight * other.get(token, 0) for token, weight in lexical.items()) == pytest.approx(0.19555, abs=2e-3)
    for one, expected in zip(found, (0.7797, 0.4620), strict=True):
        similarities = asked[0].multivector @ one.multivector.T
        assert similarities.max(axis=1).mean() == pytest.approx(expected, abs=2e-3)


@parametrized(RERANKERS)
def test_reranker_gives_fastembeds_scores(card: ModelCard, folder: Path) -> None:
    from fastembed.rerank.cross_encoder import TextCrossEncoder as Reference

    ours = TextCrossEncoder(card.model, specific_model_path=folder, cuda=False)
    theirs = Reference(card.model, specific_model_path=str(folder), cuda=False)
    expected = list(theirs.rerank_pairs(PAIRS, batch_size=1))
    np.testing.assert_allclose(list(ours.rerank_pairs(PAIRS)), expected, atol=10 * tolerance(card))
    assert np.argmax(expected) == 0
