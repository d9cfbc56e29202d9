"""Late interaction beyond what fastembed gives: columns, options, markers, limits. Synthetic weights throughout."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from embedders import LateInteractionTextEmbedding, ModelFilesError
from embedders.catalog import find_card
from tests.embedders.texts import ODD_TEXTS
from tests.synthetic_graphs import pooled
from tests.synthetic_models import LIMIT, XLM_INPUTS, Plan, build_network

COLBERT, LATEON, TOKENS = "colbert-ir/colbertv2.0", "lightonai/LateOn", "jinaai/jina-embeddings-v2-small-en-tokens"
JINA = "jinaai/jina-colbert-v2"


@pytest.fixture
def make(synthetic_model: Callable[[str], Path]) -> Callable[..., LateInteractionTextEmbedding]:
    def embedding(name: str, **options: Any) -> LateInteractionTextEmbedding:
        folder = synthetic_model(name)
        return LateInteractionTextEmbedding(name, specific_model_path=folder, cuda=False, threads=1, **options)

    return embedding


Make = Callable[..., LateInteractionTextEmbedding]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", [COLBERT, LATEON, TOKENS])
def test_synthetic_columns_hold_the_iterators_matrices(name: str, dtype: Any, make: Make) -> None:
    model = make(name, dtype=dtype)
    texts = [*ODD_TEXTS, "hello", "hello"]
    kind = pa.list_(pa.list_(pa.float32() if dtype == "float32" else pa.float16(), model.dim))
    for column, matrices in (
        (model.embed_arrow(texts), list(model.embed(texts))),
        (model.embed_queries_arrow(texts), list(model.query_embed(texts))),
    ):
        assert column.type == kind == model.spec.arrow_type
        column.validate(full=True)
        for row, matrix in zip(column, matrices, strict=True):
            assert matrix.dtype == np.dtype(dtype)
            flat = row.values.flatten().to_numpy(zero_copy_only=False)
            np.testing.assert_array_equal(flat.reshape(-1, model.dim), matrix)
    assert model.embed_arrow([]).equals(pa.array([], kind))
    assert (model.spec.kind, model.spec.dim) == ("multivector", model.dim)


def test_synthetic_half_precision_is_the_rounded_single_precision(make: Make) -> None:
    for half, full in zip(make(COLBERT, dtype="float16").embed(ODD_TEXTS), make(COLBERT).embed(ODD_TEXTS), strict=True):
        np.testing.assert_array_equal(half, full.astype(np.float16))
    with pytest.raises(ValueError, match="dtype must be float32 or float16"):
        make(COLBERT, dtype="int8")


@pytest.mark.parametrize("name", [COLBERT, LATEON, JINA])
def test_synthetic_documents_are_of_unit_length(name: str, make: Make) -> None:
    matrices = list(make(name).embed(ODD_TEXTS))
    assert len(matrices) == len(ODD_TEXTS)
    for matrix in matrices:
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)


def test_token_vectors_that_are_not_scaled_are_compared_by_dot_product(make: Make) -> None:
    assert make(COLBERT).spec.distance == make(LATEON).spec.distance == "cosine"
    assert make(TOKENS).spec.distance == "dot"


def test_synthetic_queries_are_filled_up_to_32_vectors(make: Make) -> None:
    model = make(COLBERT)
    long = "hello " * 90
    assert [len(matrix) for matrix in model.query_embed(["", "hello", long])] == [32, 32, LIMIT]
    assert [len(matrix) for matrix in make(LATEON).query_embed(["", " hello"])] == [3, 4]


def test_synthetic_punctuation_of_documents_is_left_out_but_not_of_queries(make: Make) -> None:
    model = make(COLBERT)
    # [CLS], the marker, the word, [SEP].
    assert [len(matrix) for matrix in model.embed(["bat", f"bat {string.punctuation}", "! ?"])] == [4, 4, 3]
    assert len(next(make("lightonai/mLateOn").embed("!"))) > 3
    assert len(next(make(LATEON).query_embed("!!"))) == 5


def test_synthetic_limit_counts_the_marker(make: Make) -> None:
    text = "bat " * 100
    for name, tokens in ((COLBERT, 10), (LATEON, 11), (TOKENS, 10)):
        model = make(name, max_length=10)
        assert len(next(model.embed(text))) == tokens, name
        assert model.stats.truncated == 1


def test_synthetic_tokens_are_counted_with_and_without_what_is_added(make: Make) -> None:
    texts = ["hello world", "bat"]
    model = make(COLBERT)
    assert model.token_count(texts) == 4 + 3
    assert model.token_count(texts, include_extension=True) == 4 + 3 + 2
    assert model.token_count(texts, is_doc=False) == 4 + 3
    assert model.token_count(texts, is_doc=False, include_extension=True, batch_size=1) == 32 * 2
    assert make(TOKENS).token_count("bat", include_extension=True) == 3


def test_synthetic_equal_texts_run_once(make: Make) -> None:
    model = make(COLBERT)
    vectors = model.embed_tokens(["bat cave", "river", "bat cave"])
    assert vectors.offsets.tolist() == [0, 5, 9, 14]
    assert model.stats.tokens == 5 + 4
    np.testing.assert_array_equal(vectors.vectors[:5], vectors.vectors[9:])


def test_batch_size_below_one_is_refused_at_once(make: Make) -> None:
    model = make(COLBERT)
    for embed in (model.embed, model.query_embed, model.passage_embed):
        with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
            embed(["a"], batch_size=0)


def test_a_graph_that_gives_one_vector_a_text_is_refused(tmp_path: Path) -> None:
    build_network(tmp_path, Plan(pooled, XLM_INPUTS), model_file=find_card(COLBERT).model_file)
    with pytest.raises(ModelFilesError, match=r"shape \(2, 16\).*late interaction takes token vectors"):
        LateInteractionTextEmbedding(COLBERT, specific_model_path=tmp_path, cuda=False)


def test_a_tokenizer_without_the_mask_token_is_refused(tmp_path: Path) -> None:
    build_network(tmp_path, Plan(inputs=XLM_INPUTS), model_file=find_card(JINA).model_file)
    (tmp_path / "onnx" / "model.onnx_data").touch()
    with pytest.raises(ModelFilesError, match="the tokenizer has no '<mask>'"):
        LateInteractionTextEmbedding(JINA, specific_model_path=tmp_path, cuda=False)
