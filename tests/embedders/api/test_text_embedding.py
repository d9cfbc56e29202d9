"""Options of dense models: shorter vectors, prompts, tasks, float16. Synthetic weights throughout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastembed import TextEmbedding as FastembedDense

from embedders import TextEmbedding
from embedders.arrow import dense_matrix
from embedders.catalog import find_card, load_cards

Folder = Callable[[str], Path]

MXBAI = "mixedbread-ai/mxbai-embed-large-v1"
NOMIC = "nomic-ai/nomic-embed-text-v1.5"
JINA = "jinaai/jina-embeddings-v3"
E5 = "intfloat/multilingual-e5-large"
TEXTS = ["hello world", "", "the bank of the river", "東京 x", "money " * 60]


@pytest.fixture
def make(synthetic_model: Folder) -> Callable[..., TextEmbedding]:
    def embedding(name: str, **options: Any) -> TextEmbedding:
        return TextEmbedding(name, specific_model_path=synthetic_model(name), cuda=False, threads=1, **options)

    return embedding


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(("name", "dim"), [(MXBAI, 512), (JINA, 32), (JINA, 1000), ("Qwen/Qwen3-Embedding-0.6B", 33)])
def test_synthetic_vectors_are_cut_and_scaled_to_unit_length_again(
    name: str, dim: int, make: Callable[..., TextEmbedding]
) -> None:
    model = make(name, dim=dim)
    vectors = model.embed_array(TEXTS)
    assert (model.dim, vectors.shape, model.spec.dim) == (dim, (len(TEXTS), dim), dim)
    assert model.embed_arrow(TEXTS).type == pa.list_(pa.float32(), dim) == model.spec.arrow_type
    np.testing.assert_allclose(vectors, unit(make(name).embed_array(TEXTS)[:, :dim]), atol=1e-6)


def test_synthetic_nomic_is_layer_normalized_before_the_cut(make: Callable[..., TextEmbedding]) -> None:
    """As its model card has it: layer norm, cut, L2; whole vectors stay as the graph gives them."""
    whole = make(NOMIC).embed_array(TEXTS).astype(np.float64)
    centred = whole - whole.mean(axis=1, keepdims=True)
    normalized = centred / np.sqrt(whole.var(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(make(NOMIC, dim=256).embed_array(TEXTS), unit(normalized[:, :256]), atol=1e-6)
    assert np.abs(np.linalg.norm(whole, axis=1) - 1).min() > 0.01
    np.testing.assert_array_equal(make(NOMIC, dim=768).embed_array(TEXTS), make(NOMIC).embed_array(TEXTS))


@pytest.mark.parametrize(
    ("name", "dim", "message"),
    [
        (MXBAI, 100, "dim 100 .* 512"),
        (MXBAI, 2048, "dim 2048"),
        (NOMIC, 63, "dim 63 .* 64 to 767"),
        (NOMIC, 0, "dim 0"),
        ("google/embeddinggemma-300m", 64, "128, 256, 512"),
        ("BAAI/bge-small-en-v1.5", 128, "cannot be cut"),
    ],
)
def test_sizes_that_a_model_was_not_trained_for_are_refused(
    name: str, dim: int, message: str, make: Callable[..., TextEmbedding]
) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, dim=dim)


def test_matryoshka_sizes_are_below_the_models_own() -> None:
    cards = [card for card in load_cards("dense") if card.matryoshka]
    assert {card.model for card in cards} >= {MXBAI, NOMIC, JINA, "google/embeddinggemma-300m"}
    for card in cards:
        assert all(0 < size < (card.dim or 0) for size in card.matryoshka), card.model


@pytest.mark.parametrize("name", [E5, NOMIC, "google/embeddinggemma-300m", "BAAI/bge-small-zh-v1.5"])
def test_synthetic_prompts_of_the_card_are_put_before_texts(name: str, make: Callable[..., TextEmbedding]) -> None:
    prompts = find_card(name).prompts
    plain, auto = make(name), make(name, prompts="auto")
    asked = [prompts.get("query", "") + text for text in TEXTS]
    stored = [prompts.get("passage", "") + text for text in TEXTS]
    np.testing.assert_allclose(list(auto.query_embed(TEXTS)), plain.embed_array(asked), atol=1e-6)
    np.testing.assert_allclose(dense_matrix(auto.embed_queries_arrow(TEXTS)), plain.embed_array(asked), atol=1e-6)
    for vectors in (list(auto.embed(TEXTS)), list(auto.passage_embed(TEXTS)), auto.embed_array(TEXTS)):
        np.testing.assert_allclose(vectors, plain.embed_array(stored), atol=1e-6)
    assert prompts["query"]
    assert auto.token_count(TEXTS) == plain.token_count(TEXTS)


def test_synthetic_prompts_may_be_none_or_ones_own(make: Callable[..., TextEmbedding]) -> None:
    plain = make(E5)
    for prompts in (None, "none", {}):
        same = make(E5, prompts=prompts)
        np.testing.assert_array_equal(list(same.query_embed(TEXTS)), plain.embed_array(TEXTS))
    own = make(E5, prompts={"query": "hello "})
    np.testing.assert_allclose(
        list(own.query_embed(["world", ""])), plain.embed_array(["hello world", "hello "]), atol=1e-6
    )
    np.testing.assert_allclose(list(own.embed(TEXTS)), plain.embed_array(TEXTS), atol=1e-6)


@pytest.mark.parametrize("prompts", ["automatic", {"document": "x"}, {"query": 1}, ["query"]], ids=str)
def test_other_prompts_are_refused(prompts: Any, make: Callable[..., TextEmbedding]) -> None:
    with pytest.raises(ValueError, match="prompts must"):
        make(E5, prompts=prompts)


def test_synthetic_texts_with_a_prompt_are_named_by_their_position(make: Callable[..., TextEmbedding]) -> None:
    model = make(E5, prompts="auto")
    for bad in (None, "\ud800"):
        with pytest.raises(ValueError, match=r"text 2\b"):
            model.embed_array(["hello", "hello", bad])


@pytest.mark.parametrize("task", [None, 0, 1, 2, 3, 4])
def test_synthetic_tasks_give_fastembeds_vectors(
    task: int | None, make: Callable[..., TextEmbedding], synthetic_model: Folder
) -> None:
    ours = make(JINA, task_id=task)
    reference = FastembedDense(JINA, specific_model_path=str(synthetic_model(JINA)), cuda=False, task_id=task)
    np.testing.assert_allclose(list(ours.embed(TEXTS)), list(reference.embed(TEXTS)), atol=1e-5)
    np.testing.assert_allclose(list(ours.query_embed(TEXTS)), list(reference.query_embed(TEXTS)), atol=1e-5)
    np.testing.assert_allclose(list(ours.passage_embed(TEXTS)), list(reference.passage_embed(TEXTS)), atol=1e-5)
    np.testing.assert_allclose(list(ours.embed(TEXTS, task_id=3)), list(reference.embed(TEXTS, task_id=3)), atol=1e-5)


def test_synthetic_tasks_go_by_number_and_by_name(make: Callable[..., TextEmbedding]) -> None:
    model = make(JINA)
    vectors = {}
    for name, number in find_card(JINA).options["tasks"].items():
        vectors[name] = np.stack(list(model.embed(TEXTS, task_id=name)))
        np.testing.assert_array_equal(list(model.embed(TEXTS, task_id=number)), vectors[name])
        np.testing.assert_allclose(make(JINA, task_id=name).embed_array(TEXTS), vectors[name], atol=1e-6)
    np.testing.assert_array_equal(model.embed_array(TEXTS), vectors["retrieval.passage"])
    np.testing.assert_array_equal(model.model.embed_array(TEXTS, use="query"), vectors["retrieval.query"])
    assert len({array.tobytes() for array in vectors.values()}) == 5


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [(None, 0), ("retrieval.query", 0), ("retrieval.passage", 0), ("text-matching", 4), ("classification", 3)],
)
def test_synthetic_queries_as_arrow_follow_a_task_that_has_no_sides(
    chosen: str | None, expected: int, make: Callable[..., TextEmbedding]
) -> None:
    column = make(JINA, task_id=chosen).embed_queries_arrow(TEXTS)
    np.testing.assert_allclose(dense_matrix(column), list(make(JINA).embed(TEXTS, task_id=expected)), atol=1e-6)


def test_synthetic_prompts_are_for_retrieval_only(make: Callable[..., TextEmbedding]) -> None:
    plain = make(JINA)
    prompts = find_card(JINA).prompts
    retrieval = make(JINA, prompts="auto")
    expected = list(plain.query_embed([prompts["query"] + text for text in TEXTS]))
    np.testing.assert_allclose(list(retrieval.query_embed(TEXTS)), expected, atol=1e-6)
    matching = make(JINA, prompts="auto", task_id="text-matching")
    expected = list(plain.embed(TEXTS, task_id="text-matching"))
    np.testing.assert_allclose(matching.embed_array(TEXTS), expected, atol=1e-6)


@pytest.mark.parametrize("task", ["matching", 5, -1])
def test_unknown_tasks_are_refused_with_those_there_are(task: Any, make: Callable[..., TextEmbedding]) -> None:
    for fail in (lambda: make(JINA, task_id=task), lambda: list(make(JINA).embed("a", task_id=task))):
        with pytest.raises(ValueError, match=r"no task .*; it has retrieval\.query \(0\)"):
            fail()
    with pytest.raises(ValueError, match="has no tasks"):
        make(E5, task_id=1)


def test_synthetic_vectors_in_half_precision(make: Callable[..., TextEmbedding]) -> None:
    half, full = make(MXBAI, dtype="float16"), make(MXBAI)
    vectors = half.embed_array(TEXTS)
    assert vectors.dtype == np.float16
    assert half.embed_arrow(TEXTS).type == pa.list_(pa.float16(), 1024) == half.spec.arrow_type
    assert next(half.embed("hello")).dtype == np.float16
    np.testing.assert_array_equal(vectors, full.embed_array(TEXTS).astype(np.float16))
    with pytest.raises(ValueError, match="dtype must be float32 or float16"):
        make(MXBAI, dtype="float64")


def test_synthetic_arrays_columns_and_iterators_hold_the_same_vectors(make: Callable[..., TextEmbedding]) -> None:
    model = make(E5)
    vectors = model.embed_array(TEXTS)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(TEXTS), 1024))
    np.testing.assert_array_equal(dense_matrix(model.embed_arrow(TEXTS)), vectors)
    np.testing.assert_array_equal(list(model.embed(iter(TEXTS))), vectors)
    assert model.embed_array([]).shape == (0, 1024)


def test_options_of_other_families_are_refused(make: Callable[..., TextEmbedding]) -> None:
    with pytest.raises(TypeError, match="takes no 'alpha'"):
        make(E5, alpha=0.5)
    with pytest.raises(TypeError, match="takes no 'promts'; did you mean 'prompts'"):
        make(E5, promts="auto")
