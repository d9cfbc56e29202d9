from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastembed import SparseTextEmbedding as FastembedSparse
from py_rust_stemmers import SnowballStemmer

from embedders import ModelFilesError, SparseTextEmbedding
from embedders.export.bert import export_bert
from embedders.sparse.terms import term_id
from tests.embedders.texts import ODD_TEXTS, by_length
from tests.synthetic_models import build_network

NAME = "Qdrant/bm42-all-minilm-l6-v2-attentions"
STOPWORDS = ["the", "a", "is", "of", "and", "in", "to", "by", "was", "it"]


@pytest.fixture(scope="module")
def real(minilm_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM's own attention in its last layer, as the model of the catalog has it."""
    folder = export_bert(minilm_checkpoint, tmp_path_factory.mktemp("bm42"), outputs=("attention_6",))
    (folder / "stopwords.txt").write_text("\n".join(STOPWORDS), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def real_model(real: Path) -> SparseTextEmbedding:
    return SparseTextEmbedding(NAME, specific_model_path=real, cuda=False)


@pytest.fixture(scope="module")
def folder(synthetic_model: Callable[[str], Path]) -> Path:
    return synthetic_model(NAME)


def term(word: str) -> int:
    return term_id(SnowballStemmer("english").stem_word(word))


@pytest.mark.slow
def test_real_attention_gives_fastembeds_weights(
    real: Path, real_model: SparseTextEmbedding, docstrings: list[str]
) -> None:
    reference = FastembedSparse(NAME, specific_model_path=str(real), cuda=False)
    texts = [text[:250] for text in docstrings[::150]] + ODD_TEXTS[:7] + ODD_TEXTS[10:]
    order = by_length(texts)
    ours = list(real_model.embed(texts))
    theirs = reference.embed([texts[row] for row in order], batch_size=8)
    for row, expected in zip(order, theirs, strict=True):
        assert ours[row].as_dict() == pytest.approx(expected.as_dict(), abs=1e-5), texts[row]
    for own, expected, text in zip(real_model.query_embed(texts), reference.query_embed(texts), texts, strict=True):
        assert own.as_dict() == expected.as_dict(), text


@pytest.mark.parametrize(
    ("text", "important", "others"),
    [
        ("The capital of France is Paris, by the way.", ["Paris", "capital", "France"], ["way"]),
        ("You can then simply use the photosynthesis here.", ["photosynthesis"], ["then", "can", "here"]),
        ("There was also some volcano in Iceland.", ["volcano", "Iceland"], ["also", "some", "There"]),
    ],
)
def test_real_attention_weighs_important_words_more(
    text: str, important: list[str], others: list[str], real_model: SparseTextEmbedding
) -> None:
    (vector,) = real_model.embed(text)
    weights = vector.as_dict()
    assert min(weights[term(word.lower())] for word in important) > max(weights[term(word.lower())] for word in others)


def test_synthetic_equal_stems_take_the_greatest_weight_and_queries_weigh_one(folder: Path) -> None:
    model = SparseTextEmbedding(NAME, specific_model_path=folder, cuda=False)
    single, both = (vector.as_dict() for vector in model.embed(["bats", "bats bat the bat's"]))
    assert single.keys() == {term("bat")}
    assert both.keys() == {term("bat"), term("s")}
    (query,) = (vector.as_dict() for vector in model.query_embed("bats bat the cave!"))
    assert query == {term("bat"): 1.0, term("cave"): 1.0}


@pytest.mark.parametrize("alpha", [0.25, 1.0, 2.0])
def test_synthetic_alpha_works_as_fastembeds(alpha: float, folder: Path) -> None:
    ours = SparseTextEmbedding(NAME, specific_model_path=folder, cuda=False, alpha=alpha)
    reference = FastembedSparse(NAME, specific_model_path=str(folder), cuda=False, alpha=alpha)
    for own, expected in zip(ours.embed(ODD_TEXTS), reference.embed(ODD_TEXTS, batch_size=8), strict=True):
        assert own.as_dict() == pytest.approx(expected.as_dict(), abs=1e-5)


@pytest.mark.parametrize("alpha", [0, -1, float("nan")])
def test_alpha_out_of_range_is_refused(alpha: float, folder: Path) -> None:
    with pytest.raises(ValueError, match="alpha"):
        SparseTextEmbedding(NAME, specific_model_path=folder, alpha=alpha)


def test_a_folder_without_stop_words_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "stopwords.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelFilesError, match=r"stopwords\.txt is not UTF-8"):
        SparseTextEmbedding(NAME, specific_model_path=copy)
    (copy / "stopwords.txt").unlink()
    with pytest.raises(ModelFilesError, match=r"no stopwords\.txt"):
        SparseTextEmbedding(NAME, specific_model_path=copy)


def test_a_graph_without_attention_is_refused(folder: Path, tmp_path: Path) -> None:
    build_network(tmp_path, model_file="model.onnx")
    shutil.copy(folder / "stopwords.txt", tmp_path)
    with pytest.raises(ModelFilesError, match="no output 'attention_6'; its outputs are last_hidden_state"):
        SparseTextEmbedding(NAME, specific_model_path=tmp_path)


def test_synthetic_weights_are_float32_and_indices_ascend(folder: Path) -> None:
    vectors = list(SparseTextEmbedding(NAME, specific_model_path=folder, cuda=False).embed(ODD_TEXTS))
    assert sum(len(vector.indices) for vector in vectors) > len(ODD_TEXTS)
    for vector in vectors:
        assert (vector.values.dtype, vector.indices.dtype) == (np.float32, np.int64)
        assert np.all(np.diff(vector.indices) > 0)
        assert np.all(vector.values >= 0)
