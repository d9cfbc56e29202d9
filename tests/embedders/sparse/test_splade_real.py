"""SPLADE on real weights: a small model that a package carries (see the fixture ``splade_folder``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fastembed import SparseTextEmbedding as FastembedSparse

from embedders import SparseEmbedding, SparseTextEmbedding
from tests.embedders.texts import ODD_TEXTS, by_length

NAME = "prithivida/Splade_PP_en_v1"


@pytest.fixture(scope="module")
def model(splade_folder: Path) -> SparseTextEmbedding:
    return SparseTextEmbedding(NAME, specific_model_path=splade_folder, cuda=False)


def dot(one: SparseEmbedding, other: SparseEmbedding) -> float:
    weights = other.as_dict()
    return sum(value * weights.get(index, 0) for index, value in one.as_dict().items())


def words(model: SparseTextEmbedding, vector: SparseEmbedding, count: int) -> list[str]:
    """The entries of the vocabulary that weigh most."""
    largest = vector.indices[np.argsort(-vector.values)[:count]]
    return [model.model.text_model.tokenizer.tokenizer.id_to_token(int(index)) for index in largest]


@pytest.mark.slow
def test_real_splade_gives_fastembeds_weights(
    model: SparseTextEmbedding, splade_folder: Path, docstrings: list[str]
) -> None:
    reference = FastembedSparse(NAME, specific_model_path=str(splade_folder), cuda=False)
    texts = [text[:300] for text in docstrings[::200]] + ODD_TEXTS[:6] + ODD_TEXTS[10:]
    order = by_length(texts)
    ours = list(model.embed(texts))
    theirs_by_length = reference.embed([texts[row] for row in order], batch_size=4)
    for row, expected in zip(order, theirs_by_length, strict=True):
        text, mine, theirs = texts[row], ours[row].as_dict(), expected.as_dict()
        # An entry whose logit is all but 0 may be there or not.
        assert max((mine.get(i, 0) or theirs[i] for i in mine.keys() ^ theirs.keys()), default=0) < 1e-5, text
        for index in mine.keys() & theirs.keys():
            assert mine[index] == pytest.approx(theirs[index], abs=2e-5), text
    assert model.token_count(texts) == reference.token_count(texts)


def test_real_splade_weighs_a_texts_own_words_most(model: SparseTextEmbedding) -> None:
    (vector,) = model.embed("hello world")
    assert {"hello", "world"} <= set(words(model, vector, 5))


@pytest.mark.parametrize(
    ("query", "related", "unrelated"),
    [
        ("how to open a file", "Open the file at this path and return a stream.", "Add two complex numbers."),
        ("capital of France", "Paris is the French capital city.", "The cat sleeps on the sofa."),
        ("symptoms of influenza", "Patients with flu have fever and cough.", "The train leaves at noon."),
    ],
)
def test_real_splade_puts_related_texts_before_unrelated_ones(
    query: str, related: str, unrelated: str, model: SparseTextEmbedding
) -> None:
    (asked,) = model.query_embed(query)
    near, far = model.embed([related, unrelated])
    assert dot(asked, near) > 2 * dot(asked, far)


def test_real_splade_expands_a_text_by_words_it_does_not_have(model: SparseTextEmbedding) -> None:
    text = "patients with flu have fever and cough"
    (vector,) = model.embed(text)
    assert len(vector.indices) > 12
    assert set(words(model, vector, 12)) - set(text.split())
