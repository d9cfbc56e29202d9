from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastembed import SparseTextEmbedding as FastembedSparse

from embedders import ModelFilesError, SparseTextEmbedding
from tests.synthetic_models import WORDS

NAME = "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte"


@pytest.fixture(scope="module")
def folder(synthetic_model: Callable[[str], Path]) -> Path:
    return synthetic_model(NAME)


@pytest.fixture(scope="module")
def model(folder: Path) -> SparseTextEmbedding:
    return SparseTextEmbedding(NAME, specific_model_path=folder, cuda=False)


def ids(model: SparseTextEmbedding, *tokens: str) -> list[int]:
    return [model.model.text_model.tokenizer.tokenizer.token_to_id(token) for token in tokens]


def test_synthetic_query_weights_come_from_the_table(model: SparseTextEmbedding, folder: Path) -> None:
    table = json.loads((folder / "idf.json").read_text())
    (vector,) = model.query_embed("hello world hello [MASK] xyz [CLS]")
    expected = dict(zip(ids(model, "hello", "world"), (table["hello"], table["world"]), strict=True))
    assert vector.as_dict() == pytest.approx(expected)
    assert "[CLS]" in table
    (empty,) = model.query_embed("")
    assert empty.as_dict() == {}


def test_synthetic_documents_have_no_weight_for_special_tokens(model: SparseTextEmbedding) -> None:
    special = set(model.model.text_model.tokenizer.special_tokens.values())
    vectors = list(model.embed(["hello [MASK] world [SEP]", "", " ".join(WORDS)]))
    assert [len(vector.indices) > 0 for vector in vectors] == [True, True, True]
    for vector in vectors:
        assert not special & set(vector.indices.tolist())
        assert np.all(np.diff(vector.indices) > 0)
        assert np.all(vector.values > 0)
        assert vector.values.dtype == np.float32


def test_synthetic_model_asks_for_no_idf_of_the_index(model: SparseTextEmbedding) -> None:
    assert model.spec.idf is False
    assert model.spec.distance == "dot"


@pytest.mark.parametrize("content", [None, b"[]", b"{", b'{"hello": "much"}'])
def test_a_missing_or_damaged_table_is_named(content: bytes | None, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "idf.json").unlink()
    if content is not None:
        (copy / "idf.json").write_bytes(content)
    with pytest.raises(ModelFilesError, match=r"idf\.json"):
        SparseTextEmbedding(NAME, specific_model_path=copy, cuda=False)


def test_synthetic_query_weights_may_be_negative_as_fastembeds(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "idf.json").write_text(json.dumps({"hello": -0.5, "world": 2}))
    (ours,) = SparseTextEmbedding(NAME, specific_model_path=copy, cuda=False).query_embed("hello world")
    (expected,) = FastembedSparse(NAME, specific_model_path=str(copy), cuda=False).query_embed("hello world")
    assert ours.as_dict() == expected.as_dict()
    assert len(ours.indices) == 2
