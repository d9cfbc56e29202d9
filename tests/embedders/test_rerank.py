"""Rerankers beyond fastembed's scores. Synthetic weights throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastembed.rerank.cross_encoder import TextCrossEncoder as FastembedReranker
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders import ModelFilesError, ModelNotFoundError, TextCrossEncoder
from embedders.catalog import find_card
from embedders.factory import make_embedder
from tests.synthetic_models import build_network

NAME = "Xenova/ms-marco-MiniLM-L-6-v2"
QUERY = "where is the river bank"
DOCUMENTS = ["the bank of the river", "", "hello world", "money " * 30, "東京", "hello world"]


@pytest.fixture(scope="module")
def folder(synthetic_model: Callable[[str], Path]) -> Path:
    return synthetic_model(NAME)


@pytest.fixture(scope="module")
def model(folder: Path) -> TextCrossEncoder:
    return TextCrossEncoder(NAME, specific_model_path=folder, cuda=False, threads=1)


def test_synthetic_scores_are_floats_in_the_documents_order(model: TextCrossEncoder) -> None:
    scores = list(model.rerank(QUERY, DOCUMENTS))
    assert all(type(score) is float for score in scores)
    assert scores[2] == scores[5]
    assert scores == pytest.approx(list(model.rerank_pairs([(QUERY, text) for text in DOCUMENTS])), abs=1e-6)
    assert scores != pytest.approx(list(model.rerank_pairs([(text, QUERY) for text in DOCUMENTS])), abs=1e-2)


def test_synthetic_pairs_may_be_one_many_or_none(model: TextCrossEncoder) -> None:
    (score,) = model.rerank_pairs(("bat", "cave"))
    assert [score] == pytest.approx(list(model.rerank_pairs([("bat", "cave")])))
    assert [score] == pytest.approx(list(model.rerank("bat", iter(["cave"]))))
    assert list(model.rerank_pairs([])) == list(model.rerank("bat", [])) == []
    assert model.token_count(("bat", "cave")) == 5
    assert model.token_count([("bat", "cave")] * 3, batch_size=2) == 15


def test_synthetic_documents_may_be_endless(model: TextCrossEncoder) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "bat"

    assert len(list(islice(model.rerank("cave", endless()), 5))) == 5


@pytest.mark.parametrize("bad", [None, "\udc80", 3], ids=ascii)
@pytest.mark.parametrize("side", [0, 1])
def test_synthetic_model_names_the_pair_that_is_none(bad: Any, side: int, model: TextCrossEncoder) -> None:
    pair = ("fine", bad) if side else (bad, "fine")
    with pytest.raises(ValueError, match=r"pair 2\b"):
        list(model.rerank_pairs([("a", "b"), ("a", "b"), pair]))


@pytest.mark.parametrize("pair", [("a",), ("a", "b", "c"), "ab", None])
def test_what_is_no_pair_is_named(pair: Any, model: TextCrossEncoder) -> None:
    with pytest.raises(ValueError, match=r"pair 1 must be a \(query, document\) tuple"):
        list(model.rerank_pairs([("a", "b"), pair]))


def test_synthetic_long_pairs_lose_tokens_of_the_longer_text(folder: Path) -> None:
    model = TextCrossEncoder(NAME, specific_model_path=folder, cuda=False, max_length=11)
    long = "the river bank " * 20
    kept = "the river bank the"
    assert list(model.rerank_pairs([("bat", long)])) != list(model.rerank_pairs([("bat", kept)]))
    equal = [((long, long), (kept, kept)), (("bat", long), ("bat", f"{kept} river bank the"))]
    for cut, whole in equal:
        assert list(model.rerank_pairs([cut])) == pytest.approx(list(model.rerank_pairs([whole])), abs=1e-6)
    assert model.stats.truncated == 1 + 2
    assert model.stats.rows == 6


PARTS = st.tuples(st.sampled_from(["bat", "x", "[SEP]", "the", "東", "\n", "°"]), st.integers(0, 40))
SIDES = st.lists(PARTS, max_size=3).map(lambda parts: " ".join(" ".join([word] * count) for word, count in parts))


@pytest.fixture(scope="module")
def reference(folder: Path) -> FastembedReranker:
    return FastembedReranker(NAME, specific_model_path=str(folder), cuda=False, threads=1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=6), st.integers(1, 6), st.integers(1, 300))
def test_synthetic_scores_of_any_pairs_are_fastembeds(
    folder: Path, reference: FastembedReranker, pairs: list[tuple[str, str]], batch_size: int, budget: int
) -> None:
    ours = TextCrossEncoder(NAME, specific_model_path=folder, cuda=False, threads=1, token_budget=budget)
    scores = list(ours.rerank_pairs(pairs, batch_size))
    np.testing.assert_allclose(scores, list(reference.rerank_pairs(pairs, batch_size=3)), atol=1e-5)


def test_batch_size_below_one_is_refused_at_once(model: TextCrossEncoder) -> None:
    for rerank in (lambda: model.rerank("a", ["b"], batch_size=0), lambda: model.rerank_pairs([], batch_size=-1)):
        with pytest.raises(ValueError, match="batch_size must be 1 or more"):
            rerank()


def test_a_reranker_is_no_embedder(folder: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"is a reranker.*TextCrossEncoder"):
        make_embedder(NAME, specific_model_path=folder)
    with pytest.raises(TypeError, match="TextCrossEncoder needs a model_name"):
        TextCrossEncoder()


def test_a_graph_that_gives_token_vectors_is_refused(tmp_path: Path) -> None:
    build_network(tmp_path, model_file=find_card(NAME).model_file)
    with pytest.raises(ModelFilesError, match=r"shape \(2, 5, 16\).*a reranker takes scores"):
        TextCrossEncoder(NAME, specific_model_path=tmp_path, cuda=False)
