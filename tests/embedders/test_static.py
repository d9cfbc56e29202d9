"""Static models: every layout of their table against fastembed, and against the sum written out. Synthetic weights."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastembed import TextEmbedding as FastembedDense
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders import ModelFilesError, TextEmbedding
from embedders.arrow import dense_matrix
from tests.embedders.texts import ODD_TEXTS
from tests.synthetic_models import XLM_SPECIAL, Plan, build_static, safetensors_bytes, write_tokenizer

NAME = "minishlab/potion-base-8M"
LAYOUTS = list(itertools.product(["float32", "float16", "bfloat16"], [False, True], [False, True]))
PLANS = [
    Plan(),
    Plan(algorithm="unigram", special=XLM_SPECIAL),
    Plan(algorithm="bpe", special=XLM_SPECIAL),
]


@pytest.mark.parametrize(("dtype", "weights", "mapping"), LAYOUTS)
def test_synthetic_tables_give_fastembeds_vectors(dtype: Any, weights: bool, mapping: bool, tmp_path: Path) -> None:
    build_static(tmp_path, dtype=dtype, weights=weights, mapping=mapping)
    ours = TextEmbedding(NAME, specific_model_path=tmp_path)
    reference = FastembedDense(NAME, specific_model_path=str(tmp_path))
    for batch_size in (1, 7, 256):
        expected = list(reference.embed(ODD_TEXTS, batch_size=batch_size))
        np.testing.assert_allclose(list(ours.embed(ODD_TEXTS)), expected, atol=1e-5)
    assert ours.token_count(ODD_TEXTS) == reference.token_count(ODD_TEXTS)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.algorithm)
def test_synthetic_vectors_are_the_weighted_sum_of_the_known_tokens(plan: Plan, tmp_path: Path) -> None:
    """Tokens without special ones, at most 512; unknown ones do not count, and no token at all gives zeros."""
    build_static(tmp_path, weights=True, mapping=True, plan=plan)
    model = TextEmbedding(NAME, specific_model_path=tmp_path)
    table, tokenizer = model.model._table, model.model.tokenizer.tokenizer
    unknown = {"wordpiece": "[UNK]", "unigram": "<unk>"}.get(plan.algorithm)
    for text in ODD_TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids[:512]
        known = [number for number in ids if unknown is None or number != tokenizer.token_to_id(unknown)]
        total = np.sum([table.rows[table.mapping[n]] * table.weights[n] for n in known], axis=0, dtype=np.float64)
        expected = np.zeros(16) if not known else total / np.linalg.norm(total)
        (vector,) = model.embed(text)
        np.testing.assert_allclose(vector, expected, atol=1e-5, err_msg=repr(text))


def test_synthetic_columns_and_counters(tmp_path: Path) -> None:
    build_static(tmp_path)
    model = TextEmbedding(NAME, specific_model_path=tmp_path, max_length=3)
    texts = ["hello world", "", "the bank of the river", "東x"]
    column = model.embed_arrow(texts)
    assert column.type == pa.list_(pa.float32(), 16) == model.spec.arrow_type
    np.testing.assert_array_equal(dense_matrix(column), model.embed_array(texts))
    assert model.embed_queries_arrow(texts).equals(column)
    assert (model.stats.rows, model.stats.truncated) == (12, 3)
    assert model.stats.tokens == model.stats.padded_tokens == 3 * (2 + 0 + 3 + 2)
    assert model.providers == []
    np.testing.assert_allclose(model.embed_array(["the bank of"]), model.embed_array([texts[2]]), atol=1e-7)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextEmbedding:
    folder = build_static(tmp_path_factory.mktemp("static"), weights=True)
    return TextEmbedding(NAME, specific_model_path=folder)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([*ODD_TEXTS, "bat", "cave river"]), max_size=60), st.integers(1, 70))
def test_synthetic_vectors_do_not_depend_on_their_neighbours(
    model: TextEmbedding, texts: list[str], batch_size: int
) -> None:
    alone = [model.embed_array([text])[0] for text in texts]
    together = list(model.embed(texts, batch_size))
    assert len(together) == len(texts)
    if texts:
        np.testing.assert_allclose(together, alone, atol=2e-6)


def test_synthetic_corpus_larger_than_one_product_is_embedded_in_order(model: TextEmbedding) -> None:
    texts = [f"bat {number} cave {'river ' * (number % 50)}" for number in range(900)] + [""] * 3
    vectors = model.embed_array(texts)
    assert model.token_count(texts) > 20_000
    for row in (0, 1, 450, 899):
        np.testing.assert_allclose(vectors[row], model.embed_array([texts[row]])[0], atol=2e-6)
    assert not vectors[900:].any()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"other": ("F32", np.ones((3, 2), np.float32))}, "no matrix 'embeddings'; it holds other"),
        ({"embeddings": ("F32", np.ones(3, np.float32))}, "no matrix 'embeddings'"),
        ({}, "holds nothing"),
    ],
)
def test_files_without_a_table_are_refused(tensors: dict[str, Any], message: str, tmp_path: Path) -> None:
    build_static(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    with pytest.raises(ModelFilesError, match=message):
        TextEmbedding(NAME, specific_model_path=tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_missing_files_are_named(name: str, tmp_path: Path) -> None:
    build_static(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelFilesError, match=name):
        TextEmbedding(NAME, specific_model_path=tmp_path)


def test_a_table_is_read_when_first_needed(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, Plan())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    model = TextEmbedding(NAME, specific_model_path=tmp_path, lazy_load=True)
    assert model.token_count("hello world") == 2
    with pytest.raises(ModelFilesError, match=r"model\.safetensors"):
        model.embed_array(["hello"])


def test_networks_options_are_refused_where_there_is_no_network(tmp_path: Path) -> None:
    build_static(tmp_path)
    for option in ("dim", "prompts", "task_id", "dtype"):
        with pytest.raises(TypeError, match=f"takes no '{option}'"):
            TextEmbedding(NAME, specific_model_path=tmp_path, **{option: None})


def test_synthetic_tokenizers_without_an_unknown_token_count_every_token(tmp_path: Path) -> None:
    build_static(tmp_path, plan=PLANS[2])
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"]["unk_token"] is None
    (vector,) = TextEmbedding(NAME, specific_model_path=tmp_path).embed("東京 😀 \x00")
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
