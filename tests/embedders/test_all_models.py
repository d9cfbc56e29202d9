"""Every text model of the catalog against fastembed 0.9.1, on synthetic weights in the real models' files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastembed import LateInteractionTextEmbedding as FastembedLateInteraction
from fastembed import SparseTextEmbedding as FastembedSparse
from fastembed import TextEmbedding as FastembedDense
from fastembed.late_interaction.token_embeddings import TokenEmbeddingsModel
from fastembed.rerank.cross_encoder import TextCrossEncoder as FastembedReranker

from embedders import LateInteractionTextEmbedding, SparseTextEmbedding, TextCrossEncoder, TextEmbedding
from embedders.catalog import ModelCard, load_cards
from embedders.families import FAMILIES
from tests.embedders.texts import sample_pairs, sample_texts

# fastembed's text models: it has none that gives several vectors.
TEXT_FAMILIES = [name for name, family in FAMILIES.items() if not family.images and not family.gives_several]
CARDS = [card for family in TEXT_FAMILIES for card in load_cards(family)]
TOLERANCE = 1e-5
BATCH = 8

pytestmark = [
    pytest.mark.slow,
    # fastembed's own, about a name of old and about options that static models do not take.
    pytest.mark.filterwarnings("ignore:The right spelling is:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:prithvida/.* is misspelt:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*embeddings-v2-base-de.*:UserWarning"),
]


def cards(*families: str) -> Any:
    """Parametrize a test by the cards of some families."""
    chosen = [card for card in CARDS if card.family in families]
    return pytest.mark.parametrize("card", chosen, ids=lambda card: card.model)


@pytest.fixture(scope="module")
def texts(docstrings: list[str]) -> list[str]:
    return sample_texts(docstrings, 210)


@pytest.fixture
def folder(card: ModelCard, synthetic_model: Callable[[str], Path]) -> Path:
    return synthetic_model(card.model)


def assert_rows_equal(ours: Iterable[Any], expected: Iterable[Any], texts: list[Any]) -> None:
    """Compare vectors, matrices or scores row by row; a failure shows the text."""
    for own, reference, text in zip(ours, expected, texts, strict=True):
        assert np.shape(own) == np.shape(reference), f"{text!r}: {np.shape(own)} instead of {np.shape(reference)}"
        np.testing.assert_allclose(own, reference, atol=TOLERANCE, rtol=0, err_msg=repr(text))


def assert_weights_equal(ours: Iterable[Any], expected: Iterable[Any], texts: list[str]) -> None:
    """Compare sparse vectors; a weight within the tolerance of 0 may be there or not."""
    for own, reference, text in zip(ours, expected, texts, strict=True):
        mine, theirs = own.as_dict(), reference.as_dict()
        assert len(mine) == len(own.indices)
        for index in mine.keys() | theirs.keys():
            assert mine.get(index, 0) == pytest.approx(theirs.get(index, 0), abs=TOLERANCE), f"{text!r}: {index}"


def compare_sides(ours: Any, reference: Any, texts: list[str], compare: Callable[..., None]) -> None:
    """Documents, queries and passages of both, and their tokens."""
    compare(ours.embed(texts), reference.embed(texts, batch_size=BATCH), texts)
    compare(ours.query_embed(texts), reference.query_embed(texts), texts)
    some = texts[::5]
    compare(ours.passage_embed(some), reference.passage_embed(some, batch_size=BATCH), some)
    assert ours.token_count(texts) == reference.token_count(texts)


def test_the_catalog_has_61_text_models() -> None:
    assert len(CARDS) == len({card.model for card in CARDS}) == 61


@cards("dense")
def test_synthetic_dense_model_gives_fastembeds_vectors(card: ModelCard, folder: Path, texts: list[str]) -> None:
    ours = TextEmbedding(card.model, specific_model_path=folder, cuda=False, threads=1)
    reference = FastembedDense(card.model, specific_model_path=str(folder), cuda=False, threads=1)
    assert ours.dim == ours.embedding_size == reference.embedding_size == card.dim
    compare_sides(ours, reference, texts, assert_rows_equal)


@cards("static")
def test_synthetic_static_model_gives_fastembeds_vectors(card: ModelCard, folder: Path, texts: list[str]) -> None:
    ours = TextEmbedding(card.model, specific_model_path=folder)
    reference = FastembedDense(card.model, specific_model_path=str(folder))
    assert ours.dim == reference.embedding_size == card.dim
    compare_sides(ours, reference, texts, assert_rows_equal)


@cards("splade", "neural_sparse", "bm42", "minicoil")
def test_synthetic_sparse_model_gives_fastembeds_weights(card: ModelCard, folder: Path, texts: list[str]) -> None:
    ours = SparseTextEmbedding(card.model, specific_model_path=folder, cuda=False, threads=1)
    reference = FastembedSparse(card.model, specific_model_path=str(folder), cuda=False, threads=1)
    compare_sides(ours, reference, texts, assert_weights_equal)
    assert ours.spec.idf is bool(card.requires_idf)


@cards("bm25")
def test_bm25_with_a_few_stop_words_gives_fastembeds_weights(card: ModelCard, folder: Path, texts: list[str]) -> None:
    ours = SparseTextEmbedding(card.model, specific_model_path=folder)
    reference = FastembedSparse(card.model, specific_model_path=str(folder))
    compare_sides(ours, reference, texts, assert_weights_equal)


@cards("late_interaction")
def test_synthetic_late_interaction_model_gives_fastembeds_matrices(
    card: ModelCard, folder: Path, texts: list[str]
) -> None:
    # The token vectors of jina-embeddings-v2 are in none of fastembed's registries.
    tokens_only = card.model.endswith("-tokens")
    reference_class = TokenEmbeddingsModel if tokens_only else FastembedLateInteraction
    ours = LateInteractionTextEmbedding(card.model, specific_model_path=folder, cuda=False, threads=1)
    reference = reference_class(card.model, specific_model_path=str(folder), cuda=False, threads=1)
    assert ours.dim == ours.embedding_size == card.dim
    compare_sides(ours, reference, texts, assert_rows_equal)
    if not tokens_only:
        for is_doc in (True, False):
            for extended in (True, False):
                counts = [m.token_count(texts, is_doc=is_doc, include_extension=extended) for m in (ours, reference)]
                assert counts[0] == counts[1], (is_doc, extended)


@cards("rerank")
def test_synthetic_reranker_gives_fastembeds_scores(card: ModelCard, folder: Path, texts: list[str]) -> None:
    ours = TextCrossEncoder(card.model, specific_model_path=folder, cuda=False, threads=1)
    reference = FastembedReranker(card.model, specific_model_path=str(folder), cuda=False, threads=1)
    pairs = sample_pairs(texts)
    assert_rows_equal(ours.rerank_pairs(pairs), reference.rerank_pairs(pairs, batch_size=BATCH), pairs)
    assert ours.token_count(pairs) == reference.token_count(pairs)
    query = "what is the river bank"
    assert_rows_equal(ours.rerank(query, texts), reference.rerank(query, texts, batch_size=BATCH), texts)
